"""The generator that reads its noise at every gate, against its equations in plain NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from worlds import ENDING, FIXED, World

from textforge.decoding import decode, sample
from textforge.nets.noise_lstm import NoiseGateLSTM
from textforge.relaxations import soft_argmax
from textforge.relaxed import NoiseGenerator, decode_relaxed

Z, D, H = 3, 4, 5


def network(world: World = ENDING, *, seed: int = 1) -> NoiseGateLSTM:
    """Weights so large that hardly two noises write the same."""
    net = NoiseGateLSTM(world.vocabulary, world.max_length, noise_dim=Z, embedding_dim=D, hidden_dim=H)
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        nn.init.normal_(parameter.detach(), generator=generator)
    return net


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def reference(net: NoiseGateLSTM, words: list[int], z: np.ndarray) -> np.ndarray:
    """V h_t for every t of a sequence, equations 1 to 5 from the beginning."""
    w = {name: value.double().numpy() for name, value in net.state_dict().items()}
    hidden, cell = np.tanh(w["start.weight"] @ z + w["start.bias"]), np.zeros(H)
    logits = []
    for t in range(len(words)):
        if t:
            y = w["embedding.weight"][words[t - 1]]
            gates = w["W.weight"] @ y + w["U.weight"] @ hidden + w["C.weight"] @ z + w["C.bias"]
            i, f, o, c = np.split(gates, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
            hidden = sigmoid(o) * np.tanh(cell)
        table = w["embedding.weight"][: net.vocabulary.vocab_size]
        logits.append(table @ (w["projection.weight"] @ hidden) + w["bias"])
    return np.array(logits)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("world", [FIXED, ENDING], ids=["fixed", "ending"])
def test_log_probs_of_teacher_forcing_are_those_of_the_equations(world: World) -> None:
    net, tokens = network(world), world.sequences
    noise = net.noise(len(tokens))
    log_probs = net(tokens, noise).detach().numpy()
    for row, z, got in zip(tokens.tolist(), noise.numpy(), log_probs, strict=True):
        words = [word for word in row if word != world.vocabulary.pad]
        logits = reference(net, words, z)
        scores = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        np.testing.assert_allclose(got[: len(words)], scores[np.arange(len(words)), words], rtol=0, atol=1e-12)
        assert (got[len(words) :] == 0).all()


@pytest.mark.usefixtures("float64")
def test_steps_are_those_of_the_equations_on_ids_and_on_distributions() -> None:
    net = network(FIXED)
    words = torch.tensor([2, 0, 1, 1, 2])
    noise = net.noise(1)
    expected = reference(net, [*words.tolist(), 0], noise[0].numpy())
    read = torch.cat([torch.tensor([FIXED.vocabulary.bos]), words])
    one_hot = nn.functional.one_hot(read, len(FIXED.vocabulary)).double()
    state, hard = net.initial_state(1, noise), net.initial_state(1, noise)
    for t in range(len(read)):
        logits, state = net.relaxed_step(one_hot[None, t], state)
        np.testing.assert_allclose(logits[0].detach(), expected[t], rtol=0, atol=1e-12)
        certain, hard = net.step(read[None, t], hard)
        assert certain[0].softmax(0).tolist() == np.eye(3)[expected[t].argmax()].tolist()


def test_the_first_word_comes_from_the_noise_alone() -> None:
    net = network()
    noise = net.noise(6)
    first = [
        net.relaxed_step(rows, net.initial_state(6, noise))[0] for rows in torch.rand(2, 6, len(ENDING.vocabulary))
    ]
    assert torch.equal(*first)


def test_noise_is_all_the_chance_there_is() -> None:
    """Nothing is drawn once it is given, and different noise writes different sentences."""
    net = network(FIXED)
    noise = net.noise(200)
    blank = torch.full((200, 3), FIXED.vocabulary.pad)
    written = [decode(net, blank, torch.zeros_like(blank, dtype=torch.bool), context=noise) for _ in range(2)]
    assert torch.equal(written[0].tokens, written[1].tokens)
    assert (written[0].log_probs == 0).all()
    assert len(written[0].tokens.unique(dim=0)) > 3
    assert len(sample(net, 200).tokens.unique(dim=0)) > 3
    torch.manual_seed(3)
    again = sample(net, 50).tokens
    torch.manual_seed(3)
    assert torch.equal(sample(net, 50).tokens, again)


def test_sharp_relaxed_sentences_are_the_hard_ones() -> None:
    net = network()
    noise = net.noise(100)
    blank = torch.full((100, ENDING.max_length), ENDING.vocabulary.pad)
    hard = decode(net, blank, torch.zeros_like(blank, dtype=torch.bool), context=noise).tokens
    assert isinstance(net, NoiseGenerator)
    relaxed = decode_relaxed(net, noise, lambda logits: soft_argmax(logits, 1e6))
    assert (relaxed.tokens == hard).all(1).float().mean() > 0.98  # but for near ties


@pytest.mark.usefixtures("float64")
def test_noise_reaches_every_word_through_the_gates() -> None:
    """Even where neither the words nor the hidden vector are passed on, and the first word tells nothing."""
    net = network(FIXED)
    for layer in (net.W, net.U, net.start):
        nn.init.zeros_(layer.weight.detach())
    noise = net.noise(4).requires_grad_()
    state = net.initial_state(4, noise)
    slopes = []
    for _ in range(6):
        row = torch.full((4, len(FIXED.vocabulary)), 1 / len(FIXED.vocabulary))
        logits, state = net.relaxed_step(row, state)
        (slope,) = torch.autograd.grad(logits.square().sum(), noise, retain_graph=True)
        slopes.append(slope.abs().max().item())
    assert slopes[0] == 0  # h_1 was made deaf here
    assert min(slopes[1:]) > 1e-3
    assert all(gate.abs().min() > 0 for gate in net.C.weight.detach().chunk(4))


@pytest.mark.usefixtures("float64")
def test_the_gradient_through_soft_words_is_exact() -> None:
    net = network(FIXED)

    def written(noise: Tensor, *_: Tensor) -> Tensor:
        return torch.stack(decode_relaxed(net, noise, lambda logits: soft_argmax(logits, 0.5)).rows, 1)

    assert torch.autograd.gradcheck(written, (net.noise(2).requires_grad_(), *net.parameters()))


def test_noise_is_uniform_between_minus_one_and_one() -> None:
    noise = network().noise(20_000)
    assert noise.shape == (20_000, Z)
    assert noise.abs().max() <= 1
    # mean 0 and variance 1/3, whose own variances are 1/3 and 4/45 over the number of draws
    assert (noise.mean(0).abs() < 4 * (1 / 3 / 20_000) ** 0.5).all()
    assert ((noise.var(0) - 1 / 3).abs() < 4 * (4 / 45 / 20_000) ** 0.5).all()


def test_initial_weights_are_those_of_the_authors() -> None:
    net = NoiseGateLSTM(ENDING.vocabulary, 4, noise_dim=7, embedding_dim=6, hidden_dim=8)
    for gate in net.U.weight.detach().chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8))
    assert net.C.bias.tolist() == [0.0] * 8 + [3.0] * 8 + [0.0] * 16  # in, forget, out, cell
    for weight in (net.embedding.weight, net.start.weight, net.W.weight, net.C.weight, net.projection.weight):
        assert 0.04 < weight.abs().max() <= 0.05
    assert net.bias.abs().max() == net.start.bias.abs().max() == 0
