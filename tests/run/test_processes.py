"""A run in several processes: they share gradients, decisions and signals, and one of them writes."""

import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from run import toy
from together import exits, together

from textforge.run import load_checkpoint


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process leaves that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    toy.complete(folder)
    return toy.content_of_texts(folder)


@pytest.mark.parametrize("clip", [None, 0.1])
def test_gradients_are_averaged(clip: float | None, tmp_path: Path, processes: ForkServerContext) -> None:
    """Two processes, each with half of the data, equal one that sees both halves."""
    together(processes, tmp_path / "2", 2, toy.descend, tmp_path / "2", clip)
    (tmp_path / "1").mkdir()
    toy.descend(tmp_path / "1", clip)
    one = load_checkpoint(tmp_path / "1" / "0")
    for rank in range(2):
        of_two = load_checkpoint(tmp_path / "2" / str(rank))
        for name, value in one.items():
            torch.testing.assert_close(of_two[name], value, rtol=1e-12, atol=0)


def test_a_signal_to_one_stops_all_and_the_run_goes_on(
    whole: dict[str, Any], tmp_path: Path, processes: ForkServerContext
) -> None:
    """All stop behind the iteration in which the second process got a signal; resumed by one or by two, all is equal.

    What all compute is the same in every process, and (g + g) / 2 is g: so equal to the bit.
    """
    together(processes, tmp_path, 2, toy.signalled, tmp_path, signal.SIGTERM)
    said = [(tmp_path / f"said-{rank}").read_text("utf-8") for rank in range(2)]
    assert said[0] == said[1]
    assert said[0].startswith("stopped by SIGTERM, everything is saved in")
    assert toy.state(tmp_path / "run")["position"]["step"] == 4
    together(processes, tmp_path / "again", 2, toy.resumed, tmp_path / "run")
    assert toy.differences(toy.content_of_texts(tmp_path / "run"), whole) == []


def test_a_dead_process_ends_the_others_and_the_checkpoint_stays(
    whole: dict[str, Any], tmp_path: Path, processes: ForkServerContext
) -> None:
    assert exits(processes, tmp_path, 2, toy.signalled, tmp_path, signal.SIGKILL) == [0, -signal.SIGKILL]
    said = (tmp_path / "said-0").read_text("utf-8")
    assert said.startswith("process 0 of 2 lost process 1 (")
    assert said.endswith("the last checkpoint stays: start all processes again with --resume")
    assert "\n" not in said
    assert toy.state(tmp_path / "run")["position"]["step"] == 3
    toy.complete(tmp_path / "run", resume=True)
    assert toy.differences(toy.content_of_texts(tmp_path / "run"), whole) == []


def test_a_record_that_cannot_be_written_ends_all(tmp_path: Path, processes: ForkServerContext) -> None:
    together(processes, tmp_path, 2, toy.unrecorded, tmp_path)
    for rank in range(2):
        assert (tmp_path / str(rank)).read_text("utf-8") == "no room: __init__, no room: flush, no room: measurement"


def test_what_the_first_returns_or_raises_all_do(tmp_path: Path, processes: ForkServerContext) -> None:
    together(processes, tmp_path, 2, toy.ask_the_first, tmp_path)
    for rank in range(2):
        assert (tmp_path / str(rank)).read_text("utf-8") == "rank 0; UserError: a run stands in here"
