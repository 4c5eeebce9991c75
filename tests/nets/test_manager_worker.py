"""Manager and Worker: goals and their windows by loops, one policy whether it samples, scores or rolls out."""

from typing import Any

import pytest
import torch
import worlds
from nets.hierarchies import leakgan
from torch import Tensor
from torch.nn import functional as F
from worlds import World

from textforge.decoding import decode, roll_out, sample
from textforge.nets.manager_worker import GoalForm, LeakGANGenerator, summed_goals

pytestmark = pytest.mark.usefixtures("float64")

FORMS: dict[str, dict[str, Any]] = {
    "sliding": {"goal_form": "sliding", "normalise_goal": False},
    "segment": {"goal_form": "segment", "normalise_goal": True},
    "one-step": {"goal_form": "sliding", "normalise_goal": True, "step_size": 1},
}


@pytest.fixture(params=worlds.WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return worlds.WORLDS[request.param]


# --- Goals ---


def test_goals_are_directions(world: World) -> None:
    G = leakgan(world)
    goals = G.manager(G.leaked(world.sequences)[:, :-1])
    torch.testing.assert_close(goals.norm(dim=2), torch.ones(goals.shape[:2]), rtol=0, atol=1e-12)
    assert goals.std(0)[1:].min() > 0  # only that of the empty prefix is the same for all


def test_manager_steps_as_it_reads_at_once(world: World) -> None:
    manager, features = leakgan(world).manager, torch.randn(4, 6, 10)
    state = (torch.zeros(4, 5), torch.zeros(4, 5))
    for t, goal in enumerate(manager(features).unbind(1)):
        found, state = manager.step(features[:, t], state)
        torch.testing.assert_close(found, goal, rtol=0, atol=1e-12)


@pytest.mark.parametrize("step_size", [1, 2, 3, 4, 7, 9])
@pytest.mark.parametrize("form", ["sliding", "segment"])
def test_sums_of_goals_are_those_of_loops(form: GoalForm, step_size: int) -> None:
    goals, first = torch.randn(5, 9, 3), torch.randn(3)
    found = summed_goals(goals, first, step_size, form)
    for t in range(9):
        now = t if form == "sliding" else t - t % step_size
        expected = torch.zeros(5, 3)
        for i in range(1, step_size + 1):
            expected = expected + (goals[:, now - i] if now - i >= 0 else first)
        torch.testing.assert_close(found[:, t], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", ["sliding", "segment"])
def test_only_goals_that_were_set_are_followed(form: GoalForm) -> None:
    goals, first = torch.randn(5, 9, 3), torch.randn(3)
    for t in range(9):
        later = goals.clone()
        later[:, t:] = torch.randn(5, 9 - t, 3)
        sums = summed_goals(goals, first, 4, form)[:, : t + 1]
        assert torch.equal(summed_goals(later, first, 4, form)[:, : t + 1], sums)


def test_both_forms_agree_on_goals_that_never_change() -> None:
    goal = torch.randn(3)
    goals = goal.expand(5, 9, 3)
    sliding, segment = (summed_goals(goals, goal, 4, form) for form in ("sliding", "segment"))
    torch.testing.assert_close(sliding, segment, rtol=0, atol=1e-12)
    torch.testing.assert_close(sliding, 4 * goals, rtol=0, atol=1e-12)


def test_steps_are_no_longer_than_the_language() -> None:
    G = leakgan(worlds.FIXED, step_size=4)
    assert G.step_size == 3
    torch.testing.assert_close(G(worlds.FIXED.sequences), worlds.exact_log_probs(G, worlds.FIXED), rtol=0, atol=1e-12)


# --- The policy ---


@pytest.mark.parametrize("form", FORMS)
def test_scores_are_those_of_a_reader_without_state(world: World, form: str) -> None:
    """`forward` in one go, and the loop of `decode`, against every prefix read from `bos` on."""
    G = leakgan(world, **FORMS[form])
    exact = worlds.exact_log_probs(G, world)
    torch.testing.assert_close(G(world.sequences), exact, rtol=0, atol=1e-12)
    decoded = decode(G, world.sequences.masked_fill(~world.mask, 0), torch.ones_like(world.mask))
    torch.testing.assert_close(decoded.log_probs, exact, rtol=0, atol=1e-12)
    assert len(torch.unique(exact[world.mask].round(decimals=9))) > 20


@pytest.mark.parametrize("form", FORMS)
def test_sampled_scores_are_those_of_teacher_forcing(world: World, form: str) -> None:
    G = leakgan(world, **FORMS[form])
    drawn = sample(G, 200)
    torch.testing.assert_close(drawn.log_probs, G(drawn.tokens).detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_samples_have_their_probability(world: World, form: str) -> None:
    G = leakgan(world, **FORMS[form])
    probs = G(world.sequences).sum(1).exp().detach()
    assert probs.sum().item() == pytest.approx(1, abs=1e-12)
    assert worlds.frequencies_z(world, sample(G, 20_000).tokens, probs) < 4.5


@pytest.mark.parametrize("form", FORMS)
def test_roll_outs_go_on_from_the_states_of_their_prefix(world: World, form: str) -> None:
    """Completions of both players' states, by their frequencies."""
    G = leakgan(world, **FORMS[form])
    following = worlds.conditionals(G, world)
    row = world.sequences[-1]
    rollouts = roll_out(G, row[None], 4000)
    for t, tokens in zip(rollouts.position.tolist(), rollouts.tokens.view(-1, 4000, world.max_length), strict=True):
        mask = torch.arange(world.max_length) <= t
        probs = worlds.infilled_probs(world, following, row, mask)
        assert worlds.frequencies_z(world, tokens, probs) < 4.5


def test_logits_are_the_product_of_the_workers_matrix_and_the_goal() -> None:
    G = leakgan(worlds.FIXED)
    token, goal, state = torch.tensor([0, 2]), torch.randn(2, 3), (torch.randn(2, 4), torch.randn(2, 4))
    logits, (hidden, _) = G.worker.step(token, goal, state)
    weight = G.worker.output.weight.unflatten(1, (3, 5))  # [V K H+1]
    for b in range(2):
        matrix = weight[:, :, :4] @ hidden[b] + weight[:, :, 4]  # O_t, [V K]
        torch.testing.assert_close(logits[b], matrix @ goal[b], rtol=0, atol=1e-12)


@pytest.mark.parametrize("normalise", [False, True])
def test_length_of_an_embedded_goal_matters_unless_it_is_normalised(normalise: bool) -> None:
    worker = leakgan(worlds.FIXED, normalise_goal=normalise).worker
    token, goal, state = torch.tensor([0]), torch.randn(1, 3), (torch.zeros(1, 4), torch.zeros(1, 4))
    short, long = worker.step(token, goal, state)[0], worker.step(token, 3 * goal, state)[0]
    torch.testing.assert_close(long, short if normalise else 3 * short, rtol=0, atol=1e-12)
    zero = worker.step(token, 0 * goal, state)[0]
    assert (zero == 0).all()


def test_goals_matter_to_what_is_written() -> None:
    G, tokens = leakgan(worlds.FIXED), worlds.FIXED.sequences
    goals = G.manager(G.leaked(tokens)[:, :-1])
    assert (G.log_probs(tokens, goals) - G.log_probs(tokens, -goals)).abs()[:, 1:].max() > 0.01
    assert torch.equal(G.log_probs(tokens, goals), G(tokens))


# --- Temperature ---


def policy(G: LeakGANGenerator, prefix: tuple[int, ...], temperature: float) -> Tensor:
    """The next token's distribution, from the scores of every token behind the prefix."""
    size = G.vocabulary.vocab_size
    rest = [0] * (G.max_length - len(prefix) - 1)
    rows = torch.tensor([[*prefix, token, *rest] for token in range(size)])
    probs: Tensor = G(rows, temperature)[:, len(prefix)].exp().detach()
    return probs


def test_temperature_sharpens_and_flattens() -> None:
    G = leakgan(worlds.FIXED)
    for prefix in [(), (1,), (2, 0)]:
        alphas = (0.01, 0.3, 1.0, 2.0, 1e6)
        rows = torch.stack([policy(G, prefix, alpha) for alpha in alphas])
        torch.testing.assert_close(rows.sum(1), torch.ones(5), rtol=0, atol=1e-12)
        best = F.one_hot(rows[2].argmax(), 3).double()
        torch.testing.assert_close(rows[0], best, rtol=0, atol=1e-3)
        torch.testing.assert_close(rows[-1], torch.full((3,), 1 / 3), rtol=0, atol=1e-4)
        entropies = -(rows * rows.clamp(min=1e-300).log()).sum(1)
        assert (entropies.diff() > 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_scores_at_a_temperature_are_those_of_its_samples(world: World, form: str) -> None:
    G = leakgan(world, **FORMS[form])
    drawn = sample(G, 100, temperature=1.7)
    torch.testing.assert_close(drawn.log_probs, G(drawn.tokens, 1.7).detach(), rtol=0, atol=1e-12)
    assert G(world.sequences, 1.7).sum(1).exp().sum().item() == pytest.approx(1, abs=1e-12)


# --- Who learns ---


def test_likelihood_is_learnt_by_the_worker_alone(world: World) -> None:
    """Also where the goals are handed over as the Manager made them, ready to be learnt from."""
    G, tokens = leakgan(world), world.sequences
    G(tokens).sum().backward()
    G.log_probs(tokens, G.manager(G.leaked(tokens)[:, :-1])).sum().backward()
    assert all(parameter.grad is not None for parameter in G.worker.parameters())
    assert all(parameter.grad is None for parameter in (*G.manager.parameters(), *G.leaked.parameters()))


def test_dropout_is_that_of_the_worker() -> None:
    G, tokens = leakgan(worlds.FIXED, dropout=0.5), worlds.FIXED.sequences
    assert not torch.equal(G(tokens), G(tokens))
    assert torch.equal(G.manager(G.leaked(tokens)[:, :-1]), G.manager(G.leaked(tokens)[:, :-1]))
    G.worker.dropout.eval()
    assert torch.equal(G(tokens), G(tokens))
