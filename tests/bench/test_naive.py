"""What the fast paths are measured against does the same as they do."""

from typing import Any

import pytest
import torch
import worlds
from torch import nn
from torch.nn import functional as F

from textforge.bench.naive import NaiveLeakGAN, naive_log_probs, naive_monte_carlo_q, naive_pass, naive_sample
from textforge.decoding import sample
from textforge.methods import leakgan
from textforge.nets.manager_worker import LeakGANGenerator

pytestmark = pytest.mark.usefixtures("float64")

WORLD = worlds.FIXED


def pair() -> tuple[LeakGANGenerator, NaiveLeakGAN]:
    """A LeakGAN generator whose weights are large, so that no two prefixes are followed alike, and its plain twin."""
    config = leakgan.Config(
        embedding_dim=3, hidden_dim=4, manager_dim=5, goal_dim=3, step_size=2, init_std=1.0,
        d_embedding_dim=4, d_windows=((1, 4), (2, 3), (3, 3)),
    )  # fmt: skip
    players = leakgan.networks(config, WORLD.vocabulary, WORLD.max_length)
    G, D = players["generator"], players["discriminator"]
    for parameter in D.parameters():
        nn.init.normal_(parameter, std=0.6)
    G.leaked.leak(D)
    return G, NaiveLeakGAN(G, D)


def test_leakgan_learns_from_the_same_numbers() -> None:
    G, plain = pair()
    features, goals, log_probs = naive_pass(plain, WORLD.sequences)
    torch.testing.assert_close(G.leaked(WORLD.sequences), features, rtol=0, atol=1e-12)
    torch.testing.assert_close(G.manager(features[:, :-1]), goals, rtol=0, atol=1e-12)
    torch.testing.assert_close(G(WORLD.sequences), log_probs, rtol=0, atol=1e-12)
    assert log_probs.exp().std() > 0.1


def test_leakgan_learns_by_the_same_gradients() -> None:
    G, plain = pair()
    tokens = WORLD.sequences
    weights, pairs = torch.randn(tokens.shape), leakgan.transitions(G, torch.ones_like(tokens, dtype=torch.bool))
    features, naive_goals, naive_scores = naive_pass(plain, tokens)
    goals = G.manager(G.leaked(tokens)[:, :-1])
    gradients = []
    for goals_of, scores in ((goals, G.log_probs(tokens, goals)), (naive_goals, naive_scores)):
        loss = leakgan.manager_loss(G, features, goals_of, pairs, pairs.double()) + (weights * scores).sum()
        gradients.append(torch.autograd.grad(loss, [*G.manager.parameters(), *G.worker.parameters()]))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_leakgan_steps_to_the_same_logits() -> None:
    G, plain = pair()
    tokens = WORLD.sequences
    state, plain_state = G.initial_state(len(tokens)), plain.initial_state(len(tokens))
    for token in F.pad(tokens, (1, 0), value=WORLD.vocabulary.bos)[:, :-1].unbind(1):
        logits, state = G.step(token, state)
        plain_logits, plain_state = plain.step(token, plain_state)
        torch.testing.assert_close(logits, plain_logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize("of", [0, 1], ids=["fast", "plain"])
def test_leakgan_samples_have_the_exact_probabilities(of: int) -> None:
    G, plain = pair()
    probs = worlds.exact_probs(G, WORLD)
    tokens = naive_sample(plain, 3000) if of else sample(G, 3000).tokens
    assert worlds.frequencies_z(WORLD, tokens, probs) < 4.5


def test_leakgan_action_values_are_the_exact_ones() -> None:
    G, plain = pair()
    values, num = worlds.random_values(WORLD, 2), 150
    q = naive_monte_carlo_q(plain, WORLD.sequences, WORLD.reward(values), num)
    exact, square = worlds.exact_q(G, WORLD, values), worlds.exact_q(G, WORLD, values**2)
    error = ((square - exact**2).clamp(min=0) / num).sqrt()
    assert ((q - exact).abs() <= 4.5 * error + 1e-12).all()
    assert (error > 0.005).sum() > 20


def test_lstm_likelihood_and_its_gradient_are_those_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts that do not divide the tokens evenly, too."""
    G: Any = worlds.wide_lstm(WORLD, 1)
    tokens = WORLD.sequences
    weights = torch.randn(tokens.shape)
    expected = naive_log_probs(G, tokens)
    gradients = torch.autograd.grad((weights * expected).sum(), list(G.parameters()))
    for rows in (1, 7, 10_000):
        monkeypatch.setattr("textforge.decoding._LOGITS_AT_ONCE", {True: rows * G.vocab_size, False: 0})
        found = G(tokens)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        parts = torch.autograd.grad((weights * found).sum(), list(G.parameters()))
        for one, other in zip(parts, gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-11)
