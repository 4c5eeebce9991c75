"""The differentiable twin of the loop in `decoding`: sequences of distributions, which gradients go through.

Axis letters: B rows, T time, V vocabulary (the ids that may be emitted), E all ids, Z noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from textforge import sharding
from textforge.decoding import Generator, State


@runtime_checkable
class NoiseGenerator(Generator, Protocol):
    """What `decode_relaxed` needs: a generator driven by noise that can read distributions in place of tokens."""

    def noise(self, batch: int) -> Float[Tensor, "B Z"]:
        """Draw the noise of `batch` sequences."""
        ...

    def relaxed_step(self, row: Float[Tensor, "B E"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Read one distribution over all ids a row; return the logits of the next token and the new state."""
        ...


@dataclass(frozen=True)
class Relaxed:
    """Sequences of distributions over all ids, a row [B E] a position: what gradients can go through.

    The rows are not stacked, so that a network can multiply them into its embeddings one at a time. Behind the first
    row whose largest entry is `eos`, rows are one-hot `pad`, without gradient. `tokens` are the largest entries.
    """

    rows: tuple[Float[Tensor, "B E"], ...]
    tokens: Int[Tensor, "B T"]

    def detach(self) -> "Relaxed":
        """Return the same without gradients."""
        return Relaxed(tuple(row.detach() for row in self.rows), self.tokens)


def decode_relaxed(
    generator: NoiseGenerator,
    noise: Float[Tensor, "B Z"],
    relax: Callable[[Float[Tensor, "B V"]], Float[Tensor, "B V"]],
) -> Relaxed:
    """Write sequences of distributions: `relax` turns logits into the row that is emitted, and read at the next step.

    Differentiable, and in the mode that the generator is in. See `relaxations` for Gumbel-softmax and soft-argmax.
    """
    vocabulary, batch = generator.vocabulary, len(noise)
    bos, pad = torch.eye(len(vocabulary), dtype=noise.dtype, device=noise.device)[[vocabulary.bos, vocabulary.pad]]
    row, going = bos.expand(batch, -1), torch.ones(batch, 1, dtype=torch.bool, device=noise.device)
    state = sharding.split(generator.initial_state(batch, noise))
    rows: list[Tensor] = []
    while len(rows) < generator.max_length and going.any():
        own = sharding.split(row)
        with sharding.inside(batch):
            own_logits, state = generator.relaxed_step(own, state)
        logits = sharding.gather(own_logits, batch)  # `relax` may draw, and so is given all rows
        emitted = F.pad(relax(logits), (0, len(vocabulary) - logits.shape[1]))
        row = torch.where(going, emitted, pad)
        rows.append(row)
        if vocabulary.eos is not None:
            going = going & (row.argmax(1, keepdim=True) != vocabulary.eos)
    rows += [pad.expand(batch, -1)] * (generator.max_length - len(rows))
    return Relaxed(tuple(rows), torch.stack([row.argmax(1) for row in rows], 1))
