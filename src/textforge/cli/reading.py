"""The texts that --reference and --train name."""

from collections.abc import Iterable
from pathlib import Path


def read_references(path: Path) -> Iterable[str]:
    """Return the lines of a file, or the held-out part of a folder."""
    from textforge.text import read_texts

    texts = read_texts(path)
    return texts.held_out if path.is_dir() else texts.train


def read_training(path: Path | None) -> Iterable[str] | None:
    """Return the lines of a file, or the training part of a folder; None where no path is given."""
    from textforge.text import read_texts

    return None if path is None else read_texts(path).train
