"""Action values by roll-outs against action values by enumeration, and baselines that leave the gradient unbiased."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import worlds
from torch import Tensor
from worlds import ENDING, FIXED, World

from textforge import decoding, returns
from textforge.bench.naive import naive_monte_carlo_q
from textforge.losses import policy_gradient
from textforge.returns import leave_one_out_baseline, monte_carlo_q
from textforge.text import Vocabulary

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(params=worlds.WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return worlds.WORLDS[request.param]


@pytest.fixture
def estimators(world: World) -> dict[str, Any]:
    """The fast estimator, and the nested loops wherever they apply."""
    if world is ENDING:
        return {"fast": monte_carlo_q}
    return {"fast": monte_carlo_q, "naive": naive_monte_carlo_q}


# --- Roll-outs ---


@pytest.mark.parametrize("kind", worlds.GENERATORS)
def test_values_are_the_exact_action_values_within_their_error(world: World, kind: str) -> None:
    policy: Any = worlds.GENERATORS[kind](world, 1)
    values = worlds.random_values(world, 2)
    num = 1000
    q = monte_carlo_q(policy, world.sequences, world.reward(values), num)
    exact, square = worlds.exact_q(policy, world, values), worlds.exact_q(policy, world, values**2)
    error = ((square - exact**2).clamp(min=0) / num).sqrt()
    assert ((q - exact).abs() <= 4.5 * error + 1e-12).all()
    assert (error > 0.005).sum() > 20  # or nothing was estimated


def test_last_position_has_the_reward_itself_and_padding_has_none(world: World) -> None:
    values = worlds.random_values(world, 2)
    q = monte_carlo_q(worlds.TableGenerator(world, 1), world.sequences, world.reward(values), 2)
    last = world.mask.sum(1) - 1
    assert torch.equal(q[torch.arange(len(q)), last], values)
    assert (q[~world.mask] == 0).all()
    assert (q[world.mask] != 0).all()


def test_no_rollouts_give_the_final_reward_to_every_position(world: World) -> None:
    values = worlds.random_values(world, 2)
    q = monte_carlo_q(worlds.TableGenerator(world, 1), world.sequences, world.reward(values), 0)
    assert torch.equal(q, values[:, None] * world.mask)


def test_every_value_lands_at_its_own_sequence_and_position() -> None:
    """A reward that reads 1000 b + t off what it is given, for a policy that goes on with a mark and nothing else."""
    length, mark = 5, 9
    world = World(Vocabulary.create("0123456789", unk=False, eos=True), length)
    policy = worlds.TableGenerator(world, 1)
    policy.table.data.fill_(-torch.inf)
    policy.table.data[:, mark] = 0.0
    eos, pad = world.vocabulary.eos, world.vocabulary.pad
    tokens = torch.tensor([[3] * 5, [0, eos, pad, pad, pad], [1] * 5, [4, 4, 4, eos, pad], [2, 2, 2, 2, eos]])

    def code(sequences: Tensor) -> Tensor:
        completed = sequences[:, -1] == mark
        own = torch.where(completed, (sequences < mark).sum(1), (sequences != pad).sum(1))
        return 1000 * sequences[:, 0].double() + own - 1

    q = monte_carlo_q(policy, tokens, code, 3)
    expected = 1000 * tokens[:, :1] + torch.arange(length)
    assert torch.equal(q, (expected * (tokens != pad)).double())


def test_variance_of_one_rollout_is_sixteen_times_that_of_sixteen(world: World, estimators: dict[str, Any]) -> None:
    """So the roll-outs of a prefix are independent, and all of them count."""
    policy = worlds.TableGenerator(world, 1)
    values = worlds.random_values(world, 2)
    num = 4000
    tokens = world.sequences[-1:].expand(num, -1)
    exact, square = worlds.exact_q(policy, world, values)[-1], worlds.exact_q(policy, world, values**2)[-1]
    for estimate in estimators.values():
        q = {n: estimate(policy, tokens, world.reward(values), n) for n in (1, 16)}
        for t in range(world.max_length - 1):
            variance = {n: q[n][:, t].var() for n in q}
            kurtosis = {n: ((q[n][:, t] - q[n][:, t].mean()) ** 4).mean() / variance[n] ** 2 for n in q}
            error = {n: ((kurtosis[n] - 1) / num).sqrt() for n in q}  # relative
            for n in q:
                assert abs(variance[n] / ((square[t] - exact[t] ** 2) / n) - 1) < 4.5 * error[n]
            ratio = variance[1] / variance[16]
            assert abs(ratio / 16 - 1) < 4.5 * (error[1] ** 2 + error[16] ** 2).sqrt()
        # Positions do not share their roll-outs, nor do sequences.
        first, second = q[1][:, 0], q[1][:, 1]
        assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / num**0.5
        assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 4.5 / num**0.5


def test_single_rollouts_have_the_distribution_of_the_nested_loops(world: World, estimators: dict[str, Any]) -> None:
    """The completed sequence is read off its reward, which differs from all others."""
    policy: Any = worlds.wide_lstm(world, 3)
    values = torch.arange(len(world.sequences), dtype=torch.float64)
    num = 5000
    sequence = world.sequences[-2]
    probs = worlds.exact_probs(policy, world)
    for estimate in estimators.values():
        q = estimate(policy, sequence.expand(num, -1), world.reward(values), 1)
        for t in range(world.max_length - 1):
            fitting = (world.sequences[:, : t + 1] == sequence[: t + 1]).all(1)
            conditional = torch.where(fitting, probs, 0.0)
            counts = q[:, t].long().bincount(minlength=len(probs)).numpy()
            assert worlds.chi_square_z(counts, (conditional / conditional.sum()).numpy()) < 4.5


@pytest.mark.parametrize("bound", [1, 9, 40])
def test_states_are_held_in_bounds_without_changing_the_values(
    world: World, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the number of roll-outs: the rows in flight are at most `bound`, or one completion a prefix."""
    monkeypatch.setattr(decoding, "draw", lambda logits, _: (logits.argmax(-1), logits.log_softmax(-1).amax(-1)))
    policy, values, num = worlds.TableGenerator(world, 1), worlds.random_values(world, 2), 12
    whole = monte_carlo_q(policy, world.sequences, world.reward(values), num)
    rows, asked = [], []
    step = policy.step

    def counted(token: Tensor, state: Any) -> Any:
        rows.append(len(token))
        return step(token, state)

    def reward(tokens: Tensor) -> Tensor:
        asked.append(len(tokens))
        return values[world.index(tokens)]

    monkeypatch.setattr(policy, "step", counted)
    monkeypatch.setattr(returns, "_STATE_AT_ONCE", {True: bound, False: 0})  # a state is one number
    parts = monte_carlo_q(policy, world.sequences, reward, num)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)
    assert max(rows) <= max(bound, 1 + world.max_length - 1)
    assert sum(asked) == len(world.sequences) + num * int((world.mask.sum(1) - 1).sum())


def test_reward_is_asked_in_chunks_without_gradient(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "draw", lambda logits, _: (logits.argmax(-1), logits.log_softmax(-1).amax(-1)))
    policy = worlds.TableGenerator(world, 1)
    values = worlds.random_values(world, 2).requires_grad_()
    sizes = []

    def reward(tokens: Tensor) -> Tensor:
        sizes.append(len(tokens))
        assert not torch.is_grad_enabled()
        return values[world.index(tokens)]

    whole = monte_carlo_q(policy, world.sequences, reward, 3)
    sizes.clear()
    assert torch.equal(monte_carlo_q(policy, world.sequences, reward, 3, chunk_size=7), whole)
    assert max(sizes) == 7
    assert sum(sizes) == len(world.sequences) + 3 * int((world.mask.sum(1) - 1).sum())
    assert not whole.requires_grad


# --- Baselines ---


def test_leave_one_out_is_the_mean_of_the_others_that_are_real_there() -> None:
    mask = torch.arange(4) < torch.tensor([[4], [2], [3], [1]])
    q = torch.randn(4, 4) * mask
    baseline = leave_one_out_baseline(q, mask)
    for b, t in itertools.product(range(4), range(4)):
        others = [float(q[c, t]) for c in range(4) if c != b and mask[c, t]]
        expected = sum(others) / len(others) if others and mask[b, t] else 0.0
        assert baseline[b, t].item() == pytest.approx(expected, abs=1e-12)
    assert baseline[0, 3] == 0  # nobody else gets so far


@pytest.mark.parametrize("world", [World(FIXED.vocabulary, 2), World(ENDING.vocabulary, 3)], ids=["fixed", "ending"])
def test_leave_one_out_leaves_the_gradient_unbiased(world: World) -> None:
    """The expectation is the sum over all batches of two."""
    policy = worlds.TableGenerator(world, 1)
    rows = world.sequences
    q = worlds.exact_q(policy, world, worlds.random_values(world, 2))
    probs = worlds.exact_probs(policy, world)
    log_probs = policy(rows)
    plain = with_baseline = with_own_mean = torch.zeros(())
    for pair in itertools.product(range(len(rows)), repeat=2):
        both = list(pair)
        weight, own, values = probs[both].prod(), log_probs[both], q[both]
        baseline = leave_one_out_baseline(values, world.mask[both])
        plain = plain + weight * policy_gradient(own, values)
        with_baseline = with_baseline + weight * policy_gradient(own, values - baseline)
        with_own_mean = with_own_mean + weight * policy_gradient(own, values - values.mean(0))
    expected = worlds.gradient(plain, policy)
    torch.testing.assert_close(worlds.gradient(with_baseline, policy), expected, rtol=0, atol=1e-12)
    assert (worlds.gradient(with_own_mean, policy) - expected).abs().max() > 1e-3  # so the sum does tell bias
