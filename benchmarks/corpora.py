"""How soon training starts on a large file: the first time, and when its encoded text is kept.

    python benchmarks/corpora.py 10000000 --out benchmarks/results/corpora.txt

Made-up sentences are written to a temporary folder, which also takes the place of the user's cache, and `mle` is
trained on them twice, each time in a process of its own that ends with the first update.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sentences import write_sentences

TRAIN = """
import json, resource, sys, time
from textforge import fit, fitting
from textforge.run import Run

class First(Run):
    def step(self, *args, **settings):
        super().step(*args, **settings)
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps([time.time() - float(sys.argv[2]), used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20]))
        sys.exit()

fitting.Run = First
fit(data=sys.argv[1], method="mle", preset="small")
"""


def started(path: Path, folder: Path) -> str:
    """Train up to the first update; return what it took from the start of the process."""
    own = {**os.environ, "TEXTFORGE_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", TRAIN, str(path), str(time.time())]
    made = subprocess.run(command, env=own, stdout=subprocess.PIPE, check=True)
    seconds, busy, memory = json.loads(made.stdout)
    return f"{seconds:.1f} s to the first step, {busy:.1f} s of one core, {memory:.2f} GB of memory"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("num", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_sentences(folder / "sentences.txt", options.num, seed=0)
        lines = [f"{options.num:,} sentences, {path.stat().st_size / 1e9:.2f} GB"]
        lines += [f"{start} start: {started(path, folder)}" for start in ("first", "second", "third")]
        kept = sum(file.stat().st_size for file in (folder / "cache").rglob("*.npy"))
        lines.append(f"kept: {kept / 1e9:.2f} GB")
    print("\n".join(lines))
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
