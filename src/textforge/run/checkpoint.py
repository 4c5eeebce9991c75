"""Checkpoints: any nested state in one safetensors file, which can hold no code, beside its SHA-256.

Tensors lie flat in the file under the path that leads to them (`modules/generator/embed.weight`); the rest of the state
is JSON in the file's metadata. Two generations are kept, so that damage to the newest costs some training, not the run.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from textforge.errors import UserError, WorkError
from textforge.run.files import prepare, publish, temporary, write_atomic, writing

State = dict[str, Any]
Kind = str
"""The whole state of a run, `last`; or its generator alone: the `best`, or as it was at the end of a phase, by name."""

_SUFFIX = ".safetensors"


def _prefix(kind: Kind) -> str:
    return {"last": "", "best": "best-"}.get(kind, f"end-{kind}-")


def pack(state: State) -> bytes:
    """Write a state of dicts, lists, tuples, tensors, numbers, strings and None as safetensors.

    Tensors that share their memory are stored once. `TypeError` names the place of anything else.
    """
    tensors: dict[str, Tensor] = {}
    names: dict[tuple[object, ...], str] = {}

    def store(tensor: Tensor, path: str) -> str:
        memory = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if memory not in names:
            name = path
            while name in tensors:  # the keys 1 and "1" lead along one path
                name += "'"
            # A copy of its own: safetensors takes neither strides nor tensors that overlap in part.
            tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            names[memory] = name
        return names[memory]

    def encode(value: object, path: str) -> object:
        match value:
            case None | bool() | int() | float() | str():
                return value
            case Tensor():
                return {"tensor": store(value, path)}
            case list():
                return [encode(item, f"{path}/{i}") for i, item in enumerate(value)]
            case tuple():
                return {"tuple": [encode(item, f"{path}/{i}") for i, item in enumerate(value)]}
            case dict():
                return {"dict": [[encode(key, path), encode(item, f"{path}/{key}")] for key, item in value.items()]}
        raise TypeError(f"{path} is a {type(value).__name__}, and a checkpoint holds plain values and tensors only")

    tree = {key: encode(value, key) for key, value in state.items()}
    return safetensors.torch.save(tensors, metadata={"state": json.dumps(tree)})


def unpack(data: bytes) -> State:
    """Read what `pack` wrote; tensors are on the CPU."""
    tensors = safetensors.torch.load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])

    def decode(value: Any) -> object:
        match value:
            case {"tensor": name}:
                return tensors[name]
            case {"tuple": items}:
                return tuple(map(decode, items))
            case {"dict": items}:
                return {decode(key): decode(item) for key, item in items}
            case list():
                return [decode(item) for item in value]
        return value

    return {key: decode(value) for key, value in json.loads(header["__metadata__"]["state"]).items()}


def _file(folder: Path, kind: Kind, step: int) -> Path:
    return folder / f"{_prefix(kind)}{step:08d}{_SUFFIX}"


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def saved_steps(folder: Path, kind: Kind) -> list[int]:
    """Return the steps that have a checkpoint file or the checksum of one, the newest first."""
    pattern = re.compile(rf"{re.escape(_prefix(kind))}(\d{{8,}}){re.escape(_SUFFIX)}(\.sha256)?")
    matches = [pattern.fullmatch(entry.name) for entry in folder.iterdir()] if folder.is_dir() else []
    return sorted({int(match[1]) for match in matches if match}, reverse=True)


def ended_phases(folder: Path) -> dict[str, int]:
    """Return the phases whose end has a checkpoint, with its step, the earliest first."""
    matches = [re.fullmatch(r"end-(.+)-(\d{8,})\.safetensors", entry.name) for entry in folder.glob("end-*")]
    ends = {match[1]: int(match[2]) for match in matches if match}
    return dict(sorted(ends.items(), key=lambda end: end[1]))


def save_checkpoint(folder: Path, kind: Kind, step: int, state: State) -> None:
    """Write one checkpoint into a folder of them; `WorkError` where the disk is full, and then nothing of it remains.

    Whoever reads it expects at least `state["modules"]`, the state dicts of the networks.
    """
    data = pack(state)
    path = _file(folder, kind, step)
    with writing(path):
        folder.mkdir(exist_ok=True)
        prepare(path, data)
        try:
            # The checksum first: a file never stands without one, and `tidy` completes what a kill leaves in between.
            write_atomic(_sidecar(path), f"{hashlib.sha256(data).hexdigest()}  {path.name}\n".encode())
            publish(path)
        except BaseException:
            temporary(path).unlink(missing_ok=True)
            if not path.exists():
                _sidecar(path).unlink(missing_ok=True)
            raise


def read(folder: Path, kind: Kind, step: int) -> State:
    """Read one checkpoint; `WorkError` says how it is damaged."""
    path = _file(folder, kind, step)
    try:
        data = path.read_bytes()
        whole = _matches(data, _sidecar(path))
    except OSError as error:
        raise WorkError(f"checkpoint {path} cannot be read: {error.filename}: {error.strerror}") from error
    if not whole:
        raise WorkError(f"checkpoint {path} is damaged: its checksum differs")
    return unpack(data)


def _matches(data: bytes, sidecar: Path) -> bool:
    return sidecar.read_bytes().split()[:1] == [hashlib.sha256(data).hexdigest().encode()]


def newest(folder: Path, kind: Kind) -> tuple[State | None, list[str]]:
    """Return the newest checkpoint that is whole, or None where there is none, and what is wrong with newer ones.

    `WorkError` where there are checkpoints and all of them are damaged.
    """
    problems: list[str] = []
    for step in saved_steps(folder, kind):
        try:
            return read(folder, kind, step), problems
        except WorkError as error:
            problems.append(str(error))
    if problems:
        raise WorkError(f"no checkpoint is left to load: {'; '.join(problems)}; start anew in another folder")
    return None, problems


def load_checkpoint(folder: Path, which: Kind = "last") -> State:
    """Return a state of the run in `folder`, `last`, `best` or by phase: `state["modules"][name]` are state dicts.

    A damaged checkpoint is named in a warning and the one before it is used. `UserError` where none was saved yet,
    `WorkError` where all are damaged.
    """
    state, problems = newest(folder / "checkpoints", which)
    for problem in problems:
        warnings.warn(f"{problem}; the one before it is used", stacklevel=2)
    if state is None:
        known = ", ".join(["last", "best", *ended_phases(folder / "checkpoints")])
        raise UserError(f"{folder} holds no checkpoint '{which}' (a run may have {known}); train it first, or further")
    return state


def remove(folder: Path, kind: Kind, *, keep: Collection[int | None]) -> None:
    """Delete all checkpoints of this kind but those of the steps to keep."""
    for step in saved_steps(folder, kind):
        if step not in keep:
            _file(folder, kind, step).unlink(missing_ok=True)
            _sidecar(_file(folder, kind, step)).unlink(missing_ok=True)


def reopen(folder: Path) -> tuple[State | None, list[str]]:
    """Return what `newest` does of a run that goes on, and leave nothing in the folder but it and the one before it."""
    tidy(folder)
    saved, problems = newest(folder, "last")
    step = saved["position"]["step"] if saved else 0
    steps = saved_steps(folder, "last")
    older = [last for last in steps if last < step]
    remove(folder, "last", keep={*steps} - {*older[1:]})
    # What was the best only after the checkpoint will be found again.
    for kind in ("best", *ended_phases(folder)):
        remove(folder, kind, keep=[other for other in saved_steps(folder, kind) if other <= step])
    return saved, problems


def tidy(folder: Path) -> None:
    """Finish what a kill interrupted: complete a checkpoint that only lacked its name, delete unfinished ones."""
    for neighbour in folder.glob(".*.tmp") if folder.is_dir() else ():
        path = folder / neighbour.name.removeprefix(".").removesuffix(".tmp")
        if path.suffix == _SUFFIX and _sidecar(path).exists() and _matches(neighbour.read_bytes(), _sidecar(path)):
            publish(path)
        else:
            neighbour.unlink()
