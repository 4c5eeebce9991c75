"""Large corpora, encoded once: arrays in a folder of the user's cache, found again by all that they hang on.

An entry is a folder: `facts.json`, and the arrays as .npy files, which are memory-mapped. It is written under another
name and renamed when it is whole, under a lock that the system takes from a process that dies. `facts.json` has the
checksum of every array and its own; an entry that differs from them, or from the form expected, counts as none.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from textforge.options import Options
from textforge.text import pretrained
from textforge.text.corpus import SUFFIXES

FORMAT = 1
"""To be raised whenever the same text and options would come to other arrays or facts."""
VARIABLE = "TEXTFORGE_CACHE"
"""Names the folder, in place of the platform's; empty: nothing is kept."""
LEAST = 2**24
"""Bytes of text below which nothing is kept: half a million short sentences, some seven seconds' work."""
MOST = 20 * 2**30
"""Bytes of all entries together; beyond, those go that were not used for the longest."""
ELSEWHERE = ("preset", "seed", "device", "on_collapse")
"""Options that say how to train, not on what."""
FACTS = "facts.json"
CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class Entry:
    """What is kept of a corpus: `facts`, ready for JSON, and arrays by name."""

    facts: dict[str, Any]
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Kept:
    """An entry as it lies on the disk, without a look into its arrays."""

    place: Path
    size: int
    """Bytes."""
    used: float
    """When, in seconds since 1970."""
    data: str
    """The file or folder that it is of."""


def folder() -> Path | None:
    """Return the folder of all entries, which need not exist; None where the user wants none."""
    if (chosen := os.environ.get(VARIABLE)) is not None:
        return Path(chosen).absolute() if chosen else None
    import pooch  # type: ignore[import-untyped]  # here, because few corpora are large

    return Path(pooch.os_cache("textforge")) / "corpora"


def place(options: Options) -> Path | None:
    """Return where the corpus of the options has its entry, made or not; None where it is too small, or none is wanted.

    The name is a hash of the options, but for those of `ELSEWHERE`, and of path, size, times and inode of every file
    that is read for them. May raise OSError, and UserError where a tokenizer cannot be fetched.
    """
    options = options.anchored()
    text = _files([*_parts(options.data), *_parts(options.valid)])
    if sum(size for size, *_ in text.values()) < LEAST or (parent := folder()) is None:
        return None
    chosen = {name: value for name, value in vars(options).items() if name not in ELSEWHERE}
    beside = _files([*_parts(options.labels), *_tokenizer(options.tokenizer)])
    made_of = [FORMAT, metadata.version("textforge"), chosen, text, beside]
    return parent / hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _parts(name: str | None) -> list[Path]:
    """Return the files that a file or folder of text may consist of."""
    if name is None or not os.path.isdir(name):
        return [] if name is None else [Path(name)]
    return [Path(name, f"{part}{suffix}") for part in ("train", "valid", "test") for suffix in SUFFIXES]


def _tokenizer(name: str) -> list[Path]:
    """Return the files that the tokenizer of a pretrained model may consist of; of the Hub, those that lie here."""
    if not pretrained.is_place(name):
        return []
    return [pretrained.folder_of(name) / file for file in ("tokenizer.json", "config.json", pretrained.RUNS)]


def _files(paths: Iterable[Path]) -> dict[str, tuple[int, int, int, int]]:
    """Return size, time of the last writing, of the last change of any kind, and inode of those that there are."""
    found = {}
    for path in paths:
        with suppress(FileNotFoundError):
            stat = path.stat()
            found[str(path.resolve())] = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    return found


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Keep other processes from reading, making or removing an entry; waits for them. May raise OSError."""
    from filelock import FileLock

    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock(place)):
        yield


def read(place: Path) -> tuple[Entry | None, str | None]:
    """Return an entry whose checksums are right, and what is wrong with one that is there and damaged.

    A damaged one is removed. What is returned is only as good as its makers: facts are looked at by who reads them.
    Raises OSError where it cannot be read, which says nothing of it.
    """
    if not place.exists():
        return None, None
    try:
        facts = json.loads((place / FACTS).read_bytes())
        if facts.pop("checksum") != _checksum_of(facts):
            raise ValueError("facts.json has another checksum")
        arrays = {}
        for name, checksum in facts.pop("arrays").items():
            if _checksum(place / f"{name}.npy") != checksum:
                raise ValueError(f"{name}.npy has another checksum")
            arrays[name] = np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        remove(place)
        return None, str(error)
    with suppress(OSError):  # an entry may be another user's
        os.utime(place / FACTS)
    return Entry(facts, arrays), None


def fact(place: Path, name: str) -> Any:
    """Return one of the facts of an entry, unchecked; None where there is none."""
    try:
        return json.loads((place / FACTS).read_bytes())[name]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(place: Path, entry: Entry, data: str) -> None:
    """Put an entry into its place, whole or not at all, and make room for it. Raises OSError, and leaves nothing."""
    part = _part(place)
    try:
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        part.mkdir()
        checksums = {}
        for name, array in entry.arrays.items():
            np.save(part / f"{name}.npy", array)
            checksums[name] = _checksum(part / f"{name}.npy")
        facts = {**entry.facts, "data": data, "arrays": checksums}
        (part / FACTS).write_text(json.dumps({**facts, "checksum": _checksum_of(facts)}), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        part.rename(place)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _make_room(place)


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _checksum_of(facts: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(facts, sort_keys=True).encode())


def _make_room(newest: Path) -> None:
    """Remove what dead processes left behind, and the longest unused entries beyond `MOST`; the newest stays."""
    for part in newest.parent.glob("*.part"):
        _remove_unlocked(part.with_suffix(""))
    entries = sorted(kept(newest.parent), key=lambda entry: entry.used, reverse=True)
    room = MOST - sum(entry.size for entry in entries)
    while room < 0 and entries:
        oldest = entries.pop()
        if oldest.place != newest:
            room += oldest.size
            _remove_unlocked(oldest.place)


def _remove_unlocked(place: Path) -> bool:
    """Remove an entry, made or half made, that no process has locked; tell whether that was so."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(_lock(place), blocking=False):
            remove(place)
    except (Timeout, OSError):
        return False
    return True


def remove(place: Path) -> None:
    """Remove an entry, made or half made, as far as the system allows; who has mapped it keeps what is mapped."""
    for path in (place, _part(place)):
        shutil.rmtree(path, ignore_errors=True)


def kept(parent: Path) -> list[Kept]:
    """List the entries of a folder, the last used first."""
    found = []
    for facts in parent.glob(f"*/{FACTS}"):
        data = str(fact(facts.parent, "data") or "damaged")
        try:
            size = sum(file.stat().st_size for file in facts.parent.iterdir())
            found.append(Kept(facts.parent, size, facts.stat().st_mtime, data))
        except OSError:
            continue  # another process has just removed it
    return sorted(found, key=lambda entry: entry.used, reverse=True)


def clear(parent: Path) -> tuple[int, int]:
    """Remove all entries but those that are being made or read; return how many, and their bytes."""
    for part in parent.glob("*.part"):
        _remove_unlocked(part.with_suffix(""))
    gone = [entry for entry in kept(parent) if _remove_unlocked(entry.place)]
    return len(gone), sum(entry.size for entry in gone)


def _part(place: Path) -> Path:
    return place.with_name(f"{place.name}.part")


def _lock(place: Path) -> Path:
    return place.with_name(f"{place.name}.lock")
