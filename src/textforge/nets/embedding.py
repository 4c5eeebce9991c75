"""Sequences as networks read them: token ids, or distributions over ids."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Sequences = Int[Tensor, "B T"] | Float[Tensor, "B T E"] | Sequence[Float[Tensor, "B E"]]
"""Token ids, or distributions over the first E ids of a vocabulary: stacked, or a row a position as `Relaxed` holds
them, which spares the memory of the stack."""


def embed(embedding: nn.Embedding, sequences: Sequences) -> Float[Tensor, "B T D"]:
    """Return the embedding of each token, or the expected embedding under each distribution."""
    if isinstance(sequences, Tensor) and not sequences.is_floating_point():
        embedded: Tensor = embedding(sequences)
        return embedded
    return torch.stack([row @ embedding.weight[: row.shape[1]] for row in _rows(sequences)], 1)


def real_positions(sequences: Sequences, pad: int) -> Bool[Tensor, "B T"]:
    """Return where the token is not `pad`; a distribution is padding where it is sure of it."""
    if isinstance(sequences, Tensor) and not sequences.is_floating_point():
        return sequences != pad
    rows = _rows(sequences)
    if rows[0].shape[1] <= pad:
        return torch.ones(len(rows[0]), len(rows), dtype=torch.bool, device=rows[0].device)
    return torch.stack([row[:, pad] < 1 for row in rows], 1)


def _rows(sequences: Sequences) -> Sequence[Tensor]:
    return sequences.unbind(1) if isinstance(sequences, Tensor) else sequences


def tokens_before(tokens: Int[Tensor, "B T"], bos: int) -> Int[Tensor, "B T"]:
    """Return what a language model reads at each position: the token before, and `bos` in front of the first."""
    return torch.cat([torch.full_like(tokens[:, :1], bos), tokens[:, :-1]], 1)
