"""Features and verdict against a reference in plain NumPy, and what must not matter to them."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from textforge.nets.feature_cnn import FeatureCNN, SentenceFeatures
from textforge.text import Vocabulary

VOCABULARY = Vocabulary.create("abcdefg", unk=True, eos=True)
EOS, PAD = VOCABULARY.eos, VOCABULARY.pad
LENGTH = 8
WINDOWS = ((2, 3), (3, 4), (5, 2))


def network(head_dim: int | None = None, windows: tuple[tuple[int, int], ...] = WINDOWS) -> FeatureCNN:
    """A discriminator whose features are spread over (-1, 1)."""
    net = FeatureCNN(VOCABULARY, windows=windows, embedding_dim=4, head_dim=head_dim)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    for convolution in net.extractor.convolutions:
        assert isinstance(convolution.bias, Tensor)
        nn.init.normal_(convolution.bias.detach(), mean=-1.0)
    return net


def sentences(num: int, longest: int = LENGTH) -> Tensor:
    """Rows of all lengths from one token, closed by eos."""
    assert EOS is not None
    tokens = torch.randint(VOCABULARY.vocab_size - 1, (num, longest))
    ends = torch.arange(num) % longest
    tokens[torch.arange(num), ends] = EOS
    return tokens.masked_fill(torch.arange(longest) > ends[:, None], PAD)


def reference(net: SentenceFeatures, tokens: Tensor) -> np.ndarray:
    """Features by loops over sequences, kernels and places, as the equations read."""
    weights = {name: value.double().numpy() for name, value in net.state_dict().items()}
    margin = max(net.sizes) - 1
    features = []
    for row in tokens.tolist():
        words = [token for token in row if token != PAD]
        padded = [PAD] * margin + words + [PAD] * margin
        embedded = weights["embedding.weight"][padded]
        pooled = []
        for number, size in enumerate(net.sizes):
            kernels, biases = (weights[f"convolutions.{number}.{part}"] for part in ("weight", "bias"))
            for kernel, bias in zip(kernels, biases, strict=True):
                starts = range(margin - size + 1, margin + len(words))  # at least one word inside
                pooled.append(max(np.tanh((embedded[t : t + size].T * kernel).sum() + bias) for t in starts))
        features.append(pooled)
    return np.array(features)


@pytest.mark.usefixtures("float64")
def test_features_are_those_of_the_equations() -> None:
    net, tokens = network(), sentences(24)
    features = net.features(tokens).detach()
    np.testing.assert_allclose(features, reference(net.extractor, tokens), rtol=0, atol=1e-12)
    assert features.shape == (24, net.num_features) == (24, 9)
    assert (features < 0).any()  # a maximum over too many windows would hide behind positive features
    assert features.abs().max() < 1


@pytest.mark.usefixtures("float64")
def test_verdict_is_linear_or_by_way_of_sigmoid_units() -> None:
    tokens = sentences(10)
    linear, layered = network(), network(head_dim=3)
    weights = {name: value.double().numpy() for name, value in linear.head.state_dict().items()}
    expected = reference(linear.extractor, tokens) @ weights["weight"][0] + weights["bias"][0]
    judgement = linear(tokens)
    np.testing.assert_allclose(judgement.logits.detach(), expected, rtol=0, atol=1e-12)
    assert torch.equal(judgement.features, linear.features(tokens))
    weights = {name: value.double().numpy() for name, value in layered.head.state_dict().items()}
    units = 1 / (1 + np.exp(-(reference(layered.extractor, tokens) @ weights["0.weight"].T + weights["0.bias"])))
    expected = units @ weights["2.weight"][0] + weights["2.bias"][0]
    np.testing.assert_allclose(layered(tokens).logits.detach(), expected, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("more", [1, 3, 9])
def test_padding_behind_a_sequence_changes_nothing(more: int) -> None:
    net, tokens = network(), sentences(24)
    padded = nn.functional.pad(tokens, (0, more), value=PAD)
    torch.testing.assert_close(net.features(padded), net.features(tokens), rtol=0, atol=1e-12)
    rows = nn.functional.one_hot(padded, len(VOCABULARY)).double()
    torch.testing.assert_close(net.features(rows), net.features(tokens), rtol=0, atol=1e-12)


def test_padding_that_could_win_does_not() -> None:
    """A kernel that likes nothing better than padding."""
    net = network(windows=((2, 1),))
    with torch.no_grad():
        net.extractor.embedding.weight.fill_(0.0)
        net.extractor.embedding.weight[PAD] = 1.0
        net.extractor.convolutions[0].weight.fill_(1.0)  # type: ignore[operator]
        net.extractor.convolutions[0].bias.fill_(-4.0)  # type: ignore[operator]
    tokens = torch.tensor([[0, 1, PAD, PAD, PAD]])
    # Four entries of 1 for the one pad that may stand beside a word; two pads would give tanh(4).
    assert net.features(tokens).item() == pytest.approx(math.tanh(0.0))


@pytest.mark.usefixtures("float64")
def test_ids_and_distributions_over_them_are_judged_alike() -> None:
    net, tokens = network(), sentences(20)
    rows = nn.functional.one_hot(tokens, len(VOCABULARY)).double()
    for form in (rows, tuple(rows.unbind(1))):
        torch.testing.assert_close(net(form).logits, net(tokens).logits, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_features_of_soft_words_are_differentiable() -> None:
    net = network()
    probs = torch.rand(2, LENGTH, len(VOCABULARY)).softmax(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: net.features(p), (probs,), atol=1e-6)


def test_features_see_order_where_a_kernel_sees_two_words() -> None:
    tokens = torch.tensor([[0, 1, 2, 3], [0, 2, 1, 3]])
    bag, pair = network(windows=((1, 5),)), network(windows=((2, 5),))
    assert torch.equal(*bag.features(tokens))
    assert not torch.equal(*pair.features(tokens))
