"""The tokenizer of a pretrained model: the files tokenizer.json and config.json, as `save_pretrained` writes them.

Both files are held as they are, so that a run keeps all it needs of them.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textforge.errors import CallError, UserError
from textforge.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    import tokenizers

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
"""OWNER/NAME, which a folder may be called, too; the folder comes first."""
RUNS = "vocabulary.json"
"""Where a run keeps its tokenizer."""
EXTRA = "run: pip install 'textforge[transformers]'"


@dataclass(frozen=True)
class PretrainedVocabulary(Vocabulary):
    """A vocabulary whose ids stand for those of a pretrained model: all that it may write, its end, its beginning.

    Tokens that structure text and are no text (`special` in tokenizer.json) have no id here, but for these two.
    """

    model_ids: tuple[int, ...] = ()
    """What the model calls the ids 0 to V - 1, and `bos`."""
    architecture: str = ""
    """The model's config.json, which says what its network is."""


@dataclass(frozen=True)
class Pretrained:
    """The tokens of a pretrained model. Where they are byte pairs, every text comes back unchanged."""

    name: ClassVar[str] = "pretrained"
    unit: ClassVar[str] = "token of a pretrained model"
    file: str
    config: str

    @cached_property
    def _model(self) -> "tokenizers.Tokenizer":
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError:
            raise UserError(f"the tokenizer of a pretrained model needs a library that is absent; {EXTRA}") from None
        model: tokenizers.Tokenizer = Tokenizer.from_str(self.file)
        model.no_truncation()
        model.no_padding()
        model.encode_special_tokens = True  # the name of a special token within a text is text
        return model

    @cached_property
    def vocabulary(self) -> PretrainedVocabulary:
        """The tokens that are text in the order of their ids, perhaps `unk`, and `eos`."""
        tokens, stored, config = self._model.get_vocab(), json.loads(self.file), json.loads(self.config)
        if not isinstance(config, dict):
            raise UserError("the config.json of the pretrained model holds no JSON object; save the model again")
        special = {token["id"] for token in stored["added_tokens"] if token["special"]}
        eos = _first(config.get("eos_token_id"))
        if not isinstance(eos, int):
            raise UserError("the config.json of the pretrained model names no eos_token_id; write it there")
        bos = _first(config.get("bos_token_id"))
        unk = tokens.get(stored["model"].get("unk_token"), stored["model"].get("unk_id"))  # Unigram has its id
        unk = None if unk in (eos, bos) else unk
        texts = {id_: token for token, id_ in tokens.items() if id_ not in {*special, eos, bos, unk}}
        ids = sorted(texts)
        plain = Vocabulary.create((texts[id_] for id_ in ids), unk=unk is not None)
        named = [*ids, *([] if unk is None else [unk]), eos, eos if bos is None else bos]
        return PretrainedVocabulary(**vars(plain), model_ids=tuple(named), architecture=self.config)

    @cached_property
    def _ids(self) -> dict[int, int]:
        """What they call text, and `unk`, by our names: the end is never a part of a text."""
        vocabulary = self.vocabulary
        return {id_: i for i, id_ in enumerate(vocabulary.model_ids[:-1]) if i != vocabulary.eos}

    @property
    def in_bytes(self) -> bool:
        """Whether the characters of a token stand for bytes, as in `Bpe`."""
        decoder = json.loads(self.file)["decoder"]
        return decoder is not None and decoder["type"] == "ByteLevel"

    def split(self, text: str) -> list[str]:
        """Return the tokens as they stand in tokenizer.json."""
        return self._pieces(text).tokens

    def encode(self, text: str) -> list[int]:
        """Return the ids of the tokens; nothing is put in front of them or behind.

        A special token is unknown, where the model cuts its name out of a text. Raises UserError where nothing may be.
        """
        pieces, unk = self._pieces(text), self.vocabulary.unk
        ids = [self._ids.get(id_, unk) for id_ in pieces.ids]
        known = [id_ for id_ in ids if id_ is not None]
        if len(known) < len(ids):
            token = pieces.tokens[ids.index(None)]
            raise UserError(
                f"the text {text!r:.40} has the token {token!r}, which is no text to the model; leave it out"
            )
        return known

    def _pieces(self, text: str) -> "tokenizers.Encoding":
        try:
            return self._model.encode(text, add_special_tokens=False)
        except TypeError:
            raise UserError(f"{text!r:.40} holds half a character, which has no bytes; leave it out") from None

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text that the ids up to the first `eos` stand for."""
        vocabulary = self.vocabulary
        emitted = itertools.takewhile(lambda i: i != vocabulary.eos, ids)
        theirs = [vocabulary.model_ids[i] for i in emitted if i < vocabulary.vocab_size]
        return self._model.decode(theirs, skip_special_tokens=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the name and both files."""
        return {"tokenizer": self.name, "model": self.file, "config": self.config}


def _first(ids: Any) -> Any:
    """Return the one id that we write where a model knows several ends."""
    return ids[0] if isinstance(ids, list) and ids else ids


def is_place(name: str) -> bool:
    """Whether a name is that of a folder, or could be one of the Hugging Face Hub."""
    return Path(name).is_dir() or HUB_NAME.fullmatch(name) is not None


def folder_of(name: str) -> Path:
    """Return the folder of a pretrained model; one of the Hub, OWNER/NAME, is fetched where it is not there yet."""
    if Path(name).is_dir():
        return Path(name)
    if not HUB_NAME.fullmatch(name):
        raise CallError(f"there is no folder '{name}'; give that of a pretrained model, or its name: OWNER/NAME")
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise UserError(f"a model of the Hugging Face Hub needs a library that is absent; {EXTRA}") from None
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{name} is no folder, and the Hugging Face Hub does not give it ({reason}); download the model elsewhere, "
            "and name its folder"
        ) from None


def read(name: str) -> Pretrained:
    """Read the tokenizer of a pretrained model, or of a run of one.

    Raises UserError where a file is absent or not what it should be.
    """
    folder = folder_of(name)
    if (folder / RUNS).exists():
        match json.loads(_text(folder / RUNS)):
            case {"tokenizer": Pretrained.name, "model": str(file), "config": str(config)}:
                return Pretrained(file, config)
        raise UserError(f"{folder} is a run whose tokenizer is of no pretrained model; name it as that run did")
    found: Mapping[str, str] = {file: _text(folder / file) for file in ("tokenizer.json", "config.json")}
    tokenizer = Pretrained(found["tokenizer.json"], found["config.json"])
    try:
        assert tokenizer.vocabulary
    except UserError:
        raise
    except Exception as error:  # whatever the library, which is not written in Python, makes of a broken file
        raise UserError(f"the tokenizer.json in {folder} cannot be read ({error}); save it again") from None
    return tokenizer


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except FileNotFoundError:
        raise UserError(
            f"there is no {path}; a pretrained model has a folder with tokenizer.json and config.json, where both its "
            "model and its tokenizer were saved (save_pretrained)"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); save the model again") from None
    return text
