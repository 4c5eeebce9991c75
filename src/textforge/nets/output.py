"""From hidden vectors to log-probabilities, where the logits of all tokens at once would be too many."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from textforge.decoding import rows_at_once


def token_log_probs(
    tokens: Int[Tensor, "B T"],
    real: Bool[Tensor, "B T"],
    hidden: Float[Tensor, "N H"],
    logits: Callable[[Float[Tensor, "n H"]], Float[Tensor, "n V"]],
    vocab_size: int,
) -> Float[Tensor, "B T"]:
    """Return the log-probability of each of the N real tokens, in nats, and 0 elsewhere.

    `logits` is most of the work of a language model: padding does not go through it, and its results stay in the cache.
    """
    size = rows_at_once(vocab_size, tokens.device)
    parts = zip(hidden.split(size), tokens[real].split(size), strict=True)
    losses = [F.cross_entropy(logits(part), target, reduction="none") for part, target in parts]
    log_probs = hidden.new_zeros(tokens.shape)
    log_probs[real] = -torch.cat(losses)
    return log_probs
