"""TextGAN: adversarial feature matching, the generator by MMD against learned features (Zhang et al., ICML 2017).

An LSTM that is a function of its noise writes soft words; a convolutional network judges sentences, reconstructs the
noise, and yields the features whose distribution the generator matches. `Config.matching` chooses how: by the kernel
MMD, by that of compressed features (MMD-L), by means (MM), or by means and covariances (CM).
"""

import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypedDict

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim import Adam

from textforge.decoding import Generator, sample
from textforge.errors import CallError, above, at_least, at_most
from textforge.losses import discriminator_loss, nll
from textforge.matching import Window, covariance_matching, mean_matching
from textforge.metrics.kde import kde
from textforge.mmd import MMD2, mmd2, root
from textforge.nets.noise_lstm import NoiseGateLSTM
from textforge.nets.textgan_heads import MatchingDiscriminator
from textforge.relaxations import annealed, write_softly
from textforge.run import Measurement, Run
from textforge.task import Task
from textforge.text import Corpus, Stream, Vocabulary, swap_two

CITATION = """@inproceedings{zhang2017adversarial,
  title = {Adversarial Feature Matching for Text Generation},
  author = {Zhang, Yizhe and Gan, Zhe and Fan, Kai and Chen, Zhi and Henao, Ricardo and Shen, Dinghan and Carin, Lawrence},
  booktitle = {Proceedings of the 34th International Conference on Machine Learning},
  pages = {4006--4015},
  year = {2017}
}"""  # noqa: E501

Matching = Literal["mmd", "mmd-l", "mm", "cm"]


@dataclass(frozen=True)
class Config:
    """The preset `paper` is the paper's setting: [P] marks paper, supplement and talk, [C] the authors' code."""

    embedding_dim: int = 300
    """Size of the generator's embeddings [C]."""
    hidden_dim: int = 500
    """Size of the generator's LSTM [C]."""
    noise_dim: int = 900
    """Size of z, uniform in (-1, 1): as many numbers as there are features [C]."""
    d_embedding_dim: int = 300
    """Size of the discriminator's embeddings, a table of its own [C]."""
    d_windows: tuple[tuple[int, int], ...] = ((3, 300), (4, 300), (5, 300))
    """Convolutions as pairs (window, kernels) [P]."""
    d_head_dim: int = 200
    """Sigmoid units between the features and the verdict [C]."""
    batch_size: int = 256
    """Sequences a step, real and generated each [P, C]."""
    clip: float = 5.0
    """Bound on the norm of either network's gradient [P]."""

    pretrain_steps: int = 10_000
    """Updates as an auto-encoder, from a sentence by D's features through G; the paper does not say how many."""
    pretrain_lr: float = 1e-3
    """Learning rate of Adam for the auto-encoder; the paper does not give it."""
    code: Literal["features", "latent"] = "features"
    """The auto-encoder's code: D's features, which then must be `noise_dim` many, or z^, read from them (ours)."""
    code_noise: float = 0.0
    """Share of fresh noise in the code that G reads, so that it learns to read noise (ours); the paper has none."""
    blind: float = 0.0
    """Share of sentences that G learns to write from noise alone, without their code (ours); the paper has none."""
    prior_weight: float = 0.0
    """Weight of MMD^2 between what G reads as an auto-encoder and fresh noise (ours); the paper has none."""
    swap_steps: int = 10_000
    """Updates of D on sentences against twins with two words exchanged [P, without a number]."""

    warmup_rounds: int = 1000
    """Rounds of mean matching before the adversarial ones [P, without a number]."""
    warmup_words: int | None = 15
    """Words that generated sentences are cut to in those rounds [P]; None leaves them whole."""
    rounds: int = 40_000
    """Adversarial rounds: 50 epochs of a million sentences in steps of `g_steps` batches [P]."""
    g_steps: int = 5
    """Generator updates a round, K [P]; 1 in the code."""
    g_lr: float = 5e-5
    """Learning rate of the generator's Adam [P, C]."""
    d_lr: float = 5e-5
    """Learning rate of the discriminator's Adam [P]."""
    matching: Matching = "mmd"
    """What G makes small: MMD^2, that of compressed features, or the distance of the means, or of two Gaussians [P]."""
    bandwidths: tuple[float, ...] = (10.0, 15.0, 20.0, 25.0, 30.0)
    """Bandwidths of the Gaussian kernel, of the order of the distances between features [P]; 20 alone in the code."""
    kernel: Literal["sum", "mean"] = "sum"
    """Whether the kernels of the bandwidths are added or averaged; the paper does not say which."""
    square_root: bool = False
    """Match by the MMD in place of its square [C]."""
    compressed_dims: tuple[int, int] = (200, 32)
    """Hidden and last size of the layers that compress features for `mmd-l` [C]."""
    window: int = 8
    """Minibatches whose features `mm` and `cm` accumulate [P, without a number]; the code accumulates all of them."""
    ridge: float = 0.1
    """What `cm` adds to the diagonals of the covariances [C]."""
    recon_weight: float = 0.01
    """lambda_r, the weight of reconstructing z in D's loss [P]."""
    match_weight: float = 0.001
    """lambda_m, the weight of the matching term, which D makes large [P]."""
    soft_label: float = 0.01
    """D says at least this and at most one minus this [P, C]."""
    sharpness: float = 1e4
    """L of the soft-argmax, in the last round [P]."""
    sharpness_start: float | None = None
    """L in the warm-up and the first round, from which it goes evenly to `sharpness` (ours); None: as `sharpness`."""
    straight_through: bool = False
    """Emit the argmax itself with the gradient of the soft-argmax (ours)."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least(1, self, "embedding_dim", "hidden_dim", "noise_dim", "d_embedding_dim", "d_head_dim")
        at_least(2, self, "batch_size")
        at_least(0, self, "pretrain_steps", "swap_steps", "warmup_rounds", "rounds")
        at_least(1, self, "warmup_words", "g_steps", "window")
        at_least(0, self, "code_noise", "blind", "prior_weight", "recon_weight", "match_weight", "soft_label")
        at_most(1, self, "code_noise", "blind")
        at_most(0.49, self, "soft_label")
        above(0, self, "clip", "pretrain_lr", "g_lr", "d_lr", "ridge", "sharpness", "sharpness_start")
        if not self.d_windows or min(map(min, self.d_windows)) < 1:
            raise CallError(f"--d-windows takes pairs of sizes and numbers of kernels above 0, not {self.d_windows}")
        if not self.bandwidths or min(self.bandwidths) <= 0:
            raise CallError(f"--bandwidths takes numbers above 0, at least one, not {self.bandwidths}")
        if min(self.compressed_dims) < 1:
            raise CallError(f"--compressed-dims takes two sizes above 0, not {self.compressed_dims}")
        num_features = sum(kernels for _, kernels in self.d_windows)
        if self.code == "features" and self.noise_dim != num_features:
            raise CallError(
                f"--code features needs as much noise as there are features, {num_features}, not --noise-dim "
                f"{self.noise_dim}; make them equal, or set --code latent"
            )
        if self.rounds < 2 and self.sharpness_start not in (None, self.sharpness):
            raise CallError(
                f"--sharpness-start {self.sharpness_start} goes to --sharpness {self.sharpness} in at least 2 rounds, "
                f"not in --rounds {self.rounds}; add rounds, or leave --sharpness-start out"
            )


SMALL = Config(
    embedding_dim=128,
    hidden_dim=256,
    noise_dim=32,
    d_embedding_dim=64,
    d_windows=((2, 50), (3, 50), (4, 50), (5, 50)),
    d_head_dim=100,
    batch_size=64,
    pretrain_steps=700,
    pretrain_lr=5e-3,
    code="latent",
    code_noise=0.3,
    blind=0.1,
    prior_weight=1.0,
    swap_steps=50,
    warmup_rounds=5,
    warmup_words=None,
    rounds=30,
    g_lr=1e-4,
    d_lr=1e-4,
    bandwidths=(5.0, 7.5, 10.0, 12.5, 15.0),
    sharpness=20.0,
)
PRESETS = {
    "paper": Config(),
    "released": Config(
        bandwidths=(20.0,),
        square_root=True,
        recon_weight=0.001,
        swap_steps=0,
        warmup_rounds=0,
        rounds=62_500,  # 16 epochs of a million sentences
        g_steps=1,
        d_lr=1e-4,
        sharpness=1e3,
    ),
    "small": SMALL,
    "mmd-l": replace(SMALL, matching="mmd-l", bandwidths=(0.25, 0.5, 1.0, 2.0, 4.0)),
    "mm": replace(SMALL, matching="mm"),
    "cm": replace(SMALL, matching="cm"),
    "tiny": Config(
        embedding_dim=8,
        hidden_dim=16,
        noise_dim=8,
        d_embedding_dim=6,
        d_windows=((1, 4), (2, 4)),
        d_head_dim=8,
        batch_size=8,
        pretrain_steps=3,
        pretrain_lr=1e-2,
        swap_steps=2,
        warmup_rounds=1,
        warmup_words=2,
        rounds=2,
        g_steps=2,
        g_lr=1e-2,
        d_lr=1e-2,
        bandwidths=(1.0, 2.0),
        compressed_dims=(6, 3),
        window=3,
        sharpness=1.0,
    ),
}
LENGTHS = ("pretrain_steps", "swap_steps", "warmup_rounds", "rounds")


class Networks(TypedDict):
    """The two players."""

    generator: NoiseGateLSTM
    discriminator: MatchingDiscriminator


def networks(config: Config, vocabulary: Vocabulary, max_length: int) -> Networks:
    """Build the generator and the discriminator, untrained."""
    return Networks(
        generator=NoiseGateLSTM(
            vocabulary,
            max_length,
            noise_dim=config.noise_dim,
            embedding_dim=config.embedding_dim,
            hidden_dim=config.hidden_dim,
        ),
        discriminator=MatchingDiscriminator(
            vocabulary,
            windows=config.d_windows,
            embedding_dim=config.d_embedding_dim,
            head_dim=config.d_head_dim,
            noise_dim=config.noise_dim,
            compressed_dims=config.compressed_dims if config.matching == "mmd-l" else None,
            margin=config.soft_label,
        ),
    )


def train(config: Config, task: Task, run: Run) -> Generator:
    """Pretrain both players, warm up, then alternate K generator steps with one of the discriminator."""
    players = networks(config, task.vocabulary, task.max_length)
    G, D = players["generator"], players["discriminator"]
    extractor = copy.deepcopy(D)  # what the auto-encoder made of D; its features stay, so that scores compare
    g_optimizer = Adam(G.parameters(), lr=config.g_lr)
    d_optimizer = Adam(D.parameters(), lr=config.d_lr)
    pretrain_optimizer = Adam([*G.parameters(), *D.parameters()], lr=config.pretrain_lr)
    run.setup("generator", G, g_optimizer)
    run.setup("discriminator", D, d_optimizer)
    run.setup("extractor", extractor)
    run.track("pretrain_optimizer", pretrain_optimizer)
    stream = Stream(task.train, config.batch_size, width=task.max_length, seed=run.seed, device=run.device)
    real = run.track("real", stream)
    accumulated = config.window if config.matching in ("mm", "cm") else 1
    past_real = run.track("past_real", Window(accumulated))
    past_fake = run.track("past_fake", Window(accumulated))

    for _ in run.phase("pretrain", config.pretrain_steps):
        batch = real.next()
        read = encode(config, D, batch.tokens, G.noise(config.batch_size))
        loss = nll(G(batch.tokens, read), batch.mask)
        run.log(nll_train=loss)
        if config.prior_weight:
            loss = loss + config.prior_weight * distance_to_prior(read, G.noise(len(read)))
        run.step(pretrain_optimizer, loss, clip=config.clip)
    extractor.load_state_dict(D.state_dict())

    for _ in run.phase("discriminator", config.swap_steps, evaluate_every=0):
        batch = real.next()
        twins, spoilt = swap_two(batch.tokens, batch.mask, eos=task.vocabulary.eos)
        logits = D(torch.cat([batch.tokens, twins[spoilt]])).logits  # a twin like its sentence is neither real nor not
        loss = discriminator_loss(logits, torch.arange(len(logits), device=run.device) < config.batch_size)
        run.step(d_optimizer, loss, clip=config.clip)
        run.log(swap_loss=loss)

    write = partial(write_softly, G, straight_through=config.straight_through)
    start = config.sharpness if config.sharpness_start is None else config.sharpness_start
    phases: tuple[tuple[str, int, Matching, int | None], ...] = (
        ("warm-up", config.warmup_rounds, "mm", config.warmup_words),
        ("adversarial", config.rounds, config.matching, None),
    )
    for phase, rounds, matching, words in phases:
        for window in (past_real, past_fake):
            window.clear()  # of sentences of another length
        with torch.no_grad():  # one minibatch has fewer sentences than features, and covariances that are mostly noise
            for _ in range(accumulated - 1):
                past_real.push(D.features(real.next().tokens))
                past_fake.push(D.features(write(G.noise(config.batch_size), start)[0].rows[:words]))

        for i in run.phase(phase, rounds, measure=partial(kde_score, extractor, G, task.valid, run.device)):
            L = start if phase == "warm-up" else annealed(start, config.sharpness, rounds, i)
            D.requires_grad_(False)
            for _ in range(config.g_steps):
                f = D.features(real.next().tokens)
                fake, largest = write(G.noise(config.batch_size), L)
                f_fake = D.features(fake.rows[:words])
                term, distance = matching_term(config, matching, D, f, f_fake, (past_real, past_fake))
                run.step(g_optimizer, generator_objective(term), clip=config.clip)
                past_real.push(f)
                past_fake.push(f_fake)
                run.log(g_loss=term, mmd2=distance.biased, mmd2_unbiased=distance.unbiased)
                run.log(max_prob=largest.mean(), sure=(largest > 0.99).to(largest).mean())
            D.requires_grad_(True)

            z = G.noise(config.batch_size)
            with torch.no_grad():
                fake, _ = write(z, L)
            verdict, verdict_fake = D(real.next().tokens), D(fake.rows[:words])
            f, f_fake = verdict.features, verdict_fake.features
            term, _ = matching_term(config, matching, D, f, f_fake, (past_real, past_fake))
            recon = (D.latent(f_fake) - z).square().sum(1).mean()
            logits = torch.cat([verdict.logits, verdict_fake.logits])
            is_real = torch.arange(len(logits), device=logits.device) < config.batch_size
            gan = 2 * discriminator_loss(logits, is_real)  # -E log D(s) - E log(1 - D(G(z)))
            run.step(d_optimizer, discriminator_objective(config, gan, recon, term), clip=config.clip)
            run.log(d_loss=gan / 2, d_accuracy=((logits > 0) == is_real).float().mean(), recon=recon)
    return G


# The signs, here and nowhere else. Both objectives are minimised. The paper has D maximise the negative of what stands
# here: D classifies well, reconstructs with a small error, and makes the matching term large; G makes that term small,
# and knows nothing of the other two.


def generator_objective(matching: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Return L_G."""
    return matching


def discriminator_objective(
    config: Config, gan: Float[Tensor, ""], recon: Float[Tensor, ""], matching: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Return L_D."""
    return gan + config.recon_weight * recon - config.match_weight * matching


def matching_term(
    config: Config,
    matching: Matching,
    D: MatchingDiscriminator,
    real: Float[Tensor, "B F"],
    fake: Float[Tensor, "B F"],
    past: tuple[Window, Window],
) -> tuple[Float[Tensor, ""], MMD2]:
    """Return how far the features of two minibatches are apart by the measure chosen, and their MMD^2."""
    distance = mmd2(D.matched(real), D.matched(fake), config.bandwidths, average=config.kernel == "mean")
    past_real, past_fake = past
    match matching:
        case "mmd" | "mmd-l":
            term = root(distance.biased) if config.square_root else distance.biased
        case "mm":
            term = mean_matching(past_real.joined(real), past_fake.joined(fake))
        case "cm":
            term = covariance_matching(past_real.joined(real), past_fake.joined(fake), ridge=config.ridge)
    return term, distance


def encode(
    config: Config, D: MatchingDiscriminator, tokens: Int[Tensor, "B T"], fresh: Float[Tensor, "B Z"]
) -> Float[Tensor, "B Z"]:
    """Return what the auto-encoder's decoder, G, reads to write each sentence again: its code, mixed with noise."""
    features = D.features(tokens)
    code = features if config.code == "features" else D.latent(features)
    mixed = torch.lerp(code, fresh, config.code_noise)
    return torch.where(torch.rand_like(fresh[:, :1]) < config.blind, fresh, mixed)


def distance_to_prior(noise: Float[Tensor, "B Z"], prior: Float[Tensor, "B Z"]) -> Float[Tensor, ""]:
    """Return MMD^2 of two sets of noise, by kernels as wide as the prior's own distances, half and twice that."""
    typical = (2 / 3 * noise.shape[1]) ** 0.5  # a number of z differs from another by 2/3 on average, squared
    return mmd2(noise, prior, (typical / 2, typical, 2 * typical), average=True).biased


def kde_score(
    extractor: MatchingDiscriminator, G: Generator, valid: Corpus, device: torch.device, *, rounds: int = 10
) -> Measurement:
    """Measure how near held-out sentences are to samples, 128 a round as in the authors' code."""
    sentences = valid.batch(np.arange(min(len(valid), 500)), None).to(device).tokens
    drawn = sample(G, 128 * rounds).tokens.chunk(rounds)
    real, *fake = (extractor.features(tokens).double().cpu().numpy() for tokens in (sentences, *drawn))
    return Measurement(kde(real, fake))
