"""Tokenizers as the file tokenizer.json of the Hugging Face library `tokenizers`, which reads and writes as ours do.

The special ids have names in it that stand in no symbol. As always with that library, a text in which such a name
stands is taken for the id, unless its `encode_special_tokens` is set.
"""

import itertools
import json
from collections.abc import Mapping
from typing import Any

from textforge.errors import UserError
from textforge.text.tokenizers import Labelled, Tokenizer, from_dict, plain
from textforge.text.vocabulary import MASK_TEXT, UNKNOWN_TEXT, Vocabulary

# White space as Python's str.split has it, which is not that of regular expressions.
_SPACES = r"[\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
_CUT = {"word": (_SPACES, "Removed"), "tab": (r"\t+", "Removed"), "char": (r"[\s\S]", "Isolated")}
_JOINED_BY = {"word": " ", "tab": "\t"}
_NAMES = {"unk": UNKNOWN_TEXT, "eos": "<eos>", "bos": "<bos>", "pad": "<pad>", "mask": MASK_TEXT}
SPECIAL_IDS = tuple(f"{name}_token_id" for name in _NAMES)
"""What a config.json of Hugging Face calls them."""


def special_ids(vocabulary: Vocabulary) -> dict[str, int | None]:
    """Return the special ids by the names in `SPECIAL_IDS`; None where the vocabulary has none."""
    return {f"{name}_token_id": vars(vocabulary)[name] for name in _NAMES}


def to_json(tokenizer: Tokenizer) -> str:
    """Write a tokenizer; `from_json` needs besides what `kind_of` and `special_ids` return."""
    vocabulary, stored = tokenizer.vocabulary, tokenizer.to_dict()
    if "config" in stored:  # a pretrained model's: the file is there already
        return str(stored["model"])
    names = _free_names(vocabulary) | _label_names(tokenizer)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": id_, "content": name, **flags, "special": True} for id_, name in names.items()]
    if "model" in stored:
        return json.dumps({**json.loads(stored["model"]), "added_tokens": added}, ensure_ascii=False)
    unknown = _free(UNKNOWN_TEXT, vocabulary)
    ids = {symbol: id_ for id_, symbol in enumerate(vocabulary.symbols[: vocabulary.labels.start])}
    if vocabulary.unk is not None:  # no special token for the library, which leaves those out of what it decodes
        ids[unknown] = vocabulary.unk
    tokenizer = plain(tokenizer)
    pattern, behavior = _CUT[tokenizer.name]
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}
    model = {"type": "WordLevel", "vocab": ids, "unk_token": unknown}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": cut,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": _decoders(tokenizer, unknown)},
        "model": model,
    }
    return json.dumps(whole, ensure_ascii=False)


def kind_of(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what `to_dict` says of a tokenizer besides its symbols."""
    return {name: value for name, value in tokenizer.to_dict().items() if name not in ("vocabulary", "model")}


def from_json(text: str, kind: Mapping[str, Any], ids: Mapping[str, int | None]) -> Tokenizer:
    """Rebuild a tokenizer; raises UserError where the parts are no tokenizer of ours, or do not fit each other."""
    tokenizer = from_dict({**kind, **({"model": text} if "config" in kind else _parts(text, ids))})
    found = special_ids(tokenizer.vocabulary)
    if found != dict(ids):
        raise UserError(f"the stored tokenizer has the special ids {found}, and should have {dict(ids)}; restore it")
    return tokenizer


def _parts(text: str, ids: Mapping[str, int | None]) -> dict[str, Any]:
    match whole := json.loads(text):
        case {"model": {"type": "BPE"}}:
            return {"model": json.dumps({**whole, "added_tokens": []}, ensure_ascii=False)}
        case {"model": {"vocab": dict(known)}, "added_tokens": list(added)}:
            special = {token["id"] for token in added}
            symbols = [
                symbol for symbol in sorted(known, key=known.__getitem__) if known[symbol] != ids["unk_token_id"]
            ]
            own = {
                "symbols": symbols,
                "unk": ids["unk_token_id"] is not None,
                "eos": ids["eos_token_id"] is not None,
                "bos": None if ids["bos_token_id"] in special else ids["bos_token_id"],
            }
            return {"vocabulary": own}
    raise UserError("the stored tokenizer is not one of ours; it needs a model with its symbols, and added_tokens")


def _free_names(vocabulary: Vocabulary) -> dict[int, str]:
    """Return a name for each special id, in their order, but for `unk` and a `bos` that is a symbol."""
    names = {}
    for name in ("eos", "bos", "pad", "mask"):
        id_ = vars(vocabulary)[name]
        if id_ is not None and (name != "bos" or id_ >= vocabulary.vocab_size):
            names[id_] = _free(_NAMES[name], vocabulary)
    return names


def _label_names(tokenizer: Tokenizer) -> dict[int, str]:
    """Return a name for each label, by its id."""
    labels = tokenizer.labels if isinstance(tokenizer, Labelled) else ()
    names = (_free(f"<label:{label}>", tokenizer.vocabulary) for label in labels)
    return dict(zip(tokenizer.vocabulary.labels, names, strict=True))


def _free(name: str, vocabulary: Vocabulary) -> str:
    """Return the name, with a number where it stands in a symbol."""
    numbered = itertools.chain([name], (f"{name[:-1]}_{i}>" for i in itertools.count(1)))
    return next(free for free in numbered if not any(free in symbol for symbol in vocabulary.symbols))


def _decoders(tokenizer: Tokenizer, unknown: str) -> list[dict[str, Any]]:
    shown = "\ufffd" if tokenizer.name == "char" else UNKNOWN_TEXT
    parts: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": unknown}, "content": shown}]
    if (separator := _JOINED_BY.get(tokenizer.name)) is None:
        return [*parts, {"type": "Fuse"}]
    # No decoder joins by any separator: it is put in front of every symbol, and that of the first taken away.
    front = {"type": "Replace", "pattern": {"Regex": r"\A"}, "content": separator}
    return [*parts, front, {"type": "Fuse"}, {"type": "Strip", "content": separator, "start": 1, "stop": 0}]
