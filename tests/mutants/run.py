"""Plant known bugs, one at a time, and demand that the test suite catches each of them.

    python tests/mutants/run.py                # the whole catalogue
    python tests/mutants/run.py rollout bleu   # the mutants whose name contains one of these words

The catalogue is the .toml files beside this one: one a method, and catalogue.toml for the rest. Each entry names a
file, a passage that stands in it exactly once, its replacement, and the tests that must then fail. They run in a copy
of the tree, after they have passed there unchanged. Exit status: 0 all caught; 1 one survived; 2 the catalogue or the
unchanged tests are at fault.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = Path(__file__).parent

# Exit statuses of pytest: https://docs.pytest.org/en/stable/reference/exit-codes.html
PASSED, FAILED = 0, 1


@dataclass(frozen=True)
class Mutant:
    """One bug: in `file`, `old` becomes `new`, and `tests` must notice."""

    name: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> str:
        """Return the text of the mutated file; ValueError unless `old` stands there once and the result is code."""
        text = (root / self.file).read_text(encoding="utf-8")
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.name}: the old text stands {count} times in {self.file}; it must stand once")
        if self.old == self.new:
            raise ValueError(f"{self.name}: the new text equals the old")
        mutated = text.replace(self.old, self.new)
        try:
            compile(mutated, self.file, "exec")
        except SyntaxError as error:
            raise ValueError(f"{self.name}: the mutated file is not Python: {error}") from error
        return mutated


@dataclass(frozen=True)
class Outcome:
    """What the tests said about one mutant: caught, SURVIVED, or why there is no answer."""

    mutant: Mutant
    verdict: str
    seconds: float
    output: str


class Tree:
    """A private copy of the sources and the tests, in which bugs are planted and removed again."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        self.data = os.environ.get("TEXTFORGE_DATA", str(root.parent / "shared" / "data"))
        compiled = shutil.ignore_patterns("__pycache__")
        for part in ("src", "tests"):
            shutil.copytree(root / part, folder / part, ignore=compiled)
        for file in (path for path in root.iterdir() if path.is_file()):
            shutil.copy2(file, folder)

    def pytest(self, tests: Sequence[str], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """Run the tests on the sources of this tree, whatever copy of the package is installed."""
        # Compiled files are matched by second and size: a bug of equal length could run as the code before it.
        environment = os.environ | {
            "PYTHONPATH": str(self.folder / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_PROFILE": "mutants",
            "TEXTFORGE_DATA": self.data,
        }
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    @contextmanager
    def planted(self, mutant: Mutant) -> Iterator[None]:
        """Plant the bug for the length of the block."""
        path = self.folder / mutant.file
        before = path.read_text(encoding="utf-8")
        path.write_text(mutant.apply(self.folder), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(before, encoding="utf-8")


def read_catalogue(path: Path) -> list[Mutant]:
    """Read the mutants of all files of a folder."""
    files = [tomllib.loads(file.read_text(encoding="utf-8")) for file in sorted(path.glob("*.toml"))]
    return [Mutant(**entry | {"tests": tuple(entry["tests"])}) for file in files for entry in file["mutant"]]


def attempt(mutant: Mutant, tree: Tree, timeout: float) -> Outcome:
    """Plant one bug and run its tests; only an ordinary failure counts as caught."""
    started = time.monotonic()
    try:
        with tree.planted(mutant):
            done = tree.pytest(mutant.tests, timeout)
    except ValueError as error:
        verdict, output = "DOES NOT APPLY", str(error)
    except subprocess.TimeoutExpired:
        verdict, output = "HANGS", f"no answer within {timeout:.0f} s"
    else:
        verdict = {PASSED: "SURVIVED", FAILED: "caught"}.get(done.returncode, f"ERROR {done.returncode}")
        output = done.stdout
    return Outcome(mutant, verdict, time.monotonic() - started, output)


def exit_status(verdicts: set[str]) -> int:
    """Return 0 where all were caught, 1 where one survived, 2 where the catalogue itself is wrong."""
    if verdicts <= {"caught"}:
        return 0
    return 1 if verdicts <= {"caught", "SURVIVED"} else 2


def main(root: Path, mutants: Sequence[Mutant], jobs: int = 2, timeout: float = 300.0) -> int:
    """Try every mutant in copies of the tree at root; print the table and return the exit status."""
    width = max(len(mutant.name) for mutant in mutants)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch, ThreadPoolExecutor(jobs) as pool:
        trees: SimpleQueue[Tree] = SimpleQueue()
        for job in range(jobs):
            trees.put(Tree(root, Path(scratch) / str(job)))

        def in_a_free_tree(mutant: Mutant) -> Outcome:
            tree = trees.get()
            try:
                return attempt(mutant, tree, timeout)
            finally:
                trees.put(tree)

        tree = trees.get()
        unchanged = tree.pytest(list(dict.fromkeys(test for mutant in mutants for test in mutant.tests)))
        trees.put(tree)
        if unchanged.returncode != PASSED:
            print(f"{unchanged.stdout}\nThese tests must pass before a bug is planted.")
            return 2
        for outcome in pool.map(in_a_free_tree, mutants):
            print(
                f"{outcome.mutant.name:{width}}  {outcome.verdict:14}  {outcome.seconds:5.1f} s  {outcome.mutant.what}"
            )
            outcomes.append(outcome)
    missed = [outcome for outcome in outcomes if outcome.verdict != "caught"]
    for outcome in missed:
        print(f"\n{outcome.mutant.name}: {outcome.verdict}\n{outcome.output.strip()[-2000:]}")
    print(f"\n{len(outcomes) - len(missed)} of {len(outcomes)} mutants caught")
    return exit_status({outcome.verdict for outcome in outcomes})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Plant known bugs; the tests must catch each of them.")
    parser.add_argument("words", nargs="*", help="only mutants whose name contains one of these")
    parser.add_argument("--jobs", type=int, default=2, help="copies of the tree that work at the same time")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for the tests of one mutant")
    arguments = parser.parse_args()
    chosen = [
        mutant
        for mutant in read_catalogue(CATALOGUE)
        if not arguments.words or any(word in mutant.name for word in arguments.words)
    ]
    if not chosen:
        parser.error(f"no mutant is called like: {' '.join(arguments.words)}")
    sys.exit(main(ROOT, chosen, arguments.jobs, arguments.timeout))
