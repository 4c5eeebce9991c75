"""Plain references that the fast paths are measured against and tested to equal in distribution."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from textforge.decoding import Generator, evaluating
from textforge.nets.manager_worker import LeakGANGenerator
from textforge.nets.text_cnn import TextCNN
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


class NaiveLeakGAN:
    """A LeakGAN generator, step by step as its paper has it, for goals that slide and are not scaled.

    Every step runs the discriminator's whole network over the prefix, what is not yet seen filled up with `mask`, and
    builds the Worker's matrix O_t [V K], which the embedded goals are multiplied by.
    """

    noise_dim = 0

    def __init__(self, generator: LeakGANGenerator, discriminator: TextCNN) -> None:
        assert generator.goal_form == "sliding"
        assert not generator.worker.normalise_goal
        self.vocabulary, self.max_length = generator.vocabulary, generator.max_length
        self.generator, self.discriminator = generator, discriminator

    def features(self, seen: Int[Tensor, "B t"]) -> Float[Tensor, "B F"]:
        """Return what the discriminator sees in a prefix."""
        with torch.no_grad():
            unseen = self.max_length - seen.shape[1]
            found: Tensor = self.discriminator(F.pad(seen, (0, unseen), value=self.vocabulary.mask)).features
            return found

    def initial_state(self, batch: int, context: Any = None) -> dict[str, Any]:
        """Return the state before `bos`; it holds all features and all goals."""
        manager, worker = self.generator.manager, self.generator.worker
        return {
            "read": torch.zeros(batch, 0, dtype=torch.long),
            "features": [],
            "goals": [],
            "manager": (torch.zeros(batch, manager.lstm.hidden_size),) * 2,
            "worker": (torch.zeros(batch, worker.lstm.hidden_size),) * 2,
        }

    def step(self, token: Int[Tensor, " B"], state: dict[str, Any]) -> tuple[Float[Tensor, "B V"], dict[str, Any]]:
        """Read one token a row, `bos` first; return the next token's logits and the new state."""
        manager, worker = self.generator.manager, self.generator.worker
        read = torch.cat([state["read"], token[:, None]], 1)
        features = self.features(read[:, 1:])
        goal, manager_state = manager.step(features, state["manager"])
        hidden, cell = torch.lstm_cell(worker.embedding(token), state["worker"], *worker.lstm.all_weights[0])
        weight = worker.output.weight.view(-1, worker.lstm.hidden_size + 1)
        matrix = F.linear(F.pad(hidden, (0, 1), value=1.0), weight).view(len(token), self.vocabulary.vocab_size, -1)
        first = F.normalize(worker.first_goal, dim=-1).expand(len(token), -1)
        known = [first] * self.generator.step_size + [goal.detach() for goal in state["goals"]]
        followed = torch.stack(known[-self.generator.step_size :]).sum(0)
        logits = (matrix @ worker.goal_embedding(followed)[:, :, None]).squeeze(2)
        return logits, {
            "read": read,
            "features": [*state["features"], features],
            "goals": [*state["goals"], goal],
            "manager": manager_state,
            "worker": (hidden, cell),
        }


def naive_pass(
    policy: NaiveLeakGAN, tokens: Int[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T1 F"], Float[Tensor, "B T F"], Float[Tensor, "B T"]]:
    """Read sequences without `eos`; return features, goals and log-probabilities, what LeakGAN learns from."""
    state, token = policy.initial_state(len(tokens)), torch.full_like(tokens[:, 0], policy.vocabulary.bos)
    columns = []
    for t in range(tokens.shape[1]):
        logits, state = policy.step(token, state)
        token = tokens[:, t]
        columns.append(logits.log_softmax(-1).gather(1, token[:, None]).squeeze(1))
    features = torch.stack([*state["features"], policy.features(tokens)], 1)
    return features, torch.stack(state["goals"], 1), torch.stack(columns, 1)
