"""A convolutional discriminator under spectral normalisation (Miyato et al. 2018): its slope is bounded."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from textforge.nets.embedding import Sequences, embed
from textforge.nets.judgement import Judgement
from textforge.sharding import by_rows
from textforge.text import Vocabulary

WINDOW = 3
SLOPE = 0.1


class UnitRows(nn.Module):
    """Give every row of a matrix the length 1."""

    def forward(self, weight: Float[Tensor, "E D"]) -> Float[Tensor, "E D"]:
        """Return the rows, each divided by its length."""
        return F.normalize(weight)


class SpectralCNN(nn.Module):
    """Embeddings of length 1, two convolutions of window 3, and one logit from what they found, where and how often.

    Every kernel, as a matrix of its outputs, has spectral norm 1 (its convolution then at most sqrt(3)), so that the
    logit cannot change fast with any row of a sequence: its gradient is worth following away from the samples that it
    was fitted on. Padding is read like any symbol, and the head sees
    each position by itself, so that it can judge lengths and places, beside the mean over all positions.
    """

    def __init__(self, vocabulary: Vocabulary, max_length: int, *, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(vocabulary), embedding_dim)
        parametrize.register_parametrization(self.embedding, "weight", UnitRows())
        self.convolutions = nn.ModuleList(
            spectral_norm(nn.Conv1d(size, hidden_dim, WINDOW, padding="same")) for size in (embedding_dim, hidden_dim)
        )
        self.head = spectral_norm(nn.Linear(hidden_dim * (max_length + 1), 1, bias=False))

    @by_rows
    def forward(self, sequences: Sequences) -> Judgement:
        """Judge token ids, or distributions over the first E ids of the vocabulary.

        In training, each call brings the estimates of the spectral norms one power iteration further.
        """
        with parametrize.cached():
            found = embed(self.embedding, sequences).transpose(1, 2)
        for convolution in self.convolutions:
            found = F.leaky_relu(convolution(found), SLOPE)
        features = torch.cat([found.flatten(1), found.mean(2)], 1)
        return Judgement(self.head(features).squeeze(1), features)
