"""What a run does between iterations: updates, phases, records, devices; and losses that are not finite."""

import itertools
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from run import toy
from torch import Tensor, nn

from textforge.errors import CallError, UserError, WorkError
from textforge.run import Run, load_checkpoint


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A run that evaluates nothing and saves at the end of a phase only."""
    with toy.start_bare(tmp_path) as started:
        yield started


# --- Updates ---


@pytest.mark.parametrize("clip", [None, 0.5, 100.0])
def test_update_is_that_of_the_textbook(clip: float | None, run: Run) -> None:
    """SGD on w, b with loss 3w + 4b: the gradient (3, 4) has the norm 5, over both parameters together."""
    weight, bias = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(2.0))
    unused = nn.Parameter(torch.tensor(7.0))
    optimizer = torch.optim.SGD([{"params": [weight, unused]}, {"params": [bias]}], lr=0.1)
    run.track("optimizer", optimizer)
    scale = 1.0 if clip is None else min(1.0, clip / 5)
    for i in range(1, 3):  # a second step would show gradients that were not cleared
        run.step(optimizer, 3 * weight + 4 * bias, clip=clip)
        assert weight.item() == pytest.approx(1 - i * 0.3 * scale, rel=1e-5)
        assert bias.item() == pytest.approx(2 - i * 0.4 * scale, rel=1e-5)
    assert unused.item() == 7.0
    assert unused.grad is None


def test_unknown_optimizer_is_refused(run: Run) -> None:
    module = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="neither set up nor tracked"):
        run.step(torch.optim.SGD(module.parameters(), lr=0.1), module(torch.ones(1)).sum())


def test_names_are_given_once(run: Run) -> None:
    run.setup("generator", nn.Linear(1, 1))
    stateful = toy.Batches()
    assert run.track("batches", stateful) is stateful
    for name in ("generator", "batches"):
        with pytest.raises(ValueError, match=f"'{name}' is set up already"):
            run.track(name, toy.Batches())
        with pytest.raises(ValueError, match=f"'{name}' is set up already"):
            run.setup(name, nn.Linear(1, 1))


# --- Losses that are not finite ---


def diverging(run: Run, loss: Callable[[Tensor, int], Tensor], clip: float | None = None) -> None:
    """Train with a loss until it fails, with a checkpoint behind each phase of two iterations."""
    weight = nn.Parameter(torch.ones(2))
    module = nn.ParameterList([weight])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    run.setup("generator", module, optimizer)
    steps = itertools.count()
    for phase in ("one", "two", "three"):
        for _ in run.phase(phase, 2):
            run.step(optimizer, loss(weight, next(steps)), clip=clip)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_loss_that_is_not_finite_ends_the_run(value: float, run: Run) -> None:
    message = f"^the loss of 'generator' is {value} in iteration 2 of phase 'two'; the last checkpoint stays"
    with pytest.raises(WorkError, match=message):
        diverging(run, lambda weight, i: weight.sum() * (value if i == 3 else 1.0))
    saved = load_checkpoint(run.folder)
    assert saved["position"]["phase"] == "one"
    assert saved["modules"]["generator"]["0"].tolist() == pytest.approx([0.8, 0.8])


def infinite_gradient(weight: Tensor, i: int) -> Tensor:
    """A finite loss: the square root of zero."""
    return (weight - weight.detach()).abs().sqrt().sum() if i == 3 else weight.sum()


def test_gradient_norm_that_is_not_finite_ends_the_run(run: Run) -> None:
    message = "^the gradient norm of 'generator' is nan in iteration 2 of phase 'two'"
    with pytest.raises(WorkError, match=message):
        diverging(run, infinite_gradient, clip=1.0)


def test_parameters_that_are_nan_are_not_saved(run: Run) -> None:
    """Without clipping, no one looks at gradients; but what they spoil must not become the last checkpoint."""
    with pytest.raises(WorkError, match=r"^a parameter of 'generator' is nan in iteration 2 of phase 'two'"):
        diverging(run, infinite_gradient)
    assert load_checkpoint(run.folder)["position"]["phase"] == "one"


def test_an_accelerator_is_asked_once_per_iteration(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off the CPU, losses are looked at together behind the iteration, before anything is recorded or saved."""
    run.device = torch.device("cuda")  # only its type is looked at: the tensors are on the CPU
    weight = nn.Parameter(torch.ones(()))
    optimizer = run.track("optimizer", torch.optim.SGD([weight], lr=0.1))
    reads = toy.count_reads(monkeypatch)
    bodies = []

    def train() -> None:
        for i in run.phase("only", 5):
            for inner in range(3):
                run.step(optimizer, weight * (math.nan if (i, inner) == (2, 0) else 1.0), clip=1.0)
            run.log(iteration_of_loop=i)
            bodies.append(i)
            assert reads == ["tolist"] * i

    with pytest.raises(WorkError, match=r"^the loss of 'optimizer' is NaN or infinite in iteration 3 of phase 'only'"):
        train()
    assert bodies == [0, 1, 2]
    assert len(toy.records(run.folder)) == 2


# --- Phases ---


def test_phase_counts_from_zero(run: Run) -> None:
    assert list(run.phase("one", 3)) == [0, 1, 2]
    assert list(run.phase("none", 0)) == []
    assert list(run.phase("two", 1)) == [0]
    position = load_checkpoint(run.folder)["position"]
    assert (position["step"], position["behind"]) == (4, ["one", "none"])


@pytest.mark.parametrize("name", ["", "Upper", "a b", "../a", "a/b", "ä"])
def test_name_that_is_no_file_name_is_refused(name: str, run: Run) -> None:
    with pytest.raises(ValueError, match="cannot name a phase"):
        list(run.phase(name, 1))


def test_phases_that_cannot_be_resumed_are_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="cannot have -1 iterations"):
        list(run.phase("negative", -1))
    list(run.phase("one", 1))
    with pytest.raises(ValueError, match="there was a phase 'one' already"):
        list(run.phase("one", 1))
    for _ in run.phase("two", 5):
        break
    with pytest.raises(ValueError, match="phase 'two' was left before its end; use `patience`"):
        list(run.phase("three", 1))


def test_records_are_about_two_hundred(run: Run) -> None:
    for i in run.phase("long", 1003):
        run.log(i=i)
    records = toy.records(run.folder)
    assert [record["iteration"] for record in records] == [*range(5, 1003, 5), 1003]
    assert [record["i"] for record in records[:2]] == [2.0, 7.0]
    assert records[-1]["i"] == 1001.0


def test_only_two_generations_are_kept(tmp_path: Path) -> None:
    toy.complete(tmp_path)
    names = {path.name.removesuffix(".sha256") for path in (tmp_path / "checkpoints").iterdir()}
    ends = {"end-pretrain-00000008.safetensors", "end-adversarial-00000013.safetensors"}
    assert names == {"00000012.safetensors", "00000013.safetensors", "best-00000012.safetensors", *ends}


# --- Devices, threads, leaving ---


def test_devices(tmp_path: Path) -> None:
    for device in ("cpu", "auto"):
        with Run(tmp_path / device, seed=0, device=device, console=toy.QUIET) as run:
            assert run.device.type == ("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")
    with pytest.raises(CallError, match="no such device: 'cud'; did you mean 'cuda'"):
        Run(tmp_path / "other", seed=0, device="cud")


def test_missing_cuda_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="finds no CUDA device on this machine; use --device cpu"):
        Run(tmp_path, seed=0, device="cuda")


def test_seed_decides_the_initial_weights(tmp_path: Path) -> None:
    weights = []
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        with Run(tmp_path / name, seed=seed, device="cpu", console=toy.QUIET):
            weights.append(nn.Linear(3, 3).weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_run_works_in_a_thread(tmp_path: Path) -> None:
    """Signals are taken in the main thread only, so a thread's run leaves them alone."""
    thread = threading.Thread(target=toy.complete, args=(tmp_path,))
    thread.start()
    thread.join()
    assert load_checkpoint(tmp_path)["position"]["step"] == 13


def test_folder_is_free_behind_an_error(tmp_path: Path) -> None:

    def fail() -> None:
        with toy.start_bare(tmp_path, resume=True) as run:
            list(run.phase("one", 1))
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fail()
    (tmp_path / "checkpoints" / "00000001.safetensors").write_bytes(b"")
    for _ in range(2):  # not the folder that is in use is the error
        with pytest.raises(WorkError, match="no checkpoint is left to load"):
            toy.start_bare(tmp_path, resume=True)
