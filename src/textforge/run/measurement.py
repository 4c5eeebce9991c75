"""How a run measures its generator without changing what it would have learned."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from textforge.decoding import evaluating
from textforge.run.seeds import forked


@dataclass(frozen=True)
class Share:
    """A share of `num` samples beside that of real text in their place.

    `error` is the standard error that the difference of the two has where the samples are as good as real text.
    """

    value: float
    real: float
    error: float
    num: int


@dataclass(frozen=True)
class Measurement:
    """What an evaluation found: numbers for the records, samples to keep, and plain values that a drawing is made of.

    `nll_valid`, where it is among the scalars, decides which generator is the best and when patience ends. By `shares`
    the run sees that a generator collapses: `unique`, of equally many samples each time, and `exact_copy`.
    """

    scalars: Mapping[str, float]
    samples: Sequence[str] = ()
    picture: Mapping[str, Any] | None = None
    shares: Mapping[str, Share] = field(default_factory=dict)


def joined(parts: Iterable[Measurement]) -> Measurement:
    """Put measurements of one evaluation together; of two values of one name, the later counts."""
    scalars: dict[str, float] = {}
    samples: list[str] = []
    picture: dict[str, Any] = {}
    shares: dict[str, Share] = {}
    for part in parts:
        scalars |= part.scalars
        samples += part.samples
        picture |= part.picture or {}
        shares |= part.shares
    return Measurement(scalars, samples, picture or None, shares)


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
