"""The generator that noise starts: its first state, its steps, its literal form without a projection."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from textforge.decoding import decode, sample
from textforge.nets.noise_lstm import NoiseStartLSTM
from textforge.relaxed import NoiseGenerator
from textforge.text import Vocabulary

pytestmark = pytest.mark.usefixtures("float64")

NoiseIn = Literal["h-and-c", "h"]
ENDING = Vocabulary.create("abc", unk=False)
FIXED = Vocabulary.create("abc", unk=False, eos=False)
TOKENS = torch.tensor([[0, 1, 2, 3], [0, 3, 5, 5], [3, 5, 5, 5], [2, 2, 1, 0]])


def built(vocabulary: Vocabulary = ENDING, noise_in: NoiseIn = "h-and-c", *, projection: bool = True) -> NoiseStartLSTM:
    generator = NoiseStartLSTM(vocabulary, 4, hidden_dim=5, embedding_dim=3, noise_in=noise_in, projection=projection)
    for parameter in generator.parameters():
        nn.init.normal_(parameter)
    assert isinstance(generator, NoiseGenerator)
    return generator


def by_layers(generator: NoiseStartLSTM, tokens: Tensor, hidden: Tensor, cell: Tensor) -> Tensor:
    """Score one unpadded sequence through an nn.LSTM that is given the weights by name."""
    lstm = nn.LSTM(3, generator.lstm.hidden_size, batch_first=True)
    lstm.load_state_dict({f"{name}_l0": value for name, value in generator.lstm.state_dict().items()})
    read = torch.cat([torch.tensor([generator.vocabulary.bos]), tokens[:-1]])
    out, _ = lstm(generator.embedding.weight[read], (hidden[None], cell[None]))
    if isinstance(generator.output, nn.Linear):
        out = out @ generator.output.weight.T + generator.output.bias
    scores: Tensor = out.log_softmax(1).gather(1, tokens[:, None]).squeeze(1)
    return scores


@pytest.mark.parametrize("projection", [True, False])
@pytest.mark.parametrize("noise_in", ["h-and-c", "h"])
def test_forward_is_that_of_the_layers_and_of_the_steps(noise_in: NoiseIn, projection: bool) -> None:
    generator = built(noise_in=noise_in, projection=projection)
    size = 5 if projection else ENDING.vocab_size
    assert generator.noise_dim == (2 * size if noise_in == "h-and-c" else size)
    noise = generator.noise(len(TOKENS))
    log_probs = generator(TOKENS, noise)
    real = TOKENS.ne(ENDING.pad)
    assert (log_probs[~real] == 0).all()
    for b, length in enumerate(real.sum(1).tolist()):
        hidden, cell = noise[b, :size], noise[b, size:] if generator.cell is None else generator.cell
        expected = by_layers(generator, TOKENS[b, :length], hidden, cell)
        torch.testing.assert_close(log_probs[b, :length], expected)
    steps = decode(generator, TOKENS.masked_fill(~real, 0), torch.ones_like(real), context=noise).log_probs
    torch.testing.assert_close(log_probs.detach(), steps * real)


def test_noise_is_uniform_in_the_unit_interval() -> None:
    noise = built().noise(20_000)
    counts = noise.histc(20, 0, 1)
    assert noise.shape == (20_000, 10)
    assert ((noise >= 0) & (noise < 1)).all()
    assert ((counts - 10_000).abs() < 4.5 * (10_000 * 0.95) ** 0.5).all()


def test_hidden_and_cell_have_noise_of_their_own_and_it_matters() -> None:
    generator = built()
    hidden, cell = generator.initial_state(1000)
    assert abs(torch.corrcoef(torch.stack([hidden[:, 0], cell[:, 0]]))[0, 1]) < 4.5 / 1000**0.5
    noise = generator.noise(1)
    for column in range(10):
        other = noise.clone()
        other[0, column] += 0.5
        assert not torch.equal(generator(TOKENS[:1], other), generator(TOKENS[:1], noise))


def test_learned_cell_is_one_for_all_and_learns() -> None:
    generator = built(noise_in="h")
    assert isinstance(generator.cell, nn.Parameter)
    _, cell = generator.initial_state(7)
    assert torch.equal(cell, generator.cell.expand(7, -1))
    generator(TOKENS, generator.noise(4)).sum().backward()
    assert generator.cell.grad is not None
    assert (generator.cell.grad != 0).all()


def test_without_projection_no_symbol_can_be_sure() -> None:
    """The hidden vector lies in (-1, 1), so six symbols leave at most e / (e + 5 / e) = 0.596 for one of them."""
    generator = built(Vocabulary.create("x+-*/", unk=False), projection=False)
    for parameter in generator.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(generator.lstm.bias_ih, 50.0)  # every gate is open
    nn.init.constant_(generator.lstm.bias_ih[13:18], -50.0)  # and the cell falls but for the first symbol
    state, token = generator.initial_state(1), torch.tensor([0])
    for _ in range(20):
        logits, state = generator.step(token, state)
    assert logits.softmax(1).max().item() == pytest.approx(0.596, abs=1e-3)


@pytest.mark.parametrize("vocabulary", [ENDING, FIXED], ids=["ending", "fixed"])
def test_relaxed_step_on_one_hot_rows_is_the_step(vocabulary: Vocabulary) -> None:
    generator = built(vocabulary)
    state, tokens = generator.initial_state(8), torch.arange(8) % len(vocabulary)
    logits, after = generator.step(tokens, state)
    relaxed, relaxed_after = generator.relaxed_step(torch.eye(len(vocabulary))[tokens], state)
    torch.testing.assert_close((relaxed, *relaxed_after), (logits, *after))


def test_samples_follow_the_probabilities_averaged_over_the_noise() -> None:
    generator = built()
    generator.max_length = 1
    drawn = sample(generator, 40_000).tokens[:, 0]
    logits, _ = generator.step(torch.full((40_000,), ENDING.bos), generator.initial_state(40_000))
    probs = logits.softmax(1)
    for token in range(4):
        share, expected = (drawn == token).double(), probs[:, token]
        error = ((share.var() + expected.var()) / 40_000).sqrt()
        assert abs(share.mean() - expected.mean()) < 4.5 * error
