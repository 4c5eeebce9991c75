"""One decoding step of a generator as an ONNX graph, for programs without torch.

The folder has `generator.onnx` (token ids [B] and the state to logits [B V] and the new state), `generator.json` (what
the inputs, the outputs and the ids are), `tokenizer.json`, and the state in front of the first token:
`initial_state.npz`, one row of it, or, for a generator driven by noise, `start.onnx`, which makes it of the noise.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from textforge.decoding import Generator, State, evaluating, leaves, map_state
from textforge.errors import UserError, WorkError
from textforge.nets.pretrained import PretrainedGenerator
from textforge.run import derive
from textforge.text import Labelled, Tokenizer
from textforge.text.tokenizer_json import to_json

ROWS = 3
"""Rows of the example that is exported; graphs take any number."""
TOLERANCE = 1e-4
"""By how much logits of the graph may differ from those of the model."""


@runtime_checkable
class UniformNoise(Protocol):
    """A generator whose noise another program can draw: independent numbers, uniform in a range."""

    noise_range: tuple[float, float]

    def noise(self, batch: int) -> Float[Tensor, "B Z"]:
        """Draw the noise of `batch` sequences."""
        ...


class _Step(nn.Module):
    """`step` with a state that lies flat."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
        self.form = map_state(torch.clone, generator.initial_state(1))

    def forward(self, token: Int[Tensor, " B"], state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        flat = iter(state)
        logits, after = self.generator.step(token, map_state(lambda _: next(flat), self.form))
        return logits, *leaves(after)


class _Start(nn.Module):
    """`initial_state` from noise, flat."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Float[Tensor, "B Z"]) -> tuple[Tensor, ...]:
        # There are as many rows as the noise has; to ask how many would fix their number in the graph.
        return tuple(leaves(self.generator.initial_state(ROWS, noise)))


def files(generator: Generator, tokenizer: Tokenizer, *, method: str) -> dict[str, bytes]:
    """Return what stands in the folder, by name. The graph has been run, and gives the generator's logits.

    Raises UserError where the libraries are absent, and for noise that another program could not draw; WorkError where
    the graph computes something else.
    """
    _require_libraries()
    if isinstance(generator, PretrainedGenerator):
        raise UserError(f"{method} of a pretrained model cannot go to ONNX: its graph is not ours; export it otherwise")
    if generator.noise_dim and not isinstance(generator, UniformNoise):
        raise UserError(f"{method} cannot go to ONNX: its noise is not uniform in a range, and the graph draws none")
    vocabulary, labels = tokenizer.vocabulary, tokenizer.labels if isinstance(tokenizer, Labelled) else ()
    with evaluating(generator), torch.random.fork_rng():
        torch.manual_seed(derive(0, "onnx"))
        state = generator.initial_state(ROWS)
        names = list(_names(state, "state"))
        after = [name.replace("state", "new_state", 1) for name in names]
        token = torch.full((ROWS,), vocabulary.bos)
        # Apart from each other: two inputs that are one tensor would become one in the graph.
        flat = [leaf.clone(memory_format=torch.contiguous_format) for leaf in leaves(state)]
        graph = _graph(_Step(generator), (token, tuple(flat)), ["token", *names], ["logits", *after])
        _compare(graph, generator, names)
        about = {
            "method": method,
            "max_length": generator.max_length,
            "vocab_size": vocabulary.vocab_size,
            **{name: vars(vocabulary)[name] for name in ("bos", "eos", "pad", "unk")},
            "labels": dict(zip(labels, vocabulary.labels, strict=True)),
            "inputs": ["token", *names],
            "outputs": ["logits", *after],
            "state": {name: _form(leaf) for name, leaf in zip(names, flat, strict=True)},
            "noise": None,
        }
        found = {"generator.onnx": graph, "tokenizer.json": to_json(tokenizer).encode() + b"\n"}
        if isinstance(generator, UniformNoise):
            low, high = generator.noise_range
            about["noise"] = {"size": generator.noise_dim, "uniform": [low, high]}
            found["start.onnx"] = _graph(_Start(generator), (generator.noise(ROWS),), ["noise"], names)
            _compare_start(found["start.onnx"], generator)
        else:
            found["initial_state.npz"] = _stored({n: x[:1].numpy() for n, x in zip(names, flat, strict=True)})
    return {**found, "generator.json": json.dumps(about, indent=2).encode() + b"\n"}


def _require_libraries() -> None:
    try:
        import onnx as onnx
        import onnxruntime as onnxruntime  # type: ignore[import-untyped]
        import onnxscript as onnxscript
    except ModuleNotFoundError as error:
        raise UserError(f"ONNX needs {error.name}, which is absent; run: pip install 'textforge[onnx]'") from None


def _names(state: State, name: str) -> Iterator[str]:
    """Name the tensors of a state by the way that leads to them."""
    if isinstance(state, Tensor):
        yield name
        return
    for key, part in state.items() if isinstance(state, dict) else enumerate(state):
        yield from _names(part, f"{name}.{key}")


def _form(leaf: Tensor) -> dict[str, Any]:
    return {"type": str(leaf.dtype).removeprefix("torch."), "shape": ["B", *leaf.shape[1:]]}


def _graph(module: nn.Module, example: tuple[Any, ...], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    rows = torch.export.Dim("B")
    shapes = tuple({0: rows} if isinstance(part, Tensor) else tuple({0: rows} for _ in part) for part in example)
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            example,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
        assert program is not None, "it is None only where a file is named"
        whole = program.model_proto
    graph = whole.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")  # which name the places of source files on this machine
    data: bytes = whole.SerializeToString()
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporter says of its own inner workings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _compare(graph: bytes, generator: Generator, names: Sequence[str]) -> None:
    """Run the graph along sequences drawn at random, of another number than those that it was made of."""
    run = _runner(graph)
    state, token = generator.initial_state(ROWS + 2), torch.full((ROWS + 2,), generator.vocabulary.bos)
    flat = [leaf.numpy() for leaf in leaves(state)]
    for _ in range(generator.max_length):
        wanted, state = generator.step(token, state)
        logits, *flat = run({"token": token.numpy(), **dict(zip(names, flat, strict=True))})
        _require_close([logits], [wanted])
        token = torch.randint(generator.vocabulary.vocab_size, (ROWS + 2,))


def _compare_start(graph: bytes, generator: UniformNoise) -> None:
    assert isinstance(generator, Generator)
    noise = generator.noise(ROWS + 2)
    _require_close(_runner(graph)({"noise": noise.numpy()}), list(leaves(generator.initial_state(ROWS + 2, noise))))


def _runner(graph: bytes) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph)
    return partial(session.run, None)


def _require_close(found: Sequence[np.ndarray], wanted: Sequence[Tensor]) -> None:
    for array, leaf in zip(found, wanted, strict=True):
        if array.shape != leaf.shape or not np.allclose(array, leaf.numpy(), rtol=0, atol=TOLERANCE):
            raise WorkError(
                f"the graph does not compute what the model does, with torch {torch.__version__}; try other versions "
                "of the libraries of textforge[onnx]"
            )


def _stored(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Write arrays as NumPy does, without pickle."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()
