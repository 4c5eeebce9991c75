"""The ONNX graph against the generator: whole sequences, step by step, in a runtime that knows no torch."""

import itertools
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
import worlds
from command import ROOT, call
from exporting.models import model
from jaxtyping import Float, Int
from worlds import ENDING

import textforge
from textforge.decoding import decode
from textforge.errors import UserError, WorkError
from textforge.exporting import onnx, onnx_files
from textforge.model import Model
from textforge.text import Word


@dataclass(frozen=True)
class Left:
    """A model, and what a program without it has of it."""

    model: Model
    folder: Path

    @property
    def about(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "generator.json").read_bytes()))

    def session(self, name: str = "generator.onnx") -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(self.folder / name)

    def start(self, rows: int) -> list[np.ndarray]:
        with np.load(self.folder / "initial_state.npz", allow_pickle=False) as first:
            return [np.repeat(first[name], rows, 0) for name in self.about["inputs"][1:]]

    def log_probs(self, tokens: Int[np.ndarray, "B T"], state: list[np.ndarray]) -> Float[np.ndarray, "B T V"]:
        """Step along the tokens; return the log-probabilities of everything at every place."""
        session, about, found = self.session(), self.about, []
        before = np.full(len(tokens), about["bos"])
        for t in range(tokens.shape[1]):
            logits, *state = session.run(None, dict(zip(about["inputs"], [before, *state], strict=True)))
            found.append(logits - np.logaddexp.reduce(logits, 1, keepdims=True))
            before = tokens[:, t]
        return np.stack(found, 1)


@pytest.fixture(scope="module", params=["mle", "leakgan", "maskgan"])
def left(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Left:
    one = model(request.param)
    return Left(one, one.export_onnx(tmp_path_factory.mktemp(request.param) / "onnx"))


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Left:
    one = model("gumbel_gan")
    return Left(one, one.export_onnx(tmp_path_factory.mktemp("driven") / "onnx"))


def test_likelihood_of_whole_texts_is_the_models(left: Left) -> None:
    texts = [text for text in left.model.sample(30, seed=1) if text]
    about, vocabulary = left.about, left.model.tokenizer.vocabulary
    rows = [[*left.model.tokenizer.encode(text), vocabulary.eos][: about["max_length"]] for text in texts]
    assert len({len(row) for row in rows}) > 2
    tokens = np.array([[*row, *[0] * (about["max_length"] - len(row))] for row in rows])
    log_probs = np.take_along_axis(left.log_probs(tokens, left.start(len(rows))), tokens[:, :, None], 2)[:, :, 0]
    real = np.arange(tokens.shape[1]) < np.array([[len(row)] for row in rows])
    ours = left.model.log_prob(texts)
    assert np.ptp(ours) > 1
    np.testing.assert_allclose((log_probs * real).sum(1), ours, rtol=0, atol=1e-5)


def test_greedy_texts_are_the_models(left: Left) -> None:
    session, about = left.session(), left.about
    token, state, row = np.array([about["bos"]]), left.start(1), list[int]()
    while len(row) < about["max_length"] and about["eos"] not in row:
        logits, *state = session.run(None, dict(zip(about["inputs"], [token, *state], strict=True)))
        token = logits.argmax(1)
        row.append(int(token[0]))
    assert [left.model.tokenizer.decode(row)] == left.model.sample(1, decode="greedy")


def test_rows_do_not_see_each_other(left: Left) -> None:
    tokens = np.array(list(itertools.product(range(3), repeat=3)))
    together = left.log_probs(tokens, left.start(len(tokens)))
    alone = left.log_probs(tokens[7:8], left.start(1))
    np.testing.assert_allclose(alone[0], together[7], rtol=0, atol=1e-6)


def test_folder_says_what_is_in_it(left: Left) -> None:
    session, about, vocabulary = left.session(), left.about, left.model.tokenizer.vocabulary
    assert [part.name for part in session.get_inputs()] == about["inputs"] == ["token", *about["state"]]
    assert [part.name for part in session.get_outputs()] == about["outputs"]
    assert [name.removeprefix("new_") for name in about["outputs"][1:]] == about["inputs"][1:]
    for part, array in zip(session.get_inputs()[1:], left.start(1), strict=True):
        assert part.shape == about["state"][part.name]["shape"]
        assert [*array.shape[1:]] == about["state"][part.name]["shape"][1:]
        assert str(array.dtype) == about["state"][part.name]["type"]
    ids = (vocabulary.bos, vocabulary.eos, vocabulary.pad, vocabulary.unk, vocabulary.vocab_size)
    assert tuple(about[name] for name in ("bos", "eos", "pad", "unk", "vocab_size")) == ids
    assert about["noise"] is None
    assert {path.name for path in left.folder.iterdir()} == {
        "generator.onnx",
        "generator.json",
        "initial_state.npz",
        "tokenizer.json",
    }


def test_graph_names_no_place_of_this_machine(left: Left) -> None:
    data = (left.folder / "generator.onnx").read_bytes()
    assert str(ROOT).encode() not in data
    assert b".py" not in data


def test_noise_makes_the_first_state(driven: Left) -> None:
    """Given one noise, the texts of the graph have the probabilities that the generator gives them."""
    generator, about = driven.model.generator, driven.about
    assert about["noise"] == {"size": generator.noise_dim, "uniform": [0, 1]}
    low, high = about["noise"]["uniform"]
    noise = np.random.default_rng(0).uniform(low, high, (9, about["noise"]["size"])).astype(np.float32)
    tokens = np.random.default_rng(1).integers(0, about["vocab_size"] - 1, (9, about["max_length"]))
    given = torch.from_numpy(tokens)
    ours = decode(generator, given, torch.ones_like(given, dtype=torch.bool), context=torch.from_numpy(noise)).log_probs
    state = driven.session("start.onnx").run(None, {"noise": noise})
    log_probs = np.take_along_axis(driven.log_probs(tokens, state), tokens[:, :, None], 2)[:, :, 0]
    np.testing.assert_allclose(log_probs, ours.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["gumbel_gan", "textgan"])
def test_noise_lies_in_the_range_that_is_told(method: str) -> None:
    generator = model(method).generator
    assert isinstance(generator, onnx.UniformNoise)
    low, high = generator.noise_range
    noise = generator.noise(2000)
    assert float(noise.min()) == pytest.approx(low, abs=1e-3)
    assert float(noise.max()) == pytest.approx(high, abs=1e-3)


# --- Refusals ---


def test_a_graph_of_something_else_is_noticed(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = (left.folder / "generator.onnx").read_bytes()
    monkeypatch.setattr(onnx, "_graph", lambda *_: graph)
    other = model(left.model.settings["method"])
    assert onnx_files(other.generator, other.tokenizer, method="the same")["generator.onnx"] == graph
    assert isinstance(other.generator, torch.nn.Module)
    with torch.no_grad():
        for parameter in other.generator.parameters():
            parameter.mul_(1.01)
    with pytest.raises(WorkError, match="does not compute what the model does"):
        onnx_files(other.generator, other.tokenizer, method="another")


@pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
def test_absent_library_is_named(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model("mle").save(tmp_path / "run")
    monkeypatch.setitem(sys.modules, library, None)
    said = call("export", tmp_path / "run", "--format", "onnx")
    assert said.status == 1
    assert said.reason == f"ONNX needs {library}, which is absent; run: pip install 'textforge[onnx]'"
    assert not (tmp_path / "run" / "onnx").exists()


def test_noise_that_nobody_else_can_draw_is_refused() -> None:
    class Driven(worlds.TableGenerator):
        noise_dim = 3

    with pytest.raises(UserError, match="its noise is not uniform"):
        onnx_files(Driven(ENDING, 1), Word(ENDING.vocabulary), method="tables")


def test_command_writes_beside_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model("mle").save(tmp_path / "run")
    monkeypatch.setattr("textforge.exporting.onnx_files", lambda *_, method: {"name": method.encode()})
    said = call("export", tmp_path / "run", "--format", "onnx")
    assert (said.status, said.out) == (0, f"{tmp_path / 'run' / 'onnx'}\n")
    assert (tmp_path / "run" / "onnx" / "name").read_bytes() == b"mle"


def test_labels_leave_with_a_model(tmp_path: Path) -> None:
    """The first token is a label, and none is later, as of the model itself."""
    texts = ["a b", "b a c"] * 20
    own = textforge.fit(texts, labels=["x", "y"] * 20, method="mle", preset="tiny", steps=1)
    left = Left(own, own.export_onnx(tmp_path / "onnx"))
    tokens = own.draw(8, seed=0).tokens
    given = tokens.masked_fill(tokens == own.tokenizer.vocabulary.pad, 0)
    state = own.generator.initial_state(8)
    before = torch.full((8,), own.tokenizer.vocabulary.bos)
    found = left.log_probs(given.numpy(), left.start(8))
    for t, column in enumerate(given.T):
        logits, state = own.generator.step(before, state)
        np.testing.assert_allclose(found[:, t], logits.log_softmax(1).detach(), atol=1e-4)
        before = column
