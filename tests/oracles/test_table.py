import math

import numpy as np
import pytest
from oracles.chi_square import z_score

from textforge.errors import UserError
from textforge.oracles.table import TableOracle, random_table

ABC = {("a", "b"): 0.5, ("b",): 0.3, (): 0.2, ("a", "a"): 0.0}


def test_a_table_answers_with_what_it_lists() -> None:
    oracle = TableOracle(("a", "b"), ABC)
    texts = ["a b", "b", "", "a a", "b a", " a  b "]
    np.testing.assert_allclose(oracle.log_prob(texts)[:3], np.log([0.5, 0.3, 0.2]))
    assert np.isneginf(oracle.log_prob(texts)[3:5]).all()
    assert oracle.log_prob(texts)[5] == oracle.log_prob(texts)[0]
    assert oracle.mode_of(texts) == ["", "", "", None, None, ""]
    assert oracle.support() == ["a b", "b", ""]
    assert oracle.modes == ()


def test_the_end_is_a_choice_only_where_lengths_differ() -> None:
    several, one = TableOracle(("a", "b"), ABC), random_table(seed=0)
    assert several.tokenizer.vocabulary.eos is not None
    assert several.max_length == 3
    assert one.tokenizer.vocabulary.eos is None
    assert one.max_length == 3


@pytest.mark.parametrize(("num_symbols", "length"), [(3, 3), (2, 4), (1, 1)])
def test_a_random_world_lists_all_sequences(num_symbols: int, length: int) -> None:
    oracle = random_table(num_symbols, length, seed=7)
    assert len(oracle.support()) == num_symbols**length
    assert all(len(oracle.tokenizer.encode(text)) == length for text in oracle.support())
    assert math.isclose(np.exp(oracle.log_prob(oracle.support())).sum(), 1.0, abs_tol=1e-12)


def test_a_random_world_is_decided_by_its_seed() -> None:
    assert random_table(seed=1).table == random_table(seed=1).table
    assert random_table(seed=1).table != random_table(seed=2).table


def test_samples_follow_the_table() -> None:
    oracle = random_table(seed=3)
    support = oracle.support()
    counts = np.bincount([support.index(text) for text in oracle.sample(20_000, seed=1)], minlength=len(support))
    assert abs(z_score(counts, np.exp(oracle.log_prob(support)))) < 4
    assert oracle.sample(50, seed=1) == oracle.sample(80, seed=1)[:50]
    assert oracle.sample(50, seed=1) != oracle.sample(50, seed=2)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({("a",): 0.5, ("b",): 0.4}, r"sum to 0\.9"),
        ({("a",): 1.5, ("b",): -0.5}, "must not be negative"),
        ({("a",): math.nan}, "must not be negative"),
        ({("a", "c"): 1.0}, "beyond"),
        ({}, "sum to 0"),
    ],
)
def test_a_table_that_is_no_distribution_is_refused(table: dict[tuple[str, ...], float], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        TableOracle(("a", "b"), table)
