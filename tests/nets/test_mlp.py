"""Maxout, noise, and the players of a finite world."""

import math

import pytest
import torch
from torch import nn

from textforge.nets.mlp import (
    Draw,
    Maxout,
    MaxoutDiscriminator,
    MLPGenerator,
    NoiseKind,
    PointGenerator,
    TableDiscriminator,
    TableGenerator,
)

pytestmark = pytest.mark.usefixtures("float64")


def generator(noise: NoiseKind = "uniform", init_range: float | None = 0.05) -> MLPGenerator:
    return MLPGenerator(
        noise_dim=3, noise=noise, widths=(8, 8), centre=[10.0, -5.0], scale=4.0, init_range=init_range
    )  # fmt: skip


# --- Maxout ---


def test_maxout_is_the_largest_of_its_linear_pieces() -> None:
    layer, x = Maxout(3, 4, 5), torch.randn(7, 3)
    weight, bias = layer.linear.weight.detach(), layer.linear.bias.detach()
    out = layer(x).detach()
    for row in range(7):
        for unit in range(4):
            pieces = [float(weight[5 * unit + i] @ x[row] + bias[5 * unit + i]) for i in range(5)]
            assert out[row, unit].item() == pytest.approx(max(pieces), abs=1e-12)


def test_maxout_sends_the_gradient_to_the_winning_piece_alone() -> None:
    layer, x = Maxout(3, 1, 5), torch.randn(1, 3)
    winner = int((layer.linear.weight @ x[0] + layer.linear.bias).argmax())
    layer(x).sum().backward()
    assert layer.linear.weight.grad is not None
    for piece in range(5):
        expected = x[0] if piece == winner else torch.zeros(3)
        assert torch.equal(layer.linear.weight.grad[piece], expected)


def test_maxout_of_equal_pieces_moves_one_of_them() -> None:
    layer = Maxout(2, 1, 3)
    nn.init.ones_(layer.linear.weight)
    nn.init.zeros_(layer.linear.bias)
    layer(torch.ones(1, 2)).sum().backward()
    assert layer.linear.bias.grad is not None
    assert sorted(layer.linear.bias.grad.tolist()) == [0.0, 0.0, 1.0]


def test_maxout_with_a_zero_piece_is_a_rectifier() -> None:
    layer, x = Maxout(3, 4, 2), torch.randn(9, 3)
    with torch.no_grad():
        layer.linear.weight[1::2] = 0.0
        layer.linear.bias.zero_()
    torch.testing.assert_close(layer(x), (x @ layer.linear.weight[::2].T).relu(), rtol=0, atol=1e-12)


# --- Networks ---


@pytest.mark.parametrize(("kind", "kurtosis"), [("uniform", 1.8), ("gaussian", 3.0)])
def test_noise_has_variance_one_and_the_shape_asked_for(kind: NoiseKind, kurtosis: float) -> None:
    noise = generator(kind).noise(200_000)
    assert noise.shape == (200_000, 3)
    assert noise.mean().abs() < 4 / math.sqrt(noise.numel())
    assert (noise.var() - 1).abs() < 4.5 * math.sqrt((kurtosis - 1) / noise.numel())
    assert ((noise**4).mean() - kurtosis).abs() < 0.1
    assert (noise.abs().max() <= math.sqrt(3)) == (kind == "uniform")


def test_a_generator_without_weights_stands_in_the_midst_of_the_world() -> None:
    G = generator()
    for parameter in G.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(G.sample(5), torch.tensor([[10.0, -5.0]]).repeat(5, 1))


def test_initial_weights_are_those_of_the_code() -> None:
    G = generator(init_range=0.05)
    weights = torch.cat([p.flatten() for name, p in G.named_parameters() if name.endswith("weight")])
    assert weights.abs().max() <= 0.05
    assert weights.abs().max() > 0.045
    assert all(not p.any() for name, p in G.named_parameters() if name.endswith("bias"))


def test_a_discriminator_looks_at_standardised_points() -> None:
    settings = {"widths": (6, 6), "pieces": 3, "input_dropout": 0.0, "dropout": 0.0, "init_range": None}
    D = MaxoutDiscriminator(centre=[10.0, -5.0], scale=4.0, **settings)  # type: ignore[arg-type]
    plain = MaxoutDiscriminator(centre=[0.0, 0.0], scale=1.0, **settings)  # type: ignore[arg-type]
    plain.load_state_dict(D.state_dict() | {"centre": torch.zeros(2), "scale": torch.ones(())})
    x = torch.randn(6, 2)
    torch.testing.assert_close(D(torch.tensor([10.0, -5.0]) + 4 * x), plain(x))


def test_dropout_stands_in_front_of_every_layer() -> None:
    D = MaxoutDiscriminator(
        widths=(64, 64), pieces=2, input_dropout=0.2, dropout=0.5, centre=[0.0] * 50, scale=1.0, init_range=None
    )
    seen: list[torch.Tensor] = []
    for layer in (D.layers[0].linear, D.layers[1].linear, D.head):
        layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))  # type: ignore[union-attr]
    D(torch.ones(400, 50))
    for inputs, rate in zip(seen, (0.2, 0.5, 0.5), strict=True):
        assert (inputs == 0).double().mean().item() == pytest.approx(rate, abs=0.02)
    assert set(seen[0].flatten().tolist()) <= {0.0, 1.25}, "what is kept is scaled by 1 / keep"
    D.eval()
    again = [D(torch.ones(1, 50)).item() for _ in range(2)]
    assert again[0] == again[1]


# --- Tables ---


def test_a_table_draws_everything_with_its_probability() -> None:
    G = TableGenerator(7, None)
    draw = G.draw(3)
    assert torch.equal(draw.points, torch.arange(7))
    torch.testing.assert_close(draw.weights, G.logits.softmax(0))
    counts = torch.bincount(G.sample(50_000), minlength=7) / 50_000
    error = (draw.weights * (1 - draw.weights) / 50_000).sqrt()
    assert ((counts - draw.weights).abs() <= 4.5 * error).all()


def test_a_table_of_opinions_answers_by_id() -> None:
    D = TableDiscriminator(5, 0.1)
    assert torch.equal(D(torch.tensor([3, 0, 3])), D.logits[[3, 0, 3]])


def test_players_keep_the_protocol() -> None:
    for G in (generator(), TableGenerator(4, None)):
        assert isinstance(G, PointGenerator)
        draw = G.draw(6)
        assert draw.weights.sum().item() == pytest.approx(1)
        assert draw.weights.requires_grad or draw.points.requires_grad
        fixed = draw.detach()
        assert isinstance(fixed, Draw)
        assert not fixed.weights.requires_grad
        assert not fixed.points.requires_grad
