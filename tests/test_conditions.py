"""Labels obey the rules of probability, in worlds whose pairs can all be listed."""

import itertools
import math
from functools import partial
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import pytest
import torch
from jaxtyping import Float
from scipy import stats  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor
from worlds import TableGenerator, World, next_logits

from textforge import conditions
from textforge.constraints import constrain, length, matching, satisfies
from textforge.decoding import sample
from textforge.detector import Detector
from textforge.errors import CallError, UserError, WorkError
from textforge.evaluation import Drawn, held_out_nll
from textforge.model import Model
from textforge.nets.text_cnn import TextCNN
from textforge.options import Strategy
from textforge.text import Char, Labelled, LabelledTexts, Vocabulary, encode

LABELS = ("x", "y", "z")
TOKENIZER = Labelled(Char(Vocabulary.create("ab", unk=False)), LABELS)
TEXTS = ["".join(text) for size in (1, 2, 3) for text in itertools.product("ab", repeat=size)]
CRITICAL = 1e-4


def made(seed: int = 0, std: float = 1.0) -> Model:
    """A model that says any pair of a label and up to three letters, and, in its raw form, much that is no pair."""
    generator = TableGenerator(World(TOKENIZER.vocabulary, 4), seed, std).double().eval()
    return Model({"method": "mle"}, TOKENIZER, {"generator": generator})


def pair_prob(model: Model, label: str, text: str) -> float:
    """The probability of a pair, token by token, after what is no pair has lost its logits."""
    network = model.networks["generator"]
    assert isinstance(network, TableGenerator)
    vocabulary = TOKENIZER.vocabulary
    assert vocabulary.eos is not None
    ids = [*TOKENIZER.encode_pair(label, text or "a")[: 1 + len(text)], *[vocabulary.eos] * (len(text) < 3)]
    result = 1.0
    for t, id_ in enumerate(ids):
        logits = next_logits(network, tuple(ids[:t])).tolist()
        allowed = [i for i in range(len(logits)) if (i in vocabulary.labels) == (t == 0)]
        result *= math.exp(logits[id_]) / sum(math.exp(logits[i]) for i in allowed)
    return result


def table(model: Model) -> Float[np.ndarray, "K N"]:
    """The probabilities of all pairs, by label and text; the empty text comes last."""
    return np.array([[pair_prob(model, label, text) for text in (*TEXTS, "")] for label in LABELS])


@pytest.mark.parametrize("seed", range(3))
def test_the_rules_of_probability(seed: int) -> None:
    """Joint, marginal, conditional and posterior are those of the whole table, which sums to 1."""
    model = made(seed)
    pairs = table(model)
    assert pairs.sum() == pytest.approx(1, abs=1e-12)
    assert np.exp(model.log_prob(TEXTS)) == pytest.approx(pairs[:, :-1].sum(0), abs=1e-12)
    for row, label in zip(pairs, LABELS, strict=True):
        given = np.exp(model.log_prob(TEXTS, [label] * len(TEXTS)))
        assert given == pytest.approx(row[:-1] / row.sum(), abs=1e-12)
    assert model.label_probs(TEXTS) == pytest.approx((pairs[:, :-1] / pairs[:, :-1].sum(0)).T, abs=1e-12)
    prior = conditions.prior(model.generator).exp().tolist()
    assert prior == pytest.approx(pairs.sum(1).tolist(), abs=1e-12)
    assert model.num_tokens(["a", "ab", "aba"]) == [2, 3, 3], "a label is no token of the text"


def found(drawn: Drawn) -> Float[np.ndarray, "K N"]:
    """How often each pair was drawn; whatever is none raises."""
    counts = np.zeros((len(LABELS), len(TEXTS) + 1))
    assert drawn.labels is not None
    for label, text in zip(drawn.labels, drawn.texts, strict=True):
        assert label is not None
        counts[LABELS.index(label), [*TEXTS, ""].index(text)] += 1
    return counts


def fits(counts: Float[np.ndarray, " N"], probs: Float[np.ndarray, " N"]) -> bool:
    """Whether a chi-square test lets the frequencies pass; rare outcomes are counted as one."""
    expected = probs / probs.sum() * counts.sum()
    rare = expected < 5
    parts = [np.append(values[~rare], values[rare].sum()) for values in (counts, expected)]
    kept = parts[1] > 0
    assert counts[expected == 0].sum() == 0
    return bool(stats.chisquare(parts[0][kept], parts[1][kept]).pvalue > CRITICAL)


def test_samples_have_the_frequencies_of_pairs() -> None:
    model = made()
    pairs = table(model)
    drawn = model.draw(4000, seed=0)
    assert fits(found(drawn).ravel(), pairs.ravel())
    assert drawn.log_prob is not None
    assert drawn.labels is not None
    first = [math.log(pair_prob(model, drawn.labels[i] or "", drawn.texts[i])) for i in range(50)]
    assert drawn.log_prob[:50] == pytest.approx(first, abs=1e-9)
    for k, label in enumerate(LABELS):
        given = model.draw(4000, label=label, seed=1)
        counts = found(given)
        assert counts[k].sum() == 4000, "all have the label"
        assert fits(counts[k], pairs[k])
        assert given.log_prob is not None
        own = [math.log(pairs[k, [*TEXTS, ""].index(text)] / pairs[k].sum()) for text in given.texts[:50]]
        assert given.log_prob[:50] == pytest.approx(own, abs=1e-9)


def test_sampling_at_a_temperature_keeps_the_label() -> None:
    drawn = made().draw(500, label="y", temperature=3.0, seed=0)
    assert set(drawn.labels or ()) == {"y"}
    assert not {*"".join(drawn.texts)} - {*"ab"}


@pytest.mark.parametrize("decode", ["greedy", "top-k", "top-p", "beam"])
def test_every_way_of_decoding_obeys_the_label(decode: str) -> None:
    model = made()
    strategy = Strategy(decode, k=2)  # type: ignore[arg-type]
    for label in (*LABELS, None):
        drawn = model.draw(4, label=label, strategy=strategy, seed=0)
        assert drawn.labels is not None
        assert all(own in (LABELS if label is None else [label]) for own in drawn.labels)
    best = np.argmax(table(model)[1])
    (text,) = model.draw(1, label="y", strategy=Strategy("beam", width=60)).texts
    assert text == [*TEXTS, ""][best]


def test_constraints_and_prompts_speak_of_the_text() -> None:
    """Given both, draws have the frequencies of the model's pairs that satisfy them (up to the finite candidates)."""
    model = made()
    pairs, texts = table(model), [*TEXTS, ""]
    for label, prompt in (("z", ""), (None, "a"), ("x", "a"), (None, "")):
        wanted = matching(TOKENIZER, ".*b")
        strategy = Strategy(candidates=64)
        drawn = model.draw(1500, label=label, prompt=prompt, constraint=wanted, strategy=strategy, seed=2)
        allowed = np.array([text.startswith(prompt) and text.endswith("b") for text in texts])
        rows = np.array([label in (None, own) for own in LABELS])
        expected = pairs * allowed * rows[:, None]
        assert fits(found(drawn).ravel(), expected.ravel())
    assert set(map(len, model.draw(100, constraint=length(TOKENIZER.vocabulary, exactly=2), seed=0).texts)) == {2}
    prompted = model.draw(200, label="y", prompt="ab", seed=0)
    assert all(text.startswith("ab") for text in prompted.texts)
    assert set(prompted.labels or ()) == {"y"}


def test_a_constraint_begins_behind_a_label() -> None:
    """Of a generator that would say anything, what satisfies a constraint is a label and a text without one."""
    vocabulary, network = TOKENIZER.vocabulary, made().networks["generator"]
    assert isinstance(network, TableGenerator)
    rows = World(vocabulary, 4).sequences
    labels = conditions.is_of(vocabulary, rows)
    pairs = labels[:, 0] & ~labels[:, 1:].any(1)
    assert torch.equal(satisfies(length(vocabulary), vocabulary, rows), pairs)
    two = pairs & ((rows != vocabulary.pad) & (rows != vocabulary.eos)).sum(1).eq(3)
    assert torch.equal(satisfies(length(vocabulary, exactly=2), vocabulary, rows), two)
    drawn = sample(constrain(network, matching(TOKENIZER, "a.*")), 200).tokens
    assert all(TOKENIZER.label_of(row) and TOKENIZER.decode(row).startswith("a") for row in drawn.tolist())
    assert not conditions.is_of(vocabulary, drawn[:, 1:]).any()


def test_blanks_are_filled_behind_a_label() -> None:
    """Of a model that reads forward, the first blank hangs on the label in front of it alone."""
    model = made()
    pairs, texts = table(model), [*TEXTS, ""]
    longer = np.array([len(text) > 0 for text in texts])
    for k, label in enumerate(LABELS):
        filled = model.infill("___b", 2000, label=label, seed=3)
        assert {*filled} <= {"ab", "bb"}
        begins = np.array([[text.startswith(own) for text in texts] for own in "ab"])
        probs = (pairs[k] * begins * longer).sum(1)
        assert fits(np.array([filled.count("ab"), filled.count("bb")], float), probs)
    assert {*model.infill("___b", 20, seed=0)} <= {"ab", "bb"}
    tokens = model.fill("___b", 500, seed=0).tokens
    assert conditions.is_of(TOKENIZER.vocabulary, tokens[:, 0]).all()


def test_waiting_for_a_label_draws_given_it() -> None:
    """What noise drives is asked until it says the label: exact draws, whatever it is that draws."""
    network = made().generator
    vocabulary = TOKENIZER.vocabulary
    decoded = conditions.until(partial(sample, network), vocabulary.labels[2], 3000)
    counts = np.zeros(len(TEXTS) + 1)
    for row in decoded.tokens.tolist():
        assert TOKENIZER.label_of(row) == "z"
        counts[[*TEXTS, ""].index(TOKENIZER.decode(row))] += 1
    assert fits(counts, table(made())[2])
    with pytest.raises(WorkError, match=r"of [\d,]+ texts 0 have this label, and 2 are wanted"):
        conditions.until(partial(sample, conditions.paired(network, vocabulary.labels[0])), vocabulary.labels[1], 2)


def test_odds_of_a_text_are_those_of_its_pairs_on_average() -> None:
    """A judge that knows p / q of all pairs, p being another model, knows p / q of texts."""
    model, other = made(0), made(1)
    q, p = table(model)[:, :-1], table(other)[:, :-1]

    def judge(tokens: Tensor) -> Tensor:
        rows = tokens.tolist()
        places = [(LABELS.index(TOKENIZER.label_of(row) or ""), TEXTS.index(TOKENIZER.decode(row))) for row in rows]
        return torch.tensor([math.log(p[place] / q[place]) for place in places], dtype=torch.float64)

    corpus, _ = encode(TEXTS, TOKENIZER, max_length=None)
    tokens = corpus.batch(np.arange(len(TEXTS)), 5).tokens[:, :4]
    logits = conditions.judged(model.generator, judge, tokens)
    assert logits.tolist() == pytest.approx(np.log(p.sum(0) / q.sum(0)).tolist(), abs=1e-9)


def test_what_judges_samples_of_a_temperature_weighs_labels_at_it() -> None:
    """A detector that knows p / q_T of all pairs knows p / q_T of texts, q_T being what is drawn."""

    class Knowing(Detector):
        def logits(self, tokens: Tensor) -> Tensor:
            rows = tokens.tolist()
            places = [(LABELS.index(TOKENIZER.label_of(row) or ""), TEXTS.index(TOKENIZER.decode(row))) for row in rows]
            return torch.tensor([math.log(p[place] / q[place]) for place in places], dtype=torch.float64)

    model, other = made(0), made(1)
    sharp = made(0, std=2.0)  # the logits are numbers times `std`
    q, p = table(sharp)[:, :-1], table(other)[:, :-1]
    network = TextCNN(TOKENIZER.vocabulary, 4, windows=((1, 1),), embedding_dim=1, dropout=0.0)
    found = model.p_real(TEXTS, Knowing(network, scale=1.0, shift=0.0, temperature=0.5))
    assert found == pytest.approx(p.sum(0) / (p.sum(0) + q.sum(0)), abs=1e-9)
    corpus, _ = encode(TEXTS, TOKENIZER, max_length=None)
    tokens = corpus.batch(np.arange(len(TEXTS)), 5).tokens[:, :4]
    joint = conditions.joint(model.generator, tokens, temperature=0.5)
    np.testing.assert_allclose(joint.exp().numpy().T, q, atol=1e-12)
    prior = conditions.prior(model.generator, temperature=0.5)
    given = (joint - prior).exp().numpy().T
    np.testing.assert_allclose(given, q / table(sharp).sum(1, keepdims=True), atol=1e-12)


def test_pairs_of_many_texts_are_made_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = made().generator
    tokens = torch.tensor([TOKENIZER.encode(text) for text in TEXTS if len(text) == 2])
    whole = conditions.joint(generator, tokens)
    monkeypatch.setattr(conditions, "ROWS", 4)
    sizes: list[int] = []

    def made_of(*arguments: Any) -> Tensor:
        pairs = each_label(*arguments)
        sizes.append(pairs.shape[:2].numel())
        return pairs

    each_label = conditions.each_label
    monkeypatch.setattr(conditions, "each_label", made_of)
    assert torch.equal(conditions.joint(generator, tokens), whole)
    assert max(sizes) <= 4


def test_labels_are_asked_for_as_they_were_learned() -> None:
    """Whole numbers as any number, words with spaces around, and in any container."""
    generator = made().networks["generator"]
    model = Model({"method": "mle"}, Labelled(TOKENIZER.inner, ("0", "1", "pos")), {"generator": generator})
    expected = model.log_prob(["a", "ab", "b"], ["0", "1", "pos"])
    series = pd.Series([0.0, np.int64(1), " pos "], index=[7, 8, 9])
    assert model.log_prob(["a", "ab", "b"], series).tolist() == expected.tolist()
    assert model.sample(3, label=1.0, seed=0) == model.sample(3, label="1", seed=0)
    for missing in (None, float("nan"), " "):
        with pytest.raises(UserError, match="label 2 is missing"):
            model.log_prob(["a", "b"], ["0", missing])
    with pytest.raises(UserError, match="there is no label None"):
        Labelled(TOKENIZER.inner, ("None", "0")).label_id(None)


def test_labels_count_with_their_nats_and_are_no_tokens() -> None:
    model = made()
    corpus, _ = encode(LabelledTexts([("x", "ab"), ("z", "a")]), TOKENIZER, max_length=None)
    joint = math.log(pair_prob(model, "x", "ab")) + math.log(pair_prob(model, "z", "a"))
    assert held_out_nll(model.generator, corpus) == pytest.approx(-joint / 5)
    alone = model.log_prob(["ab", "a"]).sum()
    assert held_out_nll(model.generator, corpus.bare()) == pytest.approx(-alone / 5)


def test_a_generator_without_labels_stays_as_it_is() -> None:
    generator = TableGenerator(World(Vocabulary.create("ab", unk=False), 3), 0)
    assert conditions.paired(generator) is generator
    model = Model({"method": "mle"}, TOKENIZER.inner, {"generator": generator})
    assert model.generator is generator
    assert model.labels == ()
    assert model.draw(3, seed=0).labels is None
    for use in (
        lambda: model.sample(1, label="x"),
        lambda: model.log_prob(["a"], ["x"]),
        lambda: model.infill("___", label="x"),
        lambda: model.label_probs(["a"]),
    ):
        with pytest.raises(CallError, match="this model has learned no labels"):
            use()


def test_wrong_labels_are_named() -> None:
    model = made()
    for use in (
        lambda: model.sample(1, label="w"),
        lambda: model.log_prob(["a"], ["w"]),
        lambda: model.infill("___", label=7),
    ):
        with pytest.raises(UserError, match=r"there is no label '[w7]'; there are 'x', 'y', 'z'"):
            use()
    with pytest.raises(UserError, match="there are 2 texts and 1 labels"):
        model.log_prob(["a", "b"], ["x"])
    with pytest.raises(UserError, match="text 1 has 4 tokens and the model at most 3"):
        model.log_prob(["abab"])
    assert model.log_prob([], []).shape == (0,)
    assert model.label_probs([]).shape == (0, 3)
    assert model.draw(0).labels == []
