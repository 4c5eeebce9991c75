"""Captions, or any sentences: train, sample, and print the samples' numbers beside those of real text.

    python examples/captions.py my.txt

My.txt has a sentence a line. Without a file the embedded language of captions stands in.
"""

import argparse
from pathlib import Path

import textforge
from textforge.oracles import load

NUMBERS = ("bleu_4", "self_bleu_4", "reverse_lm_score", "unique", "exact_copy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a sentence a line")
    parser.add_argument("--fast", action="store_true", help="train for seconds, and learn next to nothing")
    arguments = parser.parse_args()
    if arguments.file is None:
        texts = load("captions").sample(300 if arguments.fast else 10_000, seed=0)
    else:
        texts = arguments.file.read_text(encoding="utf-8").splitlines()

    held_out, train = texts[::10], [text for i, text in enumerate(texts) if i % 10]
    model = textforge.fit(train, **({"preset": "tiny"} if arguments.fast else {"minutes": 5}))
    samples = model.sample(len(held_out), seed=0)
    print("samples:", *samples[:5], sep="\n  ")

    # Half of the held-out text is the reference for both, so that real text has an honest value of its own.
    references, real = held_out[::2], held_out[1::2]
    print(f"\n{'':18}{'samples':>9}{'real text':>11}")
    columns = [textforge.evaluate(part, references, train=train).metrics for part in (samples[: len(real)], real)]
    for name in NUMBERS:
        print(f"{name:18}{columns[0][name]:9.3f}{columns[1][name]:11.3f}")


if __name__ == "__main__":
    main()
