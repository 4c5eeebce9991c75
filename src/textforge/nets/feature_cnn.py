"""The convolutional feature extractor and discriminator of the two TextGAN papers (Zhang et al. 2016, 2017)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from textforge.nets.embedding import Sequences, embed, real_positions
from textforge.nets.judgement import Judgement
from textforge.text import Vocabulary


class FeatureCNN(nn.Module):
    """tanh convolutions of several sizes, maximum over time, and a head of one sigmoid layer and one logit.

    `windows` are pairs (size, number of kernels); their sum is the number of features F, each in (-1, 1). As in the
    authors' code, a sequence has (largest size - 1) pads on either side; windows of padding alone do not count, so
    that padding behind a sequence changes nothing.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        windows: tuple[tuple[int, int], ...],
        embedding_dim: int,
        head_dim: int,
    ) -> None:
        super().__init__()
        self.pad = vocabulary.pad
        self.sizes = [size for size, _ in windows]
        self.margin = max(self.sizes) - 1
        self.num_features = sum(kernels for _, kernels in windows)
        self.embedding = nn.Embedding(len(vocabulary), embedding_dim)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding_dim, kernels, size) for size, kernels in windows)
        self.head = nn.Sequential(nn.Linear(self.num_features, head_dim), nn.Sigmoid(), nn.Linear(head_dim, 1))

    def features(self, sequences: Sequences) -> Float[Tensor, "B F"]:
        """Return the largest tanh of each kernel over all windows that hold a real token."""
        embedded = embed(self.embedding, sequences)
        real = real_positions(sequences, self.pad)
        pads = self.embedding.weight[self.pad].expand(len(embedded), self.margin, -1)
        embedded = torch.cat([pads, embedded, pads], 1).transpose(1, 2)
        margin = real.new_zeros(len(real), self.margin)
        real = torch.cat([margin, real, margin], 1)
        found = []
        for size, convolution in zip(self.sizes, self.convolutions, strict=True):
            counts = real.unfold(1, size, 1).any(2)
            # tanh is monotone, so it may follow the maximum, at a fraction of the work
            found.append(convolution(embedded).masked_fill(~counts[:, None], -torch.inf).amax(2).tanh())
        return torch.cat(found, 1)

    def forward(self, sequences: Sequences) -> Judgement:
        """Judge token ids, or distributions over ids."""
        features = self.features(sequences)
        return Judgement(self.head(features).squeeze(1), features)
