"""The workshop TextGAN piece by piece: soft words, the matched Gaussians, the two pretrainings, the schedule.

What belongs to one function alone is tested with it: equation 7 and the window in test_matching.py, the exchange of
words in text/test_swap.py, features, padding and the generator's equations in nets/.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tasks import QUIET, SENTENCES, Observed, text_task, tiny, trained
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from textforge import methods
from textforge.decoding import decode
from textforge.errors import CallError
from textforge.matching import Window, covariance_matching
from textforge.methods import textgan_workshop
from textforge.methods.textgan_workshop import Config, Writer
from textforge.nets.feature_cnn import FeatureCNN
from textforge.nets.noise_lstm import NoiseGateLSTM
from textforge.relaxations import write_softly
from textforge.text import Stream, swap_two

METHOD = methods.load("textgan_workshop")
TASK = text_task()


def config(**fields: Any) -> Config:
    made = tiny(METHOD, fields)
    assert isinstance(made, Config)
    return made


def players(settings: Config, *, std: float = 0.5) -> tuple[NoiseGateLSTM, FeatureCNN]:
    """Players with opinions, so that nothing is nearly constant."""
    networks = textgan_workshop.networks(settings, TASK.vocabulary, TASK.max_length)
    for network in (networks["generator"], networks["discriminator"]):
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=std)
    return networks["generator"], networks["discriminator"]


# --- Soft words (equation 8) ---


@pytest.mark.usefixtures("float64")
def test_soft_words_become_the_words_themselves_as_L_grows() -> None:
    settings = config()
    G, D = players(settings)
    noise = G.noise(20)
    fake, largest = Writer(settings, G, 1e9)(noise)
    blank = torch.full((20, TASK.max_length), TASK.vocabulary.pad)
    assert torch.equal(fake.tokens, decode(G, blank, torch.zeros_like(blank, dtype=torch.bool), context=noise).tokens)
    assert largest.min() > 1 - 1e-6
    embedding = D.extractor.embedding.weight
    for t, row in enumerate(fake.rows):  # what D reads is a look-up
        torch.testing.assert_close(row @ embedding, embedding[fake.tokens[:, t]], rtol=0, atol=1e-6)


def test_soft_words_are_distributions_over_emitted_ids_and_padding_follows_the_end() -> None:
    settings = config()
    G, _ = players(settings)
    fake, _ = Writer(settings, G, 0.7)(G.noise(200))
    eos, pad = TASK.vocabulary.eos, TASK.vocabulary.pad
    ended = torch.zeros(200, dtype=torch.bool)
    assert (fake.tokens == eos).any()
    for t, row in enumerate(fake.rows):
        torch.testing.assert_close(row.sum(1), torch.ones(200))
        assert (row[ended] == nn.functional.one_hot(torch.tensor(pad), row.shape[1])).all()
        assert (row[~ended, TASK.vocabulary.vocab_size :] == 0).all()
        ended |= fake.tokens[:, t] == eos


class Scripted(nn.Module):
    """A generator whose logits are the same at every step."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.vocabulary, self.max_length, self.noise_dim = TASK.vocabulary, 2, 1
        self.logits = nn.Parameter(torch.tensor([*logits, *[-9.0] * (TASK.vocabulary.vocab_size - len(logits))]))

    def relaxed_step(self, row: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits.expand(len(row), -1), state

    step = relaxed_step

    def initial_state(self, batch: int, context: Any = None) -> Tensor:
        return torch.zeros(batch, 1)

    def noise(self, batch: int) -> Tensor:
        return torch.zeros(batch, 1)


def written(settings: Config, logits: list[float], L: float) -> tuple[Scripted, Tensor, Tensor]:
    G: Any = Scripted(logits)
    fake, largest = Writer(settings, G, L)(G.noise(1))
    return G, fake.rows[0][0], largest


def test_logits_up_to_the_threshold_count_as_zero() -> None:
    _, row, _ = written(config(threshold=1.0), [0.9, -0.4, 1.5, -2.0], 1.0)
    expected = torch.tensor([0.0, 0.0, 1.5, -2.0, *[-9.0] * (TASK.vocabulary.vocab_size - 4)]).softmax(0)
    torch.testing.assert_close(row[: len(expected)], expected)


def test_gradient_is_finite_at_a_tie_and_words_are_exchangeable() -> None:
    G, row, _ = written(config(), [1.0, 1.0, 0.0, -1.0], 1e3)
    assert row[:3].tolist() == [0.5, 0.5, 0.0]
    row[0].backward()
    assert G.logits.grad is not None
    assert G.logits.grad.isfinite().all()
    assert G.logits.grad[:2].tolist() == [250.0, -250.0]  # L p (1 - p)
    order = torch.tensor([2, 0, 3, 1])
    values = torch.tensor([0.3, -1.0, 2.0, 0.7])
    _, forth, _ = written(config(), values.tolist(), 1.3)
    _, back, _ = written(config(), values[order].tolist(), 1.3)
    torch.testing.assert_close(back[:4], forth[:4][order])


def test_straight_through_writes_the_word_and_keeps_the_soft_gradient() -> None:
    grads = []
    for hard in (False, True):
        G, row, largest = written(config(straight_through=hard), [1.0, 0.2, 0.0], 2.0)
        row[1].backward()
        grads.append(G.logits.grad)
        if hard:
            assert row.tolist() == [1.0, *[0.0] * (len(row) - 1)]
        else:
            assert row[0] < 0.9
            sure = row.max()
    torch.testing.assert_close(*grads)
    torch.testing.assert_close(largest[0], sure.detach())  # what is logged is not hardened


# --- What the generator minimises (equation 7) ---


def test_unit_covariances_leave_the_means() -> None:
    real, fake = torch.rand(6, 3), torch.rand(4, 3).requires_grad_()
    loss = textgan_workshop.gaussian_matching(config(covariance="identity"), real, fake)
    shift = fake.mean(0) - real.mean(0)
    torch.testing.assert_close(loss, 2 * shift.square().sum())
    loss.backward()
    torch.testing.assert_close(fake.grad, (4 * shift / 4).detach().expand(4, -1))  # 4 d, a fourth to each row


class Spied(Observed):
    """A run that keeps what is handed to it in the adversarial phase."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.losses: list[tuple[str, float]] = []
        self.before: dict[str, list[Tensor]] = {}

    def step(self, optimizer: Any, loss: Tensor, clip: float | None = None) -> None:
        weights = {name: [w.detach().clone() for w in module.parameters()] for name, module in self.modules.items()}
        super().step(optimizer, loss, clip)
        name = next((name for name, known in self.optimizers.items() if known is optimizer), "pretrain")
        assert clip == 5.0
        for other, module in self.modules.items():
            trained = {"pretrain": {"generator", "encoder"}}.get(name, {name})
            changed = any(not torch.equal(*pair) for pair in zip(weights[other], module.parameters(), strict=True))
            assert changed == (other in trained), f"an update of {name} changed {other}"
        if self.phase_now == "adversarial":
            self.losses.append((name, loss.item()))


@pytest.fixture
def spied(tmp_path: Path) -> Iterator[Spied]:
    run = Spied(tmp_path, seed=0, device="cpu", console=QUIET)
    with run:
        yield run


def test_five_generator_updates_then_one_of_the_discriminator(spied: Spied) -> None:
    """Each changes its own network alone."""
    textgan_workshop.train(config(g_steps=5, rounds=3), TASK, spied)
    assert [name for name, _ in spied.losses] == [*["generator"] * 5, "discriminator"] * 3


def test_each_network_has_its_rate_and_the_generator_its_epsilon(tmp_path: Path) -> None:
    rates = {"pretrain_lr": 0.03, "g_lr": 0.02, "d_lr": 0.01}
    counts = {"pretrain_steps": 3, "swap_steps": 2, "rounds": 2, "g_steps": 5}
    run = trained(tmp_path, METHOD, config(**rates, **counts, g_eps=1e-4), TASK)
    names = {0.03: "pretrain", 0.02: "g", 0.01: "d"}
    steps = [(phase, names[optimizer.param_groups[0]["lr"]]) for phase, optimizer in run.steps]
    expected = [("pretrain", "pretrain")] * 3 + [("discriminator", "d")] * 2
    assert steps == expected + [("adversarial", player) for player in "gggggd" * 2]
    assert {type(optimizer) for _, optimizer in run.steps} == {Adam}
    epsilons = {optimizer.param_groups[0]["lr"]: optimizer.param_groups[0]["eps"] for _, optimizer in run.steps}
    assert epsilons == {0.03: 1e-8, 0.02: 1e-4, 0.01: 1e-8}


def test_losses_are_those_of_the_equations(spied: Spied, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the features of each minibatch, by NumPy with explicit inverses, over three of them from the start on."""
    seen: dict[str, list[np.ndarray]] = {"real": [], "fake": []}
    logits: list[Tensor] = []
    forward = FeatureCNN.forward

    def features(self: FeatureCNN, sequences: Any) -> Tensor:
        found: Tensor = self.extractor(sequences)
        if not torch.is_grad_enabled() or not self.head.weight.requires_grad:
            seen["real" if isinstance(sequences, Tensor) else "fake"].append(found.detach().double().numpy())
        return found

    def judge(self: FeatureCNN, sequences: Any) -> Any:
        judgement = forward(self, sequences)
        logits.append(judgement.logits.detach())
        return judgement

    monkeypatch.setattr(FeatureCNN, "features", features)
    monkeypatch.setattr(FeatureCNN, "forward", judge)
    textgan_workshop.train(config(window=3, ridge=0.05, g_steps=4, rounds=2), TASK, spied)
    generator = [loss for name, loss in spied.losses if name == "generator"]
    assert len(generator) == 8
    assert len(seen["real"]) == len(seen["fake"]) == 2 + 8  # two to begin with
    for newest, loss in enumerate(generator):
        real, fake = (np.concatenate(seen[side][newest : newest + 3]) for side in ("real", "fake"))
        R, S = (np.cov(rows.T, bias=True) + 0.05 * np.eye(rows.shape[1]) for rows in (real, fake))
        d = real.mean(0) - fake.mean(0)
        inverse = np.linalg.inv(R), np.linalg.inv(S)
        expected = np.trace(inverse[0] @ S + inverse[1] @ R) + d @ (inverse[0] + inverse[1]) @ d - 2 * len(d)
        assert loss == pytest.approx(expected, rel=1e-3, abs=1e-4)
    discriminator = [loss for name, loss in spied.losses if name == "discriminator"]
    for loss, (real_logits, fake_logits) in zip(discriminator, [logits[-4:-2], logits[-2:]], strict=True):
        d_real, d_fake = real_logits.double().sigmoid(), fake_logits.double().sigmoid()
        expected = -(d_real.log().mean() + (1 - d_fake).log().mean()) / 2  # half of eq. (6)
        assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_sharpness_is_annealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[float] = []

    def spy(G: Any, noise: Tensor, sharpness: float, **settings: Any) -> Any:
        used.append(sharpness)
        return write_softly(G, noise, sharpness, **settings)

    monkeypatch.setattr(textgan_workshop, "write_softly", spy)
    trained(tmp_path, METHOD, config(sharpness_start=1.0, sharpness=9.0, sharpness_rounds=3, rounds=4), TASK)
    assert list(dict.fromkeys(used)) == [1.0, 5.0, 9.0]


# --- Looking ahead (equations 9 and 10) ---


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("unroll", [1, 2])
@pytest.mark.parametrize("covariance", ["estimated", "identity"])
def test_gradient_of_the_unrolled_discriminator_is_that_of_its_objective(unroll: int, covariance: str) -> None:
    """Against central differences of D's loss after the updates of the generator that D's own weights have led to."""
    settings = config(unroll=unroll, unroll_lr=0.5, covariance=covariance, window=2)
    G, D = players(settings)
    write = Writer(settings, G, 1.5)
    windows = Window(2), Window(2)
    for window in windows:
        window.push(2 * torch.rand(8, 8) - 1)
    real = TASK.train.batch(np.arange(8), TASK.max_length).tokens

    def objective() -> Tensor:
        torch.manual_seed(5)
        stream = Stream(TASK.train, settings.batch_size, width=TASK.max_length, seed=0)
        weights = textgan_workshop.look_ahead(settings, write, D, stream, *windows)
        fake, _ = functional_call(write, weights, G.noise(settings.batch_size))
        return nn.functional.softplus(-D(real).logits).mean() + nn.functional.softplus(D(fake.rows).logits).mean()

    gradients = torch.autograd.grad(objective(), list(D.parameters()))
    torch.manual_seed(1)
    directions = [torch.randn_like(weight) for weight in D.parameters()]
    slope = sum((gradient * direction).sum().item() for gradient, direction in zip(gradients, directions, strict=True))
    values, start = [], [weight.detach().clone() for weight in D.parameters()]
    for h in (1e-6, -1e-6):
        with torch.no_grad():
            for weight, before, direction in zip(D.parameters(), start, directions, strict=True):
                weight.copy_(before + h * direction)
        values.append(objective().item())
    assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)
    with torch.no_grad():
        for weight, before in zip(D.parameters(), start, strict=True):
            weight.copy_(before)
    plain = look_past(settings, write, D, real, windows)
    assert abs(slope - sum((g * d).sum().item() for g, d in zip(plain, directions, strict=True))) > 1e-3


def look_past(settings: Config, write: Writer, D: FeatureCNN, real: Tensor, windows: Any) -> tuple[Tensor, ...]:
    """The gradient of the same loss when the updates that D thinks of are taken for constants."""
    torch.manual_seed(5)
    stream = Stream(TASK.train, settings.batch_size, width=TASK.max_length, seed=0)
    weights = textgan_workshop.look_ahead(settings, write, D, stream, *windows)
    fixed = {name: weight.detach() for name, weight in weights.items()}
    fake, _ = functional_call(write, fixed, write.G.noise(settings.batch_size))
    loss = nn.functional.softplus(-D(real).logits).mean() + nn.functional.softplus(D(fake.rows).logits).mean()
    return torch.autograd.grad(loss, list(D.parameters()))


def test_looking_ahead_is_gradient_descent_on_the_generator() -> None:
    settings = config(unroll=1, unroll_lr=0.3, window=1)
    G, D = players(settings)
    write, windows = Writer(settings, G, 1.5), (Window(1), Window(1))
    stream = Stream(TASK.train, 8, width=TASK.max_length, seed=0)
    torch.manual_seed(5)
    ahead = textgan_workshop.look_ahead(settings, write, D, stream, *windows)
    stream.load_state_dict({"position": 0})
    torch.manual_seed(5)
    fake, _ = write(G.noise(8))
    covariance_matching(D.features(stream.next().tokens), D.features(fake.rows), ridge=settings.ridge).backward()
    for name, weight in G.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(ahead[f"G.{name}"], weight - 0.3 * weight.grad)


def test_looking_ahead_changes_neither_generator_nor_windows() -> None:
    settings = config(unroll=2)
    G, D = players(settings)
    before = copy.deepcopy(G.state_dict())
    windows = Window(3), Window(3)
    stream = Stream(TASK.train, 8, width=TASK.max_length, seed=0)
    weights = textgan_workshop.look_ahead(settings, Writer(settings, G, 1.0), D, stream, *windows)
    for name, weight in G.state_dict().items():
        assert torch.equal(weight, before[name])
        assert not torch.equal(weights[f"G.{name}"], weight)
    assert [window.state_dict() for window in windows] == [{"past": []}] * 2
    none = textgan_workshop.look_ahead(config(), Writer(settings, G, 1.0), D, stream, *windows)
    assert all(torch.equal(none[f"G.{name}"], weight) for name, weight in G.state_dict().items())
    assert not any(weight.requires_grad for weight in none.values())


# --- Pretraining ---


@pytest.mark.parametrize(("sizes", "at_least"), [(((1, 16),), 0.0), (((2, 16),), 0.9)], ids=["bag", "pairs"])
def test_exchanged_words_are_seen_by_order_alone(sizes: Any, at_least: float, tmp_path: Path) -> None:
    """On a toy grammar whose verbs follow nouns; a bag of words cannot tell the twin, whatever it learns."""
    run = trained(tmp_path, METHOD, config(swap_steps=100, d_windows=sizes, d_lr=0.03, rounds=0), TASK)
    D = run.modules["discriminator"]
    batch = TASK.train.batch(np.arange(len(TASK.train)), TASK.max_length)
    twins, spoilt = swap_two(batch.tokens, batch.mask, eos=TASK.vocabulary.eos)
    assert spoilt.all()
    with torch.no_grad():
        real, fake = D(batch.tokens).logits, D(twins).logits
    accuracy = torch.cat([real > 0, fake <= 0]).float().mean().item()
    if at_least:
        assert accuracy > at_least
    else:
        torch.testing.assert_close(real, fake)
        assert accuracy == 0.5


def test_sentences_without_two_words_have_no_twin(tmp_path: Path) -> None:
    """The discriminator is told no falsehood: all it sees is real."""
    task = text_task(["sing", "sing sing", "sing sing sing"])
    run = trained(tmp_path, METHOD, config(swap_steps=60, d_lr=0.05, rounds=0), task)
    logits = run.modules["discriminator"](task.train.batch(np.arange(len(task.train)), task.max_length).tokens).logits
    assert (logits > 1).all()


def test_the_generator_writes_sentences_from_their_codes(tmp_path: Path) -> None:
    """After the auto-encoder has learnt a corpus by heart."""
    sizes = {"hidden_dim": 32, "embedding_dim": 16, "code_windows": ((1, 16), (2, 16)), "batch_size": 20}
    run = trained(tmp_path, METHOD, config(**sizes, pretrain_steps=250, pretrain_lr=0.02, swap_steps=1, rounds=0), TASK)
    G, E = run.modules["generator"], run.modules["encoder"]
    assert isinstance(G, NoiseGateLSTM)
    batch = TASK.train.batch(np.arange(len(TASK.train)), TASK.max_length)
    blank = torch.full_like(batch.tokens, TASK.vocabulary.pad)
    back = decode(G, blank, torch.zeros_like(batch.mask), context=E(batch.tokens)).tokens
    assert len(batch.tokens.unique(dim=0)) == len(SENTENCES)
    assert (back == batch.tokens).all(1).float().mean() > 0.9
    found = textgan_workshop.reconstruction(E, G, TASK.train, torch.device("cpu")).scalars  # type: ignore[arg-type]
    assert found["reconstructed"] == pytest.approx((back == batch.tokens)[batch.mask].float().mean().item())


def test_codes_are_led_to_the_law_of_the_noise(tmp_path: Path) -> None:
    spread = {}
    for weight in (0.0, 1.0):
        fields = {"pretrain_steps": 60, "pretrain_lr": 0.02, "batch_size": 20, "prior_weight": weight}
        run = trained(tmp_path / str(weight), METHOD, config(**fields, swap_steps=1, rounds=0), TASK)
        code = run.modules["encoder"](TASK.train.batch(np.arange(len(TASK.train)), TASK.max_length).tokens).detach()
        wanted = np.eye(8) / 3
        found = np.cov(code.T.numpy(), bias=True)
        spread[weight] = code.mean(0).norm().item(), float(np.linalg.norm(found - wanted))
    assert spread[1.0][0] < 0.5 * spread[0.0][0]
    assert spread[1.0][1] < 0.7 * spread[0.0][1]


# --- Settings ---


def test_paper_settings() -> None:
    paper = textgan_workshop.PRESETS["paper"]
    assert paper.d_windows == paper.code_windows == ((3, 300), (4, 300), (5, 300))
    assert (paper.g_steps, paper.batch_size, paper.hidden_dim, paper.clip) == (5, 128, 500, 5.0)
    assert (paper.g_lr, paper.d_lr, paper.ridge) == (1e-4, 1e-4, 0.1)
    assert (paper.covariance, paper.d_head_dim, paper.threshold) == ("estimated", None, 1.0)
    assert (paper.straight_through, paper.code_noise, paper.prior_weight) == (False, 0.0, 0.0)
    assert (paper.sharpness, paper.sharpness_start, paper.sharpness_rounds) == (1e3, None, 0)
    networks = textgan_workshop.networks(paper, TASK.vocabulary, TASK.max_length)
    assert networks["generator"].noise_dim == networks["discriminator"].num_features == 900


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rounds": -1}, "--rounds must be at least 0, not -1"),
        ({"window": 0}, "--window must be at least 1"),
        ({"g_steps": 0}, "--g-steps must be at least 1"),
        ({"code_noise": 1.5}, "--code-noise must be at most 1"),
        ({"threshold": -0.1}, "--threshold must be at least 0"),
        ({"ridge": 0.0}, "--ridge must be above 0"),
        ({"sharpness": 0.0}, "--sharpness must be above 0"),
        ({"sharpness_start": 1.0}, "--sharpness-start 1.0 goes .* in at least 2 rounds, not in --sharpness-rounds 0"),
        ({"unroll_lr": 0.0}, "--unroll-lr must be above 0"),
        ({"d_windows": ()}, "--d-windows takes pairs"),
        ({"code_windows": ((0, 3),)}, "--code-windows takes pairs"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        Config(**fields)
