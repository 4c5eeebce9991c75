"""The runs that are played with: what is known of each, and what of it is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from textforge import methods
from textforge.detector import FOLDER, Detector
from textforge.errors import CallError, UserError
from textforge.model import Model, load_text_model, read_settings
from textforge.results import own_task

HELD_OUT = 2_000
"""Real texts that are kept of a run."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model, and the detector that was trained against it; `why` says what is wrong with one that cannot be used."""

    model: Model
    detector: Detector | None
    why: str


class Shelf:
    """The runs by their numbers. Loading is slow, and not meant for two threads at once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        if not folders:
            raise CallError("there is nothing to serve; name at least one run folder")
        self.folders = tuple(folders)
        self._settings = [read_settings(folder / "config.json") for folder in folders]
        self._loaded: dict[int, tuple[object, Loaded]] = {}
        self._held_out: dict[int, list[str]] = {}

    def runs(self) -> list[dict[str, Any]]:
        """Return what stands in the settings of each run; of paths only the last part, numbered where two share it."""
        names = [folder.resolve().name for folder in self.folders]
        return [
            {
                "name": name if names.count(name) == 1 else f"{name} ({number})",
                "method": settings["method"],
                "preset": settings["preset"],
                "data": PurePath(settings["data"]).name or settings["data"],
                "writes": isinstance(methods.find(settings["method"]), methods.Method),
            }
            for number, (name, settings) in enumerate(zip(names, self._settings, strict=True), 1)
        ]

    def folder(self, run: int) -> Path:
        """Return the folder of a run; raises CallError where no run has this number."""
        if not 0 <= run < len(self.folders):
            raise CallError(f"there is no run {run}; the last is {len(self.folders) - 1}")
        return self.folders[run]

    def load(self, run: int) -> Loaded:
        """Return a run's model as it stands now: what has changed on the disk is read again."""
        folder = self.folder(run)
        now = [_changed(folder / part) for part in ("checkpoints", f"{FOLDER}/config.json")]
        if run not in self._loaded or self._loaded[run][0] != now:
            self._loaded[run] = now, _load(folder)
        return self._loaded[run][1]

    def held_out(self, run: int) -> list[str]:
        """Return held-out text of a run's own corpus, spelled as its model spells."""
        if run not in self._held_out:
            model = self.load(run).model
            tokenizer, task = model.tokenizer, own_task(model)
            spelled = (tokenizer.decode(tokenizer.encode(text)) for text in islice(task.texts.held_out, HELD_OUT))
            room = model.generator.max_length
            self._held_out[run] = [text for text in spelled if 0 < len(tokenizer.split(text)) <= room]
        if not self._held_out[run]:
            raise UserError("no held-out text of this run is short enough for its model; train with a larger --valid")
        return self._held_out[run]


def about(loaded: Loaded) -> dict[str, Any]:
    """Return what a reader must know of a model before drawing from it."""
    model, detector = loaded.model, loaded.detector
    own = "discriminator" in model.networks
    return {
        "tokenizer": model.tokenizer.name,
        "max_length": model.generator.max_length,
        "vocab_size": model.tokenizer.vocabulary.vocab_size,
        "noise": bool(model.generator.noise_dim),
        "judge": "detector" if detector is not None else "own" if own else "none",
        "judge_temperature": None if detector is None else detector.temperature,
        "why": loaded.why,
    }


def _load(folder: Path) -> Loaded:
    model = load_text_model(folder)
    try:
        return Loaded(model, model.detector(), "")
    except UserError as error:
        why = str(error).replace(str(folder), folder.resolve().name)
        return Loaded(model, None, why if (folder / FOLDER).exists() else "")


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
