"""Losses as plain functions of log-probabilities and logits; all are minimised."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def nll(log_probs: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Return the negative log-likelihood per real token, in nats; padding does not count."""
    return -(log_probs * mask).sum() / mask.sum()


def policy_gradient(log_probs: Float[Tensor, "B T"], action_values: Float[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Return the loss of the REINFORCE estimate: sum over time, mean over the batch (SeqGAN, eq. 7 less its 1/T).

    Action values are constants here and are 0 behind the end of a sequence.
    """
    return -(log_probs * action_values.detach()).sum(1).mean()


def discriminator_loss(logits: Float[Tensor, " B"], is_real: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
    """Return -log D(Y) on real sequences and -log(1 - D(Y)) on generated ones, mean over the batch (SeqGAN, eq. 5)."""
    return F.binary_cross_entropy_with_logits(logits, is_real.to(logits.dtype))
