"""Algorithm 1 piece by piece, and the estimate of its gradient against the enumerated one.

What belongs to one function alone is tested with it: action values, layouts and baselines in test_returns.py, the
policy gradient theorem, constant rewards, shifts and the best discriminator in test_losses.py, the loop in
test_decoding.py, highway, pooling and L2 in nets/, the score of the oracle's own samples in oracles/, the training of
the discriminator and the controls in test_seqgan_rewards.py.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import worlds
from methods.players import opinionated, table_world
from tasks import observed, text_task, tiny, trained
from torch import Tensor, nn

from textforge import methods
from textforge.decoding import decode, log_prob, sample
from textforge.errors import CallError
from textforge.losses import policy_gradient
from textforge.methods import seqgan
from textforge.nets.lstm import LSTMGenerator
from textforge.returns import monte_carlo_q

SEQGAN = methods.load("seqgan")


# --- The gradient of the generator ---


@pytest.mark.usefixtures("float64")
def test_estimate_of_the_gradient_is_right_within_its_error() -> None:
    """Sampled, rolled out once, judged and differentiated as in training, against the gradient of sum G(Y) D(Y)."""
    world, task = table_world()
    config = tiny(SEQGAN, {"d_dropout": 0.5})
    D = opinionated(task, config)
    reward = seqgan.reward_function(config, D, task)
    G = worlds.TableGenerator(world, 1)
    verdicts = D.eval()(world.sequences).logits.sigmoid().detach()
    assert verdicts.std() > 0.1
    exact = worlds.gradient((G(world.sequences).sum(1).exp() * verdicts).sum(), G)
    estimates = []
    for _ in range(150):
        fake = sample(G, 100).tokens
        q = monte_carlo_q(G, fake, reward, 1)
        estimates.append(-worlds.gradient(policy_gradient(G(fake), q), G))
    drawn = torch.stack(estimates)
    error = drawn.std(0) / len(drawn) ** 0.5
    assert ((drawn.mean(0) - exact).abs() <= 4.5 * error + 1e-12).all()
    assert (exact.abs() > 10 * error).sum() >= 10  # it is told from zero, and from its opposite


def test_a_step_raises_the_probability_of_what_was_rewarded(tmp_path: Path) -> None:
    world, task = table_world()
    G = worlds.wide_lstm(world, 1)
    q = torch.zeros(world.sequences.shape)
    q[5] = 1.0
    before = log_prob(G, world.sequences)
    with observed(tmp_path, task) as run:
        optimizer = torch.optim.Adam(G.parameters(), lr=1e-2)
        run.setup("generator", G, optimizer)
        run.step(optimizer, policy_gradient(G(world.sequences), q), clip=5.0)
    assert log_prob(G, world.sequences)[5] > before[5] + 0.01


# --- The roll-out policy ---


@pytest.mark.parametrize("rate", [0.0, 0.8, 1.0])
def test_roll_out_policy_moves_by_its_rate(rate: float) -> None:
    world, _ = table_world()
    beta, G = worlds.wide_lstm(world, 1), worlds.wide_lstm(world, 2)
    beta.register_buffer("mean", torch.tensor(1.0))
    G.register_buffer("mean", torch.tensor(3.0))
    before = copy.deepcopy(beta.state_dict())
    seqgan.follow(beta, G, rate)
    for name, value in beta.state_dict().items():
        expected = rate * before[name] + (1 - rate) * G.state_dict()[name]
        torch.testing.assert_close(value, expected)
        if rate in (0, 1):
            assert torch.equal(value, expected)


@pytest.mark.parametrize("rate", [0.0, 0.8])
def test_roll_out_policy_has_its_own_storage(rate: float) -> None:
    """A later change of the generator is no change of the policy that followed it."""
    world, _ = table_world()
    beta, G = worlds.wide_lstm(world, 1), worlds.wide_lstm(world, 2)
    seqgan.follow(beta, G, rate)
    before = log_prob(beta, world.sequences)
    for parameter in G.parameters():
        nn.init.normal_(parameter)
    assert torch.equal(log_prob(beta, world.sequences), before)


def test_roll_outs_use_the_policy_that_lags_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a round the policy stands; between rounds it follows; and pretraining hands it the generator."""
    seen: list[tuple[nn.Module, dict[str, Tensor], dict[str, Tensor]]] = []
    run_of: list[Any] = []

    def spy(policy: LSTMGenerator, *arguments: Any, **settings: Any) -> Tensor:
        G = run_of[0].modules["generator"]
        seen.append((policy, copy.deepcopy(policy.state_dict()), copy.deepcopy(G.state_dict())))
        return monte_carlo_q(policy, *arguments, **settings)

    monkeypatch.setattr(seqgan, "monte_carlo_q", spy)
    config = tiny(SEQGAN, {"rollout_policy": "ema", "rollout_rate": 0.75, "g_steps": 2, "rounds": 3, "dropout": 0.2})
    task = text_task()
    with observed(tmp_path, task) as run:
        run_of.append(run)
        SEQGAN.train(config, task, run)
    assert all(policy is run.modules["rollout_policy"] for policy, _, _ in seen)
    assert len(seen) == 6
    for name, value in seen[0][1].items():
        assert torch.equal(value, seen[0][2][name])
    for i in range(1, 6):
        for name, value in seen[i][1].items():
            before = seen[i - 1][1][name]
            if i % 2:
                assert torch.equal(value, before)
            else:
                torch.testing.assert_close(value, 0.75 * before + 0.25 * seen[i][2][name])
                assert not torch.equal(seen[i][2][name], seen[i - 1][2][name])


def test_copied_policy_equals_the_generator_after_every_round(tmp_path: Path) -> None:
    run = trained(tmp_path, SEQGAN, tiny(SEQGAN, {"rounds": 2}), text_task())
    policy, generator = run.modules["rollout_policy"].state_dict(), run.modules["generator"].state_dict()
    for name, value in policy.items():
        assert torch.equal(value, generator[name])
        assert value.data_ptr() != generator[name].data_ptr()


# --- The algorithm ---


def test_order_and_number_of_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def counting(G: LSTMGenerator, num: int) -> Any:
        drawn.append(num)
        return sample(G, num)

    monkeypatch.setattr(seqgan, "sample", counting)
    fields = {"pretrain_steps": 3, "pretrain_rounds": 2, "rounds": 2, "g_steps": 2, "d_steps": 3, "d_epochs": 2}
    rates = {"pretrain_lr": 0.03, "g_lr": 0.02, "d_lr": 0.01}
    config = tiny(SEQGAN, {**fields, **rates, "negatives": 10, "batch_size": 8})
    run = trained(tmp_path, SEQGAN, config, text_task())
    of_d = ["d"] * 3  # 20 sequences in batches of 8
    expected = [("pretrain", "pretrain")] * 3 + [("discriminator", step) for step in of_d * 2 * 2]
    expected += [("adversarial", step) for step in ["g", "g", *of_d * 3 * 2]] * 2
    names = {0.03: "pretrain", 0.02: "g", 0.01: "d"}
    steps = [(phase, names[optimizer.param_groups[0]["lr"]]) for phase, optimizer in run.steps]
    assert steps == expected
    assert drawn == [10, 10] + [8, 8, 10, 10, 10] * 2  # fresh negatives each time, none of them used twice
    assert {type(optimizer) for _, optimizer in run.steps} == {torch.optim.Adam}


def test_dropout_of_the_generator_acts_in_pretraining_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy that is sampled has none, so neither may the one whose gradient is taken."""
    modes: dict[str, set[bool]] = {}
    forward = LSTMGenerator.forward

    def spy(self: LSTMGenerator, *arguments: Any) -> Tensor:
        if torch.is_grad_enabled():
            modes.setdefault(run.phase_now, set()).add(self.dropout.training)
        return forward(self, *arguments)

    monkeypatch.setattr(LSTMGenerator, "forward", spy)
    task = text_task()
    with observed(tmp_path, task) as run:
        SEQGAN.train(tiny(SEQGAN, {"dropout": 0.5}), task, run)
    assert modes == {"pretrain": {True}, "adversarial": {False}}


@pytest.mark.parametrize("baseline", ["none", "leave-one-out"])
def test_generator_step_is_that_of_the_equations(
    baseline: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss handed to the run, from the action values, by sums that are written out."""
    found: dict[str, list[Any]] = {"q": [], "loss": [], "tokens": []}

    def spy(policy: LSTMGenerator, tokens: Tensor, reward: Callable[[Tensor], Tensor], num_rollouts: int) -> Tensor:
        q = monte_carlo_q(policy, tokens, reward, num_rollouts)
        found["q"].append(q.clone())
        found["tokens"].append(tokens)
        return q

    task = text_task()
    monkeypatch.setattr(seqgan, "monte_carlo_q", spy)
    with observed(tmp_path, task) as run:
        step = run.step

        def record(optimizer: Any, loss: Tensor, clip: float | None = None) -> None:
            if optimizer is run.optimizers["generator"]:
                G = run.modules["generator"]
                assert isinstance(G, LSTMGenerator)
                tokens = found["tokens"][-1]
                scores = decode(G, tokens, tokens != task.vocabulary.pad).log_probs
                found["loss"].append((loss.item(), scores))
                assert clip == 5.0
            step(optimizer, loss, clip)

        monkeypatch.setattr(run, "step", record)
        SEQGAN.train(tiny(SEQGAN, {"baseline": baseline, "rounds": 3}), task, run)
    for q, tokens, (loss, scores) in zip(found["q"], found["tokens"], found["loss"], strict=True):
        total = 0.0
        real = (tokens != task.vocabulary.pad).tolist()
        for b in range(len(tokens)):
            for t in range(tokens.shape[1]):
                if real[b][t]:
                    others = [q[c, t].item() for c in range(len(tokens)) if c != b and real[c][t]]
                    known = sum(others) / len(others) if others and baseline != "none" else 0.0
                    total -= scores[b, t].item() * (q[b, t].item() - known)
        assert loss == pytest.approx(total / len(tokens), rel=1e-4, abs=1e-5)
    assert len(found["loss"]) == 3


# --- Settings ---


def test_paper_settings() -> None:
    paper = seqgan.PRESETS["paper"]
    assert dict(paper.d_windows) == dict(
        zip([*range(1, 11), 15, 20], [100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160], strict=True)
    )
    assert sum(kernels for _, kernels in paper.d_windows) == 1720
    assert (paper.g_steps, paper.d_steps, paper.d_epochs, paper.num_rollouts) == (1, 5, 3, 16)
    assert (paper.baseline, paper.reward, paper.rollout_policy) == ("none", "discriminator", "copy")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rounds": -1}, "--rounds must be at least 0, not -1"),
        ({"negatives": 0}, "--negatives must be at least 1"),
        ({"patience": 0}, "--patience must be at least 1"),
        ({"bleu_order": 1}, "--bleu-order must be at least 2"),
        ({"num_rollouts": -1}, "--num-rollouts must be at least 0"),
        ({"rollout_rate": 1.1}, "--rollout-rate must be at most 1"),
        ({"d_dropout": 2.0}, "--d-dropout must be at most 1"),
        ({"clip": 0.0}, "--clip must be above 0"),
        ({"g_lr": 0.0}, "--g-lr must be above 0"),
        ({"d_windows": ()}, "--d-windows takes pairs"),
        ({"d_windows": ((0, 3),)}, "--d-windows takes pairs"),
        ({"baseline": "leave-one-out", "batch_size": 1}, "set --batch-size above 1"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        seqgan.Config(**fields)
