"""From logits to distributions that gradients can go through: what a relaxed generator emits in place of a token."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def gumbel_softmax(
    logits: Float[Tensor, "B V"], temperature: float, *, straight_through: bool = False
) -> Float[Tensor, "B V"]:
    """Draw softmax((logits + g) / temperature) with g standard Gumbel (Kusner and Hernandez-Lobato 2016, eq. 4).

    Whatever the temperature, the largest entry is a draw from softmax(logits).
    """
    # -ln E is Gumbel where E is exponential, and unlike -ln(-ln U) never infinite.
    gumbel = -torch.empty_like(logits).exponential_().clamp(min=torch.finfo(logits.dtype).tiny).log()
    soft = ((logits + gumbel) / temperature).softmax(-1)
    return harden(soft) if straight_through else soft


def soft_argmax(
    logits: Float[Tensor, "B V"], sharpness: float, *, straight_through: bool = False
) -> Float[Tensor, "B V"]:
    """Return softmax(L logits), the argmax as the sharpness L grows (Zhang, Gan and Carin 2016, eq. 8)."""
    soft = (sharpness * logits).softmax(-1)
    return harden(soft) if straight_through else soft


def harden(soft: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
    """Return the one-hot of the largest entry with the gradient of the soft row: the straight-through estimator."""
    hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach())  # the bracket is exactly zero
