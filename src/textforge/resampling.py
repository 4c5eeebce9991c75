"""Better samples from a generator that stays as it is: draw more than are wanted, and choose by a detector.

With logits log p(x) / g(x), `resample` and `reject` draw from g(x) exp(logit(x)) / Z: real text where the detector is
perfect, and nearer to it than g as far as the detector sees (Deng et al., 2020). `rerank` takes what looks best, and
pays with diversity.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from textforge.decoding import Decoded
from textforge.errors import CallError, WorkError

Draw = Callable[[int], Decoded]
"""Draws as many sequences from the generator as it is asked for."""
Logits = Callable[[Int[Tensor, "B T"]], Float[Tensor, " B"]]
"""The detector's opinion of whole sequences."""

PILOT = 1000
"""Sequences by which `reject` learns how large weights get."""
PATIENCE = 1000
"""Sequences drawn for each that is wanted, above which `reject` gives up."""


def resample(draw: Draw, logits: Logits, num: int, *, candidates: int = 16) -> Decoded:
    """Draw each sequence as one of its own `candidates`, with odds exp(logit): sampling-importance-resampling.

    Sequences are independent of each other. Their distribution nears g(x) exp(logit(x)) / Z as candidates grow: its
    bias is of the order of the weights' variance over `candidates`.
    """
    return _choose(draw, num, candidates, lambda pool: torch.multinomial(logits(pool).view(num, -1).softmax(1), 1))


def rerank(draw: Draw, logits: Logits, num: int, *, candidates: int = 16) -> Decoded:
    """Draw each sequence as the most real of its own `candidates`."""
    return _choose(draw, num, candidates, lambda pool: logits(pool).view(num, -1).argmax(1, keepdim=True))


def _choose(
    draw: Draw, num: int, candidates: int, choice: Callable[[Int[Tensor, "NK T"]], Int[Tensor, "N 1"]]
) -> Decoded:
    if candidates < 2:
        raise CallError(f"there is nothing to choose among {candidates} candidates; ask for 2 or more")
    pool = draw(num * candidates)
    first = torch.arange(num, device=pool.tokens.device) * candidates
    return pool[first + choice(pool.tokens).squeeze(1)]


@dataclass(frozen=True)
class Rejected:
    """Accepted sequences, the share of all drawn that were accepted, and the share that deserved a weight above 1."""

    decoded: Decoded
    accepted: float
    clipped: float


def reject(draw: Draw, logits: Logits, num: int) -> Rejected:
    """Draw sequences until `num` are accepted, each with the probability exp(logit - bound).

    The bound is the largest logit of `PILOT` sequences, which are drawn anew for the purpose. A larger one is accepted
    for certain, which is less than it deserves: `clipped` says how often. Where no weight is above the bound the draws
    are exactly those of g(x) exp(logit(x)) / Z. Raises WorkError where so few are accepted that it would not end.
    """
    pilot = logits(draw(PILOT).tokens)
    bound = pilot.max()
    if (expected := float((pilot - bound).exp().mean())) * PATIENCE < 1:
        raise WorkError(f"one of {1 / expected:,.0f} sequences would be accepted; use resample, which always ends")
    kept: list[Decoded] = []
    drawn = found = clipped = 0
    while found < num:
        if drawn > PATIENCE * (num + 1):
            raise WorkError(f"of {drawn:,} sequences {found:,} were accepted; use resample, which always ends")
        pool = draw(max(num - found, PILOT))
        chance = logits(pool.tokens) - bound
        rows = (torch.rand_like(chance).log() < chance).nonzero().squeeze(1)
        drawn, found, clipped = drawn + len(chance), found + len(rows), clipped + int((chance > 0).sum())
        kept.append(pool[rows])
    return Rejected(Decoded.joined(kept)[torch.arange(num, device=bound.device)], found / drawn, clipped / drawn)
