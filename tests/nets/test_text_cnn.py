"""The discriminator against a reference in plain NumPy, and what must not matter to it."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from textforge.errors import UserError
from textforge.nets.text_cnn import Highway, TextCNN
from textforge.text import Vocabulary

VOCABULARY = Vocabulary.create("abcdefg", unk=True, eos=True)
LENGTH = 12


def network(windows: tuple[tuple[int, int], ...] = ((1, 3), (2, 4), (3, 2)), dropout: float = 0.0) -> TextCNN:
    """A discriminator whose highway is half open and whose convolutions are often negative."""
    net = TextCNN(VOCABULARY, LENGTH, windows=windows, embedding_dim=5, dropout=dropout)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.7)
    return net


def random_tokens(num: int) -> Tensor:
    return torch.randint(len(VOCABULARY), (num, LENGTH))


def reference(net: TextCNN, tokens: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Logits and features by loops over sequences, windows and kernels, as the equations read."""
    weights = {name: value.double().numpy() for name, value in net.state_dict().items()}
    logits, features = [], []
    for row in tokens.tolist():
        embedded = weights["embedding.weight"][row]  # [T, E]
        pooled = []
        for number, size in enumerate(net.sizes):
            kernels = weights[f"convolutions.{number}.weight"]  # [kernels, E, size]
            for kernel, bias in zip(kernels, weights[f"convolutions.{number}.bias"], strict=True):
                places = range(len(row) - size + 1)
                pooled.append(max(max(0.0, (embedded[t : t + size].T * kernel).sum() + bias) for t in places))
        f = np.array(pooled)
        gate = 1 / (1 + np.exp(-(weights["highway.gate.weight"] @ f + weights["highway.gate.bias"])))
        transformed = np.maximum(0, weights["highway.transform.weight"] @ f + weights["highway.transform.bias"])
        f = gate * transformed + (1 - gate) * f
        features.append(f)
        logits.append(float(weights["head.weight"][0] @ f + weights["head.bias"][0]))
    return np.array(logits), np.array(features)


@pytest.mark.usefixtures("float64")
def test_judgement_is_that_of_the_equations() -> None:
    net, tokens = network().eval(), random_tokens(20)
    judgement = net(tokens)
    logits, features = reference(net, tokens)
    assert judgement.logits.dtype == torch.float64
    np.testing.assert_allclose(judgement.logits.detach(), logits, rtol=0, atol=1e-12)
    np.testing.assert_allclose(judgement.features.detach(), features, rtol=0, atol=1e-12)
    assert (features == 0).mean() < 0.5  # a network with all kernels shut would prove nothing


@pytest.mark.usefixtures("float64")
def test_ids_and_distributions_over_them_are_judged_alike() -> None:
    net, tokens = network().eval(), random_tokens(20)
    one_hot = nn.functional.one_hot(tokens, len(VOCABULARY)).double()
    torch.testing.assert_close(net(one_hot).logits, net(tokens).logits, rtol=0, atol=1e-12)
    emitted = tokens % VOCABULARY.vocab_size  # a generator's distributions have no entries for input-only ids
    narrow = nn.functional.one_hot(emitted, VOCABULARY.vocab_size).double()
    torch.testing.assert_close(net(narrow).logits, net(emitted).logits, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_judgement_is_differentiable_in_the_distributions() -> None:
    net = network().eval()
    probs = torch.rand(2, LENGTH, len(VOCABULARY)).softmax(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: net(p).logits, (probs,), atol=1e-6)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_tabulated_equals_forward(dtype: torch.dtype, error: float) -> None:
    net, tokens = network(dropout=0.5).to(dtype), random_tokens(300)
    judge = net.tabulated()
    said = judge(tokens)
    assert net.training
    assert net.dropout.training
    assert said.logits.dtype == dtype
    assert not said.logits.requires_grad
    expected = net.eval()(tokens)
    torch.testing.assert_close(said.logits, expected.logits.detach(), rtol=0, atol=error)
    torch.testing.assert_close(said.features, expected.features.detach(), rtol=0, atol=error)
    net.train()
    assert torch.equal(judge(tokens).logits, said.logits)  # no dropout, whatever the mode


@pytest.mark.usefixtures("float64")
def test_highway_is_the_identity_or_the_transform_at_the_ends_of_its_gate() -> None:
    highway, features = Highway(6), torch.randn(50, 6)
    nn.init.zeros_(highway.gate.weight)
    nn.init.constant_(highway.gate.bias, -1e3)
    assert torch.equal(highway(features), features)
    nn.init.constant_(highway.gate.bias, 1e3)
    torch.testing.assert_close(highway(features), highway.transform(features).relu(), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_features_do_not_change_when_an_ngram_moves() -> None:
    """Away from the borders, in a sequence of one repeated token."""
    net = network().eval()

    def features(start: int, ngram: tuple[int, ...] = (1, 2, 3)) -> Tensor:
        tokens = torch.zeros(1, LENGTH, dtype=torch.long)
        tokens[0, start : start + 3] = torch.tensor(ngram)
        found: Tensor = net(tokens).features
        return found.detach()

    for start in range(2, LENGTH - 4):
        torch.testing.assert_close(features(start), features(2), rtol=0, atol=1e-12)
    assert (features(2, (3, 2, 1)) - features(2)).abs().max() > 1e-3


def test_l2_touches_only_the_head() -> None:
    net = network()
    penalty = net.head_penalty()
    values = [*net.head.weight.flatten().tolist(), *net.head.bias.tolist()]
    assert penalty.item() == pytest.approx(sum(value**2 for value in values) / 2)
    penalty.backward()
    touched = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert touched == {"head.weight", "head.bias"}


def test_dropout_acts_behind_the_features() -> None:
    net, tokens = network(dropout=0.5), random_tokens(8)
    first, second = net(tokens), net(tokens)
    assert torch.equal(first.features, second.features)
    assert not torch.equal(first.logits, second.logits)


def test_windows_that_do_not_fit_are_left_out() -> None:
    net = network(windows=((1, 2), (LENGTH, 3), (LENGTH + 1, 5)))
    assert [convolution.kernel_size for convolution in net.convolutions] == [(1,), (LENGTH,)]
    assert net.num_features == net.head.in_features == 5
    assert net(random_tokens(2)).features.shape == (2, 5)
    with pytest.raises(UserError, match=r"no window of .* fits into 12 tokens"):
        network(windows=((13, 2), (20, 3)))


def test_initial_weights_are_those_of_the_authors() -> None:
    net = TextCNN(VOCABULARY, LENGTH, windows=((2, 100), (3, 100)), embedding_dim=64, dropout=0.25)
    assert net.embedding.weight.abs().max() <= 1
    assert net.embedding.weight.var().item() == pytest.approx(1 / 3, rel=0.2)
    cut = 0.88 * 0.1  # the deviation of a normal variable that is cut at two of its deviations
    for module in (*net.convolutions, net.highway.gate, net.highway.transform, net.head):
        assert isinstance(module, nn.Conv1d | nn.Linear)
        assert module.weight.abs().max() <= 0.2
        assert module.weight.std().item() == pytest.approx(cut, rel=0.15)
        assert module.bias is not None
        assert torch.equal(module.bias, torch.full_like(module.bias, 0.0 if module is net.highway.gate else 0.1))
