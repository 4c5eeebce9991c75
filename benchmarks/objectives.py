"""What an objective brings and what it costs: SeqGAN on captions-small, rewarded for sentences that name a colour.

    python benchmarks/objectives.py [--seeds 0 1 2] [--weights 0 0.5 1] [--fast] [--write]

All runs of a seed share their pretraining, by maximum likelihood; weight 0 is SeqGAN itself, weight 1 the objective
alone. Numbers are means over seeds with the standard deviation between them, of 2,048 samples and 10,000 test sentences
a run. `--write` keeps the table in benchmarks/results/objectives.txt, which docs/objectives.md shows.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import textforge
from textforge import oracles

FILE = Path(__file__).parent / "results" / "objectives.txt"
COLOURS = {"black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow"}
COLUMNS = {
    "objective": "names a colour",
    "validity": "valid",
    "nll_test": "NLL of test text",
    "unique": "distinct",
    "entropy": "entropy",
    "js": "JS",
}
FIELDS: dict[str, Any] = {
    "embedding_dim": 80,
    "hidden_dim": 80,
    "dropout": 0.1,
    "pretrain_steps": 400,
    "pretrain_lr": 4e-3,
    "patience": None,
    "pretrain_rounds": 2,
    "rounds": 50,
    "g_lr": 1e-3,
    "num_rollouts": 1,
    "negatives": 256,
    "d_windows": ((1, 20), (2, 40), (3, 40), (4, 20)),
}
FAST = {"embedding_dim": 8, "hidden_dim": 8, "pretrain_steps": 4, "pretrain_rounds": 1, "rounds": 2, "negatives": 16}


def colour(texts: list[str]) -> list[float]:
    """Return 1 for a sentence that names a colour, 0 for another."""
    return [float(not COLOURS.isdisjoint(text.split())) for text in texts]


def ends(weight: float, seed: int, fields: dict[str, Any], data: str) -> dict[str, dict[str, float]]:
    """Train once; return what was measured at the end of each phase."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        textforge.fit(
            data=data, method="seqgan", seed=seed, objective=colour, objective_weight=weight, out=out, **fields
        )
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {record["phase"]: record for record in records if "objective" in record}


def measured(weights: Sequence[float], seeds: Sequence[int], *, fast: bool) -> dict[str, list[dict[str, float]]]:
    """Return a row for real text, for maximum likelihood and for each weight, with a record for each seed."""
    data = "captions-small"
    real = oracles.load(data).sample(2048, seed=99)
    rows: dict[str, list[dict[str, float]]] = {"real text": [{"objective": mean(colour(real))}]}
    for weight in weights:
        for seed in seeds:
            found = ends(weight, seed, {**FIELDS, **FAST} if fast else FIELDS, data)
            if weight == weights[0]:
                rows.setdefault("maximum likelihood", []).append(found["pretrain"])
            rows.setdefault(f"weight {weight:g}", []).append(found["adversarial"])
            print(f"weight {weight:g}, seed {seed}: {found['adversarial']['objective']:.3f}", flush=True)
    return rows


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Return the rows as a table in Markdown."""
    lines = ["| | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, records in rows.items():
        cells = []
        for column in COLUMNS:
            values = [record[column] for record in records if column in record]
            spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.3f}{spread}" if values else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--fast", action="store_true", help="train next to nothing, to see that it runs")
    parser.add_argument("--write", action="store_true", help=f"replace {FILE.name}")
    arguments = parser.parse_args()
    found = table(measured(arguments.weights, arguments.seeds, fast=arguments.fast))
    print(found, end="")
    if arguments.write:
        FILE.write_text(found, encoding="utf-8")


if __name__ == "__main__":
    main()
