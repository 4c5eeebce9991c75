"""The discriminator of TextGAN: the convolutional features with three heads (Zhang et al. 2017)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from textforge.nets.embedding import Sequences
from textforge.nets.feature_cnn import FeatureCNN
from textforge.nets.judgement import Judgement
from textforge.text import Vocabulary


class MatchingDiscriminator(nn.Module):
    """One feature extractor that judges, says which noise a sequence came from, and is matched by the generator.

    The judgement's probability of being real stays within [`margin`, 1 - `margin`]. `compressed_dims` are the sizes of
    the hidden and the last layer through which features go before they are matched; None: they are matched as they are.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        windows: tuple[tuple[int, int], ...],
        embedding_dim: int,
        head_dim: int,
        noise_dim: int,
        compressed_dims: tuple[int, int] | None,
        margin: float,
    ) -> None:
        super().__init__()
        self.margin = margin
        self.cnn = FeatureCNN(vocabulary, windows=windows, embedding_dim=embedding_dim, head_dim=head_dim)
        size = self.cnn.num_features
        self.encoder = nn.Sequential(nn.Linear(size, size), nn.Sigmoid(), nn.Linear(size, noise_dim), nn.Tanh())
        self.compressor: nn.Module = nn.Identity()
        if compressed_dims is not None:
            hidden, last = compressed_dims
            self.compressor = nn.Sequential(nn.Linear(size, hidden), nn.Sigmoid(), nn.Linear(hidden, last), nn.Tanh())

    def forward(self, sequences: Sequences) -> Judgement:
        """Judge token ids, or distributions over ids."""
        judgement: Judgement = self.cnn(sequences)
        return Judgement(soft_logits(judgement.logits, self.margin), judgement.features)

    def features(self, sequences: Sequences) -> Float[Tensor, "B F"]:
        """Return f, each number of which lies in (-1, 1)."""
        features: Tensor = self.cnn.features(sequences)
        return features

    def latent(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B Z"]:
        """Return z^, in (-1, 1) as the noise is."""
        latent: Tensor = self.encoder(features)
        return latent

    def matched(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B C"]:
        """Return what of the features is matched."""
        matched: Tensor = self.compressor(features)
        return matched


def soft_logits(logits: Float[Tensor, " B"], margin: float) -> Float[Tensor, " B"]:
    """Return the logits of margin + (1 - 2 margin) sigmoid(l), so that a network is never asked to be sure.

    Exact for any l: neither probability is computed, but the logarithm of each. Where l is large, the slope is 0.
    """
    if margin == 0:
        return logits
    floor, scale = logits.new_tensor(math.log(margin)), math.log1p(-2 * margin)
    real = torch.logaddexp(floor, scale + F.logsigmoid(logits))
    fake = torch.logaddexp(floor, scale + F.logsigmoid(-logits))
    return real - fake
