"""Every method on one language whose truth is known, several seeds: a table for docs/results.md.

    python benchmarks/methods.py [--data captions-small] [--preset small] [--methods mle seqgan ...] [--seeds 0 1 2]
                                 [--jobs 2] [--runs runs/methods] [--write]

Trains with `textforge train`, one thread a run, `--jobs` runs at a time; a run that is there already goes on, or is
taken as it is. Each phase's end that a run has evaluated is a row: the mean over the seeds of what `evaluation.json`
holds, with half the range between the seeds behind ±. `--write` replaces benchmarks/results/DATA.json and the table
between the markers of docs/results.md.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from tables import replace_table

from textforge import methods
from textforge.methods import Method

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results.md"
COLUMNS = {
    "exact_js": "JS",
    "exact_tv": "TV",
    "exact_kl_pq": "KL(P‖G)",
    "exact_kl_qp": "KL(G‖P)",
    "sample_js": "JS of samples",
    "validity": "valid",
    "mode_coverage": "modes",
    "entropy": "entropy",
    "unique": "unique",
    "nll_test": "test NLL",
}
REAL = "training text itself"


def train(method: str, seed: int, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the rows of a run, by name; train it first, where that was not done before."""
    folder = arguments.runs / f"{arguments.data}-{method}-{arguments.preset}-{seed}"
    table = folder / "evaluation.json"
    if not table.exists():
        command = ["textforge", "train", method, "--data", arguments.data, "--preset", arguments.preset]
        command += ["--seed", str(seed), "--resume", "--out", str(folder)]
        with (arguments.runs / f"{folder.name}.log").open("w") as log:
            environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
            call = [sys.executable, "-m", *command]
            status = subprocess.run(call, stdout=log, stderr=subprocess.STDOUT, env=environment).returncode
        if status:
            raise SystemExit(f"{shlex.join(command)} failed: see {arguments.runs / folder.name}.log")
    print(f"{method}, seed {seed}: {spent(folder):.0f} s", file=sys.stderr)
    return {row["name"]: row["metrics"] for row in json.loads(table.read_text(encoding="utf-8"))["rows"]}


def spent(folder: Path) -> float:
    """Return the seconds of training of a run."""
    last = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    return float(json.loads(last)["seconds"])


def summary(runs: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """Return, for each row that all seeds have, the values of each metric."""
    names = [name for name in runs[0] if all(name in run for run in runs)]
    return {
        name: {
            metric: [run[name][metric] for run in runs]
            for metric in [*COLUMNS, "sample_js_floor"]
            if all(run[name].get(metric) is not None for run in runs)
        }
        for name in names
    }


def cell(values: Sequence[float] | None) -> str:
    if not values:
        return ""
    return f"{mean(values):.3f} ± {(max(values) - min(values)) / 2:.3f}"


def markdown(rows: dict[str, dict[str, list[float]]]) -> str:
    shown = {name: head for name, head in COLUMNS.items() if any(name in row for row in rows.values())}
    lines = [f"| | {' | '.join(shown.values())} |", f"|---{'|---' * len(shown)}|"]
    lines += [f"| {name} | {' | '.join(cell(row.get(metric)) for metric in shown)} |" for name, row in rows.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    sequences = [name for name in methods.names() if isinstance(methods.find(name), Method)]
    parser = argparse.ArgumentParser(description="Every method on one language, several seeds.")
    parser.add_argument("--data", default="captions-small")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--methods", nargs="+", default=["mle", *(name for name in sequences if name != "mle")])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "methods")
    parser.add_argument("--write", action="store_true", help="replace the table in docs/results.md")
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)

    rows: dict[str, dict[str, list[float]]] = {}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        futures = {
            method: [pool.submit(train, method, seed, arguments) for seed in arguments.seeds]
            for method in arguments.methods
        }
        for runs in futures.values():
            found = summary([run.result() for run in runs])
            # The same in every run of the language, so once is enough.
            real = {f"{REAL} (a perfect copier)": found.pop(REAL)} if REAL in found else {}
            rows = {**real, **rows, **found} if not rows else {**rows, **found}
    table = markdown(rows)
    print(table)
    if arguments.write:
        record: dict[str, Any] = {"data": arguments.data, "preset": arguments.preset, "seeds": arguments.seeds}
        out = ROOT / "benchmarks" / "results" / f"{arguments.data}.json"
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps({**record, "rows": rows}, indent=1) + "\n", encoding="utf-8")
        replace_table(RESULTS, arguments.data, table)


if __name__ == "__main__":
    main()
