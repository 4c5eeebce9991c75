"""The heads of TextGAN's discriminator, and the range of its verdicts."""

import math

import pytest
import torch
from torch import nn

from textforge.nets.textgan_heads import MatchingDiscriminator, soft_logits
from textforge.text import Vocabulary

VOCABULARY = Vocabulary.create("abcdefg")


def network(*, margin: float = 0.01, compressed_dims: tuple[int, int] | None = None) -> MatchingDiscriminator:
    return MatchingDiscriminator(
        VOCABULARY,
        windows=((2, 5), (3, 7)),
        embedding_dim=4,
        head_dim=6,
        noise_dim=9,
        compressed_dims=compressed_dims,
        margin=margin,
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("margin", [0.0, 0.01, 0.2])
def test_soft_logits_are_those_of_a_probability_squeezed_into_a_range(margin: float) -> None:
    logits = torch.linspace(-20, 20, 401)
    squeezed = margin + (1 - 2 * margin) * logits.sigmoid()
    torch.testing.assert_close(soft_logits(logits, margin), squeezed.logit(), rtol=0, atol=1e-6)
    torch.testing.assert_close(soft_logits(-logits, margin), -soft_logits(logits, margin))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soft_logits_are_finite_wherever_the_network_is(dtype: torch.dtype) -> None:
    logits = torch.tensor([-1e30, -1e4, -90.0, 0.0, 90.0, 1e4, 1e30], dtype=dtype, requires_grad=True)
    soft = soft_logits(logits, 0.01)
    assert soft.dtype == dtype
    assert soft[0].item() == pytest.approx(math.log(0.01 / 0.99), abs=1e-5)
    assert soft[-1].item() == pytest.approx(math.log(0.99 / 0.01), abs=1e-5)
    (slope,) = torch.autograd.grad(soft.sum(), logits)
    assert slope.isfinite().all()
    assert slope[3].item() == pytest.approx(0.98, abs=1e-5)  # of a logit that is 0: .98 / 4 over 1 / 4


def test_verdicts_stay_within_the_soft_labels() -> None:
    D = network()
    found = []
    for scale in (1e4, -1e4, 1.0):
        nn.init.constant_(dict(D.named_parameters())["cnn.head.2.weight"], scale)
        found.append(D(torch.randint(len(VOCABULARY), (200, 8))).logits.sigmoid())
    verdicts = torch.cat(found)
    assert ((verdicts >= 0.01 - 1e-6) & (verdicts <= 0.99 + 1e-6)).all()
    assert verdicts.min() < 0.011
    assert verdicts.max() > 0.989


def test_heads_read_the_features() -> None:
    D = network(compressed_dims=(6, 3))
    tokens = torch.randint(len(VOCABULARY), (5, 8))
    features = D.features(tokens)
    assert torch.equal(D(tokens).features, features)
    assert features.shape == (5, 12)
    assert D.latent(features).shape == (5, 9)
    assert D.matched(features).shape == (5, 3)
    for part in (features, D.latent(features), D.matched(features)):
        assert (part.abs() < 1).all()
    assert D.latent(features).std() > 0


def test_features_are_matched_as_they_are_unless_compressed() -> None:
    features = torch.randn(3, 12)
    assert torch.equal(network().matched(features), features)
