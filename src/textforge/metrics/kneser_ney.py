"""An n-gram language model with interpolated Kneser-Ney smoothing, and how it judges a generator.

The probability of a symbol w after a context u mixes what was counted after u with what the shorter context u' says:
P(w | u) = (a(uw) - D(a(uw))) / sum_v a(uv) + backoff(u) P(w | u'), where backoff(u) is the mass that the discounts D
took (Chen and Goodman, 1998, section 4.1). At the highest order, and where the n-gram begins a text, a(uw) is a count.
Below it is the number of different symbols to the left of uw, the beginning of a text being one (Kneser and Ney, 1995).
The shortest context is the empty one, and below it lies the uniform distribution over all outcomes.

**Outcomes** are the known symbols, the end of a text and one symbol for all that is unknown. Where texts to be fitted
hold unknown symbols, these are cut out: they leave no n-gram, no neighbour and no discount behind, and take their share
of all tokens off the probability of everything else. Any estimator that treated them as a word would let noise smooth
the model: one junk word here and there teaches it to expect the unexpected, which pays where the texts are collapsed.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from textforge.errors import UserError
from textforge.metrics.counts import Split, require

END, UNKNOWN, BEGIN = range(3)
"""Ids that no symbol has; those of the known symbols follow. BEGIN stands in contexts only."""

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""Discounts of counts 1, 2 and above where there are too few n-grams to estimate them (as in KenLM)."""


@dataclass(frozen=True)
class Grams:
    """The n-grams of one order, by context and then by last symbol; a context is a row of the order below."""

    num_ids: int
    key: Int[np.ndarray, "rows"]
    """Context * num_ids + last symbol, ascending."""
    weight: Float[np.ndarray, "rows"]
    """The discounted share that this order gives to the last symbol after its context."""
    backoff: Float[np.ndarray, "contexts"]
    """The share left to the order below; 1 where nothing was counted after the context."""

    def find(self, context: Int[np.ndarray, "B"], symbol: Int[np.ndarray, "B"]) -> Int[np.ndarray, "B"]:
        """Return the row of each context (-1: unknown) and symbol, -1 where there is none."""
        wanted = context * self.num_ids + symbol
        at = np.minimum(np.searchsorted(self.key, wanted), len(self.key) - 1)
        return np.where((self.key[at] == wanted) & (context >= 0), at, -1)

    def to_shorter(self, context: Int[np.ndarray, "B"]) -> Float[np.ndarray, "B"]:
        """Return the share that each context leaves to the order below; an unknown one leaves all."""
        return np.where(context >= 0, self.backoff[context], 1.0)

    def draw(self, context: Int[np.ndarray, "B"], rng: np.random.Generator) -> Int[np.ndarray, "B"]:
        """Draw a symbol in proportion to its weight after each context; each must have been continued."""
        start, stop = (np.searchsorted(self.key, (context + step) * self.num_ids) for step in (0, 1))
        low, high = self._cumulative[start], self._cumulative[stop]
        row = np.searchsorted(self._cumulative, low + rng.random(len(context)) * (high - low), side="right") - 1
        return np.asarray(self.key[np.clip(row, start, stop - 1)] % self.num_ids)

    @cached_property
    def _cumulative(self) -> Float[np.ndarray, "bounds"]:
        return np.concatenate(([0.0], np.cumsum(self.weight)))


@dataclass(frozen=True)
class NgramModel:
    """A distribution over all texts; make it with `fit_kneser_ney` or `fit_maximum_likelihood`."""

    orders: tuple[Grams, ...]
    """From single symbols upwards."""
    numbers: dict[str, int]
    """The ids of the known symbols."""
    unknown_share: float
    """Share of unknown symbols among the tokens that the model was fitted on."""
    split: Split

    def log_prob(self, texts: Sequence[str]) -> Float[np.ndarray, "N"]:
        """Return the log-probability of each text and its end, in nats."""
        tokens, lengths = self.token_log_probs(texts)
        return np.bincount(np.repeat(np.arange(len(texts)), lengths), weights=tokens, minlength=len(texts))

    def token_log_probs(self, texts: Sequence[str]) -> tuple[Float[np.ndarray, "tokens"], Int[np.ndarray, "N"]]:
        """Return the log-probabilities of all tokens behind one another, and each text's number of tokens, end counted.

        -inf marks what cannot be: a model of maximum likelihood gives nothing to an unseen symbol after a seen context.
        """
        flat = _flat(texts, self.split, lambda symbol: self.numbers.get(symbol, UNKNOWN))
        probability = np.full(len(flat), 1 / (len(self.numbers) + 2))
        context = np.zeros(len(flat), np.int64)
        for grams in self.orders:
            row = grams.find(context, flat)
            weight = np.zeros(len(flat))
            weight[row >= 0] = grams.weight[row[row >= 0]]
            probability = weight + grams.to_shorter(context) * probability
            context = _before(row, flat)
        probability = (1 - self.unknown_share) * probability + self.unknown_share * (flat == UNKNOWN)
        ends = np.flatnonzero(flat == END)
        with np.errstate(divide="ignore"):
            tokens = np.log(probability[flat != BEGIN])
        return tokens, np.diff(ends, prepend=-1) - 1

    def sample(self, num: int, seed: int, *, join: str = " ", max_length: int = 1_000) -> list[str]:
        """Draw texts that hold no unknown symbol; those that have not ended after `max_length` symbols are cut."""
        return [join.join(symbols) for symbols in self.sample_symbols(num, seed, max_length=max_length)]

    def sample_symbols(self, num: int, seed: int, *, max_length: int = 1_000) -> list[list[str]]:
        """Draw the same texts, symbol by symbol."""
        rng = np.random.default_rng(seed)
        owner, drawn = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        going = np.arange(num)
        nothing = np.full((len(self.orders) + 1, num), -1)
        nothing[0] = 0
        contexts = self._extended(nothing, np.full(num, BEGIN))
        for _ in range(max_length):
            symbol = self._next(contexts, rng)
            goes_on = symbol != END
            going, symbol = going[goes_on], symbol[goes_on]
            if not len(going):
                break
            owner.append(going)
            drawn.append(symbol)
            contexts = self._extended(contexts[:, goes_on], symbol)
        names = dict(zip(self.numbers.values(), self.numbers, strict=True))
        texts: list[list[str]] = [[] for _ in range(num)]
        for index, symbol_id in zip(np.concatenate(owner).tolist(), np.concatenate(drawn).tolist(), strict=True):
            texts[index].append(names[symbol_id])
        return texts

    def _extended(
        self, contexts: Int[np.ndarray, "lengths B"], symbol: Int[np.ndarray, "B"]
    ) -> Int[np.ndarray, "lengths B"]:
        """Append a symbol: row n holds the context of the last n symbols."""
        rows = [grams.find(context, symbol) for grams, context in zip(self.orders, contexts, strict=False)]
        return np.stack([np.zeros_like(symbol), *rows])

    def _next(self, contexts: Int[np.ndarray, "lengths B"], rng: np.random.Generator) -> Int[np.ndarray, "B"]:
        symbol = np.full(contexts.shape[1], UNKNOWN)
        while (open_ := np.flatnonzero(symbol == UNKNOWN)).size:  # to draw again is to draw given that it is known
            outcome = rng.integers(len(self.numbers) + 2, size=len(open_))
            outcome += outcome >= BEGIN
            for grams, context in zip(self.orders, contexts[:, open_], strict=False):
                here = np.flatnonzero(rng.random(len(open_)) >= grams.to_shorter(context))
                outcome[here] = grams.draw(context[here], rng)
            symbol[open_] = outcome
        return symbol


def fit_kneser_ney(
    texts: Iterable[str],
    *,
    order: int = 5,
    vocabulary: Iterable[str] | None = None,
    discount: float | None = None,
    split: Split = str.split,
) -> NgramModel:
    """Fit an interpolated Kneser-Ney model to texts, which may stream.

    `vocabulary` lists the known symbols; without it they are those of the texts. Models compare only where it is the
    same. The discounts of each order follow from its counts of counts (Chen and Goodman, 1998, equation 26), or are
    `FALLBACK_DISCOUNTS` where one count of 1 to 4 does not occur or a discount is not positive; `discount`, above 0 and
    below 1, takes the place of all of them.
    """
    if discount is not None and not 0 < discount < 1:
        raise UserError(f"a discount lies above 0 and below 1, but it is {discount}")

    def discounts(adjusted: Int[np.ndarray, "rows"]) -> Float[np.ndarray, "4"]:
        return estimated_discounts(adjusted) if discount is None else np.array([0, discount, discount, discount])

    return _fit(texts, order, vocabulary, split, discounts, continuations=True)


def fit_maximum_likelihood(texts: Iterable[str], *, order: int = 4, split: Split = str.split) -> NgramModel:
    """Fit relative frequencies: after a context that occurs, each symbol has its share of what followed.

    Its samples are text in which every n-gram of that order stands in `texts`: the count model that published
    generators have to beat. A context that does not occur is shortened until it does.
    """
    return _fit(texts, order, None, split, lambda adjusted: np.zeros(4), continuations=False)


def lm_score(
    samples: Sequence[str],
    references: Sequence[str],
    *,
    order: int = 5,
    vocabulary: Iterable[str] = (),
    split: Split = str.split,
) -> dict[str, float]:
    """Nats per token of the samples under a Kneser-Ney model of the references: `lm_score`; lower is more fluent.

    The first min(N, M) texts of both sides are used. Known symbols are those of all references and of `vocabulary`.
    """
    known = _known(samples, references, vocabulary, split)
    num = min(len(samples), len(references))
    return {
        "lm_score": _nats(fit_kneser_ney(references[:num], order=order, vocabulary=known, split=split), samples[:num])
    }


def reverse_lm_score(
    samples: Sequence[str],
    references: Sequence[str],
    *,
    order: int = 5,
    vocabulary: Iterable[str] = (),
    split: Split = str.split,
) -> dict[str, float]:
    """Nats per token of the references under a Kneser-Ney model of the samples: `reverse_lm_score`; lower is better.

    The first min(N, M) texts of both sides are used. Known symbols are those of all references and of `vocabulary`,
    so no reference holds an unknown one, and a sample that does pays for it: junk is a symbol that real text lacks.
    """
    nats, lengths = reverse_nats(samples, references, order=order, vocabulary=vocabulary, split=split)
    return {"reverse_lm_score": float(nats.sum()) / int(lengths.sum())}


def reverse_nats(
    samples: Sequence[str],
    references: Sequence[str],
    *,
    order: int = 5,
    vocabulary: Iterable[str] = (),
    split: Split = str.split,
) -> tuple[Float[np.ndarray, "M"], Int[np.ndarray, "M"]]:
    """Return what `reverse_lm_score` is the ratio of: the nats of each of the references, and its number of tokens."""
    known = _known(samples, references, vocabulary, split)
    num = min(len(samples), len(references))
    model = fit_kneser_ney(samples[:num], order=order, vocabulary=known, split=split)
    tokens, lengths = model.token_log_probs(references[:num])
    return -np.bincount(np.repeat(np.arange(num), lengths), weights=tokens, minlength=num), lengths


def perplexity(model: NgramModel, texts: Sequence[str]) -> dict[str, float]:
    """Perplexity of the texts under a model, per token and ends counted: `perplexity`."""
    require(texts, "texts")
    return {"perplexity": math.exp(_nats(model, texts))}


def estimated_discounts(adjusted: Int[np.ndarray, "rows"]) -> Float[np.ndarray, "4"]:
    """Return the discounts of counts 0, 1, 2 and above, from how many n-grams have the counts 1, 2, 3 and 4."""
    one, two, three, four = np.bincount(np.minimum(adjusted, 5), minlength=6)[1:5].tolist()
    if min(one, two, three, four) > 0:
        scale = one / (one + 2 * two)
        found = np.array([0, 1 - 2 * scale * two / one, 2 - 3 * scale * three / two, 3 - 4 * scale * four / three])
        if np.all(found[1:] > 0):
            return found
    return np.array([0, *FALLBACK_DISCOUNTS])


def _nats(model: NgramModel, texts: Sequence[str]) -> float:
    return -float(model.token_log_probs(texts)[0].mean())


def _known(samples: Sequence[str], references: Sequence[str], vocabulary: Iterable[str], split: Split) -> set[str]:
    require(samples, "samples")
    require(references, "references")
    return set(vocabulary).union(*map(split, references))


def _fit(
    texts: Iterable[str],
    order: int,
    vocabulary: Iterable[str] | None,
    split: Split,
    discounts: Callable[[Int[np.ndarray, "rows"]], Float[np.ndarray, "4"]],
    *,
    continuations: bool,
) -> NgramModel:
    if order < 1:
        raise UserError(f"the order of an n-gram model is at least 1, but it is {order}")
    growing: defaultdict[str, int] = defaultdict(itertools.count(BEGIN + 1).__next__)
    if vocabulary is None:
        flat = _flat(texts, split, growing.__getitem__)
    else:
        for symbol in sorted(set(vocabulary)):
            growing[symbol]
        flat = _flat(texts, split, lambda symbol: growing.get(symbol, UNKNOWN))
    if not len(flat):
        raise UserError("there are no texts to fit a language model to; pass at least one")
    num_ids = BEGIN + 1 + len(growing)
    assert len(flat) * num_ids < 2**63, "a context and a symbol must fit into 64 bits"

    orders: list[Grams] = []
    context, num_contexts = np.zeros(len(flat), np.int64), 1
    level = _Level.of(context, flat, num_ids)
    for size in range(1, order + 1):
        if not len(level.key):
            break  # no text is that long
        longer = _Level.of(_before(level.row, flat), flat, num_ids)
        adjusted = level.count
        if continuations and size < order:
            begins = flat[level.first - size + 1] == BEGIN
            neighbours = np.bincount(level.row[longer.first], minlength=len(level.key))
            adjusted = np.where(begins, level.count, neighbours)
        if size == 1:
            adjusted = np.where(level.key == BEGIN, 0, adjusted)
        orders.append(_grams(level, adjusted, discounts(adjusted), num_ids, num_contexts))
        level, num_contexts = longer, len(level.key)
    num_tokens = int(np.sum(flat != BEGIN))
    return NgramModel(tuple(orders), dict(growing), float(np.sum(flat == UNKNOWN)) / num_tokens, split)


@dataclass(frozen=True)
class _Level:
    """The n-grams of one order: of each its key, count and first place, and at each place the row that ends there."""

    key: Int[np.ndarray, "rows"]
    count: Int[np.ndarray, "rows"]
    first: Int[np.ndarray, "rows"]
    row: Int[np.ndarray, "symbols"]

    @classmethod
    def of(cls, context: Int[np.ndarray, "symbols"], flat: Int[np.ndarray, "symbols"], num_ids: int) -> "_Level":
        at = np.flatnonzero((context >= 0) & (flat != UNKNOWN))
        key, first, inverse, count = np.unique(
            context[at] * num_ids + flat[at], return_index=True, return_inverse=True, return_counts=True
        )
        row = np.full(len(flat), -1)
        row[at] = inverse
        return cls(key, count, at[first], row)


def _grams(
    level: _Level,
    adjusted: Int[np.ndarray, "rows"],
    discounts: Float[np.ndarray, "4"],
    num_ids: int,
    num_contexts: int,
) -> Grams:
    context, discount = level.key // num_ids, discounts[np.minimum(adjusted, 3)]
    total = np.bincount(context, weights=adjusted, minlength=num_contexts)
    taken = np.bincount(context, weights=discount, minlength=num_contexts)
    counted = np.maximum(total, 1)
    backoff = np.where(total > 0, taken / counted, 1.0)
    return Grams(num_ids, level.key, (adjusted - discount) / counted[context], backoff)


def _flat(texts: Iterable[str], split: Split, number: Callable[[str], int]) -> Int[np.ndarray, "symbols"]:
    """Return the ids of all texts behind one another, each between a begin and an end."""

    def stream() -> Iterator[int]:
        for text in texts:
            yield BEGIN
            yield from map(number, split(text))
            yield END

    return np.fromiter(stream(), np.int64)


def _before(row: Int[np.ndarray, "symbols"], flat: Int[np.ndarray, "symbols"]) -> Int[np.ndarray, "symbols"]:
    """Return at each place the row that ended one place before it in the same text, -1 where there is none."""
    context = np.full(len(row), -1)
    context[1:] = np.where(flat[:-1] == END, -1, row[:-1])
    return context
