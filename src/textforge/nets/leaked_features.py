"""What a convolutional discriminator sees in every prefix of a sequence, worked out one token at a time (LeakGAN)."""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from textforge.decoding import State
from textforge.nets.text_cnn import TextCNN
from textforge.sharding import by_rows
from textforge.text import Vocabulary


def _kernels(discriminator: TextCNN) -> list[tuple[Tensor, Tensor]]:
    """Return weights [kernels, D, size] and biases of each convolution."""
    pairs = (convolution.parameters() for convolution in discriminator.convolutions)
    return [(weight, bias) for weight, bias in pairs]


class LeakedFeatures(nn.Module):
    """A frozen copy of the feature extractor F of a discriminator: f_t = F(the first t tokens, the rest not yet seen).

    Positions not yet seen hold `mask`, an id that no text contains; `pad`, behind `eos`, is text that has been read.
    The copy stays as it is until `leak` renews it. No gradient goes through it.

    A new token changes only the windows that it falls into. So each window that has begun keeps the sum of its
    kernel's products with the tokens seen, to which each token adds its own; what the unseen rest of the window
    contributes is known beforehand; and of complete windows only the maximum is kept. The features equal those of the
    whole network to rounding.
    """

    embedding: Tensor
    kernels: Tensor
    bias: Tensor
    unseen: Tensor

    def __init__(self, vocabulary: Vocabulary, max_length: int, discriminator: TextCNN) -> None:
        super().__init__()
        self.bos, self.mask = vocabulary.bos, vocabulary.mask
        self.max_length = max_length
        self.num_features = discriminator.num_features
        self.windows = [(weight.shape[2], len(weight)) for weight, _ in _kernels(discriminator)]
        self.highway = copy.deepcopy(discriminator.highway).requires_grad_(False)
        width = sum(size * kernels for size, kernels in self.windows)
        num_ids, dim = discriminator.embedding.weight.shape
        for name, shape in {
            "embedding": (num_ids, dim),
            "kernels": (dim, width),  # for each window size, the taps of a kernel one after the other
            "bias": (self.num_features,),
            "unseen": (width,),  # what a window adds up to from each tap on, where nothing is seen
        }.items():
            self.register_buffer(name, torch.zeros(shape))
        self.leak(discriminator)

    @torch.no_grad()
    def leak(self, discriminator: TextCNN) -> None:
        """Copy the discriminator's features as they are now."""
        weights, biases = zip(*_kernels(discriminator), strict=True)
        self.embedding.copy_(discriminator.embedding.weight)
        self.kernels.copy_(torch.cat([weight.permute(1, 2, 0).flatten(1) for weight in weights], 1))
        self.bias.copy_(torch.cat(biases))
        self.highway.load_state_dict(discriminator.highway.state_dict())
        taps = self._by_window(self.embedding[self.mask] @ self.kernels)
        self.unseen.copy_(torch.cat([tap.flip(0).cumsum(0).flip(0).flatten() for tap in taps]))

    def _by_window(self, flat: Float[Tensor, "*B W"]) -> list[Float[Tensor, "*B _ _"]]:
        """Take the products of all windows apart: [taps, kernels] for each size."""
        parts = flat.split([size * kernels for size, kernels in self.windows], -1)
        return [part.unflatten(-1, window) for part, window in zip(parts, self.windows, strict=True)]

    def initial_state(self, batch: int) -> State:
        """Return the state before `bos`: the position, the best complete windows, and those that have begun."""
        nothing = self.bias.new_full((batch, 1), -torch.inf)
        begun = [nothing[:, :, None].expand(-1, size - 1, kernels) for size, kernels in self.windows]
        position = torch.full((batch,), -1, device=self.bias.device)
        return position, [nothing.expand(-1, kernels) for _, kernels in self.windows], begun

    @torch.no_grad()
    def read(self, token: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B F"], State]:
        """Read one token a row, `bos` first; return the maxima over time, which `features` turns into features."""
        position, best, begun = state
        position = position + 1  # that of the token, from 1; 0 is `bos`, which no window holds
        maxima, bests, begins = [], [], []
        products = self._by_window(self.embedding[token] @ self.kernels)
        for (size, _), product, unseen, most, sums in zip(
            self.windows, products, self._by_window(self.unseen), best, begun, strict=True
        ):
            may_begin = (position >= 1) & (position + size - 1 <= self.max_length)
            first = torch.where(may_begin, 0.0, -torch.inf).to(product.dtype)
            sums = torch.cat([first[:, None, None].expand(-1, 1, product.shape[2]), sums], 1) + product
            most, sums = torch.maximum(most, sums[:, -1]), sums[:, :-1]
            wholly_unseen = torch.where((position + size <= self.max_length)[:, None], unseen[0], -torch.inf)
            highest = torch.maximum(most, wholly_unseen)
            if size > 1:
                highest = torch.maximum(highest, (sums + unseen[1:]).amax(1))
            maxima.append(highest)
            bests.append(most)
            begins.append(sums)
        return torch.cat(maxima, 1), (position, bests, begins)

    @torch.no_grad()
    def features(self, maxima: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
        """Return what the network makes of the maxima over time."""
        found: Tensor = self.highway((maxima + self.bias).relu())
        return found

    @by_rows
    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T1 F"]:
        """Return the features of every prefix of each sequence, f_0 of the empty one to f_T of the whole."""
        state = self.initial_state(len(tokens))
        start = torch.full_like(tokens[:, :1], self.bos)
        maxima = []
        for token in torch.cat([start, tokens], 1).unbind(1):
            most, state = self.read(token, state)
            maxima.append(most)
        return self.features(torch.stack(maxima, 1))
