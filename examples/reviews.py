"""Texts of the class that is asked for: reviews of a hotel, from one generator that has learned their labels.

    python examples/reviews.py reviews.tsv

The first row of reviews.tsv names the columns, `label` and `text`. A part of the texts trains the generator, another a
classifier, naive Bayes on words and pairs of words, that never sees the generator. Then as many samples of each class
as there are real texts left are drawn, and the classifier says what both are. Samples that it tells apart as well as
real text have learned what the classes are; copies are counted, because reciting would do for that.
"""

import argparse
import csv
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import textforge
from textforge.metrics.copying import exact_copy

Labelled = tuple[str, str]
THINGS = ("room", "breakfast", "staff", "pool", "bar", "view", "bed", "lift")
WORDS = {
    "praise": ("good", "clean", "friendly", "bright", "better than last year", "worth the price"),
    "blame": ("cold", "dirty", "rude", "dark", "worse than last year", "not worth the price"),
}
VERY = ("", "very ", "really ", "rather ")
ENDS = ("", " again", " this time", " all week", " in the morning")


def own(num: int, seed: int = 0) -> list[Labelled]:
    """Reviews of the kinds praise, blame and question; in a third of the first two, what is said last counts."""
    chance = random.Random(seed)

    def clause(kind: str) -> str:
        word = chance.choice(WORDS[kind])
        very = chance.choice(VERY) if " " not in word else ""
        return f"the {chance.choice(THINGS)} was {very}{word}"

    data = []
    for _ in range(num):
        label = chance.choice(("praise", "praise", "blame", "question"))
        if label == "question":
            text = f"{chance.choice(('is', 'was'))} the {chance.choice(THINGS)} {chance.choice(WORDS['praise'][:4])} ?"
        elif chance.random() < 1 / 3:
            other = "blame" if label == "praise" else "praise"
            text = f"{clause(other)} but {clause(label)}{chance.choice(ENDS)}"
        else:
            text = clause(label) + chance.choice(ENDS)
        data.append((label, text))
    return data


def parted(data: Sequence[Labelled], seed: int = 0) -> tuple[list[Labelled], list[Labelled], list[Labelled]]:
    """Half for the generator, and a quarter each for the classifier and as real text."""
    shuffled = random.Random(seed).sample(data, len(data))
    half, quarter = len(data) // 2, len(data) // 4
    return shuffled[:half], shuffled[half : half + quarter], shuffled[half + quarter :]


def features(text: str) -> list[str]:
    words = text.split()
    return [*words, *map(" ".join, itertools.pairwise(words))]


class NaiveBayes:
    """Words and pairs of words, with one added to each count; all classes are as likely to it."""

    def __init__(self, data: Sequence[Labelled]) -> None:
        self.counts: dict[str, Counter[str]] = {}
        for label, text in data:
            self.counts.setdefault(label, Counter()).update(features(text))
        self.size = len(set().union(*self.counts.values()))

    def label_of(self, text: str) -> str:
        def score(label: str) -> float:
            seen = self.counts[label]
            total = seen.total() + self.size
            return float(sum(np.log((seen[part] + 1) / total) for part in features(text)))

        return max(self.counts, key=score)


def share(texts: Sequence[str], label: str, classifier: NaiveBayes) -> float:
    """The share of texts that the classifier takes for the class."""
    return float(np.mean([classifier.label_of(text) == label for text in texts]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a table with the columns label and text, tabs between them")
    parser.add_argument("--fast", action="store_true", help="train for seconds, and learn next to nothing")
    arguments = parser.parse_args()
    data = own(4000)
    if arguments.file is not None:
        with arguments.file.open(encoding="utf-8", newline="") as file:
            data = [(row["label"], row["text"]) for row in csv.DictReader(file, delimiter="\t")]
    train, judging, real = parted(data)

    settings: dict[str, Any] = {"preset": "tiny"} if arguments.fast else {"minutes": 5}
    texts = [text for _, text in train]
    model = textforge.fit(texts, labels=[label for label, _ in train], seed=0, **settings)
    classifier = NaiveBayes(judging)
    for note in model.notes:
        print(note)

    print("\nof each class: how many texts, how many are taken for it, how many are copies of training texts")
    for label in model.labels:
        theirs = [text for mine, text in real if mine == label]
        if not theirs:
            continue
        for name, side in {"real": theirs, "samples": model.sample(len(theirs), label=label, seed=0)}.items():
            taken, copied = share(side, label, classifier), exact_copy(side, texts)["exact_copy"]
            print(f"  {label:12} {name:8} {len(side):6} {taken:8.1%} {copied:8.1%}")

    room = model.settings["max_length"] - 1  # a label stands in front of each text
    short = [(label, text) for label, text in real if len(model.tokenizer.split(text)) <= room]
    classifier_of_train = NaiveBayes(train)
    guesses = {
        "the generator": [model.labels[place] for place in model.label_probs([text for _, text in short]).argmax(1)],
        "naive Bayes on its texts": [classifier_of_train.label_of(text) for _, text in short],
    }
    print(f"\nclasses of {len(short)} real texts that are right:")
    for name, found in guesses.items():
        print(f"  by {name}: {np.mean([guess == label for guess, (label, _) in zip(found, short, strict=True)]):.1%}")
    print("\nas the model would have it:")
    drawn = model.draw(6, seed=1)
    for drawn_label, text in zip(drawn.labels or [], drawn.texts, strict=True):
        print(f"  {drawn_label}: {text}")


if __name__ == "__main__":
    main()
