"""Oracles: languages whose every probability is known, so that what a model has learnt can be measured exactly."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from textforge.errors import CallError, nearest
from textforge.text.tokenizers import Tokenizer

GRAMMARS = {
    "captions": "English image captions, far over a billion",
    "captions-small": "English image captions, few enough to list",
    "captions-zh": "Chinese image captions, far over a billion",
    "captions-zh-small": "Chinese image captions, few enough to list",
}
LANGUAGES = {
    **GRAMMARS,
    "arithmetic": "x([+-*/]x)*, the 1,365 strings of Kusner and Hernandez-Lobato (2016)",
    "lstm-oracle": "the random LSTM of SeqGAN, 5,000 symbols, length 20; lstm-oracle:FILE.npz reads its parameters",
}


@runtime_checkable
class Oracle(Protocol):
    """A distribution over texts with exact likelihoods."""

    @property
    def name(self) -> str:
        """The name under which `load` finds it."""

    @property
    def tokenizer(self) -> Tokenizer:
        """How its texts become symbols; the vocabulary is complete."""

    @property
    def max_length(self) -> int:
        """The symbols of the longest text, `eos` counted where the vocabulary has one."""

    @property
    def modes(self) -> tuple[str, ...]:
        """The known modes; empty where there are none."""

    def sample(self, num: int, seed: int) -> list[str]:
        """Draw `num` texts, the same for the same seed."""

    def log_prob(self, texts: Sequence[str]) -> Float[np.ndarray, "N"]:
        """Return the exact log-probability of each text in nats, -inf outside the language."""

    def mode_of(self, texts: Sequence[str]) -> list[str | None]:
        """Return the mode of each text: None outside the language, "" where the oracle has no modes."""

    def support(self) -> list[str] | None:
        """Return all texts, each once, or None where there are more than 1,000,000."""


def names() -> list[str]:
    """Return the names that `load` knows."""
    return list(LANGUAGES)


def load(name: str) -> Oracle:
    """Load an oracle by name; `grammar:FILE` and `lstm-oracle:FILE` read one from a file.

    Raises CallError for an unknown name and UserError for a file that cannot be used.
    """
    # Each kind is imported when it is asked for: most callers want one, and the LSTM brings its network along.
    kind, colon, file = name.partition(":")
    if kind == "lstm-oracle":
        from textforge.oracles import lstm_oracle

        return lstm_oracle.load(Path(file) if colon else None)
    if name in GRAMMARS or (kind == "grammar" and colon):
        from textforge.oracles import grammar

        return grammar.read(Path(file), name) if colon else grammar.embedded(name)
    if name == "arithmetic":
        from textforge.oracles import arithmetic

        return arithmetic.Arithmetic()
    raise CallError(f"there is no oracle '{name}'; choose from {', '.join(names())}{nearest(name, names())}")
