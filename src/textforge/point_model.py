"""A trained generator of points, with the world that it has learnt: what `Model` is for texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from textforge.arena import evaluation, generated, judged
from textforge.decoding import evaluating
from textforge.errors import CallError, UserError
from textforge.nets.mlp import PointGenerator
from textforge.oracles.worlds import Points, World
from textforge.run import derive, open_folder, save_checkpoint


@dataclass(frozen=True, eq=False)
class PointModel:
    """A trained generator of points, and its discriminator where the checkpoint has it."""

    settings: Mapping[str, Any]
    """What config.json of its run holds: method, preset, data, seed, and every field of the method's config."""
    world: World
    networks: Mapping[str, nn.Module]

    @property
    def generator(self) -> PointGenerator:
        """The generator; a module in evaluation mode."""
        generator = self.networks["generator"]
        assert isinstance(generator, PointGenerator)
        return generator

    def sample(self, num: int, *, seed: int | None = None) -> list[str]:
        """Draw points, each written as a line. The same seed gives the same; without one they differ."""
        return self.world.written(self.draw(num, seed=seed))

    def draw(self, num: int, *, seed: int | None = None) -> Points:
        """Draw points as numbers: rows of coordinates, or ids of a finite world."""
        if num < 0:
            raise CallError(f"{num} points cannot be drawn; ask for 0 or more")
        with torch.random.fork_rng(), evaluating(self.generator):
            torch.manual_seed(derive(seed, "sample")) if seed is not None else torch.seed()
            points: Points = self.generator.sample(max(1, num))[:num].cpu().numpy()
            return points

    def records(self, num: int, *, seed: int | None = None) -> list[dict[str, Any]]:
        """Draw points as `sample` does, ready for JSON, each with its true log-density (`log_p`, nats)."""
        points = self.draw(num, seed=seed)
        key, values = ("text", self.world.written(points)) if points.ndim == 1 else ("point", points.tolist())
        log_p = self.world.log_density(points).tolist()
        return [{key: value, "log_p": known} for value, known in zip(values, log_p, strict=True)]

    def discriminate(self, points: Points) -> Float[np.ndarray, " N"]:
        """Return the probability of being real that the discriminator gives to each point.

        Raises UserError where the checkpoint was loaded without a discriminator.
        """
        discriminator = self._discriminator()
        like = next(discriminator.parameters())
        places = torch.as_tensor(points, dtype=None if points.ndim == 1 else like.dtype)
        with evaluating(discriminator):
            opinion: Float[np.ndarray, " N"] = discriminator(places).double().sigmoid().numpy()
            return opinion

    def evaluate(self, *, seed: int = 0) -> dict[str, float]:
        """Measure the model against the truth, as during training; in a continuous world with the Parzen estimate."""
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "evaluate"))
            view = generated(self.world, self.generator)
        logits = judged(self.world, self._discriminator()) if "discriminator" in self.networks else None
        return evaluation(self.world, view, logits)

    def _discriminator(self) -> nn.Module:
        if "discriminator" not in self.networks:
            raise UserError("this checkpoint holds the generator alone; use the last one")
        return self.networks["discriminator"]

    def save(self, folder: str | Path) -> Path:
        """Write what `load` needs into a new folder."""
        folder = open_folder(Path(folder), self.settings, resume=False)
        state = {"modules": {name: network.state_dict() for name, network in self.networks.items()}}
        save_checkpoint(folder / "checkpoints", "last", 0, state)
        return folder
