"""textforge train --seeds: one process a training, then one comparison of them all."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from textforge.errors import CallError, Interrupted, WorkError


def train_seeds(method: str, arguments: Sequence[str], out: Path, first: int, num: int) -> None:
    """Train with the seeds from `first` on, each in a process and a folder of its own, and compare them.

    `arguments` are those of the command; what a training prints goes to a file beside its folder. Each goes on where it
    was stopped, so the same call does as well.
    """
    if (out / "config.json").exists():
        raise CallError(f"{out} holds one run; give --seeds another --out")
    out.mkdir(parents=True, exist_ok=True)
    jobs = min(num, cores())
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // jobs))
    seeds = range(first, first + num)
    print(f"training with seeds {first} to {seeds[-1]}, {jobs} at once, in {out}", file=sys.stderr)
    running: list[subprocess.Popen[bytes]] = []

    def train(seed: int) -> int:
        folder, log = out / f"seed-{seed}", out / f"seed-{seed}.log"
        own = ["--seeds", "1", "--seed", str(seed), "--out", str(folder), "--resume"]
        command = [sys.executable, "-m", "textforge", "train", method, *arguments, *own]
        print(f"seed {seed}: starts, and writes what it says to {log}", file=sys.stderr)
        with log.open("wb") as said:
            process = subprocess.Popen(
                command,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": threads},
                start_new_session=True,  # or Ctrl-C reaches it beside `_stop`, and two signals save nothing
            )
            running.append(process)
            status = process.wait()
        print(f"seed {seed}: {'done' if status == 0 else last_line(log)}", file=sys.stderr)
        return status

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        stack.callback(_stop, running)
        futures = [pool.submit(train, seed) for seed in seeds]
        previous = signal.signal(signal.SIGTERM, lambda *_: _interrupt())
        stack.callback(signal.signal, signal.SIGTERM, previous)
        try:
            statuses = [future.result() for future in futures]
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise Interrupted(
                f"stopped, everything is saved in {out}; the same command goes on: textforge train {method} "
                f"{shlex.join(arguments)}{'' if '--out' in arguments else f' --out {shlex.quote(str(out))}'}"
            ) from None
    if failed := [str(seed) for seed, status in zip(seeds, statuses, strict=True) if status]:
        raise WorkError(f"the training with seed {', '.join(failed)} failed: see {out / f'seed-{failed[0]}.log'}")
    from textforge.cli.comparing import compare_command

    compare_command([str(out), "--out", str(out / "report.html")])


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _interrupt() -> None:
    raise KeyboardInterrupt


def _stop(running: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask what still runs to save and stop."""
    for process in running:
        if process.poll() is None:
            process.terminate()


def last_line(log: Path) -> str:
    """Return the last line of a log that is not blank."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "failed without a word")
