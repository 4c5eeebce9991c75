"""Checkpoints come back as they were written, or are refused by name."""

import errno
import hashlib
import math
import os
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from run import toy
from torch import nn

from textforge.errors import UserError, WorkError
from textforge.run import load_checkpoint, save_checkpoint, saved_steps
from textforge.run.checkpoint import newest, pack, read, remove, tidy, unpack
from textforge.run.files import prepare, temporary, write_atomic

# --- The format ---

TENSORS = st.builds(
    lambda values, dtype: torch.tensor(values).to(dtype),
    st.lists(st.integers(0, 100), max_size=3),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]),
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | TENSORS
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=3))
def test_any_nested_state_comes_back(state: dict[str, Any]) -> None:
    assert toy.differences(unpack(pack(state)), state) == []


def test_numbers_that_are_no_numbers_come_back() -> None:
    back = unpack(pack({"a": math.nan, "b": -math.inf, "c": torch.tensor([math.nan, math.inf])}))
    assert math.isnan(back["a"])
    assert back["b"] == -math.inf
    assert back["c"].isnan().tolist() == [True, False]


def test_optimizer_comes_back() -> None:
    module = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=torch.tensor(0.1), betas=(0.5, 0.75))
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    back = unpack(pack(state))
    assert toy.differences(back, state) == []
    assert list(back["state"]) == [0, 1]


def test_shared_tensors_are_stored_once() -> None:
    shared = torch.randn(100, 100)
    once = len(pack({"a": shared}))
    state = {"a": shared, "b": [shared], "c": shared.detach(), "d": nn.Parameter(shared).data}
    assert len(pack(state)) < once + 1000
    assert toy.differences(unpack(pack(state)), {**state, "d": shared}) == []


def test_views_of_one_memory_stay_different() -> None:
    whole = torch.arange(16).reshape(4, 4)  # square, so that a transposed one differs in its strides only
    state: dict[str, Any] = {
        "whole": whole,
        "row": whole[1],
        "column": whole[:, 1],
        "turned": whole.T,
        "flat": whole.view(-1),
    }
    state |= {"as_float": whole.view(torch.float64), "1": {1: whole[0], "1": whole[2]}}
    assert toy.differences(unpack(pack(state)), state) == []


@pytest.mark.parametrize("value", [{1, 2}, object(), 1j, b"bytes", lambda: 0], ids=type)
def test_other_types_are_refused_with_their_place(value: object) -> None:
    with pytest.raises(TypeError, match=f"^tracked/1/x is a {type(value).__name__}, "):
        pack({"tracked": [0, {"x": value}]})


def test_weights_lie_under_readable_names(tmp_path: Path) -> None:
    """Other programs can take the weights out of a checkpoint without ours."""
    import safetensors

    save_checkpoint(tmp_path, "last", 5, {"modules": {"generator": nn.Linear(2, 3).state_dict()}})
    with safetensors.safe_open(tmp_path / "00000005.safetensors", "pt") as file:
        assert set(file.keys()) == {"modules/generator/weight", "modules/generator/bias"}


# --- Damage ---


@pytest.fixture
def generations(tmp_path: Path) -> Path:
    """A run folder with two generations of a checkpoint."""
    for step in (1, 2):
        save_checkpoint(
            tmp_path / "checkpoints", "last", step, {"modules": {}, "step": step, "x": torch.ones(9) * step}
        )
    return tmp_path


def test_checksum_is_in_the_format_of_sha256sum(generations: Path) -> None:
    file = generations / "checkpoints" / "00000002.safetensors"
    expected = f"{hashlib.sha256(file.read_bytes()).hexdigest()}  00000002.safetensors\n"
    assert (file.parent / "00000002.safetensors.sha256").read_text() == expected


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped in the middle": lambda file: flip(file, file.stat().st_size // 2),
    "flipped at the end": lambda file: flip(file, -1),
    "truncated": lambda file: os.truncate(file, 40),
    "empty": lambda file: os.truncate(file, 0),
    "missing": lambda file: file.unlink(),
    "without checksum": lambda file: file.with_name(file.name + ".sha256").unlink(),
    "altered checksum": lambda file: flip(file.with_name(file.name + ".sha256"), 3),
    "empty checksum": lambda file: os.truncate(file.with_name(file.name + ".sha256"), 0),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_newest_is_named_and_the_one_before_used(damage: str, generations: Path) -> None:
    DAMAGE[damage](generations / "checkpoints" / "00000002.safetensors")
    with pytest.warns(UserWarning, match="00000002.safetensors .*; the one before it is used"):
        assert load_checkpoint(generations)["step"] == 1


@pytest.mark.parametrize("damage", DAMAGE)
def test_all_damaged_is_an_error_that_names_them(damage: str, generations: Path) -> None:
    for step in (1, 2):
        DAMAGE[damage](generations / "checkpoints" / f"0000000{step}.safetensors")
    with pytest.raises(WorkError, match=r"00000002\.safetensors.*00000001\.safetensors") as error:
        load_checkpoint(generations)
    assert "\n" not in str(error.value)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "last", 1, {"x": torch.ones(3), "y": "z"})
    file = tmp_path / "00000001.safetensors"
    for at in range(file.stat().st_size):
        flip(file, at)
        with pytest.raises(WorkError, match="damaged"):
            read(tmp_path, "last", 1)
        flip(file, at)
    assert read(tmp_path, "last", 1)["y"] == "z"


@pytest.mark.parametrize("which", ["last", "best", "pretrain"])
def test_no_checkpoint_is_a_wrong_call(which: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} holds no checkpoint '{which}'"):
        load_checkpoint(tmp_path, which)
    (tmp_path / "checkpoints").mkdir()
    assert newest(tmp_path / "checkpoints", which) == (None, [])


def test_kinds_and_strangers_are_told_apart(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "last", 3, {"kind": "last"})
    save_checkpoint(tmp_path, "best", 4, {"kind": "best"})
    save_checkpoint(tmp_path, "last", 123456789, {})
    for name in ("model.safetensors", "3.safetensors", "00000009.txt", ".00000008.safetensors.tmp"):
        (tmp_path / name).write_bytes(b"")
    assert saved_steps(tmp_path, "last") == [123456789, 3]
    assert saved_steps(tmp_path, "best") == [4]
    remove(tmp_path, "last", keep={123456789})
    assert saved_steps(tmp_path, "last") == [123456789]
    assert read(tmp_path, "best", 4) == {"kind": "best"}


# --- Writing ---


def test_killed_between_checksum_and_name_is_completed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "last", 7, {"step": 7})
    file = tmp_path / "00000007.safetensors"
    file.rename(temporary(file))
    prepare(tmp_path / "00000008.safetensors", b"half of a checkpoint")
    prepare(tmp_path / "00000008.safetensors.sha256", b"half of a checksum")
    tidy(tmp_path)
    assert read(tmp_path, "last", 7) == {"step": 7}
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name, f"{file.name}.sha256"]


def test_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contents, then name, then folder: without this order, a power cut can leave an empty file with a good name."""
    order: list[str] = []
    replace = os.replace

    def note_fsync(descriptor: int) -> None:
        order.append("fsync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    def note_replace(old: Path, new: Path) -> None:
        order.append(f"replace {new.name}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_atomic(tmp_path / "file", b"data")
    assert order == ["fsync .file.tmp", "replace file", f"fsync {tmp_path.name}"]


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """Let the system refuse files over 4 KiB, as it refuses any on a full disk."""
    limit, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, most))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))


def assert_only_the_first_is_left(run_folder: Path, error: pytest.ExceptionInfo[WorkError]) -> None:
    message = str(error.value)
    assert re.search(r"00000002\.safetensors(\.sha256)? could not be written: .*free some space.*--resume", message)
    assert "\n" not in message
    assert len(list((run_folder / "checkpoints").iterdir())) == 2
    assert load_checkpoint(run_folder)["step"] == 1


@pytest.mark.usefixtures("small_files_only")
def test_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoints", "last", 1, {"step": 1})
    with pytest.raises(WorkError) as error:
        save_checkpoint(tmp_path / "checkpoints", "last", 2, {"step": 2, "large": torch.zeros(2000)})
    assert_only_the_first_is_left(tmp_path, error)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("occasion", [1, 2])
def test_every_call_may_find_the_disk_full(
    call: str, occasion: int, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "checkpoints", "last", 1, {"step": 1})
    original, calls = getattr(os, call), 0

    def full(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == occasion:
            raise OSError(number, os.strerror(number))
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(WorkError) as error:
            save_checkpoint(tmp_path / "checkpoints", "last", 2, {"step": 2})
    assert_only_the_first_is_left(tmp_path, error)


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system call may write a part of what it was given; the rest must follow."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    save_checkpoint(tmp_path, "last", 1, {"step": 1, "x": torch.ones(5)})
    assert read(tmp_path, "last", 1)["step"] == 1
