"""Blanks against the formula of the released code, counted and enumerated."""

import pytest
import torch
from torch import Tensor

from textforge.text import Vocabulary
from textforge.text.masking import bernoulli_blanks, contiguous_blanks, words

WIDTH = 40


def every_length(num: int) -> Tensor:
    return torch.arange(1, WIDTH + 1).repeat_interleave(num)


@pytest.mark.parametrize("present_rate", [0.0, 0.3, 0.5, 0.9])
def test_bernoulli_blanks_have_their_share(present_rate: float) -> None:
    lengths = every_length(100)
    blank = bernoulli_blanks(lengths, WIDTH, present_rate)
    inside = torch.arange(WIDTH) < lengths[:, None]
    assert not blank[~inside].any()
    num = int(inside.sum())
    error = (present_rate * (1 - present_rate) / num) ** 0.5
    assert abs(blank[inside].double().mean().item() - (1 - present_rate)) <= 4.5 * error
    if present_rate == 0.5:  # neighbours are independent, and so are rows
        both = blank[:, 1:] & blank[:, :-1]
        pairs = inside[:, 1:] & inside[:, :-1]
        assert abs(both[pairs].double().mean().item() - 0.25) <= 4.5 * (0.1875 / int(pairs.sum())) ** 0.5 * 1.5


@pytest.mark.parametrize("present_rate", [0.0, 0.25, 0.5, 0.7, 1.0])
def test_contiguous_blanks_are_one_block_of_the_length_of_the_formula(present_rate: float) -> None:
    lengths = every_length(30)
    for row, length in zip(contiguous_blanks(lengths, WIDTH, present_rate).tolist(), lengths.tolist(), strict=True):
        places = [i for i, blank in enumerate(row) if blank]
        expected = int((1 - present_rate) * length) - 1
        if present_rate < 1:
            expected = min(max(expected, 1), length - 1)
        assert len(places) == max(expected, 0)
        if places:
            assert places == list(range(places[0], places[-1] + 1))
            assert places[0] >= 1  # the first token stays
            assert places[-1] < length


def test_a_block_is_shorter_than_the_share_that_it_is_named_by() -> None:
    assert contiguous_blanks(torch.tensor([20]), 20, 0.5).sum() == 9


def test_blocks_begin_everywhere_alike() -> None:
    num, length = 20_000, 12  # blocks of 5, which begin at 1 to 7
    starts = contiguous_blanks(torch.full((num,), length), WIDTH, 0.5).long().argmax(1)
    counts = torch.bincount(starts, minlength=length).double()
    assert counts.nonzero().flatten().tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (counts[1:8] - num / 7).abs().max() <= 4.5 * (num / 7 * 6 / 7) ** 0.5


def test_words_are_all_but_the_end_and_padding() -> None:
    ending, endless = (Vocabulary.create("ab", unk=False, eos=eos) for eos in (True, False))
    assert ending.eos is not None
    rows = torch.tensor([[0, 1, ending.eos, ending.pad], [0, 1, 0, 1]])
    assert words(rows, ending).tolist() == [[True, True, False, False], [True] * 4]
    assert words(torch.tensor([[0, 1, endless.pad]]), endless).tolist() == [[True, True, False]]
