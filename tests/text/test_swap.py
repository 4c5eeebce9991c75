"""Twins with two words exchanged: what they keep, what they change, how often each pair is drawn."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from worlds import chi_square_z

from textforge.text import Vocabulary, swap_two

VOCABULARY = Vocabulary.create("abcd", unk=False, eos=True)
EOS, PAD = VOCABULARY.eos, VOCABULARY.pad
assert EOS is not None
WIDTH = 7


def padded(words: list[int], *, closed: bool = True) -> list[int]:
    row = [*words, EOS] if closed else words
    return [*row, *[PAD] * (WIDTH - len(row))]


@given(st.lists(st.lists(st.integers(0, 3), max_size=WIDTH - 1), min_size=1, max_size=20), st.booleans())
def test_exactly_two_different_words_change_places(sentences: list[list[int]], closed: bool) -> None:
    tokens = torch.tensor([padded(words, closed=closed) for words in sentences])
    before = tokens.clone()
    swapped, possible = swap_two(tokens, tokens != PAD, eos=EOS if closed else None)
    assert torch.equal(tokens, before)
    assert possible.tolist() == [len(set(words)) > 1 for words in sentences]
    for words, row, twin in zip(sentences, tokens.tolist(), swapped.tolist(), strict=True):
        assert Counter(twin) == Counter(row)
        assert twin[len(words) :] == row[len(words) :]  # eos and padding stay
        moved = [t for t in range(WIDTH) if twin[t] != row[t]]
        assert len(moved) == (2 if len(set(words)) > 1 else 0)


def test_words_are_drawn_uniformly() -> None:
    """Each first word with probability 1/5, then each word that differs from it."""
    words = [0, 1, 0, 2, 0]
    tokens = torch.tensor([padded(words)] * 4000)
    swapped, _ = swap_two(tokens, tokens != PAD, eos=EOS)
    found = Counter(tuple(row.nonzero().flatten().tolist()) for row in swapped != tokens)
    probs: Counter[tuple[int, int]] = Counter()
    for first in range(5):
        partners = [second for second in range(5) if words[second] != words[first]]
        for second in partners:
            probs[min(first, second), max(first, second)] += 1 / 5 / len(partners)  # type: ignore[assignment]
    assert set(found) == set(probs)
    counts = np.array([found[pair] for pair in probs])
    assert chi_square_z(counts, np.array(list(probs.values()))) < 4


def test_the_next_call_draws_anew() -> None:
    tokens = torch.tensor([padded([0, 1, 2, 3, 0, 1])] * 50)
    first, second = (swap_two(tokens, tokens != PAD, eos=EOS)[0] for _ in range(2))
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(swap_two(tokens, tokens != PAD, eos=EOS)[0], first)
