"""What a process reads from the environment about the others that were started with it."""

import socket
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from command import call
from run.conftest import processes as processes
from together import started_by_srun

from textforge.cli import COMMANDS
from textforge.errors import CallError, Interrupted, LostProcess, UserError, WorkError
from textforge.launch import Launch, launch, stand_alone
from textforge.run.device import connect

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SLURM = {
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "6",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


@pytest.fixture(autouse=True)
def by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, *SLURM):
        monkeypatch.delenv(name, raising=False)


def started(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Launch:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return launch()


def test_alone() -> None:
    assert launch() == Launch("none", rank=0, num=1, local_rank=0, nodes=1)


def test_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    place = started(monkeypatch, TORCHRUN)
    assert place == Launch("torchrun", rank=5, num=8, local_rank=1, nodes=2)
    assert place.per_node == 4


def test_torchrun_with_one_process_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, {**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}).num == 1


def test_srun(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, SLURM) == Launch("slurm", rank=3, num=6, local_rank=1, nodes=3)


def test_torchrun_under_srun_is_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, SLURM | TORCHRUN).launcher == "torchrun"


def test_a_command_in_a_slurm_job_without_srun_is_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = {name: value for name, value in SLURM.items() if name != "SLURM_STEP_ID"}
    assert started(monkeypatch, batch).num == 1


@pytest.mark.parametrize("variables", [TORCHRUN, SLURM, SLURM | TORCHRUN], ids=["torchrun", "srun", "both"])
def test_what_stands_alone_is_by_itself(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Also for Lightning Fabric, which reads more of SLURM, and wants a number on each node."""
    assert started(monkeypatch, variables).num > 1
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    stand_alone()
    assert launch() == Launch()
    assert connect("cpu").world_size == 1


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        (TORCHRUN | {"WORLD_SIZE": "7"}, "7 processes are not 4 on each node"),
        (SLURM | {"SLURM_NTASKS": "5"}, "5 processes are not 2 on each node"),
    ],
    ids=["torchrun", "srun"],
)
def test_uneven_nodes_are_refused(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        started(monkeypatch, variables)


def test_srun_without_a_number_on_each_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    variables = {name: value for name, value in SLURM.items() if name != "SLURM_NTASKS_PER_NODE"}
    with pytest.raises(UserError, match="--ntasks-per-node"):
        started(monkeypatch, variables)


def test_a_task_that_sees_one_gpu_of_many_is_told_what_to_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UserError, match=r"2 processes .* sees 1; .* --gpus-per-node in place of --gpus-per-task"):
        connect("auto")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (WorkError("the loss is nan here"), True),
        (LostProcess("process 1 of 2 lost process 0"), True),
        (KeyError("a bug"), True),
        (Interrupted("stopped, as all are"), False),
        (CallError("no such flag"), False),
        (UserError("no such file"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_befalls_a_process_alone_is_told_by_it(
    error: Exception, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)

    def fail(arguments: Sequence[str]) -> None:
        raise error

    monkeypatch.setitem(COMMANDS, "bench", fail)
    said = call("bench")
    assert said.status != 0
    assert (str(error) in said.err) == told
    if isinstance(error, WorkError):
        error.shared = True
        assert call("bench").err == "", "the first tells it"


def test_processes_of_srun_find_each_other(tmp_path: Path, processes: ForkServerContext) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = SLURM | {"SLURM_NTASKS": "2", "SLURM_NODEID": "0", "SLURM_NNODES": "1", "SLURM_NODELIST": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    own = [{"SLURM_PROCID": str(place), "SLURM_LOCALID": str(place)} for place in range(2)]
    group = [
        processes.Process(target=started_by_srun, args=(shared | own[place], tmp_path / str(place)))
        for place in range(2)
    ]
    for process in group:
        process.start()
    for process in group:
        process.join()
    assert [(tmp_path / str(place)).read_text("utf-8") for place in range(2)] == ["0 of 2 on cpu", "1 of 2 on cpu"]
