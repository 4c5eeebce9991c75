"""Automata against Python's own `re`, by characters and by bytes, and against all sentences of a grammar."""

import itertools
import random
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import World

from textforge import oracles, patterns
from textforge.constraints import constrain, from_grammar, matching, satisfies
from textforge.decoding import sample
from textforge.errors import UserError
from textforge.oracles.grammar import GrammarOracle, parsed
from textforge.patterns import EVERY, NONE, Reader, grammar_reader, in_bytes, pattern_reader
from textforge.text import Char, Tokenizer, Vocabulary, Word
from textforge.text.tokenizers import train

LETTERS = "ab c1人一é.]\n{}-"
CHARACTERS = np.unique([ord(character) for character in LETTERS + "A"])
ATOMS = [
    *"abc人1-{} ",
    *(".", "[ab]", "[^a]", "[]a]", "[^]]", "[a-c人]", "[一-龥]", r"[\d.]", r"[^\w\s]", r"[\]}]"),
    *(r"\w", r"\W", r"\d", r"\s", r"\S", r"\.", r"\n", r"\x61", r"\u4e00", r"\141", r"\N{LATIN SMALL LETTER B}"),
]
REPEATS = ["*", "+", "?", "*?", "{2}", "{,2}", "{1,}", "{1,3}", "{2,3}?", "{0}", "{,}"]


def combined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = st.builds("({}{})".format, st.sampled_from(["", "?:", "?P<name>"]), parts)
    return st.one_of(
        st.lists(parts, max_size=3).map("".join),
        st.builds("(?:{}|{})".format, parts, parts),
        st.builds("{}{}".format, st.one_of(groups, st.sampled_from(ATOMS)), st.sampled_from(REPEATS)),
    )


PATTERNS = st.builds(
    "{}{}".format, st.sampled_from(["", "", "(?i)", "(?s)"]), st.recursive(st.sampled_from(ATOMS), combined)
)


def accepts(reader: Reader, characters: Iterable[int]) -> bool:
    state = 0
    for kind in reader.kinds_of(list(characters)):
        state = reader.moves[state, kind]
        if state == NONE:
            return False
    return bool(reader.accepting[state])


@settings(max_examples=200)
@given(PATTERNS, st.lists(st.text(LETTERS, max_size=5), min_size=10, max_size=10))
def test_a_pattern_means_what_it_means_to_python(pattern: str, texts: list[str]) -> None:
    try:
        compiled = re.compile(pattern)
    except re.error:  # a name twice
        return
    reader = pattern_reader(pattern, CHARACTERS)
    for text in texts:
        assert accepts(reader, map(ord, text)) == bool(compiled.fullmatch(text)), (pattern, text)


CHARACTER = st.one_of(st.sampled_from("ab é人😀"), st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("pattern", [r"\w+( \w+)*", ".*", "[^b]{0,3}人?", r"(?i)[a-zé]+|\W", "(?s)..", r"[ࠀ-￿]|\d"])
def test_bytes_are_read_as_the_characters_that_they_spell(pattern: str) -> None:
    reader = in_bytes(pattern_reader(pattern, EVERY))

    @settings(max_examples=60)
    @given(st.text(CHARACTER, max_size=4))
    def check(text: str) -> None:
        assert accepts(reader, text.encode()) == bool(re.fullmatch(pattern, text))

    check()
    edges = [0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFF, 0x1000, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x3FFFF, 0x40000, 0x10FFFF]
    for code in edges:
        assert accepts(reader, chr(code).encode()) == bool(re.fullmatch(pattern, chr(code))), hex(code)


@cache
def anything() -> Reader:
    return in_bytes(pattern_reader("(?s).*", EVERY))


@settings(max_examples=100)
@given(st.binary(max_size=5))
def test_bytes_that_spell_nothing_are_refused(text: bytes) -> None:
    try:
        text.decode()
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert accepts(anything(), text) == valid


@pytest.mark.parametrize(
    "text",
    [
        "c080",
        "c1bf",
        "e08080",
        "e09fbf",
        "f0808080",
        "f08fbfbf",
        "eda080",
        "edbfbf",
        "f4908080",
        "f5808080",
        "80",
        "ff",
    ],
)
def test_overlong_forms_and_surrogates_are_refused(text: str) -> None:
    with pytest.raises(UnicodeDecodeError):
        bytes.fromhex(text).decode()
    assert not accepts(anything(), bytes.fromhex(text))


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("^a", r"'\^a'"),
        ("a$", "'\\$'"),
        (r"(a)\1", r"'\\\\1'"),
        (r"\bcat", r"'\\\\bc'"),
        ("(?=a)b", r"'\(\?='"),
        ("(?<!a)b", r"'\(\?<'"),
        ("(?i:a)", r"'\(\?i'"),
        ("a++", r"'\+\+'"),
        ("(?>a)", r"'\(\?>'"),
        ("(?x) a", r"'\(\?x'"),
        ("a(", "is no regular expression: missing \\)"),
        ("*", "is no regular expression: nothing to repeat"),
        ("a{2000}", "more than 1,000 states"),
        ("a{5000000000}", "repeats too often"),
        ("(" * 5000 + ")" * 5000, "nested too deeply"),
        ("(a|b)*a(a|b){20}", "more than 1,000 states"),
    ],
)
def test_what_cannot_be_read_is_refused(pattern: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MAX_STATES", 1000)
    with pytest.raises(UserError, match=named):
        pattern_reader(pattern, np.array([ord("a"), ord("b"), ord("c")]))


def test_a_grammar_accepts_its_sentences_and_nothing_else() -> None:
    for name in ("captions-small", "captions-zh-small"):
        oracle = oracles.load(name)
        assert isinstance(oracle, GrammarOracle)
        support = oracle.support()
        assert support is not None
        texts = support[:: max(1, len(support) // 25)]
        reader = grammar_reader(oracle, np.unique([ord(character) for character in "".join(support) + " x"]))
        for text in texts:
            assert accepts(reader, map(ord, text))
            for wrong in (text[:-1], text + text[-1], text[1:], f"{text} ", f" {text}", text + "x"):
                assert accepts(reader, map(ord, wrong)) == np.isfinite(oracle.log_prob([wrong])[0]) * (
                    wrong == " ".join(wrong.split())
                )


def test_a_symbol_may_begin_another_and_a_sentence_may_be_empty() -> None:
    oracle = parsed("join = space\n@scene.one\n  a {b} c\n  1:\n  an\n@b\n  a\n  ab\n  1:\n", "it", "it")
    reader = grammar_reader(oracle, np.unique([ord(character) for character in "abcn "]))
    for text in ("", "an", "a c", "a a c", "a ab c"):
        assert accepts(reader, map(ord, text)), text
    for text in ("a", "a ", "ac", "a  c", "aac", "ab c", "an c", "a b c", " "):
        assert not accepts(reader, map(ord, text)), text


# --- Patterns and grammars over tokens ---

WORDS = Word(Vocabulary.create(["a", "cat", "cats", "on", ".", "at"]))
CHINESE = Char(Vocabulary.create("男人在骑马的a 。"))


@pytest.mark.parametrize(
    ("tokenizer", "pattern"),
    [
        (WORDS, r"a cats?( on a cat)* \."),
        (WORDS, r"(?:\w+ )*cats?"),
        (WORDS, r"\S+ .* cat"),
        (WORDS, "a cat|"),
        (WORDS, "[^c]*"),
        (CHINESE, "男人在.*马?"),
        (CHINESE, r"[^的]+的?人"),
        (CHINESE, r"\w\w\W?"),
        (CHINESE, " ?a? ?"),
    ],
)
def test_the_text_of_tokens_matches_as_a_whole(tokenizer: Tokenizer, pattern: str) -> None:
    constraint, vocabulary = matching(tokenizer, pattern), tokenizer.vocabulary
    num, found = len(vocabulary.symbols), 0
    for size in range(5):
        rows = itertools.product(range(num), repeat=size) if num**size < 2000 else random_rows(num, size)
        tokens = torch.tensor([[*row, vocabulary.eos] for row in rows])
        matches = [bool(re.fullmatch(pattern, tokenizer.decode(row))) for row in tokens.tolist()]
        assert satisfies(constraint, vocabulary, tokens).tolist() == matches
        found += sum(matches)
    assert found


def random_rows(num: int, size: int) -> list[tuple[int, ...]]:
    rng = random.Random(size)
    return [tuple(rng.randrange(num) for _ in range(size)) for _ in range(2000)]


def flat(tokenizer: Tokenizer, max_length: int) -> Any:
    """A random LSTM over the tokens of a tokenizer."""
    return worlds.wide_lstm(World(tokenizer.vocabulary, max_length), 1)


MOLECULE = r"([CNO]|\(C?[NO]\)|\[[A-Z][a-z]?[+-]?\]|=[CO])+"


@pytest.mark.parametrize(
    ("tokenizer", "pattern"),
    [
        (train("char", ["CC(N)O", "[Na+]C=O", "[Cl-]"]), MOLECULE),
        (CHINESE, "男人在(骑马|.)。"),
        (WORDS, r"a( \w+){3,5} \."),
        (train("bpe", ["a man rides a horse", "男人在骑马"] * 3, max_size=270), r"男?人.[a-e ]{2,}é|\w+ 😀"),
    ],
    ids=["molecules", "chinese", "words", "byte pairs"],
)
def test_every_drawn_text_matches(tokenizer: Tokenizer, pattern: str) -> None:
    constraint = matching(tokenizer, pattern)
    drawn = [tokenizer.decode(row) for row in sample(constrain(flat(tokenizer, 16), constraint), 300).tokens.tolist()]
    assert all(re.fullmatch(pattern, text) for text in drawn), drawn[:3]
    assert len(set(drawn)) > 5


def test_byte_pairs_are_read_as_their_bytes() -> None:
    """Whether they are whole characters or not; what is no text at all matches nothing."""
    tokenizer = train("bpe", ["a man rides a horse", "男人在骑马"] * 3, max_size=290)
    vocabulary, rng = tokenizer.vocabulary, random.Random(0)
    constraint = matching(tokenizer, r"(?s)[^x]*")
    ids = list(range(len(vocabulary.symbols)))
    whole = [i for i in ids if "\ufffd" not in tokenizer.decode([i])]
    assert len(whole) < len(ids)
    for choice in (ids, whole):
        for _ in range(300):
            row = [rng.choice(choice) for _ in range(rng.randrange(1, 4))]
            text = tokenizer.decode(row)
            assert satisfies(constraint, vocabulary, torch.tensor([row])).item() == (
                "\ufffd" not in text and "x" not in text
            ), text
    for text in ("a horse", "男人 é", "😀 rides", "㐀"):
        assert satisfies(constraint, vocabulary, torch.tensor([tokenizer.encode(text)])).item()


NUM_SAYABLE = {"word": 6, "char": 6, "bpe": 12}
RULES = """join = space
@scene.one
  a {animal} sits .
  2: {animal} and {animal} .
@animal
  cat
  black cat
  dog
"""


@pytest.mark.parametrize("name", ["word", "char", "bpe"])
def test_a_grammar_in_the_tokens_of_another(name: str, tmp_path: Path) -> None:
    tokenizer = train(name, ["a black cat sits .", "cat and bird ."] * 2, max_size=None if name != "bpe" else 300)
    oracle = parsed(RULES, "rules", "rules")
    file = tmp_path / "rules.grammar"
    file.write_text(RULES, encoding="utf-8")
    support = oracle.support()
    assert support is not None
    sayable = {text for text in support if tokenizer.vocabulary.unk not in tokenizer.encode(text)}
    assert len(sayable) == NUM_SAYABLE[name]
    for rules in (oracle, file):
        constrained = constrain(flat(tokenizer, 40), from_grammar(tokenizer, rules))
        drawn = {tokenizer.decode(row) for row in sample(constrained, 2000).tokens.tolist()}
        assert drawn <= sayable
        assert name == "bpe" or drawn == sayable
