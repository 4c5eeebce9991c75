"""Time BLEU and Self-BLEU, all orders 1 to 5, on the COCO captions: 10,000 sentences against 10,000.

    python benchmarks/bleu.py [--data FOLDER] [--spot 5]

nltk scores `--spot` sentences, its time is extrapolated to all of them, and the scores must agree to 1e-12. One thread
does everything. FOLDER holds `image_coco_tok/train.txt` and `test.txt`; it defaults to $TEXTFORGE_DATA, else to
`../shared/data` beside the repository.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from nltk.translate.bleu_score import SmoothingFunction  # type: ignore[import-untyped]
from nltk.translate.bleu_score import sentence_bleu as nltk_bleu

from textforge.metrics.bleu import sentence_bleu, sentence_self_bleu

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = [(1 / order,) * order for order in range(1, 6)]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def timed(function: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def by_nltk(texts: list[str], at: int, references: list[list[str]]) -> list[float]:
    scores = nltk_bleu(references, texts[at].split(), WEIGHTS, SmoothingFunction().method1)
    return list(map(float, scores or [0.0] * len(WEIGHTS)))


def report(
    name: str, texts: list[str], ours: Callable[[], np.ndarray], spot: Callable[[int], list[float]], num: int
) -> None:
    repeats = [timed(ours) for _ in range(3)]
    scores, seconds = repeats[0][0], min(elapsed for _, elapsed in repeats)
    chosen = np.linspace(0, len(texts) - 1, num).astype(int).tolist()
    expected, spent = timed(lambda: [spot(at) for at in chosen])
    difference = float(np.abs(scores[:, chosen] - np.transpose(expected)).max())
    assert difference < 1e-12, f"{name} differs from nltk by {difference}"
    extrapolated = spent / num * len(texts)
    print(
        f"{name:9}  {seconds:8.3f} s   nltk {extrapolated:8.0f} s (from {num} sentences)   "
        f"{extrapolated / seconds:8.0f} times   largest difference {difference:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("TEXTFORGE_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--spot", type=int, default=5, help="sentences that nltk scores")
    arguments = parser.parse_args()
    samples, references = (lines(arguments.data / "image_coco_tok" / name) for name in ("train.txt", "test.txt"))
    words = [reference.split() for reference in references]
    sample_words = [sample.split() for sample in samples]
    print(f"{len(samples):,} samples, {len(references):,} references, orders 1 to {len(WEIGHTS)} in one pass")
    report(
        "BLEU",
        samples,
        lambda: sentence_bleu(samples, references),
        lambda at: by_nltk(samples, at, words),
        arguments.spot,
    )
    report(
        "Self-BLEU",
        samples,
        lambda: sentence_self_bleu(samples),
        lambda at: by_nltk(samples, at, sample_words[:at] + sample_words[at + 1 :]),
        arguments.spot,
    )


if __name__ == "__main__":
    main()
