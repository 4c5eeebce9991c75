"""The arithmetic language x([+-*/]x)* of Kusner and Hernandez-Lobato (2016), "GANs for Sequences of Discrete Elements
with the Gumbel-softmax Distribution", section 4: S -> x | S+S | S-S | S*S | S/S, at most 12 characters.

The language is regular and its lengths are odd, so a string has 0 to 5 operators and there are 4^0 + ... + 4^5 = 1,365
of them. The paper gives no probabilities. Ours: the number of operators is uniform over 0 .. 5, then each operator is
uniform over the four, independently. With `eos` the longest string has the paper's 12 positions.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from textforge.text.tokenizers import Char
from textforge.text.vocabulary import Vocabulary

OPERATORS = "+-*/"
MAX_OPERATORS = 5
_EXPRESSION = re.compile(rf"x(?:[{re.escape(OPERATORS)}]x){{0,{MAX_OPERATORS}}}")


@dataclass(frozen=True)
class Arithmetic:
    """Sums, differences, products and quotients of x; the mode of a string is its number of operators."""

    name: ClassVar[str] = "arithmetic"
    max_length: ClassVar[int] = 2 * MAX_OPERATORS + 2
    modes: ClassVar[tuple[str, ...]] = tuple(str(num) for num in range(MAX_OPERATORS + 1))

    @cached_property
    def tokenizer(self) -> Char:
        """The symbols x + - * / and `eos`."""
        return Char(Vocabulary.create("x" + OPERATORS, unk=False))

    def sample(self, num: int, seed: int) -> list[str]:
        """Draw `num` strings; with the same seed, a smaller number gives the first of them."""
        rng = np.random.default_rng(seed)
        # Column 0 decides the number of operators, the others decide each of them.
        draws = rng.random((num, 1 + MAX_OPERATORS))
        num_operators = (draws[:, 0] * (MAX_OPERATORS + 1)).astype(np.int64)
        operators = np.array([f"{operator}x" for operator in OPERATORS])[
            (draws[:, 1:] * len(OPERATORS)).astype(np.int64)
        ]
        return ["x" + "".join(row[:k]) for row, k in zip(operators.tolist(), num_operators.tolist(), strict=True)]

    def log_prob(self, texts: Sequence[str]) -> Float[np.ndarray, "N"]:
        """Return the exact log-probability of each string in nats, -inf outside the language."""
        num_operators = np.array([math.nan if k is None else int(k) for k in self.mode_of(texts)], dtype=np.float64)
        log_probs = -math.log(MAX_OPERATORS + 1) - num_operators * math.log(len(OPERATORS))
        return np.where(np.isnan(log_probs), -np.inf, log_probs)

    def mode_of(self, texts: Sequence[str]) -> list[str | None]:
        """Return the number of operators of each string, None outside the language."""
        return [str(len(text) // 2) if _EXPRESSION.fullmatch(text) else None for text in texts]

    def support(self) -> list[str]:
        """Return all 1,365 strings, the shortest first."""
        return [
            "x" + "".join(f"{operator}x" for operator in operators)
            for k in range(MAX_OPERATORS + 1)
            for operators in itertools.product(OPERATORS, repeat=k)
        ]
