"""The discrepancy against loops, closed forms and limits; its two estimators; its root."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from textforge.matching import mean_matching
from textforge.mmd import gaussian_kernel, mmd2, root

pytestmark = pytest.mark.usefixtures("float64")

PAPER = (10.0, 15.0, 20.0, 25.0, 30.0)


def samples(num_real: int = 9, num_fake: int = 6, size: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(num_real, size), 1.5 * torch.randn(num_fake, size) + 0.5


def kernel(a: list[float], b: list[float], bandwidths: tuple[float, ...]) -> float:
    squared = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    return sum(math.exp(-squared / (2 * s * s)) for s in bandwidths)


# --- The estimators ---


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("bandwidths", [(0.7,), (0.5, 1.0, 3.0), PAPER])
def test_estimates_are_those_of_the_definitions(bandwidths: tuple[float, ...], average: bool) -> None:
    """By loops over pairs, and as the quadratic form of the weights 1/n and -1/m in the Gram matrix of all rows."""
    x, y = samples()
    found = mmd2(x, y, bandwidths, average=average)
    scale = len(bandwidths) if average else 1
    rows, n, m = [*x.tolist(), *y.tolist()], len(x), len(y)
    weights = [1 / n] * n + [-1 / m] * m
    form = sum(
        u * v * kernel(a, b, bandwidths) for (u, a), (v, b) in product(zip(weights, rows, strict=True), repeat=2)
    )
    unbiased = -2 * sum(kernel(a, b, bandwidths) for a in rows[:n] for b in rows[n:]) / (n * m)
    for part in (rows[:n], rows[n:]):
        pairs = [kernel(a, b, bandwidths) for i, a in enumerate(part) for j, b in enumerate(part) if i != j]
        unbiased += sum(pairs) / len(pairs)
    assert found.biased.item() == pytest.approx(form / scale, abs=1e-12)
    assert found.unbiased.item() == pytest.approx(unbiased / scale, abs=1e-12)
    assert found.biased > 1e-3


def test_equal_samples_have_no_distance_in_any_order() -> None:
    x, _ = samples()
    shuffled = x[torch.randperm(len(x))].requires_grad_()
    found = mmd2(x, shuffled, (0.5, 2.0))
    assert abs(found.biased.item()) < 1e-15
    assert found.unbiased < 0  # similarity to oneself is left out, that to one's double is not
    (slope,) = torch.autograd.grad(found.biased, shuffled)
    assert slope.abs().max() < 1e-15  # a minimum


def test_biased_estimate_is_a_squared_distance() -> None:
    """Never negative, the same from either side, blind to the order of rows and to a shift of everything."""
    for seed in range(20):
        torch.manual_seed(seed)
        x, y = samples(5, 7)
        value = mmd2(x, y, (0.5, 2.0)).biased
        assert value > 0
        torch.testing.assert_close(mmd2(y, x, (0.5, 2.0)).biased, value)
        torch.testing.assert_close(mmd2(x[torch.randperm(5)], y[torch.randperm(7)], (0.5, 2.0)).biased, value)
        torch.testing.assert_close(mmd2(x + 1e4, y + 1e4, (0.5, 2.0)).biased, value, rtol=1e-7, atol=1e-9)


def test_shift_costs_no_precision() -> None:
    """In single precision, far from the origin."""
    x, y = (part.float() for part in samples())
    near, far = mmd2(x, y, (1.0,)).biased, mmd2(x + 256, y + 256, (1.0,)).biased
    torch.testing.assert_close(near, far, rtol=1e-4, atol=0)


def test_unbiased_estimate_is_zero_on_average_where_the_laws_are_one() -> None:
    """Over many splits; the biased one is not, by 2 (1 - E k) / n."""
    found = [mmd2(torch.randn(20, 3), torch.randn(20, 3), (1.0, 2.0)) for _ in range(400)]
    unbiased, biased = (torch.stack(values) for values in zip(*((f.unbiased, f.biased) for f in found), strict=True))
    error = unbiased.std() / len(found) ** 0.5
    assert unbiased.mean().abs() < 4 * error
    assert (unbiased < 0).any()
    expected = 2 / 20 * sum(1 - (s**2 / (s**2 + 2)) ** 1.5 for s in (1.0, 2.0))
    assert abs(biased.mean() - expected) < 4 * biased.std() / len(found) ** 0.5
    assert biased.mean() > 20 * error


@pytest.mark.parametrize(("shift", "bandwidth"), [(0.5, 1.0), (2.0, 1.0), (2.0, 3.0)])
def test_distance_of_two_gaussians(shift: float, bandwidth: float) -> None:
    """The population value: E k = s / sqrt(s^2 + 2) exp(-d^2 / (2 (s^2 + 2))) for N(0, 1) against N(d, 1)."""
    s2 = bandwidth**2 + 2
    exact = 2 * bandwidth / math.sqrt(s2) * (1 - math.exp(-(shift**2) / (2 * s2)))
    found = torch.stack(
        [mmd2(torch.randn(500, 1), torch.randn(500, 1) + shift, (bandwidth,)).unbiased for _ in range(40)]
    )
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - exact) < 4 * error
    assert error < exact / 15


# --- The kernel ---


def test_bandwidths_are_added_or_averaged() -> None:
    """Each counts: the loop over them accumulates, and does not begin anew at each."""
    x, y = samples()
    parts = torch.stack([gaussian_kernel(x, y, (s,)) for s in PAPER])
    torch.testing.assert_close(gaussian_kernel(x, y, PAPER), parts.sum(0))
    torch.testing.assert_close(gaussian_kernel(x, y, PAPER, average=True), parts.mean(0))
    torch.testing.assert_close(gaussian_kernel(x, x, PAPER).diagonal(), torch.full((9,), 5.0))
    torch.testing.assert_close(gaussian_kernel(x, x, PAPER, average=True).diagonal(), torch.ones(9))
    whole = mmd2(x, y, PAPER).biased
    torch.testing.assert_close(whole, torch.stack([mmd2(x, y, (s,)).biased for s in PAPER]).sum())


def test_wide_kernels_match_means() -> None:
    x, y = samples()
    s = 1e4
    torch.testing.assert_close(s**2 * mmd2(x, y, (s,)).biased, mean_matching(x, y), rtol=1e-5, atol=0)


def test_narrow_kernels_see_nothing_but_equality() -> None:
    x, y = samples()
    assert mmd2(x, y, (1e-3,)).biased.item() == pytest.approx(1 / 9 + 1 / 6, abs=1e-12)
    assert abs(mmd2(x, y, (1e-3,)).unbiased.item()) < 1e-12


def test_collapse_between_two_modes_is_seen_by_the_kernel_and_not_by_the_means() -> None:
    """The motivation of the paper: features at -a and a, and a generator that writes 0 alone."""
    a = 1.3
    real, fake = torch.tensor([[-a], [a]] * 4), torch.zeros(6, 1, requires_grad=True)
    assert mean_matching(real, fake).item() < 1e-30
    found = mmd2(real, fake, (a,)).biased
    # E k(x, x') = (1 + exp(-2)) / 2, E k(y, y') = 1, E k(x, y) = exp(-1 / 2)
    assert found.item() == pytest.approx((1 + math.exp(-2)) / 2 + 1 - 2 * math.exp(-0.5), abs=1e-12)
    spread = torch.tensor([[-a], [a]] * 3)
    assert abs(mmd2(real, spread, (a,)).biased.item()) < 1e-12


# --- The root ---


def test_root_of_the_distance() -> None:
    x, y = samples()
    found = mmd2(x, y, (1.0,)).biased
    assert root(found, 0.0).item() == pytest.approx(math.sqrt(found.item()))
    assert root(found).item() == pytest.approx(math.sqrt(found.item()), rel=1e-4)


def test_root_has_a_finite_slope_at_equal_samples() -> None:
    for dtype in (torch.float32, torch.float64):
        x = torch.randn(8, 3, dtype=dtype)
        y = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(root(mmd2(x, y, (1.0, 2.0)).biased), y)
        assert slope.isfinite().all()
        assert slope.abs().max() < 1e-3
    squared = torch.tensor(-1e-9, requires_grad=True)  # a zero after rounding
    (slope,) = torch.autograd.grad(root(squared), squared)
    assert slope.isfinite()
