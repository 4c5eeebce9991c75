"""Truncated distributions against enumeration by hand, in the order of temperature and truncation that is said."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import worlds
from torch import Tensor
from worlds import ENDING, FIXED, TableGenerator, World

from textforge.decoding import Generator, decode, infill, log_prob, roll_out, sample
from textforge.errors import CallError
from textforge.nets.noise_lstm import NoiseStartLSTM
from textforge.shaping import tempered, top_k, top_p
from textforge.text import Vocabulary

pytestmark = pytest.mark.usefixtures("float64")

Following = dict[worlds.Prefix, Tensor]
Kept = Callable[[list[float]], set[int]]


@pytest.fixture(params=worlds.WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return worlds.WORLDS[request.param]


@pytest.fixture(params=worlds.GENERATORS)
def generator(request: pytest.FixtureRequest, world: World) -> Any:
    return worlds.GENERATORS[request.param](world, 1)


def likeliest(k: int) -> Kept:
    """The tokens that fewer than k others surpass."""
    return lambda probs: {i for i, p in enumerate(probs) if sum(q > p for q in probs) < k}


def nucleus(p: float) -> Kept:
    """The tokens that are taken, the likeliest first, until they have p together; and what ties with the last."""

    def kept(probs: list[float]) -> set[int]:
        taken: list[float] = []
        for prob in sorted(probs, reverse=True):
            if sum(taken) < p:
                taken.append(prob)
        return {i for i, prob in enumerate(probs) if prob >= taken[-1]}

    return kept


def cut(following: Following, kept: Kept) -> Following:
    """Leave what is kept of each conditional, renormalised by hand."""
    after = {}
    for prefix, log_probs in following.items():
        probs = log_probs.exp().tolist()
        chosen = kept(probs)
        total = math.fsum(probs[i] for i in chosen)
        after[prefix] = torch.tensor([math.log(p / total) if i in chosen else -math.inf for i, p in enumerate(probs)])
    return after


def sequence_probs(world: World, following: Following) -> Tensor:
    return worlds.infilled_probs(world, following, world.sequences[0], torch.zeros(world.max_length, dtype=torch.bool))


def require_same(world: World, shaped: Generator, following: Following, temperature: float = 1.0) -> None:
    """The scores are those of the reference, and so are the frequencies of what is drawn."""
    exact = sequence_probs(world, following)
    assert exact.sum().item() == pytest.approx(1, abs=1e-12)
    scores = log_prob(shaped, world.sequences, temperature=temperature)
    torch.testing.assert_close(scores.exp(), exact, rtol=0, atol=1e-12)
    drawn = sample(shaped, 4000, temperature=temperature)
    assert worlds.frequencies_z(world, drawn.tokens, exact) < 4.5


@pytest.mark.parametrize("k", [1, 2, 9])
def test_the_likeliest_tokens_are_kept(world: World, generator: Any, k: int) -> None:
    require_same(world, top_k(generator, k), cut(worlds.conditionals(generator, world), likeliest(k)))


@pytest.mark.parametrize("p", [0.05, 0.6, 0.9, 1.0])
def test_the_nucleus_is_kept(world: World, generator: Any, p: float) -> None:
    require_same(world, top_p(generator, p), cut(worlds.conditionals(generator, world), nucleus(p)))


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_the_nucleus_at_a_temperature(world: World, generator: Any, temperature: float) -> None:
    following = worlds.conditionals(generator, world, temperature)
    require_same(world, tempered(generator, temperature), following)
    require_same(world, top_p(tempered(generator, temperature), 0.7), cut(following, nucleus(0.7)))


def test_a_temperature_of_the_call_comes_after_the_truncation() -> None:
    """Which makes a difference: more tokens are in the nucleus of a flatter distribution."""
    generator = TableGenerator(FIXED, 1)
    truncated = cut(worlds.conditionals(generator, FIXED), nucleus(0.7))
    flat = {prefix: (log_probs / 2.5).log_softmax(0) for prefix, log_probs in truncated.items()}
    require_same(FIXED, top_p(generator, 0.7), flat, temperature=2.5)
    inside = cut(worlds.conditionals(generator, FIXED, 2.5), nucleus(0.7))
    assert (sequence_probs(FIXED, inside) > 0).sum() > (sequence_probs(FIXED, flat) > 0).sum()


def test_what_ties_with_the_last_one_is_kept() -> None:
    generator = TableGenerator(FIXED, 1)
    generator.table.data[:] = torch.tensor([0.25, 0.5, 0.25]).log()
    for shaped, kept in (
        (top_k(generator, 1), [1]),
        (top_k(generator, 2), [0, 1, 2]),
        (top_p(generator, 0.49), [1]),
        (top_p(generator, 0.6), [0, 1, 2]),
    ):
        logits, _ = shaped.step(torch.tensor([FIXED.vocabulary.bos]), shaped.initial_state(1))
        assert logits[0].isfinite().nonzero().squeeze(1).tolist() == kept
        assert torch.equal(logits[0, kept], generator.table[0, kept])


def test_the_token_that_crosses_the_threshold_is_kept() -> None:
    generator = TableGenerator(FIXED, 1)
    generator.table.data[:] = torch.tensor([0.6, 0.3, 0.1]).log()
    for p, kept in ((0.59, 1), (0.61, 2), (0.89, 2), (0.91, 3)):
        logits, _ = top_p(generator, p).step(torch.tensor([3]), generator.initial_state(1))
        assert logits[0].isfinite().sum() == kept, p


def test_a_wide_nucleus_is_found_among_many_tokens() -> None:
    """Whether it has one token, or more than are looked at first."""
    vocabulary = Vocabulary.create(map(str, range(700)), unk=False, eos=False)
    generator = TableGenerator(World(vocabulary, 1), 1)
    for std in (0.0, 1.0, 30.0):
        generator.table.data[:] = std * torch.randn(1, 700)
        logits, _ = top_p(generator, 0.9).step(torch.tensor([vocabulary.bos]), generator.initial_state(1))
        kept = nucleus(0.9)(generator.table[0].softmax(0).tolist())
        assert set(logits[0].isfinite().nonzero().squeeze(1).tolist()) == kept, std


def test_keeping_one_token_is_greedy(world: World) -> None:
    generator = worlds.wide_lstm(world, 1)
    tokens: list[int] = []
    while len(tokens) < world.max_length and world.vocabulary.eos not in tokens:
        tokens.append(int(worlds.next_logits(generator, tuple(tokens)).argmax()))
    tokens += [world.vocabulary.pad] * (world.max_length - len(tokens))
    assert sample(top_k(generator, 1), 50).tokens.tolist() == [tokens] * 50


def test_dropout_is_off_inside() -> None:
    generator = worlds.wide_lstm(FIXED, 1, dropout=0.9)
    shaped = top_p(tempered(generator, 0.8), 0.9)
    first, second = (log_prob(shaped, FIXED.sequences) for _ in range(2))
    assert torch.equal(first, second)
    assert generator.dropout.training


def test_blanks_and_roll_outs_are_truncated_too() -> None:
    generator = TableGenerator(ENDING, 3)
    following = cut(worlds.conditionals(generator, ENDING), likeliest(2))
    shaped, mask = top_k(generator, 2), ENDING.vocabulary.mask
    assert generator.vocabulary.eos is not None
    row = torch.tensor([mask, 1, mask, 0])
    exact = worlds.infilled_probs(ENDING, following, row, row != mask)
    assert worlds.frequencies_z(ENDING, infill(shaped, row.expand(4000, -1)).tokens, exact) < 4.5
    possible = log_prob(shaped, roll_out(shaped, sample(shaped, 40).tokens, 5).tokens)
    assert possible.isfinite().all()


def test_noise_goes_through() -> None:
    torch.manual_seed(0)
    generator = NoiseStartLSTM(ENDING.vocabulary, 4, embedding_dim=3, hidden_dim=4)
    shaped = top_k(generator, 1)
    assert shaped.noise_dim == generator.noise_dim > 0
    noise = generator.noise(30)
    given = torch.full((30, 4), ENDING.vocabulary.pad)

    first, second = (decode(shaped, given, given < 0, context=noise).tokens for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("shape", [lambda g: tempered(g, 0), lambda g: tempered(g, math.nan), lambda g: top_k(g, 0)])
def test_what_cannot_be_is_refused(shape: Callable[[Generator], Generator]) -> None:
    with pytest.raises(CallError):
        shape(TableGenerator(FIXED, 1))


@pytest.mark.parametrize("p", [0, -0.1, 1.1, math.nan])
def test_a_nucleus_out_of_range_is_refused(p: float) -> None:
    with pytest.raises(CallError, match="above 0 and at most 1"):
        top_p(TableGenerator(FIXED, 1), p)
