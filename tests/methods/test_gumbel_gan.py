"""The paper's loop piece by piece: what each player sees, at which temperature, and what it minimises.

Gumbel-softmax, softened input and the schedule are tested in test_relaxations.py, the relaxed decoding with its one
draw a position in test_decode_relaxed.py, the networks in nets/, the arithmetic language in oracles/.
"""

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tasks import observed, oracle_task, text_task, tiny, trained
from torch import Tensor, nn
from torch.nn import functional as F

from textforge.decoding import sample
from textforge.errors import CallError
from textforge.losses import generator_loss, policy_gradient
from textforge.methods import Method, gumbel_gan
from textforge.nets.noise_lstm import NoiseStartLSTM
from textforge.nets.spectral_cnn import SpectralCNN
from textforge.nets.token_rnn import TokenRNN
from textforge.oracles.arithmetic import Arithmetic
from textforge.oracles.table import random_table
from textforge.relaxations import confuse, gumbel_softmax, soften
from textforge.relaxed import NoiseGenerator, Relaxed, decode_relaxed
from textforge.run import load_checkpoint
from textforge.text import Vocabulary

GUMBEL = cast(Method, gumbel_gan)
VOCABULARY = Vocabulary.create("abc", unk=False)
OBJECTIVES = ("ratio", "non-saturating", "minimax", "relativistic")


# --- The objective ---


@pytest.mark.usefixtures("float64")
def test_ratio_loss_is_the_divergence_from_the_generator_to_the_data() -> None:
    """-log(D / (1 - D)) is the negative logit, and under q, at D* = p / (p + q), its mean is KL(q || p)."""
    p, q = torch.randn(2, 20).softmax(1)
    best = p / (p + q)
    logits = best.logit()
    torch.testing.assert_close(-(best / (1 - best)).log(), -logits)
    drawn = torch.multinomial(q, 400_000, replacement=True)
    ratios = (q / p).log()
    exact = (q * ratios).sum()
    error = ((q * ratios**2).sum() - exact**2).sqrt() / 400_000**0.5
    assert abs(generator_loss(logits[drawn], "ratio") - exact) < 4.5 * error
    assert exact > 20 * error


class Tables:
    """Two symbols out of three: a table of logits for the first, and for the second one a table a first symbol.

    Every row has tables of its own, so that one backward pass gives the gradient of every sample.
    """

    noise_dim = 1
    max_length = 2
    vocabulary = Vocabulary.create("abc", unk=False, eos=False)

    def __init__(self, first: Tensor, second: Tensor, num: int) -> None:
        self.first = first.expand(num, -1).clone().requires_grad_()
        self.second = second.expand(num, -1, -1).clone().requires_grad_()

    def noise(self, batch: int) -> Tensor:
        return torch.zeros(batch, 1)

    def initial_state(self, batch: int, context: Any = None) -> Tensor:
        return torch.arange(batch) * 2  # the row of the tables, and the position

    def step(self, token: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.relaxed_step(F.one_hot(token, len(self.vocabulary)).to(self.first.dtype), state)

    def relaxed_step(self, row: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        index = state // 2
        following = torch.einsum("bi,bij->bj", row[:, :3], self.second[index])
        return torch.where(state[:, None] % 2 == 0, self.first[index], following), state + 1

    def gradients(self, loss: Tensor) -> Tensor:
        first, second = torch.autograd.grad(loss, [self.first, self.second])
        return torch.cat([first, second.flatten(1)], 1)


@pytest.mark.usefixtures("float64")
def test_relaxed_gradient_is_biased_and_that_of_reinforce_is_not() -> None:
    """For the expected reward of hard symbols; the bias shrinks with the temperature, while the variance grows."""
    num, first, second = 40_000, torch.randn(3), torch.randn(3, 3)
    rewards = torch.randn(3, 3)

    def reward(relaxed: Relaxed) -> Tensor:
        return torch.einsum("bi,bj,ij->b", relaxed.rows[0][:, :3], relaxed.rows[1][:, :3], rewards)

    one = Tables(first, second, 1)
    assert isinstance(one, NoiseGenerator)
    probs = one.first.softmax(1)[0][:, None] * one.second.softmax(2)[0]
    exact = one.gradients((probs * rewards).sum())[0]

    def bias_and_error(gradients: Tensor) -> tuple[float, Tensor, float]:
        mean, error = gradients.mean(0), gradients.std(0) / num**0.5
        return (mean - exact).norm().item(), (mean - exact).abs() / error, gradients.var(0).sum().item()

    tables = Tables(first, second, num)
    tokens = sample(tables, num, batch_size=num).tokens
    begin, following = tables.first.log_softmax(1), tables.second[torch.arange(num), tokens[:, 0]].log_softmax(1)
    log_probs = torch.stack([begin.gather(1, tokens[:, :1]), following.gather(1, tokens[:, 1:])], 1).squeeze(2)
    q = rewards[tokens[:, 0], tokens[:, 1]]
    estimate = -num * policy_gradient(log_probs, q[:, None].expand(-1, 2))
    _, z, _ = bias_and_error(tables.gradients(estimate))
    assert z.max() < 4.5

    found = {}
    for temperature in (2.0, 0.5, 0.1):
        tables = Tables(first, second, num)
        relaxed = decode_relaxed(tables, tables.noise(num), partial(gumbel_softmax, temperature=temperature))
        found[temperature] = bias_and_error(tables.gradients(reward(relaxed).sum()))
    assert found[2.0][1].max() > 20
    assert found[0.5][1].max() > 6
    assert found[2.0][0] > 2 * found[0.5][0] > 4 * found[0.1][0]
    assert found[2.0][2] < found[0.5][2] < found[0.1][2]


# --- The loop ---


class Spied:
    """What the players of a run saw, and the losses that they handed over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taus: list[tuple[str, float, bool]] = []
        self.confidences: list[float] = []
        self.real: list[Tensor] = []
        self.fake: list[Relaxed] = []
        self.losses: list[tuple[str, float]] = []
        self.judged: list[tuple[Any, Tensor]] = []
        monkeypatch.setattr(gumbel_gan, "soften", self.soften)
        monkeypatch.setattr(gumbel_gan, "decode_relaxed", self.decode_relaxed)

    def soften(self, tokens: Tensor, vocabulary: Vocabulary, confidence: float, relax: Any) -> Relaxed:
        self.confidences.append(confidence)
        self.taus.append(("real", relax.keywords["temperature"], relax.keywords["straight_through"]))
        self.real.append(tokens)
        return soften(tokens, vocabulary, confidence, relax)

    def decode_relaxed(self, generator: Any, noise: Tensor, relax: Any) -> Relaxed:
        relaxed = decode_relaxed(generator, noise, relax)
        if torch.is_grad_enabled():
            self.taus.append(("fake", relax.keywords["temperature"], relax.keywords["straight_through"]))
            self.fake.append(relaxed)
        return relaxed

    def train(self, folder: Path, config: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        task = text_task()
        with observed(folder, task) as run:
            step = run.step

            def record(optimizer: Any, loss: Tensor, clip: float | None = None) -> None:
                name = next(name for name, known in run.optimizers.items() if known is optimizer)
                self.losses.append((name, loss.item()))
                step(optimizer, loss, clip)

            setup = run.setup

            def listen(name: str, module: nn.Module, optimizer: Any = None) -> None:
                setup(name, module, optimizer)
                if name == "discriminator":
                    module.register_forward_hook(self.hear)

            monkeypatch.setattr(run, "step", record)
            monkeypatch.setattr(run, "setup", listen)
            GUMBEL.train(config, task, run)
        return run

    def hear(self, module: nn.Module, arguments: Any, judgement: Any) -> None:
        if module.training:
            self.judged.append((arguments[0], judgement.logits.detach().clone()))


@pytest.mark.parametrize("anneal", ["both", "input"])
@pytest.mark.parametrize("straight_through", [False, True])
def test_real_and_generated_rows_share_the_schedule(
    anneal: str, straight_through: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In variant (c), generated rows have the last temperature from the beginning."""
    spied = Spied(monkeypatch)
    settings = {"tau_start": 4.0, "tau_end": 1.0, "anneal_rounds": 4, "rounds": 6}
    spied.train(
        tmp_path, tiny(GUMBEL, settings | {"anneal": anneal, "straight_through": straight_through}), monkeypatch
    )
    falling = [4.0, 3.0, 2.0, 1.0, 1.0, 1.0]
    generated = falling if anneal == "both" else [1.0] * 6
    for who, expected in (("real", falling), ("fake", generated)):
        assert [tau for name, tau, _ in spied.taus if name == who] == pytest.approx(expected)
    assert {hard for _, _, hard in spied.taus} == {straight_through}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_are_those_of_the_equations(objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step each, the discriminator first; the generator then faces the new one with the same samples."""
    spied = Spied(monkeypatch)
    fakes = 8 if objective == "relativistic" else 12
    run = spied.train(tmp_path, tiny(GUMBEL, {"objective": objective, "fake_batch": fakes}), monkeypatch)
    assert [name for name, _ in spied.losses] == ["discriminator", "generator"] * 6
    calls = 4 if objective == "relativistic" else 3
    assert len(spied.judged) == 6 * calls
    for i in range(6):
        (real, x), (before, old), (after, new), *again = spied.judged[calls * i : calls * (i + 1)]
        assert len(real[0]) == 8
        assert len(before[0]) == len(after[0]) == fakes
        for own, first, second in zip(spied.fake[i].rows, before, after, strict=True):
            assert torch.equal(own, first)
            assert not first.requires_grad
            assert second is own
        assert not torch.equal(old, new)
        p, q, q_new = x.sigmoid(), old.sigmoid(), new.sigmoid()
        d_loss, g_loss = {
            "ratio": (-p.log().mean() - (1 - q).log().mean(), -(q_new / (1 - q_new)).log().mean()),
            "non-saturating": (-p.log().mean() - (1 - q).log().mean(), -q_new.log().mean()),
            "minimax": (-p.log().mean() - (1 - q).log().mean(), (1 - q_new).log().mean()),
            "relativistic": (
                -(x[:8] - old[:8]).sigmoid().log().mean(),
                -(new[:8] - again[0][1][:8]).sigmoid().log().mean() if again else torch.nan,
            ),
        }[objective]
        found = [loss for _, loss in spied.losses[2 * i : 2 * i + 2]]
        assert found == pytest.approx([float(d_loss), float(g_loss)], abs=1e-5)
    assert {type(optimizer) for _, optimizer in run.steps} == {torch.optim.Adam}


def test_each_round_has_samples_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spied = Spied(monkeypatch)
    spied.train(tmp_path, tiny(GUMBEL, {}), monkeypatch)
    assert len(spied.fake) == len(spied.real) == 6
    assert len({tuple(map(tuple, tokens.tolist())) for tokens in spied.real}) == 6
    assert len({relaxed.rows[0][0, 0].item() for relaxed in spied.fake}) == 6


@pytest.mark.parametrize(("first", "last"), [(0.9, 0.9), (0.8, 1.0), (1.0, 1.0)])
def test_real_sequences_are_softened_while_there_is_doubt(
    first: float, last: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the confidence of the schedule; symbols that are sure are handed over as they are."""
    spied = Spied(monkeypatch)
    settings = {"confidence": first, "confidence_end": last, "anneal_rounds": 5}
    spied.train(tmp_path, tiny(GUMBEL, settings), monkeypatch)
    expected = [first + (last - first) * min(i, 4) / 4 for i in range(6)]
    assert spied.confidences == pytest.approx([confidence for confidence in expected if confidence < 1])
    sure = [isinstance(sequences, Tensor) for sequences, _ in spied.judged[::3]]
    assert sure == [confidence == 1 for confidence in expected]


def test_generated_sequences_go_through_the_noise_of_real_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both players are given the same exchanged symbols, exchanged as often and relaxed alike."""
    found: list[tuple[Relaxed, float, Any, Relaxed]] = []

    def spy(sequences: Relaxed, vocabulary: Vocabulary, confidence: float, relax: Any) -> Relaxed:
        found.append((sequences, confidence, relax, confuse(sequences, vocabulary, confidence, relax)))
        return found[-1][3]

    spied = Spied(monkeypatch)
    monkeypatch.setattr(gumbel_gan, "confuse", spy)
    settings = {"confuse": True, "confidence": 0.7, "confidence_end": 0.8, "anneal_rounds": 3, "tau_start": 3.0}
    spied.train(tmp_path, tiny(GUMBEL, settings), monkeypatch)
    assert len(found) == len(spied.confidences) == 6
    for i, (before, confidence, relax, after) in enumerate(found):
        assert before is spied.fake[i]
        assert confidence == spied.confidences[i]
        assert ("fake", relax.keywords["temperature"], False) in spied.taus
        for judged, _ in spied.judged[3 * i + 1 : 3 * i + 3]:
            assert all(torch.equal(one, other) for one, other in zip(judged, after.rows, strict=True))


def test_pretraining_is_maximum_likelihood_given_fresh_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    forward = NoiseStartLSTM.forward

    def spy(self: NoiseStartLSTM, tokens: Tensor, noise: Tensor) -> Tensor:
        seen.append((noise, forward(self, tokens, noise)))
        return seen[-1][1]

    monkeypatch.setattr(NoiseStartLSTM, "forward", spy)
    spied = Spied(monkeypatch)
    task = text_task()
    config = tiny(GUMBEL, {"pretrain_steps": 3, "pretrain_lr": 0.03, "rounds": 1})
    run = trained(tmp_path, GUMBEL, config, task)
    assert [phase for phase, _ in run.steps] == ["pretrain"] * 3 + ["adversarial"] * 2
    assert [optimizer.param_groups[0]["lr"] for _, optimizer in run.steps] == [0.03] * 3 + [1e-3] * 2
    assert len({noise[0, 0].item() for noise, _ in seen}) == 3
    assert len(spied.fake) == 1


def test_no_pretraining_by_default(tmp_path: Path) -> None:
    run = trained(tmp_path, GUMBEL, tiny(GUMBEL, {}), text_task())
    assert {phase for phase, _ in run.steps} == {"adversarial"}


@pytest.mark.parametrize("cool", [False, True])
def test_learning_rates_stay_or_fall_to_zero(cool: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(GUMBEL, {"cool": cool, "lr": 0.06, "d_lr": 0.12, "rounds": 6})
    with observed(tmp_path, text_task()) as run:
        rates: list[float] = []
        step = run.step

        def record(optimizer: Any, loss: Tensor, clip: float | None = None) -> None:
            rates.append(optimizer.param_groups[0]["lr"])
            step(optimizer, loss, clip)

        monkeypatch.setattr(run, "step", record)
        GUMBEL.train(config, text_task(), run)
    shares = [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6] if cool else [1] * 6
    assert rates[::2] == pytest.approx([0.12 * share for share in shares])
    assert rates[1::2] == pytest.approx([0.06 * share for share in shares])


# --- What is measured ---


def scalars(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("straight_through", [False, True])
def test_gap_between_soft_and_hard_samples_is_recorded(straight_through: bool, tmp_path: Path) -> None:
    trained(tmp_path, GUMBEL, tiny(GUMBEL, {"straight_through": straight_through}), text_task())
    gaps = [record["logit_soft"] - record["logit_hard"] for record in scalars(tmp_path) if "logit_soft" in record]
    assert gaps
    assert all((abs(gap) < 1e-5) == straight_through for gap in gaps)


def test_temperature_and_accuracy_are_recorded(tmp_path: Path) -> None:
    trained(tmp_path, GUMBEL, tiny(GUMBEL, {"tau_start": 4.0, "anneal_rounds": 4}), text_task())
    records = [record for record in scalars(tmp_path) if "tau" in record]
    assert records[0]["tau"] == 4.0
    assert records[-1]["tau"] == 1.0
    assert all(0 <= record["d_accuracy"] <= 1 for record in records)


@pytest.mark.parametrize("objective", ["ratio", "relativistic"])
def test_accuracy_counts_right_verdicts_or_right_pairs(objective: str) -> None:
    real, fake = torch.tensor([3.0, 1.0, -1.0, 2.0]), torch.tensor([-1.0, 2.0, -2.0, 1.0])
    _, accuracy = gumbel_gan.judged(gumbel_gan.Config(objective=objective), real, fake)  # type: ignore[arg-type]
    assert accuracy == (0.625 if objective == "ratio" else 0.75)


# --- Tasks ---


def test_the_blank_of_the_paper_is_the_end_and_what_follows(tmp_path: Path) -> None:
    """Six symbols, twelve positions; samples are hard, end at their first `eos`, and are valid or not."""
    task = oracle_task(Arithmetic(), 64)
    networks = GUMBEL.networks(gumbel_gan.Config(), task.vocabulary, task.max_length)
    assert networks["generator"].output.out_features == 6
    assert task.max_length == 12
    trained(tmp_path, GUMBEL, tiny(GUMBEL, {}), task)
    generator = GUMBEL.networks(tiny(GUMBEL, {}), task.vocabulary, task.max_length)["generator"]
    generator.load_state_dict(load_checkpoint(tmp_path)["modules"]["generator"])
    tokens = sample(generator, 200).tokens
    end, pad = torch.eq(tokens, 5), torch.eq(tokens, task.vocabulary.pad)
    assert task.vocabulary.eos == 5
    assert torch.equal(pad, (end.cumsum(1) > 0) & ~end)
    assert (end.sum(1) <= 1).all()


@pytest.mark.parametrize("vocabulary", ["text", "fixed"])
@pytest.mark.parametrize("discriminator", ["lstm", "cnn"])
def test_sequences_with_and_without_an_end_are_learnt_from(vocabulary: str, discriminator: str, tmp_path: Path) -> None:
    task = text_task() if vocabulary == "text" else oracle_task(random_table(seed=1), 20)
    assert (task.vocabulary.eos is None) == (vocabulary == "fixed")
    run = trained(tmp_path, GUMBEL, tiny(GUMBEL, {"discriminator": discriminator}), task)
    assert len(run.steps) == 12


def test_random_edits_of_expressions_are_judged_as_the_grammar_does() -> None:
    oracle, rng = Arithmetic(), random.Random(1)

    def derived(text: str) -> bool:
        return text == "x" or any(
            derived(text[:i]) and derived(text[i + 1 :]) for i, symbol in enumerate(text) if symbol in "+-*/"
        )

    support, rejected = oracle.support(), 0
    for _ in range(1000):
        symbols = list(rng.choice(support))
        symbols[rng.randrange(len(symbols))] = rng.choice("x+-*/")
        text = "".join(symbols)
        assert (oracle.log_prob([text])[0] > float("-inf")) == derived(text)
        rejected += not derived(text)
    assert rejected > 300


# --- Settings ---


def test_paper_settings() -> None:
    paper = gumbel_gan.PRESETS["paper"]
    assert (paper.rounds, paper.batch_size, paper.lr, paper.d_lr) == (20_000, 200, 1e-3, 1e-3)
    assert (paper.tau_start, paper.tau_end, paper.anneal_rounds) == (5.0, 1.0, 10_000)
    assert (paper.confidence, paper.confidence_end) == (0.9, 0.9)
    assert not paper.confuse
    assert (paper.objective, paper.discriminator) == ("ratio", "lstm")
    assert not paper.straight_through
    assert paper.pretrain_steps == 0
    relaxation: Callable[[int], Any] = partial(gumbel_gan.relaxation, paper)
    assert [relaxation(i).tau for i in (0, 9_999, 19_999)] == [5.0, 1.0, 1.0]
    variants = {name: gumbel_gan.PRESETS[f"paper-{name}"] for name in "bcd"}
    assert variants["b"].fake_batch == 1000
    assert gumbel_gan.relaxation(variants["c"], 0).fake.keywords["temperature"] == 1.0  # type: ignore[attr-defined]
    assert gumbel_gan.networks(variants["d"], VOCABULARY, 4)["generator"].cell is not None
    assert gumbel_gan.networks(paper, VOCABULARY, 4)["generator"].cell is None


def test_discriminators() -> None:
    for kind, expected in (("lstm", TokenRNN), ("cnn", SpectralCNN)):
        networks = GUMBEL.networks(tiny(GUMBEL, {"discriminator": kind}), VOCABULARY, 4)
        assert type(networks["discriminator"]) is expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 0}, "--batch-size must be at least 1"),
        ({"fake_batch": 0}, "--fake-batch must be at least 1"),
        ({"anneal_rounds": 0}, "--anneal-rounds must be at least 1"),
        ({"tau_end": 0.0}, "--tau-end must be above 0"),
        ({"confidence": 1.5}, "--confidence must be at most 1, not 1.5"),
        ({"beta1": 1.0}, "--beta1 must be below 1, not 1.0"),
        ({"confidence_end": 0.0}, "--confidence-end must be above 0"),
        ({"lr": float("nan")}, "--lr must be above 0, not nan"),
        ({"objective": "relativistic", "fake_batch": 1000}, "--objective relativistic compares pairs"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        gumbel_gan.Config(**fields)
