import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textforge.errors import UserError
from textforge.metrics.spans import longest_spans

TEXTS = st.lists(st.text(alphabet="ab", max_size=9), min_size=1, max_size=6)


def by_search(text: str, train: list[str]) -> int:
    """Every stretch of the text, looked for in every training text."""
    stretches = (text[start:end] for start in range(len(text)) for end in range(start + 1, len(text) + 1))
    return max((len(stretch) for stretch in stretches if any(stretch in other for other in train)), default=0)


@given(TEXTS, st.lists(st.text(alphabet="ab", max_size=9), max_size=6))
def test_spans_equal_a_search_of_all_stretches(texts: list[str], train: list[str]) -> None:
    """Two symbols only, so that texts overlap in all ways."""
    assert longest_spans(texts, train, split=list).tolist() == [by_search(text, train) for text in texts]


def test_longer_texts_of_more_symbols() -> None:
    rng = np.random.default_rng(0)
    texts, train = (["".join(rng.choice(list("abcd"), 40)) for _ in range(30)] for _ in range(2))
    assert longest_spans(texts, train, split=list).tolist() == [by_search(text, train) for text in texts]


def test_a_planted_copy_is_found() -> None:
    rng = np.random.default_rng(1)
    train = [" ".join(f"w{word}" for word in rng.integers(0, 1000, 30)) for _ in range(50)]
    stolen = " ".join(["new"] * 5 + train[17].split()[4:23] + ["words"] * 5)
    found = longest_spans(["nothing of this is known", stolen, train[3]], iter(train))
    assert found.tolist() == [0, 19, 30]


def test_spans_do_not_cross_from_one_text_into_the_next() -> None:
    assert longest_spans(["abcd"], ["ab", "cd"], split=list).tolist() == [2]
    assert longest_spans(["ab", "cd"], ["bc"], split=list).tolist() == [1, 1]


def test_symbols_count_and_not_characters() -> None:
    assert longest_spans(["a man", "a", "", "man"], ["many a man here"]).tolist() == [2, 1, 0, 1]


def test_order_and_repeats_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    texts, train = (["".join(rng.choice(list("abc"), rng.integers(12))) for _ in range(40)] for _ in range(2))
    once = longest_spans(texts, train, split=list)
    turned = longest_spans(texts[::-1] + texts, train[::-1] * 2, split=list)
    np.testing.assert_array_equal(turned, np.concatenate([once[::-1], once]))


def test_no_texts_are_refused() -> None:
    with pytest.raises(UserError, match="no texts"):
        longest_spans([], ["a"])
    assert longest_spans(["a b"], []).tolist() == [0]
