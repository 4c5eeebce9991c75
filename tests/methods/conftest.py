"""Tests of single methods: their runs are thrown away, so nothing needs to reach the disk itself."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes survive the end of a test without fsync."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
