"""Worlds and networks for the tests of SeqGAN."""

from typing import Any

from tasks import oracle_task
from torch import nn
from worlds import World

from textforge.methods import seqgan
from textforge.nets.text_cnn import TextCNN
from textforge.oracles.table import random_table
from textforge.task import Task


def table_world() -> tuple[World, Task]:
    """27 sequences with a probability each, and 64 draws of them to learn from."""
    task = oracle_task(random_table(seed=1), 64)
    return World(task.vocabulary, task.max_length), task


def opinionated(task: Task, config: Any) -> TextCNN:
    """A discriminator whose verdicts differ widely."""
    D = seqgan.networks(config, task.vocabulary, task.max_length)["discriminator"]
    for parameter in D.parameters():
        nn.init.normal_(parameter)
    return D
