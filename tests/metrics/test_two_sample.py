import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float

from textforge.errors import UserError
from textforge.metrics.encoder import hashed_ngrams
from textforge.metrics.two_sample import c2st, c2st_distinct, logistic, wilson

Cloud = Float[np.ndarray, "N F"]


def coverage(results: list[dict[str, float]], name: str = "c2st") -> float:
    """How often the interval holds 1/2."""
    return float(np.mean([found[f"{name}_low"] <= 0.5 <= found[f"{name}_high"] for found in results]))


def sentences(rng: np.random.Generator, num: int) -> list[str]:
    """A small language: who does what where, with words of unequal frequency."""
    who, what, where = (["a man", "a dog", "two cats", "a child"], ["sits", "runs", "sleeps"], ["here", "on grass", ""])
    picks = [
        rng.choice(part, num, p=np.arange(len(part), 0, -1) / np.arange(len(part) + 1).sum())
        for part in (who, what, where)
    ]
    return [" ".join(words).strip() + " ." for words in zip(*picks, strict=True)]


# --- The regression ---


def test_the_regression_is_at_its_minimum() -> None:
    """Where every derivative of the loss, taken by differences, is 0."""
    rng = np.random.default_rng(0)
    features, penalty = rng.normal(size=(80, 4)) * [1, 5, 0.2, 1], 1.7
    labels = features @ [1, 0.3, -2, 0] + rng.normal(size=80) > 0.5
    weights = logistic(features, labels, penalty=penalty)

    def loss(weights: Float[np.ndarray, "F"]) -> float:
        total = penalty / 2 * float(sum(weight**2 for weight in weights[:-1]))
        for row, label in zip(features, labels, strict=True):
            logit = float(row @ weights[:-1] + weights[-1])
            total += math.log(1 + math.exp(-logit if label else logit))
        return total

    for axis in np.eye(5) * 1e-5:
        slope = (loss(weights + axis) - loss(weights - axis)) / 2e-5
        assert abs(slope) < 1e-4
        assert loss(weights) < min(loss(weights + 1000 * axis), loss(weights - 1000 * axis))


def test_the_bias_is_free() -> None:
    weights = logistic(np.zeros((10, 2)), np.arange(10) < 8, penalty=100.0)
    assert weights == pytest.approx([0, 0, math.log(8 / 2)], abs=1e-4)


def test_separable_sides_have_finite_weights() -> None:
    features = np.concatenate([np.full((50, 1), 1e3), np.full((50, 1), -1e3)])
    weights = logistic(features, np.arange(100) < 50, penalty=1e-6)
    assert np.isfinite(weights).all()
    assert weights[0] > 0


# --- The interval ---


def test_the_interval_solves_its_equation() -> None:
    """Its ends are the shares from which the one seen lies 1.96 of their standard errors away."""
    for successes, trials in ((0.0, 10), (3.0, 10), (57.5, 100), (10.0, 10)):
        for end in wilson(successes, trials):
            distance = abs(successes / trials - end)
            assert distance == pytest.approx(1.959964 * math.sqrt(max(end * (1 - end), 0) / trials), abs=1e-7)


# --- Equality: 1/2 is covered as often as the interval says ---

REPEATS = 320
ERROR = 4 * math.sqrt(0.95 * 0.05 / REPEATS)  # of a coverage
# The chance that the interval of 120 fair coins holds 1/2: near .95, as near as whole numbers come.
CHANCE = sum(
    math.comb(120, heads) / 2**120 for heads in range(121) if wilson(heads, 120)[0] <= 0.5 <= wilson(heads, 120)[1]
)


def test_coverage_of_equal_clouds() -> None:
    rng = np.random.default_rng(1)
    found = [c2st(rng.normal(size=(120, 3)), rng.normal(size=(150, 3)), seed=seed) for seed in range(REPEATS)]
    assert abs(CHANCE - 0.95) < 0.01
    assert abs(coverage(found) - CHANCE) < ERROR
    values = np.array([one["c2st"] for one in found])
    assert abs(values.mean() - 0.5) < 4 * values.std(ddof=1) / math.sqrt(REPEATS)


def test_coverage_where_every_text_repeats() -> None:
    """Twelve sentences, 120 draws a side: every one stands in both halves, and none of that is a leak."""
    rng = np.random.default_rng(2)
    world, p = rng.normal(size=(12, 6)), rng.dirichlet(np.ones(12))
    draws = rng.choice(12, (REPEATS, 2, 120), p=p)
    found = [c2st(world[ours], world[theirs], seed=seed) for seed, (ours, theirs) in enumerate(draws)]
    assert abs(coverage(found) - CHANCE) < ERROR
    values = np.array([one["c2st"] for one in found])
    assert abs(values.mean() - 0.5) < 4 * values.std(ddof=1) / math.sqrt(REPEATS) + 0.005


def test_coverage_of_distinct_texts_is_no_less() -> None:
    """A third of the texts stands on both sides. Such pairs are judged half right, so the interval is rather wide."""
    rng = np.random.default_rng(3)
    world = rng.normal(size=(400, 4))
    draws = rng.integers(0, 400, (REPEATS, 2, 200))
    shared = np.mean([len(np.intersect1d(ours, theirs)) / len(np.unique(ours)) for ours, theirs in draws])
    found = [c2st_distinct(world[ours], world[theirs], seed=seed) for seed, (ours, theirs) in enumerate(draws)]
    assert shared > 0.3
    assert coverage(found, "c2st_distinct") > 0.95 - ERROR
    values = np.array([one["c2st_distinct"] for one in found])
    assert abs(values.mean() - 0.5) < 4 * values.std(ddof=1) / math.sqrt(REPEATS)


# --- Difference ---


def test_the_bound_lies_below_the_true_distance_and_near_it() -> None:
    """Three texts with known frequencies, each a vector of its own: the best classifier reaches TV = .3."""
    rng = np.random.default_rng(4)
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    bounds = []
    for seed in range(300):
        ours, theirs = rng.choice(3, 1000, p=q), rng.choice(3, 1000, p=p)
        bounds.append(c2st(np.eye(3)[ours], np.eye(3)[theirs], seed=seed)["tv_bound"])
    too_high = np.mean(np.array(bounds) > 0.3)
    assert too_high <= 0.025 + 4 * math.sqrt(0.025 * 0.975 / 300)
    assert np.mean(bounds) > 0.3 - 0.09  # two standard errors of 2a - 1 at 1000 judged texts are .06


def test_collapse_is_seen_by_its_repeats() -> None:
    """One good sentence for ever; its words alone are those of real text."""
    rng = np.random.default_rng(5)
    encode, real = hashed_ngrams(), sentences(rng, 400)
    common = Counter(real).most_common(1)[0]
    found = c2st(encode([common[0]] * 400), encode(real))
    assert found["c2st"] == pytest.approx(1 - common[1] / 800, abs=0.05)  # all but real text's own share of it
    assert found["tv_bound"] > 0.6
    assert c2st_distinct(encode([common[0]] * 400), encode(real)) == {}


def test_repeats_alone_are_set_aside() -> None:
    """Real sentences, of which a few are said far too often: the draws differ, what is said does not."""
    rng = np.random.default_rng(6)
    encode, world = (
        hashed_ngrams(max_order=2),
        [f"{a} {b} {c}" for a in range(12) for b in range(12) for c in range(12)],
    )
    real = [world[at] for at in rng.integers(0, len(world), 800)]
    ours = [world[at] for at in rng.integers(0, len(world), 800)]
    ours[:300] = [ours[at] for at in rng.integers(300, 310, 300)]
    assert c2st(encode(ours), encode(real))["c2st_low"] > 0.55
    found = c2st_distinct(encode(ours), encode(real))
    assert found["c2st_distinct_low"] < 0.5 < found["c2st_distinct_high"]


def test_saying_everything_five_times_changes_nothing() -> None:
    rng = np.random.default_rng(11)
    ours, theirs = rng.normal(0.8, 1, (150, 3)), rng.normal(size=(150, 3))
    found = c2st_distinct(ours, theirs)
    assert found["c2st_distinct_low"] > 0.6
    assert c2st_distinct(np.repeat(ours, 5, axis=0), theirs) == found


def test_shuffled_words_are_seen_and_equal_text_is_not() -> None:
    rng = np.random.default_rng(7)
    encode, real, more = hashed_ngrams(), sentences(rng, 600), sentences(rng, 600)
    shuffled = [" ".join(rng.permutation(text.split())) for text in more]
    assert c2st(encode(shuffled), encode(real))["c2st_low"] > 0.85
    found = c2st(encode(more), encode(real))
    assert found["c2st_low"] < 0.5 < found["c2st_high"]
    assert found["tv_bound"] == 0


def test_real_text_against_itself_and_against_published_samples(shared_data: Path) -> None:
    """2,000 captions a side; either half of the test captions, for the training captions have other subjects."""
    lines = {
        name: (shared_data / path).read_text(encoding="utf-8").splitlines()
        for name, path in (("test", "image_coco_tok/test.txt"), ("leakgan", "texygen_samples/leakgan.txt"))
    }
    encode, rng = hashed_ngrams(), np.random.default_rng(8)
    test = encode([lines["test"][at] for at in rng.permutation(10_000)[:4000]])
    real = c2st(test[:2000], test[2000:])
    assert real["c2st_low"] < 0.5 < real["c2st_high"]
    assert c2st(encode(lines["leakgan"][:2000]), test[2000:])["c2st_low"] > 0.7


# --- The whole ---


def test_sides_count_alike_however_large_they_are() -> None:
    rng = np.random.default_rng(9)
    found = [c2st(rng.normal(size=(60, 2)), rng.normal(size=(3000, 2)), seed=seed) for seed in range(100)]
    values = np.array([one["c2st"] for one in found])
    assert abs(values.mean() - 0.5) < 4 * values.std(ddof=1) / 10
    judged = wilson(60 * found[0]["c2st"], 60)  # 30 of either side
    assert (found[0]["c2st_low"], found[0]["c2st_high"]) == pytest.approx(judged)


def test_scale_and_constant_features_do_not_matter() -> None:
    rng = np.random.default_rng(10)
    ours, theirs = rng.normal([0.5, 0, 0], size=(200, 3)), rng.normal(size=(200, 3))

    def changed(cloud: Cloud) -> Cloud:
        return np.concatenate([cloud * [1e-3, 1, 1e4] + [5, 0, -7], np.full((200, 1), 0.1)], axis=1)

    before, after = c2st(ours, theirs), c2st(changed(ours), changed(theirs))
    assert after["c2st"] == pytest.approx(before["c2st"], abs=0.015)  # the penalty counts one feature more
    assert c2st(ours, theirs) == before
    assert c2st(ours, theirs, seed=1) != before


def test_clouds_that_are_all_alike_are_half_right() -> None:
    found = c2st(np.ones((20, 3)), np.ones((20, 3)))
    assert found["c2st"] == 0.5
    assert found["tv_bound"] == 0


def test_too_few_texts_are_refused() -> None:
    with pytest.raises(UserError, match="2 texts a side, not 1"):
        c2st(np.zeros((1, 2)), np.zeros((9, 2)))
