from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction  # type: ignore[import-untyped]
from nltk.translate.bleu_score import sentence_bleu as nltk_bleu

from textforge.errors import UserError
from textforge.metrics.bleu import backward_bleu, bleu, self_bleu, sentence_bleu, sentence_self_bleu

ORDERS = range(1, 6)
WEIGHTS = [(1 / order,) * order for order in ORDERS]


def by_nltk(hypothesis: str, references: Sequence[str]) -> list[float]:
    """All orders of one hypothesis, by the implementation that the published tables used."""
    rows = [list(reference) for reference in references]
    return list(map(float, nltk_bleu(rows, list(hypothesis), WEIGHTS, SmoothingFunction().method1) or [0.0] * 5))


def corpus(rng: np.random.Generator, num: int, size: int, longest: int) -> list[str]:
    """Texts of 0 to `longest` symbols; a small alphabet makes n-grams repeat and counts tie."""
    return ["".join(rng.choice(list("abcdefghij")[:size], rng.integers(longest + 1))) for _ in range(num)]


# --- Against nltk ---


@pytest.mark.parametrize("seed", range(40))
def test_bleu_equals_nltk(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, longest = int(rng.integers(1, 11)), int(rng.integers(1, 13))
    samples, references = corpus(rng, 12, size, longest), corpus(rng, int(rng.integers(1, 9)), size, longest)
    expected = np.transpose([by_nltk(sample, references) for sample in samples])
    np.testing.assert_allclose(sentence_bleu(samples, references, split=list), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_self_bleu_equals_nltk_on_each_text_against_the_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = corpus(rng, int(rng.integers(2, 14)), int(rng.integers(1, 11)), int(rng.integers(1, 13)))
    expected = np.transpose([by_nltk(text, samples[:at] + samples[at + 1 :]) for at, text in enumerate(samples)])
    np.testing.assert_allclose(sentence_self_bleu(samples, split=list), expected, rtol=0, atol=1e-12)


@settings(max_examples=60)
@given(st.lists(st.text(alphabet="ab", max_size=7), min_size=2, max_size=6))
def test_self_bleu_equals_nltk_where_counts_tie(samples: list[str]) -> None:
    expected = np.transpose([by_nltk(text, samples[:at] + samples[at + 1 :]) for at, text in enumerate(samples)])
    np.testing.assert_allclose(sentence_self_bleu(samples, split=list), expected, rtol=0, atol=1e-12)


def test_scores_agree_with_nltk_on_real_text(shared_data: Path) -> None:
    samples = lines(shared_data / "emnlp_news" / "train.txt")[:3]
    references = lines(shared_data / "emnlp_news" / "test.txt")[:400]
    words = [[line.split() for line in part] for part in (samples, references)]
    expected = [nltk_bleu(words[1], sample, WEIGHTS, SmoothingFunction().method1) for sample in words[0]]
    np.testing.assert_allclose(sentence_bleu(samples, references), np.transpose(expected), rtol=0, atol=1e-12)


# --- By hand ---


@pytest.mark.parametrize(
    ("sample", "references", "expected"),
    [
        ("abc", ["abc", "xyz"], [1, 1, 1]),  # the same text
        ("ab", ["xy"], [0, 0, 0]),  # nothing in common
        ("", ["ab", ""], [0, 0, 0]),  # nothing at all
        ("aaaa", ["aa", "a"], [np.exp(0) * 2 / 4, np.sqrt(2 / 4 * 1 / 3), np.cbrt(2 / 4 * 1 / 3 * 0.1 / 2)]),  # clipped
        ("ab", ["abcd"], [np.exp(-1), np.exp(-1), np.exp(-1) * np.cbrt(0.1)]),  # short, and no trigram
        ("abc", ["ab", "abcd"], [1, 1, 1]),  # the shorter of two lengths equally close: no penalty
    ],
)
def test_small_cases(sample: str, references: list[str], expected: list[float]) -> None:
    scores = sentence_bleu([sample], references, max_order=3, split=list)
    np.testing.assert_allclose(scores[:, 0], expected, rtol=0, atol=1e-15)


def test_a_text_is_not_its_own_reference() -> None:
    assert self_bleu(["a b c d e", "f g h i j"]) == {f"self_bleu_{order}": 0.0 for order in range(2, 6)}
    assert self_bleu(["a b c d e"] * 2) == pytest.approx({f"self_bleu_{order}": 1.0 for order in range(2, 6)})


def test_collapse_is_seen_anew_at_every_call() -> None:
    """A widely used implementation keeps the first samples it met and never moves again."""
    varied, collapsed = ["a b c", "d e f", "a e c"], ["a b c", "a b c", "a b c"]
    assert self_bleu(varied)["self_bleu_2"] < 0.5
    assert self_bleu(collapsed)["self_bleu_2"] == pytest.approx(1)


# --- The whole and its settings ---


def test_bleu_is_the_mean_of_its_sentences() -> None:
    samples, references = ["a b", "a c d e f", ""], ["a b c", "c d e"]
    scores = sentence_bleu(samples, references, max_order=3)
    assert scores.shape == (3, 3)
    assert bleu(samples, references, max_order=3) == {"bleu_2": scores[1].mean(), "bleu_3": scores[2].mean()}


def test_backward_bleu_judges_the_references() -> None:
    samples, references = ["a b"] * 3, ["a b", "c d", "e f"]
    assert bleu(samples, references, max_order=2) == {"bleu_2": 1.0}
    assert backward_bleu(samples, references, max_order=2) == {"backward_bleu_2": pytest.approx(1 / 3)}


def test_order_of_texts_does_not_matter() -> None:
    samples = corpus(np.random.default_rng(0), 30, 5, 9)
    permuted = np.random.default_rng(1).permutation(30)
    scores = sentence_self_bleu(samples, split=list)
    shuffled = sentence_self_bleu([samples[at] for at in permuted], split=list)
    np.testing.assert_array_equal(shuffled, scores[:, permuted])


def test_protocols_compare_what_they_say() -> None:
    samples = corpus(np.random.default_rng(2), 601, 6, 9)
    others = corpus(np.random.default_rng(3), 50, 6, 9)

    def named(scores: np.ndarray) -> object:
        return pytest.approx({f"self_bleu_{order}": scores[order - 1].mean() for order in (2, 3, 4, 5)}, abs=1e-15)

    assert self_bleu(samples, split=list) == named(sentence_self_bleu(samples, split=list))
    assert self_bleu(samples, split=list, protocol="texygen500") == named(sentence_self_bleu(samples[:500], split=list))
    halves = named(sentence_bleu(samples[:300], samples[300:], split=list))
    assert self_bleu(samples, split=list, protocol="split") == halves
    two = self_bleu(samples, split=list, protocol="two-sample", others=others)
    assert two == named(sentence_bleu(samples, others, split=list))


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(UserError, match="no references"):
        bleu(["a"], [])
    with pytest.raises(UserError, match="no samples"):
        bleu([], ["a"])
    with pytest.raises(UserError, match="max_order is 1"):
        bleu(["a"], ["a"], max_order=1)
    with pytest.raises(UserError, match="at least 2"):
        self_bleu(["a b c"])
    with pytest.raises(UserError, match="two-sample"):
        self_bleu(["a", "b"], protocol="two-sample")
    with pytest.raises(UserError, match="`others`"):
        self_bleu(["a", "b"], others=["c"])
    with pytest.raises(UserError, match="did you mean 'loo'"):
        self_bleu(["a", "b"], protocol="looo")


# --- Published numbers ---


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("model", "published", "published_self"),
    [
        ("mle", [0.7311, 0.4982, 0.3073, 0.1905], [0.9158, 0.7693, 0.5829, 0.4090]),
        ("leakgan", [0.7457, 0.5287, 0.3565, 0.2309], [0.9662, 0.9133, 0.8486, 0.7804]),
    ],
)
def test_texygen_samples_score_as_published(
    model: str, published: list[float], published_self: list[float], shared_data: Path
) -> None:
    """Texygen's captions against the tokenised COCO test captions, all lines, split at white space."""
    samples = lines(shared_data / "texygen_samples" / f"{model}.txt")
    references = lines(shared_data / "image_coco_tok" / "test.txt")
    assert list(bleu(samples, references).values()) == pytest.approx(published, abs=0.0005)
    assert list(self_bleu(samples).values()) == pytest.approx(published_self, abs=0.0005)
