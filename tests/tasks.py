"""Tiny tasks, and a short way to train on them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Optimizer

from textforge import methods
from textforge.decoding import Generator
from textforge.fitting import with_objective
from textforge.methods import Method, WorldMethod
from textforge.nets.mlp import PointGenerator
from textforge.options import Options
from textforge.oracles import Oracle
from textforge.oracles import worlds as point_worlds
from textforge.run import Measurement, Run
from textforge.task import Task, WorldTask, task_from_texts
from textforge.text import Texts, encode

QUIET = Console(quiet=True)
NOUNS, VERBS = ("cats", "dogs", "birds", "the men"), ("sit", "sleep", "run", "sing", "look up")
SENTENCES = [f"{noun} {verb}" for noun in NOUNS for verb in VERBS]


def text_task(train: list[str] | None = None) -> Task:
    """Sentences of words, of different lengths; every kind of them is in every part."""
    lines = SENTENCES if train is None else train
    return task_from_texts(Texts("tiny", lines, valid=lines[::3], test=lines[::2]), Options(tokenizer="word"))


def oracle_task(oracle: Oracle, num: int) -> Task:
    """As many sequences of an oracle to train on, and as many to be held out."""
    lines: dict[str, Any] = {part: oracle.sample(num, seed) for seed, part in enumerate(("train", "valid", "test"))}
    corpora: dict[str, Any] = {
        part: encode(texts, oracle.tokenizer, max_length=oracle.max_length)[0] for part, texts in lines.items()
    }
    return Task(Texts(oracle.name, **lines), oracle.tokenizer, oracle.max_length, **corpora, oracle=oracle, notes=())


def world_task(name: str) -> WorldTask:
    """A world of points, by its name."""
    return WorldTask(name, point_worlds.load(name), notes=())


def load_sequence_method(name: str) -> Method:
    """Import a method that learns sequences."""
    return methods.load(name)


SEQUENCE_METHODS = [name for name in methods.names() if isinstance(methods.find(name), Method)]
"""The names of the methods that learn sequences."""


def built(method: Method | WorldMethod, config: Any, task: Task | WorldTask) -> Mapping[str, nn.Module]:
    """Build the untrained networks of a method for a task of its kind."""
    match task:
        case Task():
            assert isinstance(method, Method)
            return method.networks(config, task.vocabulary, task.max_length)
        case WorldTask():
            assert isinstance(method, WorldMethod)
            return method.players(config, task.world)


class Cut(Exception):
    """The end of a process, as seen from inside."""


class Observed(Run):
    """A run that remembers its updates and the networks it began with, and may die in front of an update."""

    def __init__(self, folder: Path, *, cut: int | None = None, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.cut = cut
        self.phase_now = ""
        self.steps: list[tuple[str, Optimizer]] = []
        self.trained: dict[str, dict[str, Tensor]] = {}
        self.modules: dict[str, nn.Module] = {}
        self.optimizers: dict[str, Optimizer] = {}
        self.returned: Generator | PointGenerator | None = None

    def __enter__(self) -> "Observed":
        super().__enter__()
        return self

    def setup(self, name: str, module: nn.Module, optimizer: Optimizer | None = None) -> None:
        super().setup(name, module, optimizer)
        self.modules[name] = module
        if optimizer is not None:
            self.optimizers[name] = optimizer
            self.trained[name] = {key: value.clone() for key, value in module.state_dict().items()}

    def phase(self, name: str, n: int, **settings: Any) -> Iterator[int]:
        for iteration in super().phase(name, n, **settings):
            self.phase_now = name
            yield iteration

    def step(self, optimizer: Optimizer, loss: Tensor, clip: float | None = None) -> None:
        if len(self.steps) == self.cut:
            raise Cut
        self.steps.append((self.phase_now, optimizer))
        super().step(optimizer, loss, clip)


def observed(folder: Path, task: Task | WorldTask, *, seed: int = 0, **settings: Any) -> Observed:
    """Open a run that measures just enough to know which generator is the best; of points, methods measure all."""
    if isinstance(task, WorldTask):
        return Observed(folder, seed=seed, device="cpu", console=QUIET, **settings)
    tokens = task.valid.batch(np.arange(len(task.valid)), None).tokens

    def evaluate(generator: nn.Module, *, phase_end: bool) -> Measurement:
        assert isinstance(generator, Generator)
        if generator.noise_dim:
            return Measurement({}, [f"{torch.rand(()).item()}"])
        log_probs = generator(tokens)
        nll = -log_probs.sum().item() / int(task.valid.lengths.sum())
        return Measurement({"nll_valid": nll}, [f"{torch.rand(()).item()}"])

    return Observed(folder, seed=seed, device="cpu", evaluate=evaluate, console=QUIET, **settings)


def train(method: Method | WorldMethod, config: Any, task: Task | WorldTask, run: Run) -> Generator | PointGenerator:
    """Train a method on a task of its kind, with the objective that its config may name."""
    config, task = with_objective(config, task)
    match task:
        case Task():
            assert isinstance(method, Method)
            return method.train(config, task, run)
        case WorldTask():
            assert isinstance(method, WorldMethod)
            return method.train(config, task, run)


def trained(
    folder: Path, method: Method | WorldMethod, config: Any, task: Task | WorldTask, **settings: Any
) -> Observed:
    """Train to the end, and return the run."""
    with observed(folder, task, **settings) as run:
        run.returned = train(method, config, task, run)
    return run


def tiny(method: Method | WorldMethod, fields: Mapping[str, Any]) -> Any:
    """Return the tiny preset with some fields replaced."""
    return method.Config(**{**vars(method.PRESETS["tiny"]), **fields})
