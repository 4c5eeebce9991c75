"""Event codes, such as visits of patients or lines of a log: lists in, lists out, and what of the rare is kept.

    python examples/event_codes.py visits.jsonl

Each line of visits.jsonl is a JSON list of codes, for example ["admitted", "I50", "discharged"].
"""

import argparse
import itertools
import json
import random
from collections import Counter
from pathlib import Path

import textforge

COURSES = {
    "I50": ["echo", "diuretic"],
    "J18": ["x-ray", "antibiotic"],
    "S72": ["x-ray", "surgery", "rehab"],
    "E11": ["lab", "insulin"],
}


def own(num: int) -> list[list[str]]:
    """Made-up visits: a cause, some of its steps, sometimes a second cause."""
    chance = random.Random(0)
    visits = []
    for _ in range(num):
        causes = chance.choices(list(COURSES), weights=(8, 4, 2, 1), k=chance.choice((1, 1, 2)))
        steps = itertools.chain.from_iterable([cause, *COURSES[cause][: chance.randint(1, 3)]] for cause in causes)
        visits.append(["admitted", *steps, "discharged"])
    return visits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a JSON list of codes a line")
    parser.add_argument("--fast", action="store_true", help="train for seconds, and learn next to nothing")
    arguments = parser.parse_args()
    if arguments.file is None:
        visits = own(300 if arguments.fast else 3000)
    else:
        visits = [json.loads(line) for line in arguments.file.read_text(encoding="utf-8").splitlines() if line.strip()]

    held_out, train = visits[::10], [visit for i, visit in enumerate(visits) if i % 10]
    model = textforge.fit(train, **({"preset": "tiny"} if arguments.fast else {"minutes": 5}))
    samples = model.sample(len(train), seed=0)
    print("samples:", *samples[:3], sep="\n  ")

    counts = Counter(itertools.chain.from_iterable(train))
    rare = {code for code, _ in sorted(counts.items(), key=lambda item: item[1])[: max(1, len(counts) // 4)]}
    pairs = {pair for visit in train for pair in itertools.pairwise(visit)}
    known = {tuple(visit) for visit in train}
    print(f"\nof {len(counts)} codes, the {len(rare)} rarest are: {', '.join(map(str, sorted(rare, key=str)))}")
    for name, part in (("samples", samples), ("held-out visits", held_out)):
        codes = list(itertools.chain.from_iterable(part))
        steps = [pair for visit in part for pair in itertools.pairwise(visit)]
        print(
            f"{name:16} {sum(code in rare for code in codes) / max(1, len(codes)):6.1%} of the codes are rare ones, ",
            end="",
        )
        print(f"{sum(step not in pairs for step in steps) / max(1, len(steps)):6.1%} of the steps are new, ", end="")
        print(f"{sum(tuple(visit) in known for visit in part) / len(part):6.1%} of the visits are copies")


if __name__ == "__main__":
    main()
