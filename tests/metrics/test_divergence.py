import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float, Int

from textforge.errors import UserError
from textforge.metrics.divergence import (
    divergences,
    exact_divergences,
    game_gap,
    game_value,
    optimal_logits,
    sampled_divergences,
)

Counts = Int[np.ndarray, "K"]
Probabilities = Float[np.ndarray, "K"]

# How often each of eight texts stands in the sample of P and of Q: the last two are impossible for one of them.
P_COUNTS = np.array([30, 20, 8, 6, 4, 2, 30, 0])
Q_COUNTS = np.array([5, 18, 15, 2, 6, 4, 0, 50])


def log(probabilities: Probabilities) -> Probabilities:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(probabilities))


def estimate(p: Probabilities, q: Probabilities, of_p: Counts, of_q: Counts) -> dict[str, float]:
    """Estimate from samples given as indices of texts."""
    return divergences(log(p)[of_p], log(q)[of_p], log(p)[of_q], log(q)[of_q])


def by_sum(p: list[float], q: list[float]) -> dict[str, float]:
    """The definitions, term by term."""
    support = sum(a for a, b in zip(p, q, strict=True) if b > 0)
    validity = sum(b for a, b in zip(p, q, strict=True) if a > 0)
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return {
        "kl_pq": sum(a / support * math.log(a / support / b) for a, b in zip(p, q, strict=True) if a * b > 0),
        "support": support,
        "kl_qp": sum(b / validity * math.log(b / validity / a) for a, b in zip(p, q, strict=True) if a * b > 0),
        "validity": validity,
        "js": sum(x * math.log(x / m) for side in (p, q) for x, m in zip(side, middle, strict=True) if x > 0) / 2,
        "tv": sum(max(a - b, 0) for a, b in zip(p, q, strict=True)),
    }


def simplex(counts: list[int]) -> Probabilities:
    return np.array(counts) / sum(counts)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2).filter(lambda x: any(a * b for a, b in x)))
def test_exact_divergences_are_the_defining_sums(counts: list[tuple[int, int]]) -> None:
    p, q = (simplex(list(side)) for side in zip(*counts, strict=True))
    assert exact_divergences(p, q) == pytest.approx(by_sum(p.tolist(), q.tolist()), abs=1e-12)


def test_texts_outside_the_list_count_as_invalid() -> None:
    """Enumerating P alone suffices: the mass that Q lacks stands on texts that P cannot produce."""
    p, q = simplex([4, 3, 2, 1, 0, 0]), simplex([1, 2, 3, 0, 3, 1])
    assert exact_divergences(p[:4], q[:4]) == pytest.approx(exact_divergences(p, q), abs=1e-12)


def test_extremes() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.0, 1.0])
    assert exact_divergences(p, q) == pytest.approx({"support": 0, "validity": 0, "js": math.log(2), "tv": 1})
    apart = estimate(p, q, np.array([0, 1]), np.array([2, 2]))
    assert "kl_pq" not in apart
    assert "kl_qp" not in apart
    assert apart["js"] == pytest.approx(math.log(2))
    assert apart["tv"] == 1
    assert apart["ess_p"] == apart["weight_mean_q"] == apart["validity"] == 0
    same = exact_divergences(p, p)
    assert same == {"kl_pq": 0, "support": 1, "kl_qp": 0, "validity": 1, "js": 0, "tv": 0}


def test_estimates_are_exact_on_a_sample_in_exact_proportion() -> None:
    """Where every text stands in the sample as often as its probability says, sample means are expectations."""
    p, q = P_COUNTS / P_COUNTS.sum(), Q_COUNTS / Q_COUNTS.sum()
    of_p, of_q = np.repeat(np.arange(8), P_COUNTS), np.repeat(np.arange(8), Q_COUNTS)
    estimated = estimate(p, q, of_p, of_q)
    exact = exact_divergences(p, q)
    assert {name: estimated[name] for name in exact} == pytest.approx(exact, abs=1e-12)
    assert exact["support"] < 1
    assert exact["validity"] < 1
    assert estimated["weight_mean_p"] == pytest.approx(exact["validity"], abs=1e-12)
    assert estimated["weight_mean_q"] == pytest.approx(exact["support"], abs=1e-12)
    weights = (q[:7] / p[:7]).repeat(P_COUNTS[:7])
    assert estimated["ess_p"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


def test_standard_errors_are_the_spread_over_samples() -> None:
    """500 repetitions: the spread is known to 3.2 %, so 4.5 of its errors are 14 %; and no bias beyond 4.5 errors."""
    p, q = P_COUNTS / P_COUNTS.sum(), Q_COUNTS / Q_COUNTS.sum()
    rng = np.random.default_rng(0)
    runs = [estimate(p, q, rng.choice(8, 1000, p=p), rng.choice(8, 400, p=q)) for _ in range(500)]
    exact = exact_divergences(p, q)
    for name, value in exact.items():
        estimates = np.array([run[name] for run in runs])
        stated = np.mean([run[f"{name}_se"] for run in runs])
        assert estimates.std(ddof=1) == pytest.approx(stated, rel=0.14), name
        # The share in a KL's normaliser is estimated too: a bias of second order, far below one standard error.
        assert abs(estimates.mean() - value) < 4.5 * stated / math.sqrt(500) + 0.05 * stated, name


def test_long_texts_do_not_overflow() -> None:
    """Log-probabilities of hundreds of nats, and differences of as much."""
    of_p = divergences(
        np.array([-900.0, -800.0]), np.array([-9e3, -2e3]), np.array([-5e3, -7e3]), np.array([-1.0, -2.0])
    )
    assert of_p["kl_pq"] == pytest.approx((8100 + 1200) / 2)
    assert of_p["js"] == pytest.approx(math.log(2))
    assert of_p["tv"] == 1
    assert all(math.isfinite(value) for value in of_p.values())


def test_single_precision_is_summed_in_double() -> None:
    exact = np.array([-40.0, -41.0, -42.0])
    single = divergences(*[exact.astype(np.float32)] * 4)
    assert single["kl_pq"] == single["kl_qp"] == single["tv"] == 0
    assert single["js"] == pytest.approx(0, abs=1e-15)
    assert single["ess_p"] == pytest.approx(3, abs=1e-12)
    assert single["weight_mean_q"] == 1


@pytest.mark.parametrize(
    ("side", "wrong", "said"),
    [
        (0, [-1.0], "at least 2 samples"),
        (0, [-1.0, -np.inf], "-inf of a sample of P on its own side"),
        (1, [-1.0, np.nan], "nan of a sample of P on its other side"),
        (2, [-1.0, np.inf], "inf of a sample of Q on its other side"),
        (3, [-1.0, np.nan], "nan of a sample of Q on its own side"),
    ],
)
def test_impossible_log_probabilities_are_refused(side: int, wrong: list[float], said: str) -> None:
    log_probs = [np.array([-1.0, -2.0][: len(wrong)]) for _ in range(4)]
    log_probs[side] = np.array(wrong)
    with pytest.raises(UserError, match=said):
        divergences(*log_probs)


def test_probabilities_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match=r"add up to 1, not to 0\.9"):
        exact_divergences(np.array([0.5, 0.4]), np.array([0.5, 0.5]))
    with pytest.raises(UserError, match=r"at most 1, not to 1\.5"):
        exact_divergences(np.array([0.5, 0.5]), np.array([0.5, 1.0]))


# --- The game ---


def test_the_best_discriminator_reaches_the_divergence() -> None:
    p, q = P_COUNTS / P_COUNTS.sum(), Q_COUNTS / Q_COUNTS.sum()
    of_p, of_q = np.repeat(np.arange(8), P_COUNTS), np.repeat(np.arange(8), Q_COUNTS)
    best_p, best_q = (optimal_logits(log(p)[texts], log(q)[texts]) for texts in (of_p, of_q))
    best = game_value(best_p, best_q)["game_value"]
    assert best == pytest.approx(2 * exact_divergences(p, q)["js"] - math.log(4), abs=1e-12)
    rng = np.random.default_rng(0)
    for scale in (0.01, 0.1, 1.0, 10.0):
        finite = np.clip(optimal_logits(log(p), log(q)), -5, 5)
        other = finite + scale * rng.normal(size=8)
        value = game_value(other[of_p], other[of_q])["game_value"]
        d = 1 / (1 + np.exp(-other))
        assert value == pytest.approx(np.sum(p * np.log(d) + q * np.log(1 - d)), abs=1e-9)
        gap = game_gap(other[of_p], other[of_q], best_p, best_q)
        assert gap["game_gap"] == pytest.approx(best - value, abs=1e-12)
        assert gap["game_gap"] > 0


def test_the_gap_is_told_apart_from_chance() -> None:
    """Paired by text, the error of the difference is far below that of either value."""
    p, q = P_COUNTS / P_COUNTS.sum(), Q_COUNTS / Q_COUNTS.sum()
    rng = np.random.default_rng(0)
    of_p, of_q = rng.choice(8, 1000, p=p), rng.choice(8, 1000, p=q)
    logits = optimal_logits(np.log(p + 1e-3), np.log(q + 1e-3))
    nearly = logits + 0.05
    value = game_value(nearly[of_p], nearly[of_q])
    gap = game_gap(nearly[of_p], nearly[of_q], logits[of_p], logits[of_q])
    assert 0 < gap["game_gap_se"] < value["game_value_se"] / 5


# --- From frequencies ---


def test_sampled_divergences_are_those_of_the_frequencies() -> None:
    p, counts = simplex([4, 3, 2, 1]), np.array([30.0, 0.0, 10.0, 20.0])
    found = sampled_divergences(p, counts, 80)  # 20 of the 80 lie outside
    exact = exact_divergences(p, counts / 80)
    assert {f"sample_{name}": exact[name] for name in ("js", "tv", "kl_qp")}.items() <= found.items()


def test_the_floor_is_what_real_samples_get() -> None:
    """A plug-in JS of N samples over K texts is about (K - 1) / 8 N too high (Miller 1955, applied to either side)."""
    p, num = simplex([1] * 50), 20_000
    floors = [sampled_divergences(p, num * p, num, seed=seed) for seed in range(20)]
    assert np.mean([floor["sample_js_floor"] for floor in floors]) == pytest.approx(49 / (8 * num), rel=0.2)
    assert all(floor["sample_js"] < 1e-12 < floor["sample_js_floor"] for floor in floors)
    assert all(floor["sample_tv"] < 1e-12 < floor["sample_tv_floor"] for floor in floors)


def test_samples_that_are_all_outside_have_no_kl() -> None:
    found = sampled_divergences(simplex([1, 1]), np.zeros(2), 10)
    assert found["sample_tv"] == 1
    assert found["sample_js"] == pytest.approx(math.log(2))
    assert "sample_kl_qp" not in found
