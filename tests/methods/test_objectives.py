"""The reward with an objective in it: its gradient against the enumerated one, and what the function is given."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import worlds
from methods.maskgan_plays import players
from methods.players import opinionated, table_world
from methods.test_maskgan_gradient import CONTEXTS, TableJudge, every_play, row_of
from tasks import load_sequence_method, observed, text_task, tiny
from torch import Tensor
from worlds import World

from textforge.decoding import sample
from textforge.losses import policy_gradient
from textforge.methods import leakgan, maskgan, seqgan
from textforge.objectives import Objective, mixed, steered
from textforge.returns import monte_carlo_q
from textforge.text import Word

SEQGAN, LEAKGAN = load_sequence_method("seqgan"), load_sequence_method("leakgan")
WEIGHTS = [0.0, 0.3, 1.0]


@dataclass(frozen=True)
class Wish:
    """The two fields of a config."""

    objective: str | None
    objective_weight: float


def table_of_texts(world: World) -> tuple[Objective, Tensor]:
    """An arbitrary number for each text of a world, as a function that knows no ids, and as a tensor."""
    tokenizer = Word(world.vocabulary)
    texts = [tokenizer.decode(row) for row in world.sequences.tolist()]
    values = worlds.random_values(world, 5).double()
    numbers = dict(zip(texts, values.tolist(), strict=True))
    assert len(numbers) == len(texts)
    return Objective("table", lambda asked: [numbers[text] for text in asked], tokenizer), values


# --- Whole sequences: SeqGAN, and LeakGAN's Manager ---


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("weight", WEIGHTS)
def test_expected_gradient_is_that_of_the_mixed_expectation(weight: float) -> None:
    """Summed over all sequences by their probabilities: grad E[lambda D + (1 - lambda) O], to rounding."""
    world, task = table_world()
    config = tiny(SEQGAN, {"objective": "table", "objective_weight": weight})
    objective, values = table_of_texts(world)
    D = opinionated(task, config)
    reward = mixed(seqgan.reward_function(config, D, task), config, objective)
    G = worlds.TableGenerator(world, 1)
    verdicts = D.eval()(world.sequences).logits.sigmoid().detach()
    probs = G(world.sequences).sum(1).exp()
    exact = worlds.gradient((probs * ((1 - weight) * verdicts + weight * values)).sum(), G)
    q = monte_carlo_q(G, world.sequences, reward, 0)
    estimate = (probs.detach() * (G(world.sequences) * q).sum(1)).sum()
    torch.testing.assert_close(worlds.gradient(estimate, G), exact, rtol=0, atol=1e-12)
    assert exact.abs().max() > 0.01


@pytest.mark.usefixtures("float64")
def test_estimate_with_roll_outs_is_right_within_its_error() -> None:
    """As in training: sampled, completed once, judged and scored."""
    world, task = table_world()
    config = tiny(SEQGAN, {"objective": "table", "objective_weight": 0.4})
    objective, values = table_of_texts(world)
    D = opinionated(task, config)
    reward = mixed(seqgan.reward_function(config, D, task), config, objective)
    G = worlds.TableGenerator(world, 1)
    verdicts = D.eval()(world.sequences).logits.sigmoid().detach()
    exact = worlds.gradient((G(world.sequences).sum(1).exp() * (0.6 * verdicts + 0.4 * values)).sum(), G)
    estimates = []
    for _ in range(150):
        fake = sample(G, 100).tokens
        estimates.append(-worlds.gradient(policy_gradient(G(fake), monte_carlo_q(G, fake, reward, 1)), G))
    drawn = torch.stack(estimates)
    error = drawn.std(0) / len(drawn) ** 0.5
    assert ((drawn.mean(0) - exact).abs() <= 4.5 * error + 1e-12).all()
    assert (exact.abs() > 10 * error).sum() >= 10


def test_weights_at_the_ends_are_the_pure_rewards() -> None:
    world, task = table_world()
    objective, values = table_of_texts(world)
    config = tiny(SEQGAN, {})
    judge = seqgan.reward_function(config, opinionated(task, config), task)
    assert mixed(judge, Wish(None, 0.5), None) is judge
    assert mixed(judge, Wish("table", 0.0), objective) is judge  # the function is not even called
    alone = mixed(judge, Wish("table", 1.0), objective)
    assert alone is objective  # and the discriminator is not
    torch.testing.assert_close(alone(world.sequences), values.float())


def test_what_is_scored_is_a_whole_text_without_its_end() -> None:
    """Roll-outs of every prefix are completed first; padding and the end are no symbols."""
    world = worlds.ENDING
    seen: list[str] = []

    def remember(texts: list[str]) -> list[float]:
        seen.extend(texts)
        return [0.0] * len(texts)

    objective = Objective("remember", remember, Word(world.vocabulary))
    reward = mixed(lambda tokens: torch.ones(len(tokens)), Wish("remember", 0.5), objective)
    G = worlds.TableGenerator(world, 1)
    q = monte_carlo_q(G, sample(G, 200).tokens, reward, 3)
    whole = {objective.tokenizer.decode(row) for row in world.sequences.tolist()}
    assert set(seen) == whole
    assert q.max() == 0.5


def test_the_manager_of_leakgan_ranks_the_mixed_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the objective alone, and no roll-outs, every token of a sequence is worth what the function says."""
    valued: list[tuple[Tensor, Tensor]] = []

    def spy(policy: Any, tokens: Tensor, *arguments: Any, **settings: Any) -> Tensor:
        q = monte_carlo_q(policy, tokens, *arguments, **settings)
        valued.append((tokens, q))
        return q

    monkeypatch.setattr(leakgan, "monte_carlo_q", spy)
    task = text_task()
    objective = Objective("length", lambda texts: [len(text) for text in texts], task.tokenizer)
    config = tiny(LEAKGAN, {"objective": "length", "objective_weight": 1.0, "num_rollouts": 0})
    with observed(tmp_path, task) as run:
        LEAKGAN.train(config, replace(task, objective=objective), run)
    assert len(valued) == config.rounds
    for tokens, q in valued:
        lengths = torch.tensor([float(len(task.tokenizer.decode(row))) for row in tokens.tolist()])
        assert torch.equal(q, lengths[:, None] * (tokens != task.vocabulary.pad))


# --- A return for each token: MaskGAN ---


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize(("weight", "discount"), [(0.0, 1.0), (0.3, 1.0), (1.0, 1.0), (1.0, 0.6)])
def test_fills_are_moved_by_the_gradient_of_the_mixed_expectation(context: str, weight: float, discount: float) -> None:
    """Whatever the baseline; the score of the text is not discounted, whatever the rewards are."""
    world, masked = CONTEXTS[context]
    fields = {"advantage_clip": 1e9, "discount": discount, "objective": "table", "objective_weight": weight}
    config, G, _ = players(world, fields)
    play, D = every_play(world, masked), TableJudge(world)
    objective, values = table_of_texts(world)
    scores = values[world.index(play.fake)]
    rewards = (2 * D(play.fake, play.masked).logits.sigmoid()).log() * play.blank
    probs = G(play.fake, play.masked).sum(1).exp()
    exact = worlds.gradient((probs * ((1 - weight) * rewards.sum(1) + weight * scores)).sum(), G)
    mean = torch.zeros_like(exact)
    for k, prob in enumerate(probs.detach()):
        row = row_of(play, k)
        return_ = maskgan.returns(config, maskgan.rewards(config, D, row))
        advantage = maskgan.advantages(config, D, row, steered(return_, row.fake, config, objective))
        mean -= prob * worlds.gradient(policy_gradient(G(row.fake, row.masked), advantage), G)
    torch.testing.assert_close(mean, exact, rtol=0, atol=1e-10)
    assert exact.abs().max() > 0.01


def test_returns_at_the_ends_are_the_pure_ones() -> None:
    world = worlds.FIXED
    objective, values = table_of_texts(world)
    returns = torch.randn(world.sequences.shape)
    assert torch.equal(steered(returns, world.sequences, Wish(None, 0.5), None), returns)
    alone = steered(returns, world.sequences, Wish("table", 1.0), objective)
    torch.testing.assert_close(alone, values.float()[:, None].expand(-1, 3))


@pytest.mark.parametrize("critic_step", ["generator", "discriminator"])
def test_the_critic_learns_the_returns_that_the_generator_follows(
    critic_step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets: list[tuple[Tensor, Tensor]] = []
    learn: Callable[..., None] = maskgan.train_critic

    def spy(config: Any, D: Any, optimizer: Any, play: maskgan.Play, return_: Tensor, run: Any) -> None:
        targets.append((play.fake, return_))
        learn(config, D, optimizer, play, return_, run)

    monkeypatch.setattr(maskgan, "train_critic", spy)
    method, task = load_sequence_method("maskgan"), text_task()
    objective = Objective("length", lambda texts: [len(text) for text in texts], task.tokenizer)
    config = tiny(method, {"objective": "length", "objective_weight": 1.0, "critic_step": critic_step})
    with observed(tmp_path, task) as run:
        method.train(config, replace(task, objective=objective), run)
    assert len(targets) > config.d_pretrain_steps
    for fake, return_ in targets:
        lengths = torch.tensor([float(len(task.tokenizer.decode(row))) for row in fake.tolist()])
        assert torch.equal(return_, lengths[:, None].expand_as(return_))
