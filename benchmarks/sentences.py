"""Files of made-up sentences, as long as wanted: 4 to 12 words of 20,000, by Zipf's law."""

from pathlib import Path

import numpy as np

WORDS = np.array([f"w{number}" for number in range(20_000)])
AT_ONCE = 200_000


def write_sentences(path: Path, num: int, seed: int) -> Path:
    """Write `num` sentences, a line each; return the path."""
    rng = np.random.default_rng(seed)
    probs = 1 / np.arange(1, len(WORDS) + 1)
    probs /= probs.sum()
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, num, AT_ONCE):
            ends = np.cumsum(rng.integers(4, 13, min(AT_ONCE, num - start)))
            drawn = WORDS[rng.choice(len(WORDS), ends[-1], p=probs)].tolist()
            file.writelines(
                " ".join(drawn[first:last]) + "\n" for first, last in zip([0, *ends[:-1]], ends, strict=True)
            )
    return path
