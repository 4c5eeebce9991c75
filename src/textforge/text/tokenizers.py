"""Texts to ids and back: by word, by character, by byte pairs, or by what stands between tabs."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from textforge.errors import CallError, UserError, nearest
from textforge.text import pretrained
from textforge.text.items import SEPARATOR, Kind, restored
from textforge.text.labels import as_label
from textforge.text.vocabulary import UNKNOWN_TEXT, Vocabulary

if TYPE_CHECKING:
    import tokenizers

BPE_SIZE = 8192
CHOICE_LINES = 1000
# Scripts written without white space between words: Thai, Lao, Burmese, Khmer, kana and Han.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@runtime_checkable
class Tokenizer(Protocol):
    """What turns a text into ids of its vocabulary, and ids into a text."""

    @property
    def name(self) -> str:
        """The name under which `train` makes this kind."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The ids and their meaning."""

    @property
    def unit(self) -> str:
        """What one symbol is, in words, for the settings of a metric."""

    def split(self, text: str) -> list[str]:
        """Cut a text into symbols, known or not."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without `bos` and `eos`."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids up to the first `eos`."""

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` needs, ready for JSON."""


@dataclass(frozen=True)
class Word:
    """Words as white space separates them; `decode` puts one space between words."""

    name: ClassVar[str] = "word"
    unit: ClassVar[str] = "white space"
    vocabulary: Vocabulary

    @staticmethod
    def split(text: str) -> list[str]:
        """Return the words."""
        return text.split()

    def encode(self, text: str) -> list[int]:
        """Return one id per word."""
        return self.vocabulary.encode(text.split())

    def decode(self, ids: Iterable[int]) -> str:
        """Return the words joined by single spaces."""
        return " ".join(self.vocabulary.decode(ids))

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the vocabulary."""
        return {"tokenizer": self.name, "vocabulary": self.vocabulary.to_dict()}


@dataclass(frozen=True)
class Char:
    """Every code point is a symbol, white space too, so texts of known characters come back unchanged.

    An unknown character is decoded as U+FFFD, so that a text keeps its length and `unk` stays `unk` when read again.
    """

    name: ClassVar[str] = "char"
    unit: ClassVar[str] = "character"
    vocabulary: Vocabulary

    @staticmethod
    def split(text: str) -> list[str]:
        """Return the code points."""
        return list(text)

    def encode(self, text: str) -> list[int]:
        """Return one id per code point."""
        return self.vocabulary.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the characters joined."""
        return "".join("\ufffd" if symbol == UNKNOWN_TEXT else symbol for symbol in self.vocabulary.decode(ids))

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the vocabulary."""
        return {"tokenizer": self.name, "vocabulary": self.vocabulary.to_dict()}


@dataclass(frozen=True)
class Tab:
    """Symbols that hold no tab, and may hold spaces; `kind` is what a program handed over, and gets back."""

    name: ClassVar[str] = "tab"
    unit: ClassVar[str] = "tab"
    vocabulary: Vocabulary
    kind: Kind = "texts"

    @staticmethod
    def split(text: str) -> list[str]:
        """Return what stands between tabs."""
        return [symbol for symbol in text.split(SEPARATOR) if symbol]

    def encode(self, text: str) -> list[int]:
        """Return one id per symbol."""
        return self.vocabulary.encode(self.split(text))

    def decode(self, ids: Iterable[int]) -> str:
        """Return the symbols joined by tabs."""
        return SEPARATOR.join(self.vocabulary.decode(ids))

    def to_dict(self) -> dict[str, Any]:
        """Return the name, the kind and the vocabulary."""
        return {"tokenizer": self.name, "kind": self.kind, "vocabulary": self.vocabulary.to_dict()}


def as_given(text: str, tokenizer: Tokenizer) -> Any:
    """Return a text in the form in which a program handed over those of its run: a string, or a list of symbols."""
    tokenizer = plain(tokenizer)
    if isinstance(tokenizer, Tab) and tokenizer.kind != "texts":
        return restored(tokenizer.split(text), tokenizer.kind)
    return text


@dataclass(frozen=True)
class Bpe:
    """Byte-level byte-pair encoding (Sennrich et al., ACL 2016), by the Hugging Face library `tokenizers`.

    Every text of every script comes back unchanged and nothing is unknown, because the 256 bytes are symbols. The
    model is held as that library's JSON text. A sampled sequence that is not valid UTF-8 shows U+FFFD in its place.
    """

    name: ClassVar[str] = "bpe"
    unit: ClassVar[str] = "byte pair"
    model: str

    @cached_property
    def _model(self) -> "tokenizers.Tokenizer":
        model: tokenizers.Tokenizer = _hugging_face().Tokenizer.from_str(self.model)
        return model

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The byte pairs in the order of their ids, and `eos`."""
        ids = self._model.get_vocab()
        return Vocabulary.create(sorted(ids, key=ids.__getitem__), unk=False)

    def split(self, text: str) -> list[str]:
        """Return the byte pairs."""
        return self._pieces(text).tokens

    def encode(self, text: str) -> list[int]:
        """Return the ids of the byte pairs."""
        return self._pieces(text).ids

    def _pieces(self, text: str) -> "tokenizers.Encoding":
        try:
            return self._model.encode(text)
        except TypeError:
            raise UserError(f"{text!r:.40} holds half a character, which has no bytes; leave it out") from None

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text whose bytes the ids stand for."""
        vocabulary = self.vocabulary
        emitted = itertools.takewhile(lambda i: i != vocabulary.eos, ids)
        return self._model.decode([i for i in emitted if i < vocabulary.vocab_size])

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the model."""
        return {"tokenizer": self.name, "model": self.model}


@dataclass(frozen=True)
class Labelled:
    """Texts by another tokenizer, and in front of each a symbol for its label: a control code (Keskar et al., 2019).

    The symbol of a label begins with a tab, and is longer than that, so that no text has it. The ids of the other
    symbols stay as they are; those of the special ones move up by the number of labels.
    """

    name: ClassVar[str] = "labelled"
    inner: Tokenizer
    labels: tuple[str, ...]

    @property
    def unit(self) -> str:
        """What one symbol of a text is."""
        return self.inner.unit

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The symbols of texts, and behind them those of the labels."""
        inner = self.inner.vocabulary
        assert inner.bos >= inner.vocab_size, "a start symbol that is a symbol of the text would stand behind a label"
        return Vocabulary.create(
            (*inner.symbols, *(SEPARATOR + label for label in self.labels)),
            unk=inner.unk is not None,
            eos=inner.eos is not None,
            num_labels=len(self.labels),
        )

    def split(self, text: str) -> list[str]:
        """Cut a text into symbols; its label is none of them."""
        return self.inner.split(text)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text without a label."""
        return [id_ if id_ < self._first else id_ + len(self.labels) for id_ in self.inner.encode(text)]

    def encode_pair(self, label: str, text: str) -> list[int]:
        """Return the id of the label and those of the text; none for a text without symbols."""
        ids = self.encode(text)
        return [self.label_id(label), *ids] if ids else []

    def label_id(self, label: object) -> int:
        """Return the id of a label, a text or whatever it is written like; raises UserError for an unknown one."""
        name = as_label(label)
        if name is not None and name in self._places:
            return self._first + self._places[name]
        listed = ", ".join(map(repr, self.labels[:10])) + ", ..." * (len(self.labels) > 10)
        raise UserError(f"there is no label {name!r}; there are {listed}{nearest(str(name), self.labels)}")

    def label_of(self, ids: Sequence[int]) -> str | None:
        """Return the label that a sequence begins with; None where it begins otherwise."""
        return self.labels[ids[0] - self._first] if ids[0] in self.vocabulary.labels else None

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids up to the first `eos`, without labels."""
        first, num = self._first, len(self.labels)
        return self.inner.decode(id_ if id_ < first else id_ - num for id_ in ids if not first <= id_ < first + num)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {label: place for place, label in enumerate(self.labels)}

    @property
    def _first(self) -> int:
        return len(self.inner.vocabulary.symbols)

    def to_dict(self) -> dict[str, Any]:
        """Return what the other tokenizer does, and the labels."""
        return {**self.inner.to_dict(), "labels": list(self.labels)}


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer of the texts alone."""
    return tokenizer.inner if isinstance(tokenizer, Labelled) else tokenizer


def train(name: str, texts: Iterable[str], *, min_count: int = 1, max_size: int | None = None) -> Tokenizer:
    """Make the tokenizer `word`, `char`, `bpe` or `tab` from texts, read once; or read that of a pretrained model.

    Symbols seen fewer than `min_count` times are left to `unk`; for `bpe` it is how often a pair must occur to be
    merged, and at least 2. `max_size` bounds the symbols (`bpe`: 8,192 unless told otherwise).
    """
    match name:
        case "word":
            return Word(Vocabulary.build(map(str.split, texts), min_count=min_count, max_size=max_size))
        case "char":
            return Char(Vocabulary.build(texts, min_count=min_count, max_size=max_size))
        case "tab":
            return Tab(Vocabulary.build(map(Tab.split, texts), min_count=min_count, max_size=max_size))
        case "bpe":
            return _train_bpe(texts, min_count=max(min_count, 2), max_size=BPE_SIZE if max_size is None else max_size)
    if pretrained.is_place(name):
        if max_size is not None or min_count > 1:
            raise CallError(f"the tokenizer in {name} has its own symbols; leave out --min-count and --vocab-size")
        return pretrained.read(name)
    known = ("word", "char", "bpe", "tab")
    raise CallError(
        f"there is no tokenizer '{name}'; use {', '.join(known)} or the folder of a pretrained model"
        f"{nearest(name, known)}"
    )


def _train_bpe(texts: Iterable[str], *, min_count: int, max_size: int) -> Bpe:
    library = _hugging_face()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    if max_size < len(alphabet):
        raise UserError(f"max_size {max_size} is too small for bpe, which starts from {len(alphabet)} bytes; raise it")
    model = library.Tokenizer(library.models.BPE())
    model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=max_size, min_frequency=min_count, initial_alphabet=alphabet, show_progress=False
    )
    model.train_from_iterator(texts, trainer)
    return Bpe(model.to_str())


def _hugging_face() -> ModuleType:
    try:
        import tokenizers
    except ModuleNotFoundError:
        raise UserError("the bpe tokenizer needs a library that is absent; run: pip install 'textforge[hf]'") from None
    return tokenizers


def choose(texts: Iterable[str]) -> str:
    """Return `word` or `char`, whichever suits the first 1,000 lines.

    `word` where at least half of the lines have white space inside and the pieces between are as long as words: on
    average at most 12 characters, or at most 3 where most pieces are of a script that puts no white space between
    words. So English, and Chinese with a space after every character or word, go by word; names, molecules, DNA, and
    Chinese as it is commonly written go by character.
    """
    lines = [line.split() for line in itertools.islice(texts, CHOICE_LINES)]
    pieces = [piece for line in lines for piece in line]
    if not pieces or 2 * sum(len(line) > 1 for line in lines) < len(lines):
        return "char"
    unspaced = sum(UNSPACED.search(piece) is not None for piece in pieces)
    longest = 3 if 2 * unspaced > len(pieces) else 12
    return "word" if sum(map(len, pieces)) <= longest * len(pieces) else "char"


def from_dict(data: Mapping[str, Any]) -> Tokenizer:
    """Rebuild a tokenizer from what its `to_dict` returned; raises UserError for anything else."""
    match data:
        case {"labels": [_, *_] as labels, **rest} if all(isinstance(label, str) for label in labels):
            return Labelled(from_dict(rest), tuple(labels))
        case {"tokenizer": "word", "vocabulary": dict(vocabulary)}:
            return Word(Vocabulary.from_dict(vocabulary))
        case {"tokenizer": "char", "vocabulary": dict(vocabulary)}:
            return Char(Vocabulary.from_dict(vocabulary))
        case {"tokenizer": "tab", "kind": "texts" | "symbols" | "ids" as kind, "vocabulary": dict(vocabulary)}:
            return Tab(Vocabulary.from_dict(vocabulary), kind)
        case {"tokenizer": "bpe", "model": str(model)}:
            return Bpe(model)
        case {"tokenizer": "pretrained", "model": str(model), "config": str(config)}:
            return pretrained.Pretrained(model, config)
    raise UserError(
        "the stored tokenizer is not one of ours; it needs tokenizer (word, char, bpe, tab or pretrained) and its "
        "vocabulary"
    )
