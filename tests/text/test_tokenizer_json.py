"""tokenizer.json, as the library `tokenizers` reads it, against our own tokenizers."""

import json
import sys

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from textforge.errors import UserError
from textforge.text import Tab, Tokenizer, Vocabulary, Word, train
from textforge.text.tokenizer_json import from_json, kind_of, special_ids, to_json

LINES = [
    "a man rides a <unk> horse",
    "床前 明月光 ， 疑是 地上霜 。",
    "👩‍👩‍👧‍👦 🇨🇳🇩🇪 e\u0301 é <eos> ##a",
    "مرحبا بالعالم שלום สวัสดีชาวโลก",
    "in\u2028side \\A $1 \ufffd",
]
TEXTS = [
    "",
    " ",
    "  a \t horse\n\nrides ",
    "a man sees <eos> and <unk> and <pad><bos>a",
    "unknown 字 🦖 words 明月光",
    "<unk> <unk_1> <mask> ##a",
    *LINES,
]


def made(kind: str) -> Tokenizer:
    if kind == "tab":
        return Tab(Vocabulary.create(["a man", "rides", " a", "床前 明月光", "<unk>"]), "symbols")
    return train(kind, LINES * 2, max_size=400 if kind == "bpe" else None)


def library(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """Read by the library, and told to take no text for a special id."""
    read = tokenizers.Tokenizer.from_str(to_json(tokenizer))
    read.encode_special_tokens = True
    return read


def agree(tokenizer: Tokenizer, read: tokenizers.Tokenizer, text: str) -> None:
    vocabulary, ids = tokenizer.vocabulary, tokenizer.encode(text)
    assert read.encode(text).ids == ids, text
    assert vocabulary.eos is not None
    padded = [vocabulary.bos, *ids, vocabulary.eos, vocabulary.pad, vocabulary.pad]
    assert read.decode(padded) == tokenizer.decode(ids), text


@pytest.mark.parametrize("kind", ["word", "char", "tab", "bpe"])
def test_library_encodes_and_decodes_as_ours_do(kind: str) -> None:
    tokenizer = made(kind)
    read = library(tokenizer)
    for text in (*TEXTS, *(text.replace(" ", "\t") for text in TEXTS)):
        agree(tokenizer, read, text)


@settings(max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_library_agrees_on_any_text(text: str) -> None:
    for tokenizer in (train("word", [f"{text} a"]), train("char", [f"{text}a"]), WORD):
        agree(tokenizer, library(tokenizer), text)


WORD = train("word", LINES)


def test_library_cuts_words_at_the_white_space_of_python_and_nowhere_else() -> None:
    tokenizer = Word(Vocabulary.create(["a", "b"]))
    characters = [chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i < 0xE000]
    cut = [i for i in characters if len(f"a{i}b".split()) == 2]
    assert len(cut) > 25
    read = library(tokenizer)
    assert len(read.encode("".join(i for i in characters if i not in cut)).ids) == 1
    assert read.encode("".join(f"a{i}b " for i in cut)).ids == tokenizer.encode("a b " * len(cut))


def test_special_ids_are_where_ours_are_and_have_names_that_no_symbol_holds() -> None:
    vocabulary = Vocabulary.create(["<eos>", "x<pad>", "<unk>"])
    read = library(Word(vocabulary))
    named = {read.id_to_token(i): i for i in range(vocabulary.vocab_size - 2, len(vocabulary))}
    assert named == {"<unk_1>": 3, "<eos_1>": 4, "<bos>": 5, "<pad_1>": 6, "<mask>": 7}
    assert read.get_vocab_size() == len(vocabulary)


@pytest.mark.parametrize("kind", ["word", "char", "tab", "bpe"])
def test_file_gives_the_tokenizer_back(kind: str) -> None:
    tokenizer = made(kind)
    again = from_json(to_json(tokenizer), kind_of(tokenizer), special_ids(tokenizer.vocabulary))
    assert again.vocabulary == tokenizer.vocabulary
    assert kind_of(again) == kind_of(tokenizer)
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


@pytest.mark.parametrize("unk", [True, False])
@pytest.mark.parametrize("eos", [True, False])
@pytest.mark.parametrize("bos", [None, 0, 2])
def test_every_layout_of_special_ids_comes_back(unk: bool, eos: bool, bos: int | None) -> None:
    vocabulary = Vocabulary.create("abc", unk=unk, eos=eos, bos=bos)
    tokenizer = Word(vocabulary)
    assert from_json(to_json(tokenizer), kind_of(tokenizer), special_ids(vocabulary)).vocabulary == vocabulary
    assert library(tokenizer).get_vocab_size() == len(vocabulary)


def test_what_is_no_tokenizer_of_ours_is_refused() -> None:
    tokenizer = Word(Vocabulary.create("abc"))
    text, kind, ids = to_json(tokenizer), kind_of(tokenizer), special_ids(tokenizer.vocabulary)
    with pytest.raises(UserError, match="special ids"):
        from_json(text, kind, {**ids, "pad_token_id": 9})
    with pytest.raises(UserError, match="not one of ours"):
        from_json(json.dumps({"model": "x"}), kind, ids)
    with pytest.raises(UserError, match="not one of ours"):
        from_json(text, {"tokenizer": "morse"}, ids)
