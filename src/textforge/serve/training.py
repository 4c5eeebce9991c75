"""A run while it trains, as curves and samples, from the files that it writes."""

from pathlib import Path
from typing import Any

from textforge.report.read import read
from textforge.report.series import curves, phases, thinned

POINTS = 200
"""Of a curve."""
CURVES = 24
TEXTS = 20
CHARACTERS = 600
"""Of a sample."""
NOTES = 8


def version(folder: Path) -> str:
    """Return what changes whenever the run has written something."""
    places = (folder / "metrics.jsonl", folder / "samples")
    found = (place.stat() if place.exists() else None for place in places)
    return "-".join("" if stat is None else f"{stat.st_mtime_ns:x}.{stat.st_size:x}" for stat in found)


def training(folder: Path) -> dict[str, Any]:
    """Return the curves of a run, its phases and its latest samples; of long ones as much as fits on a page."""
    run = read(folder)
    last = run.records[-1] if run.records else None
    latest = run.samples[-1] if run.samples else None
    return {
        "step": None if last is None else last.step,
        "seconds": None if last is None else last.seconds,
        "phase": None if last is None else last.phase,
        "phases": [{"name": phase.name, "start": phase.start, "stop": phase.stop} for phase in phases(run.records)],
        "curves": [
            {"name": curve.name, "points": [[point.step, point.mean] for point in thinned(curve.values, POINTS)]}
            for curve in curves(run.records)
            if curve.values and not curve.name.endswith("_se")
        ][:CURVES],
        "samples": [] if latest is None else [text[:CHARACTERS] for text in latest.texts[:TEXTS]],
        "samples_step": None if latest is None else latest.step,
        "notes": [note[:CHARACTERS] for note in run.notes[-NOTES:]],
    }
