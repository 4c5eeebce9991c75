"""GANs for discrete sequences with the Gumbel-softmax distribution (Kusner and Hernandez-Lobato, 2016).

The published loop, with the four variants of its figures as switches. Rows of Gumbel-softmax stand in for tokens while
the networks train, so that the discriminator's gradient reaches the generator; what is sampled afterwards is hard.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypedDict

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Adam

from textforge.decoding import Generator
from textforge.errors import CallError, above, at_least, at_most
from textforge.losses import GeneratorObjective, discriminator_loss, generator_loss, nll, relativistic_loss
from textforge.nets.noise_lstm import NoiseStartLSTM
from textforge.nets.spectral_cnn import SpectralCNN
from textforge.nets.token_rnn import TokenRNN
from textforge.relaxations import annealed, confuse, gumbel_softmax, soften
from textforge.relaxed import decode_relaxed
from textforge.run import Measurement, Run
from textforge.task import Task
from textforge.text import Stream, Vocabulary

CITATION = """@article{kusner2016gans,
  title = {{GANS} for Sequences of Discrete Elements with the {G}umbel-softmax Distribution},
  author = {Kusner, Matt J. and Hern{\\'a}ndez-Lobato, Jos{\\'e} Miguel},
  journal = {arXiv preprint arXiv:1611.04051},
  year = {2016}
}"""


@dataclass(frozen=True)
class Config:
    """The preset `paper` is variant (a) of its figures; [P] marks values of the paper. No code was released."""

    hidden_dim: int = 32
    """Size of the generator's LSTM, and so of its noise; the paper gives none."""
    embedding_dim: int = 32
    """Size of the embeddings that the generator reads; the paper feeds symbols as they are."""
    projection: bool = True
    """Whether a linear layer makes logits of the hidden vector; without, that vector is the logits, to the letter."""
    noise_in: Literal["h-and-c", "h"] = "h-and-c"
    """Where the noise starts: in the hidden and the cell vector [P], or in the hidden one alone (variant d) [P]."""
    batch_size: int = 200
    """Real sequences a round [P]."""
    fake_batch: int | None = None
    """Generated sequences a round: None for as many as real ones [P]; 1000 in variant (b) [P]."""

    pretrain_steps: int = 0
    """Generator updates by maximum likelihood beforehand: none [P]."""
    pretrain_lr: float = 1e-2
    """Learning rate of Adam in pretraining."""

    rounds: int = 20_000
    """Rounds of one discriminator and one generator update [P]."""
    tau_start: float = 5.0
    """Temperature of the first round [P]."""
    tau_end: float = 1.0
    """Temperature from the round `anneal_rounds` on [P]."""
    anneal_rounds: int = 10_000
    """Rounds in which the temperature goes from the one to the other, linearly [P]."""
    anneal: Literal["both", "input"] = "both"
    """What the falling temperature is for: real and generated rows [P], or real ones alone (variant c), where
    generated rows have `tau_end` throughout [P]."""
    confidence: float = 0.9
    """Probability of the true symbol in softened real sequences in the first round [P]."""
    confidence_end: float = 0.9
    """The same from the round `anneal_rounds` on, linearly in between; constant [P]. 1 leaves symbols as they are."""
    confuse: bool = False
    """Whether generated symbols are exchanged as often as softened real ones, so that both players' sequences have
    gone through the same noise; the paper softens real ones alone."""
    straight_through: bool = False
    """Whether rows are hardened to one-hot and keep the gradient of the soft ones; the paper's are soft [P]."""
    objective: GeneratorObjective | Literal["relativistic"] = "ratio"
    """What the generator minimises: -log D / (1 - D) [P], -log D, log(1 - D), or, with a discriminator that does the
    same, the relativistic loss of pairs."""
    lr: float = 1e-3
    """Learning rate of the generator's Adam [P]."""
    d_lr: float = 1e-3
    """Learning rate of the discriminator's Adam [P]."""
    beta1: float = 0.9
    """Decay of the first moment in both Adams: the usual one, where the paper gives none."""
    cool: bool = False
    """Whether both learning rates fall linearly to 0 over the rounds; fixed [P]."""
    clip: float | None = None
    """Bound on the global norm of the generator's gradient; the paper has none."""

    discriminator: Literal["lstm", "cnn"] = "lstm"
    """The LSTM of the paper [P], or convolutions with spectral normalisation."""
    d_embedding_dim: int = 32
    """Size of the embeddings that the discriminator reads; the paper feeds symbols as they are."""
    d_hidden_dim: int = 32
    """Size of the discriminator's LSTM, or kernels of each of its convolutions; the paper gives none."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least(1, self, "hidden_dim", "embedding_dim", "batch_size", "fake_batch", "anneal_rounds")
        at_least(1, self, "d_embedding_dim", "d_hidden_dim")
        at_least(0, self, "pretrain_steps", "rounds")
        above(0, self, "tau_start", "tau_end", "confidence", "confidence_end", "pretrain_lr", "lr", "d_lr", "clip")
        at_least(0, self, "beta1")
        if self.beta1 >= 1:
            raise CallError(f"--beta1 must be below 1, not {self.beta1}")
        at_most(1, self, "confidence", "confidence_end")
        if self.objective == "relativistic" and self.fake_batch not in {None, self.batch_size}:
            raise CallError(
                f"--objective relativistic compares pairs; --fake-batch {self.fake_batch} must be --batch-size "
                f"{self.batch_size}, or be left out"
            )


PRESETS = {
    "paper": Config(),
    "paper-b": Config(fake_batch=1000),
    "paper-c": Config(anneal="input"),
    "paper-d": Config(noise_in="h"),
    "small": Config(
        hidden_dim=64,
        batch_size=64,
        rounds=3500,
        tau_start=2.0,
        tau_end=1.0,
        anneal_rounds=2500,
        confidence_end=0.995,
        confuse=True,
        straight_through=True,
        objective="relativistic",
        beta1=0.5,
        cool=True,
        discriminator="cnn",
        d_hidden_dim=64,
    ),
    "tiny": Config(
        hidden_dim=16, embedding_dim=8, batch_size=8, rounds=6, anneal_rounds=4, d_embedding_dim=8, d_hidden_dim=8
    ),
}
LENGTHS = ("pretrain_steps", "rounds")


class Networks(TypedDict):
    """The two players."""

    generator: NoiseStartLSTM
    discriminator: TokenRNN | SpectralCNN


def networks(config: Config, vocabulary: Vocabulary, max_length: int) -> Networks:
    """Build the generator and the discriminator, untrained."""
    sizes = {"embedding_dim": config.d_embedding_dim, "hidden_dim": config.d_hidden_dim}
    return Networks(
        generator=NoiseStartLSTM(
            vocabulary,
            max_length,
            hidden_dim=config.hidden_dim,
            embedding_dim=config.embedding_dim,
            noise_in=config.noise_in,
            projection=config.projection,
        ),
        discriminator=TokenRNN(vocabulary, **sizes)
        if config.discriminator == "lstm"
        else SpectralCNN(vocabulary, max_length, **sizes),
    )


def train(config: Config, task: Task, run: Run) -> Generator:
    """Run algorithm 1."""
    players = networks(config, task.vocabulary, task.max_length)
    G, D = players["generator"], players["discriminator"]
    g_optimizer = Adam(G.parameters(), lr=config.lr, betas=(config.beta1, 0.999))
    d_optimizer = Adam(D.parameters(), lr=config.d_lr, betas=(config.beta1, 0.999))
    pretrain_optimizer = run.track("pretrain_optimizer", Adam(G.parameters(), lr=config.pretrain_lr))
    run.setup("generator", G, g_optimizer)
    run.setup("discriminator", D, d_optimizer)
    stream = Stream(task.train, config.batch_size, width=task.max_length, seed=run.seed, device=run.device)
    data = run.track("data", stream)

    for _ in run.phase("pretrain", config.pretrain_steps):
        batch = data.next()
        loss = nll(G(batch.tokens, G.noise(config.batch_size)), batch.mask)
        run.step(pretrain_optimizer, loss, clip=config.clip)
        run.log(nll_train=loss)

    def measure() -> Measurement:
        return hardening(G, D, relax)

    for i in run.phase("adversarial", config.rounds, measure=measure):
        relax = relaxation(config, i)
        if config.cool:
            g_optimizer.param_groups[0]["lr"] = annealed(config.lr, 0.0, config.rounds + 1, i)
            d_optimizer.param_groups[0]["lr"] = annealed(config.d_lr, 0.0, config.rounds + 1, i)
        tokens = data.next().tokens
        sure = relax.confidence == 1
        real = tokens if sure else soften(tokens, task.vocabulary, relax.confidence, relax.real).rows
        fake = decode_relaxed(G, G.noise(config.fake_batch or config.batch_size), relax.fake)
        if config.confuse:
            fake = confuse(fake, task.vocabulary, relax.confidence, relax.fake)

        d_loss, d_accuracy = judged(config, D(real).logits, D(fake.detach().rows).logits)
        run.step(d_optimizer, d_loss)

        fake_logits = D(fake.rows).logits
        if config.objective == "relativistic":
            g_loss = relativistic_loss(fake_logits, D(real).logits.detach())
        else:
            g_loss = generator_loss(fake_logits, config.objective)
        run.step(g_optimizer, g_loss, clip=config.clip)
        run.log(tau=relax.tau, d_loss=d_loss, d_accuracy=d_accuracy, g_loss=g_loss)
    return G


@dataclass(frozen=True)
class Relaxation:
    """How a round relaxes: the falling temperature, the confidence in symbols, and what makes rows of logits."""

    tau: float
    confidence: float
    real: Callable[[Float[Tensor, "B V"]], Float[Tensor, "B V"]]
    fake: Callable[[Float[Tensor, "B V"]], Float[Tensor, "B V"]]


def relaxation(config: Config, i: int) -> Relaxation:
    """Return the relaxations of round i, counted from 0."""
    tau = annealed(config.tau_start, config.tau_end, config.anneal_rounds, i)
    rows = partial(gumbel_softmax, straight_through=config.straight_through)
    return Relaxation(
        tau,
        annealed(config.confidence, config.confidence_end, config.anneal_rounds, i),
        real=partial(rows, temperature=tau),
        fake=partial(rows, temperature=tau if config.anneal == "both" else config.tau_end),
    )


def judged(
    config: Config, real: Float[Tensor, " B"], fake: Float[Tensor, " M"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the discriminator's loss and accuracy: over real and over generated sequences, a mean each, or pairs."""
    if config.objective == "relativistic":
        return relativistic_loss(real, fake), (real > fake).float().mean()
    loss = discriminator_loss(real, torch.ones_like(real, dtype=torch.bool))
    loss = loss + discriminator_loss(fake, torch.zeros_like(fake, dtype=torch.bool))
    return loss, ((real > 0).float().mean() + (fake < 0).float().mean()) / 2


def hardening(G: NoiseStartLSTM, D: TokenRNN | SpectralCNN, relax: Relaxation) -> Measurement:
    """Measure what the discriminator makes of the same samples while they are soft, and when they are hard.

    A gap says that softness gives samples away, or tells what no symbol can.
    """
    fake = decode_relaxed(G, G.noise(256), relax.fake)
    soft, hard = D(fake.rows).logits.mean().item(), D(fake.tokens).logits.mean().item()
    return Measurement({"logit_soft": soft, "logit_hard": hard})
