from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textforge.errors import UserError
from textforge.metrics.counts import GramCounts, Symbols, gram_counts, require

TEXTS = st.lists(st.text(alphabet="abc", max_size=8), max_size=6)


def counted(texts: list[str], order: int) -> list[list[tuple[int, int]]]:
    """For each n-gram, which text holds it how often; counted with tuples and sorted, so that no number matters."""
    found: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for index, text in enumerate(texts):
        for start in range(len(text) - order + 1):
            found[text[start : start + order]][index] += 1
    return sorted(sorted(counts.items()) for counts in found.values())


def regrouped(counts: GramCounts) -> list[list[tuple[int, int]]]:
    groups: list[list[tuple[int, int]]] = [[] for _ in range(counts.num_grams)]
    for gram, text, count in zip(counts.gram, counts.text, counts.count, strict=True):
        groups[gram].append((int(text), int(count)))
    return sorted(groups)


@given(TEXTS)
def test_counts_are_those_of_a_dictionary(texts: list[str]) -> None:
    orders = list(gram_counts(Symbols.of(texts, list), 4))
    assert len(orders) == 4
    for order, counts in enumerate(orders, start=1):
        assert regrouped(counts) == counted(texts, order)


@given(TEXTS)
def test_rows_are_grouped_by_gram_and_then_by_text(texts: list[str]) -> None:
    for counts in gram_counts(Symbols.of(texts, list), 3):
        rows = list(zip(counts.gram.tolist(), counts.text.tolist(), strict=True))
        assert rows == sorted(set(rows))


def test_symbols_keep_the_texts_apart() -> None:
    symbols = Symbols.of(["b a", "", "a c"], str.split)
    assert symbols.flat.tolist() == [0, 1, 1, 2]
    assert symbols.lengths.tolist() == [2, 0, 2]


def test_numbers_do_not_collide_in_a_large_vocabulary() -> None:
    """Every bigram of 300 symbols once: 90,000 pairs, each its own n-gram."""
    texts = [f"{first} {second}" for first in range(300) for second in range(300)]
    *_, bigrams = gram_counts(Symbols.of(texts, str.split), 2)
    assert bigrams.num_grams == 90_000
    assert np.array_equal(np.sort(bigrams.text), np.arange(90_000))


def test_empty_lists_are_refused() -> None:
    with pytest.raises(UserError, match="no samples"):
        require([], "samples")
