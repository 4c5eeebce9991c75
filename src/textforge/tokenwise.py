"""A text token by token: how probable each was to the generator, and how real the text looks up to there."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from textforge.decoding import score
from textforge.detector import Detector
from textforge.model import Model
from textforge.text import Bpe, Pretrained, Tokenizer, plain

PLACES = 128
"""Beginnings of the longest text that a detector judges at the most; of longer ones, every second, third, ..."""
CHARACTER = 4
"""Bytes of the longest character."""


@dataclass(frozen=True)
class Token:
    """One token of a text."""

    text: str
    """Its spelling; empty for the end of the text, and for bytes whose character a later token completes."""
    prob: float | None
    """The generator's probability of it, given the tokens before; None where noise drives the generator."""
    real: float | None
    """The detector's probability that a text which begins so is real, where it was asked."""


def read(
    model: Model,
    tokens: Int[Tensor, "N T"],
    *,
    log_probs: Float[Tensor, "N T"] | None = None,
    temperature: float = 1.0,
    detector: Detector | None = None,
) -> list[list[Token]]:
    """Return the real tokens of padded sequences, the end of a text included; a label in front of it is none of them.

    `log_probs` are those of the tokens where they are known already, such as of filled blanks; otherwise the generator
    gives them anew at the temperature.
    """
    generator = model.generator
    if log_probs is None and not generator.noise_dim:
        log_probs = score(generator, tokens, temperature=temperature).log_probs
    probs = torch.full(tokens.shape, math.nan) if log_probs is None else log_probs.exp()
    real = torch.full(tokens.shape, math.nan) if detector is None else opinions(detector, tokens)
    found = []
    for ids, own, opinion in zip(tokens.tolist(), probs.tolist(), real.tolist(), strict=True):
        ids = list(itertools.takewhile(lambda id_: id_ != generator.vocabulary.pad, ids))
        if ids[0] in generator.vocabulary.labels:
            ids, own, opinion = ids[1:], own[1:], opinion[1:]
        known = zip(spellings(model.tokenizer, ids), own, opinion, strict=False)
        found.append([Token(text, _known(prob), _known(judged)) for text, prob, judged in known])
    return found


def opinions(detector: Detector, tokens: Int[Tensor, "N T"]) -> Float[Tensor, "N T"]:
    """Return the probability that a text is real which begins like this one, up to and including each token.

    NaN on padding, and between the places where a text of many tokens is judged; its last token is always one.
    """
    pad = detector.network.pad
    is_real = tokens != pad
    place = torch.arange(tokens.shape[1], device=tokens.device)
    last = is_real.sum(1, keepdim=True) - 1
    every = math.ceil(tokens.shape[1] / PLACES)
    row, end = (is_real & (((place + 1) % every == 0) | (place == last))).nonzero(as_tuple=True)
    beginnings = tokens[row].masked_fill(place > end[:, None], pad)
    found = torch.full(tokens.shape, math.nan, device=tokens.device)
    found[row, end] = detector.logits(beginnings).sigmoid().to(found.dtype)
    return found


def spellings(tokenizer: Tokenizer, ids: Sequence[int]) -> Iterator[str]:
    """Yield how each token is written; of a character that byte pairs share, the last one has it."""
    waiting: list[int] = []
    for i, id_ in enumerate(ids):
        waiting.append(id_)
        text = tokenizer.decode(waiting)
        whole = not (isinstance(plain(tokenizer), Bpe | Pretrained) and text.endswith("\ufffd"))
        if whole or len(waiting) == CHARACTER or i + 1 == len(ids):
            yield text
            waiting = []
        else:
            yield ""


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
