"""Sentences spoilt by the order of their words alone: what a discriminator is pretrained on."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def swap_two(
    tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, eos: int | None
) -> tuple[Int[Tensor, "B T"], Bool[Tensor, " B"]]:
    """Exchange two different words of each sequence; return these twins, and which sequences could be spoilt so.

    `mask` is True on real tokens. Neither padding nor `eos` moves. The first word is drawn uniformly from a sequence,
    the second from those of its words that differ from the first, by torch's global random numbers. A sequence without
    two different words comes back as it was.
    """
    words = mask if eos is None else mask & (tokens != eos)
    first = _draw(words)
    chosen = tokens.gather(1, first)
    others = words & (tokens != chosen)
    second = _draw(others)
    swapped = tokens.scatter(1, first, tokens.gather(1, second)).scatter(1, second, chosen)
    possible = others.any(1)
    return torch.where(possible[:, None], swapped, tokens), possible


def _draw(where: Bool[Tensor, "B T"]) -> Int[Tensor, "B 1"]:
    """Return a position a row, uniformly from those that are True; any where none is."""
    return torch.rand(where.shape, device=where.device).masked_fill(~where, -1).argmax(1, keepdim=True)
