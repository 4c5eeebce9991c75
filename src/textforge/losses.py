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


def generator_loss(
    logits: Float[Tensor, " B"], objective: GeneratorObjective, weights: Float[Tensor, " B"] | None = None
) -> Float[Tensor, ""]:
    """Return what a generator minimises, from the discriminator's logits of its samples; mean over the batch.

    `minimax` log(1 - D) (Goodfellow et al. 2014, eq. 1), which has no gradient where D is sure of itself;
    `non-saturating` -log D (section 3 there); `ratio` -log(D / (1 - D)), the negative logit itself (Kusner and
    Hernandez-Lobato 2016, algorithm 1): at the best D its mean is KL(generator || data). With `weights`, the
    probabilities of all that the generator can say, the mean is exact, and its gradient goes through them.
    """
    match objective:
        case "minimax":
            losses = -F.softplus(logits)
        case "non-saturating":
            losses = F.softplus(-logits)
        case "ratio":
            losses = -logits
    return losses.mean() if weights is None else (weights * losses).sum()


def value_loss(
    real: Float[Tensor, " B"],
    fake: Float[Tensor, " N"],
    real_weights: Float[Tensor, " B"],
    fake_weights: Float[Tensor, " N"],
    *,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Return -V(D, G), minus E log D(x) over real and E log(1 - D(x)) over generated ones (Goodfellow et al., eq. 1).

    From the discriminator's logits; an expectation is the sum under weights that add up to one. One-sided label
    smoothing gives real ones the target 1 - `smoothing` and leaves that of generated ones at 0 (Salimans et al. 2016,
    section 3.4).
    """
    return real_weights @ (F.softplus(-real) + smoothing * real) + fake_weights @ F.softplus(fake)


def relativistic_loss(better: Float[Tensor, " B"], worse: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Return -log sigmoid(better - worse), mean over pairs (Jolicoeur-Martineau 2018, relativistic standard GAN).

    The discriminator minimises it with real logits as the better ones, the generator with those of its samples.
    """
    return F.softplus(worse - better).mean()
