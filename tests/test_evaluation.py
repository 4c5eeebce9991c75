"""What is said of a generator: exact where the truth can be listed, within its standard error elsewhere."""

import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from tasks import oracle_task, text_task
from torch import Tensor, nn
from worlds import ENDING, TableGenerator

from textforge import oracles
from textforge.errors import CallError, UserError
from textforge.evaluation import (
    Drawn,
    Watch,
    against_oracle,
    approximate_nll,
    draw_texts,
    evaluate_generator,
    evaluate_texts,
    held_out_nll,
    membership_test,
    text_log_prob,
)
from textforge.metrics import evaluate
from textforge.metrics.ngrams import expected_unique
from textforge.nets.lstm import LSTMGenerator
from textforge.nets.noise_lstm import NoiseStartLSTM
from textforge.options import Options
from textforge.oracles.automaton import END
from textforge.oracles.grammar import GrammarOracle
from textforge.run import Share
from textforge.task import task_from_texts
from textforge.text import Char, Texts, Vocabulary, encode

Z = 4.0
"""Standard errors that an estimate may be away from the truth."""


@dataclass
class Speaker:
    """A generator whose states are those of an automaton, and one outside the language, from which nothing returns."""

    vocabulary: Vocabulary
    max_length: int
    logits: Tensor
    following: Tensor
    noise_dim: int = 0

    def initial_state(self, batch: int, context: Any = None) -> Tensor:
        return torch.full((batch,), -1)

    def step(self, token: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.where(state < 0, 0, self.following[state.clamp(min=0), token.clamp(max=self.logits.shape[1] - 1)])
        return self.logits[state], state


@cache
def small() -> GrammarOracle:
    oracle = oracles.load("captions-small")
    assert isinstance(oracle, GrammarOracle)
    return oracle


def speaker(*, sharpness: float = 1.0, leak: float = 0.0) -> Speaker:
    """Return the oracle itself; sharper or flatter, and with some mass on every symbol, where asked for."""
    oracle = small()
    vocabulary, states = oracle.tokenizer.vocabulary, oracle.automaton.arcs
    size, outside = vocabulary.vocab_size, len(states)
    probs = torch.zeros(outside + 1, size, dtype=torch.float64)
    following = torch.full((outside + 1, size), outside)
    for state, arcs in enumerate(states):
        for symbol, arc in arcs.items():
            i = vocabulary.eos if symbol == END else vocabulary.encode([symbol])[0]
            assert i is not None
            probs[state, i] = float(arc.probability) ** sharpness
            following[state, i] = arc.target
    probs[outside] = 1
    probs = (1 - leak) * probs / probs.sum(1, keepdim=True).clamp(min=1e-300) + leak / size
    return Speaker(vocabulary, oracle.max_length, probs.log(), following)


def walked(generator: Speaker, texts: list[str]) -> np.ndarray:
    """Add up the steps of each sentence, word by word."""
    vocabulary, logits, following = generator.vocabulary, generator.logits.tolist(), generator.following.tolist()
    assert vocabulary.eos is not None
    log_probs = []
    for text in texts:
        state, total = 0, 0.0
        for i in [*vocabulary.encode(text.split()), vocabulary.eos]:
            total += logits[state][i]
            state = following[state][i]
        log_probs.append(total)
    return np.array(log_probs)


def listed(p: np.ndarray, q: np.ndarray) -> dict[str, float]:
    """Compute the divergences from the probabilities of all texts of P, straight from their definitions."""
    valid, beyond = q.sum(), 1 - q.sum()
    middle = (p + q) / 2
    return {
        "validity": valid,
        "kl_pq": np.sum(p * (np.log(p) - np.log(q))),
        "kl_qp": np.sum(q / valid * (np.log(q / valid) - np.log(p))),
        "js": (np.sum(p * np.log(p / middle)) + np.sum(q * np.log(q / middle)) + beyond * math.log(2)) / 2,
        "tv": (np.abs(p - q).sum() + beyond) / 2,
    }


def drawn_from(generator: Any, num: int, **settings: Any) -> Drawn:
    torch.manual_seed(7)
    return draw_texts(generator, small().tokenizer, num, **settings)


# --- Against an oracle ---


def test_estimates_and_sums_agree_with_enumeration() -> None:
    """Flatter than the truth, one word in a hundred at random: every divergence is far from 0 and from its limit."""
    oracle, generator = small(), speaker(sharpness=0.8, leak=0.01)
    texts = oracle.support()
    assert texts is not None
    truth = listed(np.exp(oracle.log_prob(texts)), np.exp(walked(generator, texts)))
    assert 0.1 < truth["validity"] < 0.95
    assert min(truth.values()) > 0.05

    drawn = drawn_from(generator, 3000)
    found = against_oracle(generator, oracle, drawn, exact=True)
    for name, value in truth.items():
        assert found[f"exact_{name}"] == pytest.approx(value, abs=1e-9), name
        assert 0 < found[f"{name}_se"] < 0.1, name
        assert abs(found[name] - value) < Z * found[f"{name}_se"], name

    log_p = oracle.log_prob(drawn.texts)
    valid = np.isfinite(log_p)
    lengths = np.array([len(text.split()) + 1 for text in drawn.texts])
    assert found["nll_oracle"] == pytest.approx(-log_p[valid].sum() / lengths[valid].sum(), abs=1e-12)
    assert found["validity"] == valid.mean()
    modes = {mode for mode in oracle.mode_of(drawn.texts) if mode is not None}
    assert found["mode_coverage"] == len(modes) / len(oracle.modes)


def test_a_perfect_copy_is_at_distance_nought() -> None:
    oracle, copy = small(), speaker()
    drawn = drawn_from(copy, 2000)
    found = against_oracle(copy, oracle, drawn)
    for name in ("kl_pq", "kl_qp", "js", "tv"):
        assert abs(found[name]) <= 3 * found[f"{name}_se"] + 1e-12, name
    assert found["validity"] == found["support"] == found["mode_coverage"] == 1
    assert drawn.log_prob is not None
    # The entropy of a sentence is known; the estimates are means over independent sentences, divided by their length.
    for log_prob in (drawn.log_prob, oracle.log_prob(drawn.texts)):
        assert abs(-log_prob.mean() - oracle.entropy) < Z * log_prob.std() / math.sqrt(2000)
    assert found["nll_oracle"] == pytest.approx(drawn.entropy, abs=1e-12)
    assert drawn.entropy == pytest.approx(-drawn.log_prob.sum() / drawn.lengths.sum())
    assert found["mode_tv"] < Z * math.sqrt(len(oracle.modes) / 2000)


def test_likelihoods_are_those_of_the_temperature() -> None:
    """A copy at temperature 1/2 is the copy with squared probabilities: the same draws, the same distances."""
    oracle = small()
    tempered = against_oracle(speaker(), oracle, drawn_from(speaker(), 500, temperature=0.5), temperature=0.5)
    squared = against_oracle(speaker(sharpness=2.0), oracle, drawn_from(speaker(sharpness=2.0), 500))
    assert tempered == pytest.approx(squared, abs=1e-9)
    assert tempered["kl_pq"] > 10 * tempered["kl_pq_se"]


def test_a_generator_of_nonsense_is_told_so() -> None:
    """No valid sample: there is no NLL under the oracle, nothing is covered, and JS and TV are at their limits."""
    oracle = small()
    nonsense = speaker(leak=1.0)
    found = against_oracle(nonsense, oracle, drawn_from(nonsense, 50))
    assert found["validity"] == found["mode_coverage"] == 0
    assert found["js"] == pytest.approx(math.log(2))
    assert found["tv"] == pytest.approx(1)
    assert found["mode_tv"] == pytest.approx(1)
    assert not {"nll_oracle", "kl_qp"} & found.keys()
    assert found["kl_pq"] > 50


# --- Likelihood of held-out text ---


def test_nll_counts_eos_and_no_padding() -> None:
    """The copy of an oracle gives each sentence the oracle's own log-probability, however long its neighbours are."""
    oracle, texts = small(), small().sample(600, seed=5)
    corpus, _ = encode(texts, oracle.tokenizer, max_length=None)
    log_p, lengths = oracle.log_prob(texts), np.array([len(text.split()) + 1 for text in texts])
    assert len(set(lengths)) > 5
    assert text_log_prob(speaker(), corpus) == pytest.approx(log_p, abs=1e-9)
    assert held_out_nll(speaker(), corpus) == pytest.approx(-log_p.sum() / lengths.sum(), abs=1e-12)
    assert held_out_nll(speaker(), corpus, most=7) == pytest.approx(-log_p[:7].sum() / lengths[:7].sum(), abs=1e-12)
    assert held_out_nll(speaker(), corpus, most=700) == held_out_nll(speaker(), corpus)


def test_likelihood_at_a_temperature() -> None:
    """Each step is the softmax of the logits over the temperature; the reference walks the table of logits.

    A text as long as a sequence can be has no `eos`. So the probabilities of all texts, the empty one too, sum to 1.
    """
    generator = TableGenerator(ENDING, seed=0).double().requires_grad_(False)
    vocabulary = ENDING.vocabulary
    assert vocabulary.eos is not None
    lengths = range(1, generator.max_length + 1)
    texts = ["".join(symbols) for length in lengths for symbols in itertools.product("ab", repeat=length)]
    corpus, _ = encode(texts, Char(vocabulary), max_length=None)
    for temperature in (0.5, 1.0, 3.0):
        expected = []
        for text in texts:
            prefix, total = 0, 0.0
            for token in [*vocabulary.encode(text), vocabulary.eos][: generator.max_length]:
                total += float((generator.table[prefix] / temperature).log_softmax(0)[token])
                prefix = prefix * vocabulary.vocab_size + token + 1
            expected.append(total)
        found = text_log_prob(generator, corpus, temperature=temperature)
        assert found == pytest.approx(expected, abs=1e-12)
        empty = float((generator.table[0] / temperature).softmax(0)[vocabulary.eos])
        assert np.exp(found).sum() + empty == pytest.approx(1, abs=1e-12)


# --- While training, and after ---


def lstm(vocabulary: Vocabulary, max_length: int) -> LSTMGenerator:
    torch.manual_seed(3)
    return LSTMGenerator(vocabulary, max_length, embedding_dim=4, hidden_dim=5, init_std=1.0).eval()


def test_watch_measures_more_at_the_end_of_a_phase() -> None:
    task = text_task()
    generator, watch = lstm(task.vocabulary, task.max_length), Watch(task, num_samples=16, num_valid=3, num_shown=5)
    torch.manual_seed(1)
    drawn = draw_texts(generator, task.tokenizer, 16)
    torch.manual_seed(1)
    between = watch(generator, phase_end=False)
    assert between.scalars == {
        "nll_valid": held_out_nll(generator, task.valid, most=3),
        "entropy": drawn.entropy,
        "unique": len(set(drawn.texts)) / 16,
        "exact_copy": sum(text in task.texts.train for text in drawn.texts) / 16,
    }
    assert between.samples == drawn.texts[:5]
    torch.manual_seed(1)
    more = draw_texts(generator, task.tokenizer, 8 * 16)
    torch.manual_seed(1)
    at_end = watch(generator, phase_end=True)
    assert task.test is not None
    assert at_end.scalars["nll_test"] == held_out_nll(generator, task.test)
    assert at_end.scalars["entropy"] == more.entropy


def test_watch_holds_shares_beside_those_of_real_text() -> None:
    """Distinctness always of equally many samples; what is too long for the model is no text that it could repeat."""
    task = text_task([*["cats sit", "dogs run"] * 50, "birds sing"])
    generator, watch = lstm(task.vocabulary, task.max_length), Watch(task, num_samples=16)
    frequencies = np.array([50, 50, 1])
    for end, num in ((False, 16), (True, 128)):
        torch.manual_seed(3)
        drawn = draw_texts(generator, task.tokenizer, num)
        torch.manual_seed(3)
        measured = watch(generator, phase_end=end)
        unique, copies = measured.shares["unique"], measured.shares["exact_copy"]
        assert unique == Share(len(set(drawn.texts[:16])) / 16, *expected_unique(frequencies, 16), 16)
        # All 34 held-out lines stand in the training text, and one more of each kind by the rule of succession.
        assert (copies.value, copies.real, copies.num) == (measured.scalars["exact_copy"], 35 / 36, num)
        assert copies.error == pytest.approx((35 / 36**2 * (1 / 36 + 1 / num)) ** 0.5)
    rare = task_from_texts(Texts("rare", ["a b", "a c", "a d"] * 10), Options(tokenizer="word", min_count=20))
    assert Watch(rare)(lstm(rare.vocabulary, 4), phase_end=False).shares["unique"].real == 1 / 256


def test_watch_knows_the_oracle() -> None:
    task = oracle_task(oracles.load("arithmetic"), 40)
    generator, watch = lstm(task.vocabulary, task.max_length), Watch(task, num_samples=16)
    between, at_end = (watch(generator, phase_end=end).scalars for end in (False, True))
    assert {"nll_valid", "entropy", "unique", "exact_copy", "validity"} == between.keys()
    assert {"kl_pq", "js", "js_se", "tv", "mode_coverage", "nll_test"} <= at_end.keys()
    assert {name for name in at_end if name.startswith("exact_")} == {"exact_copy"}


def test_evaluation_of_a_generator() -> None:
    """Text metrics of fresh samples, and the likelihood of those references that the model can hold."""
    task = text_task()
    generator = lstm(task.vocabulary, task.max_length)
    references = ["cats sit", "cats sit on all of the mats", "dogs bark", "the men run"]
    torch.manual_seed(2)
    found = evaluate_generator(generator, task.tokenizer, references, train=task.texts.train, num=4, temperature=0.7)
    torch.manual_seed(2)
    drawn = draw_texts(generator, task.tokenizer, 4, temperature=0.7)
    text = evaluate(drawn.texts, references, train=task.texts.train)
    kept, _ = encode([references[0], *references[2:]], task.tokenizer, max_length=None)
    own = {"nll_test": held_out_nll(generator, kept, temperature=0.7), "entropy": drawn.entropy}
    assert found.metrics == text.metrics | own
    assert found.settings["temperature"] == 0.7
    assert found.settings["nll_test_lines"] == 3
    assert found.settings["nll_test_lines_too_long"] == 1
    assert found.settings["nll_test_unknown_tokens"] == 1  # bark


def test_few_references_do_not_mean_few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least as many are drawn as there are references, and as training texts up to a limit; or as many as told."""
    monkeypatch.setattr("textforge.evaluation.FEWEST", 12)
    task = text_task()
    generator, lines = lstm(task.vocabulary, task.max_length), list(task.texts.train)
    few: dict[str, Any] = {"train": lines[:9]}
    cases = [(20, 20, {}), (20, 6, {"most": 6}), (20, 20, few), (4, 9, few), (4, 6, few | {"most": 6})]
    cases += [(4, 12, {"train": lines}), (4, 3, {"train": lines, "num": 3})]
    for references, wanted, settings in cases:
        found = evaluate_generator(generator, task.tokenizer, lines[:references], **settings).settings
        assert (found["num_samples"], found["num_references"]) == (wanted, min(references, settings.get("most", 20)))


def test_evaluation_with_an_oracle_adds_exact_sums() -> None:
    oracle = oracles.load("arithmetic")
    generator = lstm(oracle.tokenizer.vocabulary, oracle.max_length).double()
    found = evaluate_generator(generator, oracle.tokenizer, oracle.sample(400, 1), oracle=oracle).metrics
    assert 0 < found["exact_validity"] < 1
    for name in ("validity", "js", "tv", "kl_qp"):
        assert abs(found[name] - found[f"exact_{name}"]) < Z * found[f"{name}_se"], name


def test_texts_are_judged_as_samples_are() -> None:
    task = text_task()
    samples, references = ["cats sit", "birds sing", "cats run"], ["cats sit", "dogs sing", "the men run"]
    expected = evaluate(samples, references, train=references)
    assert evaluate_texts(samples, references, task.tokenizer, train=references) == expected
    assert evaluate_texts(samples, references, task.tokenizer, most=2) == evaluate(samples, references[:2])
    by_character = evaluate_texts(samples, references, Char(Vocabulary.create("abc")))
    assert by_character.settings["tokenizer"] == "character"


def test_what_cannot_be_drawn_is_refused() -> None:
    task = text_task()
    generator = lstm(task.vocabulary, task.max_length)
    assert draw_texts(generator, task.tokenizer, 0).texts == []
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(CallError, match="temperature must be above 0"):
            draw_texts(generator, task.tokenizer, 2, temperature=temperature)
    with pytest.raises(CallError, match="-1 samples"):
        draw_texts(generator, task.tokenizer, -1)
    with pytest.raises(UserError, match="no samples"):
        evaluate_generator(generator, task.tokenizer, ["cats sit"], num=0)


def test_dropout_takes_no_part() -> None:
    """Also for a network that was left in training mode."""
    task = text_task()
    generator = LSTMGenerator(task.vocabulary, task.max_length, embedding_dim=4, hidden_dim=5, dropout=0.5)
    assert isinstance(generator, nn.Module)
    assert generator.training
    assert held_out_nll(generator, task.valid) == held_out_nll(generator, task.valid)
    assert generator.training


def test_approximate_likelihood_averages_probabilities_over_the_noise() -> None:
    """Token by token, given the tokens before it; padding costs nothing, and every text has the same noise."""
    task = text_task()
    generator = NoiseStartLSTM(task.vocabulary, task.max_length, embedding_dim=4, hidden_dim=5)
    torch.manual_seed(4)
    found = approximate_nll(generator, task.valid, num_noises=7)
    torch.manual_seed(4)
    noise = generator.noise(7)
    total = 0.0
    for i in range(len(task.valid)):
        (tokens,) = task.valid.batch(np.array([i]), None).tokens
        with torch.no_grad():
            given_noise = [generator(tokens[None], one[None])[0].exp() for one in noise]
        total -= torch.stack(given_noise).mean(0).log().sum().item()
    assert found == pytest.approx(total / int(task.valid.lengths.sum()), rel=1e-5)


def test_membership_tells_a_model_that_knows_its_training_text() -> None:
    task = text_task()
    train, held_out = list(task.texts.train), ["cats cats", "dogs cats", "birds dogs"]
    generator = lstm(task.vocabulary, task.max_length)
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.05)
    batch = task.train.batch(np.arange(len(task.train)), None)
    before = membership_test(generator, task.tokenizer, train, held_out, temperature=1.0)["membership_auc"]
    for _ in range(60):
        optimizer.zero_grad()
        (-generator(batch.tokens).sum()).backward()
        optimizer.step()
    after = membership_test(generator, task.tokenizer, train, held_out, temperature=1.0)["membership_auc"]
    assert before < 0.9
    assert after == 1.0


def test_texts_of_both_sides_are_no_evidence_of_membership() -> None:
    task = text_task()
    generator = lstm(task.vocabulary, task.max_length)
    lines = list(task.texts.train)
    assert membership_test(generator, task.tokenizer, lines, lines, temperature=1.0) == {}
    only = membership_test(generator, task.tokenizer, lines, [*lines[2:], "cats cats", "dogs dogs"], temperature=1.0)
    assert {"membership_auc", "membership_auc_low", "membership_auc_high"} == only.keys()
