"""The score by matching n-grams, and shares of distinct n-grams, on sets made by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textforge.errors import UserError
from textforge.metrics.matches import ngram_score
from textforge.metrics.ngrams import distinct

texts = st.lists(st.text(alphabet="ab", max_size=6), min_size=1, max_size=5)


def grams(lines: list[str], order: int) -> set[str]:
    return {line[start : start + order] for line in lines for start in range(len(line) - order + 1)}


@given(texts, texts)
def test_score_equals_a_count_with_sets(samples: list[str], references: list[str]) -> None:
    numbers = [len(grams(samples, order) & grams(references, order)) for order in (2, 3, 4)]
    score = ngram_score(samples, references, split=list)["ngram_score"]
    assert score == pytest.approx((numbers[0] * numbers[1] * numbers[2]) ** (1 / 3))


def test_score_on_a_set_made_by_hand() -> None:
    samples, references = ["a b c d", "a b c d", "a b x"], ["z a b c d e"]
    found = {2: 3, 3: 2, 4: 1}  # a b, b c, c d; a b c, b c d; a b c d
    assert ngram_score(samples, references)["ngram_score"] == pytest.approx((3 * 2 * 1) ** (1 / 3))
    for order, number in found.items():
        one = ngram_score(samples, references, min_order=order, max_order=order)
        assert one["ngram_score"] == pytest.approx(number)


def test_share_of_distinct_n_grams_on_a_set_made_by_hand() -> None:
    """What the paper's table 6 calls unique n-grams."""
    shares = distinct(["a b a b", "a b c"])
    assert [shares[f"distinct_{n}"] for n in (1, 2, 3)] == [3 / 7, 3 / 5, 1.0]


def test_score_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="no samples"):
        ngram_score([], ["a b"])
    with pytest.raises(UserError, match="no references"):
        ngram_score(["a b"], [])
    assert ngram_score(["a"], ["a"]) == {"ngram_score": 0.0}
