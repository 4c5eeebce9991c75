"""How a run measures its generator without changing what it would have learned."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from textforge.decoding import evaluating
from textforge.run.seeds import forked


@dataclass(frozen=True)
class Measurement:
    """What an evaluation found: numbers for the records, samples to keep, and plain values that a drawing is made of.

    `nll_valid`, where it is among the scalars, decides which generator is the best and when patience ends.
    """

    scalars: Mapping[str, float]
    samples: Sequence[str] = ()
    picture: Mapping[str, Any] | None = None


@runtime_checkable
class Evaluate(Protocol):
    """Measures the generator, which is in eval mode, without gradients, with random numbers of its own."""

    def __call__(self, generator: nn.Module, *, phase_end: bool) -> Measurement:
        """Return the measurement; at the end of a phase there is time for more."""
        ...


@contextmanager
def measuring(modules: Iterable[nn.Module], seed: int, device: torch.device) -> Iterator[None]:
    """Put modules into eval mode, without gradients; their modes and PyTorch's random numbers come back as before."""
    with evaluating(*modules), forked(seed, device):
        yield
