"""Matching of features against Gaussian divergences and NumPy, and what must not matter to it."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from textforge.matching import Window, covariance_error, covariance_matching, mean_correlation, mean_matching

RIDGE = 0.1


def samples(num: int = 60, size: int = 5, *, seed: int, shift: float = 0.0) -> Tensor:
    """Correlated features that are far from normal."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(num, size, generator=generator, dtype=torch.float64) ** 2
    return drawn @ torch.randn(size, size, generator=generator, dtype=torch.float64) + shift


def gaussian(features: Tensor, ridge: float) -> MultivariateNormal:
    covariance = np.cov(features.detach().numpy().T, bias=True) + ridge * np.eye(features.shape[1])
    return MultivariateNormal(features.mean(0), torch.from_numpy(covariance))


# --- Equation 7 ---


def test_covariance_matching_is_equation_7_less_its_constant() -> None:
    """With explicit inverses, as it is printed."""
    real, fake = samples(seed=1), samples(40, seed=2)
    R, S = (gaussian(features, RIDGE).covariance_matrix.numpy() for features in (real, fake))
    d = (real.mean(0) - fake.mean(0)).numpy()
    inverse_R, inverse_S = np.linalg.inv(R), np.linalg.inv(S)
    printed = np.trace(inverse_S @ R + inverse_R @ S) + d @ (inverse_S + inverse_R) @ d
    assert covariance_matching(real, fake, ridge=RIDGE).item() == pytest.approx(printed - 2 * 5, rel=1e-10)


def test_covariance_matching_is_twice_the_jeffreys_divergence() -> None:
    for seed in range(5):
        real, fake = samples(seed=seed), samples(30, seed=seed + 10, shift=0.3)
        p, q = gaussian(real, RIDGE), gaussian(fake, RIDGE)
        jeffreys = kl_divergence(p, q) + kl_divergence(q, p)
        torch.testing.assert_close(covariance_matching(real, fake, ridge=RIDGE), 2 * jeffreys, rtol=1e-9, atol=0)
        assert jeffreys > 0.1


def test_covariance_matching_is_zero_where_the_moments_agree_and_symmetric() -> None:
    real, fake = samples(seed=1), samples(seed=2)
    assert abs(covariance_matching(real, real.flip(0), ridge=RIDGE).item()) < 1e-10
    mirrored = 2 * real.mean(0) - real  # other features, the same moments
    assert abs(covariance_matching(real, mirrored, ridge=RIDGE).item()) < 1e-10
    forth, back = (covariance_matching(*pair, ridge=RIDGE) for pair in ((real, fake), (fake, real)))
    torch.testing.assert_close(forth, back, rtol=1e-12, atol=0)


def test_covariance_matching_does_not_change_under_affine_maps() -> None:
    """Without a ridge, which is no part of the divergence."""
    real, fake = samples(seed=1), samples(seed=2)
    generator = torch.Generator().manual_seed(3)
    A = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    b = torch.randn(5, generator=generator, dtype=torch.float64)
    before = covariance_matching(real, fake, ridge=0.0)
    after = covariance_matching(real @ A.T + b, fake @ A.T + b, ridge=0.0)
    torch.testing.assert_close(after, before, rtol=1e-8, atol=0)


def test_covariance_matching_sees_what_mean_matching_cannot() -> None:
    """Two peaks, and a generator that has collapsed between them."""
    real = torch.tensor([[-0.5], [0.5]], dtype=torch.float64).repeat(20, 1)
    fake = torch.zeros(40, 1, dtype=torch.float64)
    assert mean_matching(real, fake) == 0
    expected = (0.25 + RIDGE) / RIDGE + RIDGE / (0.25 + RIDGE) - 2
    assert covariance_matching(real, fake, ridge=RIDGE).item() == pytest.approx(expected)


def test_gradient_of_covariance_matching_is_exact() -> None:
    real, fake = samples(8, 3, seed=1), samples(9, 3, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: covariance_matching(real, f, ridge=RIDGE), (fake,))
    assert torch.autograd.gradgradcheck(lambda f: covariance_matching(real, f, ridge=RIDGE), (fake,))


def test_more_features_than_rows_are_matched_in_single_precision() -> None:
    real, fake = samples(20, 90, seed=1).float(), samples(20, 90, seed=2).float().requires_grad_()
    loss = covariance_matching(real, fake, ridge=RIDGE)
    assert loss.dtype == torch.float32
    expected = covariance_matching(real.double(), fake.detach().double(), ridge=RIDGE)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert fake.grad is not None
    assert fake.grad.isfinite().all()


# --- Means alone ---


def test_mean_matching_and_its_gradient() -> None:
    real, fake = samples(6, seed=1), samples(4, seed=2).requires_grad_()
    difference = real.mean(0) - fake.mean(0)
    loss = mean_matching(real, fake)
    assert loss.item() == pytest.approx(sum(d**2 for d in difference.tolist()))
    loss.backward()
    # 2 (mu_fake - mu_real) with respect to the mean, of which each row is a quarter
    torch.testing.assert_close(fake.grad, (-2 * difference / 4).detach().expand(4, -1))


def test_mean_correlation_is_that_of_numpy() -> None:
    real, fake = samples(seed=1), samples(seed=2)
    expected = np.corrcoef(real.mean(0), fake.mean(0))[0, 1]
    assert mean_correlation(real, fake).item() == pytest.approx(expected)
    assert mean_correlation(real, 3 * real + 1).item() == pytest.approx(1)
    assert mean_correlation(real, -real).item() == pytest.approx(-1)
    assert mean_correlation(real, torch.ones_like(real)) == 0


def test_covariance_error_is_that_of_numpy() -> None:
    real, fake = samples(seed=1), samples(40, seed=2)
    R, S = (np.cov(features.T.numpy(), bias=True) for features in (real, fake))
    expected = np.linalg.norm(S - R) / np.linalg.norm(R)
    assert expected > 0.1
    assert covariance_error(real, fake).item() == pytest.approx(expected)
    assert covariance_error(real.float(), fake.float()).item() == pytest.approx(expected, rel=1e-5)
    assert covariance_error(real, real.flip(0) + 7).item() == pytest.approx(0, abs=1e-12)
    assert covariance_error(real, real.mean(0).expand(9, -1)).item() == pytest.approx(1)  # a generator that collapsed
    assert covariance_error(torch.ones_like(real), fake) == 0


# --- The window ---


def test_window_joins_the_last_minibatches() -> None:
    window, batches = Window(3), [samples(4, seed=seed) for seed in range(6)]
    for newest, batch in enumerate(batches):
        joined = window.joined(batch)
        torch.testing.assert_close(joined, torch.cat(batches[max(0, newest - 2) : newest + 1]), rtol=0, atol=0)
        assert torch.equal(window.joined(batch), joined), "looking changes nothing"
        window.push(batch)
    covariance = gaussian(window.joined(batches[0]), 0.0).covariance_matrix
    rows = np.concatenate([batches[4], batches[5], batches[0]])
    np.testing.assert_allclose(covariance, np.cov(rows.T, bias=True), rtol=1e-9)


def test_gradient_goes_into_the_newest_minibatch_alone() -> None:
    window, real = Window(3), samples(12, seed=9)
    batches = [samples(4, seed=seed).requires_grad_() for seed in range(3)]
    for batch in batches:
        loss = covariance_matching(real, window.joined(batch), ridge=RIDGE)
        window.push(batch)
    loss.backward()
    assert [batch.grad is not None for batch in batches] == [False, False, True]
    assert batches[-1].grad is not None
    assert batches[-1].grad.abs().max() > 0


def test_window_of_one_is_the_minibatch() -> None:
    window, batch = Window(1), samples(4, seed=1)
    window.push(samples(4, seed=2))
    assert torch.equal(window.joined(batch), batch)


def test_cleared_window_is_a_new_one() -> None:
    window, batches = Window(3), [samples(4, seed=seed) for seed in range(3)]
    window.push(batches[0])
    window.clear()
    assert torch.equal(window.joined(batches[1]), batches[1])
    window.push(batches[1])
    assert torch.equal(window.joined(batches[2]), torch.cat(batches[1:]))


def test_window_goes_on_where_it_was_saved() -> None:
    window, again = Window(3), Window(3)
    for seed in range(4):
        window.push(samples(4, seed=seed))
    again.load_state_dict(window.state_dict())
    for seed in (7, 8):
        batch = samples(4, seed=seed)
        assert torch.equal(again.joined(batch), window.joined(batch))
        for each in (window, again):
            each.push(batch)
