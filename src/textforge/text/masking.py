"""Which tokens of a text are blanked: what a model that fills blanks is trained on."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from textforge.text.vocabulary import Vocabulary


def bernoulli_blanks(lengths: Int[Tensor, " B"], width: int, present_rate: float) -> Bool[Tensor, "B T"]:
    """Blank each of the first `lengths` tokens of a row by itself, with probability 1 - `present_rate`."""
    drawn = torch.rand(len(lengths), width, device=lengths.device) >= present_rate
    return drawn & (torch.arange(width, device=lengths.device) < lengths[:, None])


def contiguous_blanks(lengths: Int[Tensor, " B"], width: int, present_rate: float) -> Bool[Tensor, "B T"]:
    """Blank one block a row: int((1 - p) L) - 1 of its L tokens, from a place that is uniform on 1, ..., L - block.

    As in MaskGAN's released code, so that the first token stays and the blank share lies below 1 - p. A row of at
    least two tokens has at least one blank here, where the formula may say none; a rate of 1 has none.
    """
    block = ((1 - present_rate) * lengths.double()).long() - 1
    block = torch.minimum(block.clamp(min=int(present_rate < 1)), (lengths - 1).clamp(min=0))
    drawn = torch.rand(len(lengths), dtype=torch.double, device=lengths.device)
    start = 1 + (drawn * (lengths - block)).long()
    place = torch.arange(width, device=lengths.device)
    return (place >= start[:, None]) & (place < (start + block)[:, None])


def words(tokens: Int[Tensor, "B T"], vocabulary: Vocabulary) -> Bool[Tensor, "B T"]:
    """Return which tokens may be blanked: all but padding and `eos`, which says how long a text is."""
    real = tokens != vocabulary.pad
    return real if vocabulary.eos is None else real & (tokens != vocabulary.eos)
