"""Features that grow with a prefix against the whole network on every prefix."""

import pytest
import torch
from torch import Tensor, nn

from textforge.nets.leaked_features import LeakedFeatures
from textforge.nets.text_cnn import TextCNN
from textforge.text import Vocabulary

LENGTH = 8
VOCABULARIES = {
    "ending": Vocabulary.create("abcdef", unk=True, eos=True),
    "shared-bos": Vocabulary.create("abcdef", unk=False, eos=False, bos=0),
}
ALL_SIZES = tuple((size, 2 + size % 3) for size in range(1, LENGTH + 1))
WINDOWS = {"all": ALL_SIZES, **{str(size): ((size, 4),) for size in range(1, LENGTH + 1)}, "gap": ((2, 3), (7, 2))}


def discriminator(vocabulary: Vocabulary, windows: tuple[tuple[int, int], ...] = ALL_SIZES) -> TextCNN:
    """A network whose weights are large enough for every kernel to see something else."""
    net = TextCNN(vocabulary, LENGTH, windows=windows, embedding_dim=5, dropout=0.5)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.4)
    return net


def texts(vocabulary: Vocabulary, num: int) -> Tensor:
    """Random texts, padded behind a random end."""
    lengths = torch.randint(1, LENGTH + 1, (num, 1))
    tokens = torch.randint(vocabulary.vocab_size, (num, LENGTH))
    return tokens.masked_fill(torch.arange(LENGTH) >= lengths, vocabulary.pad)


def recomputed(net: TextCNN, tokens: Tensor, mask: int) -> Tensor:
    """The features of all prefixes by the network itself, each padded with what stands for the unseen."""
    net.eval()
    places = torch.arange(tokens.shape[1])
    prefixes = [tokens.masked_fill(places >= t, mask) for t in range(tokens.shape[1] + 1)]
    return torch.stack([net(prefix).features.detach() for prefix in prefixes], 1)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("kind", VOCABULARIES)
def test_features_of_every_prefix_are_those_of_the_network(
    kind: str, windows: str, dtype: torch.dtype, error: float
) -> None:
    vocabulary = VOCABULARIES[kind]
    net = discriminator(vocabulary, WINDOWS[windows]).to(dtype)
    leaked, tokens = LeakedFeatures(vocabulary, LENGTH, net).to(dtype), texts(vocabulary, 40)
    leaked.leak(net)
    found, expected = leaked(tokens), recomputed(net, tokens, vocabulary.mask)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=error, atol=error)
    assert (expected[:, 1:] != expected[:, :-1]).any(2).double().mean() > 0.2  # features that stand would prove nothing


def test_features_of_a_prefix_do_not_depend_on_what_follows() -> None:
    vocabulary = VOCABULARIES["ending"]
    leaked, tokens = LeakedFeatures(vocabulary, LENGTH, discriminator(vocabulary)), texts(vocabulary, 30)
    features = leaked(tokens)
    for t in range(LENGTH):
        other = tokens.clone()
        other[:, t:] = (tokens[:, t:] + 1) % vocabulary.vocab_size
        assert torch.equal(leaked(other)[:, : t + 1], features[:, : t + 1])
        assert not torch.equal(leaked(other)[:, t + 1], features[:, t + 1])


def test_last_features_are_those_that_the_discriminator_judges() -> None:
    vocabulary = VOCABULARIES["ending"]
    net = discriminator(vocabulary).eval()
    tokens = texts(vocabulary, 30)
    last = LeakedFeatures(vocabulary, LENGTH, net)(tokens)[:, -1]
    torch.testing.assert_close(net.head(last).squeeze(1), net(tokens).logits, rtol=1e-5, atol=1e-5)


def test_padding_that_was_read_is_not_the_unseen() -> None:
    vocabulary = VOCABULARIES["ending"]
    leaked = LeakedFeatures(vocabulary, LENGTH, discriminator(vocabulary))
    tokens = torch.full((1, LENGTH), vocabulary.pad)
    tokens[0, :2] = torch.tensor([3, vocabulary.eos])
    features = leaked(tokens)[0]
    assert all(not torch.allclose(features[t], features[2]) for t in range(3, LENGTH + 1))


def test_rows_can_be_repeated_and_go_their_own_ways() -> None:
    """The state is one row a sequence: what roll-outs rely on."""
    vocabulary = VOCABULARIES["ending"]
    leaked, tokens = LeakedFeatures(vocabulary, LENGTH, discriminator(vocabulary)), texts(vocabulary, 6)
    state = leaked.initial_state(1)
    for token in (vocabulary.bos, 2, 4):
        _, state = leaked.read(torch.tensor([token]), state)
    position, best, begun = state
    rows = torch.zeros(6, dtype=torch.long)
    state = (position[rows], [most[rows] for most in best], [sums[rows] for sums in begun])
    tokens[:, :2] = torch.tensor([2, 4])
    expected = leaked(tokens)
    for t in range(2, LENGTH):
        maxima, state = leaked.read(tokens[:, t], state)
        torch.testing.assert_close(leaked.features(maxima), expected[:, t + 1], rtol=1e-5, atol=1e-6)


def test_a_row_remembers_one_number_for_each_tap_of_a_window_that_may_have_been_filled() -> None:
    vocabulary = VOCABULARIES["ending"]
    position, best, begun = LeakedFeatures(vocabulary, LENGTH, discriminator(vocabulary)).initial_state(3)
    assert len(position) == 3
    assert sum(most.shape[1] for most in best) == sum(kernels for _, kernels in ALL_SIZES)
    assert sum(sums[0].numel() for sums in begun) == sum((size - 1) * kernels for size, kernels in ALL_SIZES)


def test_copy_stays_until_it_is_renewed() -> None:
    vocabulary = VOCABULARIES["ending"]
    net, tokens = discriminator(vocabulary), texts(vocabulary, 10)
    leaked = LeakedFeatures(vocabulary, LENGTH, net)
    before = leaked(tokens)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.4)
    assert torch.equal(leaked(tokens), before)
    leaked.leak(net)
    torch.testing.assert_close(leaked(tokens), recomputed(net, tokens, vocabulary.mask), rtol=1e-6, atol=1e-6)


def test_nothing_is_learnt_through_the_copy() -> None:
    vocabulary = VOCABULARIES["ending"]
    net = discriminator(vocabulary)
    leaked = LeakedFeatures(vocabulary, LENGTH, net)
    assert not leaked(texts(vocabulary, 4)).requires_grad
    assert not any(parameter.requires_grad for parameter in leaked.parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_saved_features_are_whole() -> None:
    """A generator that is loaded has the features that it was trained with, whatever network it was built with."""
    vocabulary = VOCABULARIES["ending"]
    leaked, tokens = LeakedFeatures(vocabulary, LENGTH, discriminator(vocabulary)), texts(vocabulary, 10)
    other = LeakedFeatures(vocabulary, LENGTH, discriminator(vocabulary))
    assert not torch.allclose(other(tokens), leaked(tokens))
    other.load_state_dict(leaked.state_dict())
    assert torch.equal(other(tokens), leaked(tokens))
