"""Networks and filled texts for the tests of MaskGAN."""

from typing import Any

import torch
from tasks import load_sequence_method, text_task, tiny
from torch import nn
from worlds import World

from textforge.methods import maskgan
from textforge.nets.infilling import InfillingDiscriminator, InfillingGenerator

MASKGAN = load_sequence_method("maskgan")


def players(world: World, fields: dict[str, Any]) -> tuple[Any, InfillingGenerator, InfillingDiscriminator]:
    """Networks whose weights are so large that nothing that they read leaves them alike."""
    config = tiny(MASKGAN, {"hidden_dim": 4, **fields})
    made = maskgan.networks(config, world.vocabulary, world.max_length)
    for network in (made["discriminator"], made["generator"]):
        for parameter in network.parameters():
            nn.init.normal_(parameter)
    made["generator"].dropout.eval()
    return config, made["generator"], made["discriminator"]


def plays(fields: dict[str, Any]) -> tuple[Any, InfillingGenerator, InfillingDiscriminator, maskgan.Play]:
    task = text_task()
    world = World(task.vocabulary, task.max_length)
    config, G, D = players(world, fields)
    tokens = task.train.batch(torch.arange(20).numpy(), task.max_length).tokens
    return config, G, D, maskgan.filled(config, G, tokens)
