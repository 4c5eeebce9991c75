"""What is measured of players whose worth is known beforehand."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from textforge import arena
from textforge.metrics.divergence import exact_divergences
from textforge.nets.mlp import Draw, TableDiscriminator, TableGenerator
from textforge.oracles import worlds
from textforge.oracles.worlds import Mixture, World

CONTINUOUS = ("temperatures", "gaussian", "ring")


class Copy(nn.Module):
    """A generator that draws real points, of some modes only where it is told so."""

    def __init__(self, world: World, modes: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.world = world
        self.modes = modes
        self.unused = nn.Parameter(torch.zeros(1))
        self.seed = 0

    def sample(self, num: int) -> Tensor:
        self.seed += 1
        points = self.world.sample(4 * num, self.seed)
        if self.modes is not None:
            points = points[np.isin(self.world.mode_index(points), self.modes)]
        return torch.from_numpy(points[:num])

    def draw(self, num: int) -> Draw:
        return Draw.sample(self.sample(num))


class Best(nn.Module):
    """D* against the truth itself or against some of its modes, in closed form."""

    def __init__(self, world: Mixture, modes: tuple[int, ...]) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        components = tuple(mode for i, mode in enumerate(world.components) if i in modes)
        total = sum(mode.weight for mode in components)
        own = [worlds.Mode(mode.name, mode.weight / total, mode.mean, mode.std) for mode in components]
        self.world, self.generator = world, Mixture("own", world.axes, tuple(own))

    def forward(self, points: Tensor) -> Tensor:
        array = points.numpy()
        return torch.from_numpy(self.world.log_density(array) - self.generator.log_density(array))


def mixture(name: str) -> Mixture:
    world = worlds.load(name)
    assert isinstance(world, Mixture)
    return world


@pytest.mark.parametrize("name", CONTINUOUS)
def test_real_points_reach_the_floor_and_no_more(name: str) -> None:
    world = mixture(name)
    everything = tuple(range(len(world.modes)))
    found = arena.measure(world, Copy(world), Best(world, everything)).scalars
    assert found["js"] == pytest.approx(found["js_floor"], rel=0.5)
    assert 0 < found["js_floor"] < 5e-3
    assert found["mode_coverage"] == 1.0
    assert found["in_modes"] > 0.999
    assert found["game_value"] == pytest.approx(-math.log(4), abs=1e-9)
    assert found["d_distance"] < 0.05


def test_one_peak_of_two_has_the_divergence_that_follows_from_the_formula() -> None:
    """p = (a + b) / 2, q = b: JS = (KL(p || m) + KL(q || m)) / 2 with m = a / 4 + 3 b / 4, where a and b are apart."""
    world = mixture("temperatures")
    found = arena.measure(world, Copy(world, (1,)), Best(world, (1,))).scalars
    js = (math.log(0.5 / 0.25) / 2 + math.log(0.5 / 0.75) / 2 + math.log(1 / 0.75)) / 2
    assert found["js"] == pytest.approx(js, abs=2e-3)
    assert found["tv"] == pytest.approx(0.5, abs=1e-2)
    assert found["kl_qp"] == pytest.approx(math.log(2), abs=5e-3)
    assert found["support"] == pytest.approx(0.5, abs=1e-3)
    assert found["mode_coverage"] == 0.5
    assert found["game_optimum"] == pytest.approx(2 * js - math.log(4), abs=4e-3)
    assert found["game_value"] == pytest.approx(found["game_optimum"], abs=5e-3)
    assert found["game_value"] <= found["game_optimum"]


def test_cells_are_fine_enough() -> None:
    """The divergence between cells is that between densities, for Gaussians one standard deviation apart."""
    world = mixture("gaussian")
    apart = Mixture("b", ("x",), (worlds.Mode("b", 1.0, (5.0,), 1.0),))
    inner = (world.edges[1:] + world.edges[:-1]) / 2
    shifted = np.exp(apart.log_density(inner[:, None])) * (world.edges[1] - world.edges[0])
    kl = exact_divergences(world.probabilities, shifted / shifted.sum())["kl_pq"]
    assert kl == pytest.approx(0.5, rel=0.01)


def test_a_finite_world_is_measured_exactly() -> None:
    world = worlds.load("alphabet")
    G, D = TableGenerator(20, None), TableDiscriminator(20, None)
    found = arena.measure(world, G, D)
    q = G.logits.detach().softmax(0).double().numpy()
    assert found.scalars["js"] == pytest.approx(exact_divergences(world.probabilities, q / q.sum())["js"], abs=1e-7)
    assert "js_floor" not in found.scalars
    assert set(found.samples) <= set("abcdefghijklmnopqrst")
    assert len(found.samples) == arena.NUM_SHOWN
    assert arena.evaluation(world, arena.real(world), None)["js"] == pytest.approx(0, abs=1e-12)


def test_an_evaluation_of_real_points_has_the_parzen_estimate_of_real_points() -> None:
    world = mixture("gaussian")
    found = arena.evaluation(world, arena.real(world), None)
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    assert found["parzen"] == pytest.approx(-entropy, abs=4.5 * found["parzen_se"] + 0.02)
    assert "game_value" not in found


# --- Pictures ---


@pytest.mark.parametrize(("name", "kind"), [("temperatures", "density"), ("ring", "scatter"), ("alphabet", "bars")])
def test_a_picture_is_plain_values(name: str, kind: str) -> None:
    world = worlds.load(name)
    num = len(world.probabilities)
    view = arena.real(world)
    picture = arena.picture(world, view, np.linspace(-60, 60, num))
    assert json.loads(json.dumps(picture, allow_nan=False)) == picture
    assert picture["kind"] == kind
    if kind == "density":
        assert isinstance(world, Mixture)
        width = world.edges[1] - world.edges[0]
        assert len(picture["x"]) == len(picture["truth"]) == num
        for side in ("truth", "generator"):
            assert sum(picture[side]) * width == pytest.approx(1, abs=1e-3)
        assert picture["discriminator"][0] < 1e-9
        assert picture["discriminator"][-1] == 1.0
    if kind == "scatter":
        assert {len(picture[side]) for side in ("truth", "generator")} == {arena.NUM_SCATTERED}
    if kind == "bars":
        assert picture["truth"] == sorted(picture["truth"], reverse=True)
        assert picture["x"][0] == world.written(np.array([world.probabilities.argmax()]))[0]
    else:
        assert all(mode["covered"] for mode in picture["modes"])
        assert sum(mode["share"] for mode in picture["modes"]) == pytest.approx(1, abs=1e-3)


def test_a_picture_says_which_mode_is_missing() -> None:
    world = mixture("temperatures")
    view = arena.generated(world, Copy(world, (0,)))
    modes = arena.picture(world, view, np.zeros(len(world.probabilities)))["modes"]
    assert [(mode["name"], mode["covered"]) for mode in modes] == [("Antarctica", True), ("desert", False)]
