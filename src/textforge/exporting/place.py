"""The folder that an export makes: whole, or not at all, and never in the place of another."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from textforge.errors import UserError
from textforge.run.files import write_atomic, writing


def require_free(folder: Path) -> None:
    """Refuse a place where something stands already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already; give --out a new folder")


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files into a new folder, which appears when it is whole; raises UserError where something is there."""
    require_free(folder := folder.resolve())  # "." has no name
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    with writing(folder):
        partial.mkdir(parents=True)
        try:
            for name, data in files.items():
                write_atomic(partial / name, data)
            partial.replace(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
