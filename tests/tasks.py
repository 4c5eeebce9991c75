"""Tiny tasks, and a short way to train on them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Optimizer

from textforge.decoding import Generator
from textforge.methods import Method
from textforge.options import Options
from textforge.oracles import Oracle
from textforge.run import Measurement, Run
from textforge.task import Task, task_from_texts
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
    lines = {part: oracle.sample(num, seed) for seed, part in enumerate(("train", "valid", "test"))}
    corpora: dict[str, Any] = {
        part: encode(texts, oracle.tokenizer, max_length=oracle.max_length)[0] for part, texts in lines.items()
    }
    return Task(Texts(oracle.name, **lines), oracle.tokenizer, oracle.max_length, **corpora, oracle=oracle, notes=())


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
        self.returned: Generator | None = None

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


def observed(folder: Path, task: Task, *, seed: int = 0, **settings: Any) -> Observed:
    """Open a run that measures just enough to know which generator is the best."""
    tokens = task.valid.batch(np.arange(len(task.valid)), None).tokens

    def evaluate(generator: nn.Module, *, phase_end: bool) -> Measurement:
        assert isinstance(generator, Generator)
        if generator.noise_dim:
            return Measurement({}, [f"{torch.rand(()).item()}"])
        log_probs = generator(tokens)
        nll = -log_probs.sum().item() / int(task.valid.lengths.sum())
        return Measurement({"nll_valid": nll}, [f"{torch.rand(()).item()}"])

    return Observed(folder, seed=seed, device="cpu", evaluate=evaluate, console=QUIET, **settings)


def trained(folder: Path, method: Method, config: Any, task: Task, **settings: Any) -> Observed:
    """Train to the end, and return the run."""
    with observed(folder, task, **settings) as run:
        run.returned = method.train(config, task, run)
    return run


def tiny(method: Method, fields: Mapping[str, Any]) -> Any:
    """Return the tiny preset with some fields replaced."""
    return method.Config(**{**vars(method.PRESETS["tiny"]), **fields})
