"""Exact n-gram counts per text: no hashing, hence no collisions; memory is linear in the symbols, time is a sort's."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Integer

from textforge.errors import UserError

Split = Callable[[str], Sequence[str]]
"""How a text becomes symbols: `str.split` at white space, `list` into characters, or a tokeniser's own function."""


@dataclass(frozen=True)
class Symbols:
    """Texts as numbers: `flat` holds the symbols of all texts behind one another, `lengths` how many each text has."""

    flat: Int[np.ndarray, "symbols"]
    lengths: Int[np.ndarray, "N"]

    @classmethod
    def of(cls, texts: Iterable[str], split: Split) -> "Symbols":
        """Number the symbols in order of first appearance; texts that are to be compared go in together."""
        numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
        lengths: list[int] = []

        def stream() -> Iterator[str]:
            for text in texts:
                symbols = split(text)
                lengths.append(len(symbols))
                yield from symbols

        flat = np.fromiter(map(numbers.__getitem__, stream()), np.int64)
        return cls(flat, np.array(lengths, np.int64))


@dataclass(frozen=True)
class GramCounts:
    """How often each text holds each n-gram of one order: one row per pair that occurs, by gram and then by text."""

    gram: Int[np.ndarray, "pairs"]
    text: Int[np.ndarray, "pairs"]
    count: Int[np.ndarray, "pairs"]
    num_grams: int
    """Distinct n-grams; `gram` takes each value below it."""


def gram_counts(symbols: Symbols, max_order: int) -> Iterator[GramCounts]:
    """Count the n-grams of order 1, 2, ..., `max_order` within each text.

    An n-gram's number is the rank of the pair (number of its first n-1 symbols, its last symbol), so equal numbers mean
    equal n-grams. The sort is stable and positions ascend, so the pairs of gram and text come out grouped.
    """
    num_texts, size = len(symbols.lengths), len(symbols.flat)
    assert size < 2**31, "the product of two symbol counts must fit into 64 bits"
    text = np.repeat(np.arange(num_texts), symbols.lengths)
    left = np.cumsum(symbols.lengths)[text] - np.arange(size)  # symbols from here to the end of the text
    start, prefix = np.arange(size), np.zeros(size, np.int64)
    for order in range(1, max_order + 1):
        fits = left[start] >= order
        start, prefix = start[fits], prefix[fits]
        key = prefix * size + symbols.flat[start + order - 1]
        by_gram = np.argsort(key, kind="stable")
        new_gram, owner = changes(key[by_gram]), text[start[by_gram]]
        number = np.cumsum(new_gram) - 1
        rows = np.flatnonzero(new_gram | changes(owner))
        yield GramCounts(number[rows], owner[rows], np.diff(rows, append=len(key)), int(new_gram.sum()))
        prefix[by_gram] = number


def changes(values: Integer[np.ndarray, "K"]) -> Bool[np.ndarray, "K"]:
    """Mark each value that differs from the one before it; the first always does."""
    marks = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=marks[1:])
    return marks


def require(texts: Sequence[object], what: str) -> None:
    """Refuse an empty list: a share of nothing has no value."""
    if not texts:
        raise UserError(f"there are no {what} to judge: the list is empty; pass at least one")
