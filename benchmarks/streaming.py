"""What the evaluation of large files takes: seconds, memory and disk of `textforge evaluate FILE --reference FILE`.

    python benchmarks/streaming.py 1000000 --out benchmarks/results/streaming.txt

Each number is of sentences on either side. A line is added to the results for each. Free space of the temporary folder
is looked at twice a second: whatever else writes there counts, too.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sentences import write_sentences


def measure(num: int, folder: Path) -> str:
    ours, theirs = (write_sentences(folder / name, num, seed) for seed, name in enumerate(("ours", "theirs")))
    free = least = shutil.disk_usage(tempfile.gettempdir()).free
    start = time.monotonic()
    command = [sys.executable, "-m", "textforge", "evaluate", str(ours), "--reference", str(theirs), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            time.sleep(0.5)
            least = min(least, shutil.disk_usage(tempfile.gettempdir()).free)
        assert process.stdout is not None
        judged = json.load(process.stdout)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)  # the largest so far, so numbers ascend
    return (
        f"{num:,} + {num:,} sentences: {time.monotonic() - start:,.0f} s, {spent.ru_utime + spent.ru_stime:,.0f} s of "
        f"one core, {spent.ru_maxrss / 2**20:.1f} GB of memory, {(free - least) / 1e9:.1f} GB of disk; "
        f"{judged['settings'].get('counted_in', 'in memory')}; bleu_4 {judged['metrics']['bleu_4']:.6f}, "
        f"self_bleu_4 {judged['metrics']['self_bleu_4']:.6f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("num", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        line = measure(options.num, Path(folder))
    print(line)
    if options.out is not None:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
