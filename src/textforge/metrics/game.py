"""The adversarial game where both sides are vectors of probabilities over the same K cells (Goodfellow et al. 2014)."""

import math

import numpy as np
from jaxtyping import Float, Int

from textforge.metrics.divergence import exact_divergences

COVERED = 0.1
"""A mode counts as covered where the generator gives it at least this share of its true probability."""


def game(
    p: Float[np.ndarray, "K"], q: Float[np.ndarray, "K"], logits: Float[np.ndarray, "K"] | None
) -> dict[str, float]:
    """Measure the game between generator q and a discriminator's logits, over cells with the true probabilities p.

    `game_value` is V(D, G) = sum p ln D + q ln(1 - D) (eq. 1); `game_optimum` is C(G) = 2 JS - ln 4, the most that any
    D reaches (theorem 1); `d_distance` is the mean of |D - D*| over p and q alike, with D* = p / (p + q)
    (proposition 1). `kl_pq`, `kl_qp`, `js`, `tv` and `support` are those of `exact_divergences`. Without logits, what
    needs a discriminator is left out.
    """
    found = exact_divergences(p, q)
    del found["validity"]  # a density is nowhere 0, but somewhere the number that stands for it is
    found["game_optimum"] = 2 * found["js"] - math.log(4)
    if logits is not None:
        logits = logits.astype(np.float64)
        found["game_value"] = -float(p @ np.logaddexp(0, -logits) + q @ np.logaddexp(0, logits))
        best = p / np.where(p + q > 0, p + q, 1.0)
        opinion = np.exp(-np.logaddexp(0, -logits))
        found["d_distance"] = float((p + q) @ np.abs(opinion - best)) / 2
    return found


def mode_masses(
    true: Float[np.ndarray, "M"], modes: Int[np.ndarray, "N"], weights: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "M"]:
    """Return what points of these modes (-1: none) and weights give to each of the M modes."""
    inside = modes >= 0
    return np.bincount(modes[inside], weights=weights[inside], minlength=len(true)).astype(np.float64)


def mode_shares(
    true: Float[np.ndarray, "M"], modes: Int[np.ndarray, "N"], weights: Float[np.ndarray, "N"]
) -> dict[str, float]:
    """Return `mode_coverage`, the share of covered modes, and `in_modes`, the generator's mass in any mode at all.

    `modes` are those of the generator's points (-1: none), `weights` the points' probabilities, `true` the modes'.
    """
    masses = mode_masses(true, modes, weights)
    return {
        "mode_coverage": float(np.mean(masses >= COVERED * true)),
        "in_modes": float(masses.sum()),
    }
