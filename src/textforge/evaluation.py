"""What a generator is worth: likelihood of held-out text, entropy, text metrics, the distance to a known truth."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from textforge.conditions import each_label, is_of, joint, paired
from textforge.decoding import Decoded, Generator, device_of, evaluating, log_prob, require_temperature, sample
from textforge.errors import CallError, UserError
from textforge.metrics import Evaluation, evaluate
from textforge.metrics.audit import membership
from textforge.metrics.divergence import divergences, exact_divergences, sampled_divergences
from textforge.metrics.encoder import Encoder
from textforge.metrics.modes import mode_coverage, mode_distance, validity
from textforge.metrics.ngrams import expected_unique, unique
from textforge.neural_scores import lstm_scores
from textforge.oracles import Oracle
from textforge.relaxed import NoiseGenerator
from textforge.run import Measurement, Share
from textforge.task import Task
from textforge.text import Corpus, Labelled, Tokenizer, encode

ORACLE_SEED = 10_000
"""Fresh real sequences for divergences come from this seed; training, validation and test use others."""
BATCH = 512
MEMBERS = 2000
"""Training texts, and as many held-out ones, whose likelihoods the membership test compares."""
NOISES = 64
"""Noise vectors over which the approximate likelihood of a generator driven by noise is averaged."""
APPROXIMATED = 1000
"""Texts that get one; its cost is in proportion to the product of both."""
SUMMED = 50_000
"""Texts times labels whose likelihoods are computed where those of texts without a label are sums over all labels."""
FEWEST = 1000
"""Samples that are drawn for the sake of what needs no references, distinctness and copying, where these are fewer."""


@dataclass(frozen=True)
class Judges:
    """What judges texts where counting does not: an encoder in place of the built-in one, and an LSTM beside the count
    model.
    """

    encoder: Encoder | None = None
    encoder_name: str | None = None
    lstm: bool = False


BUILT_IN = Judges()


@dataclass(frozen=True)
class Drawn:
    """Samples of a generator as texts, with their log-probabilities and lengths in tokens, `eos` included.

    A generator driven by noise knows no log-probabilities: None.
    """

    texts: list[str]
    log_prob: Float[np.ndarray, " N"] | None
    lengths: Float[np.ndarray, " N"]
    tokens: Int[Tensor, "N T"]
    """The same as padded ids."""
    labels: list[str | None] | None = None
    """Of a model with labels that of each text, which is no part of it; None for what noise wrote without one. The
    log-probabilities are those of label and text together, or of the text given the label that was asked for."""

    @property
    def entropy(self) -> float:
        """The generator's entropy per token at the temperature of the draw, estimated by these samples, in nats."""
        assert self.log_prob is not None, "only a generator with a likelihood has an entropy that samples tell"
        return -float(self.log_prob.sum() / self.lengths.sum())


def draw_texts(generator: Generator, tokenizer: Tokenizer, num: int, *, temperature: float = 1.0) -> Drawn:
    """Draw texts from torch's global random numbers; raises CallError for a number or a temperature out of range."""
    if num < 0:
        raise CallError(f"{num} samples cannot be drawn; ask for 0 or more")
    require_temperature(temperature)
    if num == 0:
        nothing = torch.empty(0, generator.max_length, dtype=torch.long)
        log_prob = None if generator.noise_dim else np.empty(0)
        return Drawn([], log_prob, np.empty(0), nothing, [] if isinstance(tokenizer, Labelled) else None)
    return spelled(sample(generator, num, temperature=temperature), generator, tokenizer)


def spelled(decoded: Decoded, generator: Generator, tokenizer: Tokenizer) -> Drawn:
    """Return sequences of a generator as texts."""
    texts = [tokenizer.decode(row) for row in decoded.tokens.tolist()]
    scores = decoded.log_probs.double().sum(1).cpu().numpy()
    labels = [tokenizer.label_of(row) for row in decoded.tokens.tolist()] if isinstance(tokenizer, Labelled) else None
    is_label = is_of(generator.vocabulary, decoded.tokens[:, 0])
    lengths = (decoded.lengths - is_label.long()).double().cpu().numpy()
    return Drawn(texts, None if generator.noise_dim else scores, lengths, decoded.tokens, labels)


def text_log_prob(
    generator: Generator, corpus: Corpus, *, temperature: float = 1.0, most: int | None = None
) -> Float[np.ndarray, " N"]:
    """Return the log-probability in nats of each sequence of a corpus, or of the first `most`, `eos` included.

    A sequence ends at the generator's `max_length`, where no `eos` follows: one token more, its `eos`, does not count.
    Where the generator writes labels, that of a text without one is the exact sum over all labels.
    Raises UserError for a generator driven by noise.
    """
    if generator.noise_dim:
        raise UserError("a generator driven by noise has no likelihood that could be computed; judge it by its samples")
    num = len(corpus) if most is None else min(most, len(corpus))
    assert int(corpus.lengths[:num].max()) <= generator.max_length + 1, "longer sequences were left out before"
    device = next(iter(generator.parameters())).device if isinstance(generator, nn.Module) else "cpu"
    bare = corpus.vocabulary.num_labels > 0 and not corpus.labelled.any()
    parts = []
    for start in range(0, num, BATCH):
        batch = corpus.batch(np.arange(start, min(start + BATCH, num)), None).to(device)
        tokens = batch.tokens[:, : generator.max_length]
        if bare:
            parts.append(joint(generator, tokens, temperature=temperature).double().logsumexp(1))
        else:
            parts.append(log_prob(generator, tokens, temperature=temperature).double())
    return torch.cat(parts).cpu().numpy()


def joint_log_prob(generator: Generator, corpus: Corpus) -> Float[np.ndarray, "N K"]:
    """Return log p(label, text) of each sequence of a corpus without labels, and of every label, in nats.

    Raises UserError for a generator driven by noise.
    """
    if generator.noise_dim:
        raise UserError("a generator driven by noise has no likelihood, so none that tells labels of a text apart")
    device, parts = device_of(generator), []
    for rows in np.array_split(np.arange(len(corpus)), -(-len(corpus) // BATCH)):
        parts.append(joint(generator, corpus.batch(rows, None).tokens.to(device)).double())
    return torch.cat(parts).cpu().numpy()


def held_out_nll(generator: Generator, corpus: Corpus, *, temperature: float = 1.0, most: int | None = None) -> float:
    """Return the NLL per real token, `eos` included, in nats; a label counts with its nats, and is no token."""
    scores = text_log_prob(generator, corpus, temperature=temperature, most=most)
    num = len(scores)
    return -float(scores.sum()) / int((corpus.lengths - corpus.labelled)[:num].sum())


def _affordable(generator: Generator) -> int | None:
    """Return of how many texts without a label the likelihoods are computed; None for any number."""
    num_labels = generator.vocabulary.num_labels
    return max(SUMMED // num_labels, 1) if num_labels else None


@torch.no_grad()
def approximate_nll(generator: NoiseGenerator, corpus: Corpus, *, num_noises: int = NOISES) -> float:
    """Return the NLL per token of text under a generator driven by noise, whose true likelihood nobody can compute.

    A token has the mean of its probabilities given the tokens before it and the noise, over `num_noises` noise vectors,
    the same ones for all texts (Tevet et al., 2019, eq. 3). A finite number makes the NLL too high in expectation, by
    Jensen's inequality. The first `APPROXIMATED` texts count. Over labels, where there are any, it sums.
    """
    assert isinstance(generator, nn.Module)
    total, num = 0.0, min(APPROXIMATED, len(corpus))
    vocabulary = generator.vocabulary
    ways = max(1, vocabulary.num_labels)
    rows = max(1, BATCH // (num_noises * ways))
    with evaluating(generator):
        noise = generator.noise(num_noises)
        for start in range(0, num, rows):
            batch = corpus.batch(np.arange(start, min(start + rows, num)), None).to(noise.device)
            tokens = each_label(vocabulary, batch.tokens).flatten(0, 1) if vocabulary.num_labels else batch.tokens
            tokens = tokens[:, : generator.max_length]
            scores = generator(tokens.repeat_interleave(num_noises, 0), noise.repeat(len(tokens), 1))
            scores = scores.reshape(len(tokens), num_noises, -1).double().logsumexp(1) - math.log(num_noises)
            total -= float((scores * (tokens != vocabulary.pad)).sum(1).view(-1, ways).logsumexp(1).sum())
    return total / int(corpus.lengths[:num].sum())


def against_oracle(
    generator: Generator, oracle: Oracle, drawn: Drawn, *, temperature: float = 1.0, exact: bool = False
) -> dict[str, float]:
    """Compare a generator Q with the oracle P: `drawn` are samples of Q at this temperature; as many of P are drawn.

    `nll_oracle` is -log P of the generator's valid samples per token: a cross-entropy, so it falls below the oracle's
    entropy when the generator collapses; `kl_qp`, `kl_pq`, `js` and `tv` (nats per sequence, with `_se`) do not let
    that pass. `exact` adds the same sums over all texts of an enumerable oracle (`exact_js`, ...), not estimates.
    A generator driven by noise is judged by its samples alone: on an enumerable oracle by their frequencies
    (`sample_js`, beside what as many real samples get, `sample_js_floor`).
    """
    num = len(drawn.texts)
    real = oracle.sample(num, ORACLE_SEED)
    log_p = oracle.log_prob(drawn.texts)
    result = _judged(drawn.texts, log_p, drawn.lengths, oracle, real)
    if drawn.log_prob is not None:
        corpus, _ = encode(real, oracle.tokenizer, max_length=generator.max_length)
        assert len(corpus) == num, "the generator is as long as the oracle's texts"
        log_q = text_log_prob(generator, corpus, temperature=temperature)
        result |= divergences(oracle.log_prob(real), log_q, log_p, drawn.log_prob)
    support = oracle.support() if exact else None
    if support is not None:
        result |= _frequencies(drawn.texts, oracle, support)
    if support is not None and drawn.log_prob is not None:
        everything, _ = encode(support, oracle.tokenizer, max_length=generator.max_length)
        q = np.exp(text_log_prob(generator, everything, temperature=temperature))
        sums = exact_divergences(np.exp(oracle.log_prob(support)), q)
        result |= {f"exact_{name}": value for name, value in sums.items()}
    return result


def judge_texts(texts: Sequence[str], oracle: Oracle) -> dict[str, float]:
    """Judge texts without a likelihood by an oracle: is each possible, how likely, in which modes, and how often?"""
    ends = oracle.tokenizer.vocabulary.eos is not None
    lengths = np.array([len(oracle.tokenizer.split(text)) + ends for text in texts], np.float64)
    real = oracle.sample(len(texts), ORACLE_SEED)
    result = _judged(texts, oracle.log_prob(texts), lengths, oracle, real)
    support = oracle.support()
    return result if support is None else result | _frequencies(texts, oracle, support)


def _judged(
    texts: Sequence[str],
    log_p: Float[np.ndarray, " N"],
    lengths: Float[np.ndarray, " N"],
    oracle: Oracle,
    real: Sequence[str],
) -> dict[str, float]:
    possible = log_p > -np.inf
    result = validity(log_p)
    if possible.any():
        result["nll_oracle"] = -float(log_p[possible].sum() / lengths[possible].sum())
    if oracle.modes:
        found = oracle.mode_of(texts)
        result |= mode_coverage(found, oracle.modes) | mode_distance(found, oracle.mode_of(real))
    return result


def _frequencies(texts: Sequence[str], oracle: Oracle, support: Sequence[str]) -> dict[str, float]:
    found = Counter(texts)
    counts = np.array([found[text] for text in support], dtype=np.float64)
    return sampled_divergences(np.exp(oracle.log_prob(support)), counts, len(texts))


@dataclass(frozen=True)
class Watch:
    """Measures a generator while it trains: a little at intervals, more at the end of a phase."""

    task: Task
    num_samples: int = 256
    num_valid: int = 2000
    num_shown: int = 20

    @cached_property
    def _real_copies(self) -> tuple[float, int]:
        """The share of held-out lines that stand in the training text, by the rule of succession, and their number."""
        found = self.task.known.holds(islice(self.task.texts.valid or (), self.num_valid))
        return (int(found.sum()) + 1) / (len(found) + 2), len(found) + 2

    def _shares(self, samples: Sequence[str], copies: float, num: int) -> dict[str, Share]:
        """Return what tells a collapse: distinctness, always of equally many samples, and copying, beside real text."""
        first = samples[: self.num_samples]
        different = unique(first, split=self.task.tokenizer.split)["unique"]
        real, held_out = self._real_copies
        error = math.sqrt(real * (1 - real) * (1 / held_out + 1 / num))
        # Of the sequences and not of the texts: what is too long or too rare for the vocabulary, no generator can say.
        expected = expected_unique(self.task.frequencies, len(first))
        return {
            "unique": Share(different, *expected, len(first)),
            "exact_copy": Share(copies, real, error, num),
        }

    def __call__(self, generator: nn.Module, *, phase_end: bool) -> Measurement:
        """Return held-out NLL, entropy, distinctness and copying; at a phase's end also test NLL and divergences."""
        assert isinstance(generator, Generator)
        return self._measured(paired(generator), phase_end)

    def _measured(self, generator: Generator, phase_end: bool) -> Measurement:
        task = self.task
        drawn = draw_texts(generator, task.tokenizer, self.num_samples * (8 if phase_end else 1))
        scalars = unique(drawn.texts, split=task.tokenizer.split)
        scalars["exact_copy"] = float(self.task.known.holds(drawn.texts).mean())
        if not generator.noise_dim:
            scalars["nll_valid"] = held_out_nll(generator, task.valid, most=self.num_valid)
            scalars["entropy"] = drawn.entropy
        if task.objective is not None:
            scalars["objective"] = float(task.objective.scores(drawn.texts).mean())
        if task.oracle is not None:
            if phase_end:
                scalars |= against_oracle(generator, task.oracle, drawn)
            else:
                log_p = task.oracle.log_prob(drawn.texts)
                scalars |= validity(log_p)
        if phase_end and task.test is not None and not generator.noise_dim:
            scalars["nll_test"] = held_out_nll(generator, task.test.bare(), most=_affordable(generator))
        shares = self._shares(drawn.texts, scalars["exact_copy"], len(drawn.texts))
        return Measurement(scalars, drawn.texts[: self.num_shown], shares=shares)


def evaluate_generator(
    generator: Generator,
    tokenizer: Tokenizer,
    references: Iterable[str],
    *,
    train: Iterable[str] | None = None,
    oracle: Oracle | None = None,
    num: int | None = None,
    temperature: float = 1.0,
    most: int = 10_000,
    judges: Judges = BUILT_IN,
) -> Evaluation:
    """Judge a generator by its samples, and by the likelihood that it gives to the references.

    Draws as many samples as there are references, at most `most` of either, unless told `num`. Where these are few, it
    draws as many as there are training texts, up to `FEWEST`, because copies and repeats are a matter of the training
    text. `train` is gone through more than once.
    """
    real = list(islice(references, most))
    if num is None:
        num = max(len(real), sum(1 for _ in islice(train or (), min(FEWEST, most))))
    drawn = draw_texts(generator, tokenizer, num, temperature=temperature)
    text = evaluate_texts(drawn.texts, real, tokenizer, train=train, judges=judges)
    scored, room = real[: _affordable(generator)], generator.max_length - bool(generator.vocabulary.num_labels)
    corpus, counts = encode(scored, tokenizer, max_length=room)
    metrics = dict(text.metrics)
    settings: dict[str, str | int | float] = {
        **text.settings,
        "temperature": temperature,
        "nll": "nats per token, end of text included",
        "nll_test_lines": counts.kept,
        "nll_test_lines_too_long": counts.too_long,
        "nll_test_unknown_tokens": counts.unknown_tokens,
    }
    if generator.noise_dim:
        assert isinstance(generator, NoiseGenerator)
        metrics["approx_nll_test"] = approximate_nll(generator, corpus)
        settings["approx_nll_noises"] = NOISES
    else:
        metrics["nll_test"] = held_out_nll(generator, corpus, temperature=temperature)
        metrics["entropy"] = drawn.entropy
        if train is not None:
            metrics |= membership_test(generator, tokenizer, train, real, temperature=temperature)
    if oracle is not None:
        metrics |= against_oracle(generator, oracle, drawn, temperature=temperature, exact=True)
    return Evaluation(metrics, settings)


def membership_test(
    generator: Generator, tokenizer: Tokenizer, train: Iterable[str], held_out: Iterable[str], *, temperature: float
) -> dict[str, float]:
    """Return how well the likelihood per token tells training texts from held-out ones; nothing for fewer than two.

    The first `MEMBERS` distinct ones of either side are scored; a text of both sides is no evidence and left out.
    """
    vocabulary = generator.vocabulary
    room = generator.max_length - (vocabulary.eos is not None) - bool(vocabulary.num_labels)
    most = min(MEMBERS, _affordable(generator) or MEMBERS)
    sides = [dict.fromkeys(islice(texts, 2 * MEMBERS)) for texts in (train, held_out)]
    scores = []
    for side, other in (sides, reversed(sides)):
        own = [text for text in side if text not in other and 0 < len(tokenizer.split(text)) <= room][:most]
        if len(own) < 2:
            return {}
        corpus, _ = encode(own, tokenizer, max_length=generator.max_length)
        scores.append(text_log_prob(generator, corpus, temperature=temperature) / corpus.lengths)
    return membership(*scores)


def evaluate_texts(
    samples: Sequence[str],
    references: Iterable[str],
    tokenizer: Tokenizer,
    *,
    train: Iterable[str] | None = None,
    most: int | None = None,
    judges: Judges = BUILT_IN,
) -> Evaluation:
    """Judge texts as `evaluate_generator` judges samples, against all references or the first `most`."""
    real = list(islice(references, most))
    found = evaluate(
        samples,
        real,
        train=train,
        split=tokenizer.split,
        split_name=tokenizer.unit,
        encoder=judges.encoder,
        encoder_name=judges.encoder_name,
    )
    if not judges.lstm:
        return found
    return Evaluation(found.metrics | lstm_scores(samples, real, tokenizer), found.settings)
