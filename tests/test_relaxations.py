"""What is emitted in place of a token: its distribution, its limits, its gradient, against formulas written anew."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import worlds
from torch import Tensor

from textforge.relaxations import annealed, confuse, gumbel_softmax, harden, soft_argmax, soften
from textforge.relaxed import Relaxed
from textforge.text import Vocabulary

ENDING = Vocabulary.create("x+-*/", unk=False)
FIXED = Vocabulary.create("abcd", unk=False, eos=False)
LOGITS = {
    "even": [0.0, 0.0, 0.0],
    "uneven": [2.0, -1.0, 0.5, 0.0],
    "large": [800.0, 801.0, 799.0],
    "never": [0.3, -math.inf, 1.0, -0.5],
}


def frozen(seed: int, logits: Tensor, temperature: float, **settings: bool) -> Tensor:
    """Draw with the noise of a seed."""
    torch.manual_seed(seed)
    return gumbel_softmax(logits, temperature, **settings)


# --- Gumbel-softmax ---


@pytest.mark.parametrize("logits", LOGITS.values(), ids=LOGITS)
def test_largest_entry_is_a_draw_from_the_softmax(logits: list[float]) -> None:
    """A million draws; an entry of probability 0 is never the largest, and has weight 0."""
    expanded = torch.tensor(logits).expand(1_000_000, -1)
    rows = gumbel_softmax(expanded, 0.7)
    counts = np.bincount(rows.argmax(1).numpy(), minlength=len(logits))
    probs = torch.tensor(logits, dtype=torch.float64).softmax(0).numpy()
    assert worlds.chi_square_z(counts, probs) < 4
    assert (rows[:, probs == 0] == 0).all()


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0, 5.0, 100.0])
def test_largest_entry_does_not_hang_on_the_temperature(temperature: float) -> None:
    logits = torch.randn(10_000, 6)
    noisy = frozen(1, logits, 1.0).log()  # logits + noise, but for a constant a row
    assert torch.equal(frozen(1, logits, temperature).argmax(1), noisy.argmax(1))


def test_cold_rows_are_one_hot_and_hot_rows_uniform() -> None:
    logits = torch.randn(10_000, 6)
    assert (gumbel_softmax(logits, 1e-3).amax(1) > 0.999).float().mean() > 0.99
    assert ((gumbel_softmax(logits, 1e4) - 1 / 6).abs() < 1e-2).all()


def test_reciprocal_of_the_noisy_logits_would_be_noticed() -> None:
    """softmax(1 / (tau (h + g))), a known misreading of the equation, has another limit and another order."""
    logits = torch.randn(10_000, 6)
    noisy = logits - torch.empty_like(logits).exponential_().log()
    wrong = (1 / (1e-3 * noisy)).softmax(1)
    assert (wrong.argmax(1) != noisy.argmax(1)).float().mean() > 0.5


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("temperature", [0.5, 5.0])
def test_rows_are_on_the_simplex_and_ignore_a_shift(temperature: float) -> None:
    logits = torch.randn(100, 6)
    rows = frozen(1, logits, temperature)
    assert (rows >= 0).all()
    torch.testing.assert_close(rows.sum(1), torch.ones(100))
    torch.testing.assert_close(frozen(1, logits + 7.0, temperature), rows)


@pytest.mark.usefixtures("float64")
def test_gradient_is_that_of_the_formula_and_of_differences() -> None:
    """dy_i / dh_j = y_i (delta_ij - y_j) / tau."""
    tau, logits = 0.7, torch.randn(1, 5, requires_grad=True)
    rows = frozen(1, logits, tau)
    y = rows[0].detach()
    jacobian = torch.autograd.functional.jacobian(lambda h: frozen(1, h, tau)[0], logits.detach())[:, 0]
    torch.testing.assert_close(jacobian, (torch.diag(y) - torch.outer(y, y)) / tau)
    step = 1e-6 * torch.eye(5)
    differences = (frozen_rows(logits + step, tau) - frozen_rows(logits - step, tau)) / 2e-6
    torch.testing.assert_close(jacobian, differences.T.detach(), rtol=1e-6, atol=1e-8)


def frozen_rows(logits: Tensor, temperature: float) -> Tensor:
    """Draw each row with the same noise."""
    return torch.cat([frozen(1, row[None], temperature) for row in logits])


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_two_entries_have_the_density_of_the_binary_concrete(temperature: float) -> None:
    """y_1 = sigmoid((a + L) / tau) with L logistic, so that P(y_1 <= v) = sigmoid(tau logit(v) - a)."""
    a = 0.8
    drawn = gumbel_softmax(torch.tensor([a, 0.0]).expand(200_000, 2), temperature)[:, 0].double()
    edges = torch.linspace(0, 1, 21, dtype=torch.float64)
    below = (temperature * edges.logit() - a).sigmoid()
    counts = torch.bucketize(drawn, edges[1:-1])
    assert worlds.chi_square_z(np.bincount(counts.numpy(), minlength=20), below.diff().numpy()) < 4


# --- Hard rows with a soft gradient ---


@pytest.mark.usefixtures("float64")
def test_straight_through_is_hard_forward_and_soft_backward() -> None:
    logits = torch.randn(50, 6, requires_grad=True)
    weights = torch.randn(50, 6)
    gradients: list[Tensor] = []
    for straight_through in (False, True):
        torch.manual_seed(1)
        rows = gumbel_softmax(logits, 0.7, straight_through=straight_through)
        gradients += torch.autograd.grad((rows * weights).sum(), logits)
        if straight_through:
            assert torch.equal(rows, torch.eye(6)[rows.argmax(1)])
        else:
            soft = rows
    assert torch.equal(rows.argmax(1), soft.argmax(1))
    assert torch.equal(*gradients)


@pytest.mark.usefixtures("float64")
def test_soft_argmax_is_the_softmax_of_sharpened_logits() -> None:
    logits = torch.randn(50, 6)
    expected = (3 * logits).exp() / (3 * logits).exp().sum(1, keepdim=True)
    torch.testing.assert_close(soft_argmax(logits, 3.0), expected)
    torch.testing.assert_close(soft_argmax(logits, 1e6), torch.eye(6)[logits.argmax(1)])
    assert torch.equal(harden(logits.softmax(1)), torch.eye(6)[logits.argmax(1)])


# --- Softened real sequences ---


@pytest.mark.parametrize("confidence", [0.9, 0.5])
@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_true_symbol_is_kept_with_its_probability(confidence: float, temperature: float) -> None:
    tokens = torch.randint(4, (100_000, 3))
    kept = soften(tokens, FIXED, confidence, partial(gumbel_softmax, temperature=temperature)).tokens
    error = (confidence * (1 - confidence) / tokens.numel()) ** 0.5
    assert abs((kept == tokens).float().mean().item() - confidence) < 4.5 * error
    others = (kept[kept != tokens] - tokens[kept != tokens]) % 4
    assert worlds.chi_square_z(np.bincount(others.numpy(), minlength=4)[1:], np.full(3, 1 / 3)) < 4


def test_mass_at_the_true_symbol_follows_the_temperature() -> None:
    """Six symbols at 0.9: on average 0.297 of a row at temperature 5, 0.749 at 1, by an independent simulation."""
    rng = np.random.default_rng(1)
    tokens = torch.randint(5, (40_000, 1))
    for temperature, expected in ((5.0, 0.297), (1.0, 0.749)):
        noisy = np.log([0.9] + [0.02] * 5) - np.log(-np.log(rng.random((200_000, 6))))
        weights = np.exp(noisy / temperature)
        simulated = (weights[:, 0] / weights.sum(1)).mean()
        assert simulated == pytest.approx(expected, abs=0.002)
        rows = soften(tokens, ENDING, 0.9, partial(gumbel_softmax, temperature=temperature)).rows
        assert rows[0].gather(1, tokens).mean().item() == pytest.approx(simulated, abs=0.006)


def test_softened_sequences_have_the_form_of_generated_ones() -> None:
    """On the simplex, over emitted ids only; behind the first largest `eos`, and only there, one-hot `pad`."""
    x, end, pad = 0, ENDING.eos, ENDING.pad
    assert end is not None
    tokens = torch.tensor([[x, 1, x, end, pad, pad], [x, end, pad, pad, pad, pad], [x, 1, x, 2, x, end]]).repeat(500, 1)
    relaxed = soften(tokens, ENDING, 0.7, partial(gumbel_softmax, temperature=2.0))
    ended = torch.zeros(len(tokens), dtype=torch.bool)
    for t, row in enumerate(relaxed.rows):
        torch.testing.assert_close(row.sum(1), torch.ones(len(tokens)))
        assert torch.equal(row.argmax(1), relaxed.tokens[:, t])
        assert torch.equal(row[ended], torch.eye(len(ENDING))[pad].expand(int(ended.sum()), -1))
        assert (row[~ended, ENDING.vocab_size :] == 0).all()
        assert (row[~ended, : ENDING.vocab_size] > 0).all()
        ended |= row.argmax(1) == end
    lengths = (relaxed.tokens != pad).sum(1)
    assert (lengths > (tokens != pad).sum(1)).any(), "a blank may become a symbol"
    assert (lengths < (tokens != pad).sum(1)).any(), "a symbol may become a blank"


@pytest.mark.parametrize("vocabulary", [ENDING, FIXED], ids=["ending", "fixed"])
def test_full_confidence_leaves_sequences_as_they_are(vocabulary: Vocabulary) -> None:
    tokens = torch.randint(4, (20, 5))
    if vocabulary.eos is not None:
        tokens[:10, 2], tokens[:10, 3:] = vocabulary.eos, vocabulary.pad
    relaxed = soften(tokens, vocabulary, 1.0, partial(gumbel_softmax, temperature=5.0))
    assert torch.equal(relaxed.tokens, tokens)
    assert torch.equal(torch.stack(relaxed.rows, 1), torch.eye(len(vocabulary))[tokens])


# --- Exchanged generated symbols ---


def hard(tokens: Tensor, vocabulary: Vocabulary) -> Relaxed:
    return Relaxed(tuple(torch.eye(len(vocabulary))[tokens].unbind(1)), tokens)


def kinds(tokens: Tensor) -> np.ndarray:
    """Count each sequence of four ids below 9."""
    return np.bincount((tokens * 9 ** torch.arange(4)).sum(1).numpy(), minlength=9**4)


@pytest.mark.parametrize("vocabulary", [ENDING, FIXED], ids=["ending", "fixed"])
@pytest.mark.parametrize("confidence", [0.6, 0.95])
def test_generated_and_real_sequences_go_through_one_channel(vocabulary: Vocabulary, confidence: float) -> None:
    """The same hard sequences come out of both with the same frequencies, and out of another channel with others."""
    tokens = torch.tensor([[0, 1, 2, 3]] if vocabulary.eos is None else [[0, 1, 5, 7], [2, 5, 7, 7]]).repeat(40_000, 1)
    relax = partial(gumbel_softmax, temperature=1.0, straight_through=True)
    real = kinds(soften(tokens, vocabulary, confidence, relax).tokens)

    def z(confidence: float) -> float:
        fake = kinds(confuse(hard(tokens, vocabulary), vocabulary, confidence, relax).tokens)
        both = real + fake
        large = both >= 20
        statistic = float(((real - fake)[large] ** 2 / both[large]).sum())  # chi-square with about so many degrees
        degrees = int(large.sum())
        return (statistic - degrees) / math.sqrt(2 * degrees)

    assert z(confidence) < 4.5
    assert z(confidence - 0.02) > 4.5


def test_exchanged_rows_are_relaxed_and_without_gradient_and_the_others_as_they_were() -> None:
    rows = tuple(torch.rand(500, len(ENDING)).masked_fill(torch.arange(len(ENDING)) >= 5, 0) for _ in range(4))
    rows = tuple((row / row.sum(1, keepdim=True)).requires_grad_() for row in rows)
    tokens = torch.stack([row.argmax(1) for row in rows], 1)
    confused = confuse(Relaxed(rows, tokens), ENDING, 0.7, partial(gumbel_softmax, temperature=2.0))
    weights = torch.randn(len(ENDING))
    for before, after in zip(rows, confused.rows, strict=True):
        (gradient,) = torch.autograd.grad((after * weights).sum(), before, retain_graph=True)
        stays = (gradient == weights).all(1)
        assert torch.equal(after[stays], before[stays])
        assert (gradient[~stays] == 0).all()
        assert (after[~stays].argmax(1) != before[~stays].argmax(1)).all()
        torch.testing.assert_close(after.sum(1), torch.ones(500))


# --- The schedule ---


def test_temperature_falls_linearly_and_stays() -> None:
    taus = [annealed(5.0, 1.0, 10_000, i) for i in range(20_000)]  # round 1 of the paper has index 0
    assert taus[0] == 5
    assert taus[9_998] > taus[9_999] == taus[19_999] == 1
    assert np.allclose(np.diff(taus[:10_000]), -4 / 9_999, rtol=0, atol=1e-12)
    assert annealed(5.0, 1.0, 1, 0) == 1
