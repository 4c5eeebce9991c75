"""A detector in a world whose truth is known: what it could see at best, what it sees, and what it says of itself."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import worlds
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from worlds import ENDING, FIXED, Prefix

from textforge import detector
from textforge.decoding import sample
from textforge.detector import FOLDER, Config, Detector, Sides, fingerprint, fit, judge, load, parted, save
from textforge.errors import CallError, UserError
from textforge.metrics.divergence import exact_divergences
from textforge.nets.text_cnn import TextCNN
from textforge.oracles.table import TableOracle
from textforge.task import Task
from textforge.text import Corpus, Texts, Word

PAD, WIDTH = ENDING.vocabulary.pad, ENDING.max_length
SMALL = Config(
    embedding_dim=8,
    windows=((1, 16), (2, 32), (3, 32), (4, 32)),
    dropout=0.1,
    batch_size=128,
    epochs=25,
    patience=4,
    lr=5e-3,
)


def truth() -> Any:
    return worlds.TableGenerator(ENDING, 1)


def generator() -> Any:
    return worlds.TableGenerator(ENDING, 2)


def probabilities() -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Of every sequence: as real text, and as a sample."""
    p, g = (worlds.exact_probs(model, ENDING).double().detach() for model in (truth(), generator()))
    return p, g


def corpus_of(tokens: Int[Tensor, "N T"]) -> Corpus:
    real = tokens != PAD
    offsets = np.concatenate([[0], real.sum(1).cumsum(0).numpy()])
    return Corpus(tokens[real].numpy().astype(np.int32), offsets, ENDING.vocabulary)


def task_of(num: int, num_valid: int) -> Task:
    """As many real texts to learn from, and to be held out."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        train, valid = (corpus_of(sample(truth(), n).tokens) for n in (num, num_valid))
    return Task(Texts("world", []), Word(ENDING.vocabulary), WIDTH, train, valid, oracle=None, notes=())


def beginnings(probs: Float[Tensor, " K"]) -> dict[Prefix, float]:
    """Return how probable it is that a text begins so."""
    found: dict[Prefix, float] = {}
    for row, length, prob in zip(ENDING.sequences.tolist(), ENDING.mask.sum(1).tolist(), probs.tolist(), strict=True):
        for t in range(1, length + 1):
            found[tuple(row[:t])] = found.get(tuple(row[:t]), 0.0) + prob
    return found


def padded(prefixes: list[Prefix]) -> Int[Tensor, "N T"]:
    return torch.tensor([[*prefix] + [PAD] * (WIDTH - len(prefix)) for prefix in prefixes])


def log_loss(p: Float[Tensor, " K"], g: Float[Tensor, " K"], logits: Float[Tensor, " K"]) -> float:
    return float(p @ F.softplus(-logits) + g @ F.softplus(logits)) / 2


def correlation(x: Float[Tensor, " K"], y: Float[Tensor, " K"], weights: Float[Tensor, " K"]) -> float:
    covariance = np.cov(torch.stack([x, y]).numpy(), aweights=weights.numpy())
    return float(covariance[0, 1] / (covariance[0, 0] * covariance[1, 1]) ** 0.5)


def untrained(scale: float = 1.0, shift: float = 0.0) -> Detector:
    network = TextCNN(ENDING.vocabulary, WIDTH, windows=((1, 4), (3, 4)), embedding_dim=3, dropout=0.5)
    return Detector(network.eval(), scale, shift, 1.0)


def same(one: Detector, other: Detector) -> bool:
    return torch.equal(one.logits(ENDING.sequences), other.logits(ENDING.sequences))


@pytest.fixture(scope="module")
def task() -> Task:
    return task_of(2000, 1200)


@pytest.fixture(scope="module")
def heard() -> list[float]:
    """The held-out losses that `fit` told."""
    return []


@pytest.fixture(scope="module")
def found(task: Task, heard: list[float]) -> Detector:
    return fit(generator(), task, SMALL, seed=1, told=lambda epoch, loss: heard.append(loss))


# --- What it sees ---


def test_logits_are_nearly_the_log_ratio(found: Detector) -> None:
    p, g = probabilities()
    ratio = (p / g).log()
    logits = found.logits(ENDING.sequences).double()
    assert correlation(logits, ratio, (p + g) / 2) > 0.97
    best = log_loss(p, g, ratio)
    assert best < math.log(2) - 0.1, "there is something to see"
    assert best <= log_loss(p, g, logits) < best + 0.01


def test_logits_of_beginnings_are_nearly_the_log_ratio_too(found: Detector) -> None:
    p, g = map(beginnings, probabilities())
    unfinished = [prefix for prefix in p if len(prefix) < WIDTH and ENDING.vocabulary.eos not in prefix]
    real, fake = (torch.tensor([probs[prefix] for prefix in unfinished]).double() for probs in (p, g))
    logits = found.logits(padded(unfinished)).double()
    assert correlation(logits, (real / fake).log(), real + fake) > 0.97
    assert ((logits - (real / fake).log()).abs() @ (real + fake) / (real + fake).sum()) < 0.15


def test_the_judge_says_what_enumeration_says(found: Detector) -> None:
    num = 8000
    p, g = probabilities()
    logits = found.logits(ENDING.sequences).double()
    told = judge(found, generator(), corpus_of(sample(truth(), num).tokens), seed=3)
    variance = p @ F.softplus(-logits) ** 2 - (p @ F.softplus(-logits)) ** 2
    variance += g @ F.softplus(logits) ** 2 - (g @ F.softplus(logits)) ** 2
    error = float(variance / num) ** 0.5 / 2
    assert told["log_loss_se"] == pytest.approx(error, rel=0.1)
    assert abs(told["log_loss"] - log_loss(p, g, logits)) < 4.5 * error
    accuracy = float(p @ (logits > 0).double() + g @ (logits <= 0).double()) / 2
    assert abs(told["accuracy"] - accuracy) < 4.5 * (accuracy * (1 - accuracy) / (2 * num)) ** 0.5
    weights = logits.exp()
    assert told["effective_share"] == pytest.approx(float((g @ weights) ** 2 / (g @ weights**2)), rel=0.1)
    assert told["calibration_error"] < 0.05


def test_who_knows_nothing_is_told_so() -> None:
    told = judge(untrained(scale=0.0), generator(), corpus_of(sample(truth(), 300).tokens))
    expected = {"log_loss": math.log(2), "log_loss_se": 0, "accuracy": 0.5, "calibration_error": 0}
    assert told == pytest.approx({**expected, "effective_share": 1}, abs=1e-6)


def test_weights_of_any_size_have_an_effective_share() -> None:
    """Where nearly everything is certain, exponentials of logits are 0 or infinite."""
    corpus = corpus_of(sample(truth(), 300).tokens)
    for shift in (-2000.0, 2000.0):
        assert judge(untrained(0.0, shift), generator(), corpus)["effective_share"] == pytest.approx(1)
    assert 1 / 300 <= judge(untrained(1e6), generator(), corpus)["effective_share"] < 0.5


def test_both_sides_have_the_same_weight_in_the_loss() -> None:
    tokens = ENDING.sequences
    sides = Sides(tokens[:1], tokens[1:8])
    values = torch.randn(8, dtype=torch.float64)
    expected = (-values[0].sigmoid().log() - (-values[1:]).sigmoid().log().mean()) / 2
    assert sides.loss(ENDING.reward(torch.cat([values, torch.zeros(23)]))) == pytest.approx(expected.item())


# --- Beginnings ---


def test_beginnings_are_as_probable_as_in_text() -> None:
    """So that the best logit of one is log p(beginning) / g(beginning), and of a whole text log p / g as ever."""
    num = 20_000
    p, g = probabilities()
    lengths = ENDING.mask.sum(1)
    share = [float(p[lengths == length].sum()) / length for length in range(1, WIDTH + 1)]
    place = [sum(share[t:]) for t in range(WIDTH)]  # how probable a cut behind token t + 1 is
    assert sum(place) == pytest.approx(1)
    both = torch.cat([sample(model, num).tokens for model in (truth(), generator())])
    for cut, probs in zip(detector._beginnings(both, PAD).chunk(2), (p, g), strict=True):
        expected = {
            prefix: prob
            * (sum(place[len(prefix) - 1 :]) if ENDING.vocabulary.eos in prefix else place[len(prefix) - 1])
            for prefix, prob in beginnings(probs).items()
        }
        counts = dict.fromkeys(expected, 0)
        for row in cut.tolist():
            counts[tuple(y for y in row if y != PAD)] += 1
        z = worlds.chi_square_z(np.array([*counts.values()]), np.array([*expected.values()]))
        assert z < 4.5


def test_a_real_and_a_generated_text_are_cut_at_the_same_place() -> None:
    both = torch.cat([sample(model, 500).tokens for model in (truth(), generator())])
    cut = detector._beginnings(both, PAD)
    kept = cut != PAD
    assert torch.equal(cut[kept], both[kept]), "nothing but the end is gone"
    (length, length_fake), (left, left_fake) = ((x != PAD).sum(1).chunk(2) for x in (both, cut))
    assert (kept[:, 0]).all()
    shortened = left < length
    assert torch.equal(left_fake[shortened], torch.minimum(left, length_fake)[shortened])
    assert shortened.sum() > 100


# --- Calibration ---


def test_calibration_undoes_a_distortion() -> None:
    p, g = probabilities()
    ratio = (p / g).log()
    sides = [(ratio[torch.multinomial(probs, 40_000, replacement=True)] - 1) / 3 for probs in (p, g)]
    scale, shift = detector._calibrate(*sides)
    assert scale == pytest.approx(3, abs=0.15)
    assert shift == pytest.approx(1, abs=0.1)
    # the loss is flat in both directions there
    real, fake = ((-(scale * sides[0] + shift)).sigmoid(), (scale * sides[1] + shift).sigmoid())
    assert abs(fake.mean() - real.mean()) < 1e-5
    assert abs((fake * sides[1]).mean() - (real * sides[0]).mean()) < 1e-5


def test_calibration_of_who_is_mistaken_is_to_say_nothing() -> None:
    p, g = probabilities()
    ratio = (p / g).log()
    sides = [ratio[torch.multinomial(probs, 2000, replacement=True)] for probs in (p, g)]
    assert detector._calibrate(sides[1], sides[0]) == (0.0, 0.0)
    scale, shift = detector._calibrate(torch.rand(50) + 1, -torch.rand(50))  # told apart entirely
    assert scale > 3
    assert math.isfinite(scale)
    assert math.isfinite(shift)


@pytest.mark.parametrize(
    ("real", "fake", "error"),
    [
        ([0.5] * 7, [0.5] * 7, 0.0),
        ([1.0] * 10, [0.0] * 10, 0.0),
        ([0.0] * 10, [1.0] * 10, 1.0),
        ([0.8] * 40 + [0.2] * 10, [0.8] * 10 + [0.2] * 40, 0.0),
        ([0.9] * 30 + [0.2] * 20, [0.9] * 20 + [0.2] * 30, 0.25),  # .9 where .6 are real, .2 where .4 are
        ([0.7], [0.4], (0.3 + 0.4) / 2),  # less texts than bins
        # ten bins of two, in each of which one is real: |(2 i + 1) / 40 - 1/2| of bin i
        ([i / 20 for i in range(0, 20, 2)], [i / 20 for i in range(1, 20, 2)], 0.25),
    ],
)
def test_calibration_errors_by_hand(real: list[float], fake: list[float], error: float) -> None:
    stated = torch.tensor([*real, *fake], dtype=torch.float64)
    assert detector._calibration_error(stated, len(real)) == pytest.approx(error, abs=1e-9)


# --- Training ---


def test_training_ends_after_its_patience_and_keeps_the_best(task: Task, found: Detector, heard: list[float]) -> None:
    best = int(np.argmin(heard))
    assert len(heard) == best + 1 + SMALL.patience < SMALL.epochs, "it stopped early"
    assert heard[0] < math.log(2) + 0.05
    again = fit(generator(), task, replace(SMALL, epochs=best + 1), seed=1)
    assert same(again, found), "the weights of the best pass, and the same ones from the same seed"
    assert not same(fit(generator(), task, replace(SMALL, epochs=1), seed=2), again)


def test_training_leaves_the_rest_of_the_world_alone(found: Detector) -> None:
    model = generator().train()
    before, state = fingerprint(model), torch.get_rng_state()
    fit(model, task_of(100, 60), replace(SMALL, epochs=1))
    judge(found, model, task_of(10, 60).valid)
    assert torch.equal(torch.get_rng_state(), state)
    assert fingerprint(model) == before
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not found.network.training
    assert not found.logits(ENDING.sequences).requires_grad


def test_samples_are_of_the_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def drawn(model: Any, num: int, *, temperature: float) -> Any:
        asked.append(temperature)
        return sample(model, num, temperature=temperature)

    monkeypatch.setattr(detector, "sample", drawn)
    tiny = task_of(50, 60)
    cold = fit(generator(), tiny, replace(SMALL, epochs=1), temperature=0.5)
    judge(cold, generator(), tiny.valid)
    assert cold.temperature == 0.5
    assert set(asked) == {0.5}
    assert len(asked) == 4  # two parts of the held-out text, one pass, one judgement


def test_logits_of_many_texts_are_those_of_each() -> None:
    opinion = untrained(2.0, -0.5)
    rows = sample(generator(), 3 * detector.CHUNK + 1).tokens
    with torch.no_grad():
        alone = 2.0 * opinion.network(ENDING.sequences).logits - 0.5
    torch.testing.assert_close(opinion.logits(rows), alone[ENDING.index(rows)])


def test_the_judge_sees_what_the_fit_does_not() -> None:
    task = task_of(10, 31)
    rows = [tuple(task.valid.flat[a:b]) for a, b in pairwise(task.valid.offsets.tolist())]
    fitted, unseen = parted(task)
    assert [len(fitted.valid), len(unseen)] == [20, 11]
    found = [[tuple(c.flat[a:b]) for a, b in pairwise(c.offsets.tolist())] for c in (fitted.valid, unseen)]
    assert (found[0], found[1]) == ([row for i, row in enumerate(rows) if i % 3], rows[::3])
    own = replace(task, test=task.train)
    assert parted(own) == (own, task.train), "where there is test text, nothing is taken away"


def test_too_little_held_out_text_is_refused() -> None:
    with pytest.raises(UserError, match=r"needs 20 held-out texts .* and has 19; train the run"):
        fit(generator(), task_of(100, 19), SMALL)
    fit(generator(), task_of(100, 20), replace(SMALL, epochs=1))


@pytest.mark.parametrize(
    "fields",
    [
        *({"windows": windows} for windows in ((), ((0, 5),), ((2, 0),))),
        *({name: 0} for name in ("lr", "batch_size", "epochs", "patience", "embedding_dim")),
        {"dropout": 1.1},
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(CallError, match=next(iter(fields)).replace("_", "-")):
        replace(SMALL, **fields)


# --- Keeping it ---


@pytest.fixture
def kept(tmp_path: Path, found: Detector) -> Path:
    save(found, generator(), SMALL, {"log_loss": 0.5, "effective_share": math.nan}, tmp_path)
    return tmp_path


def test_a_kept_detector_says_bit_by_bit_the_same(kept: Path, found: Detector) -> None:
    loaded = load(kept, generator(), ENDING.vocabulary)
    assert same(loaded, found)
    assert loaded.temperature == found.temperature
    assert not loaded.network.training
    settings = json.loads((kept / FOLDER / "config.json").read_text())
    assert settings["metrics"] == {"log_loss": 0.5, "effective_share": None}
    other = untrained(0.5, 0.25)
    save(other, generator(), Config(embedding_dim=3, windows=((1, 4), (3, 4))), {}, kept)
    assert same(load(kept, generator(), ENDING.vocabulary), other), "the later one takes its place"


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], object]:
    """Return what changes the settings of a detector in its folder."""

    def harm(folder: Path) -> None:
        file = folder / "config.json"
        settings = json.loads(file.read_text())
        change(settings)
        file.write_text(json.dumps(settings))

    return harm


def cut_weights(folder: Path) -> None:
    (file,) = (folder / "checkpoints").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda folder: (folder / "config.json").write_text('{"config": {'),
    "no-text": lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"),
    "list": lambda folder: (folder / "config.json").write_text("[1]"),
    "no-generator": rewritten(lambda settings: settings.pop("generator")),
    "config-is-a-list": rewritten(lambda settings: settings.update(config=[1])),
    "unknown-field": rewritten(lambda settings: settings["config"].update(depth=3)),
    "field-out-of-range": rewritten(lambda settings: settings["config"].update(dropout=3)),
    "other-windows": rewritten(lambda settings: settings["config"].update(windows=[[1, 2]])),
    "half-a-window": rewritten(lambda settings: settings["config"].update(windows=[[1]])),
    "cut-weights": cut_weights,
    "no-weights": lambda folder: shutil.rmtree(folder / "checkpoints"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_detector_is_to_be_trained_again(kept: Path, damage: str) -> None:
    DAMAGES[damage](kept / FOLDER)
    with pytest.raises(UserError, match=f"the detector of {kept} is damaged; train one: textforge detector {kept}$"):
        load(kept, generator(), ENDING.vocabulary)


def test_a_missing_detector_and_a_foreign_one(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("run")
    with pytest.raises(UserError, match=f"{elsewhere} has no detector; train one: textforge detector"):
        load(elsewhere, generator(), ENDING.vocabulary)
    changed = generator()
    changed.table.data[3, 1] += 1e-6
    with pytest.raises(UserError, match="against another state of its generator; train one: textforge detector"):
        load(kept, changed, ENDING.vocabulary)


class Known(Detector):
    """One that sees everything there is to see, and `share` of it is what it says."""

    share: float = 1.0

    def logits(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, " B"]:
        p, g = (worlds.exact_probs(worlds.TableGenerator(FIXED, seed), FIXED).log() for seed in (1, 2))
        return (self.share * (p - g))[FIXED.index(tokens)]


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_nearness_to_a_known_truth(share: float) -> None:
    """JS and both KL of g (p / g)^share, normalised, against sums over the world; 0 for a perfect detector."""
    p, g = (worlds.exact_probs(worlds.TableGenerator(FIXED, seed), FIXED).double().detach() for seed in (1, 2))
    p, g = p / p.sum(), g / g.sum()
    texts = [tuple(FIXED.vocabulary.symbols[i] for i in row) for row in FIXED.sequences.tolist()]
    oracle = TableOracle(tuple(FIXED.vocabulary.symbols), dict(zip(texts, p.tolist(), strict=True)))
    seen = Known(untrained().network, 1.0, 0.0, 1.0)
    object.__setattr__(seen, "share", share)
    found = detector.nearness(seen, worlds.TableGenerator(FIXED, 2), oracle, 4000, candidates=64)
    weighed = g * (p / g) ** share
    for metrics, q in zip(found, (g, weighed / weighed.sum()), strict=True):
        exact = exact_divergences(p.numpy(), q.numpy())
        for name in ("js", "kl_pq", "kl_qp", "tv"):
            assert abs(metrics[name] - exact[name]) < 4.5 * metrics[f"{name}_se"] + 0.004, name  # 64 are not infinity
