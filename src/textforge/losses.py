"""Losses as plain functions of log-probabilities and logits; all are minimised."""

from typing import Literal

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


GeneratorObjective = Literal["minimax", "non-saturating", "ratio"]


def generator_loss(logits: Float[Tensor, " B"], objective: GeneratorObjective) -> Float[Tensor, ""]:
    """Return what a generator minimises, from the discriminator's logits of its samples; mean over the batch.

    `minimax` log(1 - D) (Goodfellow et al. 2014, eq. 1), which has no gradient where D is sure of itself;
    `non-saturating` -log D (section 3 there); `ratio` -log(D / (1 - D)), the negative logit itself (Kusner and
    Hernandez-Lobato 2016, algorithm 1): at the best D its mean is KL(generator || data).
    """
    match objective:
        case "minimax":
            return -F.softplus(logits).mean()
        case "non-saturating":
            return F.softplus(-logits).mean()
        case "ratio":
            return -logits.mean()


def relativistic_loss(better: Float[Tensor, " B"], worse: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Return -log sigmoid(better - worse), mean over pairs (Jolicoeur-Martineau 2018, relativistic standard GAN).

    The discriminator minimises it with real logits as the better ones, the generator with those of its samples.
    """
    return F.softplus(worse - better).mean()
