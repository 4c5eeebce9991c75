"""Two processes that average their gradients equal one that sees both halves of the data."""

from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
from run import toy

from textforge.run import load_checkpoint


@pytest.mark.parametrize("clip", [None, 0.1])
def test_two_processes_equal_one(clip: float | None, tmp_path: Path, processes: ForkServerContext) -> None:
    group = [processes.Process(target=toy.descend, args=(tmp_path, rank, 2, clip)) for rank in range(2)]
    for process in group:
        process.start()
    for process in group:
        process.join()
    assert [process.exitcode for process in group] == [0, 0]
    toy.descend(tmp_path, 0, 1, clip)
    one = load_checkpoint(tmp_path / "0-of-1")
    for rank in range(2):
        of_two = load_checkpoint(tmp_path / f"{rank}-of-2")
        for name, value in one.items():
            torch.testing.assert_close(of_two[name], value, rtol=1e-12, atol=0)
