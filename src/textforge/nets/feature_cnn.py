"""The convolutional features and the discriminator of the two TextGAN papers (Zhang et al. 2016, 2017)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from textforge.nets.embedding import Sequences, embed, real_positions
from textforge.nets.judgement import Judgement
from textforge.sharding import by_rows
from textforge.text import Vocabulary


class SentenceFeatures(nn.Module):
    """tanh convolutions of several sizes, and their maximum over time: a vector of F numbers in (-1, 1) a sequence.

    `windows` are pairs (size, number of kernels); F is the sum of the numbers. As in the authors' code, a sequence has
    (largest size - 1) pads on either side. Windows of padding alone do not count, so that padding behind a sequence
    changes nothing. The paper prints a bias a position; here, as in the code, it is one a kernel.
    """

    def __init__(self, vocabulary: Vocabulary, *, windows: tuple[tuple[int, int], ...], embedding_dim: int) -> None:
        super().__init__()
        self.pad = vocabulary.pad
        self.sizes = [size for size, _ in windows]
        self.margin = max(self.sizes) - 1
        self.num_features = sum(kernels for _, kernels in windows)
        self.embedding = nn.Embedding(len(vocabulary), embedding_dim)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding_dim, kernels, size) for size, kernels in windows)

    @by_rows
    def forward(self, sequences: Sequences) -> Float[Tensor, "B F"]:
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


class FeatureCNN(nn.Module):
    """A discriminator on `SentenceFeatures`: a logit straight from them, or through a layer of sigmoid units.

    Without `head_dim`, the logit is linear in the features: the paper's softmax over two classes. The authors' code has
    a layer of 200 in between.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        windows: tuple[tuple[int, int], ...],
        embedding_dim: int,
        head_dim: int | None,
    ) -> None:
        super().__init__()
        self.extractor = SentenceFeatures(vocabulary, windows=windows, embedding_dim=embedding_dim)
        self.num_features = self.extractor.num_features
        self.head = (
            nn.Linear(self.num_features, 1)
            if head_dim is None
            else nn.Sequential(nn.Linear(self.num_features, head_dim), nn.Sigmoid(), nn.Linear(head_dim, 1))
        )

    def features(self, sequences: Sequences) -> Float[Tensor, "B F"]:
        """Return what the verdict rests on."""
        features: Tensor = self.extractor(sequences)
        return features

    def forward(self, sequences: Sequences) -> Judgement:
        """Judge token ids, or distributions over ids."""
        features = self.features(sequences)
        return Judgement(self.head(features).squeeze(1), features)
