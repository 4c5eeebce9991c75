"""A discriminator trained against a finished generator, calibrated on held-out text: what it sees, and what it is for.

The best discriminator's logit is log p(x) / g(x) (Goodfellow et al., 2014, proposition 1), so the exponential of a good
one's is a weight that leads from the generator's distribution towards that of real text: the residual energy model
g(x) exp(logit(x)) / Z (Deng et al., 2020, "Residual energy-based models for text generation"). Unlike the adversary
of a training, it faces a generator that stands still: it can be trained to its end, and its probability checked.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import LBFGS, AdamW

from textforge.decoding import Generator, device_of, log_prob, require_temperature, sample
from textforge.errors import CallError, UserError, WorkError, above, at_least, at_most
from textforge.evaluation import ORACLE_SEED
from textforge.losses import discriminator_loss
from textforge.metrics.divergence import divergences
from textforge.nets.judgement import Judgement
from textforge.nets.text_cnn import TextCNN
from textforge.options import from_json
from textforge.oracles import Oracle
from textforge.resampling import resample
from textforge.run import derive, finite, load_checkpoint, save_checkpoint, write_atomic
from textforge.task import Task
from textforge.text import Corpus, Stream, Vocabulary, encode

FOLDER = "detector"
"""Where a run keeps its detector."""
LEAST = 20
"""Held-out texts below which nothing can be said of a detector."""
OPPOSITE = 4000
"""Samples at the least that held-out text is set against: they cost little, and make the loss less noisy."""
AHEAD = 16
"""Batches that are drawn at once."""
BINS = 10
CHUNK = 512


@dataclass(frozen=True)
class Config:
    """Network and training of a detector. The values were chosen on held-out text of `captions-small`."""

    embedding_dim: int = 32
    """Size of the embeddings."""
    windows: tuple[tuple[int, int], ...] = ((1, 64), (2, 96), (3, 96), (4, 96), (6, 48), (10, 32))
    """Sizes of the convolutions' windows, and how many kernels each has."""
    dropout: float = 0.5
    """Dropout in front of the last layer."""
    batch_size: int = 64
    """Real sequences a step, beside as many generated ones."""
    epochs: int = 40
    """Passes over the training text at the most."""
    patience: int = 4
    """Passes without a lower held-out loss after which training ends."""
    lr: float = 1e-3
    """Learning rate of AdamW."""
    weight_decay: float = 1e-2
    """Weight decay of AdamW."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least(1, self, "embedding_dim", "epochs", "patience")
        at_least(2, self, "batch_size")
        at_least(0, self, "dropout", "weight_decay")
        at_most(1, self, "dropout")
        above(0, self, "lr")
        if not self.windows or min(map(min, self.windows)) < 1:
            raise CallError(f"windows are pairs of sizes and numbers of kernels above 0, not {self.windows}")


@dataclass(frozen=True, eq=False)
class Detector:
    """A network whose logits are those of a text being real, where half of all texts are: scale * network + shift."""

    network: TextCNN
    scale: float
    shift: float
    temperature: float
    """Of the samples that it was trained against."""

    @cached_property
    def _judge(self) -> Callable[[Int[Tensor, "B T"]], Judgement]:
        return self.network.tabulated()

    def logits(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, " B"]:
        """Return calibrated logits of padded sequences of the generator's length, finished or not."""
        return self.scale * torch.cat([self._judge(part).logits for part in tokens.split(CHUNK)]) + self.shift


def parted(task: Task) -> tuple[Task, Corpus]:
    """Return a task to fit a detector on, and text that the fit does not see: the test text, or a third of the held-out
    text where there is none.
    """
    if task.test is not None:
        return task, task.test
    place = np.arange(len(task.valid))
    return replace(task, valid=task.valid.take(place[place % 3 > 0])), task.valid.take(place[::3])


def fit(
    generator: Generator,
    task: Task,
    config: Config,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    told: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Detector:
    """Train a detector on the task's training text against fresh samples of the generator, and calibrate it.

    It learns beginnings as well, so that it has an opinion of unfinished text. The weights with the lowest loss on one
    half of the held-out text are kept. What the generator has learnt by heart looks real to a network that learns from
    the same text, so the logits are then scaled and shifted to fit the other half (Platt, 1999). `told` hears the
    held-out loss after every pass: ln 2 = .693 is that of one that knows nothing. Raises UserError where less than
    `LEAST` texts are held out.
    """
    require_temperature(temperature)
    if len(task.valid) < LEAST:
        raise UserError(
            f"a detector needs {LEAST} held-out texts to show that it sees anything, beside those that judge it, and "
            f"has {len(task.valid)}; train the run with more text or a larger --valid"
        )
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "detector"))
        network = TextCNN(
            task.vocabulary,
            generator.max_length,
            windows=config.windows,
            embedding_dim=config.embedding_dim,
            dropout=config.dropout,
        ).to(device := device_of(generator))
        optimizer = AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        real = Stream(task.train, config.batch_size, width=generator.max_length, seed=seed, device=device)
        stopping, calibrating = (
            Sides(_tokens(task.valid, generator, half), _samples(generator, max(len(half), OPPOSITE), temperature))
            for half in (np.arange(start, len(task.valid), 2) for start in (0, 1))
        )
        steps = -(-len(task.train) // config.batch_size)
        is_real = torch.arange(2 * config.batch_size, device=device) < config.batch_size
        best, stale, kept = math.inf, 0, _copy(network)
        for epoch in range(1, config.epochs + 1):
            for fake in _batches(generator, steps, config.batch_size, temperature):
                both = torch.cat([real.next().tokens, fake])
                loss = discriminator_loss(network(both).logits, is_real)
                loss = loss + discriminator_loss(network(_beginnings(both, task.vocabulary.pad)).logits, is_real)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            now = stopping.loss(Detector(network, 1.0, 0.0, temperature).logits)
            told(epoch, now)
            if now < best:
                best, stale, kept = now, 0, _copy(network)
            elif (stale := stale + 1) == config.patience:
                break
        network.load_state_dict(kept)
        network.eval()
        raw = Detector(network, 1.0, 0.0, temperature)
        scale, shift = _calibrate(raw.logits(calibrating.real), raw.logits(calibrating.fake))
    return replace(raw, scale=scale, shift=shift)


@dataclass(frozen=True)
class Sides:
    """Real sequences and generated ones."""

    real: Int[Tensor, "N T"]
    fake: Int[Tensor, "M T"]

    def loss(self, logits: Callable[[Int[Tensor, "B T"]], Float[Tensor, " B"]]) -> float:
        """Return the log-loss in nats, both sides with the same weight."""
        return float(F.softplus(-logits(self.real)).mean() + F.softplus(logits(self.fake)).mean()) / 2


def judge(detector: Detector, generator: Generator, corpus: Corpus, *, seed: int = 0) -> dict[str, float]:
    """Return what a detector is worth on text that it has not seen, and as many fresh samples.

    `log_loss` in nats (ln 2: it knows nothing) and its `log_loss_se`, `accuracy`; `calibration_error`, the mean
    distance between the stated probability of being real and the share that is, in ten bins of equally many texts
    (Naeini et al., 2015), which is not 0 for a perfect one either; and `effective_share`, (sum w)^2 / (N sum w^2) of
    the weights that it gives to samples: of N drawn it is as if so many counted.
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "detector's judge"))
        real = detector.logits(_tokens(corpus, generator, np.arange(len(corpus)))).double().cpu()
        fake = detector.logits(_samples(generator, len(corpus), detector.temperature)).double().cpu()
    losses = F.softplus(-real), F.softplus(fake)
    shares = fake.softmax(0)
    return {
        "log_loss": float(losses[0].mean() + losses[1].mean()) / 2,
        "log_loss_se": float(sum(loss.var() / len(loss) for loss in losses)) ** 0.5 / 2,
        "accuracy": float((real > 0).double().mean() + (fake <= 0).double().mean()) / 2,
        "calibration_error": _calibration_error(torch.cat([real, fake]).sigmoid(), len(real)),
        "effective_share": 1 / float(shares.square().sum() * len(shares)),
    }


def nearness(
    detector: Detector, generator: Generator, oracle: Oracle, num: int, *, candidates: int = 16, seed: int = 0
) -> tuple[dict[str, float], dict[str, float]]:
    """Return `divergences` from a known truth, of the generator and of what resampling by the detector makes of it.

    Both from the same `num` real texts. The density of resampled texts is g(x) exp(logit(x)) / Z, that of many
    candidates; Z is the mean weight of samples of its own, whose error is part of the standard errors.
    """
    tokenizer, width = oracle.tokenizer, generator.max_length
    corpus, _ = encode(oracle.sample(num, ORACLE_SEED), tokenizer, max_length=width)
    real = _tokens(corpus, generator, np.arange(len(corpus)))
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "nearness"))
        draw = partial(sample, generator, temperature=detector.temperature)
        plain = draw(num)
        chosen = resample(draw, detector.logits, num, candidates=candidates)
        weights = detector.logits(draw(4 * num).tokens).double().exp()

    def known(tokens: Int[Tensor, "N T"]) -> Float[np.ndarray, " N"]:
        return oracle.log_prob([tokenizer.decode(row) for row in tokens.tolist()])

    def log_g(tokens: Int[Tensor, "N T"]) -> Float[Tensor, " N"]:
        parts = [log_prob(generator, part, temperature=detector.temperature) for part in tokens.split(CHUNK)]
        return torch.cat(parts).double()

    def weighed(tokens: Int[Tensor, "N T"]) -> Float[np.ndarray, " N"]:
        return (log_g(tokens) + detector.logits(tokens).double() - weights.mean().log()).cpu().numpy()

    p = known(real)
    before = divergences(p, log_g(real).cpu().numpy(), known(plain.tokens), log_g(plain.tokens).cpu().numpy())
    after = divergences(p, weighed(real), known(chosen.tokens), weighed(chosen.tokens))
    error = float(weights.std() / weights.mean()) / len(weights) ** 0.5  # of log Z
    # Both KL move as log Z does; of JS and TV no derivative by it exceeds a half.
    moved = {"kl_pq_se": error, "kl_qp_se": error, "js_se": error / 2, "tv_se": error / 2}
    return before, after | {name: math.hypot(after[name], moved[name]) for name in moved if name in after}


def _calibration_error(stated: Float[Tensor, " N"], num_real: int) -> float:
    is_real = (torch.arange(len(stated)) < num_real).to(stated.dtype)
    values, group, count = stated.unique(return_inverse=True, return_counts=True)
    share = torch.zeros_like(values).index_add(0, group, is_real) / count  # equal ones are told apart by nothing
    distance = (values - share)[group.sort().values]
    return sum(abs(float(part.sum())) for part in torch.tensor_split(distance, BINS)) / len(stated)


def _calibrate(real: Float[Tensor, " N"], fake: Float[Tensor, " M"]) -> tuple[float, float]:
    """Return scale and shift with the least loss, a convex problem; a scale below 0 would be that of mere chance."""
    real, fake = real.double().cpu(), fake.double().cpu()
    line = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = LBFGS([line], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.softplus(-(line[0] * real + line[1])).mean() + F.softplus(line[0] * fake + line[1]).mean()
        value.backward()
        return value

    optimizer.step(loss)
    scale, shift = line.detach().tolist()
    return (scale, shift) if scale > 0 else (0.0, 0.0)


def _beginnings(both: Int[Tensor, "B2 T"], pad: int) -> Int[Tensor, "B2 T"]:
    """Cut each real sequence, and the generated one that belongs to it, behind the same token, drawn at random.

    It is one of the next real sequence's places, and what ends before it stays whole. Places that hung on a sequence's
    own length would favour beginnings that are soon over, and the best logit would not be log p(x) / g(x) any more.
    """
    length = (both != pad).sum(1)[: len(both) // 2].roll(1)
    last = (torch.rand(len(length), device=both.device) * length).long().repeat(2)
    return both.masked_fill(torch.arange(both.shape[1], device=both.device) > last[:, None], pad)


def _batches(generator: Generator, num: int, size: int, temperature: float) -> Iterator[Int[Tensor, "B T"]]:
    """Draw fresh batches, some ahead: the generator is quicker with many rows at once."""
    for start in range(0, num, AHEAD):
        yield from _samples(generator, min(AHEAD, num - start) * size, temperature).split(size)


def _samples(generator: Generator, num: int, temperature: float) -> Int[Tensor, "N T"]:
    return sample(generator, num, temperature=temperature).tokens


def _tokens(corpus: Corpus, generator: Generator, rows: Int[np.ndarray, " N"]) -> Int[Tensor, "N T"]:
    return corpus.batch(rows, generator.max_length + 1).tokens[:, : generator.max_length].to(device_of(generator))


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def fingerprint(generator: Generator) -> str:
    """Return a short hash of a generator's weights, by which a detector of an earlier state is noticed."""
    assert isinstance(generator, nn.Module)
    digest = hashlib.sha256()
    for name, value in generator.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def save(detector: Detector, generator: Generator, config: Config, found: dict[str, float], run: Path) -> None:
    """Keep a detector, and what it is worth, in the folder of its run."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    settings = {
        "config": asdict(config),
        "generator": fingerprint(generator),
        "temperature": detector.temperature,
        "metrics": finite(found),
    }
    state = {"scale": detector.scale, "shift": detector.shift, "temperature": detector.temperature}
    modules = {"modules": {"detector": detector.network.state_dict()}}
    save_checkpoint(folder / "checkpoints", "last", 0, state | modules)
    write_atomic(folder / "config.json", json.dumps(settings, indent=1).encode() + b"\n")


def load(run: Path, generator: Generator, vocabulary: Vocabulary, checkpoint: str = "last") -> Detector:
    """Load the detector of a run; raises UserError where there is none, a damaged one, or one of another generator.

    The error says how to train one against the generator, that of the `checkpoint`.
    """
    again = f"train one: textforge detector {run}" + f" --checkpoint {checkpoint}" * (checkpoint != "last")
    try:
        settings = json.loads((run / FOLDER / "config.json").read_bytes())
        if settings["generator"] == fingerprint(generator):
            return _restored(settings, run / FOLDER, generator, vocabulary)
    except FileNotFoundError:
        raise UserError(f"{run} has no detector; {again}") from None
    except (ValueError, KeyError, TypeError, AttributeError, WorkError):
        raise UserError(f"the detector of {run} is damaged; {again}") from None
    raise UserError(f"the detector of {run} was trained against another state of its generator; {again}")


def _restored(settings: dict[str, Any], folder: Path, generator: Generator, vocabulary: Vocabulary) -> Detector:
    config = Config(**{name: from_json(value) for name, value in settings["config"].items()})
    network = TextCNN(
        vocabulary,
        generator.max_length,
        windows=config.windows,
        embedding_dim=config.embedding_dim,
        dropout=config.dropout,
    )
    state = load_checkpoint(folder)
    try:
        network.load_state_dict(state["modules"]["detector"])
    except RuntimeError as error:
        raise WorkError(f"the weights in {folder} do not fit its config.json") from error
    numbers = (float(state[name]) for name in ("scale", "shift", "temperature"))
    return Detector(network.to(device_of(generator)).eval(), *numbers)
