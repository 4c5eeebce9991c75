"""The convolutional discriminator of SeqGAN (Yu et al. 2017, section 3.3 and appendix)."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from textforge.decoding import evaluating
from textforge.errors import UserError
from textforge.nets.embedding import Sequences, embed
from textforge.nets.judgement import Judgement
from textforge.sharding import by_rows
from textforge.text import Vocabulary


class Highway(nn.Module):
    """tau * relu(W_H f + b_H) + (1 - tau) * f with tau = sigmoid(W_T f + b_T) (Srivastava et al. 2015)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, dim)
        self.transform = nn.Linear(dim, dim)

    def forward(self, features: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
        """Mix the transformed features with the features themselves."""
        return torch.lerp(features, self.transform(features).relu(), self.gate(features).sigmoid())


class TextCNN(nn.Module):
    """Convolutions of several window sizes, maximum over time, a highway layer, dropout and one logit.

    Token ids and distributions over them go through the same network. `windows` are pairs (size, number of kernels);
    sizes above `max_length` are left out, and UserError says where none remains. Initial values are those of the
    authors' code: embeddings uniform in (-1, 1), kernels and matrices normal with standard deviation 0.1 cut at two
    deviations, biases 0.1, the highway's gate 0.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_length: int,
        *,
        windows: tuple[tuple[int, int], ...],
        embedding_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        fitting = [(size, kernels) for size, kernels in windows if size <= max_length]
        if not fitting:
            raise UserError(f"no window of {windows} fits into {max_length} tokens; add a smaller one")
        self.sizes = [size for size, _ in fitting]
        self.pad = vocabulary.pad
        self.embedding = nn.Embedding(len(vocabulary), embedding_dim)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding_dim, kernels, size) for size, kernels in fitting)
        self.num_features = sum(kernels for _, kernels in fitting)
        self.highway = Highway(self.num_features)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.num_features, 1)
        nn.init.uniform_(self.embedding.weight, -1, 1)
        for module in (*self.convolutions, self.highway.gate, self.highway.transform, self.head):
            nn.init.trunc_normal_(module.weight, std=0.1, a=-0.2, b=0.2)
            nn.init.constant_(module.bias, 0.1)
        nn.init.zeros_(self.highway.gate.bias)

    @by_rows
    def forward(self, sequences: Sequences) -> Judgement:
        """Judge token ids, or distributions over the first E ids of the vocabulary."""
        embedded = embed(self.embedding, sequences).transpose(1, 2)
        # relu after the maximum is relu before it, at a fraction of the work
        return self._judge([convolution(embedded).amax(2).relu() for convolution in self.convolutions])

    def tabulated(self) -> Callable[[Int[Tensor, "B T"]], Judgement]:
        """Return the judgement of token ids as a function for many calls with frozen weights: no dropout, no gradient.

        A convolution over one-hot vectors is a sum of rows of (embedding x kernel): each such table is worked out
        once, and a window costs some additions instead of products with its embeddings. Equal to `forward` to
        rounding.
        """
        with evaluating(self):
            tables = [
                ((self.embedding.weight @ kernel.permute(2, 1, 0).contiguous()).flatten(0, 1), bias)
                for kernel, bias in (convolution.parameters() for convolution in self.convolutions)
            ]

        def judge(tokens: Int[Tensor, "B T"]) -> Judgement:
            with evaluating(self):
                pooled = []
                for size, (table, bias) in zip(self.sizes, tables, strict=True):
                    offsets = torch.arange(size, device=tokens.device) * self.embedding.num_embeddings
                    windows = (tokens.unfold(1, size, 1) + offsets).flatten(0, 1)
                    sums = torch.unflatten(F.embedding_bag(windows, table, mode="sum"), 0, (len(tokens), -1))
                    pooled.append((sums.amax(1) + bias).relu())
                return self._judge(pooled)

        return judge

    def _judge(self, pooled: list[Float[Tensor, "B _"]]) -> Judgement:
        features = self.highway(torch.cat(pooled, 1))
        return Judgement(self.head(self.dropout(features)).squeeze(1), features)

    def head_penalty(self) -> Float[Tensor, ""]:
        """Return (|w|^2 + |b|^2) / 2 of the last layer, the only one that SeqGAN's L2 term touches."""
        return (self.head.weight.square().sum() + self.head.bias.square().sum()) / 2
