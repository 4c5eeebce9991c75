"""Your own data in every form that it comes in: lines, a table, raw Chinese, molecules, event codes.

Run as it stands, it trains small models for minutes; with --fast, for seconds, which is enough to see how it goes.
"""

import argparse
import csv
import itertools
import tempfile
from pathlib import Path

import textforge

REVIEWS = [
    f"the {thing} was {very}{how}"
    for thing in ("room", "breakfast", "view", "staff", "pool")
    for very in ("", "very ", "not ")
    for how in ("good", "clean", "cold", "friendly")
]
POEMS = [
    f"{season}{weather},{animal}{verb}。"
    for season, weather, animal, verb in itertools.product(
        ("春", "秋"), ("风起", "雨来", "月明"), ("燕子", "蟋蟀", "小鸟"), ("飞", "唱", "归")
    )
]
MOLECULES = [f"{a}{b}C(=O){c}" for a in ("C", "CC", "c1ccccc1") for b in ("C", "N", "O", "CO") for c in "ON"] * 3
VISITS = [
    ["admitted", cause, treatment, "discharged"]
    for cause in ("heart failure", "pneumonia", "hip fracture")
    for treatment in ("I50", "J18", "S72", "rest")
] * 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="train for seconds, and learn next to nothing")
    # Without a method and a preset, both are chosen to suit the text.
    settings = {"preset": "tiny"} if parser.parse_args().fast else {"minutes": 2}

    print("texts, from any list, generator or column of a table")
    show(textforge.fit(REVIEWS, **settings))

    print("a column of a CSV file; also .tsv, .parquet and .jsonl")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("stars", "review"), *((4, review) for review in REVIEWS)])
        show(textforge.fit(data=path, column="review", **settings))

    print("Chinese without spaces: characters are symbols")
    show(textforge.fit(POEMS, **settings))

    print("molecules")
    show(textforge.fit(MOLECULES, **settings))

    print("lists of event codes; a code may hold spaces, and lists come back")
    visits = textforge.fit(VISITS, **settings)
    show(visits)
    print("  nats:", visits.log_prob(VISITS[:2]).round(2))


def show(model: textforge.Model) -> None:
    """Print what was decided, and samples."""
    for note in model.notes:
        print(f"  ({note})")
    for sample in model.sample(3, temperature=0.7, seed=0):
        print(" ", sample)


if __name__ == "__main__":
    main()
