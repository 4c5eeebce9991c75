"""Plain references that the fast paths are measured against and tested to equal in distribution."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from textforge.decoding import Generator, evaluating
from textforge.returns import Reward


def naive_monte_carlo_q(
    policy: Generator, tokens: Int[Tensor, "B T"], reward: Reward, num_rollouts: int
) -> Float[Tensor, "B T"]:
    """Return what `returns.monte_carlo_q` estimates, by nested loops, for sequences without `eos`.

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


def naive_sample(generator: Generator, num: int) -> Int[Tensor, "B T"]:
    """Draw sequences without `eos`, 64 at a time, by exp(log_softmax) and `torch.multinomial`."""
    parts = []
    with evaluating(generator):
        for start in range(0, num, 64):
            batch = min(64, num - start)
            state, token = generator.initial_state(batch), torch.full((batch,), generator.vocabulary.bos)
            tokens = []
            for _ in range(generator.max_length):
                logits, state = generator.step(token, state)
                token = torch.multinomial(logits.log_softmax(-1).exp(), 1).squeeze(1)
                tokens.append(token)
            parts.append(torch.stack(tokens, 1))
    return torch.cat(parts)


def naive_log_probs(generator: Generator, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Return the log-probability of each token of sequences without `eos`, a step at a time, with gradients."""
    state, token = generator.initial_state(len(tokens)), torch.full_like(tokens[:, 0], generator.vocabulary.bos)
    columns = []
    for t in range(tokens.shape[1]):
        logits, state = generator.step(token, state)
        token = tokens[:, t]
        columns.append(logits.log_softmax(-1).gather(1, token[:, None]).squeeze(1))
    return torch.stack(columns, 1)
