"""Gradients of the losses, in expectation and so without noise, and the optimum of the discriminator's."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import worlds
from torch import Tensor
from worlds import World

from textforge.losses import (
    GeneratorObjective,
    discriminator_loss,
    generator_loss,
    nll,
    policy_gradient,
    relativistic_loss,
    value_loss,
)

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(params=worlds.WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return worlds.WORLDS[request.param]


@pytest.fixture(params=worlds.GENERATORS)
def generator(request: pytest.FixtureRequest, world: World) -> Any:
    return worlds.GENERATORS[request.param](world, 1)


def exact_gradient(generator: Any, world: World, values: Tensor) -> Tensor:
    """The gradient of J = sum over Y of G(Y) R(Y)."""
    return worlds.gradient((generator(world.sequences).sum(1).exp() * values).sum(), generator)


def expected_estimate(generator: Any, world: World, q: Tensor) -> Tensor:
    """The expectation, by its sum over all sequences, of the gradient that a sampled batch of one gives."""
    probs = worlds.exact_probs(generator, world)
    log_probs = generator(world.sequences)
    loss = sum(p * policy_gradient(log_probs[k : k + 1], q[k : k + 1]) for k, p in enumerate(probs))
    assert isinstance(loss, Tensor)
    return -worlds.gradient(loss, generator)


# --- Maximum likelihood ---


def test_nll_is_a_mean_over_real_tokens() -> None:
    log_probs = torch.tensor([[-1.0, -2.0, -4.0], [-8.0, 99.0, 99.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert nll(log_probs, mask).item() == (1 + 2 + 4 + 8) / 4


def test_nll_under_the_truth_is_the_entropy(world: World, generator: Any) -> None:
    """Weighted by its own probabilities, the loss of a generator has no gradient."""
    probs = worlds.exact_probs(generator, world)
    log_probs = generator(world.sequences)
    weighted = nll(log_probs * probs[:, None], world.mask) * world.mask.sum()
    assert weighted.item() == pytest.approx(-float((probs * probs.log()).sum()), abs=1e-12)
    assert worlds.gradient(weighted, generator).abs().max() < 1e-12


# --- Policy gradient ---


def test_expected_estimate_is_the_gradient_of_the_expected_reward(world: World, generator: Any) -> None:
    values = worlds.random_values(world, 2)
    exact = exact_gradient(generator, world, values)
    assert exact.abs().max() > 1e-3
    q = worlds.exact_q(generator, world, values)
    torch.testing.assert_close(expected_estimate(generator, world, q), exact, rtol=0, atol=1e-12)
    final = values[:, None] * world.mask  # what no roll-outs give: the same expectation, at more variance
    torch.testing.assert_close(expected_estimate(generator, world, final), exact, rtol=0, atol=1e-12)


def test_policy_gradient_theorem(world: World, generator: Any) -> None:
    """grad J = sum over prefixes of G(prefix) times sum over tokens of grad G(token | prefix) Q(prefix, token)."""
    values = worlds.random_values(world, 2)
    known = worlds.exact_values(generator, world, values)
    log_probs = generator(world.sequences)
    reached: dict[worlds.Prefix, Tensor] = {(): torch.ones(())}
    conditional = {}
    for k, row in enumerate(world.sequences.tolist()):
        for t in range(int(world.mask[k].sum())):
            prefix = tuple(row[: t + 1])
            conditional[prefix] = log_probs[k, t].exp()
            reached[prefix] = log_probs[k, : t + 1].sum().exp().detach()
    total = sum((reached[prefix[:-1]] * conditional[prefix] * known[prefix] for prefix in conditional), torch.zeros(()))
    exact = exact_gradient(generator, world, values)
    torch.testing.assert_close(worlds.gradient(total, generator), exact, rtol=0, atol=1e-12)
    first = {prefix[0]: conditional[prefix].item() for prefix in conditional if len(prefix) == 1}
    expected_reward = (log_probs.sum(1).exp() @ values).item()
    assert sum(p * known[(token,)] for token, p in first.items()) == pytest.approx(expected_reward, abs=1e-12)


def test_constant_reward_has_no_expected_gradient_but_a_sampled_one(world: World, generator: Any) -> None:
    constant = 2.0 * world.mask
    assert expected_estimate(generator, world, constant).abs().max() < 1e-12
    sampled = worlds.gradient(policy_gradient(generator(world.sequences[:2]), constant[:2]), generator)
    assert sampled.abs().max() > 0.1


def test_anything_that_depends_on_the_prefix_alone_may_be_added(world: World, generator: Any) -> None:
    values = worlds.random_values(world, 2)
    q = worlds.exact_q(generator, world, values)
    offsets = dict(zip(world.prefixes(), torch.randn(len(world.prefixes())).tolist(), strict=True))
    shift = torch.zeros(q.shape)
    for k, row in enumerate(world.sequences.tolist()):
        for t in range(int(world.mask[k].sum())):
            shift[k, t] = offsets[tuple(row[:t])]
    exact = exact_gradient(generator, world, values)
    torch.testing.assert_close(expected_estimate(generator, world, q + shift), exact, rtol=0, atol=1e-12)


def test_policy_gradient_sums_over_time_and_averages_over_the_batch() -> None:
    log_probs = torch.tensor([[-1.0, -2.0], [-3.0, 0.0]])
    values = torch.tensor([[5.0, 7.0], [11.0, 0.0]])
    assert policy_gradient(log_probs, values).item() == (1 * 5 + 2 * 7 + 3 * 11) / 2


def test_action_values_get_no_gradient() -> None:
    log_probs = torch.randn(2, 3, requires_grad=True)
    values = torch.randn(2, 3, requires_grad=True)
    policy_gradient(log_probs, values).backward()
    assert values.grad is None
    assert log_probs.grad is not None


# --- Discriminator ---


def test_discriminator_loss_is_that_of_the_paper() -> None:
    logits = torch.randn(6)
    is_real = torch.tensor([True, False, True, True, False, False])
    d = logits.sigmoid()
    expected = -(d[is_real].log().sum() + (1 - d[~is_real]).log().sum()) / 6
    assert discriminator_loss(logits, is_real).item() == pytest.approx(expected.item(), abs=1e-12)
    assert discriminator_loss(torch.tensor([1e4]), torch.tensor([False])).item() == 1e4  # no overflow


def test_best_discriminator_is_p_over_p_plus_q_and_its_loss_measures_jensen_shannon() -> None:
    """A logit for each of 27 sequences, trained to convergence on samples whose frequencies are p and q exactly."""
    num = 27
    chance = torch.Generator().manual_seed(1)
    of_p, of_q = (torch.randint(1, 9, (num,), generator=chance) for _ in range(2))
    of_q[0] += of_p.sum() - of_q.sum()
    assert of_q.min() > 0
    p, q = of_p / of_p.sum(), of_q / of_q.sum()
    rows = torch.cat([torch.arange(num).repeat_interleave(of_p), torch.arange(num).repeat_interleave(of_q)])
    is_real = torch.arange(len(rows)) < of_p.sum()
    table = torch.zeros(num, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [table], max_iter=120, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = discriminator_loss(table[rows], is_real)
        loss.backward()
        return loss

    step: Callable[..., Any] = optimizer.step
    step(closure)
    torch.testing.assert_close(table.detach().sigmoid(), p / (p + q), rtol=0, atol=1e-6)
    middle = (p + q) / 2
    js = float((p * (p / middle).log() + q * (q / middle).log()).sum() / 2)
    assert js > 0.05
    assert 2 * closure().item() == pytest.approx(2 * math.log(2) - 2 * js, abs=1e-9)


# --- The game of generator and discriminator ---

OBJECTIVES: dict[GeneratorObjective, Callable[[Tensor], Tensor]] = {
    "minimax": lambda x: (1 - x.sigmoid()).log(),
    "non-saturating": lambda x: -x.sigmoid().log(),
    "ratio": lambda x: -(x.sigmoid() / (1 - x.sigmoid())).log(),
}
SLOPES: dict[GeneratorObjective, Callable[[float], float]] = {
    "minimax": lambda d: -d,
    "non-saturating": lambda d: -(1 - d),
    "ratio": lambda d: -1.0,
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_generator_loss_is_that_of_its_formula(objective: GeneratorObjective) -> None:
    logits = torch.randn(9)
    losses = OBJECTIVES[objective](logits)
    assert generator_loss(logits, objective).item() == pytest.approx(losses.mean().item(), abs=1e-12)
    weights = torch.rand(9).softmax(0)
    assert generator_loss(logits, objective, weights).item() == pytest.approx((weights @ losses).item(), abs=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("logit", [-1e4, -20.0, 0.0, 20.0, 1e4])
def test_generator_loss_has_its_slope_where_the_discriminator_is_sure(
    objective: GeneratorObjective, logit: float
) -> None:
    """`minimax` has none left against a sure discriminator, where `non-saturating` has the most."""
    logits = torch.tensor([logit], requires_grad=True)
    loss = generator_loss(logits, objective)
    (slope,) = torch.autograd.grad(loss, logits)
    d = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    assert slope.item() == pytest.approx(SLOPES[objective](d), abs=1e-12)
    assert loss.isfinite()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradient_through_the_weights_is_that_of_reinforce_summed_over_everything(
    objective: GeneratorObjective,
) -> None:
    """grad_j = q_j (f_j - E_q f): REINFORCE with the mean as its baseline, exactly."""
    theta = torch.randn(6, requires_grad=True)
    logits = torch.randn(6)
    q, f = theta.softmax(0), OBJECTIVES[objective](logits)
    (exact,) = torch.autograd.grad(generator_loss(logits, objective, theta.softmax(0)), theta)
    torch.testing.assert_close(exact, (q * (f - q @ f)).detach(), rtol=0, atol=1e-12)
    score = torch.eye(6) - q  # d log q_k / d theta_j
    torch.testing.assert_close(exact, ((q * f) @ score).detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nothing_moves_where_generator_and_truth_agree(objective: GeneratorObjective) -> None:
    """There D is 1/2 everywhere, and a constant reward has no expected gradient."""
    theta = torch.randn(6, requires_grad=True)
    (gradient,) = torch.autograd.grad(generator_loss(torch.zeros(6), objective, theta.softmax(0)), theta)
    assert gradient.abs().max() < 1e-12


def test_at_the_best_discriminator_objectives_differ_in_what_they_follow() -> None:
    """`ratio` follows the gradient of KL(q || p), `minimax` half that of 2 JS, `non-saturating` KL(q || p) - 2 JS."""
    p, theta = torch.rand(7).softmax(0), torch.randn(7, requires_grad=True)

    def gradient(value: Tensor) -> Tensor:
        return torch.autograd.grad(value, theta)[0]

    q = theta.softmax(0)
    best = (p.log() - q.log()).detach()
    middle = (p + q) / 2
    kl = (q * (q / p).log()).sum()
    twice_js = (p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()
    found = {objective: gradient(generator_loss(best, objective, theta.softmax(0))) for objective in OBJECTIVES}
    of_kl, of_twice_js = torch.autograd.grad(kl, theta, retain_graph=True)[0], gradient(twice_js)
    torch.testing.assert_close(found["ratio"], of_kl, rtol=0, atol=1e-12)
    torch.testing.assert_close(found["minimax"], of_twice_js, rtol=0, atol=1e-12)
    torch.testing.assert_close(found["non-saturating"], of_kl - of_twice_js, rtol=0, atol=1e-12)


def test_value_loss_is_minus_the_value_of_the_game() -> None:
    real, fake = torch.randn(5), torch.randn(3)
    p, q = torch.rand(5).softmax(0), torch.rand(3).softmax(0)
    value = p @ real.sigmoid().log() + q @ (1 - fake.sigmoid()).log()
    assert value_loss(real, fake, p, q).item() == pytest.approx(-value.item(), abs=1e-12)
    sure = torch.tensor([1e4])
    assert value_loss(-sure, sure, torch.ones(1), torch.ones(1)).item() == 2e4  # no overflow


def test_label_smoothing_moves_the_target_of_real_ones_only() -> None:
    real, fake = torch.randn(5), torch.randn(3)
    p, q = torch.rand(5).softmax(0), torch.rand(3).softmax(0)
    d = real.sigmoid()
    expected = -(p @ (0.9 * d.log() + 0.1 * (1 - d).log()) + q @ (1 - fake.sigmoid()).log())
    assert value_loss(real, fake, p, q, smoothing=0.1).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_best_table_is_the_share_of_the_truth(smoothing: float) -> None:
    """Also where only one side lives: D* = (1 - s) p / (p + q) wherever there is anything."""
    p, q = torch.rand(9).softmax(0), torch.randn(9).softmax(0)
    q[0], q[1] = 0.0, q[0] + q[1]
    p[2], p[3] = 0.0, p[2] + p[3]
    table = torch.zeros(9, requires_grad=True)
    optimizer = torch.optim.LBFGS([table], max_iter=300, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = value_loss(table, table, p, q, smoothing=smoothing)
        loss.backward()
        return loss

    step: Callable[..., Any] = optimizer.step
    step(closure)
    torch.testing.assert_close(table.detach().sigmoid(), (1 - smoothing) * p / (p + q), rtol=0, atol=1e-4)


def test_a_relativistic_discriminator_compares_pairs() -> None:
    better, worse = torch.randn(6, requires_grad=True), torch.randn(6, requires_grad=True)
    loss = relativistic_loss(better, worse)
    expected = -(better - worse).sigmoid().log().mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    for_better, for_worse = torch.autograd.grad(loss, (better, worse))
    torch.testing.assert_close(for_better, -(1 - (better - worse).sigmoid()) / 6, rtol=0, atol=1e-12)
    torch.testing.assert_close(for_worse, -for_better, rtol=0, atol=1e-12)
    shifted = relativistic_loss(better + 3, worse + 3)
    assert shifted.item() == pytest.approx(loss.item(), abs=1e-12), "only differences count"
    assert relativistic_loss(torch.tensor([-1e4]), torch.tensor([1e4])).item() == 2e4
