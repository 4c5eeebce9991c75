import ctypes
from types import SimpleNamespace

import pytest

from textforge.run import keep_freed_memory


def test_the_c_library_is_told_to_keep_large_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of <malloc.h>: M_MMAP_THRESHOLD is -3, with 32 MiB as its upper bound; M_TRIM_THRESHOLD is -1."""
    told: dict[int, int] = {}
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=told.__setitem__))
    keep_freed_memory()
    assert told == {-3: 2**25, -1: 2**31 - 1}


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    keep_freed_memory()
