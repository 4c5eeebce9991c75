"""Managers and Workers of tiny worlds."""

from typing import Any

import torch
from worlds import World

from textforge.nets.manager_worker import LeakGANGenerator
from textforge.nets.text_cnn import TextCNN


def leakgan(world: World, seed: int = 1, **settings: Any) -> LeakGANGenerator:
    """A generator whose weights are so large that no two prefixes are followed alike."""
    fields: dict[str, Any] = {"goal_form": "sliding", "normalise_goal": False, "step_size": 2} | settings
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        D = TextCNN(world.vocabulary, world.max_length, windows=((1, 4), (2, 3), (3, 3)), embedding_dim=4, dropout=0.5)
        return LeakGANGenerator(
            world.vocabulary,
            world.max_length,
            D,
            embedding_dim=3,
            hidden_dim=4,
            manager_dim=5,
            goal_dim=3,
            init_std=1.0,
            **fields,
        )
