"""How a run measures its generator without changing what it would have learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from textforge.decoding import evaluating
from textforge.run.seeds import forked


@dataclass(frozen=True)
class Measurement:
    """What an evaluation found: numbers for the records, and samples to keep.

    `nll_valid`, where it is among the scalars, decides which generator is the best and when patience ends.
    """

    scalars: Mapping[str, float]
    samples: Sequence[str] = ()


@runtime_checkable
class Evaluate(Protocol):
    """Measures the generator, which is in eval mode, without gradients, with random numbers of its own."""

    def __call__(self, generator: nn.Module, *, phase_end: bool) -> Measurement:
        """Return the measurement; at the end of a phase there is time for more."""
        ...


def measure(
    evaluate: Evaluate, generator: nn.Module, *, phase_end: bool, seed: int, device: torch.device
) -> Measurement:
    """Evaluate the generator; its modes, its gradients and PyTorch's random numbers are afterwards as before."""
    with evaluating(generator), forked(seed, device):
        return evaluate(generator, phase_end=phase_end)
