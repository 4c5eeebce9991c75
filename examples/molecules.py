"""Molecules as SMILES: how many samples are valid, distinct and new.

    python examples/molecules.py smiles.txt

Smiles.txt has a molecule a line. With RDKit (`pip install 'textforge[chem]'`) a sample is valid where RDKit reads it;
without, where its symbols, brackets, branches and rings fit, which says nothing of valences.
"""

import argparse
import itertools
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import textforge

OWN = [
    f"{head}{middle}{tail}"
    for head, middle, tail in itertools.product(
        ("C", "CC", "CCC", "CC(C)", "c1ccccc1", "C1CCCCC1"),
        ("", "C", "N", "O", "C(=O)N", "C(=O)O"),
        ("C", "CC", "CCO", "CCN"),
    )
]
SYMBOL = re.compile(r"\[[^\[\]]+\]|Br|Cl|[BCNOPSFIbcnops]|[-=#$:/\\.()]|%\d\d|\d")


def looks_valid(smiles: str) -> bool:
    """Whether all symbols are known, branches close and follow an atom, and each ring is opened and closed."""
    symbols = SYMBOL.findall(smiles)
    if not symbols or "".join(symbols) != smiles:
        return False
    depth, before = 0, "("
    for symbol in symbols:
        depth += {"(": 1, ")": -1}.get(symbol, 0)
        if depth < 0 or (before in set("(-=#$:/\\.") and symbol in {"(", ")"}):
            return False
        before = symbol
    rings = Counter(symbol for symbol in symbols if symbol[0] in "%0123456789")
    return not depth and before not in set("(-=#$:/\\.") and all(count % 2 == 0 for count in rings.values())


def judge() -> tuple[str, Callable[[str], bool]]:
    """What decides whether a molecule is valid, by name."""
    try:
        from rdkit import Chem, RDLogger
    except ImportError:
        return "their form alone; RDKit is not installed", looks_valid
    RDLogger.DisableLog("rdApp.*")
    return "RDKit", lambda smiles: Chem.MolFromSmiles(smiles) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a molecule a line")
    parser.add_argument("--fast", action="store_true", help="train for seconds, and learn next to nothing")
    arguments = parser.parse_args()
    molecules = OWN if arguments.file is None else arguments.file.read_text(encoding="utf-8").split()

    held_out, train = molecules[::10], [text for i, text in enumerate(molecules) if i % 10]
    model = textforge.fit(train, tokenizer="char", **({"preset": "tiny"} if arguments.fast else {"minutes": 10}))
    by, valid = judge()
    known = set(train)
    print(f"validity by {by}")
    for name, part in (("samples", model.sample(1000, seed=0)), ("held-out molecules", held_out)):
        good = [smiles for smiles in part if smiles and valid(smiles)]
        new = {*good} - known
        print(
            f"{name:19} {len(good) / len(part):6.1%} are valid; of all {len({*good}) / len(part):6.1%} are valid and ",
            end="",
        )
        print(f"distinct, {len(new) / len(part):6.1%} also new")


if __name__ == "__main__":
    main()
