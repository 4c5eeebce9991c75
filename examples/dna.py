"""Genes: which samples can be read as proteins, freely drawn, and drawn under the condition that they can.

    python examples/dna.py genes.txt

Genes.txt has a coding sequence a line, in A, C, G and T.
"""

import argparse
import random
import re
from pathlib import Path

import textforge
from textforge.constraints import matching

STOPS = ("TAA", "TAG", "TGA")
CODONS = ("GCT", "GCC", "AAA", "GAA", "CTG", "TTC", "GGT", "GAT")
INNER = "(?:[ACG][ACGT][ACGT]|T[CT][ACGT]|TA[CT]|TG[CGT])"  # every codon that does not stop
GENE = f"ATG{INNER}*(?:{'|'.join(STOPS)})"


def own(num: int) -> list[str]:
    """Made-up genes of few codons, which prefer to follow themselves."""
    chance = random.Random(0)
    genes = []
    for _ in range(num):
        codons = [chance.choice(CODONS)]
        while chance.random() < 0.85 and len(codons) < 12:
            codons.append(codons[-1] if chance.random() < 0.3 else chance.choice(CODONS))
        genes.append("ATG" + "".join(codons) + chance.choice(STOPS))
    return genes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a gene a line")
    parser.add_argument("--fast", action="store_true", help="train for seconds, and learn next to nothing")
    arguments = parser.parse_args()
    genes = own(400 if arguments.fast else 4000) if arguments.file is None else arguments.file.read_text().split()

    held_out, train = genes[::10], [gene for i, gene in enumerate(genes) if i % 10]
    model = textforge.fit(train, tokenizer="char", **({"preset": "tiny"} if arguments.fast else {"minutes": 10}))
    parts = {
        "held-out genes": held_out,
        "drawn freely": model.sample(200, seed=0),
        "drawn as genes": model.draw(100, seed=0, constraint=matching(model.tokenizer, GENE)).texts,
    }
    for name, part in parts.items():
        letters = "".join(part)
        read, gc = (sum(map(bool, (re.fullmatch(GENE, gene) for gene in part))), sum(map(letters.count, "GC")))
        print(f"{name:15} {read / len(part):6.1%} from start to stop; GC {gc / len(letters):.1%}; ", end="")
        print(f"{len(letters) / len(part):.0f} letters on average")


if __name__ == "__main__":
    main()
