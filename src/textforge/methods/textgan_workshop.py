"""Generating text via adversarial training: the generator matches Gaussians (Zhang, Gan and Carin, NIPS workshop 2016).

The forerunner of TextGAN. An LSTM is a function of its noise and writes soft words; a convolutional network judges
sentences, and the generator makes the means and covariances of that network's features the same for what it writes as
for real text. Both are pretrained: the generator as the decoder of an auto-encoder, the discriminator on sentences with
two words exchanged.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypedDict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from textforge.decoding import Generator, decode
from textforge.errors import CallError, above, at_least, at_most
from textforge.losses import discriminator_loss, nll
from textforge.matching import Window, covariance_error, covariance_matching, mean_correlation, mean_matching
from textforge.nets.feature_cnn import FeatureCNN, SentenceFeatures
from textforge.nets.noise_lstm import NoiseGateLSTM
from textforge.relaxations import annealed, write_softly
from textforge.relaxed import NoiseGenerator, Relaxed
from textforge.run import Measurement, Run
from textforge.sharding import alone
from textforge.task import Task
from textforge.text import Corpus, Stream, Vocabulary, swap_two

CITATION = """@inproceedings{zhang2016generating,
  title = {Generating Text via Adversarial Training},
  author = {Zhang, Yizhe and Gan, Zhe and Carin, Lawrence},
  booktitle = {NIPS Workshop on Adversarial Training},
  year = {2016}
}"""

Windows = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Config:
    """The preset `paper` is the paper's setting: [P] marks its values, [C] those of the authors' later code."""

    embedding_dim: int = 300
    """Size of the generator's and the encoder's embeddings [C]."""
    hidden_dim: int = 500
    """Size of the generator's LSTM [P]."""
    code_windows: Windows = ((3, 300), (4, 300), (5, 300))
    """Convolutions of the encoder, as pairs (window, kernels): as many features as numbers of noise, 900 [C]."""
    batch_size: int = 128
    """Sequences a step, real and generated each [P]; 256 in the code."""
    clip: float = 5.0
    """Bound on the norm of either network's gradient [P]."""

    pretrain_steps: int = 20_000
    """Updates of the auto-encoder; the paper does not say how many."""
    pretrain_lr: float = 1e-3
    """Learning rate of Adam for the auto-encoder; the paper does not give it."""
    code_noise: float = 0.0
    """Share of fresh noise in the code that the decoder reads, so that it learns to read noise (ours)."""
    prior_weight: float = 0.0
    """Weight in the auto-encoder's loss of matching the moments of codes and noise, as `matching` does (ours)."""
    swap_steps: int = 10_000
    """Updates of the discriminator on sentences and twins with two words exchanged [P, without a number]."""

    rounds: int = 100_000
    """Adversarial rounds; the paper gives a week on one GPU."""
    g_steps: int = 5
    """Generator updates a round [P]; 1 in the code."""
    g_lr: float = 1e-4
    """Learning rate of the generator's Adam [P]; 5e-5 in the code."""
    g_eps: float = 1e-8
    """Epsilon of that Adam: gradients far below it, such as rounding errors at a perfect match, move little (ours)."""
    covariance: Literal["estimated", "identity"] = "estimated"
    """Match Gaussians with the covariances of the features [P, eq. 7], or with unit ones: feature matching."""
    window: int = 10
    """Minibatches that means and covariances are taken over [P, without a number]; the code takes all there were."""
    ridge: float = 0.1
    """What is added to the diagonals of the covariances [C]."""
    sharpness: float = 1e3
    """L of the soft-argmax [C]; the paper lets it go to infinity."""
    sharpness_start: float | None = None
    """L in the first round, from which it goes evenly to `sharpness` (ours); None: as `sharpness`."""
    sharpness_rounds: int = 0
    """Rounds until L is `sharpness` (ours); at least 2 where it starts elsewhere."""
    threshold: float = 1.0
    """Logits of at most this absolute value are set to 0 in front of the soft-argmax [P]; 0, so none, in the code."""
    straight_through: bool = False
    """Write the argmax itself, with the gradient of the soft-argmax (ours)."""

    d_embedding_dim: int = 300
    """Size of the discriminator's embeddings, a table of its own [C]."""
    d_windows: Windows = ((3, 300), (4, 300), (5, 300))
    """Convolutions of the discriminator [P]."""
    d_head_dim: int | None = None
    """Sigmoid units between the features and the verdict; None: a linear layer [P]. The code has 200."""
    d_lr: float = 1e-4
    """Learning rate of the discriminator's Adam [P]."""
    unroll: int = 0
    """K, the generator updates that a discriminator update looks ahead [P, eq. 9-10, `considered`]; 0: none [C]."""
    unroll_lr: float = 1e-3
    """Step size of these updates, plain gradient descent; the paper does not give it."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least(1, self, "embedding_dim", "hidden_dim", "batch_size", "g_steps", "window")
        at_least(1, self, "d_embedding_dim", "d_head_dim")
        at_least(0, self, "pretrain_steps", "code_noise", "prior_weight", "swap_steps", "rounds")
        at_least(0, self, "sharpness_rounds", "threshold", "unroll")
        at_most(1, self, "code_noise")
        above(
            0,
            self,
            "clip",
            "pretrain_lr",
            "g_lr",
            "g_eps",
            "ridge",
            "sharpness",
            "sharpness_start",
            "d_lr",
            "unroll_lr",
        )
        for field in ("code_windows", "d_windows"):
            windows = vars(self)[field]
            if not windows or min(map(min, windows)) < 1:
                flag = field.replace("_", "-")
                raise CallError(f"--{flag} takes pairs of sizes and numbers of kernels above 0, not {windows}")
        if self.sharpness_rounds < 2 and self.sharpness_start not in (None, self.sharpness):
            raise CallError(
                f"--sharpness-start {self.sharpness_start} goes to --sharpness {self.sharpness} in at least 2 rounds, "
                f"not in --sharpness-rounds {self.sharpness_rounds}; add rounds, or leave --sharpness-start out"
            )


SMALL = Config(
    embedding_dim=128,
    hidden_dim=256,
    code_windows=((2, 16), (3, 16), (4, 16)),
    batch_size=64,
    pretrain_steps=1500,
    pretrain_lr=2e-3,
    code_noise=0.5,
    prior_weight=0.1,
    swap_steps=100,
    rounds=30,
    g_lr=5e-5,
    g_eps=1e-5,
    window=4,
    sharpness=1.0,
    threshold=0.0,
    straight_through=True,
    d_embedding_dim=64,
    d_windows=((2, 50), (3, 50), (4, 50), (5, 50)),
)
PRESETS = {
    "paper": Config(),
    "unrolled": Config(unroll=5),
    "small": SMALL,
    "identity": replace(SMALL, covariance="identity"),
    "tiny": Config(
        embedding_dim=8,
        hidden_dim=16,
        code_windows=((1, 4), (2, 4)),
        batch_size=8,
        pretrain_steps=4,
        pretrain_lr=1e-2,
        swap_steps=2,
        rounds=3,
        g_steps=2,
        g_lr=1e-2,
        window=3,
        sharpness=2.0,
        sharpness_start=1.0,
        sharpness_rounds=2,
        threshold=0.0,
        d_embedding_dim=6,
        d_windows=((1, 4), (2, 4)),
        d_lr=1e-2,
    ),
}
LENGTHS = ("pretrain_steps", "swap_steps", "rounds", "sharpness_rounds")


class Networks(TypedDict):
    """The two players, and the encoder that the generator learns to decode."""

    generator: NoiseGateLSTM
    discriminator: FeatureCNN
    encoder: SentenceFeatures


def networks(config: Config, vocabulary: Vocabulary, max_length: int) -> Networks:
    """Build all three, untrained."""
    encoder = SentenceFeatures(vocabulary, windows=config.code_windows, embedding_dim=config.embedding_dim)
    return Networks(
        generator=NoiseGateLSTM(
            vocabulary,
            max_length,
            noise_dim=encoder.num_features,
            embedding_dim=config.embedding_dim,
            hidden_dim=config.hidden_dim,
        ),
        discriminator=FeatureCNN(
            vocabulary,
            windows=config.d_windows,
            embedding_dim=config.d_embedding_dim,
            head_dim=config.d_head_dim,
        ),
        encoder=encoder,
    )


def train(config: Config, task: Task, run: Run) -> Generator:
    """Pretrain both players, then alternate g_steps updates of the generator with one of the discriminator."""
    players = networks(config, task.vocabulary, task.max_length)
    G, D, E = players["generator"], players["discriminator"], players["encoder"]
    g_optimizer = Adam(G.parameters(), lr=config.g_lr, eps=config.g_eps)
    d_optimizer = Adam(D.parameters(), lr=config.d_lr)
    run.setup("generator", G, g_optimizer)
    run.setup("discriminator", D, d_optimizer)
    run.setup("encoder", E)
    pretrain_optimizer = run.track("pretrain_optimizer", Adam([*G.parameters(), *E.parameters()], config.pretrain_lr))
    stream = Stream(task.train, config.batch_size, width=task.max_length, seed=run.seed, device=run.device)
    real = run.track("real", stream)
    past_real = run.track("past_real", Window(config.window))
    past_fake = run.track("past_fake", Window(config.window))

    for _ in run.phase(
        "pretrain", config.pretrain_steps, measure=partial(reconstruction, E, G, task.valid, run.device)
    ):
        batch, noise = real.next(), G.noise(config.batch_size)
        code = E(batch.tokens).lerp(noise, config.code_noise)
        loss = nll(G(batch.tokens, code), batch.mask)
        run.log(nll_train=loss)
        if config.prior_weight:
            loss = loss + config.prior_weight * covariance_matching(noise, code, ridge=config.ridge)
        run.step(pretrain_optimizer, loss, clip=config.clip)

    for _ in run.phase("discriminator", config.swap_steps, evaluate_every=0):
        batch = real.next()
        twins, spoilt = swap_two(batch.tokens, batch.mask, eos=task.vocabulary.eos)
        logits = D(torch.cat([batch.tokens, twins[spoilt]])).logits
        loss = discriminator_loss(logits, torch.arange(len(logits), device=logits.device) < config.batch_size)
        run.step(d_optimizer, loss, clip=config.clip)
        run.log(swap_loss=loss)

    start = config.sharpness if config.sharpness_start is None else config.sharpness_start
    with torch.no_grad():  # one minibatch has fewer sentences than features, and covariances that are mostly noise
        for _ in range(config.window - 1):
            fake, _ = Writer(config, G, start)(G.noise(config.batch_size))
            past_real.push(D.features(real.next().tokens))
            past_fake.push(D.features(fake.rows))

    for i in run.phase("adversarial", config.rounds):
        write = Writer(config, G, annealed(start, config.sharpness, config.sharpness_rounds, i))
        D.requires_grad_(False)
        for _ in range(config.g_steps):
            fake, largest = write(G.noise(config.batch_size))
            f_real, f_fake = D.features(real.next().tokens), D.features(fake.rows)
            all_real, all_fake = past_real.joined(f_real), past_fake.joined(f_fake)
            loss = gaussian_matching(config, all_real, all_fake)  # eq. (7)
            run.step(g_optimizer, loss, clip=config.clip)
            past_real.push(f_real)
            past_fake.push(f_fake)
            moments = all_real, all_fake.detach()
            run.log(
                matching=loss, mean_correlation=mean_correlation(*moments), covariance_error=covariance_error(*moments)
            )
            run.log(max_prob=largest.mean(), sure=(largest > 0.99).to(largest).mean())
        D.requires_grad_(True)
        ahead = look_ahead(config, write, D, real, past_real, past_fake)  # eq. (9)
        fake, _ = functional_call(write, ahead, G.noise(config.batch_size))
        logits = torch.cat([D(real.next().tokens).logits, D(fake.rows).logits])
        is_real = torch.arange(len(logits), device=logits.device) < config.batch_size
        loss = discriminator_loss(logits, is_real)  # half of eq. (6)
        run.step(d_optimizer, loss, clip=config.clip)
        run.log(
            d_loss=loss,
            d_accuracy=((logits > 0) == is_real).to(logits).mean(),
            d_fake=logits[~is_real].sigmoid().mean(),
        )
    return G


class Writer(nn.Module):
    """Soft sentences from noise; a module, so that `functional_call` can put other weights in place of G's."""

    def __init__(self, config: Config, G: NoiseGenerator, sharpness: float) -> None:
        super().__init__()
        self.config = config
        self.G = G
        self.sharpness = sharpness

    def forward(self, noise: Float[Tensor, "B Z"]) -> tuple[Relaxed, Float[Tensor, " N"]]:
        """Return the sentences (eq. 8), and the largest probability of each of their words."""
        config = self.config
        return write_softly(
            self.G, noise, self.sharpness, threshold=config.threshold, straight_through=config.straight_through
        )


def gaussian_matching(config: Config, real: Float[Tensor, "N F"], fake: Float[Tensor, "M F"]) -> Float[Tensor, ""]:
    """Return eq. (7) less the constant 2F."""
    if config.covariance == "identity":
        return 2 * mean_matching(real, fake)
    return covariance_matching(real, fake, ridge=config.ridge)


@alone()  # the gradients of one process's share would be no gradients, before `run.step` averages them
def look_ahead(
    config: Config, write: Writer, D: FeatureCNN, real: Stream, past_real: Window, past_fake: Window
) -> dict[str, Tensor]:
    """Return the writer's weights after `unroll` updates that are only thought, as functions of D's weights."""
    weights = {name: weight.detach().requires_grad_(config.unroll > 0) for name, weight in write.named_parameters()}
    for _ in range(config.unroll):
        fake, _ = functional_call(write, weights, write.G.noise(config.batch_size))
        f_real, f_fake = D.features(real.next().tokens), D.features(fake.rows)
        loss = gaussian_matching(config, past_real.joined(f_real), past_fake.joined(f_fake))
        gradients = torch.autograd.grad(loss, tuple(weights.values()), create_graph=True)
        weights = {
            name: weight - config.unroll_lr * gradient
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
    return weights


def reconstruction(E: SentenceFeatures, G: Generator, valid: Corpus, device: torch.device) -> Measurement:
    """Measure how many held-out tokens stand at their places when G writes the sentences again from their codes."""
    batch = valid.batch(np.arange(min(len(valid), 500)), G.max_length).to(device)
    blank = torch.full_like(batch.tokens, G.vocabulary.pad)
    written = decode(G, blank, torch.zeros_like(batch.mask), context=E(batch.tokens)).tokens
    return Measurement(
        {"reconstructed": (written == batch.tokens)[batch.mask].to(torch.get_default_dtype()).mean().item()}
    )
