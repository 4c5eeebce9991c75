import itertools
import math
from collections import Counter

import numpy as np
from oracles.chi_square import z_score

from textforge.oracles.arithmetic import Arithmetic

ORACLE = Arithmetic()


def is_expression(text: str) -> bool:
    """The grammar S -> x | S+S | S-S | S*S | S/S, read literally: split at any operator."""
    return text == "x" or any(
        is_expression(text[:i]) and is_expression(text[i + 1 :]) for i, c in enumerate(text) if c in "+-*/"
    )


def test_the_support_is_every_string_of_the_grammar_up_to_twelve_characters() -> None:
    support = ORACLE.support()
    assert len(support) == len(set(support)) == 1365
    assert all(is_expression(text) and len(text) <= 12 for text in support)
    short = ["".join(symbols) for length in range(6) for symbols in itertools.product("x+-*/", repeat=length)]
    assert {text for text in short if is_expression(text)} == {text for text in support if len(text) < 6}


def test_probabilities_are_uniform_over_lengths_and_then_over_operators() -> None:
    probabilities = np.exp(ORACLE.log_prob(ORACLE.support()))
    assert math.isclose(probabilities.sum(), 1.0, abs_tol=1e-12)
    np.testing.assert_allclose(
        ORACLE.log_prob(["x", "x*x", "x+x-x*x/x*x"]), [-math.log(6), -math.log(24), -math.log(6 * 4**5)], atol=1e-12
    )
    lengths = np.array([len(text) for text in ORACLE.support()])
    np.testing.assert_allclose([probabilities[lengths == n].sum() for n in (1, 3, 5, 7, 9, 11)], 1 / 6, atol=1e-12)


def test_other_strings_are_impossible() -> None:
    others = ["", "xx", "x+", "+x", "x++x", "x x", "x+x\n", "y", "x+y", "x" + "+x" * 6]
    assert np.isneginf(ORACLE.log_prob(others)).all()
    assert ORACLE.mode_of(others) == [None] * len(others)
    assert ORACLE.log_prob([]).shape == (0,)


def test_samples_follow_the_probabilities() -> None:
    support = ORACLE.support()
    counts = Counter(ORACLE.sample(40_000, seed=0))
    assert set(counts) <= set(support)
    observed = np.array([counts[text] for text in support])
    assert abs(z_score(observed, np.exp(ORACLE.log_prob(support)))) < 4
    modes = Counter(ORACLE.mode_of(ORACLE.sample(6000, seed=1)))
    assert set(modes) == set(ORACLE.modes) == {"0", "1", "2", "3", "4", "5"}
    assert abs(z_score(np.array([modes[mode] for mode in ORACLE.modes]), np.full(6, 1 / 6))) < 4


def test_a_seed_decides_the_samples_and_a_larger_number_only_adds_to_them() -> None:
    assert ORACLE.sample(50, seed=1) == ORACLE.sample(80, seed=1)[:50]
    assert ORACLE.sample(50, seed=1) != ORACLE.sample(50, seed=2)


def test_symbols_and_length_are_those_of_the_paper() -> None:
    vocabulary = ORACLE.tokenizer.vocabulary
    assert set(vocabulary.symbols) == set("x+-*/")
    assert vocabulary.vocab_size == 6  # with eos in the place of the blank
    assert max(len(ORACLE.tokenizer.encode(text)) for text in ORACLE.support()) + 1 == ORACLE.max_length == 12
