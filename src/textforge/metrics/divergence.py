"""How far a generator Q is from the truth P where both densities are known, and how good the discriminator is.

Every estimate is a sum of means over independent samples, so its standard error (`<name>_se`) follows from their
variances. All values are in nats per text.
"""

import math

import numpy as np
from jaxtyping import Float

from textforge.errors import UserError

Estimate = tuple[float, float]  # value, standard error
LN2 = math.log(2)


def divergences(
    log_p_of_p_samples: Float[np.ndarray, "N"],
    log_q_of_p_samples: Float[np.ndarray, "N"],
    log_p_of_q_samples: Float[np.ndarray, "M"],
    log_q_of_q_samples: Float[np.ndarray, "M"],
) -> dict[str, float]:
    """Estimate KL both ways, Jensen-Shannon and total variation from samples of both sides, with standard errors.

    A text that the other side cannot produce has log-probability -inf there. `js` and `tv` count such texts in full.
    The KL would be infinite, so it is taken on the part that the other side can produce, normalised to one:
    `kl_qp` = KL(Q(x | p > 0) || P), with `validity` = Q(p > 0) beside it; `kl_pq` = KL(P(x | q > 0) || Q), with
    `support` = P(q > 0). Where no sample lies in that part, the KL is left out.

    Two diagnostics of the estimate itself: `weight_mean_p`, the mean of q/p under P, should equal `validity` (1 where P
    and Q have one support), and `weight_mean_q`, the mean of p/q under Q, should equal `support`; where they do not,
    the samples miss regions in which the other side lives. `ess_p`, `ess_q` say how many samples carry those means.
    """
    p_surplus = _surplus(log_p_of_p_samples, log_q_of_p_samples, "P")
    q_surplus = _surplus(log_q_of_q_samples, log_p_of_q_samples, "Q")
    entropy_gap, entropy_gap_se = _half_sum(_softplus(-p_surplus), _softplus(-q_surplus))
    tv, tv_se = _half_sum(-np.expm1(-np.maximum(p_surplus, 0)), -np.expm1(-np.maximum(q_surplus, 0)))
    return {
        **_kl("kl_pq", "support", p_surplus),
        **_kl("kl_qp", "validity", q_surplus),
        "js": LN2 - entropy_gap,
        "js_se": entropy_gap_se,
        "tv": tv,
        "tv_se": tv_se,
        **_weights("p", -p_surplus),
        **_weights("q", -q_surplus),
    }


def exact_divergences(p: Float[np.ndarray, "K"], q: Float[np.ndarray, "K"]) -> dict[str, float]:
    """Compute the same quantities from the probabilities of all K texts; no standard errors.

    The K texts must hold all of P. What Q lacks to one is its mass on texts outside the list, where p = 0.
    """
    p, q = p.astype(np.float64), q.astype(np.float64)
    if not (np.all(p >= 0) and abs(p.sum() - 1) < 1e-6):
        raise UserError(f"p must hold probabilities that add up to 1, not to {p.sum():.6g}; list every text of P")
    if not (np.all(q >= 0) and q.sum() < 1 + 1e-6):
        raise UserError(f"q must hold probabilities that add up to at most 1, not to {q.sum():.6g}; list no text twice")
    outside = max(0.0, 1 - float(q.sum()))
    middle = np.where((p > 0) | (q > 0), (p + q) / 2, 1.0)
    return {
        **_exact_kl("kl_pq", "support", p, q),
        **_exact_kl("kl_qp", "validity", q, p),
        "js": (_relative(p, middle) + _relative(q, middle) + outside * LN2) / 2,
        "tv": float(np.abs(p - q).sum() + outside) / 2,
    }


def sampled_divergences(
    p: Float[np.ndarray, "K"], counts: Float[np.ndarray, "K"], num: int, *, seed: int = 0
) -> dict[str, float]:
    """Compare P with the frequencies of Q's texts among `num` samples: for generators without a likelihood.

    `counts` say how often each of P's K texts was drawn; the rest of the `num` lies outside P. Frequencies of few
    samples are far from any P: `sample_js_floor` and `sample_tv_floor` are what `num` samples of P itself get.
    """
    drawn = exact_divergences(p, counts / num)
    real = exact_divergences(p, np.random.default_rng(seed).multinomial(num, p / p.sum()) / num)
    return {
        "sample_js": drawn["js"],
        "sample_tv": drawn["tv"],
        "sample_js_floor": real["js"],
        "sample_tv_floor": real["tv"],
    } | ({"sample_kl_qp": drawn["kl_qp"]} if "kl_qp" in drawn else {})


def optimal_logits(log_p: Float[np.ndarray, "N"], log_q: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """Logits of the best discriminator, D* = p / (p + q) (Goodfellow et al., 2014, proposition 1)."""
    return np.asarray(log_p - log_q)


def game_value(
    logits_of_p_samples: Float[np.ndarray, "N"], logits_of_q_samples: Float[np.ndarray, "M"]
) -> dict[str, float]:
    """Estimate V(D, G) = E_P ln D + E_Q ln(1 - D) from the discriminator's logits: `game_value`.

    At the optimal logits it is 2 JS - ln 4, the most that any discriminator reaches (Goodfellow et al., 2014, eq. 1
    and theorem 1).
    """
    half, half_se = _half_sum(-_softplus(-logits_of_p_samples), -_softplus(logits_of_q_samples))
    return {"game_value": 2 * half, "game_value_se": 2 * half_se}


def game_gap(
    logits_of_p_samples: Float[np.ndarray, "N"],
    logits_of_q_samples: Float[np.ndarray, "M"],
    optimal_of_p_samples: Float[np.ndarray, "N"],
    optimal_of_q_samples: Float[np.ndarray, "M"],
) -> dict[str, float]:
    """Estimate how much a discriminator falls short of the optimum, V(D*, G) - V(D, G) >= 0: `game_gap`.

    The difference is taken text by text, so its error is far below that of the two values.
    """
    half, half_se = _half_sum(
        _softplus(-logits_of_p_samples) - _softplus(-optimal_of_p_samples),
        _softplus(logits_of_q_samples) - _softplus(optimal_of_q_samples),
    )
    return {"game_gap": 2 * half, "game_gap_se": 2 * half_se}


def _surplus(own: Float[np.ndarray, "N"], other: Float[np.ndarray, "N"], name: str) -> Float[np.ndarray, "N"]:
    """By how much a side's own log-probability of its samples exceeds the other's; inf where the other's is -inf."""
    if len(own) < 2:
        raise UserError(f"a standard error needs at least 2 samples, but {name} has {len(own)}; draw more")
    for log_prob, wrong, side in ((own, ~np.isfinite(own), "own"), (other, ~(other < np.inf), "other")):
        if wrong.any():
            value = log_prob[wrong][0]
            raise UserError(f"log-probability {value} of a sample of {name} on its {side} side; check the density")
    return np.asarray(own.astype(np.float64) - other)


def _kl(name: str, share_name: str, surplus: Float[np.ndarray, "N"]) -> dict[str, float]:
    shared = np.isfinite(surplus)
    share = float(shared.mean())
    if share == 0:
        return {share_name: share, f"{share_name}_se": 0.0}
    mean = float(surplus[shared].mean())
    # The first-order effect of each sample on mean - ln(share), in which the share is an estimate too.
    influence = np.where(shared, surplus - mean - 1, 0.0) / share
    return {
        name: mean - math.log(share),
        f"{name}_se": _mean(influence)[1],
        share_name: share,
        f"{share_name}_se": _mean(shared.astype(np.float64))[1],
    }


def _exact_kl(name: str, share_name: str, p: Float[np.ndarray, "K"], q: Float[np.ndarray, "K"]) -> dict[str, float]:
    shared = q > 0
    share = float(p[shared].sum())
    if share == 0:
        return {share_name: share}
    return {name: _relative(p[shared] / share, q[shared]), share_name: share}


def _relative(p: Float[np.ndarray, "K"], q: Float[np.ndarray, "K"]) -> float:
    """Sum of p ln(p / q), where 0 ln 0 = 0."""
    some = p > 0
    return float(np.sum(p[some] * np.log(p[some] / q[some])))


def _weights(side: str, log_weight: Float[np.ndarray, "N"]) -> dict[str, float]:
    """Mean of the importance weights and their effective number, (sum w)^2 / sum w^2 (Kong, 1992)."""
    peak = log_weight.max()
    if peak == -np.inf:
        return {f"weight_mean_{side}": 0.0, f"ess_{side}": 0.0}
    weight = np.exp(log_weight - peak)
    return {
        f"weight_mean_{side}": float(np.exp(peak) * weight.mean()),
        f"ess_{side}": float(weight.sum() ** 2 / np.square(weight).sum()),
    }


def _softplus(x: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """ln(1 + e^x), so that ln sigmoid(x) = -softplus(-x)."""
    return np.asarray(np.logaddexp(0.0, x))


def _half_sum(of_p: Float[np.ndarray, "N"], of_q: Float[np.ndarray, "M"]) -> Estimate:
    (p_mean, p_se), (q_mean, q_se) = _mean(of_p), _mean(of_q)
    return (p_mean + q_mean) / 2, float(np.hypot(p_se, q_se)) / 2


def _mean(values: Float[np.ndarray, "N"]) -> Estimate:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
