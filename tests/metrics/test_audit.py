import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textforge.errors import UserError
from textforge.metrics import audit
from textforge.metrics.audit import edit_distance, exposure, gram_copy, membership, nearest_edit, span_copy

TEXTS = st.lists(st.text(alphabet="ab", max_size=8), min_size=1, max_size=5)


def grams(texts: Sequence[str], order: int) -> list[str]:
    return [text[start : start + order] for text in texts for start in range(len(text) - order + 1)]


# --- Shares of n-grams ---


@given(TEXTS, TEXTS, TEXTS)
def test_shares_equal_a_count_with_sets(samples: list[str], references: list[str], train: list[str]) -> None:
    found = gram_copy(samples, references, train, orders=(2, 4), split=list)
    for order in (2, 4):
        known = set(grams(train, order))
        ours, real = (
            sum(gram in known for gram in grams(texts, order)) / max(len(grams(texts, order)), 1)
            for texts in (samples, references)
        )
        assert found[f"copied_{order}"] == pytest.approx(ours)
        assert found[f"copied_real_{order}"] == pytest.approx(real)
        assert found[f"copied_excess_{order}"] == pytest.approx(ours - real)
    assert len(found) == 6


def test_a_copier_has_all_and_real_text_has_no_excess() -> None:
    train, references = ["a b c d e f g h i"] * 2, ["a b c d e x y z w"]
    copier = gram_copy(train, references, train)
    assert copier["copied_5"] == copier["copied_8"] == 1
    assert copier["copied_excess_5"] == pytest.approx(1 - 1 / 5)
    assert gram_copy(references, references, train)["copied_excess_5"] == 0


def read(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(("model", "five", "eight"), [("mle", 0.129, 0.008), ("leakgan", 0.182, 0.012)])
def test_shares_of_published_samples(model: str, five: float, eight: float, shared_data: Path) -> None:
    """Texygen's captions; real test captions have .066 and .005. An independent count gave these numbers."""
    found = gram_copy(
        read(shared_data / "texygen_samples" / f"{model}.txt"),
        read(shared_data / "image_coco_tok" / "test.txt"),
        read(shared_data / "image_coco_tok" / "train.txt"),
    )
    assert found["copied_5"] == pytest.approx(five, abs=0.002)
    assert found["copied_8"] == pytest.approx(eight, abs=0.0015)
    assert found["copied_real_5"] == pytest.approx(0.066, abs=0.002)
    assert found["copied_real_8"] == pytest.approx(0.005, abs=0.0005)


# --- Stretches ---


def test_spans_of_either_side() -> None:
    found = span_copy(["a b c x", "x x"], ["a b", "y", "b c"], iter(["a b c d"]))
    assert found == {"span": 3 / 2, "span_real": 4 / 3, "span_max": 3, "span_max_real": 2}


# --- The nearest sentence ---


def edits(one: str, other: str) -> int:
    """Levenshtein's distance by its recursion."""

    @cache
    def rest(i: int, j: int) -> int:
        if i == len(one) or j == len(other):
            return len(one) - i + len(other) - j
        return min(rest(i + 1, j) + 1, rest(i, j + 1) + 1, rest(i + 1, j + 1) + (one[i] != other[j]))

    return rest(0, 0)


@given(TEXTS, TEXTS)
def test_nearest_equals_the_recursion(texts: list[str], train: list[str]) -> None:
    expected = [min(edits(text, other) / max(len(text), len(other), 1) for other in train) for text in texts]
    assert nearest_edit(texts, train, split=list) == pytest.approx(expected, abs=1e-6)


def test_a_planted_near_copy_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    train = [" ".join(f"w{word}" for word in rng.integers(0, 3000, 20)) for _ in range(300)]
    words = train[123].split()
    words[7:9] = ["other", "words"]
    texts = [" ".join(words), "nothing like it", train[5]]
    assert nearest_edit(texts, train) == pytest.approx([2 / 20, 1, 0], abs=1e-6)
    monkeypatch.setattr(audit, "PAIRS", 500)  # in several tables
    assert nearest_edit(texts, train) == pytest.approx([2 / 20, 1, 0], abs=1e-6)


def test_symbols_are_replaced_whole() -> None:
    assert nearest_edit(["a man"], ["a woman here"]) == pytest.approx([2 / 3], abs=1e-6)
    assert nearest_edit(["漢 字"], ["漢 語"]) == pytest.approx([1 / 2], abs=1e-6)


def test_as_many_of_either_side_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def noted(texts: Sequence[str], train: Sequence[str], **_: object) -> np.ndarray:
        seen.append(list(texts))
        return np.zeros(len(texts))

    monkeypatch.setattr(audit, "nearest_edit", noted)
    monkeypatch.setattr(audit, "NEAREST", 7)
    samples, references = [f"s{number}" for number in range(50)], [f"r{number}" for number in range(9)]
    edit_distance(samples, references, ["x"])
    edit_distance(samples, references[:5], ["x"], seed=1)
    assert [len(set(texts)) for texts in seen] == [7, 7, 5, 5]
    assert set(seen[0]) <= set(samples)
    assert set(seen[1]) <= set(references)
    assert seen[0] != samples[:7]


def test_distance_of_either_side() -> None:
    assert edit_distance(["a b c"], ["a x y"], ["a b c d"]) == pytest.approx({"edit": 1 / 4, "edit_real": 3 / 4})


# --- Canaries ---


def test_exposure_by_hand() -> None:
    """First of four: log2 4. Second: log2 4 - 1. Behind its equals: last of four, log2 4 - log2 4."""
    fills = np.array([[-5.0, -6.0, -7.0], [-1.0, -6.0, -7.0], [-2.0, -2.0, -2.0]])
    found = exposure(np.array([-2.0, -2.0, -2.0]), fills)
    ranks = [math.log2(rank) for rank in (1, 2, 3, 4)]
    assert found == pytest.approx(
        {
            "exposure": (2 + 1 + 0) / 3,
            "exposure_max": 2,
            "exposure_null": 2 - sum(ranks) / 4,
            "exposure_limit": 2,
        }
    )


def test_what_was_not_memorised_has_the_exposure_of_chance() -> None:
    rng = np.random.default_rng(1)
    found = exposure(rng.normal(size=20_000), rng.normal(size=(20_000, 63)))
    ranks = np.log2(np.arange(1, 65))
    assert abs(found["exposure"] - found["exposure_null"]) < 4 * ranks.std() / math.sqrt(20_000)
    assert exposure(np.zeros(1), np.zeros((1, 2**16)))["exposure_null"] == pytest.approx(1 / math.log(2), abs=0.001)


def test_a_planted_canary_is_found() -> None:
    rng = np.random.default_rng(2)
    canaries, fills = rng.normal(-40, 3, 10), rng.normal(-40, 3, (10, 1023))
    canaries[4] += 12  # one of ten was memorised: four standard deviations likelier than a random fill
    found = exposure(canaries, fills)
    assert found["exposure_max"] == found["exposure_limit"] == 10
    assert exposure(np.delete(canaries, 4), np.delete(fills, 4, 0))["exposure_max"] < 7


# --- Membership ---


def test_auc_equals_a_count_of_pairs() -> None:
    rng = np.random.default_rng(3)
    train, held_out = rng.integers(0, 6, 30) - 9.0, rng.integers(-1, 5, 40) - 9.0  # many ties
    pairs = [(a > b) + (a == b) / 2 for a in train for b in held_out]
    assert membership(train, held_out)["membership_auc"] == pytest.approx(np.mean(pairs))
    other = membership(held_out, train)
    assert other["membership_auc"] == pytest.approx(1 - np.mean(pairs))
    assert other["membership_auc_low"] == pytest.approx(1 - membership(train, held_out)["membership_auc_high"])


@pytest.mark.parametrize("gap", [0.0, 0.5, 1.5])
def test_interval_covers_the_truth(gap: float) -> None:
    """Two Gaussians a gap apart: the area is Phi(gap / sqrt 2)."""
    rng, repeats = np.random.default_rng(4), 1000
    truth = (1 + math.erf(gap / 2)) / 2
    found = [membership(rng.normal(gap, 1, 150), rng.normal(0, 1, 100)) for _ in range(repeats)]
    covered = np.mean([one["membership_auc_low"] <= truth <= one["membership_auc_high"] for one in found])
    # The interval is asymptotic: at this size it covers up to a hundredth less than it says.
    assert 0.95 - 0.012 - 4 * math.sqrt(0.95 * 0.05 / repeats) < covered < 0.95 + 4 * math.sqrt(0.95 * 0.05 / repeats)
    mean = np.mean([one["membership_auc"] for one in found])
    assert abs(mean - truth) < 4 * np.std([one["membership_auc"] for one in found]) / math.sqrt(repeats)


def test_a_model_that_knows_its_data_is_found() -> None:
    found = membership(np.linspace(-1, -0.5, 50), np.linspace(-4, -2, 50))
    assert found == {"membership_auc": 1, "membership_auc_low": 1, "membership_auc_high": 1}


# --- Errors ---


def test_what_cannot_be_audited_is_refused() -> None:
    for samples, references, train, said in (
        ([], ["a"], ["a"], "no samples"),
        (["a"], [], ["a"], "no references"),
        (["a"], ["a"], [], "no training texts"),
    ):
        with pytest.raises(UserError, match=said):
            gram_copy(samples, references, train)
    with pytest.raises(UserError, match="no training texts"):
        edit_distance(["a"], ["a"], [])
    with pytest.raises(UserError, match="no references"):
        edit_distance(["a"], [], ["a"])
    with pytest.raises(UserError, match="no samples"):
        span_copy([], ["a"], ["a"])
    with pytest.raises(UserError, match="not 1 and 0"):
        exposure(np.zeros(1), np.zeros((1, 0)))
    with pytest.raises(UserError, match="is nan"):
        exposure(np.array([np.nan]), np.zeros((1, 2)))
    with pytest.raises(UserError, match="not 1 and 2"):
        membership(np.zeros(1), np.zeros(2))
    with pytest.raises(UserError, match="is nan"):
        membership(np.zeros(2), np.array([0.0, np.nan]))
