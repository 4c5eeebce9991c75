"""MaskGAN's blanks, its losses, and the order of its stages.

What belongs to one part alone is tested with it: the gradient in test_maskgan_gradient.py, masks in
text/test_masking.py, returns in test_discounted_returns.py, the networks with the ambiguity of two equal words in
nets/test_infilling.py, dropout and attention in nets/test_attention.py, the n-gram score in metrics/test_matches.py.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import worlds
from methods.maskgan_plays import MASKGAN, players, plays
from tasks import observed, oracle_task, text_task, tiny, trained
from torch import Tensor
from worlds import World

from textforge.errors import CallError
from textforge.losses import policy_gradient
from textforge.methods import maskgan
from textforge.nets.infilling import InfillingDiscriminator, InfillingGenerator
from textforge.oracles.table import random_table

# --- Blanks ---


@pytest.mark.parametrize("mask", ["contiguous", "bernoulli"])
@pytest.mark.parametrize("whole_rate", [0.0, 0.5, 1.0])
def test_present_tokens_are_copied_and_the_blanks_counted(mask: str, whole_rate: float) -> None:
    _, G, _, play = plays({"mask": mask, "whole_rate": whole_rate})
    vocabulary = G.vocabulary
    present = (play.masked != vocabulary.mask) & (play.masked != vocabulary.pad)
    assert torch.equal(play.fake[present], play.real[present])
    assert torch.equal(play.masked[present], play.real[present])
    whole = (play.masked == vocabulary.mask).all(1)
    assert whole.all() if whole_rate == 1 else whole.any() == (whole_rate > 0)
    assert torch.equal((play.fake != vocabulary.pad)[~whole], (play.real != vocabulary.pad)[~whole])
    assert torch.equal(play.hidden[~whole], play.blank[~whole])
    assert torch.equal(play.hidden, (play.masked == vocabulary.mask) & (play.real != vocabulary.pad))
    assert torch.equal(play.blank, (play.masked == vocabulary.mask) & (play.fake != vocabulary.pad))


def test_with_nothing_blanked_the_text_comes_back_and_no_loss_is_left() -> None:
    config, G, D, play = plays({"present_rate": 1.0, "whole_rate": 0.0, "mask": "bernoulli"})
    assert torch.equal(play.fake, play.real)
    assert not play.blank.any()
    reward = maskgan.rewards(config, D, play)
    advantage = maskgan.advantages(config, D, play, maskgan.returns(config, reward))
    logits = D(play.fake, play.masked).logits
    losses = [
        policy_gradient(G(play.fake, play.masked), advantage),
        maskgan.infilling_discriminator_loss(logits, logits, maskgan.labels_of_fills(config, play), play),
        maskgan.masked_mean(reward, play.blank),
    ]
    assert [loss.item() for loss in losses] == [0, 0, 0]
    assert (worlds.gradient(losses[0], G) == 0).all()


@pytest.mark.parametrize("label_matches_as_real", [False, True])
def test_losses_and_rewards_have_nothing_to_do_with_present_positions(
    label_matches_as_real: bool, tmp_path: Path
) -> None:
    config, G, D, play = plays({"whole_rate": 0.3, "label_matches_as_real": label_matches_as_real})
    real, fake = (torch.randn(play.real.shape, requires_grad=True) for _ in range(2))
    loss = maskgan.infilling_discriminator_loss(real, fake, maskgan.labels_of_fills(config, play), play)
    of_real, of_fake = torch.autograd.grad(loss, [real, fake])
    assert torch.equal(of_real != 0, play.hidden)
    assert torch.equal(of_fake != 0, play.blank)
    reward = maskgan.rewards(config, D, play)
    assert torch.equal(reward != 0, play.blank)
    advantage = maskgan.advantages(config, D, play, maskgan.returns(config, reward))
    assert torch.equal(advantage != 0, play.blank)
    assert torch.equal(G(play.fake, play.masked) != 0, play.blank)
    values = torch.randn(play.real.shape, requires_grad=True)
    squares: list[Tensor] = []
    with observed(tmp_path, text_task()) as run, pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "step", lambda optimizer, loss, clip: squares.append(loss))
        patch.setattr(InfillingDiscriminator, "critic", lambda *arguments, **settings: values)
        optimizer = torch.optim.Adam(D.critic_parameters())
        maskgan.train_critic(config, D, optimizer, play, maskgan.returns(config, reward), run)
    assert torch.equal(torch.autograd.grad(squares[0], values)[0] != 0, play.blank)


# --- The discriminator ---


def test_discriminator_loss_is_that_of_the_loops() -> None:
    config, _, _, play = plays({"whole_rate": 0.3})
    match = play.fake == play.real
    play = maskgan.Play(**{**vars(play), "fake": torch.where(match.cumsum(1) > 1, play.real, play.fake)})
    real, fake = torch.randn(play.real.shape), torch.randn(play.real.shape)
    for matches in (False, True):
        parts: list[list[float]] = [[], []]
        for b in range(len(real)):
            for t in range(real.shape[1]):
                if play.hidden[b, t]:
                    parts[0].append(-math.log(1 / (1 + math.exp(-real[b, t]))))
                if play.blank[b, t]:
                    sign = -1 if matches and play.fake[b, t] == play.real[b, t] else 1
                    parts[1].append(-math.log(1 / (1 + math.exp(sign * fake[b, t]))))
        expected = sum(sum(part) / len(part) for part in parts) / 2
        labels = maskgan.labels_of_fills(replace(config, label_matches_as_real=matches), play)
        loss = maskgan.infilling_discriminator_loss(real, fake, labels, play)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("label_matches_as_real", [False, True])
def test_accuracy_is_the_share_of_verdicts_that_agree_with_the_labels(
    label_matches_as_real: bool, tmp_path: Path
) -> None:
    config, _, D, play = plays({"label_matches_as_real": label_matches_as_real, "d_dropout": 0.0, "whole_rate": 0.3})
    logged: dict[str, Tensor] = {}
    with observed(tmp_path, text_task()) as run, pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "step", lambda *arguments, **settings: None)
        patch.setattr(run, "log", lambda **scalars: logged.update(scalars))
        maskgan.train_discriminator(config, D, torch.optim.Adam(D.judging_parameters()), play, run)
    of_real = (D(play.real, play.masked).logits > 0)[play.hidden].tolist()
    of_fakes, matches = [], 0
    for logit, fake, real in zip(
        D(play.fake, play.masked).logits[play.blank], play.fake[play.blank], play.real[play.blank], strict=True
    ):
        matches += bool(fake == real and logit > 0)
        of_fakes.append((logit > 0) == (label_matches_as_real and bool(fake == real)))
    assert matches > 0  # there are fills on which the two labellings disagree
    expected = (sum(of_real) / len(of_real) + sum(of_fakes) / len(of_fakes)) / 2
    assert logged["d_accuracy"].item() == pytest.approx(expected)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("label_matches_as_real", [False, True])
def test_best_discriminator_is_the_share_of_real_tokens_in_each_context(label_matches_as_real: bool) -> None:
    """p / (p + q) a position; where matches count as real, (p + P(fill = v = truth)) / (p + q)."""
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(3))  # context, truth, fill
    times = torch.randint(1, 9, (len(pairs),))
    context, real, fake = pairs.repeat_interleave(times, 0).T
    anywhere = torch.ones(len(real), 1, dtype=torch.bool)
    play = maskgan.Play(real[:, None], real[:, None], fake[:, None], anywhere, anywhere)
    labels = maskgan.labels_of_fills(tiny(MASKGAN, {"label_matches_as_real": label_matches_as_real}), play)
    table = torch.zeros(2, 3, requires_grad=True)
    optimizer = torch.optim.LBFGS([table], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-16)

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = (table[context, real][:, None], table[context, fake][:, None])
        value = maskgan.infilling_discriminator_loss(*logits, labels, play)
        value.backward()
        return value

    optimizer.step(loss)
    for c in range(2):
        for v in range(3):
            p, q = ((context == c) & (tokens == v) for tokens in (real, fake))
            matched = (p & q).sum() if label_matches_as_real else 0
            best = (p.sum() + matched) / (p.sum() + q.sum())
            assert table[c, v].sigmoid().item() == pytest.approx(best.item(), abs=1e-5)


# --- The advantage ---


@pytest.mark.parametrize("form", ["from-here", "from-start"])
def test_advantage_is_the_return_less_the_value_within_its_bound(form: str) -> None:
    config, _, D, play = plays({"advantage_clip": 1.0, "returns": form, "discount": 0.7, "whole_rate": 0.5})
    reward = maskgan.rewards(config, D, play)
    advantage = maskgan.advantages(config, D, play, maskgan.returns(config, reward))
    values = D.eval().critic(play.fake)
    width = reward.shape[1]
    for b in range(len(reward)):
        for t in range(width):
            powers = [0.7 ** (s if form == "from-start" else s - t) for s in range(t, width)]
            return_ = sum(power * reward[b, s].item() for power, s in zip(powers, range(t, width), strict=True))
            expected = max(-1.0, min(1.0, return_ - values[b, t].item())) if play.blank[b, t] else 0.0
            assert advantage[b, t].item() == pytest.approx(expected, abs=1e-5)
    assert (advantage.abs() == 1.0).any()
    assert (advantage[play.blank].abs() < 1.0).any()


def test_reward_is_the_log_of_twice_the_verdict_at_every_blank() -> None:
    config, _, D, play = plays({"whole_rate": 0.5})
    verdicts = D.eval()(play.fake, play.masked).logits.sigmoid()
    torch.testing.assert_close(maskgan.rewards(config, D, play), ((2 * verdicts).log() * play.blank).detach())
    with torch.no_grad():
        D.head.weight.zero_()
        D.head.bias.zero_()
    assert maskgan.rewards(config, D, play).abs().max() < 1e-6  # it cannot tell


def test_an_empty_reward_says_nothing_of_the_fill() -> None:
    """Constant: 0 everywhere. Random: log 2U at blanks, whatever stands there, of mean log 2 - 1."""
    config, _, D, play = plays({"whole_rate": 1.0})
    assert (maskgan.rewards(replace(config, reward="constant"), D, play) == 0).all()
    noise = torch.stack([maskgan.rewards(replace(config, reward="random"), D, play) for _ in range(200)])
    assert ((noise != 0) == play.blank).all()
    drawn = noise[:, play.blank]
    assert drawn.max() <= math.log(2)
    assert abs(drawn.mean() - (math.log(2) - 1)) < 4 / drawn.numel() ** 0.5  # log U has variance 1


def test_loss_of_the_generator_reaches_neither_the_discriminator_nor_the_critic() -> None:
    config, G, D, play = plays({"share_embedding": False})
    D.train()
    advantage = maskgan.advantages(config, D, play, maskgan.returns(config, maskgan.rewards(config, D, play)))
    policy_gradient(G(play.fake, play.masked), advantage).backward()
    assert all(parameter.grad is None for parameter in D.parameters())
    assert all(parameter.grad is not None for parameter in G.parameters())
    assert D.dropout.training  # judged without dropout, trained with it again


# --- The algorithm ---


@pytest.mark.parametrize("critic_step", ["generator", "discriminator"])
def test_order_and_number_of_updates(critic_step: str, tmp_path: Path) -> None:
    rates = {"pretrain_lr": 0.05, "d_pretrain_lr": 0.04, "g_lr": 0.03, "d_lr": 0.02, "critic_lr": 0.01}
    fields = {"lm_steps": 2, "mle_steps": 3, "d_pretrain_steps": 2, "rounds": 2, "critic_step": critic_step}
    run = trained(tmp_path, MASKGAN, tiny(MASKGAN, {**rates, **fields}), text_task())
    names = {0.05: "mle", 0.04: "d0", 0.03: "g", 0.02: "d", 0.01: "critic"}
    steps = [(phase, names[optimizer.param_groups[0]["lr"]]) for phase, optimizer in run.steps]
    expected = [("language-model", "mle")] * 2 + [("maskmle", "mle")] * 3
    expected += [("discriminator", "d0"), ("discriminator", "critic")] * 2
    round_ = ["d", "d", "d", "g", "critic"] if critic_step == "generator" else ["d", "critic"] * 3 + ["g"]
    expected += [("adversarial", name) for name in round_] * 2
    assert steps == expected


def test_maskmle_is_the_same_run_without_the_game(tmp_path: Path) -> None:
    maskmle, small = maskgan.PRESETS["maskmle"], maskgan.PRESETS["small"]
    assert {name for name, value in vars(maskmle).items() if value != vars(small)[name]} == {"rounds"}
    assert maskmle.rounds == 0
    run = trained(tmp_path, MASKGAN, tiny(MASKGAN, {"rounds": 0}), text_task())
    assert {phase for phase, _ in run.steps} == {"language-model", "maskmle", "discriminator"}


def test_encoder_and_decoder_begin_as_the_language_model(tmp_path: Path) -> None:
    run = trained(tmp_path, MASKGAN, tiny(MASKGAN, {"mle_steps": 0, "d_pretrain_steps": 0, "rounds": 0}), text_task())
    G, before = run.modules["generator"], run.trained["generator"]
    assert isinstance(G, InfillingGenerator)
    for name, value in G.decoder.state_dict().items():
        assert torch.equal(value, G.encoder.state_dict()[name])
        assert not torch.equal(value, before[f"decoder.{name}"])
    for name, value in G.attention.state_dict().items():
        assert torch.equal(value, before[f"attention.{name}"])


def test_maskmle_learns_from_blanks_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []
    forward = InfillingGenerator.forward

    def spy(self: InfillingGenerator, tokens: Tensor, masked: Tensor | None = None) -> Tensor:
        log_probs: Tensor = forward(self, tokens, masked)
        if torch.is_grad_enabled() and masked is not None and run.phase_now == "maskmle":
            blank = (masked == self.vocabulary.mask) & (tokens != self.vocabulary.pad)
            found.append(-log_probs[blank].mean().item())
        return log_probs

    task = text_task()
    monkeypatch.setattr(InfillingGenerator, "forward", spy)
    with observed(tmp_path, task) as run:
        step, losses = run.step, []

        def record(optimizer: Any, loss: Tensor, clip: float | None = None) -> None:
            if run.phase_now == "maskmle":
                losses.append(loss.item())
            assert clip == 10.0
            step(optimizer, loss, clip)

        monkeypatch.setattr(run, "step", record)
        MASKGAN.train(tiny(MASKGAN, {"mle_steps": 3, "rounds": 1}), task, run)
    assert losses == pytest.approx(found)
    assert len(losses) == 3


@pytest.mark.parametrize("share_embedding", [False, True])
def test_a_shared_embedding_is_moved_by_the_generator_alone(share_embedding: bool, tmp_path: Path) -> None:
    task, moved = text_task(), set()
    with observed(tmp_path, task) as run:
        step = run.step

        def record(optimizer: Any, loss: Tensor, clip: float | None = None) -> None:
            weight: Any = run.modules["discriminator"].get_parameter("embedding.weight")
            before = weight.detach().clone()
            step(optimizer, loss, clip)
            if run.phase_now == "adversarial" and not torch.equal(weight, before):
                moved.add("g" if optimizer is run.optimizers["generator"] else "other")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "step", record)
            MASKGAN.train(tiny(MASKGAN, {"share_embedding": share_embedding}), task, run)
    assert moved == ({"g"} if share_embedding else {"other"})
    same = run.modules["discriminator"].embedding is run.modules["generator"].embedding
    assert same == share_embedding


def test_dropout_of_the_generator_acts_where_it_learns_from_text_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy that is sampled has none, so neither may the one whose gradient is taken."""
    modes: dict[str, set[bool]] = {}
    forward = InfillingGenerator.forward

    def spy(self: InfillingGenerator, *arguments: Any) -> Tensor:
        if torch.is_grad_enabled():
            modes.setdefault(run.phase_now, set()).add(self.dropout.training)
        return forward(self, *arguments)

    monkeypatch.setattr(InfillingGenerator, "forward", spy)
    task = text_task()
    with observed(tmp_path, task) as run:
        MASKGAN.train(tiny(MASKGAN, {}), task, run)
    assert modes == {"maskmle": {True}, "adversarial": {False}}


def test_curriculum_lengthens_the_texts_of_the_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(MASKGAN, {"curriculum": 4})
    assert [maskgan.curriculum_length(config, i, 10) for i in range(6)] == [2, 4, 6, 8, 10, 10]
    assert maskgan.curriculum_length(tiny(MASKGAN, {}), 0, 10) == 10
    widths: list[int] = []
    filled = maskgan.filled

    def spy(config: Any, G: InfillingGenerator, tokens: Tensor) -> maskgan.Play:
        widths.append(tokens.shape[1])
        return filled(config, G, tokens)

    monkeypatch.setattr(maskgan, "filled", spy)
    task = text_task()
    trained(tmp_path, MASKGAN, tiny(MASKGAN, {"curriculum": 2, "rounds": 3, "d_steps": 1, "d_pretrain_steps": 0}), task)
    assert widths == [2, 2, (2 + task.max_length) // 2, (2 + task.max_length) // 2, *[task.max_length] * 2]


# --- What is measured ---


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[tuple[Callable[[], Any], InfillingGenerator]]:
    task = oracle_task(random_table(seed=1), 200)
    config, G, _ = players(World(task.vocabulary, task.max_length), {"whole_rate": 1.0})
    with observed(tmp_path, task) as run:
        yield maskgan.measurements(config, G, task, run), G


def test_blanks_of_held_out_text_are_measured_always_the_same_ones(
    measured: tuple[Callable[[], Any], InfillingGenerator],
) -> None:
    measure, G = measured
    with torch.no_grad():
        first, again = measure().scalars, measure().scalars
        G.bias.copy_(torch.tensor([-50.0, 0.0, 0.0]))
        other = measure().scalars
    assert first["nll_masked"] == again["nll_masked"] != other["nll_masked"]
    assert first["perplexity_masked"] == pytest.approx(math.exp(first["nll_masked"]))
    assert other["nll_masked"] > 5  # some truths are the symbol that it never says
    assert first["validity_fills"] == 1
    assert 0 < first["nll_fills"] < 3
    assert first["ngram_score"] == 0  # texts of three have no 4-grams


def test_free_writing_is_scored_only_where_it_is_trained(tmp_path: Path) -> None:
    task = text_task()
    config, G, _ = players(World(task.vocabulary, task.max_length), {"whole_rate": 0.0})
    with observed(tmp_path, task) as run, torch.no_grad():
        assert set(maskgan.measurements(config, G, task, run)().scalars) == {"nll_masked", "perplexity_masked"}


# --- Settings ---


def test_paper_settings() -> None:
    paper = maskgan.PRESETS["paper"]
    assert (paper.hidden_dim, paper.num_layers, paper.present_rate, paper.mask) == (650, 2, 0.5, "contiguous")
    assert (paper.d_steps, paper.critic_step, paper.critic_trunk) == (3, "generator", False)
    assert (paper.returns, paper.advantage_clip, paper.clip) == ("from-here", 5.0, 10.0)
    assert (paper.label_matches_as_real, paper.whole_rate, paper.share_embedding) == (False, 0.0, True)
    assert (paper.pretrain_batch_size, paper.batch_size, paper.d_pretrain_steps) == (20, 128, 100)
    assert (paper.pretrain_lr, paper.d_pretrain_lr) == (7.4876e-4, 5e-3)
    assert (paper.g_lr, paper.d_lr, paper.critic_lr) == (3.8877e-5, 5e-4, 5.1761e-7)
    assert (paper.discount, paper.dropout, paper.d_dropout) == (0.89072, 0.5, 0.2806)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rounds": -1}, "--rounds must be at least 0, not -1"),
        ({"d_steps": 0}, "--d-steps must be at least 1"),
        ({"hidden_dim": 0}, "--hidden-dim must be at least 1"),
        ({"present_rate": 1.5}, "--present-rate must be at most 1"),
        ({"whole_rate": -0.1}, "--whole-rate must be at least 0"),
        ({"discount": 1.1}, "--discount must be at most 1"),
        ({"advantage_clip": 0.0}, "--advantage-clip must be above 0"),
        ({"critic_lr": 0.0}, "--critic-lr must be above 0"),
        ({"dropout": 2.0}, "--dropout must be at most 1"),
        ({"patience": 0}, "--patience must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        maskgan.Config(**fields)
