"""Chinese poems as raw text, without spaces: each character is a symbol, and the form of a poem is checked.

    python examples/chinese_poems.py poems.txt

Poems.txt has a poem a line; spaces between characters, which published files often have, are taken out.
"""

import argparse
import itertools
import re
from collections import Counter
from pathlib import Path

import textforge

OWN = [
    f"{time}{place}{sky}，{being}{deed}。"
    for time, place, sky, being, deed in itertools.product(
        ("春", "秋"), ("山", "江"), ("月白", "风清", "雨细"), ("孤舟", "远客", "老僧"), ("夜未归", "听晚钟", "独倚楼")
    )
]


def form(poem: str) -> tuple[int, ...]:
    """The number of characters of each verse."""
    return tuple(len(verse) for verse in re.split("[，。？！；、]", poem) if verse)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a poem a line")
    parser.add_argument("--fast", action="store_true", help="train for seconds, and learn next to nothing")
    arguments = parser.parse_args()
    poems = OWN if arguments.file is None else arguments.file.read_text(encoding="utf-8").splitlines()
    poems = ["".join(poem.split()) for poem in poems]

    held_out, train = poems[::10], [poem for i, poem in enumerate(poems) if i % 10]
    model = textforge.fit(train, tokenizer="char", **({"preset": "tiny"} if arguments.fast else {"minutes": 5}))
    samples = model.sample(200, temperature=0.8, seed=0)
    print("samples:", *samples[:5], sep="\n  ")

    ((usual, _),) = Counter(map(form, train)).most_common(1)
    known = set(train)
    print(f"\nthe usual form has verses of {', '.join(map(str, usual))} characters")
    for name, part in (("samples", samples), ("held-out poems", held_out)):
        kept, copied = (sum(map(test, part)) / len(part) for test in (lambda x: form(x) == usual, known.__contains__))
        print(f"{name:15} {kept:6.1%} have it, {len({*part}) / len(part):6.1%} are distinct, {copied:6.1%} are copies")


if __name__ == "__main__":
    main()
