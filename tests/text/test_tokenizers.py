import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textforge.errors import CallError, UserError
from textforge.text import Bpe, Lines, Tokenizer, Word, choose, from_dict, train

# Code points that are legal in UTF-8: everything but surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
EXOTIC = [
    "a man\trides  a horse ",
    "床前明月光，疑是地上霜。",
    "👩‍👩‍👧‍👦 family 🇨🇳🇩🇪 e\u0301 é",
    "مرحبا بالعالم שלום עולם",
    "in\u2028side\x0ba\x0cline\x85still\xa0one",
    "สวัสดีชาวโลก ﷽ \U0001f9ec𐍈",
]


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return train("bpe", ["a man rides a horse", "a horse rides a man", "床前明月光"] * 20, max_size=300)


@given(TEXT.filter(bool))
def test_char_returns_any_text_unchanged(text: str) -> None:
    tokenizer = train("char", [text])
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


@settings(max_examples=300)
@given(text=TEXT)
def test_bpe_returns_any_text_unchanged(bpe: Tokenizer, text: str) -> None:
    assert bpe.decode(bpe.encode(text)) == text


@given(TEXT.filter(lambda text: len(text.split()) > 0))
def test_word_returns_the_words_one_space_apart(text: str) -> None:
    tokenizer = train("word", [text])
    ids = tokenizer.encode(text)
    assert len(ids) == len(text.split())
    assert tokenizer.decode(ids) == " ".join(text.split())
    assert tokenizer.encode(tokenizer.decode(ids)) == ids


@pytest.mark.parametrize("name", ["word", "char", "bpe"])
@pytest.mark.parametrize("text", EXOTIC)
def test_every_script_works(name: str, text: str) -> None:
    tokenizer = train(name, EXOTIC)
    assert tokenizer.decode(tokenizer.encode(text)) == (" ".join(text.split()) if name == "word" else text)


@pytest.mark.parametrize("name", ["word", "char", "bpe"])
def test_json_keeps_the_tokenizer(name: str) -> None:
    tokenizer = train(name, EXOTIC)
    again = from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert isinstance(again, Tokenizer)
    assert again == tokenizer
    assert again.name == name
    assert again.vocabulary == tokenizer.vocabulary
    assert [again.encode(text) for text in EXOTIC] == [tokenizer.encode(text) for text in EXOTIC]


def test_unknown_characters_and_words_keep_their_place() -> None:
    assert train("char", ["abc"]).decode(train("char", ["abc"]).encode("axc")) == "a\ufffdc"
    word = train("word", ["a b"])
    assert word.encode(word.decode(word.encode("a zebra b"))) == word.encode("a zebra b")


def test_min_count_and_max_size_bound_the_symbols() -> None:
    texts = ["a a a b b c"]
    assert train("word", texts, min_count=2).vocabulary.symbols == ("a", "b")
    assert train("word", texts, max_size=1).vocabulary.symbols == ("a",)
    assert train("char", texts, max_size=2).vocabulary.symbols == (" ", "a")


def test_bpe_refuses_half_a_character(bpe: Tokenizer) -> None:
    for read in (bpe.encode, bpe.split):
        with pytest.raises(UserError, match="holds half a character"):
            read("a \ud800")


def test_bpe_merges_what_is_frequent(bpe: Tokenizer) -> None:
    vocabulary = bpe.vocabulary
    assert len(vocabulary.symbols) <= 300
    assert len(vocabulary.symbols) > 256, "the 256 bytes and the merges"
    assert (vocabulary.unk, vocabulary.eos) == (None, len(vocabulary.symbols))
    assert len(bpe.encode("a horse rides")) < len(b"a horse rides") / 2
    assert max(bpe.encode("a horse rides 👩")) < vocabulary.vocab_size


def test_bpe_is_the_same_every_time() -> None:
    texts = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog"] * 3
    assert train("bpe", texts, max_size=290) == train("bpe", iter(texts), max_size=290)


def test_bpe_decodes_up_to_eos_and_skips_input_only_ids(bpe: Tokenizer) -> None:
    v = bpe.vocabulary
    assert v.eos is not None
    man, horse = bpe.encode("a man"), bpe.encode(" rides")
    assert bpe.decode([v.bos, *man, v.pad, *horse, v.eos, *man]) == "a man rides"


def test_bpe_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"pip install 'textforge\[hf\]'"):
        train("bpe", ["a"])
    for name in ("word", "char"):
        assert train(name, ["a b"]).encode("a") == [train(name, ["a b"]).vocabulary.symbols.index("a")]


@pytest.mark.parametrize(
    ("expected", "lines"),
    [
        ("word", ["a man rides a horse .", "two dogs", "the quick brown fox jumps over the lazy dog"]),
        ("word", ["Donaudampfschifffahrtsgesellschaft ist ein sehr langes deutsches Wort"]),
        ("word", ["床 前 明 月 光 ，", "疑 是 地 上 霜 。"]),
        ("word", ["床前 明月 光 是 诗人 的 句子", "中文 分词 之后 的 文本"]),
        ("word", ["나는 학교에 갑니다", "오늘은 날씨가 좋습니다"]),
        ("word", ["12 7 99 4", "3 3 8"]),
        ("char", ["床前明月光，疑是地上霜。", "举头望明月，低头思故乡。"]),
        ("char", ["床前明月光 疑是地上霜", "举头望明月 低头思故乡"]),
        ("char", ["吾輩は猫である。名前はまだ無い。", "どこで生れたかとんと見当がつかぬ。"]),
        ("char", ["CC(=O)Oc1ccccc1C(=O)O", "Cn1cnc2c1c(=O)n(C)c(=O)n2C"]),
        ("char", ["ATGGCCATTGTAATGGGCCGC", "ATGAAAGGGTGCCCGATAG"]),
        ("char", ["alice", "bob", "carol"]),
        ("char", ["x+x*x", "x"]),
    ],
)
def test_choose_by_language(expected: str, lines: list[str]) -> None:
    assert choose(lines) == expected


def test_choose_reads_the_first_thousand_lines_only() -> None:
    assert choose(["a b c"] * 1000 + ["abc"] * 9000) == "word"
    assert choose(["abc"] * 501 + ["a b c"] * 9499) == "char"


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ("image_coco", "word"),
        ("emnlp_news", "word"),
        ("imdb", "word"),
        ("chinese_poems", "word"),
        ("zinc_smiles", "char"),
        ("dna_genes", "char"),
        ("nottingham_abc", "char"),
    ],
)
def test_choose_on_public_corpora(shared_data: Path, corpus: str, expected: str) -> None:
    (path,) = (shared_data / corpus).glob("train.txt*")
    assert choose(Lines(path)) == expected


def test_unknown_names_and_damaged_files_are_named() -> None:
    with pytest.raises(CallError, match=r"'words'; use word, char, bpe, tab or the folder .*; did you mean 'word'\?"):
        train("words", ["a"])
    for damaged in ({}, {"tokenizer": "word"}, {"tokenizer": "runes", "vocabulary": {}}, {"tokenizer": "bpe"}):
        with pytest.raises(UserError, match="stored tokenizer"):
            from_dict(damaged)
    with pytest.raises(UserError, match="stored vocabulary"):
        from_dict({"tokenizer": "char", "vocabulary": {"symbols": "abc"}})
    with pytest.raises(UserError, match="max_size 100 is too small"):
        train("bpe", ["a"], max_size=100)


def test_kinds_are_values() -> None:
    assert train("word", ["b a"]) == Word(train("word", ["a b"]).vocabulary)
    assert isinstance(train("bpe", ["a"]), Bpe)
