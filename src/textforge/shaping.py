"""Other distributions from a trained generator: at a temperature, or truncated to its likeliest tokens.

Each function wraps a generator into a generator, so that all that works with one works with the other,
and wrappers can be put around each other. The outer one sees what the inner one makes: the usual truncation at a
temperature is `top_p(tempered(generator, 0.7), 0.9)`, drawn from at temperature 1. A temperature given to `sample`
applies to what all wrappers have left; for `top_k` the order makes no difference.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from textforge.decoding import Generator, State, require_temperature
from textforge.errors import CallError

LIKELIEST = 64
"""How many tokens are looked at for a nucleus, and all where these are not enough: sorting them takes long."""


class _Shaped(nn.Module):
    """A generator whose logits go through a function; a module, so that modes and devices reach the one inside."""

    def __init__(self, generator: Generator, shape: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = generator
        self.shape = shape
        self.vocabulary = generator.vocabulary
        self.max_length = generator.max_length
        self.noise_dim = generator.noise_dim

    def initial_state(self, batch: int, context: Any = None) -> State:
        """Return the state of the generator inside."""
        return self.inner.initial_state(batch, context)

    def step(self, token: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Step the generator inside and shape its logits."""
        logits, state = self.inner.step(token, state)
        return self.shape(logits), state


def tempered(generator: Generator, temperature: float) -> Generator:
    """Divide the logits by a temperature: what `sample` does with the temperature it is given, as a generator."""
    require_temperature(temperature)
    return _Shaped(generator, lambda logits: logits / temperature)


def top_k(generator: Generator, k: int) -> Generator:
    """Keep the k likeliest tokens of each step (Fan et al., ACL 2018), and whatever ties with the last of them.

    With k = 1 the generator is greedy.
    """
    if k < 1:
        raise CallError(f"the {k} likeliest tokens are none to draw from; keep 1 or more")

    def keep(logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        least = logits.topk(min(k, logits.shape[1])).values[:, -1:]
        return logits.masked_fill(logits < least, -torch.inf)

    return _Shaped(generator, keep)


def top_p(generator: Generator, p: float) -> Generator:
    """Keep the nucleus of each step: the fewest likeliest tokens with probability p together (Holtzman et al., 2020).

    The token with which their sum reaches p is kept, and whatever ties with it. With p = 1 all tokens stay.
    """
    if not 0 < p <= 1:
        raise CallError(f"the nucleus must have a probability above 0 and at most 1, not {p}; 0.9 is common")

    def keep(logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        probs = logits.softmax(1)
        likeliest = probs.topk(min(LIKELIEST, probs.shape[1])).values
        if (likeliest.sum(1) < p).any():
            likeliest = probs.sort(1, descending=True).values
        last = (likeliest.cumsum(1) < p).sum(1, keepdim=True).clamp(max=likeliest.shape[1] - 1)
        return logits.masked_fill(probs < likeliest.gather(1, last), -torch.inf)

    return generator if p == 1 else _Shaped(generator, keep)
