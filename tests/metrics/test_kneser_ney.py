import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.lm import KneserNeyInterpolated  # type: ignore[import-untyped]
from nltk.util import everygrams  # type: ignore[import-untyped]
from toy_texts import markov_texts

from textforge.errors import UserError
from textforge.metrics.kneser_ney import (
    NgramModel,
    estimated_discounts,
    fit_kneser_ney,
    fit_maximum_likelihood,
    perplexity,
)

Gram = tuple[str, ...]
BEGIN, END, UNKNOWN = "<", ">", "?"
TEXTS = st.lists(st.text(alphabet="abc!", max_size=7), min_size=1, max_size=8)


class Slow:
    """The same model written from the formulas, one n-gram at a time; `!` and whatever else is unlisted is unknown."""

    def __init__(self, texts: Sequence[str], order: int, known: str) -> None:
        self.order, self.known = order, known
        rows = [self._row(text) for text in texts]
        self.raw = Counter(
            row[start:stop]
            for row in rows
            for stop in range(2, len(row) + 1)
            for start in range(max(0, stop - order), stop)
            if UNKNOWN not in row[start:stop]
        )
        self.counts = {gram: self._adjusted(gram) for gram in self.raw}
        self.discounts = {size: self._discounts(size) for size in range(1, order + 1)}
        tokens = [symbol for row in rows for symbol in row[1:]]
        self.junk = tokens.count(UNKNOWN) / len(tokens)

    def token_log_probs(self, text: str) -> list[float]:
        row = self._row(text)
        pairs = ((row[max(0, at - self.order + 1) : at], row[at]) for at in range(1, len(row)))
        return [math.log((1 - self.junk) * self._smooth(u, w) + self.junk * (w == UNKNOWN)) for u, w in pairs]

    def _row(self, text: str) -> Gram:
        return (BEGIN, *(symbol if symbol in self.known else UNKNOWN for symbol in text), END)

    def _adjusted(self, gram: Gram) -> int:
        if len(gram) == self.order or gram[0] == BEGIN:
            return self.raw[gram]
        return sum((left, *gram) in self.raw for left in (BEGIN, *self.known))

    def _discounts(self, size: int) -> list[float]:
        counts = [count for gram, count in self.counts.items() if len(gram) == size]
        one, two, three, four = (counts.count(value) for value in (1, 2, 3, 4))
        if 0 not in (one, two, three, four):
            y = one / (one + 2 * two)
            found = [0, 1 - 2 * y * two / one, 2 - 3 * y * three / two, 3 - 4 * y * four / three]
            if min(found[1:]) > 0:
                return found
        return [0, 0.5, 1, 1.5]

    def _smooth(self, context: Gram, symbol: str) -> float:
        shorter = self._smooth(context[1:], symbol) if context else 1 / (len(self.known) + 2)
        after = [self.counts.get((*context, each), 0) for each in (*self.known, END)]
        if sum(after) == 0:
            return shorter
        discounts = self.discounts[len(context) + 1]
        count = self.counts.get((*context, symbol), 0)
        left = sum(discounts[min(each, 3)] for each in after)
        return (count - discounts[min(count, 3)] + left * shorter) / sum(after)


# --- Against the formulas, and against nltk ---


@settings(max_examples=100)
@given(TEXTS, TEXTS, st.integers(1, 5))
def test_probabilities_are_those_of_the_formulas(texts: list[str], scored: list[str], order: int) -> None:
    model = fit_kneser_ney(texts, order=order, vocabulary="abcd", split=list)
    slow = Slow(texts, order, "abcd")
    expected = [slow.token_log_probs(text) for text in scored]
    tokens, lengths = model.token_log_probs(scored)
    np.testing.assert_allclose(tokens, list(itertools.chain(*expected)), rtol=0, atol=1e-10)
    assert lengths.tolist() == list(map(len, expected))
    np.testing.assert_allclose(model.log_prob(scored), list(map(sum, expected)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_are_those_of_the_formulas_where_discounts_are_estimated(order: int) -> None:
    rng = np.random.default_rng(order)
    frequent = 1 / np.arange(1, 27)
    texts = [
        "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), size, p=frequent / frequent.sum()))
        for size in rng.integers(9, size=50)
    ]
    slow = Slow(texts, order, "abcdefghijklmnopqrstuvwxyz")
    assert any(discounts != [0, 0.5, 1, 1.5] for discounts in slow.discounts.values()) or order == 1
    model = fit_kneser_ney(texts, order=order, vocabulary=slow.known, split=list)
    expected = [value for text in texts[:20] for value in slow.token_log_probs(text)]
    np.testing.assert_allclose(model.token_log_probs(texts[:20])[0], expected, rtol=0, atol=1e-10)


class ToUniform(KneserNeyInterpolated):  # type: ignore[misc]
    """Nltk's model ends at continuation shares of single symbols; here these are discounted towards uniform."""

    def __init__(self, order: int, discount: float, outcomes: int) -> None:
        super().__init__(order, discount=discount)
        self.discount, self.outcomes = discount, outcomes

    def unmasked_score(self, word: str, context: Gram | None = None) -> float:
        if context:
            alpha, gamma = self.estimator.alpha_gamma(word, context)
            return float(alpha + gamma * self.unmasked_score(word, context[1:]))
        left = {pair: count for (pair,), counts in self.counts[2].items() for count in [set(counts)]}
        types = set().union(*left.values())
        total = sum(map(len, left.values()))
        found = sum(word in after for after in left.values())
        return max(found - self.discount, 0) / total + self.discount * len(types) / total / self.outcomes


@pytest.mark.parametrize("order", [2, 3, 4])
def test_probabilities_agree_with_nltk_where_definitions_do(order: int) -> None:
    """One discount, and contexts that occur and do not reach back to the beginning, which nltk pads differently."""
    texts = markov_texts(60, seed=order)
    theirs = ToUniform(order, 0.6, outcomes=7)
    rows = [[BEGIN, *text, END] for text in texts]
    theirs.fit((everygrams(row, max_len=order) for row in rows), [BEGIN, *"abcde", END])
    ours = fit_kneser_ney(texts, order=order, vocabulary="abcde", discount=0.6, split=list)
    tokens, lengths = ours.token_log_probs(texts)
    compared = 0
    for row, found in zip(rows, np.split(tokens, np.cumsum(lengths)[:-1]), strict=True):
        for at in range(order, len(row)):
            expected = theirs.unmasked_score(row[at], tuple(row[at - order + 1 : at]))
            assert found[at - 1] == pytest.approx(math.log(expected), abs=1e-12)
            compared += 1
    assert compared > 100


def test_discounts_by_hand() -> None:
    counts = np.repeat([0, 1, 2, 3, 4, 9], [5, 12, 6, 3, 2, 7])
    scale = 12 / 24
    np.testing.assert_allclose(
        estimated_discounts(counts), [0, 1 - 2 * scale * 6 / 12, 2 - 3 * scale * 3 / 6, 3 - 4 * scale * 2 / 3]
    )


def test_discounts_fall_back_where_they_cannot_be_estimated() -> None:
    fallback = [0, 0.5, 1, 1.5]
    for missing in (1, 2, 3, 4):
        counts = np.repeat([1, 2, 3, 4], [0 if count == missing else 9 - count for count in (1, 2, 3, 4)])
        assert estimated_discounts(counts).tolist() == fallback
    assert estimated_discounts(np.repeat([1, 2, 3, 4], [9, 1, 9, 1])).tolist() == fallback  # D2 would be negative
    assert estimated_discounts(np.zeros(0, np.int64)).tolist() == fallback


@settings(max_examples=30)
@given(TEXTS)
def test_order_of_texts_does_not_matter(texts: list[str]) -> None:
    shuffled = sorted(texts, key=lambda text: text[::-1])
    for order in (1, 3):
        model, other = (fit_kneser_ney(each, order=order, split=list) for each in (texts, shuffled))
        np.testing.assert_allclose(model.log_prob(texts), other.log_prob(texts), rtol=0, atol=1e-10)


# --- It is a distribution ---


def mass(model: NgramModel, alphabet: str, longest: int) -> float:
    """Probability of all texts shorter than `longest`, and of all that begin with `longest` symbols."""
    texts = ["".join(row) for size in range(longest + 1) for row in itertools.product(alphabet, repeat=size)]
    tokens, lengths = model.token_log_probs(texts)
    rows = np.split(tokens, np.cumsum(lengths)[:-1])
    return math.fsum(math.exp(row.sum() if len(row) <= longest else row[:-1].sum()) for row in rows)


@settings(max_examples=40)
@given(TEXTS, st.integers(1, 5))
def test_probabilities_of_all_texts_sum_to_one(texts: list[str], order: int) -> None:
    """Over the known symbols, of which d is never seen, the unknown one, and the end."""
    assert mass(fit_kneser_ney(texts, order=order, vocabulary="abcd", split=list), "abcd!", 4) == pytest.approx(1)


def test_every_text_is_possible() -> None:
    model = fit_kneser_ney(["a b c", "a b"], vocabulary=["a", "b", "c", "d"])
    assert np.isfinite(model.log_prob(["", "d d", "x y z", "c b a " * 50])).all()
    assert np.isfinite(fit_kneser_ney([""], vocabulary=[]).log_prob(["", "x"])).all()


def chi_square(model: NgramModel, alphabet: str, seed: int) -> float:
    """How far drawn texts of up to 3 symbols, and the rest in one cell, are from their probabilities: z."""
    texts = ["".join(row) for size in range(4) for row in itertools.product(alphabet, repeat=size)]
    expected = np.exp(model.log_prob(texts))
    for at, text in enumerate(texts):  # given that no symbol is unknown
        for stop in range(len(text) + 1):
            expected[at] /= 1 - math.exp(model.token_log_probs([text[:stop] + "!"])[0][stop])
    found = Counter(model.sample(40_000, seed, join=""))
    counts = np.array([found[text] for text in texts])
    expected, counts = np.append(expected, 1 - expected.sum()) * 40_000, np.append(counts, 40_000 - counts.sum())
    large = expected > 5
    assert large.sum() >= 8
    assert counts[expected == 0].sum() == 0
    statistic = np.sum((counts[large] - expected[large]) ** 2 / expected[large])
    return float((statistic - large.sum()) / math.sqrt(2 * large.sum()))


@pytest.mark.parametrize("order", [1, 2, 4])
def test_samples_follow_the_probabilities(order: int) -> None:
    texts = ["ab", "ab", "abc", "ba", "", "cab", "aab!", "bca", "ab!c"]
    assert abs(chi_square(fit_kneser_ney(texts, order=order, vocabulary="abcd", split=list), "abcd", order)) < 4.5
    known = [*(text for text in texts if "!" not in text), "ac", "cb", "c", "abb", "bc"]
    assert abs(chi_square(fit_maximum_likelihood(known, order=order, split=list), "abc", order)) < 4.5


def test_samples_repeat_with_their_seed_and_end_at_the_longest() -> None:
    model = fit_maximum_likelihood(["a b a b a b a b"], order=2)
    assert model.sample(50, 1) == model.sample(50, 1) != model.sample(50, 2)
    assert max(len(text.split()) for text in model.sample(200, 1, max_length=3)) == 3
    assert model.sample(0, 1) == []


# --- Maximum likelihood ---


def test_maximum_likelihood_is_the_relative_frequency() -> None:
    model = fit_maximum_likelihood(["a b c", "a b d", "b c"], order=3)
    # begin: a in 2 of 3; a b always; after "a b": c in 1 of 2; after "b c" always the end
    assert model.log_prob(["a b c"])[0] == pytest.approx(math.log(2 / 3 * 1 / 2))
    assert model.log_prob(["a c"])[0] == -math.inf  # c never follows a
    # "c b" does not occur, but "b" does: followed by c, d, c
    assert model.token_log_probs(["c b d"])[0][2] == pytest.approx(math.log(1 / 3))


def test_maximum_likelihood_samples_hold_only_seen_ngrams() -> None:
    texts = markov_texts(80, seed=0)
    seen = {gram for text in texts for gram in everygrams([BEGIN, *text, END], min_len=4, max_len=4)}
    drawn = fit_maximum_likelihood(texts, order=4, split=list).sample(500, 0, join="")
    assert {gram for text in drawn for gram in everygrams([BEGIN, *text, END], min_len=4, max_len=4)} <= seen
    assert len(set(drawn) - set(texts)) > 50


# --- What is refused ---


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(UserError, match="at least 1, but it is 0"):
        fit_kneser_ney(["a"], order=0)
    with pytest.raises(UserError, match="no texts"):
        fit_maximum_likelihood([])
    with pytest.raises(UserError, match="no texts"):
        perplexity(fit_kneser_ney(["a"]), [])
    for discount in (0.0, 1.0, math.nan):
        with pytest.raises(UserError, match="above 0 and below 1"):
            fit_kneser_ney(["a"], discount=discount)
