"""The run folder: who may write to it, and which run it belongs to."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from textforge.errors import UserError
from textforge.run.environment import environment
from textforge.run.files import write_atomic


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Create the folder and be its only writer inside the block; `UserError` where that cannot be.

    The lock belongs to the process, so it never outlives a killed one.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except FileExistsError as error:
        raise UserError(f"{folder} is a file, and a run needs a folder; choose another one") from error
    except Timeout as error:
        raise UserError(f"another process is writing to {folder}; wait for it, or choose another folder") from error
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error.strerror}; choose another folder") from error
    try:
        yield
    finally:
        lock.release()


def open_folder(
    path: Path, config: Mapping[str, object], *, resume: bool, absent: Mapping[str, object] | None = None
) -> Path:
    """Make `path` the folder of the run with this configuration, and return it.

    A new run needs a folder that is absent or empty; `resume` also takes one with the very same configuration, as
    `require_same` sees it. Writes config.json, and environment.json with one entry for each time that the run was
    resumed. `UserError` otherwise.
    """
    with sole_writer(path):
        recorded = path / "config.json"
        now = json.loads(json.dumps(config))
        if recorded.exists():
            if not resume:
                raise UserError(f"{path} already holds a run; continue it with --resume, or choose another with --out")
            require_same(path, now, absent=absent)
        elif any(not entry.name.startswith(".") for entry in path.iterdir()):
            raise UserError(f"{path} is not empty, and holds no run; choose another folder")
        else:
            write_atomic(recorded, _json(now))
        _record_environment(path / "environment.json")
    return path


def _record_environment(path: Path) -> None:
    if path.exists():
        first = _read(path)
        write_atomic(path, _json({**first, "resumed": [*first.get("resumed", ()), environment()]}))
    else:
        write_atomic(path, _json(environment()))


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}; restore it, or start anew with another --out") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object; restore it, or start anew with another --out")
    return value


def require_same(path: Path, config: Mapping[str, object], *, absent: Mapping[str, object] | None = None) -> None:
    """Raise `UserError`, field by field, where the run in the folder `path` has another configuration.

    `absent` has the values of fields that folders did not always have, those of the method's config inside "config".
    """
    now = json.loads(json.dumps(config))
    after = dict(_flat(now))
    usual = {field: value for field, value in _flat(absent or {}) if field in after}
    before = usual | dict(_flat(_read(path / "config.json")))
    changes = [
        f"{field} was {before.get(field, 'absent')}, is {after.get(field, 'absent')}"
        for field in sorted(before.keys() | after.keys())
        if before.get(field, "absent") != after.get(field, "absent")
    ]
    if changes:
        raise UserError(
            f"{path} holds a run with another configuration: {'; '.join(changes)}; "
            "resume with the recorded values, or choose another with --out"
        )


def _flat(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the JSON text of every leaf, so that 1, 1.0, true and "1" all differ."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, json.dumps(value, ensure_ascii=False)
