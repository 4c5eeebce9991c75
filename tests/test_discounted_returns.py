"""Discounted returns against their definition, written as sums, and against each other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textforge.returns import discounted_returns

pytestmark = pytest.mark.usefixtures("float64")

rates = st.sampled_from([0.0, 0.5, 0.89, 1.0])
tables = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(0, 2**31))


@given(tables, rates)
def test_returns_are_the_sums_of_the_definition(table: tuple[int, int, int], discount: float) -> None:
    rows, width, seed = table
    rewards = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    here, start = (discounted_returns(rewards, discount, from_start=from_start) for from_start in (False, True))
    for b in range(rows):
        for t in range(width):
            later = range(t, width)
            assert here[b, t].item() == pytest.approx(sum(discount ** (s - t) * rewards[b, s].item() for s in later))
            assert start[b, t].item() == pytest.approx(sum(discount**s * rewards[b, s].item() for s in later))
    torch.testing.assert_close(start, here * discount ** torch.arange(width), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(here[:, :-1], rewards[:, :-1] + discount * here[:, 1:], rtol=1e-12, atol=1e-12)


def test_no_discount_gives_suffix_sums_and_a_full_one_the_rewards_themselves() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0]])
    assert discounted_returns(rewards, 1.0).tolist() == [[7.0, 6.0, 4.0]]
    assert discounted_returns(rewards, 0.0).tolist() == [[1.0, 2.0, 4.0]]
    assert discounted_returns(rewards, 0.0, from_start=True).tolist() == [[1.0, 0.0, 0.0]]


def test_a_place_without_a_reward_still_discounts_what_follows() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 8.0]])
    assert discounted_returns(rewards, 0.5).tolist() == [[2.0, 2.0, 4.0, 8.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_kept(dtype: torch.dtype) -> None:
    for from_start in (False, True):
        assert discounted_returns(torch.ones(2, 3, dtype=dtype), 0.9, from_start=from_start).dtype == dtype
