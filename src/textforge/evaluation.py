"""What a generator is worth: likelihood of held-out text, entropy, text metrics, the distance to a known truth."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from textforge.decoding import Generator, log_prob, sample
from textforge.errors import CallError, UserError
from textforge.metrics import Evaluation, evaluate
from textforge.metrics.divergence import divergences, exact_divergences, sampled_divergences
from textforge.metrics.modes import mode_coverage, mode_distance, validity
from textforge.metrics.ngrams import unique
from textforge.oracles import Oracle
from textforge.run import Measurement
from textforge.task import Task
from textforge.text import Corpus, Tokenizer, encode

ORACLE_SEED = 10_000
"""Fresh real sequences for divergences come from this seed; training, validation and test use others."""
BATCH = 512


@dataclass(frozen=True)
class Drawn:
    """Samples of a generator as texts, with their log-probabilities and lengths in tokens, `eos` included.

    A generator driven by noise knows no log-probabilities: None.
    """

    texts: list[str]
    log_prob: Float[np.ndarray, " N"] | None
    lengths: Float[np.ndarray, " N"]

    @property
    def entropy(self) -> float:
        """The generator's entropy per token at the temperature of the draw, estimated by these samples, in nats."""
        assert self.log_prob is not None, "only a generator with a likelihood has an entropy that samples tell"
        return -float(self.log_prob.sum() / self.lengths.sum())


def draw_texts(generator: Generator, tokenizer: Tokenizer, num: int, *, temperature: float = 1.0) -> Drawn:
    """Draw texts from torch's global random numbers; raises CallError for a number or a temperature out of range."""
    if num < 0:
        raise CallError(f"{num} samples cannot be drawn; ask for 0 or more")
    if not temperature > 0:
        raise CallError(f"the temperature must be above 0, not {temperature}; 1 is the model itself, lower is sharper")
    if num == 0:
        return Drawn([], None if generator.noise_dim else np.empty(0), np.empty(0))
    decoded = sample(generator, num, temperature=temperature)
    texts = [tokenizer.decode(row) for row in decoded.tokens.tolist()]
    scores = decoded.log_probs.double().sum(1).cpu().numpy()
    return Drawn(texts, None if generator.noise_dim else scores, decoded.lengths.double().cpu().numpy())


def text_log_prob(
    generator: Generator, corpus: Corpus, *, temperature: float = 1.0, most: int | None = None
) -> Float[np.ndarray, " N"]:
    """Return the log-probability in nats of each sequence of a corpus, or of the first `most`, `eos` included.

    A sequence ends at the generator's `max_length`, where no `eos` follows: one token more, its `eos`, does not count.
    Raises UserError for a generator driven by noise.
    """
    if generator.noise_dim:
        raise UserError("a generator driven by noise has no likelihood that could be computed; judge it by its samples")
    num = len(corpus) if most is None else min(most, len(corpus))
    assert int(corpus.lengths[:num].max()) <= generator.max_length + 1, "longer sequences were left out before"
    device = next(iter(generator.parameters())).device if isinstance(generator, nn.Module) else "cpu"
    parts = []
    for start in range(0, num, BATCH):
        batch = corpus.batch(np.arange(start, min(start + BATCH, num)), None).to(device)
        parts.append(log_prob(generator, batch.tokens[:, : generator.max_length], temperature=temperature))
    return torch.cat(parts).double().cpu().numpy()


def held_out_nll(generator: Generator, corpus: Corpus, *, temperature: float = 1.0, most: int | None = None) -> float:
    """Return the NLL per real token, `eos` included, in nats."""
    scores = text_log_prob(generator, corpus, temperature=temperature, most=most)
    return -float(scores.sum()) / int(corpus.lengths[: len(scores)].sum())


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
    possible = log_p > -np.inf
    result = validity(log_p)
    if possible.any():
        result["nll_oracle"] = -float(log_p[possible].sum() / drawn.lengths[possible].sum())
    if drawn.log_prob is not None:
        corpus, _ = encode(real, oracle.tokenizer, max_length=generator.max_length)
        assert len(corpus) == num, "the generator is as long as the oracle's texts"
        log_q = text_log_prob(generator, corpus, temperature=temperature)
        result |= divergences(oracle.log_prob(real), log_q, log_p, drawn.log_prob)
    if oracle.modes:
        found = oracle.mode_of(drawn.texts)
        result |= mode_coverage(found, oracle.modes) | mode_distance(found, oracle.mode_of(real))
    support = oracle.support() if exact else None
    if support is not None:
        found_counts = Counter(drawn.texts)
        counts = np.array([found_counts[text] for text in support], dtype=np.float64)
        result |= sampled_divergences(np.exp(oracle.log_prob(support)), counts, num)
    if support is not None and drawn.log_prob is not None:
        everything, _ = encode(support, oracle.tokenizer, max_length=generator.max_length)
        q = np.exp(text_log_prob(generator, everything, temperature=temperature))
        sums = exact_divergences(np.exp(oracle.log_prob(support)), q)
        result |= {f"exact_{name}": value for name, value in sums.items()}
    return result


@dataclass(frozen=True)
class Watch:
    """Measures a generator while it trains: a little at intervals, more at the end of a phase."""

    task: Task
    num_samples: int = 256
    num_valid: int = 2000
    num_shown: int = 20

    def __call__(self, generator: nn.Module, *, phase_end: bool) -> Measurement:
        """Return held-out NLL, entropy and distinctness; at a phase's end also test NLL and divergences."""
        assert isinstance(generator, Generator)
        task = self.task
        drawn = draw_texts(generator, task.tokenizer, self.num_samples * (8 if phase_end else 1))
        scalars = unique(drawn.texts, split=task.tokenizer.split)
        if not generator.noise_dim:
            scalars["nll_valid"] = held_out_nll(generator, task.valid, most=self.num_valid)
            scalars["entropy"] = drawn.entropy
        if task.oracle is not None:
            if phase_end:
                scalars |= against_oracle(generator, task.oracle, drawn)
            else:
                log_p = task.oracle.log_prob(drawn.texts)
                scalars |= validity(log_p)
        if phase_end and task.test is not None and not generator.noise_dim:
            scalars["nll_test"] = held_out_nll(generator, task.test)
        return Measurement(scalars, drawn.texts[: self.num_shown])


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
) -> Evaluation:
    """Judge a generator by its samples, and by the likelihood that it gives to the references.

    Draws as many samples as there are references, at most `most` of either, unless told `num`.
    """
    real = list(islice(references, most))
    drawn = draw_texts(generator, tokenizer, len(real) if num is None else num, temperature=temperature)
    text = evaluate(drawn.texts, real, train=train, split=tokenizer.split, split_name=tokenizer.unit)
    corpus, counts = encode(real, tokenizer, max_length=generator.max_length)
    metrics = dict(text.metrics)
    if not generator.noise_dim:
        metrics["nll_test"] = held_out_nll(generator, corpus, temperature=temperature)
        metrics["entropy"] = drawn.entropy
    if oracle is not None:
        metrics |= against_oracle(generator, oracle, drawn, temperature=temperature, exact=True)
    settings: dict[str, str | int | float] = {
        **text.settings,
        "temperature": temperature,
        "nll": "nats per token, end of text included",
        "nll_test_lines": counts.kept,
        "nll_test_lines_too_long": counts.too_long,
        "nll_test_unknown_tokens": counts.unknown_tokens,
    }
    return Evaluation(metrics, settings)


def evaluate_texts(
    samples: Sequence[str],
    references: Iterable[str],
    tokenizer: Tokenizer,
    *,
    train: Iterable[str] | None = None,
    most: int | None = None,
) -> Evaluation:
    """Judge texts as `evaluate_generator` judges samples, against all references or the first `most`."""
    real = list(islice(references, most))
    return evaluate(samples, real, train=train, split=tokenizer.split, split_name=tokenizer.unit)
