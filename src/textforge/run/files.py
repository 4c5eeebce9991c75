"""Writing so that a crash at any moment leaves the old file or the new one, never half of one."""

import errno
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from textforge.errors import WorkError

# A quota and a limit on the size of files are a full disk to whoever writes.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the failure of a write inside the block into a `WorkError` of one line."""
    try:
        yield
    except OSError as error:
        remedy = "free some space" if error.errno in _FULL else "see that its folder exists and is writable"
        raise WorkError(
            f"{path} could not be written: {error.strerror or error}; what was saved before stays: "
            f"{remedy} and repeat the command (if it trains, with --resume)"
        ) from error


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte: a single system call may take only a part where the disk runs full."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def temporary(path: Path) -> Path:
    """Return the hidden neighbour in which `path` is prepared; neighbours can be renamed in one step."""
    return path.with_name(f".{path.name}.tmp")


def prepare(path: Path, data: bytes) -> None:
    """Write the data to the neighbour of `path`, down to the disk; no neighbour remains where this fails."""
    neighbour = temporary(path)
    try:
        descriptor = os.open(neighbour, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        neighbour.unlink(missing_ok=True)
        raise


def publish(path: Path) -> None:
    """Put the prepared neighbour in the place of `path`, and make the name itself durable."""
    try:
        os.replace(temporary(path), path)
    except BaseException:
        temporary(path).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by the data in one step; `WorkError` where the disk is full or closed to us."""
    with writing(path):
        prepare(path, data)
        publish(path)


def finite(values: Mapping[str, str | int | float]) -> dict[str, str | int | float | None]:
    """Return the values as JSON can express them: NaN and infinity become None."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
