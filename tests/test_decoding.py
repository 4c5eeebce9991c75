"""The one loop against enumeration: what is drawn, what is scored, what follows a prefix, what fills a blank."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import worlds
from torch import Tensor, nn
from worlds import ENDING, FIXED, World

from textforge import decoding
from textforge.decoding import Generator, decode, draw, evaluating, log_prob, roll_out, sample
from textforge.nets.lstm import LSTMGenerator

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(params=worlds.WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return worlds.WORLDS[request.param]


@pytest.fixture(params=worlds.GENERATORS)
def generator(request: pytest.FixtureRequest, world: World) -> Any:
    return worlds.GENERATORS[request.param](world, 1)


def greedy(logits: Tensor, uniform: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Take the place of `draw` where a test needs to know what is drawn."""
    return logits.argmax(-1), logits.log_softmax(-1).amax(-1)


def greedy_completion(generator: Generator, prefix: worlds.Prefix) -> list[int]:
    """Complete a prefix by the likeliest tokens, reading it anew for each of them, and pad it."""
    tokens = list(prefix)
    while len(tokens) < generator.max_length and generator.vocabulary.eos not in tokens:
        tokens.append(int(worlds.next_logits(generator, tuple(tokens)).argmax()))
    return tokens + [generator.vocabulary.pad] * (generator.max_length - len(tokens))


# --- Scoring ---


def test_sequence_probabilities_sum_to_one(world: World, generator: Any) -> None:
    """Which holds only if a sequence ends at `eos` or at its greatest length, and nowhere else."""
    assert len(world.sequences) == (1 + 2 + 4 + 8 + 16 if world is ENDING else 27)
    assert log_prob(generator, world.sequences).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_scores_are_those_of_each_prefix_read_anew(world: World, generator: Any) -> None:
    decoded = decode(generator, world.sequences, world.mask)
    torch.testing.assert_close(decoded.log_probs, worlds.exact_log_probs(generator, world), rtol=0, atol=1e-12)
    assert torch.equal(decoded.tokens, world.sequences)
    assert torch.equal(decoded.mask, world.mask)
    assert torch.equal(decoded.lengths, world.mask.sum(1))
    assert (decoded.log_probs[~world.mask] == 0).all()


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_divides_the_logits(world: World, generator: Any, temperature: float) -> None:
    expected = worlds.exact_log_probs(generator, world, temperature).sum(1)
    scores = log_prob(generator, world.sequences, temperature=temperature)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)
    drawn = sample(generator, 8000, temperature=temperature)
    assert worlds.frequencies_z(world, drawn.tokens, scores.exp()) < 4.5
    torch.testing.assert_close(drawn.log_probs.sum(1), scores[world.index(drawn.tokens)], rtol=0, atol=1e-12)


def test_scoring_draws_nothing(generator: Any, world: World) -> None:
    before = torch.get_rng_state()
    log_prob(generator, world.sequences)
    assert torch.equal(torch.get_rng_state(), before)


def test_sequence_that_ends_without_eos_is_scored_as_far_as_it_goes() -> None:
    generator = worlds.TableGenerator(FIXED, 1)
    pad = FIXED.vocabulary.pad
    tokens = torch.tensor([[2, 1, pad], [2, 1, 0]])
    with torch.no_grad():
        torch.testing.assert_close(log_prob(generator, tokens), generator(tokens).sum(1))


# --- Sampling ---


def test_sampled_frequencies_are_the_probabilities(world: World, generator: Any) -> None:
    drawn = sample(generator, 30_000)
    assert worlds.frequencies_z(world, drawn.tokens, worlds.exact_probs(generator, world)) < 4.5
    assert torch.equal(drawn.mask, drawn.tokens != world.vocabulary.pad)
    assert (drawn.log_probs[~drawn.mask] == 0).all()
    with torch.no_grad():
        torch.testing.assert_close(drawn.log_probs, generator(drawn.tokens), rtol=0, atol=1e-12)


def test_sampling_in_batches_gives_as_many_of_the_same(world: World) -> None:
    generator = worlds.TableGenerator(world, 1)
    drawn = sample(generator, 10_001, batch_size=500)
    assert drawn.tokens.shape == (10_001, world.max_length)
    assert worlds.frequencies_z(world, drawn.tokens, worlds.exact_probs(generator, world)) < 4.5
    ends = drawn.tokens[torch.arange(10_001), drawn.lengths - 1] == (world.vocabulary.eos or -1)
    assert (ends | (drawn.lengths == world.max_length)).all()


def test_rows_are_independent(world: World) -> None:
    """Rows 2i and 2i + 1 of a batch as one draw from the product."""
    generator = worlds.TableGenerator(world, 1)
    pairs = world.index(sample(generator, 20_000, batch_size=20_000).tokens).view(-1, 2)
    probs = worlds.exact_probs(generator, world).numpy()
    counts = np.zeros((len(probs), len(probs)), dtype=np.int64)
    np.add.at(counts, tuple(pairs.T.numpy()), 1)
    assert worlds.chi_square_z(counts.flatten(), np.outer(probs, probs).flatten()) < 4.5


def test_parts_of_the_size_of_the_cache_change_nothing(
    world: World, generator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    whole = sample(generator, 50)
    monkeypatch.setattr(decoding, "_LOGITS_AT_ONCE", {True: 7 * world.vocabulary.vocab_size, False: 0})
    torch.manual_seed(3)
    parts = sample(generator, 50)
    assert torch.equal(whole.tokens, parts.tokens)
    torch.testing.assert_close(whole.log_probs, parts.log_probs, rtol=0, atol=1e-12)


def test_sampling_leaves_modes_and_takes_no_gradient(world: World) -> None:
    generator = worlds.wide_lstm(world, 1, dropout=0.9)
    generator.dropout.eval()
    modes = [part.training for part in generator.modules()]
    drawn = sample(generator, 200)
    assert [part.training for part in generator.modules()] == modes
    assert not drawn.log_probs.requires_grad
    generator.dropout.train()
    torch.testing.assert_close(log_prob(generator, drawn.tokens), drawn.log_probs.sum(1))  # no dropout here either
    assert generator.dropout.training


def test_modes_come_back_after_an_error() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Dropout())
    module[0].eval()

    def fail() -> None:
        with evaluating(module, "no module"):
            assert not module[1].training
            assert not torch.is_grad_enabled()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [part.training for part in module.modules()] == [True, False, True]
    assert torch.is_grad_enabled()


# --- Infilling ---


def given_cases(world: World) -> list[tuple[list[int], list[bool]]]:
    """Every pattern of blanks in a long sequence, and in a short one where there are any."""
    rows = [world.sequences[len(world.sequences) // 2]]
    if world.vocabulary.eos is not None:
        rows += [row for row in world.sequences if (row != world.vocabulary.pad).sum() in (1, 3)][1:3]
    cases = []
    for row in rows:
        length = int((row != world.vocabulary.pad).sum())
        for pattern in itertools.product([False, True], repeat=length):
            cases.append((row.tolist(), [*pattern, *[False] * (world.max_length - length)]))
    return cases


def test_infilling_follows_the_conditionals_from_left_to_right(world: World, generator: Any) -> None:
    following = worlds.conditionals(generator, world)
    for row, pattern in given_cases(world):
        given = torch.tensor(row).expand(2000, -1)
        given_mask = torch.tensor(pattern).expand(2000, -1)
        filled = decode(generator, given, given_mask)
        probs = worlds.infilled_probs(world, following, given[0], given_mask[0])
        assert probs.sum().item() == pytest.approx(1, abs=1e-12)
        assert worlds.frequencies_z(world, filled.tokens, probs) < 4.5, (row, pattern)
        assert torch.equal(filled.tokens[given_mask], given[given_mask])
        with torch.no_grad():  # scores are the generator's own, whatever was given or forbidden
            torch.testing.assert_close(filled.log_probs, generator(filled.tokens), rtol=0, atol=1e-12)


def test_rows_of_a_batch_may_have_different_blanks(world: World, generator: Any) -> None:
    """One batch of all cases, mixed, equals the cases one at a time."""
    cases, following = given_cases(world), worlds.conditionals(generator, world)
    rows, patterns = zip(*cases * 600, strict=True)
    filled = decode(generator, torch.tensor(rows), torch.tensor(patterns))
    for number, (row, pattern) in enumerate(cases):
        probs = worlds.infilled_probs(world, following, torch.tensor(row), torch.tensor(pattern))
        assert worlds.frequencies_z(world, filled.tokens[number :: len(cases)], probs) < 4.5, (row, pattern)


def test_what_is_given_behind_eos_is_dropped() -> None:
    eos, pad = ENDING.vocabulary.eos, ENDING.vocabulary.pad
    given = torch.tensor([[0, eos, 1, 1]])
    decoded = decode(worlds.TableGenerator(ENDING, 1), given, torch.ones_like(given, dtype=torch.bool))
    assert decoded.tokens.tolist() == [[0, eos, pad, pad]]
    assert decoded.mask.tolist() == [[True, True, False, False]]


# --- Roll-outs ---


def test_rollouts_continue_every_prefix_as_the_generator_would(
    world: World, generator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the likeliest token always drawn, each roll-out is known, so that no bookkeeping can be wrong unnoticed."""
    monkeypatch.setattr(decoding, "draw", greedy)
    tokens = world.sequences[torch.randperm(len(world.sequences))]
    rollouts = roll_out(generator, tokens, 2)
    pairs = list(zip(rollouts.row.tolist(), rollouts.position.tolist(), strict=True))
    lengths = (tokens != world.vocabulary.pad).sum(1).tolist()
    assert sorted(pairs) == [(b, t) for b, length in enumerate(lengths) for t in range(length - 1)]
    for (b, t), both in zip(pairs, rollouts.tokens.view(len(pairs), 2, -1).tolist(), strict=True):
        expected = greedy_completion(generator, tuple(tokens[b, : t + 1].tolist()))
        assert both == [expected, expected]


def test_rollouts_are_drawn_from_what_follows_their_prefix(world: World) -> None:
    generator = worlds.TableGenerator(world, 1)
    following = worlds.conditionals(generator, world)
    row = world.sequences[-1]
    rollouts = roll_out(generator, torch.stack([row, world.sequences[0]]), 6000)
    for (b, t), tokens in zip(
        zip(rollouts.row.tolist(), rollouts.position.tolist(), strict=True),
        rollouts.tokens.view(-1, 6000, world.max_length),
        strict=True,
    ):
        prefix = (row, world.sequences[0])[b][: t + 1]
        assert (tokens[:, : t + 1] == prefix).all()
        mask = torch.arange(world.max_length) <= t
        given = torch.cat([prefix, row[t + 1 :]])
        assert worlds.frequencies_z(world, tokens, worlds.infilled_probs(world, following, given, mask)) < 4.5


class Watched(nn.Module):
    """Checks that the logits at every step are those of what was read, from `bos` on, by a reader without state."""

    def __init__(self, inner: LSTMGenerator) -> None:
        super().__init__()
        self.inner = inner
        self.vocabulary = inner.vocabulary
        self.max_length = inner.max_length
        self.noise_dim = inner.noise_dim
        self.seen: set[worlds.Prefix] = set()

    def initial_state(self, batch: int, context: Any = None) -> Any:
        return torch.empty(batch, 0, dtype=torch.long).unsqueeze(2), self.inner.initial_state(batch)

    def step(self, token: Tensor, state: Any) -> Any:
        read, inner = state
        read = torch.cat([read, token[:, None, None]], 1)
        logits, inner = self.inner.step(token, inner)
        for row, got in zip(read.squeeze(2).tolist(), logits, strict=True):
            assert row[0] == self.vocabulary.bos
            torch.testing.assert_close(got, worlds.next_logits(self.inner, tuple(row[1:])), rtol=0, atol=1e-12)
            self.seen.add(tuple(row[1:]))
        return logits, (read, inner)


def test_next_token_in_a_rollout_has_the_distribution_of_teacher_forcing(world: World) -> None:
    watched = Watched(worlds.wide_lstm(world, 2, num_layers=2))
    roll_out(watched, world.sequences, 2)
    assert watched.seen == set(world.prefixes())


def test_sequence_without_a_proper_prefix_has_no_rollout() -> None:
    eos, pad = ENDING.vocabulary.eos, ENDING.vocabulary.pad
    rollouts = roll_out(worlds.TableGenerator(ENDING, 1), torch.tensor([[eos, pad, pad, pad]]), 3)
    assert rollouts.tokens.shape == (0, 4)
    assert len(rollouts.row) == len(rollouts.position) == 0


# --- Drawing one token ---

SIZES = [1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 99, 100, 101, 4899, 5000]


def even(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the uniform numbers by evenly spaced ones, so that frequencies are exact up to rounding."""

    def rand(rows: int, columns: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return ((torch.arange(rows, dtype=torch.float64) + 0.5) / rows).to(device, dtype)[:, None].expand(-1, columns)

    monkeypatch.setattr(torch, "rand", rand)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_draw_has_exactly_the_probabilities_of_softmax(
    size: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    even(monkeypatch)
    num = 1500
    for std in (0.0, 1.0, 6.0):
        logits = std * torch.randn(size, dtype=dtype)
        if size > 2:
            logits[torch.randperm(size)[: size // 3]] = -torch.inf
        drawn, log_probs = draw(logits.expand(num, -1))
        torch.testing.assert_close(log_probs, logits.log_softmax(0)[drawn])
        counts = drawn.bincount(minlength=size)
        expected = num * logits.double().softmax(0)
        # An interval of the even numbers holds its length, give or take one at either end, of its block too.
        assert ((counts - expected).abs() <= 2 + 1e-3).all()
        assert (counts[logits == -torch.inf] == 0).all()
        block = max(1, int(size**0.5))
        sums = [part.sum().item() for part in (counts - expected).split(block)]
        assert max(map(abs, sums)) <= 1 + 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [3, 50, 1000])
def test_draw_by_chance(size: int, dtype: torch.dtype) -> None:
    """Two distributions in turn, so that a row cannot take its neighbour's."""
    logits = 2 * torch.randn(2, size, dtype=dtype)
    drawn = draw(logits.repeat(4000, 1))[0].view(-1, 2)
    for row in range(2):
        counts = drawn[:, row].bincount(minlength=size).numpy()
        assert worlds.chi_square_z(counts, logits[row].double().softmax(0).numpy()) < 4.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("uniform", ["zero", "almost one"])
def test_draw_never_takes_the_impossible(
    size: int, uniform: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the ends of the unit interval either, where rounding would lead beyond the last possible token."""
    value = (
        0.0 if uniform == "zero" else float(torch.nextafter(torch.ones((), dtype=dtype), torch.zeros((), dtype=dtype)))
    )
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: torch.full(shape, value, dtype=options["dtype"]))
    possible = torch.rand_like(torch.zeros(40, size)) < 0.2
    possible[torch.arange(40), torch.randint(size, (40,))] = True
    logits = torch.randn(40, size, dtype=dtype).masked_fill(~possible, -torch.inf)
    drawn, _ = draw(logits)
    assert possible[torch.arange(40), drawn].all()
    ends = possible.int().argmax(1) if uniform == "zero" else size - 1 - possible.flip(1).int().argmax(1)
    assert torch.equal(drawn, ends)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e30])
def test_draw_from_extreme_logits_takes_the_only_likely_token(scale: float, dtype: torch.dtype) -> None:
    likely = torch.randint(5000, (200,))
    logits = torch.full((200, 5000), -scale, dtype=dtype)
    logits[torch.arange(200), likely] = scale
    assert torch.equal(draw(logits)[0], likely)
