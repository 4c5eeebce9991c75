"""What the two players of a world are worth: numbers against the known truth, and a picture of where they stand."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from textforge.decoding import evaluating
from textforge.metrics.game import COVERED, game, mode_masses, mode_shares
from textforge.metrics.parzen import parzen
from textforge.nets.mlp import PointGenerator
from textforge.oracles.worlds import Alphabet, Mixture, Points, World
from textforge.run import Measurement

NUM_POINTS = 100_000
"""Points whose frequencies in the cells of a continuous world stand for the generator's density."""
CHUNK = 10_000
FLOOR_SEED = 10_000
"""Seed of the real points that are measured as if a generator had drawn them."""
NUM_SHOWN = 20
NUM_SCATTERED = 400
NUM_BARS = 40
PARZEN_POINTS = {"samples": 10_000, "valid": 1_000, "test": 2_000}
PARZEN_SIGMAS = np.logspace(-1, 0, 10)
"""Widths to choose from, in units of the least standard deviation of a mode; 10 as in the released code."""


@dataclass(frozen=True)
class Seen:
    """A distribution as it is measured: points with weights, and what they give to each cell."""

    points: Points
    weights: Float[np.ndarray, " N"]
    q: Float[np.ndarray, " K"]


def seen(world: World, points: Points, weights: Float[np.ndarray, " N"]) -> Seen:
    """Add up the weights of the points in each cell, normalised to one."""
    weights = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    return Seen(points, weights, np.bincount(world.cell_of(points), weights, len(world.probabilities)))


def generated(world: World, generator: PointGenerator) -> Seen:
    """Look at a generator: at its exact probabilities in a finite world, at many points in a continuous one."""
    with evaluating(generator):
        if isinstance(world, Alphabet):
            draw = generator.draw(1)
            return seen(world, draw.points.cpu().numpy(), draw.weights.cpu().numpy())
        parts = [generator.sample(CHUNK).double().cpu().numpy() for _ in range(NUM_POINTS // CHUNK)]
        return seen(world, np.concatenate(parts), np.ones(NUM_POINTS))


def real(world: World) -> Seen:
    """Look at the truth in the same way: what as many real points get is the floor of every estimate."""
    if isinstance(world, Alphabet):
        return seen(world, np.arange(len(world.symbols)), world.probabilities)
    return seen(world, world.sample(NUM_POINTS, FLOOR_SEED), np.ones(NUM_POINTS))


def judged(world: World, discriminator: nn.Module) -> Float[np.ndarray, " K"]:
    """Return the discriminator's logit in the middle of each cell."""
    like = next(discriminator.parameters())
    with evaluating(discriminator):
        match world:
            case Mixture():
                places = torch.from_numpy(world.cells).to(like)
            case _:
                places = torch.arange(len(world.probabilities), device=like.device)
        logits = torch.cat([discriminator(part) for part in places.split(CHUNK)])
    return logits.double().cpu().numpy()


def numbers(world: World, view: Seen, logits: Float[np.ndarray, " K"] | None) -> dict[str, float]:
    """Return the value of the game, divergences and mode coverage of what is seen of a generator."""
    shares = mode_shares(world.mode_weights, world.mode_index(view.points), view.weights)
    return game(world.probabilities, view.q, logits) | shares


def floor(world: World) -> dict[str, float]:
    """Return `js_floor`, the `js` that as many real points get; nothing where sums are exact."""
    return {} if isinstance(world, Alphabet) else {"js_floor": numbers(world, real(world), None)["js"]}


def measure(world: World, generator: PointGenerator, discriminator: nn.Module) -> Measurement:
    """Measure both players, and draw the picture; uses torch's random numbers."""
    view, logits = generated(world, generator), judged(world, discriminator)
    scalars = numbers(world, view, logits) | floor(world)
    with evaluating(generator):
        points = generator.sample(NUM_SHOWN).cpu().numpy()
    told = {name: scalars[name] for name in ("js", "mode_coverage")}
    return Measurement(scalars, world.written(points), picture(world, view, logits) | told)


def evaluation(world: World, view: Seen, logits: Float[np.ndarray, " K"] | None) -> dict[str, float]:
    """Return what is said of a finished generator: in a continuous world also the Parzen estimate of table 1."""
    found = numbers(world, view, logits) | floor(world)
    if isinstance(world, Mixture):
        valid, test = (world.sample(PARZEN_POINTS[part], seed) for seed, part in enumerate(("valid", "test")))
        sigmas = PARZEN_SIGMAS * world.stds.min()
        found |= parzen(valid, test, view.points[: PARZEN_POINTS["samples"]], sigmas)
    return found


def settings(world: World) -> dict[str, str | int | float]:
    """Say in words what the numbers of `evaluation` are made of."""
    num = len(world.probabilities)
    if isinstance(world, Alphabet):
        return {"truth": f"the probabilities of all {num:,} points", "sums": "exact"}
    return {
        "truth": f"exact probabilities of {num:,} cells",
        "generator": f"frequencies of {NUM_POINTS:,} points in the cells",
        "parzen": f"{PARZEN_POINTS['samples']:,} points, width chosen by {PARZEN_POINTS['valid']:,} others",
    }


def picture(world: World, view: Seen, logits: Float[np.ndarray, " K"]) -> dict[str, Any]:
    """Return what a drawing needs, as plain values: densities and D along one axis, points in the plane, or bars.

    `modes` are the names and the places of the modes, and whether the generator covers each.
    """
    p, q, opinion = world.probabilities, view.q, 1 / (1 + np.exp(-logits.clip(-50, 50)))
    match world:
        case Mixture(dim=1):
            width = world.edges[1] - world.edges[0]
            values = {"x": world.cells[:, 0], "truth": p / width, "generator": q / width, "discriminator": opinion}
            return {"kind": "density", "axis": world.axes[0], "modes": _modes(world, view)} | _shortened(values)
        case Mixture():
            truth = world.sample(NUM_SCATTERED, FLOOR_SEED)
            values = {"truth": truth[:, :2], "generator": view.points[:NUM_SCATTERED, :2]}
            return {"kind": "scatter", "modes": _modes(world, view)} | _shortened(values)
        case _:
            chosen = np.argsort(-p, kind="stable")[:NUM_BARS]
            values = {"truth": p[chosen], "generator": q[chosen], "discriminator": opinion[chosen]}
            return {"kind": "bars", "x": world.written(chosen)} | _shortened(values)


def _modes(world: Mixture, view: Seen) -> list[dict[str, Any]]:
    shares = mode_masses(world.mode_weights, world.mode_index(view.points), view.weights)
    covered = (shares >= COVERED * world.mode_weights).tolist()
    return [
        {"name": mode.name, "place": list(mode.mean), "share": share, "covered": is_covered}
        for mode, share, is_covered in zip(world.components, _short(shares), covered, strict=True)
    ]


def _shortened(values: dict[str, Float[np.ndarray, "..."]]) -> dict[str, Any]:
    return {name: _short(value) for name, value in values.items()}


def _short(values: Float[np.ndarray, "..."]) -> Any:
    """Round to five significant digits: finer than any screen."""
    with np.errstate(divide="ignore"):
        digits = 10.0 ** (4 - np.floor(np.log10(np.where(values == 0, 1, np.abs(values)))))
    return (np.round(values * digits) / digits).tolist()
