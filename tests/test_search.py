"""Searches against enumeration, and against plain searches that read every prefix anew."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import worlds
from torch import Tensor
from worlds import ENDING, FIXED, Prefix, World

from textforge import decoding, search
from textforge.decoding import Generator
from textforge.errors import CallError
from textforge.search import beam, tree_search
from textforge.text import Vocabulary

pytestmark = pytest.mark.usefixtures("float64")

Values = dict[Prefix, float]


@pytest.fixture(params=worlds.WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return worlds.WORLDS[request.param]


@pytest.fixture(params=worlds.GENERATORS)
def generator(request: pytest.FixtureRequest, world: World) -> Any:
    return worlds.GENERATORS[request.param](world, 1)


def finished(generator: Generator, prefix: Prefix) -> bool:
    return len(prefix) == generator.max_length or (bool(prefix) and prefix[-1] == generator.vocabulary.eos)


def unpadded(generator: Generator, tokens: Tensor) -> list[Prefix]:
    return [tuple(y for y in row if y != generator.vocabulary.pad) for row in tokens.tolist()]


class Opinions:
    """An arbitrary logit for every prefix, finished or not, that counts how often it is asked, and about what."""

    def __init__(self, generator: Generator, seed: int = 5, std: float = 1.0) -> None:
        self.generator = generator
        self.seed = seed
        self.std = std
        self.asked: list[list[Prefix]] = []

    def of(self, prefix: Prefix) -> float:
        return self.std * float(np.random.default_rng([self.seed, *prefix]).normal())

    def __call__(self, tokens: Tensor) -> Tensor:
        self.asked.append(unpadded(self.generator, tokens))
        return torch.tensor([self.of(prefix) for prefix in self.asked[-1]])


# --- Beam search ---


def plain_beam(
    generator: Generator, num: int, width: int, opinion: Callable[[Prefix], float] | None, weight: float
) -> list[Prefix]:
    """The same search over tuples, one prefix at a time."""
    alive: dict[Prefix, float] = {(): 0.0}
    found: dict[Prefix, float] = {}
    while alive:
        after = {
            (*prefix, y): score + log_prob
            for prefix, score in alive.items()
            for y, log_prob in enumerate(worlds.next_logits(generator, prefix).log_softmax(0).tolist())
            if log_prob > -np.inf
        }
        worth = after
        if opinion is not None:
            probable = sorted(after, key=lambda prefix: -after[prefix])[: 2 * width]
            worth = {prefix: after[prefix] + weight * opinion(prefix) for prefix in probable}
        best = sorted(worth, key=lambda prefix: -worth[prefix])[:width]
        found |= {prefix: worth[prefix] for prefix in best if finished(generator, prefix)}
        alive = {prefix: after[prefix] for prefix in best if not finished(generator, prefix)}
    return sorted(found, key=lambda prefix: -found[prefix])[:num]


@pytest.mark.parametrize("weight", [None, 0.5, 1.0, 3.0])
def test_a_beam_as_wide_as_the_world_finds_the_exact_ranking(
    world: World, generator: Any, weight: float | None
) -> None:
    """By log g, or by log g + weight x logit, whatever is thought of the prefixes on the way."""
    num = len(world.sequences)
    worth = worlds.exact_log_probs(generator, world).sum(1)
    if weight is None:
        found = beam(generator, num, width=num)
    else:
        opinions = Opinions(generator)
        worth = worth + weight * opinions(world.sequences)
        found = beam(generator, num, width=num, opinion=opinions, weight=weight)
    assert torch.equal(world.index(found.tokens), worth.argsort(descending=True))
    best = beam(generator, 3, width=num + 10)
    assert torch.equal(world.index(best.tokens), worlds.exact_probs(generator, world).topk(3).indices)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_a_narrow_beam_is_the_plain_search(world: World, generator: Any, width: int, guided: bool) -> None:
    for seed in range(5):
        opinions = Opinions(generator, seed) if guided else None
        found = beam(generator, width, width=width, opinion=opinions, weight=0.7)
        expected = plain_beam(generator, width, width, opinions.of if opinions else None, 0.7)
        assert unpadded(generator, found.tokens) == expected


def test_a_text_that_ended_early_can_be_overtaken() -> None:
    """Where the opinion rises as a text goes on, the best one is longer than the first that ended."""
    generator = worlds.TableGenerator(ENDING, 1)
    generator.table.data.zero_()
    found = beam(generator, 1, width=8, opinion=lambda tokens: 5.0 * (tokens == 0).sum(1))
    assert found.tokens.tolist() == [[0] * ENDING.max_length]
    eos, pad = ENDING.vocabulary.eos, ENDING.vocabulary.pad
    assert beam(generator, 1, width=8).tokens.tolist() == [[eos, pad, pad, pad]]


@pytest.mark.parametrize("width", [1, 2, 4, 7])
def test_texts_of_a_beam_differ_and_come_with_the_generators_scores(world: World, generator: Any, width: int) -> None:
    before = torch.get_rng_state()
    found = beam(generator, width, width=width)
    assert torch.equal(torch.get_rng_state(), before)
    rows = world.index(found.tokens)
    assert len(rows.unique()) == len(rows) == width
    exact = worlds.exact_log_probs(generator, world)[rows]
    torch.testing.assert_close(found.log_probs, exact, rtol=0, atol=1e-12)
    assert (found.log_probs.sum(1).diff() <= 1e-12).all(), "the best first"
    assert torch.equal(found.mask, found.tokens != world.vocabulary.pad)


@pytest.mark.parametrize("guided", [False, True])
def test_what_cannot_be_said_is_never_found(world: World, guided: bool) -> None:
    """Token 0 is banned behind itself and at the beginning; less texts are left than are wanted."""
    generator = worlds.TableGenerator(world, 1)
    generator.table.data[0, 0] = -torch.inf
    generator.table.data[1::2] = -torch.inf
    generator.table.data[1::2, 1] = 0.0
    probs = worlds.exact_probs(generator, world)
    possible = int((probs > 0).sum())
    assert 3 < possible < len(probs) - 3
    found = beam(generator, len(probs), width=len(probs), opinion=Opinions(generator) if guided else None)
    assert sorted(world.index(found.tokens).tolist()) == probs.nonzero().squeeze(1).tolist()
    assert found.log_probs.isfinite().all()


@pytest.mark.parametrize(("num", "width"), [(5, 4), (0, 4), (-1, 4), (1, 0)])
def test_more_texts_than_the_beam_is_wide_are_refused(num: int, width: int) -> None:
    with pytest.raises(CallError, match=f"a beam of {width} finds 1 to {width} texts, not {num}; widen it"):
        beam(worlds.TableGenerator(FIXED, 1), num, width=width)


@pytest.mark.parametrize(
    "find",
    [
        lambda generator: beam(generator, 4, width=4),
        lambda generator: tree_search(generator, Opinions(generator), 4, simulations=10),
    ],
)
def test_a_search_is_without_dropout_and_without_gradient(world: World, find: Any) -> None:
    generator, calm = (worlds.wide_lstm(world, 1, dropout=dropout) for dropout in (0.9, 0.0))
    torch.manual_seed(1)
    found = find(generator)
    torch.manual_seed(1)
    assert torch.equal(found.tokens, find(calm).tokens)
    assert generator.dropout.training
    assert not found.log_probs.requires_grad


# --- Tree search ---


class Choices:
    """Takes the place of the draw of the next token by visits: the most visited one; remembers the visits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.visits: list[list[int]] = []
        monkeypatch.setattr(torch, "multinomial", self)

    def __call__(self, weights: Tensor, num: int) -> Tensor:
        self.visits.append(weights.long().tolist())
        return weights.argmax(0, keepdim=True)


@pytest.fixture
def greedy_roll_outs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "draw", lambda logits, _: (logits.argmax(-1), logits.log_softmax(-1).amax(-1)))


def plain_tree_search(
    generator: Generator,
    value: Callable[[Prefix], float],
    simulations: int,
    breadth: int,
    exploration: float,
) -> tuple[list[list[int]], Prefix]:
    """Return the visits by which each token was chosen, the most visited one, and the text. A tree of dictionaries."""
    visits: dict[Prefix, int] = defaultdict(int)
    total: dict[Prefix, float] = defaultdict(float)
    follows: dict[Prefix, list[tuple[float, Prefix]]] = {}
    text: Prefix = ()
    history = []
    while not finished(generator, text):
        for _ in range(simulations):
            path = [text]
            while path[-1] in follows:
                here = path[-1]
                worth = []
                for prior, child in follows[here]:
                    known = child if visits[child] else here
                    bonus = exploration * visits[here] ** 0.5 * prior / (1 + visits[child])
                    worth.append(total[known] / visits[known] + bonus)
                path.append(follows[here][int(np.argmax(worth))][1])
            leaf = path[-1]
            if not finished(generator, leaf):
                probs = worlds.next_logits(generator, leaf).softmax(0).tolist()
                ranked = sorted(enumerate(probs), key=lambda pair: -pair[1])[:breadth]
                follows[leaf] = [(p, (*leaf, y)) for y, p in ranked if p > 0]
            whole = leaf
            while not finished(generator, whole):
                whole = (*whole, int(worlds.next_logits(generator, whole).argmax()))
            for prefix in path:
                visits[prefix] += 1
                total[prefix] += value(whole)
        history.append([visits[child] for _, child in follows[text]])
        text = follows[text][int(np.argmax(history[-1]))][1]
    return history, text


@pytest.mark.parametrize(
    ("simulations", "breadth", "exploration"), [(2, 9, 1.0), (25, 9, 1.0), (25, 2, 1.0), (40, 9, 0.1)]
)
@pytest.mark.usefixtures("greedy_roll_outs")
def test_visits_are_those_of_the_plain_search(
    world: World,
    generator: Any,
    simulations: int,
    breadth: int,
    exploration: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opinions = Opinions(generator, std=2.0)

    def value(prefix: Prefix) -> float:
        return float(torch.tensor(opinions.of(prefix)).sigmoid())

    history, text = plain_tree_search(generator, value, simulations, breadth, exploration)
    choices = Choices(monkeypatch)
    found = tree_search(generator, opinions, 2, simulations=simulations, breadth=breadth, exploration=exploration)
    assert choices.visits == [visits for visits in history for _ in range(2)]
    assert unpadded(generator, found.tokens) == [text, text]
    # one call of the opinion a simulation, of finished texts only
    assert len(opinions.asked) == simulations * len(text)
    assert all(len(asked) == 2 and all(finished(generator, whole) for whole in asked) for asked in opinions.asked)


def test_trees_that_have_ended_are_left_alone() -> None:
    """The opinion hears of every tree once a simulation, until its text is finished."""
    generator = worlds.TableGenerator(ENDING, 1)
    opinions = Opinions(generator)
    found = tree_search(generator, opinions, 30, simulations=4)
    lengths = found.lengths.tolist()
    assert len(set(lengths)) > 2
    alive = [sum(length > t for length in lengths) for t in range(max(lengths))]
    assert [len(asked) for asked in opinions.asked] == [rows for rows in alive for _ in range(4)]


def test_texts_are_sequences_of_the_world_with_its_scores(world: World, generator: Any) -> None:
    found = tree_search(generator, Opinions(generator), 12, simulations=8)
    exact = worlds.exact_log_probs(generator, world)[world.index(found.tokens)]
    torch.testing.assert_close(found.log_probs, exact, rtol=0, atol=1e-12)
    assert torch.equal(found.mask, found.tokens != world.vocabulary.pad)


SHORT = World(Vocabulary.create("abcde", unk=False, eos=False), 1)


def test_tokens_are_drawn_in_proportion_to_their_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = worlds.TableGenerator(SHORT, 1)
    opinions = Opinions(generator)
    draws, visits = torch.multinomial, torch.zeros(5)

    def seen(weights: Tensor, num: int) -> Tensor:
        order = worlds.next_logits(generator, ()).argsort(descending=True)
        visits[order] += weights / weights.sum()
        return draws(weights, num)

    monkeypatch.setattr(torch, "multinomial", seen)
    found = tree_search(generator, opinions, 400, simulations=12)
    assert ((visits / 400 > 0.05).sum() > 2).item()  # there was something to choose
    assert worlds.frequencies_z(SHORT, found.tokens, visits / 400) < 4.5


def test_exploring_follows_the_prior_and_trusting_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends: with nothing but the bonus visits are as the generator says, with hardly any as the opinion does."""
    generator = worlds.TableGenerator(SHORT, 1)
    opinions = Opinions(generator, std=3.0)
    probs = worlds.exact_probs(generator, SHORT).sort(descending=True)
    choices = Choices(monkeypatch)
    tree_search(generator, opinions, 1, simulations=401, exploration=1e6)
    assert (torch.tensor(choices.visits[0]) / 400 - probs.values).abs().max() < 0.01
    tree_search(generator, opinions, 1, simulations=401, exploration=0.3)
    best = int(opinions(SHORT.sequences[probs.indices]).argmax())
    assert best != 0, "the most probable token is not the best, or nothing was shown"
    assert choices.visits[1][best] > 340


def test_the_mean_behind_a_token_nears_its_exact_value(world: World) -> None:
    """Where the bonus rules, the tree is as dense as the generator, and its means are expectations."""
    generator = worlds.TableGenerator(world, 1)
    values = (3 * worlds.random_values(world, 2)).sigmoid()
    exact, square = (worlds.exact_values(generator, world, table) for table in (values, values**2))
    root = search._Node((), 1.0, generator.initial_state(1))
    num = 400
    with torch.no_grad():
        for _ in range(num):
            path = search._select(root, 1e6)
            if not finished(generator, path[-1].tokens):
                search._expand(generator, path[-1:], 9)
            (value,) = search._simulate(generator, world.reward(values.logit()), path[-1:])
            for node in path:
                node.visits += 1
                node.total += value
    tried = [node for node in (root, *root.children) if node.visits > 40]
    for node in tried:
        error = (max(square[node.tokens] - exact[node.tokens] ** 2, 0.0) / node.visits) ** 0.5
        assert abs(node.total / node.visits - exact[node.tokens]) <= 4.5 * error + 1e-9
    assert len(tried) > 2
    assert sum(child.visits for child in root.children) == num - 1


def test_a_search_writes_what_looks_real(world: World) -> None:
    """Five texts that hardly occur otherwise."""
    generator = worlds.TableGenerator(world, 1)
    probs = worlds.exact_probs(generator, world)
    rare = probs.argsort()[3:8]
    values = torch.full((len(probs),), -5.0)
    values[rare] = 5.0
    reward = world.reward(values)
    found = reward(tree_search(generator, reward, 20, simulations=100).tokens) > 0
    assert found.double().mean().item() > max(0.3, 8 * probs[rare].sum().item())


def test_impossible_tokens_are_never_tried(world: World) -> None:
    generator = worlds.TableGenerator(world, 1)
    generator.table.data[:, 1] = -torch.inf
    opinions = Opinions(generator)
    found = tree_search(generator, opinions, 5, simulations=20, exploration=0.0)  # so the prior holds nobody back
    assert found.log_probs.isfinite().all()
    assert all(1 not in prefix for asked in opinions.asked for prefix in asked)


def test_a_leaf_holds_the_state_of_its_own_row_only() -> None:
    """Or the trees would keep every batch of states that they ever saw."""
    generator: Any = worlds.wide_lstm(FIXED, 1)
    leaves = [search._Node((), 1.0, generator.initial_state(1)) for _ in range(50)]
    with torch.no_grad():
        search._expand(generator, leaves, 3)
    for tensor in decoding.leaves(leaves[7].children[0].state):
        assert tensor.untyped_storage().nbytes() == tensor.nbytes


@pytest.mark.parametrize("simulations", [1, 0, -1])
def test_less_than_two_simulations_are_refused(simulations: int) -> None:
    """The first one visits the beginning itself, and no token would have been tried."""
    generator = worlds.TableGenerator(FIXED, 1)
    with pytest.raises(CallError, match=f"2 or more simulations a token, not {simulations}"):
        tree_search(generator, Opinions(generator), 1, simulations=simulations)
    assert tree_search(generator, Opinions(generator), 1, simulations=2).tokens.shape == (1, 3)
