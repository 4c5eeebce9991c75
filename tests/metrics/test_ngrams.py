from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textforge.errors import UserError
from textforge.metrics.copying import Known, exact_copy
from textforge.metrics.ngrams import distinct, expected_unique, unique


def distinct_by_sets(samples: list[str], order: int, budget: int) -> float:
    grams = []
    for sample in samples:
        sample, budget = sample[:budget], budget - len(sample[:budget])
        grams += [sample[start : start + order] for start in range(len(sample) - order + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


@given(st.lists(st.text(alphabet="ab", max_size=6), min_size=1, max_size=6), st.integers(1, 20))
def test_distinct_equals_a_count_with_sets(samples: list[str], budget: int) -> None:
    expected = {f"distinct_{order}": distinct_by_sets(samples, order, budget) for order in (1, 2, 3)}
    assert distinct(samples, max_order=3, budget=budget, split=list) == expected


def test_distinct_compares_at_a_fixed_number_of_symbols() -> None:
    """Ten times as much of the same text has the same value, which a ratio over all symbols does not."""
    samples = ["a b c d", "e f g h"] * 100
    assert distinct(samples, budget=40) == distinct(samples * 10, budget=40)
    assert distinct(samples, budget=40)["distinct_1"] == 8 / 40


def test_unique_goes_by_symbols() -> None:
    assert unique(["a b", "a  b ", "b a", "a b"]) == {"unique": 2 / 4}
    assert unique(["a b", "a  b "], split=list) == {"unique": 1.0}


def test_exact_copy_counts_every_sample_and_not_every_training_line() -> None:
    train = iter(["a b ", "a b", "c"])  # may stream
    assert exact_copy(["a b", "a b", "b", "c", "ab"], train) == {"exact_copy": 3 / 5}
    assert exact_copy(["a"], []) == {"exact_copy": 0.0}


@given(st.lists(st.text(alphabet="ab ", max_size=4), min_size=1), st.lists(st.text(alphabet="ab ", max_size=4)))
def test_known_texts_are_found_as_exact_copy_finds_them(train: list[str], samples: list[str]) -> None:
    known = Known.of(iter(train))
    assert known.holds(samples).tolist() == [text.split() in [line.split() for line in train] for text in samples]
    if samples:
        assert known.holds(samples).mean() == exact_copy(samples, train)["exact_copy"]


def test_known_texts_differ_by_symbols_and_not_by_how_they_are_written() -> None:
    assert Known.of(["a b", "\ud800"], split=list).holds(["ab", "a b", "a  b", "\ud800", ""]).tolist() == [
        False,
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("frequencies", [[1], [9, 1], [5, 3, 1, 1], [1] * 40])
def test_expected_share_of_distinct_texts(frequencies: list[int]) -> None:
    """Against 4,000 draws: the mean within 4 standard errors, their spread below the bound."""
    num, times = 12, 4000
    p = np.array(frequencies) / sum(frequencies)
    drawn = np.random.default_rng(0).choice(len(p), (times, num), p=p)
    shares = np.array([len(set(row)) / num for row in drawn.tolist()])
    mean, error = expected_unique(np.array(frequencies), num)
    assert abs(shares.mean() - mean) <= 4 * shares.std() / times**0.5 + 1e-12
    assert shares.std() <= error * 1.05 + 1e-12
    assert expected_unique(np.array(frequencies), 1)[0] == pytest.approx(1.0)


def test_empty_samples_are_refused() -> None:
    for metric in (distinct, unique, lambda samples: exact_copy(samples, ["a"])):
        with pytest.raises(UserError, match="no samples"):
            metric([])


@pytest.mark.parametrize(("model", "share", "copied"), [("mle", 0.998, 0.003), ("leakgan", 0.707, 0.002)])
def test_collapse_of_published_samples(model: str, share: float, copied: float, shared_data: Path) -> None:
    samples, train = (
        (shared_data / name).read_text(encoding="utf-8").splitlines()
        for name in (f"texygen_samples/{model}.txt", "image_coco_tok/train.txt")
    )
    assert unique(samples)["unique"] == pytest.approx(share, abs=0.0005)
    assert exact_copy(samples, train)["exact_copy"] == pytest.approx(copied, abs=0.0005)
