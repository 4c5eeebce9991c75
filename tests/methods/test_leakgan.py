"""The losses of Manager and Worker by loops, their gradients by enumeration, and the order of the training.

What belongs to one function alone is tested with it: features of prefixes in nets/test_leaked_features.py, goals,
policy and temperature in nets/test_manager_worker.py, ranks and intrinsic rewards in test_rank_rescale.py, roll-outs of
segments in test_segments.py.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import worlds
from nets.hierarchies import leakgan as generator
from tasks import observed, oracle_task, text_task, tiny, trained
from torch import Tensor
from torch.nn import functional as F

from textforge.decoding import sample
from textforge.errors import CallError
from textforge.losses import policy_gradient
from textforge.methods import Method, leakgan
from textforge.nets.leaked_features import LeakedFeatures
from textforge.nets.manager_worker import LeakGANGenerator
from textforge.nets.text_cnn import TextCNN
from textforge.oracles.table import random_table
from textforge.returns import monte_carlo_q, rank_rescale

LEAKGAN = cast(Method, leakgan)
LONG = worlds.World(worlds.ENDING.vocabulary, 7)


def texts(world: worlds.World, num: int) -> Tensor:
    """Random sequences of a world, no two alike."""
    return world.sequences[torch.randperm(len(world.sequences))[:num]]


def views(G: LeakGANGenerator, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, goals, mask and transitions of sequences."""
    features, mask = G.leaked(tokens), tokens != G.vocabulary.pad
    return features, G.manager(features[:, :-1]), mask, leakgan.transitions(G, mask)


# --- The Manager ---


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("form", ["sliding", "segment"])
def test_managers_loss_is_that_of_loops(form: str) -> None:
    G, c = generator(LONG, step_size=3, goal_form=form), 3
    tokens = texts(LONG, 30)
    features, goals, mask, pairs = views(G, tokens)
    worth = torch.randn(pairs.shape)
    first = F.normalize(G.worker.first_goal, dim=0)
    terms = []
    for b, length in enumerate(mask.sum(1).tolist()):
        for t in range(7 - c + 1):
            if t >= length or (form == "segment" and t % c) or torch.equal(features[b, t], features[b, t + c]):
                continue
            followed = [goals[b, t - i] if t >= i else first for i in range(1, c + 1)]
            goal = goals[b, t] if form == "sliding" else torch.stack(followed).sum(0)
            terms.append(-worth[b, t] * F.cosine_similarity(features[b, t + c] - features[b, t], goal, dim=0))
    assert len(terms) > 30
    loss = leakgan.manager_loss(G, features, goals, pairs, worth)
    torch.testing.assert_close(loss, torch.stack(terms).mean(), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_every_reward_goes_with_its_own_cosine() -> None:
    """With one term alone, the gradient is that term's; one cosine for the whole batch would mix them all."""
    G = generator(LONG, step_size=2)
    features, goals, _, pairs = views(G, texts(LONG, 8))
    parameters = list(G.manager.parameters())
    moves = [(b, t) for b, t in pairs.nonzero().tolist() if not torch.equal(features[b, t], features[b, t + 2])]
    assert len(moves) > 10
    for b, t in [moves[0], moves[5], moves[-1]]:
        worth = torch.zeros(pairs.shape)
        worth[b, t] = 1.0
        loss = leakgan.manager_loss(G, features, goals, pairs, worth)
        term = -F.cosine_similarity(features[b, t + 2] - features[b, t], goals[b, t], dim=0) / len(moves)
        for found, expected in zip(
            torch.autograd.grad(loss, parameters, retain_graph=True),
            torch.autograd.grad(term, parameters, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        assert found.abs().max() > 0


@pytest.mark.usefixtures("float64")
def test_goal_turns_towards_what_was_worth_more() -> None:
    G = generator(LONG, step_size=2)
    tokens = texts(LONG, 8)
    features, goals, _, pairs = views(G, tokens)
    worth = torch.zeros(pairs.shape)
    worth[2, 0] = 1.0

    def turned() -> float:
        goal = G.manager(features[:, :-1])[2, 0]
        return F.cosine_similarity(features[2, 2] - features[2, 0], goal, dim=0).item()

    before = turned()
    optimizer = torch.optim.Adam(G.manager.parameters(), lr=0.01)
    leakgan.manager_loss(G, features, goals, pairs, worth).backward()
    optimizer.step()
    assert turned() > before + 0.01


@pytest.mark.usefixtures("float64")
def test_a_move_is_worth_what_can_be_reached_from_its_end() -> None:
    mask = LONG.mask
    q = torch.rand(mask.shape) * mask
    found = leakgan.values_behind(q, mask, 3)
    assert found.shape == (len(mask), 5)
    for b, length in enumerate(mask.sum(1).tolist()):
        for t in range(5):
            assert found[b, t] == q[b, min(t + 3, length) - 1]


def test_transitions_begin_where_a_token_follows() -> None:
    G = generator(LONG, step_size=3)
    mask = torch.arange(7) < torch.tensor([[1], [4], [7]])
    assert leakgan.transitions(G, mask).tolist() == [[t < length for t in range(5)] for length in (1, 4, 7)]
    G.goal_form = "segment"
    assert leakgan.transitions(G, mask).tolist() == [
        [t < length and t in (0, 3) for t in range(5)] for length in (1, 4, 7)
    ]


# --- The Worker ---


@pytest.mark.usefixtures("float64")
def test_reward_of_sliding_goals_is_that_of_loops() -> None:
    G, c = generator(LONG, step_size=3), 3
    features, goals, _, _ = views(G, texts(LONG, 20))
    found = leakgan.worker_reward(G, features, goals)
    for b in range(20):
        for t in range(1, 8):
            values = [
                F.cosine_similarity(features[b, t] - features[b, t - i], goals[b, t - i], dim=0).item()
                for i in range(1, min(c, t) + 1)
                if not torch.equal(features[b, t], features[b, t - i])
            ]
            assert found[b, t - 1].item() == pytest.approx(sum(values) / max(len(values), 1), abs=1e-12)


@pytest.mark.usefixtures("float64")
def test_reward_in_segments_is_that_of_loops() -> None:
    G, c = generator(LONG, step_size=3, goal_form="segment"), 3
    features, goals, _, _ = views(G, texts(LONG, 20))
    found = leakgan.worker_reward(G, features, goals)
    first = F.normalize(G.worker.first_goal, dim=0)
    for b in range(20):
        for t in range(1, 8):
            begin = (t - 1) // c * c
            goal = torch.stack([goals[b, begin - i] if begin >= i else first for i in range(1, c + 1)]).sum(0)
            way = features[b, t] - features[b, begin]
            assert found[b, t - 1].item() == pytest.approx(F.cosine_similarity(way, goal, dim=0).item(), abs=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("form", ["sliding", "segment"])
def test_expected_gradient_of_the_worker_is_the_enumerated_one(form: str) -> None:
    """Sampled as in training, with a reward for every token, against the sum over prefixes and next tokens."""
    world = worlds.FIXED
    G = generator(world, goal_form=form)
    worker = G.worker
    table = torch.randn(len(world.sequences), 3)
    rewards = torch.stack(
        [table[world.index(first_like(world, row, t))[0], t] for row in world.sequences for t in range(3)]
    )
    rewards = rewards.view(-1, 3)  # of each token, known once it is written
    log_probs = G(world.sequences)
    probs = log_probs.detach().sum(1).exp()
    exact = -worlds.gradient((probs * (log_probs * rewards).sum(1)).sum(), worker)
    # Independently: sum over prefixes of P(prefix) sum over tokens of grad pi(token | prefix) r(prefix, token).
    value = log_probs.new_zeros(())
    seen = set()
    for k, row in enumerate(world.sequences.tolist()):
        for t in range(3):
            if tuple(row[: t + 1]) not in seen:
                seen.add(tuple(row[: t + 1]))
                reach = log_probs[k, :t].sum().exp().detach()
                value = value + reach * log_probs[k, t].exp() * rewards[k, t]
    torch.testing.assert_close(-worlds.gradient(value, worker), exact, rtol=0, atol=1e-12)
    estimates = []
    for _ in range(50):
        drawn = sample(G, 200).tokens
        estimates.append(worlds.gradient(policy_gradient(G(drawn), rewards[world.index(drawn)]), worker))
    drawn_gradients = torch.stack(estimates)
    error = drawn_gradients.std(0) / 50**0.5
    assert ((drawn_gradients.mean(0) - exact).abs() <= 4.5 * error + 1e-12).all()
    assert (exact.abs() > 6 * error).sum() >= 10


def first_like(world: worlds.World, row: Tensor, t: int) -> Tensor:
    """The first sequence of the world that begins as `row` does up to and with t."""
    alike = (world.sequences[:, : t + 1] == row[: t + 1]).all(1)
    return world.sequences[alike][:1]


@pytest.mark.usefixtures("float64")
def test_a_rewarded_token_becomes_likelier_and_a_punished_one_less_likely() -> None:
    G, tokens = generator(worlds.FIXED), worlds.FIXED.sequences[:1]
    for sign in (1.0, -1.0):
        reward = torch.zeros(1, 3)
        reward[0, 1] = sign
        before = G(tokens)[0, 1].item()
        optimizer = torch.optim.Adam(G.worker.parameters(), lr=0.01)
        policy_gradient(G(tokens), reward).backward()
        optimizer.step()
        optimizer.zero_grad()
        assert sign * (G(tokens)[0, 1].item() - before) > 0.01


# --- The value of a sequence ---


@pytest.mark.usefixtures("float64")
def test_roll_outs_of_the_generator_estimate_its_values() -> None:
    world = worlds.ENDING
    G, values = generator(world), worlds.random_values(world, 2)
    exact, square = worlds.exact_q(G, world, values), worlds.exact_q(G, world, values**2)
    q = monte_carlo_q(G, world.sequences, world.reward(values), 400)
    error = ((square - exact**2).clamp(min=0) / 400).sqrt()
    assert ((q - exact).abs() <= 4.5 * error + 1e-12).all()
    assert (error > 0.005).sum() > 20


def test_value_of_a_whole_sequence_is_the_discriminators_verdict() -> None:
    task = text_task()
    config = leakgan.PRESETS["tiny"]
    players = leakgan.networks(config, task.vocabulary, task.max_length)
    G, D = players["generator"], players["discriminator"].eval()
    tokens = sample(G, 20).tokens
    q = monte_carlo_q(G, tokens, leakgan.verdict(config, D), 2, every=2)
    last = (tokens != task.vocabulary.pad).sum(1) - 1
    torch.testing.assert_close(q[torch.arange(20), last], D(tokens).logits.sigmoid().detach(), rtol=1e-5, atol=1e-6)
    assert (leakgan.verdict(dataclasses.replace(config, reward="constant"), D)(tokens) == 1).all()
    noise = leakgan.verdict(dataclasses.replace(config, reward="random"), D)
    assert not torch.equal(noise(tokens), noise(tokens))


# --- The algorithm ---


@pytest.mark.parametrize("fields", [{}, {"goal_form": "segment", "rollout_every": "segment"}], ids=["paper", "code"])
def test_every_step_changes_its_own_network_alone(fields: dict[str, Any], tmp_path: Path) -> None:
    """Manager, Worker and discriminator; the leaked features change with no step at all."""
    task = text_task()
    owners: dict[tuple[str, str], int] = {}
    with observed(tmp_path, task) as run:
        step = run.step

        def parts() -> dict[str, list[Tensor]]:
            G, D = run.modules["generator"], run.modules["discriminator"]
            assert isinstance(G, LeakGANGenerator)
            named = {"manager": G.manager, "worker": G.worker, "leaked": G.leaked, "discriminator": D}
            return {name: [value.clone() for value in part.state_dict().values()] for name, part in named.items()}

        def watched(optimizer: Any, loss: Tensor, clip: float | None = None) -> None:
            before = parts()
            step(optimizer, loss, clip)
            changed = [
                name
                for name, after in parts().items()
                if not all(torch.equal(new, old) for new, old in zip(after, before[name], strict=True))
            ]
            key = (run.phase_now, "+".join(changed))
            owners[key] = owners.get(key, 0) + 1
            assert clip == (None if changed == ["discriminator"] else 5.0)

        run.step = watched  # type: ignore[method-assign]
        LEAKGAN.train(tiny(LEAKGAN, fields), task, run)
    # two turns of 4 batches; 4 updates; 3 rounds of one update each, a turn, and one epoch of 3 batches
    assert owners == {
        ("pretrain", "discriminator"): 8,
        ("pretrain", "manager"): 4,
        ("pretrain", "worker"): 4,
        ("adversarial", "discriminator"): 12,
        ("adversarial", "manager"): 3 + 3,
        ("adversarial", "worker"): 3 + 3,
    }


@pytest.mark.parametrize(("rounds", "every"), [(0, 1), (1, 2), (5, 2), (6, 3), (2, 1), (2, 15), (1, 0)])
def test_an_epoch_of_real_text_follows_each_so_many_rounds(
    rounds: int, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[str] = []
    learn = leakgan.learn_from_text

    def counted(config: Any, G: Any, optimizers: Any, real: Any, run: Any) -> None:
        learnt.append(run.phase_now)
        learn(config, G, optimizers, real, run)

    monkeypatch.setattr(leakgan, "learn_from_text", counted)
    trained(tmp_path, LEAKGAN, tiny(LEAKGAN, {"rounds": rounds, "mle_every": every}), text_task())
    epoch = 3  # 20 lines in batches of 8
    assert learnt.count("adversarial") == (rounds // every * epoch if every else 0)


def test_features_are_leaked_before_the_generator_learns_and_stand_while_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    for name in ("train_discriminator", "learn_from_text", "manager_loss"):
        inner = getattr(leakgan, name)

        def spy(*arguments: Any, name: str = name, inner: Any = inner) -> Any:
            if not (name == "manager_loss" and order and order[-1] == "learn_from_text"):
                order.append(name)
            return inner(*arguments)

        monkeypatch.setattr(leakgan, name, spy)
    leak = LeakedFeatures.leak

    def leaking(self: LeakedFeatures, discriminator: TextCNN) -> None:
        order.append("leak")
        leak(self, discriminator)

    monkeypatch.setattr(LeakedFeatures, "leak", leaking)
    trained(tmp_path, LEAKGAN, tiny(LEAKGAN, {"rounds": 2, "g_steps": 2}), text_task())
    turn = ["train_discriminator", "leak", "learn_from_text", "learn_from_text"]
    round_ = ["leak", "manager_loss", "manager_loss"]
    assert order == [
        "leak",
        *turn * 2,
        *round_,
        "train_discriminator",
        *round_,
        *["learn_from_text"] * 3,
        "train_discriminator",
    ]


def test_pretraining_of_the_manager_is_worth_1_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []
    inner = leakgan.manager_loss

    def spy(G: Any, features: Tensor, goals: Tensor, pairs: Tensor, worth: Tensor) -> Tensor:
        seen.append((run.phase_now, torch.equal(worth, pairs.to(worth.dtype))))
        return inner(G, features, goals, pairs, worth)

    monkeypatch.setattr(leakgan, "manager_loss", spy)
    task = text_task()
    with observed(tmp_path, task) as run:
        LEAKGAN.train(tiny(LEAKGAN, {"mle_every": 0}), task, run)
    assert set(seen) == {("pretrain", True), ("adversarial", False)}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("baseline", ["none", "leave-one-out"])
def test_step_of_the_worker_is_that_of_the_equations(
    baseline: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss handed to the run, from rewards and scores, by sums that are written out."""
    task = text_task()
    losses, seen = [], []
    reward_of, sampling = leakgan.worker_reward, sample

    def spy(G: Any, features: Tensor, goals: Tensor) -> Tensor:
        reward = reward_of(G, features, goals)
        tokens = drawn[-1]
        seen.append((reward, G.log_probs(tokens, goals, 1.25).detach(), tokens != task.vocabulary.pad))
        return reward

    drawn: list[Tensor] = []

    def remembered(G: Any, num: int, *, temperature: float) -> Any:
        assert temperature == 1.25  # the discriminator's negatives too
        decoded = sampling(G, num, temperature=temperature)
        drawn.append(decoded.tokens)
        return decoded

    monkeypatch.setattr(leakgan, "worker_reward", spy)
    monkeypatch.setattr(leakgan, "sample", remembered)
    with observed(tmp_path, task) as run:
        step = run.step

        def record(optimizer: Any, loss: Tensor, clip: float | None = None) -> None:
            if optimizer is run.optimizers["generator"]:
                losses.append(loss.item())
            step(optimizer, loss, clip)

        run.step = record  # type: ignore[method-assign]
        LEAKGAN.train(tiny(LEAKGAN, {"baseline": baseline, "temperature": 1.25}), task, run)
    assert len(losses) == len(seen) == 3
    for loss, (reward, scores, mask) in zip(losses, seen, strict=True):
        total = 0.0
        for b, t in mask.nonzero().tolist():
            others = [reward[o, t].item() for o in range(len(mask)) if o != b and mask[o, t]]
            known = sum(others) / len(others) if others and baseline != "none" else 0.0
            total -= scores[b, t].item() * (reward[b, t].item() - known)
        assert loss == pytest.approx(total / len(mask), rel=1e-9, abs=1e-9)


def test_managers_worth_is_the_rank_of_what_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, list[Tensor]] = {"q": [], "worth": []}
    valued, inner = monte_carlo_q, leakgan.manager_loss

    def q_spy(*arguments: Any, every: int, temperature: float) -> Tensor:
        assert (every, temperature) == (2, 0.8)
        found["q"].append(valued(*arguments, every=every, temperature=temperature))
        return found["q"][-1]

    def spy(G: Any, features: Tensor, goals: Tensor, pairs: Tensor, worth: Tensor) -> Tensor:
        if run.phase_now == "adversarial":
            found["worth"].append(worth)
        return inner(G, features, goals, pairs, worth)

    monkeypatch.setattr(leakgan, "monte_carlo_q", q_spy)
    monkeypatch.setattr(leakgan, "manager_loss", spy)
    task = text_task()
    config = tiny(LEAKGAN, {"mle_every": 0, "rollout_every": "segment", "temperature": 0.8, "rescale_delta": 7.0})
    with observed(tmp_path, task) as run:
        LEAKGAN.train(config, task, run)
    assert len(found["q"]) == len(found["worth"]) == 3
    for q, worth in zip(found["q"], found["worth"], strict=True):
        mask = q > 0  # a verdict is never 0
        behind = leakgan.values_behind(q, mask, 2)
        pairs = mask[:, : behind.shape[1]]
        assert torch.equal(worth, rank_rescale(behind, pairs, delta=7.0))


def test_evaluation_is_at_temperature_1(tmp_path: Path) -> None:
    """Whatever the temperature of training: the likelihood that a run records is that of the policy at 1."""
    task = text_task()
    with observed(tmp_path, task) as run:
        G = LEAKGAN.train(tiny(LEAKGAN, {"temperature": 3.0}), task, run)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    adversarial = [record for record in records if record["phase"] == "adversarial"]
    assert {record["temperature"] for record in adversarial if "nll_valid" in record} == {1.0}
    assert {record["temperature"] for record in adversarial if "reward" in record} == {3.0}
    assert isinstance(G, LeakGANGenerator)
    tokens = task.valid.batch(np.arange(len(task.valid)), None).tokens
    features = G.leaked(tokens)
    goals, mask = G.manager(features[:, :-1]), tokens != task.vocabulary.pad
    at = {alpha: -(G.log_probs(tokens, goals, alpha) * mask).sum().item() / int(mask.sum()) for alpha in (1.0, 3.0)}
    recorded = [record["nll_valid"] for record in adversarial if "nll_valid" in record][-1]
    assert recorded == pytest.approx(at[1.0], rel=1e-5)
    assert abs(recorded - at[3.0]) > 1e-3


def test_temperature_of_training_is_that_of_adversarial_rounds_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Likelihood, in pretraining and between rounds, is that of the policy at 1."""
    seen: list[tuple[str, float]] = []
    inner, learn = LeakGANGenerator.log_probs, leakgan.learn_from_text
    learning: list[str] = []

    def spy(self: LeakGANGenerator, tokens: Tensor, goals: Tensor, temperature: float = 1.0) -> Tensor:
        if torch.is_grad_enabled():
            seen.append((learning[-1] if learning else "adversarial", temperature))
        return inner(self, tokens, goals, temperature)

    def from_text(*arguments: Any) -> None:
        learning.append("text")
        learn(*arguments)
        learning.pop()

    monkeypatch.setattr(LeakGANGenerator, "log_probs", spy)
    monkeypatch.setattr(leakgan, "learn_from_text", from_text)
    task = text_task()
    with observed(tmp_path, task) as run:
        run._evaluate = None  # its scores are not part of training
        LEAKGAN.train(tiny(LEAKGAN, {"temperature": 2.0}), task, run)
    assert set(seen) == {("text", 1.0), ("adversarial", 2.0)}


def test_dropout_of_the_worker_acts_while_it_learns_from_text_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pretraining and in the epoch that follows the second round, and off again in the third."""
    seen: list[tuple[str, bool, bool]] = []
    inner, learn = LeakGANGenerator.log_probs, leakgan.learn_from_text
    learning: list[str] = []

    def spy(self: LeakGANGenerator, *arguments: Any) -> Tensor:
        if torch.is_grad_enabled():
            seen.append((run.phase_now, bool(learning), self.worker.dropout.training))
        return inner(self, *arguments)

    def from_text(*arguments: Any) -> None:
        learning.append("text")
        learn(*arguments)
        learning.pop()

    monkeypatch.setattr(LeakGANGenerator, "log_probs", spy)
    monkeypatch.setattr(leakgan, "learn_from_text", from_text)
    task = text_task()
    with observed(tmp_path, task) as run:
        run._evaluate = None  # its scores are not part of training
        LEAKGAN.train(tiny(LEAKGAN, {"dropout": 0.5}), task, run)
    game, text = ("adversarial", False, False), ("adversarial", True, True)
    assert seen == [("pretrain", True, True)] * 4 + [game] * 2 + [text] * 3 + [game]


@pytest.mark.parametrize(("interleave_lr", "later"), [(None, 0.25), (0.125, 0.125)])
def test_interleaved_epochs_may_have_a_rate_of_their_own(
    interleave_lr: float | None, later: float, tmp_path: Path
) -> None:
    rates: list[tuple[str, float]] = []
    task = text_task()
    with observed(tmp_path, task) as run:
        step = run.step

        def watched(optimizer: Any, loss: Tensor, clip: float | None = None) -> None:
            rates.append((run.phase_now, optimizer.param_groups[0]["lr"]))
            step(optimizer, loss, clip)

        run.step = watched  # type: ignore[method-assign]
        fields = {"pretrain_lr": 0.25, "interleave_lr": interleave_lr, "g_lr": 0.5, "d_lr": 0.75}
        LEAKGAN.train(tiny(LEAKGAN, fields), task, run)
    of_text = [pair for pair in rates if pair[1] not in {0.5, 0.75}]
    assert of_text == [("pretrain", 0.25)] * 8 + [("adversarial", later)] * 6  # Manager and Worker: 4 each, 3 each
    assert rates.count(("adversarial", 0.5)) == 6


# --- Settings ---


def test_windows_of_the_paper() -> None:
    ten = [(1, 100), (2, 200), (3, 200), (4, 200), (5, 200), (6, 100), (7, 100), (8, 100), (9, 100), (10, 100)]
    assert leakgan.paper_windows(20) == (*ten, (15, 160), (20, 160))
    assert leakgan.paper_windows(40) == (*ten, (16, 160), (20, 160), (30, 160), (40, 160))
    assert leakgan.paper_windows(32) == (*ten, (16, 160), (24, 160), (32, 160))
    sums = {length: sum(kernels for _, kernels in leakgan.paper_windows(length)) for length in (20, 32, 40)}
    assert sums == {20: 1720, 32: 1880, 40: 2040}
    for length in range(1, 100):
        sizes = [size for size, _ in leakgan.paper_windows(length)]
        assert sizes == sorted(set(sizes))
        assert max(sizes) == length
    task = oracle_task(random_table(seed=1), 4)
    assert leakgan.networks(leakgan.Config(), task.vocabulary, 3)["discriminator"].num_features == 500


def test_paper_settings() -> None:
    paper = leakgan.PRESETS["paper"]
    assert (paper.goal_dim, paper.step_size, paper.rescale_delta, paper.mle_every) == (16, 4, 12.0, 15)
    assert (paper.goal_form, paper.normalise_goal, paper.rollout_every, paper.baseline) == (
        "sliding",
        False,
        "token",
        "none",
    )
    assert (paper.batch_size, paper.clip, paper.temperature) == (64, 5.0, 1.0)
    assert (paper.pretrain_lr, paper.g_lr, paper.interleave_lr, paper.d_lr) == (1e-3, 1e-3, None, 5e-5)
    assert (paper.pretrain_steps, paper.pretrain_every, paper.patience) == (12560, 1256, None)
    assert (paper.rounds, paper.g_steps, paper.num_rollouts) == (800, 1, 4)
    assert (paper.d_steps, paper.d_epochs, paper.negatives, paper.d_dropout, paper.d_l2) == (5, 3, 9984, 0.25, 0.2)
    assert (leakgan.PRESETS["length-40"].pretrain_lr, leakgan.PRESETS["length-40"].g_lr) == (5e-4, 5e-4)
    code = leakgan.PRESETS["released-code"]
    assert (code.pretrain_lr, code.g_lr, code.d_lr, code.rescale_delta, code.mle_every) == (1.5e-3, 1.5e-3, 5e-5, 16, 0)


def test_small_is_mostly_the_game() -> None:
    """By rates times updates, an epoch of 10,000 lines is less than half of the rounds; a third of them follow it."""
    small = leakgan.PRESETS["small"]
    assert small.rounds % small.mle_every >= small.rounds / 3
    assert small.interleave_lr is not None
    epochs = small.rounds // small.mle_every
    assert 2 * epochs * 157 * small.interleave_lr < small.rounds * small.g_steps * small.g_lr


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"step_size": 0}, "--step-size must be at least 1, not 0"),
        ({"rounds": -1}, "--rounds must be at least 0, not -1"),
        ({"mle_every": -1}, "--mle-every must be at least 0"),
        ({"patience": 0}, "--patience must be at least 1"),
        ({"d_steps": 0}, "--d-steps must be at least 1"),
        ({"dropout": 1.1}, "--dropout must be at most 1"),
        ({"interleave_lr": 0.0}, "--interleave-lr must be above 0"),
        ({"temperature": 0.0}, "--temperature must be above 0"),
        ({"rescale_delta": 0.0}, "--rescale-delta must be above 0"),
        ({"d_windows": ()}, "--d-windows takes pairs"),
        ({"d_windows": ((0, 3),)}, "--d-windows takes pairs"),
        ({"batch_size": 1}, "set --batch-size above 1"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        leakgan.Config(**fields)
