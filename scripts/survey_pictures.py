"""Draw the pictures of docs/survey.md and docs/survey.zh.md: `scripts/survey_pictures.py docs/pictures [NAME ...]`.

Each picture is made of numbers that this package computes from a seed, in a minute or two, and is written twice, with
English and with Chinese words. `--fast` trains next to nothing, to see that all of it runs.
"""

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import survey_drawings
import torch
import vl_convert
from survey_drawings import Rows
from torch import Tensor, nn
from torch.nn import functional as F

import textforge
from textforge import methods, oracles
from textforge.decoding import evaluating, log_prob
from textforge.matching import covariance_matching
from textforge.methods import maskgan
from textforge.mmd import mmd2
from textforge.nets.lstm import LSTMGenerator
from textforge.nets.text_cnn import TextCNN
from textforge.relaxations import gumbel_softmax, write_softly
from textforge.report.read import read
from textforge.returns import monte_carlo_q
from textforge.text import Vocabulary, encode

SEED = 0


def gan(*, fast: bool) -> Rows:
    """Densities and verdicts in the world of two peaks: a game that is held in balance, and one that is not."""
    rows: Rows = []
    for place, (preset, which) in enumerate((("small", -1), ("collapse", 1), ("collapse", -1))):
        with tempfile.TemporaryDirectory() as folder:
            fields = {"rounds": 4, "g_steps": 1} if fast else {}
            out = Path(folder) / "run"
            textforge.fit(data="temperatures", method="gan", preset=preset, seed=SEED, out=out, **fields)
            values = read(out).pictures[which].values
        p, q, d = (np.array(values[name]) for name in ("truth", "generator", "discriminator"))
        best = p / np.maximum(p + q, 1e-12)
        seen = p + q > 1e-4 * p.max()
        for i in range(0, len(p), 2):
            row = {"place": place, "x": values["x"][i], "p": float(p[i]), "q": float(q[i]), "d": float(d[i])}
            rows.append(row | {"best": float(best[i]) if seen[i] else None})
    return rows


def gumbel_gan(*, fast: bool) -> Rows:
    """The same four draws of Gumbel noise on the same logits, at falling temperatures."""
    logits, rows = torch.tensor([[2.0, 1.0, 0.5, 0.0, -0.5, -1.0]]), []
    for draw in range(4):
        for temperature in (5.0, 2.0, 1.0, 0.5, 0.1):
            torch.manual_seed(draw)
            for symbol, value in zip("x+-*/=", gumbel_softmax(logits, temperature)[0].tolist(), strict=True):
                rows.append({"draw": draw + 1, "temperature": temperature, "symbol": symbol, "value": value})
    return rows


def textgan_workshop(*, fast: bool) -> Rows:
    """How sure the words of an untrained generator are, and what is left of the gradient, as the sharpness L grows."""
    method = methods.load("textgan_workshop")
    torch.manual_seed(SEED)
    vocabulary = Vocabulary.create([str(i) for i in range(200)])
    G = method.networks(method.PRESETS["tiny" if fast else "small"], vocabulary, 12)["generator"]
    noise = G.noise(100)
    direction = torch.randn(len(vocabulary))
    rows: Rows = []
    for sharpness in np.logspace(0, 4, 5 if fast else 17).tolist():
        noise = noise.detach().requires_grad_()
        fake, largest = write_softly(G, noise, sharpness)
        (gradient,) = torch.autograd.grad(sum((row @ direction).sum() for row in fake.rows[:1]), noise)
        size = gradient.norm(dim=1).median().item()
        rows.append({"sharpness": sharpness, "largest": largest.mean().item(), "gradient": size})
    return rows


def textgan(*, fast: bool) -> Rows:
    """Two peaks against one, with the same mean and variance: what two moments see of it, and what a kernel sees.

    Both losses are in units of the standard deviation that they have between samples of the same distribution.
    """
    num, repeats = (50, 4) if fast else (500, 40)
    torch.manual_seed(SEED)
    seen: dict[float, Tensor] = {}
    for distance in np.linspace(0, 0.95, 8).tolist():
        found = []
        for _ in range(repeats):
            side = torch.randint(2, (num, 1)) * 2.0 - 1
            real = distance * side + (1 - distance**2) ** 0.5 * torch.randn(num, 1)
            fake = torch.randn(num, 1)
            found.append(torch.stack([covariance_matching(real, fake, ridge=0.0), mmd2(real, fake, (0.5,)).unbiased]))
        seen[distance] = torch.stack(found)
    mean, error = seen[0.0].mean(0), seen[0.0].std(0)
    return [
        {"distance": distance, "loss": name, "value": value}
        for distance, found in seen.items()
        for name, value in zip(("moments", "kernel"), ((found.mean(0) - mean) / error).tolist(), strict=True)
    ]


def seqgan(*, fast: bool) -> Rows:
    """The value of each token of one sequence, by roll-outs and by summing over all of the 729 sequences."""
    torch.manual_seed(SEED)
    vocabulary = Vocabulary.create("abc", unk=False, eos=False)
    G = LSTMGenerator(vocabulary, 6, embedding_dim=4, hidden_dim=8, dropout=0.0, init_std=1.0)
    D = TextCNN(vocabulary, 6, windows=((1, 4), (2, 8), (3, 8)), embedding_dim=4, dropout=0.0).eval()
    nn.init.normal_(D.head.weight)
    every = torch.cartesian_prod(*[torch.arange(3)] * 6)

    def reward(tokens: Tensor) -> Tensor:
        return D(tokens).logits.sigmoid()

    with torch.no_grad():
        probs, values = log_prob(G, every).exp(), reward(every)
    chosen = every[int(values.argmax())]
    exact = []
    for t in range(1, 7):
        going_on = (every[:, :t] == chosen[:t]).all(1)
        exact.append(float((probs[going_on] * values[going_on]).sum() / probs[going_on].sum()))
    rows: Rows = []
    for number in (1, 4, 16):
        drawn = torch.cat([monte_carlo_q(G, chosen[None], reward, number) for _ in range(5 if fast else 100)])
        for t, (mean, std) in enumerate(zip(drawn.mean(0).tolist(), drawn.std(0).tolist(), strict=True)):
            row = {"number": number, "position": t + 1, "mean": mean, "exact": exact[t]}
            rows.append(row | {"low": mean - std, "high": mean + std})
    return rows


def captions(number: int) -> list[str]:
    """Return sentences of captions-small, always the same."""
    return oracles.load("captions-small").sample(number, seed=SEED)


def learned(method: str, *, fast: bool, out: Path | None = None, **fields: Any) -> Any:
    """Train a small model on captions; `fields` are those of the preset `small` that make it quick."""
    settings: dict[str, Any] = {"method": method, "seed": SEED, "tokenizer": "word", "out": out}
    if fast:
        return textforge.fit(captions(64), preset="tiny", **settings)
    return textforge.fit(captions(4000), preset="small", **settings, **fields)


def rows_of(model: Any, *, fast: bool) -> Iterator[Tensor]:
    """Yield short sentences that the model has not seen, as rows of ids."""
    texts = [text for text in captions(5000)[4000:] if 6 <= len(text.split()) <= 10]
    longest = model.generator.max_length
    corpus, _ = encode(texts, model.tokenizer, max_length=longest)
    for i in range(len(corpus)):
        yield corpus.batch(np.array([i]), longest).tokens


def fillings(*, fast: bool) -> Rows:
    """Sentences with blanks that the generator has filled, and the discriminator's opinion of each filling."""
    sizes = {"hidden_dim": 96, "lm_steps": 100, "mle_steps": 500, "d_pretrain_steps": 200, "rounds": 10}
    model = learned("maskgan", fast=fast, patience=None, **sizes)
    G, D, config = model.generator, model.networks["discriminator"], maskgan.Config(mask="bernoulli", present_rate=0.6)
    torch.manual_seed(SEED)
    rows: Rows = []
    for line, tokens in zip(range(6), rows_of(model, fast=fast), strict=False):
        play = maskgan.filled(config, G, tokens)
        with evaluating(D):
            opinion = D(play.fake, play.masked).logits.sigmoid()[0].tolist()
        words = model.tokenizer.vocabulary.decode(play.fake[0].tolist())
        truth = model.tokenizer.vocabulary.decode(play.real[0].tolist())
        for place, word in enumerate(words):
            blank = bool(play.blank[0, place])
            same = place < len(truth) and truth[place] == word
            row = {"line": line, "place": place, "word": word, "truth": None if same or not blank else truth[place]}
            rows.append(row | {"opinion": opinion[place] if blank else None})
    return rows


def goals(*, fast: bool) -> Rows:
    """How far a sentence has moved the judge's features along each goal of the Manager, from there to each word."""
    sizes = {"pretrain_steps": 300, "pretrain_every": 100, "rounds": 5, "mle_every": 0, "patience": None}
    model = learned("leakgan", fast=fast, embedding_dim=64, hidden_dim=64, num_rollouts=1, negatives=256, **sizes)
    G, tokens = model.generator, next(rows_of(model, fast=fast))
    words = model.tokenizer.vocabulary.decode(tokens[0].tolist())
    with torch.no_grad():
        features = G.leaked(tokens)
        aims = G.manager(features[:, :-1])[0]
        ways = features[0, None, 1:] - features[0, :-1, None]  # from in front of word t to behind word s
        cosines = F.cosine_similarity(aims[:, None], ways, dim=-1)
    return [
        {"goal": t, "word": s, "name": words[s], "cosine": float(cosines[t, s]), "in": s - t < G.step_size}
        for t in range(len(words))
        for s in range(t, len(words))
    ]


def temperature(*, fast: bool) -> Rows:
    """Sense and variety of samples over temperatures: of maximum likelihood, and after the adversarial rounds."""
    sizes = {"embedding_dim": 96, "hidden_dim": 96, "pretrain_steps": 600, "pretrain_lr": 4e-3, "patience": None}
    game = {"rounds": 30, "num_rollouts": 1, "g_lr": 3e-4, "negatives": 256, "d_windows": ((1, 20), (2, 40), (3, 40))}
    language, number = oracles.load("captions-small"), 64 if fast else 1000
    with tempfile.TemporaryDirectory() as folder:
        learned("seqgan", fast=fast, out=Path(folder) / "run", **sizes, **game)
        rows: Rows = []
        for name, checkpoint in (("mle", "pretrain"), ("game", "last")):
            model = textforge.load(Path(folder) / "run", checkpoint)
            for t in (0.5, 1.0) if fast else (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2):
                texts = model.sample(number, temperature=t, seed=SEED)
                rows.append({"model": name, "temperature": t, **shares(texts, language)})
    real = shares(language.sample(number, seed=SEED + 1), language)
    return [*rows, {"model": "real", "temperature": None, **real}]


def shares(texts: list[str], language: Any) -> dict[str, float]:
    """Return which part of the texts the language knows, and which part is different."""
    possible = language.log_prob(texts) > -np.inf
    return {"valid": float(possible.mean()), "distinct": len(set(texts)) / len(texts)}


PICTURES = {
    "gan": (gan, survey_drawings.gan),
    "gumbel_gan": (gumbel_gan, survey_drawings.gumbel_gan),
    "textgan_workshop": (textgan_workshop, survey_drawings.textgan_workshop),
    "textgan": (textgan, survey_drawings.textgan),
    "seqgan": (seqgan, survey_drawings.seqgan),
    "maskgan": (fillings, survey_drawings.maskgan),
    "leakgan": (goals, survey_drawings.leakgan),
    "temperature": (temperature, survey_drawings.temperature),
}
"""Each by its name: what computes it, and what draws it."""


def drawn(name: str, *, fast: bool) -> dict[str, str]:
    """Return a picture as SVG, by the name of its file: with English words, and with Chinese."""
    compute, draw = PICTURES[name]
    rows = compute(fast=fast)
    return {
        f"{name}{ending}.svg": vl_convert.vegalite_to_svg(survey_drawings.carded(draw(rows, partial(word, chinese))))
        for ending, chinese in (("", False), (".zh", True))
    }


def word(chinese: bool, english: str, other: str) -> str:
    """Choose between the words of the two languages."""
    return other if chinese else english


def main() -> None:
    """Write the pictures into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=[*PICTURES], metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--fast", action="store_true", help="train next to nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.names:
        for file, text in drawn(name, fast=arguments.fast).items():
            (arguments.folder / file).write_text(text, encoding="utf-8")
            print(file, f"{len(text.encode()) / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
