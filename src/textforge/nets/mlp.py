"""Perceptrons for single points: the players of Goodfellow et al. (2014), section 5.

B batch, Z noise, D coordinates, F units.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from textforge.sharding import by_rows

NoiseKind = Literal["uniform", "gaussian"]


@dataclass(frozen=True)
class Draw:
    """Points with weights that add up to one: an expectation is the weighted sum of a function of the points.

    Either a sample, all weights alike, or every point of a finite world with its probability: then the sum is exact.
    """

    points: Shaped[Tensor, "B *D"]
    weights: Float[Tensor, " B"]

    @classmethod
    def sample(cls, points: Shaped[Tensor, "B *D"]) -> "Draw":
        """Give all points the same weight."""
        weights = torch.full((len(points),), 1 / len(points), device=points.device)
        return cls(points, weights)

    def detach(self) -> "Draw":
        """Return the same draw without a gradient."""
        return Draw(self.points.detach(), self.weights.detach())


@runtime_checkable
class PointGenerator(Protocol):
    """What a method of worlds trains; a module too."""

    def draw(self, num: int) -> Draw:
        """Return points that an expectation can be taken over: `num`, or all where they can be listed."""
        ...

    def sample(self, num: int) -> Shaped[Tensor, "B *D"]:
        """Draw `num` points."""
        ...


class Maxout(nn.Module):
    """The largest of several linear functions, unit by unit (Goodfellow et al. 2013); the gradient goes to that one."""

    def __init__(self, size: int, units: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(size, units * pieces)

    def forward(self, x: Float[Tensor, "B _"]) -> Float[Tensor, "B F"]:
        """Return the maximum over the pieces; of equal ones, the gradient goes to one."""
        return torch.unflatten(self.linear(x), 1, (-1, self.pieces)).max(2).values


class MLPGenerator(nn.Module):
    """Noise through rectified layers to a point.

    `centre` and `scale` are the mean and the standard deviation of the world, so that a network of any initial size
    begins in the midst of it.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        noise_dim: int,
        noise: NoiseKind,
        widths: Sequence[int],
        centre: Sequence[float],
        scale: float,
        init_range: float | None,
    ) -> None:
        super().__init__()
        self.noise_dim = noise_dim
        self.kind = noise
        layers = [nn.Linear(*sizes) for sizes in itertools.pairwise((noise_dim, *widths, len(centre)))]
        self.layers = nn.ModuleList(layers)
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.get_default_dtype()))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.get_default_dtype()))
        initialise(self, init_range)

    def noise(self, num: int) -> Float[Tensor, "B Z"]:
        """Draw noise of mean 0 and variance 1 in each coordinate: Gaussian, or uniform in +-sqrt(3)."""
        if self.kind == "gaussian":
            return torch.randn(num, self.noise_dim, device=self.centre.device)
        return (2 * torch.rand(num, self.noise_dim, device=self.centre.device) - 1) * math.sqrt(3)

    @by_rows
    def forward(self, noise: Float[Tensor, "B Z"]) -> Float[Tensor, "B D"]:
        """Map noise to points."""
        *hidden, last = self.layers
        for layer in hidden:
            noise = layer(noise).relu()
        points: Tensor = self.centre + self.scale * last(noise)
        return points

    def sample(self, num: int) -> Float[Tensor, "B D"]:
        """Draw points."""
        return self.forward(self.noise(num))

    def draw(self, num: int) -> Draw:
        """Draw points of equal weight."""
        return Draw.sample(self.sample(num))


class MaxoutDiscriminator(nn.Module):
    """A point through maxout layers, with dropout in front of each layer, to one logit; points are standardised."""

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        widths: Sequence[int],
        pieces: int,
        input_dropout: float,
        dropout: float,
        centre: Sequence[float],
        scale: float,
        init_range: float | None,
    ) -> None:
        super().__init__()
        sizes = (len(centre), *widths)
        self.input_dropout = nn.Dropout(input_dropout)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Maxout(size, units, pieces) for size, units in itertools.pairwise(sizes))
        self.head = nn.Linear(sizes[-1], 1)
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.get_default_dtype()))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.get_default_dtype()))
        initialise(self, init_range)

    @by_rows
    def forward(self, points: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return the logit of each point's being real."""
        features = self.input_dropout((points - self.centre) / self.scale)
        for layer in self.layers:
            features = self.dropout(layer(features))
        logits: Tensor = self.head(features).squeeze(1)
        return logits


class TableGenerator(nn.Module):
    """A finite world as one table: q is the softmax of a logit for each of the K points."""

    def __init__(self, num: int, init_range: float | None) -> None:
        super().__init__()
        self.logits = table(num, init_range)

    def draw(self, num: int) -> Draw:
        """Return all points with their probabilities, whatever `num`: the expectation is exact."""
        return Draw(torch.arange(len(self.logits), device=self.logits.device), self.logits.softmax(0))

    def sample(self, num: int) -> Int[Tensor, " B"]:
        """Draw ids."""
        return torch.multinomial(self.logits.softmax(0), num, replacement=True)


class TableDiscriminator(nn.Module):
    """A logit for each of the K points: any function of them is within reach, D* too."""

    def __init__(self, num: int, init_range: float | None) -> None:
        super().__init__()
        self.logits = table(num, init_range)

    def forward(self, points: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Return the logit of each point's being real."""
        return self.logits[points]


def table(num: int, init_range: float | None) -> nn.Parameter:
    """Return logits, uniform in +-`init_range`, or from N(0, 1) where that is None."""
    drawn = torch.randn(num) if init_range is None else torch.empty(num).uniform_(-init_range, init_range)
    return nn.Parameter(drawn)


def initialise(module: nn.Module, init_range: float | None) -> None:
    """Draw all weights uniformly from +-`init_range` and set biases to 0; None leaves PyTorch's own."""
    if init_range is None:
        return
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.uniform_(parameter, -init_range, init_range)
