"""One network, three ways to run it: whole sequences, step by step, and attention written out as loops."""

import math

import pytest
import torch
import worlds
from torch import Tensor, nn
from worlds import ENDING, FIXED, World

from textforge.decoding import Generator, decode, map_state, roll_out, sample
from textforge.errors import CallError
from textforge.nets.transformer import Block, TransformerGenerator

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(params=worlds.WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return worlds.WORLDS[request.param]


def wide(world: World, *, num_layers: int = 2, num_heads: int = 2, dropout: float = 0.0) -> TransformerGenerator:
    """A transformer with weights so large that no two prefixes are followed alike; norms and biases too."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        generator = TransformerGenerator(
            world.vocabulary,
            world.max_length,
            embedding_dim=8,
            num_layers=num_layers,
            num_heads=num_heads,
            dropout=dropout,
        )
        for parameter in generator.parameters():
            nn.init.normal_(parameter)
    return generator


def normalised(row: Tensor, norm: nn.LayerNorm) -> Tensor:
    return (row - row.mean()) / (row.var(correction=0) + norm.eps).sqrt() * norm.weight + norm.bias


def by_loops(block: Block, rows: list[Tensor]) -> list[Tensor]:
    """One block over one sequence, place by place and head by head."""
    width = len(rows[0])
    size = width // block.num_heads
    all_parts = [block.attention(normalised(row, block.attention_norm)) for row in rows]
    found = []
    for t, row in enumerate(rows):
        heads = []
        for head in range(block.num_heads):
            own = slice(head * size, (head + 1) * size)
            query, *_ = all_parts[t].split(width)
            keys = [parts.split(width)[1][own] for parts in all_parts[: t + 1]]
            values = [parts.split(width)[2][own] for parts in all_parts[: t + 1]]
            weights = torch.stack([query[own] @ key / math.sqrt(size) for key in keys]).softmax(0)
            heads.append(sum(weight * value for weight, value in zip(weights, values, strict=True)))
        row = row + block.attention_back(torch.cat(heads))
        inner = block.wide(normalised(row, block.wide_norm))
        found.append(row + block.wide_back(inner * (1 + torch.erf(inner / math.sqrt(2))) / 2))
    return found


@torch.no_grad()
def logits_by_loops(generator: TransformerGenerator, prefix: list[int]) -> Tensor:
    read = [generator.vocabulary.bos, *prefix]
    rows = [generator.embedding.weight[token] + generator.position.weight[t] for t, token in enumerate(read)]
    for block in generator.blocks:
        assert isinstance(block, Block)
        rows = by_loops(block, rows)
    last = normalised(rows[-1], generator.norm)
    return torch.stack([last @ generator.embedding.weight[i] for i in range(generator.vocab_size)])


@pytest.mark.parametrize(("num_layers", "num_heads"), [(1, 1), (2, 2), (3, 8)])
def test_forward_equals_steps_and_sums_to_one(world: World, num_layers: int, num_heads: int) -> None:
    generator = wide(world, num_layers=num_layers, num_heads=num_heads)
    assert isinstance(generator, Generator)
    log_probs = generator(world.sequences)
    assert log_probs.dtype == torch.float64
    assert log_probs.sum(1).exp().sum().item() == pytest.approx(1, abs=1e-12)
    steps = decode(generator, world.sequences, world.mask).log_probs
    torch.testing.assert_close(log_probs.detach(), steps, rtol=0, atol=1e-10)
    alone = worlds.exact_log_probs(generator, world)
    torch.testing.assert_close(log_probs.detach(), alone, rtol=0, atol=1e-10)


def test_attention_is_that_of_the_paper(world: World) -> None:
    generator = wide(world)
    for prefix in world.prefixes():
        expected = logits_by_loops(generator, list(prefix))
        torch.testing.assert_close(worlds.next_logits(generator, prefix), expected, rtol=0, atol=1e-10)


def test_rows_can_be_dropped_repeated_and_mixed_with_others_of_other_lengths() -> None:
    """What search and roll-outs do with states."""
    generator = wide(FIXED)
    prefixes: list[worlds.Prefix] = [(), (1,), (2, 0), (1, 2)]
    states = []
    for prefix in prefixes:
        state = generator.initial_state(1)
        for token in (FIXED.vocabulary.bos, *prefix)[:-1]:
            _, state = generator.step(torch.tensor([token]), state)
        states.append(state)
    rows = torch.tensor([3, 1, 1, 0, 2])
    mixed = map_state(lambda *leaves: torch.cat(leaves)[rows], *states)
    tokens = torch.tensor([(FIXED.vocabulary.bos, *prefixes[row])[-1] for row in rows])
    found, _ = generator.step(tokens, mixed)
    for row, logits in zip(rows.tolist(), found, strict=True):
        torch.testing.assert_close(logits.detach(), logits_by_loops(generator, list(prefixes[row])), rtol=0, atol=1e-10)


def test_a_step_leaves_the_state_that_it_was_given() -> None:
    generator = wide(FIXED)
    state = generator.step(torch.tensor([FIXED.vocabulary.bos]), generator.initial_state(1))[1]
    before = map_state(torch.clone, state)
    for token in range(3):
        generator.step(torch.tensor([token]), state)
    assert map_state(torch.equal, state, before) == {"read": True, "caches": ((True, True), (True, True))}  # type: ignore[arg-type]


def test_roll_outs_follow_the_model() -> None:
    generator = wide(ENDING)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        given = ENDING.sequences[-1:]
        rolled = roll_out(generator, given, 20_000)
    following = worlds.conditionals(generator, ENDING)
    behind = rolled.tokens[rolled.position.repeat_interleave(20_000) == 0]
    share = torch.bincount(behind[:, 1], minlength=3) / len(behind)
    expected = following[(int(given[0, 0]),)].exp()
    error = (expected * (1 - expected) / len(behind)).sqrt()
    assert ((share - expected).abs() <= 4.5 * error).all()


def test_padding_scores_exactly_zero_and_changes_nothing() -> None:
    generator = wide(ENDING)
    tokens, mask = ENDING.sequences, ENDING.mask
    log_probs = generator(tokens)
    assert (log_probs[~mask] == 0).all()
    wider = torch.cat([tokens, torch.full((len(tokens), 3), ENDING.vocabulary.pad)], 1)
    torch.testing.assert_close(generator(wider), nn.functional.pad(log_probs, (0, 3)), rtol=0, atol=1e-12)
    log_probs.sum().backward()
    assert generator.embedding.weight.grad is not None
    touched = generator.embedding.weight.grad.abs().sum(1) > 0
    # Whatever may be written is read too, in the output layer, which is the embedding; pad and mask never.
    assert touched.nonzero().flatten().tolist() == [0, 1, 2, ENDING.vocabulary.bos]


def test_other_inputs_are_read_in_place_of_the_tokens() -> None:
    generator = wide(FIXED)
    tokens, inputs = FIXED.sequences[5:8], FIXED.sequences[20:23]
    scores = generator(tokens, inputs)
    for b in range(3):
        for t in range(3):
            expected = worlds.next_logits(generator, tuple(inputs[b, :t].tolist())).log_softmax(0)[tokens[b, t]]
            torch.testing.assert_close(scores[b, t].detach(), expected)


def test_initial_weights_are_those_of_gpt2() -> None:
    for given, std in ((None, 0.02), (0.1, 0.1)):
        generator = TransformerGenerator(
            FIXED.vocabulary, 3, embedding_dim=64, num_layers=8, num_heads=2, init_std=given
        )
        for name, parameter in generator.named_parameters():
            if name.endswith("norm.weight") or name.endswith("bias"):
                assert (parameter == (1.0 if name.endswith("weight") else 0.0)).all()
                continue
            expected = std / 4 if name.endswith("back.weight") else std
            error = 4.5 * expected / (2 * parameter.numel()) ** 0.5
            assert abs(parameter.square().mean().item() ** 0.5 - expected) < error, name


def test_dropout_acts_in_training_only() -> None:
    generator = wide(FIXED, dropout=0.5)
    assert not torch.equal(generator(FIXED.sequences), generator(FIXED.sequences))
    generator.eval()
    assert torch.equal(generator(FIXED.sequences), generator(FIXED.sequences))
    assert torch.equal(generator(FIXED.sequences), wide(FIXED)(FIXED.sequences))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(CallError, match="--embedding-dim 8 cannot be shared out among --num-heads 3"):
        wide(FIXED, num_heads=3)


def test_single_precision_and_single_tokens() -> None:
    torch.set_default_dtype(torch.float32)
    short = World(FIXED.vocabulary, 1)
    generator = wide(short)
    assert generator(short.sequences).dtype == torch.float32
    assert generator(short.sequences).exp().sum().item() == pytest.approx(1, abs=1e-6)
    assert sample(generator, 5).tokens.shape == (5, 1)
