"""Every method, trained by two processes, equals itself trained by one: weights, optimizers, records and samples."""

import multiprocessing
from pathlib import Path

import pytest
import settings
from together import deviation, records, together, train_cases

from textforge import methods
from textforge.run import load_checkpoint

CASES = [(name, kind) for name in methods.names() for kind in ("tiny", *settings.of(name).FURTHER)]
TOLERANCE = 1e-9
"""Most are within 1e-14; where a gradient is 0 to rounding (the bias of attention's keys), Adam blows roundings up."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one process has trained all cases, and two have."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["together", "lightning_fabric", "torch.utils.tensorboard"])
    folder = tmp_path_factory.mktemp("methods")
    for size in (1, 2):
        together(context, folder / str(size), size, train_cases, folder / str(size), CASES)
    return folder


@pytest.mark.parametrize(("name", "kind"), CASES, ids=map("-".join, CASES))
def test_two_processes_equal_one(name: str, kind: str, folder: Path) -> None:
    one, two = (folder / size / f"{name}-{kind}" for size in ("1", "2"))
    saved = [load_checkpoint(run) for run in (one, two)]
    for part in ("modules", "optimizers", "tracked", "random", "position"):
        found = deviation(*(state[part] for state in saved))
        assert found < TOLERANCE, f"{part} differ by {found:.1e}"
    found = deviation(records(one), records(two))
    assert found < TOLERANCE, f"records differ by {found:.1e}"
    samples = [{path.name: path.read_bytes() for path in (run / "samples").glob("*.txt")} for run in (one, two)]
    assert samples[0] == samples[1]
    assert samples[0]
