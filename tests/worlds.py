"""Worlds so small that every sequence can be listed: expectations become sums, and any reward can be a table.

The references here know no state: they read each prefix from `bos` on, one row at a time.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from textforge.decoding import Generator
from textforge.nets.lstm import LSTMGenerator
from textforge.text import Vocabulary

Prefix = tuple[int, ...]


@dataclass(frozen=True)
class World:
    """A language of all sequences up to a length: closed by `eos`, or as long as they can be."""

    vocabulary: Vocabulary
    max_length: int

    @cached_property
    def sequences(self) -> Int[Tensor, "K T"]:
        """All sequences, padded."""
        ended = [[]] if self.vocabulary.eos is None else self._closed()
        whole = [list(row) for row in itertools.product(self._going, repeat=self.max_length)]
        rows = [row for row in [*ended, *whole] if row]
        pad = self.vocabulary.pad
        return torch.tensor([row + [pad] * (self.max_length - len(row)) for row in rows])

    @property
    def _going(self) -> list[int]:
        return [i for i in range(self.vocabulary.vocab_size) if i != self.vocabulary.eos]

    def _closed(self) -> list[list[int]]:
        eos = self.vocabulary.eos
        assert eos is not None
        lengths = range(self.max_length)
        return [[*row, eos] for length in lengths for row in itertools.product(self._going, repeat=length)]

    @property
    def mask(self) -> Bool[Tensor, "K T"]:
        """True on real tokens of `sequences`."""
        return self.sequences != self.vocabulary.pad

    def prefixes(self) -> list[Prefix]:
        """Return every prefix that can go on, the empty one first."""
        real = {tuple(row[:t].tolist()) for row in self.sequences for t in range(self.max_length)}
        open_ = {p for p in real if self.vocabulary.pad not in p and self.vocabulary.eos not in p}
        return sorted(open_, key=lambda p: (len(p), p))

    def index(self, tokens: Int[Tensor, "R T"]) -> Int[Tensor, " R"]:
        """Return the row of `sequences` that each row equals; fails for what is no sequence of the world."""
        places = len(self.vocabulary) ** torch.arange(self.max_length)
        codes, order = (self.sequences * places).sum(1).sort()
        found = order[torch.searchsorted(codes, (tokens * places).sum(1)).clamp(max=len(codes) - 1)]
        assert torch.equal(self.sequences[found], tokens), "every row is a sequence of the world"
        return found

    def reward(self, values: Float[Tensor, " K"]) -> Callable[[Tensor], Tensor]:
        """Return the reward that is this table."""
        return lambda tokens: values[self.index(tokens)]


FIXED = World(Vocabulary.create("abc", unk=False, eos=False), 3)
SHARED_BOS = World(Vocabulary.create("abc", unk=False, eos=False, bos=0), 3)
ENDING = World(Vocabulary.create("ab", unk=False, eos=True), 4)
WORLDS = {"fixed": FIXED, "shared-bos": SHARED_BOS, "ending": ENDING}


class TableGenerator(nn.Module):
    """A generator whose logits are a table with a row for each prefix.

    It demands what every generator may rely on: `bos` first, then only tokens that can be emitted, never past `eos`.
    """

    noise_dim = 0

    def __init__(self, world: World, seed: int, std: float = 1.0) -> None:
        super().__init__()
        self.vocabulary = world.vocabulary
        self.max_length = world.max_length
        size = self.vocabulary.vocab_size
        num_prefixes = sum(size**t for t in range(world.max_length))
        drawn = torch.randn(num_prefixes, size, generator=torch.Generator().manual_seed(seed))
        self.table = nn.Parameter(std * drawn)

    def initial_state(self, batch: int, context: Any = None) -> dict[str, list[Tensor]]:
        return {"prefix": [torch.full((batch,), -1, device=self.table.device)]}

    def step(self, token: Tensor, state: dict[str, list[Tensor]]) -> tuple[Tensor, dict[str, list[Tensor]]]:
        (prefix,) = state["prefix"]
        size = self.vocabulary.vocab_size
        first = prefix < 0
        assert (token[first] == self.vocabulary.bos).all(), "a sequence begins with bos"
        assert (token[~first] < size).all(), "only what was emitted is read"
        assert self.vocabulary.eos is None or (token[~first] != self.vocabulary.eos).all(), "nothing follows eos"
        prefix = torch.where(first, 0, prefix * size + token + 1)
        return self.table[prefix], {"prefix": [prefix]}

    def forward(self, tokens: Tensor) -> Tensor:
        size = self.vocabulary.vocab_size
        log_probs = torch.zeros(tokens.shape, dtype=self.table.dtype)
        columns = []
        prefix = torch.zeros(len(tokens), dtype=torch.long)
        for t in range(tokens.shape[1]):
            real = tokens[:, t] != self.vocabulary.pad
            token = torch.where(real, tokens[:, t], 0)
            scores = self.table[torch.where(real, prefix, 0)].log_softmax(1).gather(1, token[:, None]).squeeze(1)
            columns.append(torch.where(real, scores, log_probs[:, t]))
            prefix = prefix * size + token + 1
        return torch.stack(columns, 1)


def wide_lstm(world: World, seed: int, *, num_layers: int = 1, dropout: float = 0.0) -> LSTMGenerator:
    """An LSTM whose weights are so large (standard deviation 1) that no two prefixes are followed alike."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LSTMGenerator(
            world.vocabulary,
            world.max_length,
            embedding_dim=4,
            hidden_dim=5,
            num_layers=num_layers,
            dropout=dropout,
            init_std=1.0,
        )


GENERATORS: dict[str, Callable[[World, int], nn.Module]] = {"table": TableGenerator, "lstm": wide_lstm}


def random_values(world: World, seed: int) -> Float[Tensor, " K"]:
    """An arbitrary reward table."""
    return torch.randn(len(world.sequences), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def next_logits(generator: Generator, prefix: Prefix) -> Float[Tensor, " V"]:
    """Return the logits behind a prefix, read from its beginning."""
    state = generator.initial_state(1)
    for token in (generator.vocabulary.bos, *prefix):
        logits, state = generator.step(torch.tensor([token]), state)
    return logits[0]


def conditionals(generator: Generator, world: World, temperature: float = 1.0) -> dict[Prefix, Float[Tensor, " V"]]:
    """Return for every prefix that can go on the log-probability of each next token."""
    return {p: (next_logits(generator, p) / temperature).log_softmax(0) for p in world.prefixes()}


def exact_log_probs(generator: Generator, world: World, temperature: float = 1.0) -> Float[Tensor, "K T"]:
    """Return the log-probability of every token of every sequence; 0 on padding."""
    following = conditionals(generator, world, temperature)
    scores = torch.zeros(world.sequences.shape)
    for k, row in enumerate(world.sequences.tolist()):
        for t in range(int(world.mask[k].sum())):
            scores[k, t] = following[tuple(row[:t])][row[t]]
    return scores


def exact_probs(generator: Generator, world: World) -> Float[Tensor, " K"]:
    """Return the probability of every sequence."""
    return exact_log_probs(generator, world).sum(1).exp()


def infilled_probs(
    world: World, following: dict[Prefix, Tensor], given: Int[Tensor, " T"], given_mask: Bool[Tensor, " T"]
) -> Float[Tensor, " K"]:
    """Return the probability of every sequence when blanks are filled, each by its conditional; no `eos` too early."""
    probabilities = torch.ones(len(world.sequences))
    for k, row in enumerate(world.sequences.tolist()):
        for t in range(int(world.mask[k].sum())):
            probs = following[tuple(row[:t])].exp()
            if world.vocabulary.eos is not None and given_mask[t + 1 :].any():
                probs[world.vocabulary.eos] = 0.0
            probabilities[k] *= float(row[t] == given[t]) if given_mask[t] else probs[row[t]] / probs.sum()
    return probabilities


def exact_values(generator: Generator, world: World, values: Float[Tensor, " K"]) -> dict[Prefix, float]:
    """Return the expected reward behind every prefix: V(s) = sum over a of G(a | s) V(s, a)."""
    known = {
        tuple(row[:length]): value
        for row, length, value in zip(
            world.sequences.tolist(), world.mask.sum(1).tolist(), values.tolist(), strict=True
        )
    }
    following = conditionals(generator, world)
    for prefix in reversed(world.prefixes()):
        known[prefix] = sum(p * known[(*prefix, a)] for a, p in enumerate(following[prefix].exp().tolist()))
    return known


def exact_q(generator: Generator, world: World, values: Float[Tensor, " K"]) -> Float[Tensor, "K T"]:
    """Return Q(Y_{1:t-1}, y_t) for every token of every sequence, under a table of rewards; 0 on padding."""
    known = exact_values(generator, world, values)
    q = torch.zeros(world.sequences.shape)
    for k, row in enumerate(world.sequences.tolist()):
        for t in range(int(world.mask[k].sum())):
            q[k, t] = known[tuple(row[: t + 1])]
    return q


def chi_square_z(counts: Int[np.ndarray, " K"], probs: Float[np.ndarray, " K"]) -> float:
    """Return by how many standard deviations the counts fit their probabilities worse than chance would have it.

    The cube-root normal approximation to Pearson's chi-square; the rarest cells are taken together until they expect 5.
    `inf` where something of probability 0 occurred.
    """
    if counts[probs == 0].sum():
        return np.inf
    order = np.argsort(probs)[np.count_nonzero(probs == 0) :]
    expected, counts = counts.sum() * probs[order], counts[order]
    start = np.searchsorted(np.cumsum(expected), 5.0)
    cells = np.concatenate([[0], np.arange(start + 1, len(order))])
    expected, counts = np.add.reduceat(expected, cells), np.add.reduceat(counts, cells)
    if len(counts) < 2:
        return 0.0
    degrees = len(counts) - 1
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return float(((statistic / degrees) ** (1 / 3) - 1 + 2 / (9 * degrees)) / (2 / (9 * degrees)) ** 0.5)


def frequencies_z(world: World, tokens: Int[Tensor, "R T"], probs: Float[Tensor, " K"]) -> float:
    """Return how badly drawn sequences fit exact probabilities, in standard deviations."""
    counts = np.bincount(world.index(tokens).numpy(), minlength=len(world.sequences))
    return chi_square_z(counts, probs.double().numpy())


def gradient(value: Tensor, module: nn.Module) -> Float[Tensor, " P"]:
    """Return the gradient of a number with respect to all parameters, end to end."""
    parameters = list(module.parameters())
    parts = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])
