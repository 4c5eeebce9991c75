"""GAN: generator and discriminator in a minimax game, on worlds whose truth is known (Goodfellow et al., NIPS 2014).

The paper's own subject are continuous data; nothing in it is about text. Here it learns worlds of one or two
dimensions, whose densities are known exactly, and finite alphabets, where both players are tables and every expectation
is a sum, so that theory and practice can be held against each other.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypedDict

import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.optim import SGD, Adam, Optimizer

from textforge.arena import measure
from textforge.errors import above, at_least, at_most
from textforge.losses import GeneratorObjective, generator_loss, value_loss
from textforge.nets.mlp import (
    Draw,
    MaxoutDiscriminator,
    MLPGenerator,
    PointGenerator,
    TableDiscriminator,
    TableGenerator,
)
from textforge.oracles.worlds import Mixture, World
from textforge.run import Run
from textforge.task import WorldTask

CITATION = """@inproceedings{goodfellow2014generative,
  title = {Generative Adversarial Nets},
  author = {Goodfellow, Ian J. and Pouget-Abadie, Jean and Mirza, Mehdi and Xu, Bing and Warde-Farley, David and
            Ozair, Sherjil and Courville, Aaron and Bengio, Yoshua},
  booktitle = {Advances in Neural Information Processing Systems 27},
  pages = {2672--2680},
  year = {2014}
}"""


@dataclass(frozen=True)
class Config:
    """The preset `paper` has the networks of the MNIST experiment: [P] marks values of the paper, [C] of the code."""

    rounds: int = 125_000
    """Rounds of algorithm 1, one generator step each; here as many as the momentum takes to settle in the code."""
    k: int = 1
    """Discriminator steps a round [P, algorithm 1]."""
    g_steps: int = 1
    """Generator steps a round: one in algorithm 1 [P]. Many against a stale discriminator collapse [P, section 6]."""
    simultaneous: bool = False
    """Both players step at once, from one noise batch and the parameters before either step [C]; else in turn [P]."""
    objective: GeneratorObjective = "non-saturating"
    """What the generator minimises: log(1 - D) as algorithm 1 prints it, -log D [P section 3, C], or -log(D/(1-D))."""
    smoothing: float = 0.0
    """One-sided label smoothing: real points get the target 1 - this; 0 in the paper."""
    batch_size: int = 100
    """Points a step, noise vectors as many [C]; a finite world needs none, its expectations are exact."""

    noise_dim: int = 100
    """Coordinates of the noise [C]."""
    noise: Literal["uniform", "gaussian"] = "uniform"
    """Its distribution, with variance 1 in each coordinate: uniform for MNIST, Gaussian elsewhere [C]."""
    g_widths: tuple[int, ...] = (1200, 1200)
    """Rectified layers of the generator [C]; the output is linear, as the world has no bounds."""
    g_init: float | None = 0.05
    """The generator's weights (of a table: logits) begin uniform in +- this [C]; None: PyTorch's own, or N(0, 1)."""
    d_widths: tuple[int, ...] = (240, 240)
    """Maxout layers of the discriminator [C]."""
    d_pieces: int = 5
    """Linear pieces of a maxout unit [C]."""
    d_init: float | None = 0.005
    """The discriminator's weights (of a table: logits) begin uniform in +- this [C]; None as for the generator."""
    d_input_dropout: float = 0.2
    """Dropout of the discriminator's input [C: keep 0.8]."""
    d_dropout: float = 0.5
    """Dropout in front of its other layers [P has no value, C: keep 0.5]; also while it teaches the generator [C]."""

    optimizer: Literal["momentum", "adam"] = "momentum"
    """Gradient descent with momentum [P, C], or Adam."""
    g_lr: float = 0.1
    """Learning rate of the generator [C]."""
    d_lr: float = 0.1
    """Learning rate of the discriminator [C]."""
    lr_decay: float = 1.000004
    """Learning rates are divided by this after every round [C]."""
    lr_floor: float = 1e-6
    """Learning rates do not fall below this [C]."""
    momentum: float = 0.5
    """Momentum at the beginning [C]; of Adam, the decay of its first moment throughout."""
    final_momentum: float = 0.7
    """Momentum at the end of its linear rise [C]; Adam does not look at it."""
    momentum_rounds: int = 125_000
    """Rounds over which it rises: 250 epochs of 500 batches [C]."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least(
            1, self, "rounds", "k", "g_steps", "batch_size", "noise_dim", "d_pieces", "momentum_rounds", "lr_decay"
        )
        at_least(0, self, "smoothing", "d_input_dropout", "d_dropout", "momentum", "final_momentum", "lr_floor")
        at_most(0.99, self, "smoothing", "d_input_dropout", "d_dropout", "momentum", "final_momentum")
        above(0, self, "g_init", "d_init", "g_lr", "d_lr")


SMALL = Config(
    rounds=1500,
    batch_size=256,
    noise_dim=8,
    noise="gaussian",
    g_widths=(64, 64),
    g_init=0.25,  # so large that the first points lie on both sides of the middle
    d_widths=(32, 32),
    d_pieces=3,
    d_init=None,
    d_input_dropout=0.0,
    d_dropout=0.0,
    optimizer="adam",
    g_lr=3e-3,
    d_lr=3e-3,
    lr_decay=1.0015,
    momentum=0.0,
)
PRESETS = {
    "paper": Config(),
    "small": SMALL,
    "collapse": replace(SMALL, rounds=60, g_steps=50),
    "tabular": replace(
        SMALL, objective="minimax", k=5, g_lr=1e-2, d_lr=0.1, lr_decay=1.0, momentum=0.5, g_init=0.05, d_init=0.005
    ),
    "tiny": replace(SMALL, rounds=4, batch_size=8, k=2, g_widths=(8, 8), d_widths=(8,), lr_decay=1.01),
}
LENGTHS = ("rounds",)


class Players(TypedDict):
    """The two of them."""

    generator: MLPGenerator | TableGenerator
    discriminator: MaxoutDiscriminator | TableDiscriminator


def players(config: Config, world: World) -> Players:
    """Build the generator and the discriminator, untrained: networks in a continuous world, tables in a finite one."""
    if not isinstance(world, Mixture):
        num = len(world.probabilities)
        return Players(
            generator=TableGenerator(num, config.g_init), discriminator=TableDiscriminator(num, config.d_init)
        )
    frame = {"centre": world.centre.tolist(), "scale": world.scale}
    return Players(
        generator=MLPGenerator(
            noise_dim=config.noise_dim,
            noise=config.noise,
            widths=config.g_widths,
            init_range=config.g_init,
            **frame,
        ),
        discriminator=MaxoutDiscriminator(
            widths=config.d_widths,
            pieces=config.d_pieces,
            input_dropout=config.d_input_dropout,
            dropout=config.d_dropout,
            init_range=config.d_init,
            **frame,
        ),
    )


def train(config: Config, task: WorldTask, run: Run) -> PointGenerator:
    """Run algorithm 1."""
    both = players(config, task.world)
    G, D = both["generator"], both["discriminator"]
    g_optimizer, d_optimizer = optimizer(config, G, config.g_lr), optimizer(config, D, config.d_lr)
    run.setup("generator", G, g_optimizer)
    run.setup("discriminator", D, d_optimizer)
    real = truth(task.world, config.batch_size, run.device)
    watch = partial(measure, task.world, G, D)

    for t in run.phase("adversarial", config.rounds, evaluate_every=max(1, config.rounds // 24), measure=watch):
        schedule(config, g_optimizer, config.g_lr, t)
        schedule(config, d_optimizer, config.d_lr, t)
        for _ in range(config.k - config.simultaneous):
            run.step(d_optimizer, d_loss(config, D, real(), G.draw(config.batch_size), run))
        for _ in range(config.g_steps - config.simultaneous):
            run.step(g_optimizer, g_loss(config, D, G.draw(config.batch_size), run))  # fresh noise
        if config.simultaneous:
            fake = G.draw(config.batch_size)
            of_d, of_g = d_loss(config, D, real(), fake, run), g_loss(config, D, fake, run)
            run.step(g_optimizer, of_g)
            run.step(d_optimizer, of_d)  # its graph holds D as it was, and nothing of G
    return G


def d_loss(config: Config, D: nn.Module, real: Draw, fake: Draw, run: Run) -> torch.Tensor:
    """Return -V(D, G) of eq. (1), in which the generator is a constant."""
    fake = fake.detach()
    of_real, of_fake = D(real.points), D(fake.points)
    loss = value_loss(of_real, of_fake, real.weights, fake.weights, smoothing=config.smoothing)
    right = real.weights @ (of_real > 0).to(real.weights) + fake.weights @ (of_fake < 0).to(fake.weights)
    run.log(d_loss=loss, d_accuracy=right / 2)
    return loss


def g_loss(config: Config, D: nn.Module, fake: Draw, run: Run) -> torch.Tensor:
    """Return what the generator minimises, in which the discriminator is a constant."""
    with frozen(D):
        loss = generator_loss(D(fake.points), config.objective, fake.weights)
    run.log(g_loss=loss)
    return loss


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Build graphs in which the module's parameters are constants, so that no gradient is left in them."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def truth(world: World, num: int, device: torch.device) -> Callable[[], Draw]:
    """Return what draws real points, fresh ones each time; of a finite world all, with their probabilities."""
    if not isinstance(world, Mixture):
        whole = Draw(
            torch.arange(len(world.probabilities), device=device),
            torch.tensor(world.probabilities, dtype=torch.get_default_dtype(), device=device),
        )
        return lambda: whole
    weights, means, stds = (
        torch.tensor(values, dtype=torch.get_default_dtype(), device=device)
        for values in (world.mode_weights, world.means, world.stds[:, None].repeat(world.dim, 1))
    )
    density = MixtureSameFamily(Categorical(weights), Independent(Normal(means, stds), 1))
    return lambda: Draw.sample(density.sample((num,)))


def optimizer(config: Config, module: nn.Module, lr: float) -> Optimizer:
    """Return the optimizer of one player."""
    if config.optimizer == "adam":
        return Adam(module.parameters(), lr=lr, betas=(config.momentum, 0.999))
    return SGD(module.parameters(), lr=lr, momentum=config.momentum)


def schedule(config: Config, player: Optimizer, lr: float, t: int) -> None:
    """Set the learning rate and the momentum of round `t`, counted from 0."""
    for group in player.param_groups:
        group["lr"] = max(lr * config.lr_decay**-t, min(lr, config.lr_floor))
        if config.optimizer == "momentum":
            risen = min(1.0, t / config.momentum_rounds)
            group["momentum"] = config.momentum + risen * (config.final_momentum - config.momentum)
