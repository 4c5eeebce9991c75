"""Planted secrets: does a model know, or say, what stood once in its training text and nowhere else?

A canary is a text with a random part, written in braces: `the code of anna is {3 1 4 1}`. It is put into the training
text without the braces. Afterwards the model's likelihood of it is ranked among texts with the random part drawn anew
(Carlini et al., 2019), and the samples are searched for the random parts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textforge.errors import UserError
from textforge.evaluation import text_log_prob
from textforge.metrics.audit import exposure
from textforge.metrics.counts import Split
from textforge.model import Model
from textforge.text import encode

FILLS = 1000
_MARKED = re.compile(r"([^{}]*)\{([^{}]+)\}([^{}]*)")


@dataclass(frozen=True)
class Canary:
    """A text around a secret."""

    before: str
    secret: str
    after: str

    @property
    def text(self) -> str:
        """What is put into the training text."""
        return self.before + self.secret + self.after

    def filled(self, secret: str) -> str:
        """Return the same text around another secret."""
        return self.before + secret + self.after


def read(lines: Sequence[str]) -> list[Canary]:
    """Read canaries, one a line with one part in braces; raises UserError for other lines."""
    found = []
    for number, line in enumerate(lines, start=1):
        if (match := _MARKED.fullmatch(line)) is None:
            raise UserError(f"canary {number}, {line[:40]!r}, needs one part in braces: the code is {{3 1 4 1}}")
        found.append(Canary(*match.groups()))
    if not found:
        raise UserError("there are no canaries; give a text a line, its random part in braces")
    return found


def judge(model: Model, canaries: Sequence[Canary], samples: Sequence[str], *, seed: int = 0) -> dict[str, float]:
    """Return `exposure` and its company in bits, and `canaries_said`, the share of samples that hold a secret.

    A secret is filled anew by as many symbols, each drawn from all symbols of all secrets. A generator driven by noise
    has no likelihood to rank by; of it only `canaries_said` is told.
    """
    tokenizer = model.tokenizer
    split = tokenizer.split
    said = {"canaries_said": share_said(canaries, samples, split)}
    if model.generator.noise_dim:
        return said
    rng = np.random.default_rng(seed)
    pool = sorted({symbol for canary in canaries for symbol in split(canary.secret)})
    if len(pool) < 2:
        raise UserError("the secrets are made of one symbol, so none can be drawn anew; use several, such as digits")
    texts = []
    for canary in canaries:
        size = len(split(canary.secret))
        drawn = rng.choice(pool, (FILLS, size)).tolist()
        fills = [tokenizer.decode(tokenizer.vocabulary.encode(symbols)) for symbols in drawn]
        texts += [canary.text, *(canary.filled(fill) for fill in fills)]
    corpus, counts = encode(texts, tokenizer, max_length=None)
    if counts.longest > model.generator.max_length + 1 - bool(model.labels):
        raise UserError(f"a canary is longer than the {model.generator.max_length} tokens that the model can write")
    scores = text_log_prob(model.generator, corpus).reshape(len(canaries), FILLS + 1)
    return exposure(scores[:, 0], scores[:, 1:]) | said


def share_said(canaries: Sequence[Canary], samples: Sequence[str], split: Split) -> float:
    """Return the share of samples in which the symbols of some secret stand behind one another."""
    secrets = {tuple(split(canary.secret)) for canary in canaries}
    sizes = {len(secret) for secret in secrets}

    def tells(sample: str) -> bool:
        symbols = tuple(split(sample))
        return any(
            symbols[start : start + size] in secrets for size in sizes for start in range(len(symbols) - size + 1)
        )

    return sum(map(tells, samples)) / max(len(samples), 1)
