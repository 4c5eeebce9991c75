"""The smooth discriminator: its norms, what it sees, and that only training moves its estimates."""

import copy

import pytest
import torch
from torch import Tensor, nn

from textforge.decoding import evaluating
from textforge.nets.spectral_cnn import SpectralCNN
from textforge.text import Vocabulary

pytestmark = pytest.mark.usefixtures("float64")

VOCABULARY = Vocabulary.create("abc", unk=False)
END, PAD, LENGTH = 3, 5, 6
TOKENS = torch.tensor([[0, 1, 2, 0, 1, END], [0, 1, END, PAD, PAD, PAD], [END, PAD, PAD, PAD, PAD, PAD]])


@pytest.fixture
def judge() -> SpectralCNN:
    """Weights far from what they were, and estimates of their norms that have converged."""
    network = SpectralCNN(VOCABULARY, LENGTH, embedding_dim=4, hidden_dim=8)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=3.0)
    for _ in range(300):
        network(TOKENS)
    return network


def by_hand(network: SpectralCNN, one_hot: Tensor) -> Tensor:
    """Judge without any normalisation by PyTorch: matrices are divided by their largest singular value."""
    state = network.state_dict()
    rows = state["embedding.parametrizations.weight.original"]
    found = one_hot @ (rows / rows.norm(dim=1, keepdim=True))
    for i in range(2):
        kernel = state[f"convolutions.{i}.parametrizations.weight.original"]
        kernel = kernel / torch.linalg.matrix_norm(kernel.flatten(1), 2)
        around = nn.functional.pad(found, (0, 0, 1, 1))
        windows = torch.stack([around[:, i : i + LENGTH] for i in range(3)], 3)
        found = torch.einsum("btdi,kdi->btk", windows, kernel) + state[f"convolutions.{i}.bias"]
        found = torch.where(found > 0, found, 0.1 * found)
    weight = state["head.parametrizations.weight.original"][0]
    features = torch.cat([found.transpose(1, 2).flatten(1), found.mean(1)], 1)
    logits: Tensor = (features * weight).sum(1) / weight.norm()
    return logits


def test_judgement_is_that_of_normalised_layers(judge: SpectralCNN) -> None:
    one_hot = torch.eye(len(VOCABULARY))[TOKENS]
    torch.testing.assert_close(judge.eval()(TOKENS).logits, by_hand(judge, one_hot), rtol=1e-6, atol=1e-8)


def test_logit_is_lipschitz_in_each_row(judge: SpectralCNN) -> None:
    """A row moves the logit by no more than 2 (rows) sqrt(3) sqrt(3) (windows) sqrt(2) (where, and how often)."""
    judge.eval()
    for _ in range(50):
        one, other = torch.randint(3, (2, 100, LENGTH))
        other = torch.where(torch.arange(LENGTH) == 2, other, one)
        assert ((judge(one).logits - judge(other).logits).abs() <= 2 * 3 * 2**0.5).all()


def test_only_training_moves_the_estimates(judge: SpectralCNN) -> None:
    nn.init.normal_(judge.get_parameter("head.parametrizations.weight.original"))
    before = copy.deepcopy(judge.state_dict())

    def moved() -> list[str]:
        return [name for name, value in judge.state_dict().items() if not torch.equal(value, before[name])]

    with evaluating(judge):
        judge(TOKENS)
        judge(torch.eye(len(VOCABULARY))[TOKENS])
    assert moved() == []
    judge(TOKENS)
    assert moved()
    assert all("parametrizations.weight.0._" in name for name in moved())


def test_estimates_are_part_of_the_state(judge: SpectralCNN) -> None:
    nn.init.normal_(judge.get_parameter("head.parametrizations.weight.original"))
    other = SpectralCNN(VOCABULARY, LENGTH, embedding_dim=4, hidden_dim=8)
    other.load_state_dict(judge.state_dict())
    for _ in range(3):
        assert torch.equal(other(TOKENS).logits, judge(TOKENS).logits)


def test_order_places_and_lengths_matter(judge: SpectralCNN) -> None:
    judge.eval()
    kinds = torch.tensor([[0, 1, 2, 1, 0, END], [1, 0, 2, 1, 0, END], [0, 1, 2, 0, 1, END], [0, END, *[PAD] * 4]])
    assert len(judge(kinds).logits.unique()) == 4
