"""Tests of runs: crashes are those of processes, so nothing needs to reach the disk itself."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes survive the death of a process without fsync; child processes do call it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
