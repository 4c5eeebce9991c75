"""Dropout that holds over time, LSTM layers against PyTorch's own, attention against loops."""

import pytest
import torch
from torch import nn

from textforge.nets.attention import LSTMLayers, LuongAttention, VariationalDropout

pytestmark = pytest.mark.usefixtures("float64")

LENGTHS = torch.tensor([4, 1, 3])


def layers(num_layers: int, dropout: float = 0.0) -> LSTMLayers:
    made = LSTMLayers(3, num_layers, VariationalDropout(dropout))
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


# --- Dropout ---


def test_dropout_is_the_same_at_all_steps_and_another_in_every_sequence() -> None:
    dropout = VariationalDropout(0.25)
    sequences = torch.randn(400, 5, 30)
    factor = dropout(sequences) / sequences
    assert torch.allclose(factor, factor[:, :1])
    factor = factor[:, 0]
    assert (torch.isclose(factor, torch.tensor(0.0)) | torch.isclose(factor, torch.tensor(1 / 0.75))).all()
    assert len(torch.unique(factor > 0, dim=0)) > 390
    assert abs(factor.mean().item() - 1) <= 4.5 * (0.25 / 0.75 / factor.numel()) ** 0.5  # the expectation stays


def test_dropout_does_nothing_where_the_network_is_evaluated() -> None:
    sequences = torch.randn(2, 3, 4)
    assert torch.equal(VariationalDropout(0.9).eval()(sequences), sequences)


def test_dropout_acts_in_front_of_between_and_behind_layers() -> None:
    """With everything dropped, layers see zeros; the last output is dropped, too."""
    read = torch.randn(3, 4, 3)
    dropped = layers(2, 1.0)
    hidden, state = dropped(read, LENGTHS)
    assert (hidden == 0).all()
    dropped.eval()
    _, expected = dropped(torch.zeros_like(read), LENGTHS)
    torch.testing.assert_close(state[0], expected[0])


# --- Layers ---


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("started", [False, True])
def test_layers_are_those_of_pytorch_and_equal_their_steps(num_layers: int, started: bool) -> None:
    made = layers(num_layers)
    reference = nn.LSTM(3, 3, num_layers)
    weights = {
        name.replace("l0", f"l{i}"): value
        for i, layer in enumerate(made.layers)
        for name, value in layer.state_dict().items()
    }
    reference.load_state_dict(weights)
    read = torch.randn(3, 6, 3)
    state = tuple((torch.randn(3, 3), torch.randn(3, 3)) for _ in range(num_layers)) if started else None
    hidden, after = made(read, LENGTHS, state)
    for b, length in enumerate(LENGTHS.tolist()):
        before = None
        if state is not None:
            before = tuple(torch.stack([layer[part][b] for layer in state]) for part in (0, 1))
        expected, (last, cell) = reference(read[b, :length], before)
        torch.testing.assert_close(hidden[b, :length], expected, rtol=0, atol=1e-12)
        assert (hidden[b, length:] == 0).all()
        for i in range(num_layers):
            torch.testing.assert_close(after[i][0][b], last[i], rtol=0, atol=1e-12)
            torch.testing.assert_close(after[i][1][b], cell[i], rtol=0, atol=1e-12)
        zeros = tuple((torch.zeros(1, 3), torch.zeros(1, 3)) for _ in range(num_layers))
        stepped = zeros if state is None else tuple((h[b : b + 1], c[b : b + 1]) for h, c in state)
        for t in range(length):
            output, stepped = made.step(read[b : b + 1, t], stepped)
            torch.testing.assert_close(output[0], expected[t], rtol=0, atol=1e-12)


# --- Attention ---


def test_attention_is_that_of_the_loops() -> None:
    attention = LuongAttention(3)
    query, memory = torch.randn(2, 4, 3), torch.randn(2, 5, 3)
    real = torch.tensor([[True] * 5, [True, True, False, False, False]])
    output = attention(query, memory, real)
    for b in range(2):
        keys = [attention.keys(memory[b, s]) for s in range(5) if real[b, s]]
        for t in range(4):
            scores = torch.stack([key @ query[b, t] for key in keys]).softmax(0)
            seen = sum(score * memory[b, s] for s, score in enumerate(scores))
            expected = attention.output.weight @ torch.cat([query[b, t], torch.as_tensor(seen)])
            torch.testing.assert_close(output[b, t], expected, rtol=0, atol=1e-12)
    assert attention.keys.bias is None
    assert attention.output.bias is None


def test_attention_adds_up_to_one_and_passes_over_padding() -> None:
    attention = LuongAttention(3)
    real = torch.tensor([[True] * 5, [True, False, True, False, False]])
    weights = attention.weights(10 * torch.randn(2, 4, 3), 10 * torch.randn(2, 5, 3), real)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 4))
    assert (weights[1][:, ~real[1]] == 0).all()
    assert (weights[0] > 0).all()
