"""The maximum mean discrepancy between two samples under Gaussian kernels (Gretton et al. 2012, section 2.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class MMD2:
    """Two estimates of the squared distance between the laws of two samples, in the kernel's feature space.

    `biased` (a V-statistic) is the squared distance between the two samples themselves: never below 0, and 0 for equal
    samples, but of order 1/n for different samples of one law. `unbiased` (a U-statistic) leaves out each point's
    similarity to itself: 0 on average for samples of one law, so it may be negative.
    """

    biased: Float[Tensor, ""]
    unbiased: Float[Tensor, ""]


def mmd2(
    real: Float[Tensor, "N F"], fake: Float[Tensor, "M F"], bandwidths: Sequence[float], *, average: bool = False
) -> MMD2:
    """Estimate E k(x, x') + E k(y, y') - 2 E k(x, y), where k is `gaussian_kernel`; needs two rows of either side."""
    assert min(len(real), len(fake)) > 1, "a single row has no second one to be compared with"
    # Distances do not see a shift, and small numbers lose least when their squares are subtracted from each other.
    centre = torch.cat([real, fake]).mean(0).detach()
    real, fake = real - centre, fake - centre
    at_zero = 1.0 if average else float(len(bandwidths))  # k(x, x)
    biased = -2 * gaussian_kernel(real, fake, bandwidths, average=average).mean()
    unbiased = biased
    for rows in (real, fake):
        num = len(rows)
        kernel = gaussian_kernel(rows, rows, bandwidths, average=average)
        others = kernel.sum() - kernel.trace()
        biased = biased + (others + num * at_zero) / num**2
        unbiased = unbiased + others / (num * (num - 1))
    return MMD2(biased, unbiased)


def gaussian_kernel(
    a: Float[Tensor, "N F"], b: Float[Tensor, "M F"], bandwidths: Sequence[float], *, average: bool = False
) -> Float[Tensor, "N M"]:
    """Return the sum over bandwidths s, or the mean, of exp(-|a - b|^2 / (2 s^2)) for every pair of rows.

    A bandwidth tells distances apart that are near it. Far below all distances the kernel sees nothing but equality;
    far above them the discrepancy is that of the means alone, |E x - E y|^2 / s^2.
    """
    squared = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp(min=0)
    total = torch.zeros_like(squared)
    for bandwidth in bandwidths:
        total = total + (squared / (-2 * bandwidth**2)).exp()
    return total / len(bandwidths) if average else total


def root(squared: Float[Tensor, ""], epsilon: float = 1e-6) -> Float[Tensor, ""]:
    """Return sqrt(MMD^2 + epsilon), whose slope is bounded: that of the plain root is infinite at equal samples."""
    return (squared.clamp(min=0) + epsilon).sqrt()
