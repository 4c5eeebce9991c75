from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textforge.errors import UserError
from textforge.metrics.overlap import in_test, ms_jaccard

TEXTS = st.lists(st.text(alphabet="abc", max_size=6), min_size=1, max_size=6)


def grams(texts: Sequence[str], order: int) -> Counter[str]:
    return Counter(text[at : at + order] for text in texts for at in range(len(text) - order + 1))


@given(TEXTS, TEXTS)
def test_ms_jaccard_is_its_definition(samples: list[str], references: list[str]) -> None:
    product = 1.0
    found = ms_jaccard(samples, references, max_order=4, split=list)
    for order in range(1, 5):
        ours, theirs = grams(samples, order), grams(references, order)
        pairs = [(ours[g] / len(samples), theirs[g] / len(references)) for g in ours | theirs]
        product *= sum(map(min, pairs)) / sum(map(max, pairs)) if pairs else 1
        if order > 1:
            assert found[f"ms_jaccard_{order}"] == pytest.approx(product ** (1 / order), abs=1e-12)
    assert list(found) == ["ms_jaccard_2", "ms_jaccard_3", "ms_jaccard_4"]


def test_ms_jaccard_by_hand() -> None:
    # per text: a 1, b 1 against a 2, b 1/2, c 1/2: 1.5 of 3.5; ab 1 against aa 1, ab 1/2, bc 1/2: 1/2 of 5/2
    found = ms_jaccard(["ab"], ["aa", "aabc"], max_order=2, split=list)
    assert found == {"ms_jaccard_2": pytest.approx(np.sqrt((1 + 0.5) / (2 + 1 + 0.5) * 0.5 / (1 + 1 + 0.5)))}


def test_ms_jaccard_sees_frequencies_and_missing_modes() -> None:
    references = ["a b c", "d e f", "g h i", "j k l"]
    assert ms_jaccard(references[::-1], references, max_order=3) == pytest.approx(
        {"ms_jaccard_2": 1, "ms_jaccard_3": 1}
    )
    collapsed = ms_jaccard(["a b c"] * 4, references)["ms_jaccard_2"]
    assert collapsed == pytest.approx(1 / 7)  # a quarter in common, out of a quarter, three quarters, and as much more
    assert ms_jaccard(["a c b"], references)["ms_jaccard_2"] == 0


@given(TEXTS, TEXTS)
def test_ms_jaccard_is_symmetric_and_goes_by_texts(samples: list[str], references: list[str]) -> None:
    found = ms_jaccard(samples, references, split=list)
    assert ms_jaccard(references, samples, split=list) == pytest.approx(found)
    assert ms_jaccard(samples * 3, references, split=list) == pytest.approx(found)
    assert ms_jaccard(samples[::-1], references[::-1], split=list) == pytest.approx(found)
    assert all(0 <= value <= 1 for value in found.values())


@given(TEXTS, TEXTS)
def test_in_test_is_a_count(samples: list[str], references: list[str]) -> None:
    shares, kinds = (in_test(samples, references, distinct=distinct, split=list) for distinct in (False, True))
    for order in range(1, 5):
        ours, real = grams(samples, order), grams(references, order)
        inside = [count for gram, count in ours.items() if gram in real]
        assert shares[f"in_test_{order}"] == pytest.approx(sum(inside) / max(ours.total(), 1))
        assert kinds[f"in_test_{order}"] == pytest.approx(len(inside) / max(len(ours), 1))


def test_share_of_occurrences_does_not_depend_on_their_number() -> None:
    samples, references = ["a b a x", "b a"], ["a b"]
    assert in_test(samples * 5, references, max_order=2) == in_test(samples, references, max_order=2)
    assert in_test(samples, references, max_order=2) == {"in_test_1": 5 / 6, "in_test_2": 1 / 4}
    assert in_test(samples, references, max_order=2, distinct=True) == {"in_test_1": 2 / 3, "in_test_2": 1 / 3}


def test_empty_lists_are_refused() -> None:
    for metric in (ms_jaccard, in_test):
        with pytest.raises(UserError, match="no samples"):
            metric([], ["a"])
        with pytest.raises(UserError, match="no references"):
            metric(["a"], [])


@pytest.mark.parametrize(
    ("model", "published", "inside"),
    [
        ("image_coco_tok/train", [0.349, 0.236, 0.158, 0.102], [0.928, 0.617, 0.315, 0.135]),
        ("texygen_samples/mle", [0.326, 0.211, 0.133, 0.081], [0.931, 0.600, 0.281, 0.103]),
        ("texygen_samples/leakgan", [0.285, 0.182, 0.115, 0.067], [0.944, 0.627, 0.321, 0.142]),
    ],
)
def test_overlap_of_published_samples(
    model: str, published: list[float], inside: list[float], shared_data: Path
) -> None:
    """MS-Jaccard ranks maximum likelihood above LeakGAN, whose n-grams are more often real."""
    samples, references = (
        (shared_data / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        for name in (model, "image_coco_tok/test")
    )
    assert list(ms_jaccard(samples, references).values()) == pytest.approx(published, abs=0.003)
    assert list(in_test(samples, references).values()) == pytest.approx(inside, abs=0.0006)
