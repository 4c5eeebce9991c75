import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.chi_square import z_score
from oracles.derivations import write_out

from textforge.errors import UserError
from textforge.oracles.grammar import GrammarOracle, ambiguous_sentence, num_derivations, parsed, read
from textforge.text.tokenizers import Char, Word

PETS = """join = space
@scene.run 2
  3: a {colour} dog runs .
  the {colour} dog runs home .
@scene.sit
  a {colour} {pet} sits .
@colour
  2: red
  dark red
  3:
@pet
  dog
  4: cat
"""


@st.composite
def grammars(draw: st.DrawFn) -> str:
    """Small grammars over two letters, most of them ambiguous, with empty alternatives and shared slots."""

    def alternatives(slots: list[str]) -> list[str]:
        parts = st.lists(st.sampled_from(["a", "b", *(f"{{{slot}}}" for slot in slots)]), max_size=2).map(" ".join)
        bodies = draw(st.lists(parts, min_size=1, max_size=3, unique=True))
        return [f"  {draw(st.integers(1, 4))}: {body}" for body in bodies]

    slots = {"x": alternatives([])}
    slots["y"] = alternatives(["x"])
    scenes = {f"scene.{i}": alternatives(["x", "y"]) for i in range(draw(st.integers(1, 2)))}
    text = "\n".join(line for lines in scenes.values() for line in lines)
    used = {slot for slot in slots if f"{{{slot}}}" in text}
    if "y" in used and any("{x}" in line for line in slots["y"]):
        used.add("x")
    blocks = [f"@{name} {draw(st.integers(1, 3))}\n" + "\n".join(lines) for name, lines in scenes.items()]
    blocks += [f"@{name}\n" + "\n".join(slots[name]) for name in sorted(used)]
    return "join = none\n" + "\n".join(blocks)


def check_against_all_derivations(oracle: GrammarOracle) -> None:
    """Compare every answer of an oracle with what the list of all derivations says."""
    join = " " if oracle.grammar.join == "space" else ""
    reference = {join.join(symbols): sentence for symbols, sentence in write_out(oracle.grammar).items()}
    texts = oracle.support()
    assert texts is not None
    assert texts == sorted(texts)
    assert set(texts) == set(reference)
    assert len(texts) == oracle.num_sentences == len(reference)
    expected = np.log([float(reference[text].probability) for text in texts])
    np.testing.assert_allclose(oracle.log_prob(texts), expected, rtol=0, atol=1e-12)
    assert math.isclose(oracle.entropy, -np.exp(expected) @ expected, abs_tol=1e-12)
    assert oracle.max_length == 1 + max(len(symbols) for symbols in write_out(oracle.grammar))
    for text, mode in zip(texts, oracle.mode_of(texts), strict=True):
        assert mode is not None
        assert reference[text].scenes[mode] == max(reference[text].scenes.values())
    assert sum(num_derivations(oracle.grammar)[scene.name] for scene in oracle.grammar.scenes) == sum(
        sentence.derivations for sentence in reference.values()
    )
    ambiguous = ambiguous_sentence(oracle.grammar)
    if ambiguous is None:
        assert all(sentence.derivations == 1 for sentence in reference.values())
    else:
        assert reference[ambiguous].derivations > 1


@settings(max_examples=60)
@given(grammars())
def test_every_answer_equals_the_sum_over_all_derivations(text: str) -> None:
    check_against_all_derivations(parsed(text, "random", "random.grammar"))


def test_a_grammar_of_words_equals_the_sum_over_all_derivations() -> None:
    check_against_all_derivations(parsed(PETS, "pets", "pets.grammar"))


def test_probabilities_are_exact_fractions_that_sum_to_one_in_every_state() -> None:
    automaton = parsed(PETS, "pets", "pets.grammar").automaton
    for state, arcs in enumerate(automaton.arcs):
        assert (state in automaton.scenes) == (not arcs)
        assert not arcs or sum(arc.probability for arc in arcs.values()) == 1
        assert all(arc.target > state for arc in arcs.values())


def test_a_known_probability() -> None:
    # scene run 2/3, first alternative 3/4, colour red 2/6; and scene sit 1/3, empty colour 3/6, cat 4/5.
    oracle = parsed(PETS, "pets", "pets.grammar")
    log_probs = oracle.log_prob(
        ["a red dog runs .", "a cat sits .", "a dog runs", "a dog runs . .", "", "the cat sits ."]
    )
    np.testing.assert_allclose(log_probs[:2], np.log([2 / 3 * 3 / 4 * 2 / 6, 1 / 3 * 3 / 6 * 4 / 5]), atol=1e-12)
    assert np.isneginf(log_probs[2:]).all()
    assert oracle.mode_of(["a red dog runs .", "a cat sits .", "a dog runs"]) == ["run", "sit", None]
    assert oracle.modes == ("run", "sit")


@pytest.mark.parametrize(
    ("text", "ambiguous"),
    [
        ("join = none\n@scene.0\n  {x}\n@x\n  a\n  b\n", None),
        ("join = none\n@scene.0\n  a\n  {x}\n@x\n  a\n  b\n", "a"),
        ("join = none\n@scene.0\n  {x}{x}\n@x\n  b\n  bb\n", "bbb"),
        ("join = none\n@scene.0\n  cab\n@scene.1\n  c{x}b\n@x\n  a\n  b\n", "cab"),
        ("join = none\n@scene.0\n  {x}a\n@x\n  1:\n  a\n", None),
        ("join = none\n@scene.0\n  {x}{x}a\n@x\n  1:\n  a\n", "aa"),
    ],
)
def test_a_sentence_with_two_derivations_is_found(text: str, ambiguous: str | None) -> None:
    assert ambiguous_sentence(parsed(text, "g", "g").grammar) == ambiguous


def test_samples_follow_the_probabilities() -> None:
    oracle = parsed(PETS, "pets", "pets.grammar")
    texts = oracle.support()
    assert texts is not None
    position = {text: i for i, text in enumerate(texts)}
    counts = np.bincount([position[text] for text in oracle.sample(20_000, seed=3)], minlength=len(texts))
    assert abs(z_score(counts, np.exp(oracle.log_prob(texts)))) < 4


def test_a_seed_decides_the_samples_and_a_larger_number_only_adds_to_them() -> None:
    oracle = parsed(PETS, "pets", "pets.grammar")
    assert oracle.sample(50, seed=1) == oracle.sample(80, seed=1)[:50]
    assert oracle.sample(50, seed=1) != oracle.sample(50, seed=2)
    assert oracle.sample(0, seed=1) == []


def test_the_tokenizer_holds_exactly_the_symbols_of_the_language() -> None:
    words, letters = parsed(PETS, "pets", "p").tokenizer, parsed("join = none\n@scene.0\n  ba\n", "ba", "b").tokenizer
    assert isinstance(words, Word)
    assert words.vocabulary.symbols == (".", "a", "cat", "dark", "dog", "home", "red", "runs", "sits", "the")
    assert words.vocabulary.eos is not None
    assert words.vocabulary.unk is None
    assert isinstance(letters, Char)
    assert letters.vocabulary.symbols == ("a", "b")


def test_a_language_beyond_a_million_sentences_is_counted_and_not_listed() -> None:
    letters = "\n".join(f"  {letter}" for letter in "abcdefghij")
    large, largest = ("join = none\n@scene.0\n  " + "{x}" * n + "\n@x\n" + letters for n in (7, 30))
    assert parsed(large, "large", "large").support() is None
    oracle = parsed(largest, "largest", "largest")
    assert oracle.num_sentences == 10**30
    assert math.isclose(oracle.entropy, 30 * math.log(10), rel_tol=1e-12)
    assert math.isclose(oracle.log_prob(["a" * 30])[0], -30 * math.log(10), rel_tol=1e-12)
    assert ambiguous_sentence(oracle.grammar) is None


def test_a_grammar_of_the_users_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "pets.grammar"
    file.write_text(PETS, "utf-8")
    assert read(file, "pets").log_prob(["a cat sits ."])[0] == pytest.approx(math.log(1 / 3 * 3 / 6 * 4 / 5))
    with pytest.raises(UserError, match=r"missing\.grammar cannot be read: No such file"):
        read(tmp_path / "missing.grammar", "missing")
    file.write_bytes(b"join = space\n\xff")
    with pytest.raises(UserError, match="not UTF-8 at byte 13"):
        read(file, "pets")


def test_the_largest_uniform_number_still_chooses_a_symbol() -> None:
    # Ten times 0.1, added up in floating point, is less than the largest number below one.
    automaton = parsed(
        "join = none\n@scene.0\n  {x}\n@x\n" + "\n".join(f"  {c}" for c in "abcdefghij"), "g", "g"
    ).automaton
    assert list(automaton.draw([[math.nextafter(1.0, 0.0)] * 2, [0.0, 0.0]])) == [["j"], ["a"]]
