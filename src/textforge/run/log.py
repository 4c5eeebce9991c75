"""The records of a run: metrics.jsonl, files of samples and pictures, and the same numbers for TensorBoard."""

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from textforge.run.files import write_all, write_atomic, writing
from textforge.run.measurement import Measurement

Group = Literal["train", "evaluation"]


@dataclass(frozen=True)
class Moment:
    """When a record was made: `step` counts iterations over all phases, `seconds` the time spent in training so far."""

    phase: str
    step: int
    iteration: int
    seconds: float


_RESERVED = frozenset({*Moment.__dataclass_fields__, "warning"})


class Log:
    """Writes the records of one run, and can be set back to a checkpoint.

    Values between two records are summed where they are, in float64, and read from the device only when a record is
    made of their means.
    """

    def __init__(self, folder: Path, *, offset: int, step: int, resumed: bool) -> None:
        """Continue metrics.jsonl behind byte `offset`, and forget all other records that are later than `step`."""
        # Imported here because it is slow, and most uses of the package log nothing.
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}
        self.latest: Mapping[str, float] = {}  # the means of the newest record of training
        self._metrics = folder / "metrics.jsonl"
        with writing(self._metrics):
            self._descriptor = os.open(self._metrics, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self.lost = _truncate(self._descriptor, offset)
        for path in (folder / "samples").glob("*"):
            if (match := re.fullmatch(r".+-(\d{8,})\.(txt|json)", path.name)) and int(match[1]) > step:
                path.unlink()
        with writing(folder / "tensorboard"):
            self._events = SummaryWriter(folder / "tensorboard", purge_step=step + 1 if resumed else None)

    def add(self, scalars: Mapping[str, Tensor | float | int]) -> None:
        """Add values to the means of the next record."""
        for name, value in scalars.items():
            if name in _RESERVED:
                raise ValueError(f"{name!r} cannot be logged: every record has it already; choose another name")
            if isinstance(value, Tensor):
                if value.numel() != 1:
                    raise ValueError(f"{name!r} has the shape {tuple(value.shape)}; log one number, such as its mean")
                value = value.detach().reshape(()).to(torch.float64)
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def flush(self, moment: Moment) -> None:
        """Make one record of the means of all values since the last one; none where there were no values."""
        if self._sums:
            # One transfer for all values, however many there are.
            tensors = [value for value in self._sums.values() if isinstance(value, Tensor)]
            read = iter(torch.stack(tensors).tolist() if tensors else [])
            sums = {name: next(read) if isinstance(value, Tensor) else value for name, value in self._sums.items()}
            means = {name: float(total / self._counts[name]) for name, total in sums.items()}
            self._sums.clear()
            self._counts.clear()
            self.latest = means
            self.record(moment, "train", means)

    def record(self, moment: Moment, group: Group, scalars: Mapping[str, float]) -> None:
        """Append one record, a line in one write; a number that JSON cannot express is null."""
        finite = {name: value if math.isfinite(value) else None for name, value in scalars.items()}
        self._append({**vars(moment), **finite})
        with writing(self._folder / "tensorboard"):
            for name, value in scalars.items():
                self._events.add_scalar(f"{group}/{name}", value, moment.step)

    def measurement(self, moment: Moment, found: Measurement) -> None:
        """Make the record of an evaluation, and the files of its samples and its picture."""
        self.record(moment, "evaluation", found.scalars)
        if found.samples:
            self.samples(moment, found.samples)
        if found.picture is not None:
            self.picture(moment, found.picture)

    def warning(self, moment: Moment, words: str) -> None:
        """Append a record that says in words what is wrong."""
        self._append({**vars(moment), "warning": words})

    def _append(self, record: Mapping[str, Any]) -> None:
        with writing(self._metrics):
            write_all(self._descriptor, json.dumps(record, ensure_ascii=False).encode() + b"\n")

    def samples(self, moment: Moment, texts: Iterable[str]) -> None:
        r"""Write samples/<phase>-<step>.txt, one sample per line; line ends inside a sample become \n and \r."""
        path = self._folder / "samples" / f"{moment.phase}-{moment.step:08d}.txt"
        lines = [text.replace("\n", "\\n").replace("\r", "\\r") + "\n" for text in texts]
        with writing(path):
            path.parent.mkdir(exist_ok=True)
        # Half a surrogate pair is no UTF-8, but a generator of characters may well emit it.
        write_atomic(path, "".join(lines).encode(errors="backslashreplace"))

    def picture(self, moment: Moment, values: Mapping[str, Any]) -> None:
        """Write samples/<phase>-<step>.json, of which the report makes a drawing."""
        path = self._folder / "samples" / f"{moment.phase}-{moment.step:08d}.json"
        with writing(path):
            path.parent.mkdir(exist_ok=True)
        write_atomic(path, json.dumps(values, ensure_ascii=False, allow_nan=False).encode() + b"\n")

    def sync(self) -> None:
        """Bring everything down to the disk, so that a checkpoint written next never knows more than the records."""
        with writing(self._metrics):
            os.fsync(self._descriptor)
        with writing(self._folder / "tensorboard"):
            self._events.flush()

    def state_dict(self) -> dict[str, Any]:
        """Return how far metrics.jsonl goes, in bytes, the values that are in no record yet, and the newest means."""
        offset = os.lseek(self._descriptor, 0, os.SEEK_END)
        return {"offset": offset, "sums": dict(self._sums), "counts": dict(self._counts), "latest": dict(self.latest)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back the values; the file itself is set back when the log is opened."""
        self._sums = dict(state["sums"])
        self._counts = dict(state["counts"])
        self.latest = dict(state.get("latest", {}))  # older checkpoints have none

    def close(self) -> None:
        """Close the files; values that are in no record are dropped."""
        os.close(self._descriptor)
        # What a full disk takes from TensorBoard stands in metrics.jsonl, and must not hide why the run ends.
        with suppress(OSError):
            self._events.close()


def _truncate(descriptor: int, offset: int) -> int:
    """Cut the file behind `offset` and behind its last whole line; return how many bytes below `offset` are lost."""
    size = min(os.lseek(descriptor, 0, os.SEEK_END), offset)
    end = os.pread(descriptor, size, 0).rfind(b"\n") + 1
    os.ftruncate(descriptor, end)
    return offset - end
