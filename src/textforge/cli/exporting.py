"""textforge export: a trained model as a folder for others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from textforge.cli.parsing import parse


@dataclass(frozen=True)
class ExportOptions:
    """Write a new folder with the generator of a run, which needs nothing else of the run."""

    run: Annotated[Path, Positional]
    """The run folder."""
    out: Path | None = None
    """The new folder; by default one in the run folder, with the name of the format."""
    format: Literal["huggingface", "onnx"] = "huggingface"
    """huggingface: weights, tokenizer and model card, which `sample` and textforge.load read. onnx: one decoding step
    for programs without torch."""
    checkpoint: str = "last"
    """The model as it stood last, at its lowest held-out NLL (best), or at the end of a phase, by its name."""


def export_command(arguments: Sequence[str]) -> None:
    """Export a model."""
    options = parse(ExportOptions, arguments, "export")
    from textforge.model import load_text_model

    model = load_text_model(options.run, options.checkpoint)
    out = options.out or options.run / options.format
    print(model.export(out) if options.format == "huggingface" else model.export_onnx(out))
