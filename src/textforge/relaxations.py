"""From logits to distributions that gradients can go through: what a relaxed generator emits in place of a token."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from textforge.relaxed import NoiseGenerator, Relaxed, decode_relaxed
from textforge.text import Vocabulary


def gumbel_softmax(
    logits: Float[Tensor, "B V"], temperature: float, *, straight_through: bool = False
) -> Float[Tensor, "B V"]:
    """Draw softmax((logits + g) / temperature) with g standard Gumbel (Kusner and Hernandez-Lobato 2016, eq. 4).

    Whatever the temperature, the largest entry is a draw from softmax(logits).
    """
    # -ln E is Gumbel where E is exponential, and unlike -ln(-ln U) never infinite.
    gumbel = -torch.empty_like(logits).exponential_().clamp(min=torch.finfo(logits.dtype).tiny).log()
    soft = ((logits + gumbel) / temperature).softmax(-1)
    return harden(soft) if straight_through else soft


def soft_argmax(logits: Float[Tensor, "B V"], sharpness: float) -> Float[Tensor, "B V"]:
    """Return softmax(L logits), the argmax as the sharpness L grows (Zhang, Gan and Carin 2016, eq. 8)."""
    return (sharpness * logits).softmax(-1)


def harden(soft: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
    """Return the one-hot of the largest entry with the gradient of the soft row: the straight-through estimator."""
    hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach())  # the bracket is exactly zero


def write_softly(
    G: NoiseGenerator,
    noise: Float[Tensor, "B Z"],
    sharpness: float,
    *,
    threshold: float = 0.0,
    straight_through: bool = False,
) -> tuple[Relaxed, Float[Tensor, " N"]]:
    """Write sentences by `soft_argmax`; return also the largest probability of each of their N words, padding left out.

    Logits of at most `threshold` in absolute value count as 0 (Zhang, Gan and Carin 2016, below eq. 8). With
    `straight_through` words are hardened; the probabilities are those of before.
    """
    largest: list[Tensor] = []

    def relax(logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        if threshold:
            logits = logits.where(logits.abs() > threshold, 0)
        soft = soft_argmax(logits, sharpness)
        largest.append(soft.detach().amax(1))
        return harden(soft) if straight_through else soft

    fake = decode_relaxed(G, noise, relax)
    written = fake.tokens[:, : len(largest)] != G.vocabulary.pad
    return fake, torch.stack(largest, 1)[written]


def soften(
    tokens: Int[Tensor, "B T"],
    vocabulary: Vocabulary,
    confidence: float,
    relax: Callable[[Float[Tensor, "B V"]], Float[Tensor, "B V"]],
) -> Relaxed:
    """Put real sequences into the form of relaxed generated ones (Kusner and Hernandez-Lobato 2016, section 4).

    `relax` is given logits whose softmax is `confidence` at the true symbol and uniform over the V - 1 others. The
    symbol behind the end of a text is `eos` again and again, the blank of the paper: each is relaxed like any other,
    so a sequence may come out shorter or longer, and as in `decode_relaxed`, rows behind the first whose largest entry
    is `eos` are one-hot `pad`.
    """
    size, dtype = vocabulary.vocab_size, torch.get_default_dtype()
    others = math.log((1 - confidence) / (size - 1)) if confidence < 1 else -math.inf
    rows = []
    for symbols in tokens.unbind(1):
        if vocabulary.eos is not None:
            symbols = symbols.masked_fill(symbols == vocabulary.pad, vocabulary.eos)
        logits = torch.full((len(tokens), size), others, dtype=dtype, device=tokens.device)
        relaxed = relax(logits.scatter(1, symbols[:, None], math.log(confidence)))
        rows.append(F.pad(relaxed, (0, len(vocabulary) - size)))
    return _ended(rows, vocabulary)


def confuse(
    sequences: Relaxed,
    vocabulary: Vocabulary,
    confidence: float,
    relax: Callable[[Float[Tensor, "B V"]], Float[Tensor, "B V"]],
) -> Relaxed:
    """Let generated sequences go through the channel of `soften`: a symbol stays with probability `confidence`.

    Otherwise it becomes one of the V - 1 others, each alike, a blank too.
    Instance noise (Sonderby et al. 2016): where both players' sequences go through the same channel, only equal
    distributions come out of it equal, and the two always overlap. Rows that stay as they are keep their gradient.
    """
    size = vocabulary.vocab_size
    rows = []
    for row in sequences.rows:
        largest = row.argmax(1, keepdim=True)
        if vocabulary.eos is not None:
            blank = largest == vocabulary.pad
            row = torch.where(blank, F.one_hot(largest.new_tensor(vocabulary.eos), row.shape[1]).to(row.dtype), row)
            largest = largest.masked_fill(blank, vocabulary.eos)
        others = relax(row.new_zeros(len(row), size).scatter(1, largest, -torch.inf))
        stays = torch.rand(len(row), 1, dtype=row.dtype, device=row.device) < confidence
        rows.append(torch.where(stays, row, F.pad(others, (0, row.shape[1] - size))))
    return _ended(rows, vocabulary)


def _ended(rows: Sequence[Float[Tensor, "B E"]], vocabulary: Vocabulary) -> Relaxed:
    """Put one-hot `pad` behind the first row of each sequence whose largest entry is `eos`."""
    if vocabulary.eos is not None:
        pad = F.one_hot(torch.tensor(vocabulary.pad, device=rows[0].device), len(vocabulary)).to(rows[0].dtype)
        going = torch.ones_like(rows[0][:, :1], dtype=torch.bool)
        ended = []
        for row in rows:
            ended.append(torch.where(going, row, pad))
            going = going & (ended[-1].argmax(1, keepdim=True) != vocabulary.eos)
        rows = ended
    return Relaxed(tuple(rows), torch.stack([row.argmax(1) for row in rows], 1))


def annealed(start: float, end: float, steps: int, step: int) -> float:
    """Return the value at a step, counted from 0, of what goes linearly from `start` to `end` in the first `steps`."""
    return end if step >= steps - 1 else start + (end - start) * step / (steps - 1)
