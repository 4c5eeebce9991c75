"""What a discriminator is worth when its generator is finished: maximum likelihood, and the same with resampling.

    python benchmarks/resampling.py DATA [DATA ...] [--seeds 0 1 2 3 4] [--num 10000] [--runs runs/resampling] [--write]

For every seed: `mle` is trained with its preset `small`, a detector against it, and texts are drawn from both, the
model itself and `resample` with 16 candidates, at temperature 1. Where the truth is known both are held against it by
their densities; otherwise by the test text. A row has the means over the seeds, and of the paired differences the 95 %
interval. What is done is kept in the folder of runs. `--write` replaces benchmarks/results/resampling-DATA.json and the
table between the markers of docs/decoding.md.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np
from tables import replace_table

import textforge
from textforge import detector
from textforge.errors import UserError
from textforge.evaluation import evaluate_texts
from textforge.metrics.bootstrap import difference_interval
from textforge.model import Model, load_text_model
from textforge.options import Strategy
from textforge.results import own_task

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "decoding.md"
DENSITIES = {"js": "JS", "tv": "TV", "kl_pq": "KL(P‖G)", "kl_qp": "KL(G‖P)", "validity": "valid"}
TEXTS = {
    "reverse_lm_score": "reverse LM score",
    "lm_score": "LM score",
    "c2st": "C2ST",
    "bleu_4": "BLEU-4",
    "self_bleu_4": "Self-BLEU-4",
    "unique": "unique",
    "exact_copy": "copied",
}
Found = dict[str, dict[str, float]]


def trained(data: str, folder: Path, seed: int) -> Model:
    """Return the model of a run, which is trained where that was not done before."""
    if not (folder / "checkpoints").exists():
        textforge.fit(data=data, method="mle", seed=seed, out=folder)
    return load_text_model(folder)


def judged(data: str, folder: Path, seed: int, num: int) -> Found:
    """Return the metrics of the model, of the resampled model, and of the detector."""
    kept = folder / f"resampling-{num}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    model = trained(data, folder, seed)
    task, unseen = detector.parted(own_task(model))
    G, config = model.generator, detector.Config()
    try:
        found = detector.load(folder, G, task.vocabulary)
        worth = detector.judge(found, G, unseen, seed=seed)
    except UserError:
        found = detector.fit(G, task, config, seed=seed)
        worth = detector.judge(found, G, unseen, seed=seed)
        detector.save(found, G, config, worth, folder)
    if task.oracle is not None:
        before, after = detector.nearness(found, G, task.oracle, num, seed=seed)
    else:
        references = list(task.texts.held_out)[:num]
        before, after = (
            evaluate_texts(
                load_text_model(folder).draw(len(references), seed=seed, strategy=strategy).texts,
                references,
                task.tokenizer,
                train=task.texts.train,
            ).metrics
            for strategy in (Strategy(), Strategy("resample"))
        )
    result = {"mle": before, "resampled": after, "detector": worth}
    kept.write_text(json.dumps(result))
    return result


def table(runs: Sequence[Found]) -> str:
    """Return the means, and the differences with their intervals, as markdown."""
    names = {name: head for name, head in (DENSITIES | TEXTS).items() if name in runs[0]["resampled"]}
    lines = ["| | mle | resampled | difference, 95 % interval |", "|---|---|---|---|"]
    for name, head in names.items():
        ours, theirs = (np.array([run[row][name] for run in runs]) for row in ("resampled", "mle"))
        found = difference_interval(ours, theirs)
        lines.append(
            f"| {head} | {theirs.mean():.4f} | {ours.mean():.4f} | "
            f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}] |"
        )
    worth = [run["detector"] for run in runs]
    said = ", ".join(
        f"{head} {mean(run[name] for run in worth):.3f}"
        for name, head in {
            "log_loss": "held-out log-loss",
            "accuracy": "accuracy",
            "calibration_error": "calibration error",
            "effective_share": "effective share",
        }.items()
    )
    return "\n".join([*lines, "", f"The detector: {said}."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Maximum likelihood, and the same with resampling by a detector.")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--num", type=int, default=10_000)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "resampling")
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/decoding.md")
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    for data in arguments.data:
        name = Path(data).name
        runs = []
        for seed in arguments.seeds:
            runs.append(judged(data, arguments.runs / f"{name}-{seed}", seed, arguments.num))
            print(f"{name}, seed {seed}: done", file=sys.stderr, flush=True)
        print(f"\n{name}, {len(runs)} seeds\n\n{table(runs)}", flush=True)
        if arguments.write:
            out = ROOT / "benchmarks" / "results" / f"resampling-{name}.json"
            record = {"data": name, "seeds": arguments.seeds, "num": arguments.num, "runs": runs}
            out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            replace_table(PAGE, f"resampling-{name}", table(runs))


if __name__ == "__main__":
    main()
