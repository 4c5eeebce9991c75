"""Token ids and distributions over ids are read alike, by every network that judges."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from textforge.nets.embedding import embed, real_positions
from textforge.nets.feature_cnn import FeatureCNN
from textforge.nets.spectral_cnn import SpectralCNN
from textforge.nets.text_cnn import TextCNN
from textforge.nets.token_rnn import TokenRNN
from textforge.text import Vocabulary

pytestmark = pytest.mark.usefixtures("float64")

ENDING = Vocabulary.create("abcd", unk=False)
FIXED = Vocabulary.create("abcd", unk=False, eos=False)
LENGTH = 7
WINDOWS = ((1, 3), (2, 4), (3, 5))
NETWORKS: dict[str, Callable[[Vocabulary], nn.Module]] = {
    "text-cnn": lambda v: TextCNN(v, LENGTH, windows=WINDOWS, embedding_dim=4, dropout=0.0),
    "feature-cnn": lambda v: FeatureCNN(v, windows=WINDOWS, embedding_dim=4, head_dim=5),
    "token-rnn": lambda v: TokenRNN(v, embedding_dim=4, hidden_dim=5),
    "spectral-cnn": lambda v: SpectralCNN(v, LENGTH, embedding_dim=4, hidden_dim=5),
}


@pytest.fixture(params=[ENDING, FIXED], ids=["ending", "fixed"])
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    chosen: Vocabulary = request.param
    return chosen


def sequences(vocabulary: Vocabulary, num: int) -> Tensor:
    """Random sequences; where they end, of all lengths."""
    tokens = torch.randint(4, (num, LENGTH))
    if vocabulary.eos is not None:
        ends = torch.arange(num) % LENGTH
        after = torch.arange(LENGTH) - ends[:, None]
        tokens = tokens.masked_fill(after == 0, vocabulary.eos).masked_fill(after > 0, vocabulary.pad)
    return tokens


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_one_hot_rows_are_judged_as_the_ids(network: Callable[[Vocabulary], nn.Module], vocabulary: Vocabulary) -> None:
    judge, tokens = network(vocabulary).eval(), sequences(vocabulary, 30)
    one_hot = torch.eye(len(vocabulary))[tokens]
    expected = judge(tokens)
    assert expected.logits.std() > 0
    for rows in (one_hot, tuple(one_hot.unbind(1))):
        torch.testing.assert_close(judge(rows).logits, expected.logits)
        torch.testing.assert_close(judge(rows).features, expected.features)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_gradient_reaches_every_row_that_is_read(network: Callable[[Vocabulary], nn.Module]) -> None:
    """And its direction is that of differences."""
    judge = network(ENDING).eval()
    rows = torch.rand(5, LENGTH, len(ENDING)).softmax(2).requires_grad_()
    (gradient,) = torch.autograd.grad(judge(tuple(rows.unbind(1))).logits.sum(), rows)
    direction = torch.randn_like(rows)
    with torch.no_grad():
        above, below = (judge(tuple((rows + e * direction).unbind(1))).logits.sum() for e in (1e-6, -1e-6))
    assert (gradient * direction).sum().item() == pytest.approx(((above - below) / 2e-6).item(), rel=1e-5)


def test_distribution_is_read_as_its_expected_embedding() -> None:
    embedding = nn.Embedding(len(ENDING), 3)
    rows = torch.rand(2, LENGTH, len(ENDING)).softmax(2)
    expected = torch.zeros(2, LENGTH, 3)
    for i in range(len(ENDING)):
        expected += rows[:, :, i, None] * embedding.weight[i]
    torch.testing.assert_close(embed(embedding, rows), expected)
    torch.testing.assert_close(embed(embedding, rows.unbind(1)), expected)
    # a row over the first ids alone is one with nothing on the others
    torch.testing.assert_close(embed(embedding, rows[:, :, :4]), embed(embedding, rows * (torch.arange(8) < 4)))


def test_padding_is_what_is_surely_pad(vocabulary: Vocabulary) -> None:
    tokens = sequences(vocabulary, 20)
    real = real_positions(tokens, vocabulary.pad)
    assert torch.equal(real, tokens != vocabulary.pad)
    one_hot = torch.eye(len(vocabulary))[tokens]
    assert torch.equal(real_positions(one_hot, vocabulary.pad), real)
    assert torch.equal(real_positions(one_hot.unbind(1), vocabulary.pad), real)
    hesitant = 0.9 * one_hot + 0.1 / len(vocabulary)
    assert real_positions(hesitant, vocabulary.pad).all()
    assert real_positions(one_hot[:, :, : vocabulary.pad], vocabulary.pad).all()  # without a column for `pad`
