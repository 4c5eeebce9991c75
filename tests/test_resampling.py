"""Choosing among draws against enumeration: who is chosen how often, and what a rejection accepts."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import worlds
from jaxtyping import Float, Int
from torch import Tensor
from worlds import ENDING, World

from textforge.decoding import Decoded, sample
from textforge.errors import CallError, WorkError
from textforge.nets.noise_lstm import NoiseStartLSTM
from textforge.resampling import PATIENCE, PILOT, Draw, reject, rerank, resample

pytestmark = pytest.mark.usefixtures("float64")

NUM = 20_000


@pytest.fixture(params=worlds.WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return worlds.WORLDS[request.param]


@pytest.fixture
def generator(world: World) -> worlds.TableGenerator:
    return worlds.TableGenerator(world, 1)


@pytest.fixture
def draw(world: World, generator: Any) -> Draw:
    """Sequences with the probabilities of the generator, faster than it draws them."""
    probs, scores = worlds.exact_probs(generator, world), worlds.exact_log_probs(generator, world)

    def drawn(num: int) -> Decoded:
        rows = torch.multinomial(probs, num, replacement=True)
        return Decoded(world.sequences, scores, world.mask)[rows]

    return drawn


@pytest.fixture
def values(world: World) -> Float[Tensor, " K"]:
    """A logit for every sequence of the world."""
    return worlds.random_values(world, 2)


def one_of(g: Float[Tensor, " K"], weights: Float[Tensor, " K"], candidates: int) -> Float[Tensor, " K"]:
    """How probable each sequence is as the one that is chosen: the sum over all that may stand beside it."""
    sums, chances = weights[:, None], torch.ones(len(g), 1)
    for _ in range(candidates - 1):
        sums, chances = (sums[:, :, None] + weights).flatten(1), (chances[:, :, None] * g).flatten(1)
    return candidates * g * weights * (chances / sums).sum(1)


def jensen_shannon(p: Float[Tensor, " K"], q: Float[Tensor, " K"]) -> float:
    mean = (p + q) / 2
    return float((torch.special.xlogy(p, p / mean) + torch.special.xlogy(q, q / mean)).sum() / 2)


def numbered(num: int) -> Decoded:
    """As many sequences of one token, all different."""
    tokens = torch.arange(num)[:, None]
    return Decoded(tokens, -tokens.double(), torch.ones_like(tokens, dtype=torch.bool))


@pytest.mark.parametrize("candidates", [2, 3])
def test_one_of_a_few_is_chosen_with_odds_of_its_weight(
    world: World, generator: Any, draw: Draw, values: Tensor, candidates: int
) -> None:
    probs = one_of(worlds.exact_probs(generator, world), values.exp(), candidates)
    assert probs.sum().item() == pytest.approx(1, abs=1e-12)
    chosen = resample(draw, world.reward(values), NUM, candidates=candidates)
    assert worlds.frequencies_z(world, chosen.tokens, probs) < 4.5
    assert worlds.frequencies_z(world, chosen.tokens, worlds.exact_probs(generator, world)) > 20  # or nothing was shown


def test_more_candidates_come_nearer_to_the_reweighted_distribution(
    world: World, generator: Any, draw: Draw, values: Tensor
) -> None:
    g, weights = worlds.exact_probs(generator, world), values.exp()
    target = g * weights / (g @ weights)
    exact = {num: jensen_shannon(one_of(g, weights, num), target) for num in (1, 2, 3, 4)}
    assert exact[1] == pytest.approx(jensen_shannon(g, target))
    # the bias falls like 1 / candidates, so the divergence like its square
    assert exact[1] > 2 * exact[2] > 3 * exact[3] > 4 * exact[4]
    chosen = resample(draw, world.reward(values), 4000, candidates=200)
    assert worlds.frequencies_z(world, chosen.tokens, target) < 4.5
    assert worlds.frequencies_z(world, chosen.tokens, one_of(g, weights, 4)) > 4.5


@pytest.mark.parametrize("choose", [resample, rerank])
def test_each_sequence_has_candidates_of_its_own(choose: Any) -> None:
    """So no draw is used twice, and the order of the draws says nothing."""
    chosen = choose(numbered, lambda tokens: -(tokens[:, 0] % 7).double(), 500, candidates=5).tokens[:, 0]
    assert torch.equal(chosen // 5, torch.arange(500))
    if choose is rerank:
        best = [min(range(5 * i, 5 * i + 5), key=lambda n: n % 7) for i in range(500)]
        assert chosen.tolist() == best


def test_sequences_are_independent(world: World, generator: Any, draw: Draw, values: Tensor) -> None:
    """Rows 2i and 2i + 1 as one draw from the product."""
    probs = one_of(worlds.exact_probs(generator, world), values.exp(), 2)
    chosen = resample(draw, world.reward(values), NUM, candidates=2)
    pairs = world.index(chosen.tokens).view(-1, 2)
    counts = (pairs[:, 0] * len(probs) + pairs[:, 1]).bincount(minlength=len(probs) ** 2)
    assert worlds.chi_square_z(counts.numpy(), probs.outer(probs).flatten().numpy()) < 4.5


def test_the_best_of_a_few(world: World, generator: Any, draw: Draw, values: Tensor) -> None:
    """It is x where all lie at or below x, and not all below."""
    g = worlds.exact_probs(generator, world)
    up_to = (g * (values <= values[:, None])).sum(1)
    probs = up_to**3 - (up_to - g) ** 3
    best = rerank(draw, world.reward(values), NUM, candidates=3)
    assert worlds.frequencies_z(world, best.tokens, probs) < 4.5


@pytest.mark.parametrize("choose", [resample, rerank, lambda *given: reject(*given).decoded])
def test_scores_are_those_of_the_generator(world: World, generator: Any, values: Tensor, choose: Any) -> None:
    chosen = choose(partial(sample, generator), world.reward(values), 300)
    with torch.no_grad():
        torch.testing.assert_close(chosen.log_probs, generator(chosen.tokens), rtol=0, atol=1e-12)
    assert torch.equal(chosen.mask, chosen.tokens != world.vocabulary.pad)


@pytest.mark.parametrize("choose", [resample, rerank])
def test_a_generator_driven_by_noise_is_chosen_from_as_well(choose: Any) -> None:
    generator = NoiseStartLSTM(ENDING.vocabulary, ENDING.max_length, hidden_dim=4, embedding_dim=3)
    reward = ENDING.reward(worlds.random_values(ENDING, 2))
    better = reward(choose(partial(sample, generator), reward, 500, candidates=4).tokens)
    assert better.mean() > reward(sample(generator, 500).tokens).mean() + 0.3


@pytest.mark.parametrize("choose", [resample, rerank])
@pytest.mark.parametrize("candidates", [1, 0, -3])
def test_there_must_be_a_choice(choose: Any, candidates: int) -> None:
    with pytest.raises(CallError, match=f"among {candidates} candidates; ask for 2"):
        choose(numbered, lambda tokens: tokens[:, 0].double(), 3, candidates=candidates)


# --- Rejection ---


def piloted(draw: Draw, first: Int[Tensor, " T"]) -> Draw:
    """The same draws behind a pilot that is copies of one sequence."""
    pilots = [first.expand(PILOT, -1)]

    def drawn(num: int) -> Decoded:
        after = draw(num)
        return replace(after, tokens=pilots.pop()) if pilots else after

    return drawn


def test_rejection_is_exact_where_the_pilot_saw_the_largest_weight(
    world: World, generator: Any, draw: Draw, values: Tensor
) -> None:
    g = worlds.exact_probs(generator, world)
    found = reject(piloted(draw, world.sequences[values.argmax()]), world.reward(values), NUM)
    chances = g * (values - values.max()).exp()
    rate = chances.sum().item()
    assert len(found.decoded.tokens) == NUM
    assert worlds.frequencies_z(world, found.decoded.tokens, chances / rate) < 4.5
    drawn = NUM / found.accepted  # at the least
    assert abs(found.accepted - rate) < 4.5 * (rate * (1 - rate) / drawn) ** 0.5
    assert found.clipped == 0


def test_weights_above_the_pilots_are_clipped_and_counted(
    world: World, generator: Any, draw: Draw, values: Tensor
) -> None:
    g = worlds.exact_probs(generator, world)
    bound = values.argsort()[-len(values) // 4]
    found = reject(piloted(draw, world.sequences[bound]), world.reward(values), NUM)
    chances = g * (values - values[bound]).exp().clamp(max=1)
    rate, above = chances.sum().item(), g[values > values[bound]].sum().item()
    assert worlds.frequencies_z(world, found.decoded.tokens, chances / rate) < 4.5
    drawn = NUM / found.accepted
    assert abs(found.accepted - rate) < 4.5 * (rate * (1 - rate) / drawn) ** 0.5
    assert 0.05 < above < 0.95
    assert abs(found.clipped - above) < 4.5 * (above * (1 - above) / drawn) ** 0.5


@pytest.mark.parametrize("num", [1, 999, 1001])
def test_as_many_as_are_wanted_are_accepted(num: int) -> None:
    generator = worlds.TableGenerator(ENDING, 1)
    found = reject(partial(sample, generator), ENDING.reward(worlds.random_values(ENDING, 2)), num)
    assert found.decoded.tokens.shape == (num, ENDING.max_length)
    assert 0 < found.accepted < 1


def test_rejection_gives_up_where_nearly_nothing_is_accepted() -> None:
    asked: list[int] = []

    def draw(num: int) -> Decoded:
        asked.append(num)
        return numbered(num)

    def logits(tokens: Tensor) -> Tensor:
        return torch.full((len(tokens),), 0.0 if len(asked) == 1 else -1000.0)

    with pytest.raises(WorkError, match="0 were accepted; use resample"):
        reject(draw, logits, 3)
    assert PATIENCE * 4 < sum(asked) <= PATIENCE * 4 + 2 * PILOT
