"""Algorithm 1 step by step, the theory of the paper on tables, and mode collapse where it must and must not occur.

What belongs to one function alone is tested with it: the losses, their slopes and the best discriminator in
test_losses.py, the value of the game in metrics/test_game.py, Parzen windows in metrics/test_parzen.py, maxout in
nets/test_mlp.py, worlds in oracles/test_worlds.py, what is measured in test_arena.py.
"""

import copy
import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tasks import QUIET, Observed, observed, tiny, world_task
from torch import Tensor, nn

from textforge import methods
from textforge.errors import CallError
from textforge.losses import generator_loss, value_loss
from textforge.methods import gan
from textforge.metrics.game import game
from textforge.nets.mlp import Draw, MaxoutDiscriminator, MLPGenerator, TableDiscriminator, TableGenerator
from textforge.oracles import worlds
from textforge.oracles.worlds import Mixture
from textforge.task import WorldTask

GAN = methods.find("gan")
LOWEST = -math.log(4)


# --- Theory, on tables ---


@pytest.mark.usefixtures("float64")
def test_small_steps_against_the_best_discriminator_reach_the_truth() -> None:
    """Proposition 2: C(G) falls at every step, to -log 4."""
    p = torch.rand(10).softmax(0) * 0.9 + torch.eye(10)[3] * 0.1
    G = TableGenerator(10, None)
    optimizer = torch.optim.SGD(G.parameters(), lr=2.0)
    values = []
    for _ in range(800):
        q = G.draw(1).weights
        best = (p.log() - q.log()).detach()
        values.append(-value_loss(best, best, p, q.detach()).item())
        optimizer.zero_grad()
        generator_loss(best, "minimax", q).backward()
        optimizer.step()
    assert values[0] > LOWEST + 0.05
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(values))
    assert values[-1] == pytest.approx(LOWEST, abs=1e-3)


def scalars(run: Observed, world: Any) -> dict[str, float]:
    """The exact numbers of a finished game of tables."""
    G, D = run.modules["generator"], run.modules["discriminator"]
    assert isinstance(G, TableGenerator)
    assert isinstance(D, TableDiscriminator)
    with torch.no_grad():
        return game(world.probabilities, G.draw(1).weights.double().numpy(), D.logits.double().numpy())


def test_the_game_of_two_tables_is_played_to_its_end(tmp_path: Path) -> None:
    task = WorldTask("letters", worlds.random_alphabet(6, seed=3), ())
    config = replace(gan.PRESETS["tabular"], rounds=250, g_lr=2e-2)
    with observed(tmp_path, task) as run:
        gan.train(config, task, run)
    found = scalars(run, task.world)
    assert found["game_optimum"] == pytest.approx(LOWEST, abs=1e-3)
    assert found["game_value"] == pytest.approx(LOWEST, abs=1e-2)
    assert found["d_distance"] < 0.02


# --- Algorithm 1 ---


class Watched(Observed):
    """Also keeps, for each step, the parameters around it and whether a gradient was left in the other player."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.moved: list[set[str]] = []
        self.left: list[set[str]] = []

    def step(self, optimizer: torch.optim.Optimizer, loss: Tensor, clip: float | None = None) -> None:
        before = {name: copy.deepcopy(module.state_dict()) for name, module in self.modules.items()}
        for module in self.modules.values():
            for parameter in module.parameters():
                parameter.grad = None
        super().step(optimizer, loss, clip)
        after = {name: module.state_dict() for name, module in self.modules.items()}
        self.moved.append(
            {
                name
                for name in before
                if any(not torch.equal(before[name][key], after[name][key]) for key in before[name])
            }
        )
        self.left.append(
            {name for name, module in self.modules.items() if any(p.grad is not None for p in module.parameters())}
        )


def watched(folder: Path, world: str, **fields: Any) -> Watched:
    task = world_task(world)
    run = Watched(folder, seed=0, device="cpu", console=QUIET)
    with run:
        gan.train(tiny(GAN, fields), task, run)
    return run


@pytest.mark.parametrize("world", ["temperatures", "alphabet"])
@pytest.mark.parametrize(("k", "g_steps"), [(1, 1), (3, 1), (2, 2)])
def test_k_steps_of_one_player_then_those_of_the_other(world: str, k: int, g_steps: int, tmp_path: Path) -> None:
    """Each step moves its own player, bit for bit nothing else, and leaves no gradient in the other."""
    run = watched(tmp_path, world, k=k, g_steps=g_steps, rounds=2)
    expected = 2 * [*k * ["discriminator"], *g_steps * ["generator"]]
    names = {id(optimizer): name for name, optimizer in run.optimizers.items()}
    assert [names[id(optimizer)] for _, optimizer in run.steps] == expected
    assert run.moved == [{name} for name in expected]
    assert run.left == [{name} for name in expected]


def noises(monkeypatch: pytest.MonkeyPatch, folder: Path, **fields: Any) -> list[tuple[Tensor, bool]]:
    """The noise of every step, and whether its points then carried a gradient."""
    seen: list[tuple[Tensor, bool]] = []
    forward = MLPGenerator.forward

    def spy(self: MLPGenerator, noise: Tensor) -> Tensor:
        points = forward(self, noise)
        if torch.is_grad_enabled():
            seen.append((noise.clone(), points.requires_grad))
        return points

    monkeypatch.setattr(MLPGenerator, "forward", spy)
    watched(folder, "temperatures", **fields)
    return seen


def test_every_step_draws_fresh_noise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = noises(monkeypatch, tmp_path, rounds=2, k=2)
    assert len(seen) == 2 * (2 + 1)
    assert len({tuple(noise.flatten().tolist()) for noise, _ in seen}) == len(seen)
    assert all(len(noise) == 8 for noise, _ in seen)


def test_simultaneous_players_share_one_batch_of_noise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert len(noises(monkeypatch, tmp_path, rounds=3, k=1, simultaneous=True)) == 3


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("simultaneous", [True, False])
def test_simultaneous_players_step_from_where_both_stood(simultaneous: bool, tmp_path: Path) -> None:
    """Both gradients at the parameters before the round, worked out by hand; in turn, the second one differs."""
    config = tiny(
        GAN,
        {
            "optimizer": "momentum",
            "momentum": 0.0,
            "final_momentum": 0.0,
            "g_lr": 0.3,
            "d_lr": 0.7,
            "k": 1,
            "rounds": 1,
            "g_init": None,
            "d_init": None,
            "simultaneous": simultaneous,
        },
    )
    task = world_task("alphabet")
    p = torch.tensor(task.world.probabilities)
    with observed(tmp_path, task) as run:
        gan.train(config, task, run)
    theta, logits = run.trained["generator"]["logits"].clone(), run.trained["discriminator"]["logits"].clone()
    q, d = theta.softmax(0), logits.sigmoid()
    logits_after = logits + 0.7 * (p * (1 - d) - q * d)
    f = torch.nn.functional.softplus(-(logits if simultaneous else logits_after))
    theta_after = theta - 0.3 * q * (f - q @ f)
    torch.testing.assert_close(run.modules["discriminator"].state_dict()["logits"], logits_after, rtol=0, atol=1e-12)
    torch.testing.assert_close(run.modules["generator"].state_dict()["logits"], theta_after, rtol=0, atol=1e-12)


def test_objective_and_smoothing_reach_the_losses(tmp_path: Path) -> None:
    ends = {}
    settings: dict[str, dict[str, Any]] = {"a": {}, "b": {"objective": "ratio"}, "c": {"smoothing": 0.3}}
    for name, fields in settings.items():
        run = watched(tmp_path / name, "alphabet", **fields)
        ends[name] = run.modules["generator"].state_dict()["logits"]
    assert not torch.equal(ends["a"], ends["b"])
    assert not torch.equal(ends["a"], ends["c"])


# --- Learning rate and momentum ---


def test_learning_rate_decays_to_its_floor_and_momentum_rises_to_its_end() -> None:
    config = gan.Config()
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.5)
    found = {}
    for t in (0, 1, 62_500, 125_000, 200_000, 10_000_000):
        gan.schedule(config, optimizer, 0.1, t)
        found[t] = (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"])
    assert found[0] == (0.1, 0.5)
    assert found[1][0] == pytest.approx(0.1 / 1.000004, rel=1e-12)
    assert found[62_500] == (pytest.approx(0.1 / 1.000004**62_500), pytest.approx(0.6))
    assert found[125_000][1] == found[200_000][1] == pytest.approx(0.7)
    assert found[10_000_000][0] == 1e-6


def test_momentum_of_adam_stays(tmp_path: Path) -> None:
    run = watched(tmp_path, "alphabet", momentum=0.25, final_momentum=0.9, momentum_rounds=1, lr_decay=2.0, rounds=3)
    (group,) = run.optimizers["generator"].param_groups
    assert group["betas"] == (0.25, 0.999)
    assert group["lr"] == pytest.approx(3e-3 / 4)


# --- Real points ---


@pytest.mark.parametrize("name", ["temperatures", "ring"])
def test_real_points_follow_the_density_and_are_fresh(name: str) -> None:
    world = worlds.load(name)
    assert isinstance(world, Mixture)
    draw = gan.truth(world, 50_000, torch.device("cpu"))
    first, second = draw(), draw()
    assert isinstance(first, Draw)
    assert first.points.shape == (50_000, world.dim)
    assert not torch.equal(first.points, second.points)
    counts = np.bincount(world.mode_index(first.points.double().numpy()) + 1, minlength=len(world.modes) + 1)[1:]
    error = np.sqrt(world.mode_weights * (1 - world.mode_weights) / 50_000)
    assert (np.abs(counts / 50_000 - world.mode_weights) <= 4.5 * error + 1e-3).all()
    spread = first.points.double().var(0).mean().sqrt().item()
    assert spread == pytest.approx(world.scale, rel=0.02)


def test_real_points_of_a_table_are_the_table() -> None:
    world = worlds.load("alphabet")
    draw = gan.truth(world, 3, torch.device("cpu"))()
    assert torch.equal(draw.points, torch.arange(20))
    np.testing.assert_allclose(draw.weights.numpy(), world.probabilities, rtol=1e-6)


# --- What comes of it ---


def learnt(folder: Path, preset: str, **fields: Any) -> dict[str, list[float]]:
    """The curves of what was measured in a run of some seconds."""
    task = world_task("temperatures")
    curves: dict[str, list[float]] = {}
    with Recorded(folder, seed=1, device="cpu", console=QUIET, curves=curves) as run:
        gan.train(replace(gan.PRESETS[preset], **fields), task, run)
    return curves


class Recorded(Observed):
    """Measures three times, at a tenth of the points, and remembers it."""

    def __init__(self, *arguments: Any, curves: dict[str, list[float]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.curves = curves

    def phase(self, name: str, n: int, **settings: Any) -> Any:
        measure = settings.pop("measure")

        def remembered() -> Any:
            found = measure()
            for key, value in found.scalars.items():
                self.curves.setdefault(key, []).append(value)
            return found

        return super().phase(name, n, **settings | {"evaluate_every": n // 3, "measure": remembered})


def test_a_generator_trained_too_much_against_a_stale_discriminator_collapses(tmp_path: Path) -> None:
    curves = learnt(tmp_path, "collapse", rounds=12)
    assert max(curves["mode_coverage"]) <= 0.5
    assert min(curves["js"]) > 0.2


def test_in_turn_both_peaks_are_covered(tmp_path: Path) -> None:
    curves = learnt(tmp_path, "small", rounds=300, lr_decay=1.005)
    assert curves["mode_coverage"][-1] == 1.0
    assert curves["js"][-1] < 0.15
    assert curves["game_value"][-1] <= curves["game_optimum"][-1]


# --- Settings ---


def test_worlds_decide_what_is_built() -> None:
    config = gan.Config()
    continuous, finite = (gan.players(config, worlds.load(name)) for name in ("ring", "alphabet"))
    assert isinstance(continuous["discriminator"], MaxoutDiscriminator)
    assert [tuple(p.shape) for p in continuous["generator"].parameters()] == [
        (1200, 100),
        (1200,),
        (1200, 1200),
        (1200,),
        (2, 1200),
        (2,),
    ]
    assert [tuple(p.shape) for p in continuous["discriminator"].parameters()] == [
        (1200, 2),
        (1200,),
        (1200, 240),
        (1200,),
        (1, 240),
        (1,),
    ]
    assert [tuple(p.shape) for player in finite.values() for p in player.parameters()] == [(20,), (20,)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("k", 0),
        ("rounds", 0),
        ("smoothing", -0.1),
        ("smoothing", 1.0),
        ("g_lr", 0.0),
        ("momentum", 1.0),
        ("lr_decay", 0.9),
    ],
)
def test_settings_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(CallError, match=f"--{field.replace('_', '-')} must be"):
        tiny(GAN, {field: value})
