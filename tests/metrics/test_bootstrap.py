import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from textforge import oracles
from textforge.errors import UserError
from textforge.metrics.bleu import self_bleu
from textforge.metrics.bootstrap import (
    CHUNK,
    Interval,
    difference_interval,
    jackknife_errors,
    mean_interval,
    share_interval,
)

Draw = Callable[[np.random.Generator, int], np.ndarray]
REPETITIONS = 1_000
STANDARD_ERROR = math.sqrt(0.95 * 0.05 / REPETITIONS)  # of a coverage of 95 %: .007


def normal(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.normal(size=size)


def skewed(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.exponential(size=size) - 1


@pytest.mark.parametrize(
    ("draw", "size", "bias"), [(normal, 5, 0), (normal, 20, 0), (skewed, 5, 0.02), (skewed, 40, 0.01)]
)
def test_intervals_hold_the_truth_as_often_as_they_say(draw: Draw, size: int, bias: float) -> None:
    """The mean is 0. `bias` is what skewness is known to cost so few values."""
    rng = np.random.default_rng(size)
    found = [mean_interval(draw(rng, size), num=399, seed=seed) for seed in range(REPETITIONS)]
    coverage = np.mean([interval.low <= 0 <= interval.high for interval in found])
    assert 0.95 - bias - 4 * STANDARD_ERROR < coverage < 0.95 + 4 * STANDARD_ERROR


def test_intervals_between_quantiles_of_means_would_be_too_short() -> None:
    """Why the means are studentized; with the same power as the test above."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(REPETITIONS):
        values = normal(rng, 5)
        low, high = np.quantile(values[rng.integers(5, size=(399, 5))].mean(1), [0.025, 0.975])
        held += low <= 0 <= high
    assert held / REPETITIONS < 0.95 - 8 * STANDARD_ERROR


def test_columns_that_do_not_differ_tie() -> None:
    """In at least 95 of 100 experiments with five seeds a column, up to the error of the simulation."""
    rng = np.random.default_rng(1)
    ties = 0
    for seed in range(REPETITIONS):
        task = rng.normal(size=5)
        ties += difference_interval(task + normal(rng, 5), task + normal(rng, 5), num=399, seed=seed).verdict == "tie"
    assert share_interval(ties, REPETITIONS).high >= 0.95


def test_columns_that_differ_are_told_apart() -> None:
    theirs = np.array([0.71, 0.74, 0.72, 0.75, 0.70])
    ours = theirs + np.array([0.05, 0.06, 0.04, 0.05, 0.06])
    assert difference_interval(ours, theirs).verdict == "higher"
    assert difference_interval(theirs, ours).verdict == "lower"
    assert difference_interval(ours, theirs).value == pytest.approx(0.052)
    unpaired = difference_interval(ours[[2, 4, 0, 1, 3]], theirs)
    assert unpaired.value == pytest.approx(0.052)
    paired = difference_interval(ours, theirs)
    assert paired.high - paired.low < unpaired.high - unpaired.low


def test_many_values_have_the_interval_of_the_normal_law() -> None:
    values = np.random.default_rng(2).normal(3, 2, size=4_000)
    found = mean_interval(values, num=4_000)
    error = values.std(ddof=1) / math.sqrt(len(values))
    # a quantile of 4,000 resamples has a standard error of .04 standard errors of the mean
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.18 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.18 * error)
    assert found.value == pytest.approx(values.mean())
    assert len(values) * 4_000 > CHUNK  # more than one table


def test_intervals_follow_shift_and_scale_and_widen_with_the_level() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0, 9.0, 3.0])
    base, moved = mean_interval(values), mean_interval(10 - 2 * values)
    assert (moved.value, moved.low, moved.high) == pytest.approx(
        (10 - 2 * base.value, 10 - 2 * base.high, 10 - 2 * base.low)
    )
    wide = mean_interval(values, level=0.99)
    assert wide.low < base.low < base.value < base.high < wide.high


def test_intervals_repeat_with_their_seed() -> None:
    values = np.arange(6.0)
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3) != mean_interval(values, seed=4)


def test_equal_values_leave_no_doubt() -> None:
    assert mean_interval(np.full(7, 0.1)) == Interval(0.1, 0.1, 0.1, 0.95)
    assert difference_interval(np.full(5, 2.0), np.full(5, 2.0)).verdict == "tie"
    assert difference_interval(np.full(5, 2.0), np.full(5, 1.0)).verdict == "higher"


def test_one_value_that_differs_leaves_one_side_open() -> None:
    found = mean_interval(np.array([1.0, 1.0, 1.0, 1.0, 2.0]))
    assert found.high == math.inf
    assert -math.inf < found.low < found.value == 1.2


def test_verdict_is_a_tie_up_to_the_ends() -> None:
    assert [
        Interval(0, low, high, 0.95).verdict for low, high in ((0.0, 1.0), (-1.0, 0.0), (0.1, 1.0), (-1.0, -0.1))
    ] == [
        "tie",
        "tie",
        "higher",
        "lower",
    ]


@pytest.mark.parametrize(("successes", "num"), [(0, 10), (3, 10), (10, 10), (707, 1000), (1, 1)])
def test_share_interval_ends_where_the_share_is_just_significant(successes: int, num: int) -> None:
    """Wilson's: at each end p, the share is 1.96 standard errors of p away."""
    found = share_interval(successes, num)
    assert found.value == successes / num
    for end in (found.low, found.high):
        if 0 < end < 1:
            assert abs(found.value - end) / math.sqrt(end * (1 - end) / num) == pytest.approx(1.959963985)
    assert (found.low == 0) == (successes == 0)
    assert (found.high == 1) == (successes == num)
    assert found.low < found.high


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_share_interval_covers(share: float) -> None:
    """Exactly: the sum of the binomial probabilities of the outcomes whose interval holds the share."""
    num = 100
    held = [k for k in range(num + 1) if share_interval(k, num).low <= share <= share_interval(k, num).high]
    coverage = math.fsum(math.comb(num, k) * share**k * (1 - share) ** (num - k) for k in held)
    assert 0.93 < coverage < 0.99


def test_wrong_calls_are_refused() -> None:
    values = np.array([1.0, 2.0, 3.0, 5.0])
    mean_interval(values)
    with pytest.raises(UserError, match="3 values are too few"):
        mean_interval(values[:3])
    with pytest.raises(UserError, match=r"4 values are too few for an interval at 0\.99"):
        mean_interval(values, level=0.99)
    with pytest.raises(UserError, match="finite"):
        mean_interval(np.array([1.0, 2.0, 3.0, np.nan]))
    with pytest.raises(UserError, match="take 40 or more"):
        mean_interval(values, num=20)
    with pytest.raises(UserError, match="not 4 and 1"):
        difference_interval(values, values[:1])
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(UserError, match="between 0 and 1"):
            mean_interval(values, level=level)
        with pytest.raises(UserError, match="between 0 and 1"):
            share_interval(1, 2, level=level)
    for successes, num in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(UserError, match="no more successes than trials"):
            share_interval(successes, num)


def test_leaving_out_groups_tells_the_error_of_a_mean() -> None:
    """Of lengths 1 to 9 the mean over 90 texts varies by a ninetieth of their variance; so says the mean estimate."""
    rng = np.random.default_rng(5)

    def mean_length(texts: Sequence[str]) -> dict[str, float]:
        return {"length": float(np.mean([len(text) for text in texts]))}

    variances = []
    for _ in range(300):
        texts = ["x" * size for size in rng.integers(1, 10, 90)]
        variances.append(jackknife_errors(texts, mean_length)["length"] ** 2)
    truth = (9**2 - 1) / 12 / 90
    assert abs(np.mean(variances) - truth) < 4 * np.std(variances) / 300**0.5
    assert jackknife_errors(["ab"] * 20, mean_length) == {"length": 0.0}


def test_leaving_out_groups_tells_the_error_of_self_bleu() -> None:
    """Every text is a reference of all others, so it is no mean of independent ones; the estimate is not too small."""
    found, told = [], []
    for texts in np.array_split(oracles.load("captions").sample(30 * 100, 0), 30):
        part = texts.tolist()
        found.append(self_bleu(part, max_order=2)["self_bleu_2"])
        told.append(jackknife_errors(part, lambda some: self_bleu(some, max_order=2))["self_bleu_2"])
    ratio = np.sqrt(np.mean(np.square(told))) / np.std(found, ddof=1)
    assert 0.7 < ratio < 2.0


def test_groups_must_have_texts() -> None:
    with pytest.raises(UserError, match="3 texts cannot be cut into 10 groups"):
        jackknife_errors(["a", "b", "c"], lambda texts: {"n": float(len(texts))})
