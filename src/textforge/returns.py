"""Estimates of what an action was worth: action values by roll-outs, and baselines."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from textforge.decoding import Generator, roll_out

Reward = Callable[[Int[Tensor, "R T"]], Float[Tensor, " R"]]
"""Scores whole sequences; higher is better."""


def monte_carlo_q(
    policy: Generator, tokens: Int[Tensor, "B T"], reward: Reward, num_rollouts: int, *, chunk_size: int = 1024
) -> Float[Tensor, "B T"]:
    """Estimate Q(Y_{1:t-1}, y_t) for every token of every sequence (SeqGAN, eq. 4).

    Before the last real position: the mean reward of `num_rollouts` completions of Y_{1:t} by the policy. At the last
    one: the reward of the sequence itself. Behind it: exactly 0. With `num_rollouts` 0 every position has the final
    reward. The reward is called on at most `chunk_size` sequences at a time, which bounds the memory whatever N x T
    is.
    """
    mask = tokens != policy.vocabulary.pad
    final = _in_chunks(reward, tokens, chunk_size)
    if num_rollouts == 0:
        return final[:, None] * mask
    q = final.new_zeros(tokens.shape)
    rollouts = roll_out(policy, tokens, num_rollouts)
    if len(rollouts.row):
        values = _in_chunks(reward, rollouts.tokens, chunk_size).view(-1, num_rollouts).mean(1)
        q[rollouts.row, rollouts.position] = values
    q[torch.arange(len(tokens), device=tokens.device), mask.sum(1) - 1] = final
    return q


def _in_chunks(reward: Reward, tokens: Int[Tensor, "R T"], chunk_size: int) -> Float[Tensor, " R"]:
    with torch.no_grad():
        return torch.cat([reward(part) for part in torch.split(tokens, chunk_size)])


def leave_one_out_baseline(q: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Return, at every position, the mean action value of the other sequences that are real there, or 0.

    It does not depend on the sequence that it is subtracted from, so the policy gradient stays unbiased.
    """
    values = q * mask
    others = mask.sum(0, keepdim=True) - mask.to(q.dtype)
    return torch.where(others > 0, (values.sum(0, keepdim=True) - values) / others.clamp(min=1), 0.0) * mask


def discounted_returns(
    rewards: Float[Tensor, "B T"], discount: float, *, from_start: bool = False
) -> Float[Tensor, "B T"]:
    """Return R_t, the sum over s >= t of discount^(s - t) r_s.

    `from_start` weighs by discount^s instead, as MaskGAN's paper prints it: discount^t times the former, with t from 0.
    """
    returns, following = [], rewards.new_zeros(len(rewards))
    for reward in reversed(rewards.unbind(1)):
        following = reward + discount * following
        returns.append(following)
    stacked = torch.stack(returns[::-1], 1)
    powers = discount ** torch.arange(rewards.shape[1], device=rewards.device)
    return stacked * powers.to(rewards.dtype) if from_start else stacked
