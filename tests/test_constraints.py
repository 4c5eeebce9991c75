"""Constraints against enumeration: what satisfies them, how it is distributed, and what the weights make of that."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from worlds import ENDING, FIXED, SHARED_BOS, TableGenerator, World

from textforge import constraints
from textforge.constraints import (
    Constraint,
    all_of,
    banned,
    constrain,
    length,
    log_weights,
    matching,
    required,
    satisfies,
)
from textforge.decoding import Generator, infill, log_prob, roll_out, sample
from textforge.errors import CallError, UserError
from textforge.nets.infilling import InfillingGenerator
from textforge.nets.noise_lstm import NoiseGateLSTM, NoiseStartLSTM
from textforge.patterns import NONE
from textforge.resampling import resample
from textforge.shaping import tempered, top_k, top_p
from textforge.text import Char, Vocabulary

pytestmark = pytest.mark.usefixtures("float64")

UNKNOWING = World(Vocabulary.create("ab", unk=True, eos=True), 3)
WORLDS = {"fixed": FIXED, "shared-bos": SHARED_BOS, "ending": ENDING, "unknowing": UNKNOWING}


def symbols_of(world: World, row: Sequence[int]) -> list[str] | None:
    """The symbols of a sequence; None where one is unknown."""
    vocabulary = world.vocabulary
    ids = [i for i in row if i not in (vocabulary.eos, vocabulary.pad)]
    return None if vocabulary.unk in ids else [vocabulary.symbols[i] for i in ids]


def accepted(constraint: Constraint, vocabulary: Vocabulary, row: Sequence[int]) -> bool:
    """Walk through the automaton by hand."""
    state = 0
    for token in row:
        if token in (vocabulary.eos, vocabulary.pad):
            break
        state = int(constraint.moves[state, token])
        if state == NONE or token == vocabulary.unk:
            return False
    return bool(constraint.accepting[state])


def consistent(world: World, row: Sequence[int], text: Sequence[int]) -> bool:
    """Whether a sequence has the given tokens, and something but `eos` at their blanks."""
    vocabulary = world.vocabulary
    going = [i not in (vocabulary.eos, vocabulary.pad) for i in row]
    return all(going[t] if token == vocabulary.mask else row[t] == token for t, token in enumerate(text))


def stepwise(world: World, generator: Generator, wanted: Tensor, temperature: float = 1.0) -> Tensor:
    """The probability of each sequence when every token is drawn among those with which a wanted one goes on."""
    following = worlds.conditionals(generator, world, temperature)
    rows = [row[:n] for row, n in zip(world.sequences.tolist(), world.mask.sum(1).tolist(), strict=True)]
    beginnings = {tuple(row[:t]) for row, one in zip(rows, wanted, strict=True) if one for t in range(len(row) + 1)}
    probs = torch.zeros(len(rows))
    for k in wanted.nonzero().squeeze(1).tolist():
        probs[k] = 1
        for t, token in enumerate(rows[k]):
            prefix = tuple(rows[k][:t])
            ways = torch.tensor([(*prefix, v) in beginnings for v in range(world.vocabulary.vocab_size)])
            probs[k] *= following[prefix].exp()[token] / following[prefix].exp()[ways].sum()
    return probs


@st.composite
def automata(draw: st.DrawFn, vocab_size: int) -> Constraint:
    size = draw(st.integers(1, 5))
    targets = st.sampled_from([NONE, *range(size)])
    moves = draw(st.lists(st.lists(targets, min_size=vocab_size, max_size=vocab_size), min_size=size, max_size=size))
    accepting = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return Constraint(torch.tensor(moves, dtype=torch.int32), torch.tensor(accepting))


@st.composite
def texts(draw: st.DrawFn, world: World) -> list[int]:
    """The beginning of a sequence of the world, with blanks."""
    row = draw(st.sampled_from(world.sequences.tolist()))
    row = row[: draw(st.integers(0, world.max_length))]
    blank = draw(st.lists(st.booleans(), min_size=len(row), max_size=len(row)))
    kept = (world.vocabulary.eos, world.vocabulary.pad)
    return [world.vocabulary.mask if hide and i not in kept else i for i, hide in zip(row, blank, strict=True)]


# --- The constrained generator ---


@pytest.mark.parametrize("name", WORLDS)
def test_every_text_satisfies_and_has_the_stepwise_probability(name: str) -> None:
    world = WORLDS[name]
    generators: list[Any] = [TableGenerator(world, 1), worlds.wide_lstm(world, 2)]
    found = {"none": 0, "some": 0}

    @settings(max_examples=30)
    @given(automata(world.vocabulary.vocab_size), texts(world), st.sampled_from([1.0, 0.5]))
    def check(constraint: Constraint, text: list[int], temperature: float) -> None:
        rows = world.sequences.tolist()
        fits = [accepted(constraint, world.vocabulary, row) for row in rows]
        assert satisfies(constraint, world.vocabulary, world.sequences).tolist() == fits
        wanted = torch.tensor([fit and consistent(world, row, text) for fit, row in zip(fits, rows, strict=True)])
        for generator in generators:
            if not wanted.any():
                found["none"] += 1
                with pytest.raises(UserError, match="satisfies the constraint"):
                    constrain(generator, constraint, text)
                continue
            found["some"] += 1
            constrained = constrain(generator, constraint, text)
            exact = stepwise(world, generator, wanted, temperature)
            assert exact.sum().item() == pytest.approx(1, abs=1e-12)
            scores = log_prob(constrained, world.sequences, temperature=temperature).exp()
            torch.testing.assert_close(scores, exact, rtol=0, atol=1e-12)
            drawn = world.index(sample(constrained, 50, temperature=temperature).tokens)
            assert wanted[drawn].all()

    check()
    assert min(found.values()) >= 10


@pytest.mark.parametrize("world", [FIXED, ENDING], ids=["fixed", "ending"])
def test_frequencies_are_the_stepwise_probabilities(world: World) -> None:
    generator = worlds.wide_lstm(world, 2)
    constraint = all_of(required(world.vocabulary, ["a"]), length(world.vocabulary, at_least=2))
    wanted = satisfies(constraint, world.vocabulary, world.sequences)
    exact = stepwise(world, generator, wanted)
    drawn = sample(constrain(generator, constraint), 10_000)
    assert worlds.frequencies_z(world, drawn.tokens, exact) < 4.5
    torch.testing.assert_close(drawn.log_probs.sum(1).exp(), exact[world.index(drawn.tokens)], rtol=0, atol=1e-12)


def test_blanks_are_filled_so_that_what_follows_fits() -> None:
    vocabulary = ENDING.vocabulary
    mask, eos, pad = vocabulary.mask, vocabulary.eos, vocabulary.pad
    assert eos is not None
    generator = TableGenerator(ENDING, 3)
    constraint = all_of(required(vocabulary, ["a"]), matching(Char(vocabulary), "(ab|b)*"))
    for text in ([mask, mask, 1, eos], [mask, 1, mask, mask], [mask, mask, eos, pad]):
        wanted = satisfies(constraint, vocabulary, ENDING.sequences)
        wanted &= torch.tensor(
            [consistent(ENDING, row, [i for i in text if i != pad]) for row in ENDING.sequences.tolist()]
        )
        constrained = constrain(generator, constraint, text)
        filled = infill(constrained, torch.tensor(text).repeat(3000, 1)).tokens
        assert worlds.frequencies_z(ENDING, filled, stepwise(ENDING, generator, wanted)) < 4.5, text


def test_a_blank_is_not_filled_with_the_end() -> None:
    """Nor with what nothing but the end could follow."""
    vocabulary, mask = ENDING.vocabulary, ENDING.vocabulary.mask
    constrained = constrain(TableGenerator(ENDING, 3), matching(Char(vocabulary), "a|bb?b?"), [mask, mask])
    assert set(map(tuple, sample(constrained, 200).tokens[:, :2].tolist())) == {(1, 1)}


def test_a_prefix_is_continued_within_the_constraint() -> None:
    generator = TableGenerator(ENDING, 3)
    constraint = required(ENDING.vocabulary, ["b"])
    constrained = constrain(generator, constraint, [0])
    wanted = satisfies(constraint, ENDING.vocabulary, ENDING.sequences) & (ENDING.sequences[:, 0] == 0)
    exact = stepwise(ENDING, generator, wanted)
    drawn = sample(constrained, 4000)
    assert worlds.frequencies_z(ENDING, drawn.tokens, exact) < 4.5
    assert (drawn.log_probs[:, 0] == 0).all(), "what is given is not drawn"


@pytest.mark.parametrize("world", [FIXED, ENDING])
def test_a_prefix_is_continued_as_the_generator_would(world: World) -> None:
    generator = TableGenerator(world, 1)
    following = worlds.conditionals(generator, world)
    for prefix in ([], [1], [1, 0]):
        drawn = sample(constrain(generator, length(world.vocabulary), prefix), 4000)
        given = torch.tensor([*prefix, *[0] * (world.max_length - len(prefix))])
        exact = worlds.infilled_probs(world, following, given, torch.arange(world.max_length) < len(prefix))
        assert worlds.frequencies_z(world, drawn.tokens, exact) < 4.5


def test_a_prefix_outside_the_nucleus_can_be_continued() -> None:
    for first in range(3):
        constrained = constrain(TableGenerator(FIXED, 1), length(FIXED.vocabulary), [first])
        drawn = sample(top_k(constrained, 1), 20).tokens
        assert (drawn[:, 0] == first).all()
        assert len(drawn.unique(dim=0)) == 1


def test_a_generator_that_looks_around_is_shown_what_is_given() -> None:
    seen: list[Any] = []

    class Reader(TableGenerator):
        def initial_state(self, batch: int, context: Any = None) -> Any:
            seen.append(context)
            return super().initial_state(batch)

    vocabulary = ENDING.vocabulary
    mask, pad, eos = vocabulary.mask, vocabulary.pad, vocabulary.eos
    assert eos is not None
    free = length(vocabulary)
    for row, shown in (([1, 0], [1, 0, mask, mask]), ([1, mask, eos], [1, mask, eos, pad])):
        sample(constrain(Reader(ENDING, 1), free, row), 3)
        assert seen[-1].tolist() == [shown] * 3
    sample(constrain(Reader(ENDING, 1), free), 3)
    assert seen[-1] is None
    torch.manual_seed(0)
    blanks = InfillingGenerator(vocabulary, 4, hidden_dim=5, num_layers=1, dropout=0.0)
    drawn = sample(constrain(blanks, free, [1, 0]), 200).tokens
    assert (drawn[:, :2] == torch.tensor([1, 0])).all()
    assert eos in drawn


def test_roll_outs_stay_within_the_constraint() -> None:
    for world in (FIXED, ENDING):
        constraint = all_of(required(world.vocabulary, ["b"]), banned(world.vocabulary, ["a"]))
        if world is FIXED:
            constraint = required(world.vocabulary, ["b", "c"])
        constrained = constrain(worlds.wide_lstm(world, 1), constraint)
        rollouts = roll_out(constrained, sample(constrained, 30).tokens, 5)
        assert len(rollouts.tokens) > 100
        assert satisfies(constraint, world.vocabulary, rollouts.tokens).all()


def test_given_tokens_that_break_it_have_no_probability_and_are_refused_where_they_are_known() -> None:
    generator, constraint = TableGenerator(FIXED, 1), banned(FIXED.vocabulary, ["a"])
    scores = log_prob(constrain(generator, constraint), torch.tensor([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    assert (scores == -torch.inf).all()
    with pytest.raises(UserError, match="no text of exactly 3 tokens with the 2 given ones satisfies"):
        constrain(generator, constraint, [1, 0])
    with pytest.raises(UserError, match="given id 3 is no token of a text"):
        constrain(generator, constraint, [1, FIXED.vocabulary.bos])
    with pytest.raises(UserError, match="given text has 4 tokens and the model at most 3"):
        constrain(generator, constraint, [1, 1, 1, 1])


def test_truncation_goes_around_the_constraint() -> None:
    generator = TableGenerator(ENDING, 1)
    constraint = required(ENDING.vocabulary, ["a", "b"])
    for shaped in (
        top_k(constrain(generator, constraint), 1),
        top_p(tempered(constrain(generator, constraint), 2), 0.5),
    ):
        assert satisfies(constraint, ENDING.vocabulary, sample(shaped, 100).tokens).all()
    generator.table.data[:] = torch.tensor([1.0, 0.0, -1.0])
    with pytest.raises(UserError, match="constrain it before it is truncated"):
        sample(constrain(top_k(generator, 1), banned(ENDING.vocabulary, ["a"])), 5)


def test_modes_and_devices_reach_the_generator_inside() -> None:
    generator = worlds.wide_lstm(ENDING, 1, dropout=0.9)
    constrained = constrain(generator, length(ENDING.vocabulary, at_least=1))
    assert isinstance(constrained, nn.Module)
    assert torch.equal(*(log_prob(constrained, ENDING.sequences) for _ in range(2)))
    assert generator.dropout.training
    assert not [name for name in constrained.state_dict() if not name.startswith("inner.")]


def test_noise_goes_through() -> None:
    torch.manual_seed(0)
    vocabulary = ENDING.vocabulary
    generator = NoiseStartLSTM(vocabulary, 4, embedding_dim=3, hidden_dim=4)
    constraint = required(vocabulary, ["a", "b"])
    constrained = constrain(generator, constraint)
    assert constrained.noise_dim == generator.noise_dim
    tokens = sample(constrained, 100).tokens
    assert satisfies(constraint, vocabulary, tokens).all()
    with pytest.raises(UserError, match="no likelihood to weigh texts by"):
        log_weights(generator, constrained, tokens)
    decided = NoiseGateLSTM(vocabulary, 4, noise_dim=2, embedding_dim=3, hidden_dim=4)
    with pytest.raises(UserError, match="none whose noise alone decides the text"):
        sample(constrain(decided, all_of(constraint, length(vocabulary, exactly=3))), 50)


@pytest.mark.parametrize(
    ("world", "constraint", "size"),
    [
        (ENDING, lambda v: length(v, at_least=5), "at most 4"),
        (FIXED, lambda v: length(v, at_most=2), "exactly 3"),
        (ENDING, lambda v: all_of(required(v, ["a"]), banned(v, ["a"])), "at most 4"),
        (UNKNOWING, lambda v: all_of(length(v, at_least=1), banned(v, ["a", "b"])), "at most 3"),
    ],
)
def test_what_nothing_satisfies_is_refused(world: World, constraint: Callable[..., Constraint], size: str) -> None:
    with pytest.raises(UserError, match=f"no text of {size} tokens satisfies the constraint; loosen it"):
        constrain(TableGenerator(world, 1), constraint(world.vocabulary))


def test_a_constraint_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(CallError, match="over 3 ids and the generator emits 4"):
        constrain(TableGenerator(UNKNOWING, 1), length(FIXED.vocabulary))
    with pytest.raises(CallError, match="over 3 and 4 ids"):
        all_of(length(FIXED.vocabulary), length(UNKNOWING.vocabulary))


# --- The model's distribution given the constraint ---


def corner() -> tuple[TableGenerator, Constraint, Tensor, Tensor]:
    """A generator that seldom ends well behind what it likes to begin with; with its exact G(x | C) and Q(x)."""
    generator = TableGenerator(FIXED, 2, std=1.5)
    constraint = matching(Char(FIXED.vocabulary), "ab[ab]|[bc].c")
    wanted = satisfies(constraint, FIXED.vocabulary, FIXED.sequences)
    given_c = worlds.exact_probs(generator, FIXED) * wanted
    return generator, constraint, given_c / given_c.sum(), stepwise(FIXED, generator, wanted)


def test_weights_are_the_ratio_of_both_distributions() -> None:
    generator, constraint, given_c, proposed = corner()
    constrained = constrain(generator, constraint)
    support = given_c > 0
    weights = log_weights(generator, constrained, FIXED.sequences[support]).exp()
    exact = given_c[support] / proposed[support]
    torch.testing.assert_close(weights / weights.sum(), exact / exact.sum(), rtol=1e-10, atol=0)
    hot = log_weights(generator, constrained, FIXED.sequences[support], temperature=2.0)
    wide = log_prob(tempered(generator, 2), FIXED.sequences) - log_prob(
        constrain(tempered(generator, 2), constraint), FIXED.sequences
    )
    torch.testing.assert_close(hot, wide[support], rtol=0, atol=1e-12)


def test_choosing_among_candidates_nears_the_distribution_given_the_constraint() -> None:
    """For two candidates the distribution of the chosen is a finite sum; for many it is G(x | C), which Q is not."""
    generator, constraint, given_c, proposed = corner()
    constrained = constrain(generator, constraint)
    assert (given_c - proposed).abs().sum() / 2 > 0.1, "there is something to correct"
    draw, weigh = partial(sample, constrained), partial(log_weights, generator, constrained)
    assert worlds.frequencies_z(FIXED, draw(4000).tokens, given_c) > 4.5
    support = (proposed > 0).nonzero().squeeze(1)
    q, w = proposed[support], (given_c / proposed)[support]
    pairs = q * w * (2 * q / (w[:, None] + w)).sum(1)
    chosen = resample(draw, weigh, 4000, candidates=2).tokens
    assert worlds.frequencies_z(FIXED, chosen, torch.zeros_like(proposed).index_add(0, support, pairs)) < 4.5
    assert worlds.frequencies_z(FIXED, chosen, given_c) > 4.5
    assert worlds.frequencies_z(FIXED, resample(draw, weigh, 3000, candidates=64).tokens, given_c) < 4.5


def test_weights_know_what_was_given() -> None:
    """Behind a prefix the target is G(x | prefix, C): the given tokens count for the generator and are free for Q."""
    generator = TableGenerator(FIXED, 2, std=1.5)
    constraint = matching(Char(FIXED.vocabulary), ".*c|.a.")
    mask = FIXED.vocabulary.mask
    constrained = constrain(generator, constraint, [1, mask])
    wanted = satisfies(constraint, FIXED.vocabulary, FIXED.sequences) & (FIXED.sequences[:, 0] == 1)
    given_c = worlds.exact_probs(generator, FIXED)[wanted]
    weighted = (
        log_weights(generator, constrained, FIXED.sequences[wanted]).exp() * stepwise(FIXED, generator, wanted)[wanted]
    )
    torch.testing.assert_close(weighted / weighted.sum(), given_c / given_c.sum(), rtol=1e-10, atol=0)


# --- What can be demanded ---


@pytest.mark.parametrize("name", WORLDS)
def test_symbols_and_lengths_mean_what_they_say(name: str) -> None:
    world = WORLDS[name]
    v = world.vocabulary
    cases: list[tuple[Constraint, Callable[[list[str]], bool]]] = [
        (banned(v, ["b"]), lambda s: "b" not in s),
        (banned(v, []), lambda s: True),
        (required(v, ["b"]), lambda s: "b" in s),
        (required(v, ["b", "a", "b"]), lambda s: {"a", "b"} <= set(s)),
        (required(v, []), lambda s: True),
        (length(v), lambda s: True),
        (length(v, exactly=2), lambda s: len(s) == 2),
        (length(v, exactly=0), lambda s: not s),
        (length(v, at_least=2), lambda s: len(s) >= 2),
        (length(v, at_most=2), lambda s: len(s) <= 2),
        (length(v, at_least=1, at_most=2), lambda s: 1 <= len(s) <= 2),
        (
            all_of(length(v, at_least=2), required(v, ["a"]), banned(v, ["b"])),
            lambda s: len(s) > 1 and set(s) >= {"a"} and "b" not in s,
        ),
    ]
    for number, (constraint, holds) in enumerate(cases):
        for row in world.sequences.tolist():
            symbols = symbols_of(world, row)
            if symbols is not None:
                assert accepted(constraint, v, row) == holds(symbols), (number, row)


def test_a_product_has_only_the_states_that_can_be_reached() -> None:
    v = FIXED.vocabulary
    assert len(required(v, v.symbols).moves) == 8
    assert len(all_of(length(v, at_most=3), length(v, at_most=5)).moves) == 4
    assert len(all_of(length(v, exactly=2), banned(v, v.symbols)).moves) == 1


def test_symbols_must_be_known_and_bounds_in_order() -> None:
    v = Vocabulary.create(["horse", "cat"])
    with pytest.raises(UserError, match="does not know 'hores'; name its own tokens; did you mean 'horse'"):
        required(v, ["cat", "hores"])
    with pytest.raises(UserError, match="does not know '<unk>'"):
        banned(v, ["<unk>"])
    for bounds in ({"at_least": 3, "at_most": 2}, {"at_least": -1}, {"exactly": -1}):
        with pytest.raises(CallError, match="give bounds from 0 in order"):
            length(v, **bounds)
    with pytest.raises(UserError, match="bound the length lower"):
        length(v, at_least=10**12)
    with pytest.raises(CallError, match="at least one"):
        all_of()


def test_an_automaton_that_would_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constraints, "MAX_ENTRIES", 3 * 7)
    with pytest.raises(UserError, match="needs over 7 states of 3 ids; demand less at once"):
        required(FIXED.vocabulary, FIXED.vocabulary.symbols)
