"""Does generated text help a classifier where a class has few examples? Texts of a class on demand, against copies.

    python examples/augmentation.py labelled.tsv

Each line of labelled.tsv is a label, a tab, and a text. In every round a new small and lopsided training set is drawn.
The classifier, naive Bayes on words and pairs of words, learns it as it is, with its small classes filled up by copies,
and filled up by a generator that learned all classes and their labels. All else is the test set. What is told is the
difference, with an interval over rounds; since their test sets overlap, it is rather too short than too long.
"""

import argparse
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import textforge
from textforge.metrics.bootstrap import mean_interval

Labelled = tuple[str, str]
OWN = [
    (label, f"the {thing} was {very} {how} {end}")
    for label, hows in {
        "praise": ("good", "clean", "friendly", "bright"),
        "blame": ("cold", "dirty", "rude", "dark"),
    }.items()
    for thing, very, how, end in itertools.product(
        ("room", "breakfast", "staff", "pool", "bar"),
        ("very", "really", "rather"),
        hows,
        ("today", "again", "this time"),
    )
]


def features(text: str) -> list[str]:
    words = text.split()
    return [*words, *map(" ".join, itertools.pairwise(words))]


def balanced_accuracy(train: Sequence[Labelled], test: Sequence[Labelled]) -> float:
    """The mean over classes of the share that naive Bayes gets right, all classes being as likely to it."""
    counts: dict[str, Counter[str]] = {}
    for label, text in train:
        counts.setdefault(label, Counter()).update(features(text))
    size = len(set().union(*counts.values()))
    right = {label: [0, 0] for label in counts}
    for label, text in test:
        scores = {
            guess: sum(np.log((seen[part] + 1) / (seen.total() + size)) for part in features(text))
            for guess, seen in counts.items()
        }
        right[label][0] += max(scores, key=scores.__getitem__) == label
        right[label][1] += 1
    return float(np.mean([hits / total for hits, total in right.values()]))


def lopsided(data: Sequence[Labelled], many: int, few: int, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """A training set with `many` texts of the first class and `few` of each other; the rest is for testing."""
    chance = random.Random(seed)
    train, test = [], []
    for i, label in enumerate(sorted({label for label, _ in data})):
        texts = [item for item in data if item[0] == label]
        chance.shuffle(texts)
        size = few if i else many
        train += texts[:size]
        test += texts[size:]
    return train, test


def filled(train: Sequence[Labelled], seed: int, settings: dict[str, Any] | None) -> list[Labelled]:
    """The training set with each class as large as the largest: by generated texts, or without settings by copies."""
    sizes = Counter(label for label, _ in train)
    result, model = list(train), None
    if settings is not None:
        model = textforge.fit([text for _, text in train], labels=[label for label, _ in train], seed=seed, **settings)
    for label, size in sizes.items():
        texts, missing = [text for mine, text in train if mine == label], max(sizes.values()) - size
        if not missing:
            continue
        if model is None:
            more = random.Random(seed).choices(texts, k=missing)
        else:
            more = model.sample(missing, label=label, seed=seed)
        result += [(label, text) for text in more]
    return result


def verdict(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The mean difference of paired accuracies with its 95 % interval, and in a word what it says."""
    interval = mean_interval(np.subtract(ours, theirs))
    word = "a gain" if interval.low > 0 else "a loss" if interval.high < 0 else "no gain"
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]: {word}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a label, a tab and a text a line")
    parser.add_argument("--fast", action="store_true", help="four rounds, with generators that learn next to nothing")
    parser.add_argument("--many", type=int, default=60, help="training texts of the first class")
    parser.add_argument("--few", type=int, default=15, help="training texts of each other class")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    data = OWN
    if arguments.file is not None:
        rows = (line.split("\t", 1) for line in arguments.file.read_text(encoding="utf-8").splitlines() if "\t" in line)
        data = [(label, text) for label, text in rows]

    settings = {"preset": "tiny"} if arguments.fast else {"minutes": 1}
    results: dict[str, list[float]] = {"as it is": [], "with copies": [], "with generated texts": []}
    for seed in range(4 if arguments.fast else arguments.rounds):
        train, test = lopsided(data, arguments.many, arguments.few, seed)
        sets = (train, filled(train, seed, None), filled(train, seed, settings))
        for scores, learned in zip(results.values(), sets, strict=True):
            scores.append(balanced_accuracy(learned, test))
    for name, scores in results.items():
        print(f"{name:21} balanced accuracy {np.mean(scores):.3f}")
    ours = results["with generated texts"]
    print("generated texts against copies:   ", verdict(ours, results["with copies"]))
    print("generated texts against as it is: ", verdict(ours, results["as it is"]))


if __name__ == "__main__":
    main()
