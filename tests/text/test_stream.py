from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textforge.text import Corpus, Stream, Vocabulary, Word, encode


def corpus(num: int) -> Corpus:
    """Sequence i is i times the symbol `a`, then `b`: every sequence is known by its length."""
    tokenizer = Word(Vocabulary.create("ab"))
    return encode([" ".join("a" * i + "b") for i in range(num)], tokenizer, max_length=None)[0]


def lines(stream: Stream, batches: int) -> list[int]:
    """Which sequences the next batches hold, in order; `b` and `eos` are not counted."""
    return [int(n) - 2 for _ in range(batches) for n in stream.next().mask.sum(1)]


def stream(num: int, batch_size: int, seed: int = 0) -> Stream:
    return Stream(corpus(num), batch_size, width=num + 3, seed=seed)


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 5))
def test_every_line_once_per_epoch_and_all_batches_full(num: int, batch_size: int, seed: int) -> None:
    epochs = 3
    batches = -(-epochs * num // batch_size)
    handed_out = lines(stream(num, batch_size, seed), batches)
    assert len(handed_out) == batches * batch_size
    for e in range(epochs):
        assert sorted(handed_out[e * num : (e + 1) * num]) == list(range(num))
        assert handed_out[e * num : (e + 1) * num] == np.random.default_rng([seed, e]).permutation(num).tolist()


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 8), st.integers(1, 30))
def test_a_stream_continues_where_another_stopped(num: int, batch_size: int, before: int, other_size: int) -> None:
    first = stream(num, batch_size)
    lines(first, before)
    state = first.state_dict()
    assert state == {"position": before * batch_size}
    expected = lines(first, 4)

    again = stream(num, batch_size)
    lines(again, 2)
    again.load_state_dict(state)
    assert lines(again, 4) == expected
    assert first.state_dict() == again.state_dict()

    # The order does not depend on the size of the batches.
    resized = stream(num, other_size)
    resized.load_state_dict(state)
    num_equal = min(4 * batch_size, 4 * other_size)
    assert lines(resized, 4)[:num_equal] == expected[:num_equal]


def test_batches_have_the_width_and_the_device_asked_for() -> None:
    data = corpus(3)
    batch = Stream(data, 5, width=9, seed=1, device="meta").next()
    assert batch.tokens.shape == batch.mask.shape == (5, 9)
    assert batch.tokens.device.type == "meta"
    batch = Stream(data, 5, width=9, seed=1).next()
    assert batch.tokens.dtype == torch.long
    assert (batch.tokens[~batch.mask] == data.vocabulary.pad).all()
    assert (batch.tokens[batch.mask] < data.vocabulary.vocab_size).all()


def test_epoch_counts_passes() -> None:
    s = stream(4, 2)
    seen = [s.epoch]
    for _ in range(3):
        s.next()
        seen.append(s.epoch)
    assert seen == [0.0, 0.5, 1.0, 1.5]


def test_seeds_and_epochs_differ() -> None:
    orders = {tuple(lines(stream(30, 30, seed), 1)) for seed in range(5)}
    assert len(orders) == 5
    s = stream(30, 30)
    assert len({tuple(lines(s, 1)) for _ in range(5)}) == 5


def test_neither_takes_from_nor_gives_to_the_global_generators() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = lines(stream(9, 4), 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert lines(stream(9, 4), 3) == first


def test_each_place_in_an_epoch_is_equally_likely() -> None:
    counts = Counter(lines(stream(4, 1, seed), 1)[0] for seed in range(2000))
    # 500 expected each, standard deviation sqrt(2000 * 1/4 * 3/4) = 19.4.
    assert all(abs(counts[i] - 500) < 4.5 * 19.4 for i in range(4))


def test_the_permutation_is_made_once_per_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[list[int]] = []
    default_rng = np.random.default_rng

    def counted(seed: list[int]) -> np.random.Generator:
        made.append(seed)
        return default_rng(seed)

    monkeypatch.setattr(np.random, "default_rng", counted)
    lines(stream(10, 3), 7)
    assert made == [[0, 0], [0, 1], [0, 2]]
