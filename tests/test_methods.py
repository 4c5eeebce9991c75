"""What every method must do, whatever its paper: a file in the package of methods is tested by being there."""

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import settings
import torch
from run import toy
from tasks import Cut, Observed, built, observed, text_task, tiny, train, trained, world_task
from torch import nn

from textforge import methods
from textforge.decoding import Generator
from textforge.methods import Method, WorldMethod
from textforge.nets.mlp import PointGenerator
from textforge.run import load_checkpoint
from textforge.task import Task, WorldTask


@dataclass(frozen=True)
class Case:
    """A method with its settings, and a run of it that was never cut."""

    method: Method | WorldMethod
    config: Any
    task: Task | WorldTask
    whole: Observed


@pytest.fixture(scope="module")
def task() -> Task:
    return text_task()


def task_of(name: str, kind: str, texts: Task) -> Task | WorldTask:
    """What a method is tested on: the same few sentences, or the world that its settings name."""
    if isinstance(methods.find(name), WorldMethod):
        return world_task(settings.worlds_of(name)[kind])
    return texts


@pytest.fixture(params=methods.names())
def method(request: pytest.FixtureRequest) -> Method | WorldMethod:
    return methods.find(request.param)


@pytest.fixture(
    scope="module",
    params=[(name, kind) for name in methods.names() for kind in ("tiny", *settings.of(name).FURTHER)],
    ids="-".join,
)
def case(request: pytest.FixtureRequest, task: Task, tmp_path_factory: pytest.TempPathFactory) -> Case:
    name, kind = request.param
    module = methods.find(name)
    config = tiny(module, settings.of(name).FURTHER.get(kind, {}))
    own = task_of(name, kind, task)
    whole = trained(tmp_path_factory.mktemp(name), module, config, own, checkpoint_seconds=0)
    return Case(module, config, own, whole)


def differences(folder: Path, other: Path) -> list[str]:
    """The places where what two runs left is not the same, bit for bit."""
    return toy.differences(toy.content(folder), toy.content(other))


# --- Form ---


def test_presets_build_networks(method: Method | WorldMethod, task: Task) -> None:
    assert {"paper", "small", "tiny"} <= set(method.PRESETS)
    assert method.PRESETS["paper"] == method.Config()
    for preset in method.PRESETS.values():
        assert type(preset) is method.Config
        if isinstance(method, WorldMethod):
            for world in ("temperatures", "ring", "alphabet"):
                players = built(method, preset, world_task(world))
                assert isinstance(players["generator"], PointGenerator)
                assert all(isinstance(network, nn.Module) for network in players.values())
        else:
            networks = method.networks(preset, task.vocabulary, task.max_length)
            assert isinstance(networks["generator"], Generator)
            assert networks["generator"].max_length == task.max_length
            assert all(isinstance(network, nn.Module) for network in networks.values())


def test_every_field_is_described(method: Method | WorldMethod) -> None:
    """The text behind a field is its help on the command line."""
    match ast.parse(inspect.getsource(method.Config)).body:
        case [ast.ClassDef(body=body)]:
            fields = [i for i, node in enumerate(body) if isinstance(node, ast.AnnAssign)]
    assert len(fields) == len(vars(method.Config()))
    for i in fields:
        match body[i + 1]:
            case ast.Expr(ast.Constant(str(text))):
                assert re.fullmatch(r"\S.*\.", " ".join(text.split())), text
            case _:
                pytest.fail(f"no description: {ast.unparse(body[i])}")


def test_citation_is_there(method: Method | WorldMethod) -> None:
    entries = re.findall(r"^@\w+\{\w+,\n(.*?)^\}", method.CITATION, flags=re.MULTILINE | re.DOTALL)
    assert entries
    for entry in entries:
        assert {"title", "author", "year"} <= set(re.findall(r"^  (\w+) = ", entry, flags=re.MULTILINE))


# --- Training ---


def test_training_changes_every_trained_parameter(case: Case) -> None:
    run, saved = case.whole, load_checkpoint(case.whole.folder)
    assert run.trained
    for name, before in run.trained.items():
        for parameter, _ in run.modules[name].named_parameters():
            assert not torch.equal(saved["modules"][name][parameter], before[parameter]), f"{name}.{parameter}"


def test_what_was_trained_is_returned_saved_and_can_be_loaded(case: Case) -> None:
    run, saved = case.whole, load_checkpoint(case.whole.folder)
    for name, network in built(case.method, case.config, case.task).items():
        network.load_state_dict(saved["modules"][name])
        assert toy.differences(dict(network.state_dict()), dict(run.modules[name].state_dict())) == []
    assert id(run.returned) == id(run.modules["generator"])


def test_the_same_seed_gives_the_same_run_and_another_seed_another(case: Case, tmp_path: Path) -> None:
    torch.rand(7)  # what happened before a run does not matter
    for name, seed in (("same", 0), ("other", 1)):
        trained(tmp_path / name, case.method, case.config, case.task, seed=seed, checkpoint_seconds=0)
    assert differences(tmp_path / "same", case.whole.folder) == []
    assert differences(tmp_path / "other", case.whole.folder) != []


def test_a_run_that_was_cut_equals_one_that_was_not(case: Case, tmp_path: Path) -> None:
    """Cut in front of the second and the last update of every phase, and of the first of all."""
    cuts = {0}
    for phase in {phase for phase, _ in case.whole.steps}:
        own = [i for i, (other, _) in enumerate(case.whole.steps) if other == phase]
        cuts |= {own[1], own[-1]}
    for cut in sorted(cuts):
        folder = tmp_path / f"cut-{cut}"
        with pytest.raises(Cut), observed(folder, case.task, cut=cut, checkpoint_seconds=0) as run:
            train(case.method, case.config, case.task, run)
        trained(folder, case.method, case.config, case.task, resume=True, checkpoint_seconds=0)
        assert differences(folder, case.whole.folder) == [], f"cut in front of update {cut}"


@pytest.mark.usefixtures("float64")
def test_double_precision_is_kept(case: Case, tmp_path: Path) -> None:
    """No float32 is hard-coded anywhere in the method."""
    run = trained(tmp_path, case.method, case.config, case.task)
    for name, module in run.modules.items():
        for parameter, value in module.state_dict().items():
            assert value.dtype == torch.float64, f"{name}.{parameter}"
            assert value.isfinite().all()
