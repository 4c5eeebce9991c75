"""What is said of planted numbers."""

from dataclasses import replace

import numpy as np
import pytest

from textforge.metrics.bootstrap import mean_interval
from textforge.replication import Ours, Row, Value, words

BLEU = Value("bleu_2", "0.731")
ROW = Row("row", "paper", "table 1", "BLEU", "as is", "run", (BLEU,), seeds=1)


def ours(*values: float, seeds: int = 0) -> Ours:
    return Ours("2026-01-01", "0.1.0", tuple(range(seeds)), {"bleu_2": values})


def test_a_published_number_is_known_to_its_last_digit() -> None:
    assert (BLEU.decimals, BLEU.rounding) == (3, 0.0005)
    assert (Value("nll", "9.40").decimals, Value("x", "225").decimals, Value("x").decimals) == (2, 0, 0)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.7314, "the same to the last printed digit"),
        (0.7305, "the same to the last printed digit"),
        (0.7316, "ours is 0.0006 above it"),
        (0.7280, "ours is 0.0030 below it"),
    ],
)
def test_one_value_without_chance(value: float, said: str) -> None:
    assert words.verdict(BLEU, [value], chance=False) == said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.7280], "ours is 0.0030 below it (1 seed: no interval)"),
        ([0.7311], "the same to the last printed digit (1 seed: no interval)"),
        ([0.7250, 0.7400], "the printed number lies between the lowest and the highest of ours (2 seeds: no interval)"),
        ([0.7350, 0.7400, 0.7450], "all of ours are to one side; our mean is 0.0090 above it (3 seeds: no interval)"),
    ],
)
def test_fewer_than_four_seeds_have_no_interval(values: list[float], said: str) -> None:
    assert words.verdict(BLEU, values, chance=True) == said
    assert words.interval(values) is None


def test_from_four_seeds_on_the_interval_decides() -> None:
    near, far = [0.729, 0.731, 0.733, 0.734], [0.741, 0.743, 0.742, 0.744]
    assert words.verdict(BLEU, near, chance=True) == "the printed number lies in our interval"
    assert (
        words.verdict(BLEU, far, chance=True)
        == "the printed number lies outside our interval; our mean is 0.0115 above it"
    )
    found = mean_interval(np.array(near))
    assert words.measured(BLEU, near) == f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"
    assert found.low <= 0.731 <= found.high
    assert mean_interval(np.array(far)).low > 0.7315


def test_an_interval_reaches_what_rounds_to_the_printed_number() -> None:
    just, beyond = [0.7314] * 4, [0.7316] * 4
    assert words.agrees(BLEU, just)
    assert not words.agrees(BLEU, beyond)


def test_a_formula_is_compared_by_its_value_and_not_by_its_digits() -> None:
    value = Value("game_optimum", "-1.386", exact=-1.3862943611)
    assert words.printed(value) == "-1.386"
    assert words.verdict(value, [-1.3863, -1.3862, -1.3864, -1.3863], chance=True) == (
        "the exact number lies in our interval"
    )
    above = [-1.3861, -1.3861, -1.3861, -1.3861]
    assert words.verdict(value, above, chance=True) == (
        "the exact number lies outside our interval; our mean is 0.0002 above it"
    )
    assert words.agrees(replace(value, exact=None), above), "the digits alone do not tell"
    assert words.verdict(value, [-1.3860, -1.3865], chance=True).startswith("the exact number lies between the lowest")


def test_nothing_printed_is_nothing_to_compare_with() -> None:
    value = Value("validity")
    assert words.verdict(value, [0.9], chance=True) == "nothing was printed to compare with"
    assert words.printed(value) == "none"
    assert words.measured(value, [0.9, 0.95123]) == "0.9000, 0.9512"
    row, found = replace(ROW, values=(value,)), Ours("2026-01-01", "0.1.0", (0,), {"validity": (0.9,)})
    assert words.summary(row, found) == "nothing was printed to compare with"


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ((0.7311,), (0.4971,), "all 2 are the same to the last printed digit"),
        ((0.7311,), (0.4990,), "1 of 2 are the same to the last printed digit; of the rest ours are up to 0.0020 away"),
        ((0.7200,), (0.5000,), "none of 2 is the same to the last printed digit; ours are up to 0.0110 away"),
    ],
)
def test_a_row_of_several_numbers(first: tuple[float], second: tuple[float], said: str) -> None:
    row = replace(ROW, values=(BLEU, Value("bleu_3", "0.497"), Value("unique")), seeds=0)
    found = Ours("2026-01-01", "0.1.0", (), {"bleu_2": first, "bleu_3": second, "unique": (0.5,)})
    assert words.summary(row, found) == said
    chance = replace(found, seeds=(0,))
    assert words.summary(replace(row, seeds=1), chance) == f"{said} (1 seed: no interval)"


def test_what_was_not_measured_says_so() -> None:
    assert words.result(replace(ROW, reason="no time"), None) == ("not run", "no time")
    assert words.result(replace(ROW, status="needs-gpu"), None)[0] == "not run: needs GPU-hours"
    assert words.result(replace(ROW, status="not-comparable"), None)[0] == "not comparable"
    assert words.result(ROW, ours(0.7311, seeds=1))[0] == "0.7311"


@pytest.mark.parametrize(
    ("minutes", "said"), [(0.2, "12 seconds"), (1, "60 seconds"), (4, "4 minutes"), (660, "11 hours")]
)
def test_effort_in_words(minutes: float, said: str) -> None:
    assert words.effort(minutes) == said
