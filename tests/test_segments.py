"""Roll-outs from every so many tokens, and at a temperature."""

import pytest
import torch
import worlds
from torch import Tensor
from worlds import World

from textforge.decoding import roll_out
from textforge.returns import monte_carlo_q
from textforge.text import Vocabulary

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(params=worlds.WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return worlds.WORLDS[request.param]


@pytest.mark.parametrize("every", [1, 2, 3, 4, 9])
def test_prefixes_of_every_so_many_tokens_are_completed(world: World, every: int) -> None:
    tokens = world.sequences[torch.randperm(len(world.sequences))]
    rollouts = roll_out(worlds.TableGenerator(world, 1), tokens, 3, every=every)
    lengths = (tokens != world.vocabulary.pad).sum(1).tolist()
    expected = [(b, t - 1) for b, length in enumerate(lengths) for t in range(every, length, every)]
    assert list(zip(rollouts.row.tolist(), rollouts.position.tolist(), strict=True)) == expected
    for (b, t), rows in zip(expected, rollouts.tokens.view(len(expected), 3, world.max_length), strict=True):
        assert (rows[:, : t + 1] == tokens[b, : t + 1]).all()
        world.index(rows)  # whole sequences of the world


def test_completions_behind_a_segment_are_drawn_from_what_follows_it(world: World) -> None:
    generator = worlds.TableGenerator(world, 1)
    row = world.sequences[-1]
    rollouts = roll_out(generator, torch.stack([world.sequences[0], row]), 6000, every=2)
    (group,) = (rollouts.row == 1).nonzero()[:, 0][:1]
    mask = torch.arange(world.max_length) < 2
    probs = worlds.infilled_probs(world, worlds.conditionals(generator, world), row, mask)
    assert worlds.frequencies_z(world, rollouts.tokens.view(-1, 6000, world.max_length)[group], probs) < 4.5


def test_completions_are_drawn_at_the_temperature(world: World) -> None:
    generator = worlds.TableGenerator(world, 1)
    row = world.sequences[-1]
    rollouts = roll_out(generator, row[None], 6000, temperature=0.4)
    following = worlds.conditionals(generator, world, 0.4)
    for t, tokens in zip(rollouts.position.tolist(), rollouts.tokens.view(-1, 6000, world.max_length), strict=True):
        probs = worlds.infilled_probs(world, following, row, torch.arange(world.max_length) <= t)
        assert worlds.frequencies_z(world, tokens, probs) < 4.5


def test_tokens_of_a_segment_have_the_value_of_its_end() -> None:
    """A reward that reads 1000 b + t off what it is given, for a policy that goes on with a mark and nothing else."""
    world, mark = World(Vocabulary.create("0123456789", unk=False, eos=True), 5), 9
    policy = worlds.TableGenerator(world, 1)
    policy.table.data.fill_(-torch.inf)
    policy.table.data[:, mark] = 0.0
    eos, pad = 10, world.vocabulary.pad
    assert world.vocabulary.eos == eos
    tokens = torch.tensor([[3] * 5, [0, eos, pad, pad, pad], [1] * 5, [4, 4, 4, eos, pad], [eos, pad, pad, pad, pad]])

    def code(sequences: Tensor) -> Tensor:
        completed = sequences[:, -1] == mark
        own = torch.where(completed, (sequences < mark).sum(1), (sequences != pad).sum(1))
        return 1000 * sequences[:, 0].double() + own - 1

    assert monte_carlo_q(policy, tokens, code, 3, every=2).tolist() == [
        [3001, 3001, 3003, 3003, 3004],
        [1, 1, 0, 0, 0],
        [1001, 1001, 1003, 1003, 1004],
        [4001, 4001, 4003, 4003, 0],
        [1000 * eos, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("every", [2, 3])
def test_values_of_segments_are_the_exact_ones_within_their_error(world: World, every: int) -> None:
    policy, values = worlds.TableGenerator(world, 1), worlds.random_values(world, 2)
    q = monte_carlo_q(policy, world.sequences, world.reward(values), 1000, every=every)
    exact, square = worlds.exact_q(policy, world, values), worlds.exact_q(policy, world, values**2)
    last = world.mask.sum(1) - 1
    for t in range(world.max_length):
        end = (t // every * every + every - 1 + 0 * last).minimum(last)
        rows = torch.arange(len(last))
        error = ((square - exact**2).clamp(min=0) / 1000).sqrt()[rows, end]
        real = world.mask[:, t]
        assert ((q[:, t] - exact[rows, end]).abs() <= 4.5 * error + 1e-12)[real].all()
        assert (q[~real, t] == 0).all()
