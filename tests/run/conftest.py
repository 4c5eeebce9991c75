"""Tests of runs: crashes are those of processes, so nothing needs to reach the disk itself."""

import multiprocessing
import os
from multiprocessing.context import ForkServerContext

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes survive the death of a process without fsync; child processes do call it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Processes that start with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["run.toy", "lightning_fabric", "torch.utils.tensorboard"])
    return context
