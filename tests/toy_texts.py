"""Texts of few symbols, with structure and without."""

import numpy as np


def markov_texts(num: int, seed: int) -> list[str]:
    """Texts over abcde in which each symbol prefers its successor."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([1, 1, 1, 2, 3], (num, 12))
    starts, lengths = rng.integers(5, size=num), rng.integers(3, 13, size=num)
    rows = (starts[:, None] + np.cumsum(steps, axis=1)) % 5
    return ["".join("abcde"[at] for at in row[:length]) for row, length in zip(rows, lengths, strict=True)]


def noise(num: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abcde"), rng.integers(3, 13))) for _ in range(num)]
