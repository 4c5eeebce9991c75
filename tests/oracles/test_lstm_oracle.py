"""The oracle of SeqGAN against a second implementation, and its published parameters against their known values."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from textforge import oracles
from textforge.decoding import sample
from textforge.errors import UserError
from textforge.oracles import Oracle, lstm_oracle
from textforge.oracles.lstm_oracle import LSTMOracle

GATES = "ifoc"


def random_parameters(vocab_size: int, embedding_dim: int, hidden_dim: int) -> dict[str, np.ndarray]:
    """Draw arrays of the published names and shapes."""
    rng = np.random.default_rng(0)
    shapes = {"embedding": (vocab_size, embedding_dim), "W_out": (hidden_dim, vocab_size), "b_out": (vocab_size,)}
    for gate in GATES:
        shapes |= {f"W_{gate}": (embedding_dim, hidden_dim), f"U_{gate}": (hidden_dim, hidden_dim)}
        shapes |= {f"b_{gate}": (hidden_dim,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def reference_log_prob(parameters: dict[str, np.ndarray], ids: list[int]) -> float:
    """Score one sequence by the equations, a gate at a time, from start token 0."""
    p = {name: value.astype(np.float64) for name, value in parameters.items()}
    hidden = cell = np.zeros(len(p["b_i"]))
    total, token = 0.0, 0
    for following in ids:
        x = p["embedding"][token]
        before = {gate: x @ p[f"W_{gate}"] + hidden @ p[f"U_{gate}"] + p[f"b_{gate}"] for gate in GATES}
        i, f, o = (1 / (1 + np.exp(-before[gate])) for gate in "ifo")
        cell = f * cell + i * np.tanh(before["c"])
        hidden = o * np.tanh(cell)
        logits = hidden @ p["W_out"] + p["b_out"]
        total += float(logits[following] - np.logaddexp.reduce(logits))
        token = following
    return total


def save(path: Path, parameters: dict[str, np.ndarray]) -> None:
    arrays: dict[str, Any] = parameters
    np.savez(path, **arrays)


def texts(rows: np.ndarray | torch.Tensor) -> list[str]:
    return [" ".join(map(str, row)) for row in rows.tolist()]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[LSTMOracle, dict[str, np.ndarray]]:
    """A tiny oracle in which no size equals another, read from a file as the published one is."""
    path = tmp_path_factory.mktemp("oracle") / "small.npz"
    parameters = random_parameters(7, 3, 4)
    save(path, parameters)
    oracle = oracles.load(f"lstm-oracle:{path}")
    assert isinstance(oracle, LSTMOracle)
    return oracle, parameters


@pytest.fixture(scope="module")
def published_file(shared_data: Path) -> Path:
    return shared_data / "seqgan_oracle" / "target_params.npz"


@pytest.fixture(scope="module")
def published(published_file: Path) -> LSTMOracle:
    return lstm_oracle.load(published_file)


# --- A small one ---


def test_log_prob_is_that_of_the_equations(small: tuple[LSTMOracle, dict[str, np.ndarray]]) -> None:
    oracle, parameters = small
    ids = np.random.default_rng(1).integers(7, size=(30, 20))
    expected = [reference_log_prob(parameters, row.tolist()) for row in ids]
    np.testing.assert_allclose(oracle.log_prob(texts(ids)), expected, rtol=1e-5)


def test_samples_are_drawn_by_the_oracle_and_from_their_seed_alone(
    small: tuple[LSTMOracle, dict[str, np.ndarray]],
) -> None:
    oracle, _ = small
    before = torch.get_rng_state()
    drawn = oracle.sample(100, 5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert oracle.sample(100, 5) == drawn
    assert oracle.sample(100, 6) != drawn
    assert {len(text.split()) for text in drawn} == {20}
    assert np.isfinite(oracle.log_prob(drawn)).all()


def test_what_is_no_sequence_of_the_language_is_impossible(small: tuple[LSTMOracle, dict[str, np.ndarray]]) -> None:
    oracle, _ = small
    good = " ".join(["3"] * 20)
    others = ["", "3", good + " 3", good.replace("3", "7", 1), good.replace("3", "-1", 1), good.replace("3", "03", 1)]
    others += [good.replace("3", "x", 1), good.replace("3", "٣", 1), good.replace("3", "9" * 5000, 1)]
    scores = oracle.log_prob([good, *others])
    assert np.isfinite(scores[0])
    assert (scores[1:] == -np.inf).all()
    assert oracle.mode_of([good, *others]) == [""] + [None] * len(others)
    assert oracle.log_prob([]).shape == (0,)


def test_interface(small: tuple[LSTMOracle, dict[str, np.ndarray]]) -> None:
    oracle, _ = small
    assert oracle.name.startswith("lstm-oracle:")
    assert isinstance(oracle, Oracle)
    assert (oracle.max_length, oracle.modes) == (20, ())
    vocabulary = oracle.tokenizer.vocabulary
    assert (vocabulary.vocab_size, vocabulary.bos, vocabulary.eos, vocabulary.unk) == (7, 0, None, None)
    assert not any(parameter.requires_grad for parameter in oracle.generator.parameters())


def test_files_that_hold_no_oracle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        lstm_oracle.load(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("no arrays", encoding="utf-8")
    parameters = random_parameters(7, 3, 4)
    save(tmp_path / "less.npz", {name: value for name, value in parameters.items() if name != "U_f"})
    save(tmp_path / "shape.npz", parameters | {"U_f": np.zeros((2, 2))})
    for name in ("text", "less", "shape"):
        with pytest.raises(UserError, match=f"{name}.npz does not hold the 15 arrays of an LSTM oracle"):
            lstm_oracle.load(tmp_path / f"{name}.npz")


def test_own_parameters_are_standard_normal() -> None:
    """Without a file: all drawn by one seed from N(0, 1), with one bias a gate as in the published oracle."""
    oracle = lstm_oracle.load(None)
    again = lstm_oracle.load(None)
    assert oracle.name == "lstm-oracle"
    for name, parameter in oracle.generator.named_parameters():
        assert torch.equal(parameter, again.generator.get_parameter(name))
        if name == "lstm.bias_hh_l0":
            assert (parameter == 0).all()
            continue
        num = parameter.numel()
        assert abs(parameter.mean().item()) < 4.5 / num**0.5, name
        assert abs(parameter.var().item() - 1) < 4.5 * (2 / num) ** 0.5, name
    assert oracle.generator.output.weight.shape == (5000, 32)


# --- The published one: nats per token, as in all tables ---


def test_published_parameters_are_read_as_they_are_meant(published: LSTMOracle, published_file: Path) -> None:
    with np.load(published_file) as arrays:
        parameters = dict(arrays)
    drawn = [*published.sample(3, 1), *texts(np.random.default_rng(1).integers(5000, size=(3, 20)))]
    expected = [reference_log_prob(parameters, [int(symbol) for symbol in text.split()]) for text in drawn]
    np.testing.assert_allclose(published.log_prob(drawn), expected, rtol=1e-5)


def test_published_entropy(published: LSTMOracle) -> None:
    nll = -sample(published.generator, 3000).log_probs.sum(1) / 20
    error = nll.std().item() / 3000**0.5
    assert error < 0.011
    assert abs(nll.mean().item() - 5.744) < 4 * error


def test_published_nll_of_uniform_tokens(published: LSTMOracle) -> None:
    nll = -published.log_prob(texts(np.random.default_rng(0).integers(5000, size=(1200, 20)))) / 20
    error = nll.std() / 1200**0.5
    assert error < 0.02
    assert abs(nll.mean() - 11.43) < 4 * error


@pytest.mark.parametrize(("temperature", "expected"), [(1e-6, 2.76), (1 / 1.5, 4.02)])
def test_published_nll_falls_below_the_entropy_for_sharper_samples(
    published: LSTMOracle, temperature: float, expected: float
) -> None:
    """Which is why this number alone rewards collapse."""
    drawn = sample(published.generator, 200, temperature=temperature)
    nll = -published.log_prob(texts(drawn.tokens)) / 20
    assert abs(nll.mean() - expected) < 4 * nll.std() / 200**0.5 + 0.005
