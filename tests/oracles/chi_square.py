"""Pearson's statistic with its exact variance, also where cells are expected to hold less than one draw."""

import numpy as np
from jaxtyping import Float, Int


def z_score(counts: Int[np.ndarray, "K"], probabilities: Float[np.ndarray, "K"]) -> float:
    """How many standard deviations the statistic of multinomial counts lies above its mean K - 1.

    Its variance is 2 (K - 1) + (sum of 1 / p - K^2 - 2 K + 2) / n (Haldane 1937, Biometrika 29).
    """
    num, cells = counts.sum(), len(counts)
    expected = num * probabilities
    statistic = ((counts - expected) ** 2 / expected).sum()
    variance = 2 * (cells - 1) + ((1 / probabilities).sum() - cells**2 - 2 * cells + 2) / num
    return float((statistic - (cells - 1)) / np.sqrt(variance))
