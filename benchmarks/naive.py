"""Plain references that the fast paths are measured against and tested to equal in distribution."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from textforge.decoding import Generator, evaluating
from textforge.returns import Reward


def naive_monte_carlo_q(
    policy: Generator, tokens: Int[Tensor, "B T"], reward: Reward, num_rollouts: int
) -> Float[Tensor, "B T"]:
    """Return what `returns.monte_carlo_q` estimates, by nested loops as the equation reads, for sequences without `eos`.

    Every prefix is read again for every roll-out, one batch of B at a time; tokens are drawn by `torch.multinomial`.
    """
    batch, length = tokens.shape
    q = torch.zeros(batch, length)
    with evaluating(policy):
        for t in range(length - 1):
            for _ in range(num_rollouts):
                state = policy.initial_state(batch)
                logits, state = policy.step(torch.full((batch,), policy.vocabulary.bos), state)
                for s in range(t + 1):
                    logits, state = policy.step(tokens[:, s], state)
                completed = [tokens[:, s] for s in range(t + 1)]
                for s in range(t + 1, length):
                    completed.append(torch.multinomial(logits.softmax(-1), 1).squeeze(1))
                    if s + 1 < length:
                        logits, state = policy.step(completed[-1], state)
                q[:, t] += reward(torch.stack(completed, 1)) / num_rollouts
        q[:, -1] = reward(tokens)
    return q
