"""Compare MaskGAN's fills with MaskMLE's, on the same blanks of fresh texts, judged by the oracle.

    python benchmarks/infilling.py RUN [RUN ...] [--num 2000] [--mask contiguous|bernoulli] [--seed 0]

Of every RUN of `textforge train maskgan` on an embedded language, the generator is taken as MaskMLE left it, and as it
is after the game. Both fill the same blanks, drawn as in training, of the same texts, which no run has seen. A row
tells the share of filled texts that are in the language, their mean -log P (nats a text, over the valid ones), and the
share that is the true text again; the last row the differences text by text, those of -log P where both are valid.
All with their standard errors.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from textforge import oracles
from textforge.decoding import infill
from textforge.methods import maskgan
from textforge.model import load_text_model, stored_config
from textforge.text import encode

SEED = 20_000
"""Of the fresh texts; training, validation, test and divergences use others."""


def mean(values: np.ndarray, *, signed: bool = False) -> str:
    if len(values) < 2:
        return "-"
    error = values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.4f} +- {error:.4f}" if signed else f"{values.mean():.4f} +- {error:.4f}"


def row(name: str, *cells: str) -> None:
    print(f"{name:24}" + "".join(f"{cell:>24}" for cell in cells))


def compare(run: Path, arguments: argparse.Namespace) -> None:
    models = {"MaskMLE": load_text_model(run, "maskmle"), "MaskGAN": load_text_model(run)}
    settings, limit = models["MaskGAN"].settings, models["MaskGAN"].generator.max_length
    oracle = oracles.load(settings["data"])
    trained = stored_config(settings)
    config = replace(trained, mask=arguments.mask or trained.mask, whole_rate=0.0)
    texts = oracle.sample(arguments.num, SEED + arguments.seed)
    corpus, _ = encode(texts, oracle.tokenizer, max_length=limit)
    tokens = corpus.batch(np.arange(len(corpus)), limit).tokens
    torch.manual_seed(arguments.seed)
    masked = maskgan.with_blanks(config, tokens, oracle.tokenizer.vocabulary)
    blanks = int((masked == oracle.tokenizer.vocabulary.mask).sum())
    print(f"\n{run}: {len(texts):,} texts of {oracle.name}, {blanks:,} blanks")
    row("", "valid", "-log P if valid", "as the truth was")
    nll, exact = {"true": -oracle.log_prob(texts)}, {}
    for name, model in models.items():
        torch.manual_seed(arguments.seed)
        parts = [infill(model.generator, part).tokens for part in masked.split(500)]
        filled = [oracle.tokenizer.decode(ids) for ids in torch.cat(parts).tolist()]
        nll[name] = -oracle.log_prob(filled)
        exact[name] = np.array([ours == true for ours, true in zip(filled, texts, strict=True)], float)
    for name, values in nll.items():
        valid = np.isfinite(values)
        row(name, mean(valid.astype(float)), mean(values[valid]), mean(exact[name]) if name in exact else "")
    valid = {name: np.isfinite(values) for name, values in nll.items()}
    both = valid["MaskGAN"] & valid["MaskMLE"]
    row(
        "MaskGAN - MaskMLE",
        mean(valid["MaskGAN"].astype(float) - valid["MaskMLE"], signed=True),
        mean(nll["MaskGAN"][both] - nll["MaskMLE"][both], signed=True),
        mean(exact["MaskGAN"] - exact["MaskMLE"], signed=True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--num", type=int, default=2000, help="texts")
    parser.add_argument("--mask", choices=["contiguous", "bernoulli"], help="kind of blanks; by default the run's own")
    parser.add_argument("--seed", type=int, default=0, help="of texts, blanks and fills")
    arguments = parser.parse_args()
    for run in arguments.runs:
        compare(run, arguments)


if __name__ == "__main__":
    main()
