"""The differentiable twin of `decode`: the same where rows are hard, with a gradient where they are soft."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textforge.decoding import decode
from textforge.nets.noise_lstm import NoiseGateLSTM, NoiseStartLSTM
from textforge.relaxations import gumbel_softmax, harden, soft_argmax
from textforge.relaxed import NoiseGenerator, Relaxed, decode_relaxed
from textforge.text import Vocabulary

pytestmark = pytest.mark.usefixtures("float64")

ENDING = Vocabulary.create("abcd", unk=False)
END = 4
FIXED = Vocabulary.create("abcd", unk=False, eos=False)
LENGTH = 12


def start_lstm(vocabulary: Vocabulary) -> NoiseStartLSTM:
    return NoiseStartLSTM(vocabulary, LENGTH, hidden_dim=5, embedding_dim=3)


def gate_lstm(vocabulary: Vocabulary) -> NoiseGateLSTM:
    return NoiseGateLSTM(vocabulary, LENGTH, noise_dim=4, embedding_dim=3, hidden_dim=5)


Build = Callable[[Vocabulary], NoiseStartLSTM | NoiseGateLSTM]
both = pytest.mark.parametrize("build", [start_lstm, gate_lstm])
all_vocabularies = pytest.mark.parametrize("vocabulary", [ENDING, FIXED], ids=["ending", "fixed"])


def wide(build: Build, vocabulary: Vocabulary) -> NoiseStartLSTM | NoiseGateLSTM:
    """A generator with weights so large that no two noise vectors are followed alike."""
    generator = build(vocabulary)
    for parameter in generator.parameters():
        nn.init.normal_(parameter, std=1.5)
    assert isinstance(generator, NoiseGenerator)
    return generator


def gumbel(temperature: float, *, straight_through: bool = False) -> Callable[[Tensor], Tensor]:
    return partial(gumbel_softmax, temperature=temperature, straight_through=straight_through)


@all_vocabularies
def test_hard_rows_are_what_decode_writes(vocabulary: Vocabulary) -> None:
    generator = wide(gate_lstm, vocabulary)
    noise = 3 * generator.noise(300)
    blank = torch.full((300, LENGTH), vocabulary.pad)
    expected = decode(generator, blank, torch.zeros_like(blank, dtype=torch.bool), context=noise).tokens
    assert len(expected.unique(dim=0)) > 10
    for relax in (lambda logits: harden(logits.softmax(1)), partial(soft_argmax, sharpness=1e8)):
        relaxed = decode_relaxed(generator, noise, relax)
        assert torch.equal(relaxed.tokens, expected)
        assert torch.equal(torch.stack(relaxed.rows, 1).round(), torch.eye(len(vocabulary))[expected])


@all_vocabularies
def test_hard_gumbel_rows_are_drawn_from_the_probabilities_of_forward(vocabulary: Vocabulary) -> None:
    """First two tokens of one noise vector, many times."""
    generator = wide(start_lstm, vocabulary)
    generator.max_length = 2
    noise = generator.noise(1)
    drawn = decode_relaxed(generator, noise.expand(40_000, -1), gumbel(0.5, straight_through=True)).tokens
    kinds, counts = drawn.unique(dim=0, return_counts=True)
    probs = generator(kinds, noise.expand(len(kinds), -1)).sum(1).exp()
    assert probs.sum().item() > 0.999
    assert ((counts / 40_000 - probs).abs() < 4.5 * (probs * (1 - probs) / 40_000).sqrt() + 1e-4).all()


@both
@all_vocabularies
@pytest.mark.parametrize("temperature", [0.3, 5.0])
def test_form_of_the_rows(build: Build, vocabulary: Vocabulary, temperature: float) -> None:
    """On the simplex, over emitted ids only; behind the first largest `eos`, and only there, one-hot `pad`."""
    generator = wide(build, vocabulary)
    relaxed = decode_relaxed(generator, generator.noise(200), gumbel(temperature))
    assert len(relaxed.rows) == LENGTH
    ended = torch.zeros(200, dtype=torch.bool)
    for t, row in enumerate(relaxed.rows):
        torch.testing.assert_close(row.sum(1), torch.ones(200))
        assert (row >= 0).all()
        assert torch.equal(row.argmax(1), relaxed.tokens[:, t])
        assert (row[~ended, vocabulary.vocab_size :] == 0).all()
        assert torch.equal(row[ended], torch.eye(len(vocabulary))[vocabulary.pad].expand(int(ended.sum()), -1))
        if vocabulary.eos is not None:
            ended |= row.argmax(1) == vocabulary.eos
    assert ended.any() == (vocabulary.eos is not None)


@both
def test_rows_behind_the_end_have_no_gradient(build: Build) -> None:
    generator = wide(build, ENDING)
    noise = generator.noise(50).requires_grad_()
    relaxed = decode_relaxed(generator, noise, gumbel(1.0))
    ended = relaxed.tokens == ENDING.pad
    assert ended.any()
    behind = sum((row[ended[:, t]] * torch.randn(len(ENDING))).sum() for t, row in enumerate(relaxed.rows))
    assert isinstance(behind, Tensor)
    gradients = torch.autograd.grad(behind, [noise, *generator.parameters()], allow_unused=True, materialize_grads=True)
    assert all((gradient == 0).all() for gradient in gradients)


@both
def test_all_rows_are_there_when_everything_ended_at_once(build: Build) -> None:
    generator = wide(build, ENDING)
    calls: list[int] = []

    def end(logits: Tensor) -> Tensor:
        calls.append(1)
        return F.one_hot(torch.full((len(logits),), END), logits.shape[1]).to(logits.dtype)

    relaxed = decode_relaxed(generator, generator.noise(3), end)
    assert len(calls) == 1
    expected = torch.tensor([[END] + [ENDING.pad] * (LENGTH - 1)] * 3)
    assert torch.equal(relaxed.tokens, expected)
    assert torch.equal(torch.stack(relaxed.rows, 1), torch.eye(len(ENDING))[expected])


@both
@all_vocabularies
def test_row_that_is_read_is_the_row_that_was_emitted(
    build: Build, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit, first `bos`: one draw a position, not one for the reader and one for the judge."""
    generator = wide(build, vocabulary)
    read: list[Tensor] = []
    drawn: list[Tensor] = []
    step = generator.relaxed_step

    def spy(row: Tensor, state: object) -> object:
        read.append(row)
        return step(row, state)

    def relax(logits: Tensor) -> Tensor:
        drawn.append(gumbel_softmax(logits, 1.0))
        return drawn[-1]

    monkeypatch.setattr(generator, "relaxed_step", spy)
    relaxed = decode_relaxed(generator, generator.noise(20), relax)
    assert torch.equal(read[0], torch.eye(len(vocabulary))[vocabulary.bos].expand(20, -1))
    assert len(drawn) == len(read)
    for row, before in zip(read[1:], relaxed.rows, strict=False):
        assert torch.equal(row, before)
    going = relaxed.tokens != vocabulary.pad
    for t, row in enumerate(drawn):
        assert torch.equal(relaxed.rows[t][going[:, t], : vocabulary.vocab_size], row[going[:, t]])


def weighted(relaxed: Relaxed, weights: Tensor) -> Tensor:
    return (torch.stack(relaxed.rows, 1) * weights).sum()


@both
@all_vocabularies
def test_gradient_is_that_of_differences(build: Build, vocabulary: Vocabulary) -> None:
    """With respect to the noise and to every parameter, along random directions, with frozen Gumbel noise."""
    generator = wide(build, vocabulary)
    noise, weights = generator.noise(4), torch.randn(4, LENGTH, len(vocabulary))
    values = [noise.requires_grad_(), *generator.parameters()]

    def loss() -> Tensor:
        torch.manual_seed(5)
        return weighted(decode_relaxed(generator, noise, gumbel(2.0)), weights)

    gradients = torch.autograd.grad(loss(), values)
    for value, gradient in zip(values, gradients, strict=True):
        direction = torch.randn_like(value)
        with torch.no_grad():
            value += 1e-6 * direction
            above = loss()
            value -= 2e-6 * direction
            below = loss()
            value += 1e-6 * direction
        difference = ((above - below) / 2e-6).item()
        assert (gradient * direction).sum().item() == pytest.approx(difference, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("straight_through", "reaches"), [(False, True), (True, True), (None, False)])
def test_gradient_of_the_last_row_reaches_the_noise(straight_through: bool | None, reaches: bool) -> None:
    """Through all 12 steps; a hard sampler without the straight-through estimator (None) lets nothing through."""
    generator = wide(start_lstm, FIXED)
    noise = generator.noise(20).requires_grad_()

    def relax(logits: Tensor) -> Tensor:
        if straight_through is None:
            return F.one_hot(gumbel_softmax(logits, 1.0).argmax(1), logits.shape[1]).to(logits.dtype)
        return gumbel_softmax(logits, 1.0, straight_through=straight_through)

    last = decode_relaxed(generator, noise, relax).rows[-1]
    assert last.requires_grad == reaches
    if reaches:
        (gradient,) = torch.autograd.grad(last[:, 0].sum(), noise)
        assert (gradient.abs().amax(1) > 0).all()


def test_detached_rows_are_the_same_without_gradient() -> None:
    generator = wide(start_lstm, ENDING)
    relaxed = decode_relaxed(generator, generator.noise(5), gumbel(1.0))
    for row, without in zip(relaxed.rows, relaxed.detach().rows, strict=True):
        assert torch.equal(row, without)
        assert not without.requires_grad
    assert torch.equal(relaxed.tokens, relaxed.detach().tokens)
