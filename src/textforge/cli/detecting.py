"""textforge detector: train a discriminator against a finished generator."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from textforge.cli.output import print_table, progress
from textforge.cli.parsing import parse


@dataclass(frozen=True)
class DetectorOptions:
    """Train a discriminator against a run that has ended, say what it sees, and keep it in the run's folder.

    It learns the run's training text, is calibrated on its held-out text, and judged on its test text, or on a third of
    the held-out text that is kept back. `sample --decode resample` and `score` use it.
    """

    run: Annotated[Path, Positional]
    """The run folder."""
    checkpoint: str = "last"
    """The model as it stood last, at its lowest held-out NLL (best), or at the end of a phase, by its name."""
    temperature: float = 1.0
    """Temperature of the samples that it learns to tell from real text, and can choose among later."""
    seed: int = 0
    """Seed of its weights and of the samples."""
    json: bool = False
    """Print one JSON object."""


def detector_command(arguments: Sequence[str]) -> None:
    """Train a detector."""
    options = parse(DetectorOptions, arguments, "detector")
    from textforge import detector
    from textforge.model import load_text_model
    from textforge.results import Row, own_task
    from textforge.run import finite

    model = load_text_model(options.run, options.checkpoint)
    task, unseen = detector.parted(own_task(model))
    G, console, config = model.generator, progress(), detector.Config()
    console.print("held-out log-loss by passes over the training text (.6931: it sees nothing)")
    found = detector.fit(
        G,
        task,
        config,
        temperature=options.temperature,
        seed=options.seed,
        told=lambda epoch, loss: console.print(f"  {epoch}/{config.epochs}  {loss:.4f}"),
    )
    metrics = detector.judge(found, G, unseen, seed=options.seed)
    detector.save(found, G, config, metrics, options.run)
    rows = [Row("detector", metrics)]
    if task.oracle is not None and not G.noise_dim:
        console.print("its use, where the truth is known ...")
        before, after = detector.nearness(found, G, task.oracle, len(task.valid), seed=options.seed)
        rows += [Row("the model", before), Row("resampled", after)]
    if options.json:
        print(json.dumps({row.name: finite(row.metrics) for row in rows}))
        return
    for part in (rows[:1], rows[1:]):
        if part:
            print_table(str(options.run), part, [name for name in part[0].metrics if not name.endswith("_se")])
    at = f" --checkpoint {options.checkpoint}" * (options.checkpoint != "last")
    print(f"\nuse it: textforge sample {options.run}{at} --decode resample")
