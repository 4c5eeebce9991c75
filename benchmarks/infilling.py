"""Compare MaskGAN's fills with MaskMLE's, on the same blanks of fresh texts, judged by the oracle.

    python benchmarks/infilling.py RUN [RUN ...] [--num 2000] [--mask contiguous|bernoulli] [--seed 0]

Of every RUN of `textforge train maskgan` on an embedded language, the generator is taken as MaskMLE left it, and as it
is after the game. Both fill the same blanks, drawn as in training, of the same fresh texts, without those that the run
was trained on; it is told how many these are. A row tells the share of filled texts that are in the language, their
mean -log P (nats a text, over the valid ones), and the share that is the true text again; the last row the differences
text by text, those of -log P where both are valid. All with their standard errors.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from textforge.decoding import infill
from textforge.errors import CallError, UserError, WorkError
from textforge.methods import maskgan
from textforge.model import load_text_model, stored_config
from textforge.options import Options
from textforge.task import load_task
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
    final = load_text_model(run)
    settings, limit = final.settings, final.generator.max_length
    if settings["method"] != "maskgan":
        raise UserError(f"{run} is a run of {settings['method']}; give one of maskgan")
    models = {"MaskMLE": load_text_model(run, "maskmle"), "MaskGAN": final}
    task = load_task(Options.of(settings))
    oracle = task.oracle
    if oracle is None:
        raise UserError(f"{run} has learnt {settings['data']}, which no oracle can judge; train on captions-small")
    trained = stored_config(settings)
    config = replace(trained, mask=arguments.mask or trained.mask, whole_rate=0.0)
    seen = set(task.texts.train)
    texts = [text for text in oracle.sample(arguments.num, SEED + arguments.seed) if text not in seen]
    if not texts:
        raise UserError(f"{run} was trained on all {arguments.num:,} texts that were drawn; draw more with --num")
    corpus, _ = encode(texts, oracle.tokenizer, max_length=limit)
    tokens = corpus.batch(np.arange(len(corpus)), limit).tokens
    torch.manual_seed(arguments.seed)
    masked = maskgan.with_blanks(config, tokens, oracle.tokenizer.vocabulary)
    blanks = int((masked == oracle.tokenizer.vocabulary.mask).sum())
    left_out = f"{arguments.num - len(texts):,} that it was trained on left out"
    print(f"\n{run}: {len(texts):,} texts of {oracle.name} ({left_out}), {blanks:,} blanks")
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
    try:
        if arguments.num < 1:
            raise CallError(f"--num must be at least 1, not {arguments.num}")
        for run in arguments.runs:
            compare(run, arguments)
    except (UserError, WorkError) as error:
        sys.exit(f"infilling: {error}")


if __name__ == "__main__":
    main()
