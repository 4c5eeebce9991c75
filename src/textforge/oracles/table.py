"""Tiny worlds in which every text is listed with its probability, for tests and worked examples."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from textforge.errors import UserError
from textforge.text.tokenizers import Word
from textforge.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class TableOracle:
    """A language given by a table of sequences and their probabilities, which sum to one.

    A text is its symbols with spaces between. There is an `eos` only where sequences differ in length: in a world of
    fixed length the end is no choice. Raises UserError for a table that is no distribution over the symbols.
    """

    symbols: tuple[str, ...]
    table: Mapping[tuple[str, ...], float]
    name: str = "table"

    def __post_init__(self) -> None:
        """Check that the table is a distribution over sequences of the symbols."""
        for sequence, probability in self.table.items():
            if not set(sequence) <= set(self.symbols):
                raise UserError(f"sequence {sequence} has symbols beyond {self.symbols}; add them to the symbols")
            if not probability >= 0:
                raise UserError(f"sequence {sequence} has the probability {probability}; it must not be negative")
        total = sum(self.table.values())
        if not np.isclose(total, 1.0, rtol=0.0, atol=1e-9):
            raise UserError(f"the probabilities of the table sum to {total}; divide them by it")

    @cached_property
    def tokenizer(self) -> Word:
        """The symbols, and `eos` where lengths differ."""
        return Word(Vocabulary.create(self.symbols, unk=False, eos=len(self._lengths) > 1))

    @property
    def max_length(self) -> int:
        """The symbols of the longest text, `eos` counted where there is one."""
        return max(self._lengths) + (len(self._lengths) > 1)

    @property
    def modes(self) -> tuple[str, ...]:
        """There are no modes."""
        return ()

    def sample(self, num: int, seed: int) -> list[str]:
        """Draw `num` texts; with the same seed, a smaller number gives the first of them."""
        texts = list(self._log_probs)
        probabilities = np.exp(list(self._log_probs.values()))
        rng = np.random.default_rng(seed)
        return [texts[i] for i in rng.choice(len(texts), size=num, p=probabilities / probabilities.sum())]

    def log_prob(self, texts: Sequence[str]) -> Float[np.ndarray, "N"]:
        """Return the log-probability of each text in nats, -inf outside the table."""
        return np.array([self._log_probs.get(" ".join(text.split()), -np.inf) for text in texts], dtype=np.float64)

    def mode_of(self, texts: Sequence[str]) -> list[str | None]:
        """Return "" for the texts of the table and None for others."""
        return ["" if " ".join(text.split()) in self._log_probs else None for text in texts]

    def support(self) -> list[str]:
        """Return the texts of positive probability, in the order of the table."""
        return list(self._log_probs)

    @cached_property
    def _lengths(self) -> set[int]:
        return {len(sequence) for sequence, probability in self.table.items() if probability > 0}

    @cached_property
    def _log_probs(self) -> dict[str, float]:
        return {" ".join(sequence): float(np.log(p)) for sequence, p in self.table.items() if p > 0}


def random_table(num_symbols: int = 3, length: int = 3, *, seed: int) -> TableOracle:
    """Return a world of all `num_symbols ** length` sequences, its probabilities drawn uniformly from the simplex."""
    symbols = tuple(f"s{i}" for i in range(num_symbols))
    sequences = list(itertools.product(symbols, repeat=length))
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(len(sequences)))
    return TableOracle(symbols, dict(zip(sequences, probabilities.tolist(), strict=True)), name=f"table-{seed}")
