"""Estimates of what an action was worth: action values by roll-outs, baselines, ranks, and movement towards a goal."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from textforge.decoding import Generator, leaves, roll_out

Reward = Callable[[Int[Tensor, "R T"]], Float[Tensor, " R"]]
"""Scores whole sequences; higher is better."""


def monte_carlo_q(
    policy: Generator,
    tokens: Int[Tensor, "B T"],
    reward: Reward,
    num_rollouts: int,
    *,
    every: int = 1,
    temperature: float = 1.0,
    chunk_size: int = 1024,
) -> Float[Tensor, "B T"]:
    """Estimate Q(Y_{1:t-1}, y_t) for every token of every sequence (SeqGAN, eq. 4).

    Before the last real position: the mean reward of `num_rollouts` completions of Y_{1:t} by the policy. At the last
    one: the reward of the sequence itself. Behind it: exactly 0. With `num_rollouts` 0 every position has the final
    reward. Where only prefixes of a multiple of `every` tokens are completed, a token has the value of the next of
    these, or of the sequence where it ends before. The memory is bounded whatever N x T is: the reward is called on at
    most `chunk_size` sequences at a time, and roll-outs whose states are too large together go one after the other.
    """
    mask = tokens != policy.vocabulary.pad
    final = _in_chunks(reward, tokens, chunk_size)
    if num_rollouts == 0:
        return final[:, None] * mask
    q = final.new_zeros(tokens.shape)
    prefixes = max(1, (tokens.shape[1] - 1) // every)
    at_once = _states_at_once(policy, tokens.device)  # rows of a state
    copies = min(num_rollouts, max(1, (at_once - 1) // prefixes))
    for here in torch.arange(len(tokens), device=tokens.device).split(max(1, at_once // (1 + copies * prefixes))):
        for start in range(0, num_rollouts, copies):
            num = min(copies, num_rollouts - start)
            rollouts = roll_out(policy, tokens[here], num, every=every, temperature=temperature)
            if len(rollouts.row):
                values = _in_chunks(reward, rollouts.tokens, chunk_size).view(-1, num).sum(1)
                q[here[rollouts.row], rollouts.position] += values / num_rollouts
    q[torch.arange(len(tokens), device=tokens.device), mask.sum(1) - 1] = final
    if every == 1:
        return q
    segment = torch.arange(tokens.shape[1], device=tokens.device) // every
    return q.gather(1, torch.minimum((segment + 1) * every, mask.sum(1, keepdim=True)) - 1) * mask


def _states_at_once(policy: Generator, device: torch.device) -> int:
    return max(1, _STATE_AT_ONCE[device.type == "cpu"] // sum(leaf.numel() for leaf in leaves(policy.initial_state(1))))


_STATE_AT_ONCE = {True: 1 << 26, False: 1 << 29}  # numbers: 256 MB, and 2 GB, in float32


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


def rank_rescale(
    rewards: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, delta: float = 12.0
) -> Float[Tensor, "B T"]:
    """Return sigmoid(delta (1/2 - rank / B)) of each reward, in each column on its own; 0 outside the mask.

    The bootstrapped rescaled activation of LeakGAN. Rank 1 is the highest reward, and equal rewards share the mean of
    their ranks. Only the order matters, and the mean and the variance of B different rewards are always the same.

    The paper's texts are of one length. Of different ones, n < B are left in the later columns, and the mean of the
    formula with n for B falls with n: at delta 12 .492 of 64, .334 of 3, .0025 of a single one, so that the ends of
    long texts would have no weight. Such a column takes (rank - 1/2) / n: mean 1/2 for every n, and 1/2 for n = 1.
    """
    pairs = mask[:, None] & mask  # [B B T]
    higher = ((rewards > rewards[:, None]) & pairs).sum(1)
    equal = ((rewards == rewards[:, None]) & pairs).sum(1)
    rank = higher + (equal + 1).to(rewards.dtype) / 2
    number = mask.sum(0)
    middle = (number < len(mask)).to(rank.dtype) / 2
    return (delta * (0.5 - (rank - middle) / number.clamp(min=1))).sigmoid() * mask


def cosine(
    start: Float[Tensor, "*A F"], end: Float[Tensor, "*A F"], goal: Float[Tensor, "*A F"]
) -> tuple[Float[Tensor, "*A"], Bool[Tensor, "*A"]]:
    """Return the cosine between the way from start to end and the goal, pair by pair, and whether there is a way.

    Where start and end are the same, to the rounding of features that were computed twice, the cosine is 0, without
    gradient.
    """
    way = end - start
    moved = way.norm(dim=-1) > 100 * torch.finfo(way.dtype).eps * end.norm(dim=-1)
    return F.cosine_similarity(way * moved[..., None], goal, dim=-1), moved


def intrinsic_reward(
    features: Float[Tensor, "B T1 F"], goals: Float[Tensor, "B T F"], num_lags: int
) -> Float[Tensor, "B T"]:
    """Return how far each token moved the features towards the goals of the last c steps, in [-1, 1] (LeakGAN).

    `features` are those of every prefix, f_0 to f_T, and `goals` g_0 to g_{T-1}. The token t (from 1) has the mean of
    cos(f_t - f_{t-i}, g_{t-i}) over the lags i = 1..c that exist and over which the features moved.
    """
    total = goals.new_zeros(goals.shape[:2])
    count = torch.zeros_like(total)
    for lag in range(1, min(num_lags, goals.shape[1]) + 1):
        value, moved = cosine(features[:, :-lag], features[:, lag:], goals[:, : goals.shape[1] + 1 - lag])
        total[:, lag - 1 :] += value
        count[:, lag - 1 :] += moved
    return total / count.clamp(min=1)
