"""One network, three ways to run it: whole sequences, step by step, and PyTorch's own layers put together anew."""

import pytest
import torch
import worlds
from torch import Tensor, nn
from worlds import ENDING, FIXED, SHARED_BOS, World

from textforge.decoding import Generator, decode
from textforge.nets.lstm import LSTMGenerator

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(params=worlds.WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return worlds.WORLDS[request.param]


def by_layers(generator: LSTMGenerator, tokens: Tensor) -> Tensor:
    """Score unpadded sequences through an nn.LSTM that is given the weights by name."""
    lstm = nn.LSTM(generator.embedding.embedding_dim, generator.lstm.hidden_size, generator.lstm.num_layers)
    lstm.load_state_dict(generator.lstm.state_dict())
    read = torch.cat([torch.full_like(tokens[:, :1], generator.vocabulary.bos), tokens[:, :-1]], 1)
    hidden, _ = lstm(generator.embedding.weight[read].transpose(0, 1))
    logits = hidden.transpose(0, 1) @ generator.output.weight.T + generator.output.bias
    scores: Tensor = logits.log_softmax(2).gather(2, tokens[..., None]).squeeze(2)
    return scores


@pytest.mark.parametrize("num_layers", [1, 2])
def test_forward_equals_steps_and_the_layers_of_pytorch(world: World, num_layers: int) -> None:
    generator = worlds.wide_lstm(world, 1, num_layers=num_layers)
    assert isinstance(generator, Generator)
    log_probs = generator(world.sequences)
    assert log_probs.dtype == torch.float64
    steps = decode(generator, world.sequences, world.mask).log_probs
    torch.testing.assert_close(log_probs.detach(), steps, rtol=0, atol=1e-12)
    for length in range(1, world.max_length + 1):
        rows = world.sequences[world.mask.sum(1) == length]
        if len(rows):
            torch.testing.assert_close(
                generator(rows)[:, :length], by_layers(generator, rows[:, :length]), rtol=0, atol=1e-12
            )


def test_padding_scores_exactly_zero_and_changes_nothing() -> None:
    generator = worlds.wide_lstm(ENDING, 1)
    tokens, mask = ENDING.sequences, ENDING.mask
    log_probs = generator(tokens)
    assert (log_probs[~mask] == 0).all()
    wider = torch.cat([tokens, torch.full((len(tokens), 3), ENDING.vocabulary.pad)], 1)
    torch.testing.assert_close(generator(wider), nn.functional.pad(log_probs, (0, 3)), rtol=0, atol=1e-12)
    log_probs.sum().backward()
    read = [ENDING.vocabulary.bos, *range(2)]
    assert generator.embedding.weight.grad is not None
    touched = generator.embedding.weight.grad.abs().sum(1) > 0
    assert touched.nonzero().flatten().tolist() == sorted(read)  # neither eos, nor pad, nor mask


def test_first_token_follows_bos() -> None:
    generator = worlds.wide_lstm(FIXED, 1)
    before = generator(FIXED.sequences).detach()
    generator.embedding.weight.data[FIXED.vocabulary.bos] += 1
    assert ((generator(FIXED.sequences) - before)[:, 0].abs() > 1e-3).all()


def test_other_inputs_are_read_in_place_of_the_tokens() -> None:
    generator = worlds.wide_lstm(FIXED, 1)
    tokens, inputs = FIXED.sequences[5:8], FIXED.sequences[20:23]
    scores = generator(tokens, inputs)
    for b in range(3):
        for t in range(3):
            expected = worlds.next_logits(generator, tuple(inputs[b, :t].tolist())).log_softmax(0)[tokens[b, t]]
            torch.testing.assert_close(scores[b, t].detach(), expected)


def test_rows_of_the_layers() -> None:
    """Only what may be emitted has a row in the output; whatever may be read has one in the embedding."""
    for world, ids in ((FIXED, 6), (SHARED_BOS, 5), (ENDING, 6)):
        generator = worlds.wide_lstm(world, 1)
        assert generator.output.out_features == generator.vocab_size == 3
        assert generator.embedding.num_embeddings == ids


def test_initial_weights() -> None:
    generator = LSTMGenerator(FIXED.vocabulary, 3, embedding_dim=40, hidden_dim=50, init_std=0.1)
    for name, parameter in generator.named_parameters():
        error = 4.5 * 0.1 / (2 * parameter.numel()) ** 0.5
        assert abs(parameter.square().mean().item() ** 0.5 - 0.1) < error, name
    other = LSTMGenerator(FIXED.vocabulary, 3, embedding_dim=40, hidden_dim=50)
    assert other.get_parameter("lstm.weight_hh_l0").abs().max() <= 50**-0.5  # PyTorch's own


def test_dropout_acts_on_embeddings_and_on_the_last_hidden_state_in_training_only() -> None:
    generator = worlds.wide_lstm(FIXED, 1, dropout=0.5)
    first, second = generator(FIXED.sequences), generator(FIXED.sequences)
    assert not torch.equal(first, second)
    generator.eval()
    assert torch.equal(generator(FIXED.sequences), generator(FIXED.sequences))
    generator.train()
    generator.dropout.p = 1.0  # nothing is left but the biases
    torch.testing.assert_close(
        generator(FIXED.sequences)[:, 0], generator.output.bias.log_softmax(0)[FIXED.sequences[:, 0]]
    )
    state = generator.initial_state(1)
    for token in range(3):
        logits, state = generator.step(torch.tensor([token]), state)
        torch.testing.assert_close(logits[0], generator.output.bias.data)
