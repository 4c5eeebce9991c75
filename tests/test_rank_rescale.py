"""Ranks in place of rewards, and what it means to have moved towards a goal."""

import itertools

import pytest
import torch
from torch import Tensor

from textforge.returns import cosine, intrinsic_reward, rank_rescale

pytestmark = pytest.mark.usefixtures("float64")


def rescaled(rewards: Tensor, delta: float = 12.0) -> Tensor:
    """One time step, all of it real."""
    return rank_rescale(rewards[:, None], torch.ones(len(rewards), 1, dtype=torch.bool), delta=delta)[:, 0]


def without_sorting(rewards: Tensor, delta: float = 16.0) -> Tensor:
    """What a released implementation computes: the place of first appearance stands in for the rank."""
    places = {value: place for place, value in enumerate(dict.fromkeys(rewards.tolist()), start=1)}
    ranks = torch.tensor([float(places[value]) for value in rewards.tolist()])
    return (delta * (ranks / len(rewards) - 0.5)).sigmoid()


# --- Bootstrapped rescaled activation ---


@pytest.mark.parametrize("delta", [12.0, 16.0])
@pytest.mark.parametrize("size", [2, 5, 64])
def test_rescaled_rewards_are_those_of_the_formula(size: int, delta: float) -> None:
    rewards = torch.rand(size)
    found = rescaled(rewards, delta)
    descending = sorted(rewards.tolist(), reverse=True)
    for reward, value in zip(rewards.tolist(), found, strict=True):
        rank = torch.tensor(descending.index(reward) + 1.0)
        torch.testing.assert_close(value, 1 / (1 + (-delta * (0.5 - rank / size)).exp()), rtol=0, atol=1e-12)
    mean = ((size - 1) / 2 + torch.sigmoid(torch.tensor(-delta / 2)).item()) / size
    assert found.mean().item() == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize(("delta", "mean", "variance"), [(12.0, 0.49223, 0.16702), (16.0, 0.49219, 0.18748)])
def test_mean_and_variance_are_the_same_for_every_batch(delta: float, mean: float, variance: float) -> None:
    for scale in (1e-9, 1.0, 1e6):
        found = rescaled(scale * torch.randn(64), delta)
        assert found.mean().item() == pytest.approx(mean, abs=5e-6)
        assert found.var(correction=0).item() == pytest.approx(variance, abs=5e-6)


def test_only_the_order_of_rewards_matters() -> None:
    rewards = torch.rand(50)
    for increasing in (torch.exp, torch.log, lambda r: r**3 - 7, lambda r: 1e-6 * r):
        assert torch.equal(rescaled(increasing(rewards)), rescaled(rewards))


def test_the_best_gets_most_and_rows_keep_their_places() -> None:
    rewards = torch.rand(50)
    found = rescaled(rewards)
    assert torch.equal(found.argsort(), rewards.argsort())
    order = torch.randperm(50)
    assert torch.equal(rescaled(rewards[order]), found[order])


def test_without_sorting_rewards_do_not_matter() -> None:
    """The negative control: what the tests above demand is not met by the place in the batch."""
    rewards, other = torch.rand(64), torch.rand(64)
    assert torch.equal(without_sorting(rewards), without_sorting(other))
    order = torch.randperm(64)
    assert not torch.equal(without_sorting(rewards[order]), without_sorting(rewards)[order])
    assert not torch.equal(without_sorting(rewards).argsort(), rewards.argsort())
    assert without_sorting(rewards).mean().item() / 4 == pytest.approx(0.12695, abs=5e-6)  # its loss, always


def test_equal_rewards_share_the_mean_of_their_ranks() -> None:
    rewards = torch.tensor([0.5, 0.9, 0.5, 0.1, 0.5])
    ranks = torch.tensor([3.0, 1.0, 3.0, 5.0, 3.0])
    torch.testing.assert_close(rescaled(rewards), (12 * (0.5 - ranks / 5)).sigmoid(), rtol=0, atol=1e-12)
    assert rescaled(torch.ones(4)).unique().numel() == 1


def test_columns_are_ranked_by_themselves_and_without_what_is_masked() -> None:
    rewards, mask = torch.rand(20, 7), torch.rand(20, 7) < 0.6
    mask[:, 5], mask[:, 6] = True, False
    found = rank_rescale(rewards, mask)
    for t in range(6):
        left = rewards[mask[:, t], t]
        rank = (left > left[:, None]).sum(1) + (1.0 if t == 5 else 0.5)
        expected = (12 * (0.5 - rank / len(left))).sigmoid()
        torch.testing.assert_close(found[mask[:, t], t], expected, rtol=0, atol=1e-12)
    assert (found[~mask] == 0).all()


@pytest.mark.parametrize("delta", [12.0, 16.0])
def test_ends_of_long_texts_weigh_as_much_as_beginnings(delta: float) -> None:
    """With n of 64 sequences left the mean is 1/2; by the formula of the paper it would fall to almost 0."""
    left = torch.arange(64)[:, None] < torch.arange(1, 64)  # 1, 2, ... 63 of them
    found = rank_rescale(torch.rand(64, 63), left, delta=delta)
    torch.testing.assert_close(found.sum(0) / left.sum(0), torch.full((63,), 0.5), rtol=0, atol=1e-12)
    assert found[0, 0].item() == 0.5
    by_the_formula = [rescaled(torch.rand(number)).mean().item() for number in (64, 3, 1)]
    assert by_the_formula == pytest.approx([0.492, 0.334, 0.0025], abs=5e-4)
    equal = rank_rescale(torch.ones(64, 63), left, delta=delta)
    torch.testing.assert_close(equal, 0.5 * left, rtol=0, atol=1e-12)


# --- Movement ---


def test_cosine_is_that_of_each_pair() -> None:
    start, end, goal = torch.randn(3, 4, 5, 6).unbind(0)
    value, moved = cosine(start, end, goal)
    for b, t in itertools.product(range(4), range(5)):
        way = end[b, t] - start[b, t]
        expected = (way @ goal[b, t]) / (way @ way).sqrt() / (goal[b, t] @ goal[b, t]).sqrt()
        torch.testing.assert_close(value[b, t], expected, rtol=0, atol=1e-12)
    assert moved.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_way_has_no_direction_and_no_gradient(dtype: torch.dtype) -> None:
    start, goal = torch.rand(6, 50, dtype=dtype), torch.randn(6, 50, dtype=dtype, requires_grad=True)
    noise = 1 + 4 * torch.finfo(dtype).eps * torch.randn(6, 50, dtype=dtype)  # the same features, computed twice
    for end in (start, start * noise):
        value, moved = cosine(start, end, goal)
        assert not moved.any()
        assert (value == 0).all()
        value.sum().backward()
        assert goal.grad is not None
        assert (goal.grad == 0).all()
    assert cosine(torch.zeros(6, 50), torch.zeros(6, 50), goal.detach().double())[1].sum() == 0


def test_gradient_of_the_cosine_is_orthogonal_to_the_goal() -> None:
    start, end, raw = torch.randn(8, 6), torch.randn(8, 6), torch.randn(8, 6, requires_grad=True)
    value, _ = cosine(start, end, raw / raw.norm(dim=1, keepdim=True))
    (gradient,) = torch.autograd.grad(value.sum(), raw)
    torch.testing.assert_close((gradient * raw).sum(1).detach(), torch.zeros(8), rtol=0, atol=1e-12)
    assert (gradient.norm(dim=1) > 0.01).all()
    along = (3 * (end - start)).requires_grad_()
    value, _ = cosine(start, end, along / along.norm(dim=1, keepdim=True))
    (gradient,) = torch.autograd.grad(value.sum(), along)
    torch.testing.assert_close(gradient, torch.zeros(8, 6), rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_lags", [1, 3, 4, 7, 12])
def test_intrinsic_reward_is_that_of_loops(num_lags: int) -> None:
    features, goals = torch.randn(3, 8, 5), torch.randn(3, 7, 5)
    features[0, 4] = features[0, 3]  # a token that moved nothing
    found = intrinsic_reward(features, goals, num_lags)
    for b in range(3):
        for t in range(1, 8):
            values = []
            for i in range(1, min(num_lags, t) + 1):
                way = features[b, t] - features[b, t - i]
                if way.norm() > 0:
                    goal = goals[b, t - i]
                    values.append(((way @ goal) / way.norm() / goal.norm()).item())
            expected = sum(values) / len(values) if values else 0.0
            assert found[b, t - 1].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_moving_along_every_goal_is_worth_one_and_against_them_minus_one(sign: int) -> None:
    direction = torch.randn(5)
    pace = torch.rand(3, 8, 1).cumsum(1)
    features, goals = 2 + pace * direction, sign * direction.expand(3, 7, 5)
    found = intrinsic_reward(features, goals, 4)
    torch.testing.assert_close(found, torch.full((3, 7), float(sign)), rtol=0, atol=1e-12)


def test_intrinsic_reward_is_bounded_and_free_of_scale() -> None:
    features, goals = torch.randn(50, 8, 2), torch.randn(50, 7, 2)
    found = intrinsic_reward(features, goals, 4)
    assert (found.abs() <= 1 + 1e-12).all()
    assert found.abs().max() > 0.9
    torch.testing.assert_close(intrinsic_reward(100 * features, 0.01 * goals, 4), found, rtol=0, atol=1e-12)
