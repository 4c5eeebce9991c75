"""MaskGAN: an actor-critic fills in the blanks of a text, rewarded at each of them (Fedus, Goodfellow, Dai, ICLR 2018).

The four stages of the paper: a language model; MaskMLE, which fills blanks by maximum likelihood and is the baseline;
a discriminator of its fills; and the adversarial game. Losses and rewards live on blanked positions only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from textforge.decoding import Generator, decode, evaluating, infill, sample
from textforge.errors import above, at_least, at_most
from textforge.losses import nll, policy_gradient
from textforge.metrics.matches import ngram_score
from textforge.nets.infilling import InfillingDiscriminator, InfillingGenerator
from textforge.objectives import rewarded, steered
from textforge.returns import discounted_returns
from textforge.run import Measurement, Run, derive
from textforge.run.seeds import forked
from textforge.task import Task
from textforge.text import Stream, Vocabulary
from textforge.text.masking import bernoulli_blanks, contiguous_blanks, words

CITATION = """@inproceedings{fedus2018maskgan,
  title = {{MaskGAN}: Better Text Generation via Filling in the \\_\\_\\_\\_\\_\\_},
  author = {Fedus, William and Goodfellow, Ian and Dai, Andrew M.},
  booktitle = {International Conference on Learning Representations},
  year = {2018}
}"""

MEASURED = 256
"""Held-out texts whose blanks are filled at an evaluation, and texts that are drawn for the n-gram score."""


@dataclass(frozen=True)
class Config:
    """The preset `paper` is the PTB experiment: [P] marks values of the paper, [C] of the code or its README."""

    hidden_dim: int = 650
    """Size of all LSTMs, and of the embedding, whose rows are the softmax weights [P]."""
    num_layers: int = 2
    """LSTM layers of each encoder and decoder [P]."""
    dropout: float = 0.5
    """Variational dropout of the generator while it learns by likelihood [C default]."""
    clip: float = 10.0
    """Bound on the global norm of each gradient [C]."""

    mask: Literal["contiguous", "bernoulli"] = "contiguous"
    """Blanks: one block a text, which gave the best samples, or each token by itself [P]."""
    present_rate: float = 0.5
    """Share of the tokens that stay [P]; 0 with `bernoulli` blanks every word."""
    whole_rate: float = 0.0
    """Share of the texts of which everything is blank, their length too, so that the generator can write freely as
    well; the paper trains such a model by itself."""

    lm_steps: int = 30_000
    """Updates of the decoder as a language model; the paper trains to convergence."""
    mle_steps: int = 30_000
    """Updates of MaskMLE; the paper trains to convergence."""
    pretrain_batch_size: int = 20
    """Texts a step in these two stages [C]."""
    pretrain_lr: float = 7.4876e-4
    """Learning rate of Adam in these two stages [C]."""
    patience: int | None = None
    """End MaskMLE after this many evaluations without a lower held-out NLL of whole texts, at the best; None: never."""
    d_pretrain_steps: int = 100
    """Updates of the discriminator in front of the game [C]."""
    d_pretrain_lr: float = 5e-3
    """Learning rate of the discriminator's Adam in these [C]."""

    rounds: int = 30_000
    """Adversarial rounds, of one generator update each; the paper gives no number. 0: MaskMLE."""
    batch_size: int = 128
    """Texts a step, of every network, from the discriminator's pretraining on [C]."""
    d_steps: int = 3
    """Discriminator updates a round [P]."""
    g_lr: float = 3.8877e-5
    """Learning rate of the generator's Adam in the game [C]."""
    d_lr: float = 5e-4
    """Learning rate of the discriminator's Adam in the game [C]."""
    critic_lr: float = 5.1761e-7
    """Learning rate of the critic's Adam [C]."""
    critic_step: Literal["generator", "discriminator"] = "generator"
    """With whose update the critic makes one: the generator's [P], or the discriminator's [C]."""
    critic_trunk: bool = False
    """Whether the critic's loss trains the discriminator's layers under its head, too; it disturbs them [C: off]."""
    discount: float = 0.89072
    """gamma of the returns [C]."""
    reward: Literal["discriminator", "constant", "random"] = "discriminator"
    """What scores a fill: log D [P]; the same number for all, or the logarithm of uniform noise (controls)."""
    returns: Literal["from-here", "from-start"] = "from-here"
    """Whether a reward at s counts gamma^(s-t) at t [C], or gamma^s, as the paper prints it."""
    objective: str | None = None
    """A function of texts, `module:function` or `file.py:function`, that joins the returns (ORGAN); None: none."""
    objective_weight: float = 0.5
    """Its share of the returns, 1 - lambda of ORGAN: 0 only measures it, 1 is the objective alone."""
    advantage_clip: float = 5.0
    """Bound on the absolute advantage [C]."""
    label_matches_as_real: bool = False
    """Whether a fill that equals the true token is labelled real, as the paper's equation says; the code labels every
    fill as false."""
    curriculum: int = 0
    """Rounds over which the texts grow from two tokens to their whole length [P, not in its main results]; 0: none."""

    share_embedding: bool = True
    """Whether the discriminator reads the generator's embedding, which then only the generator trains [P, C]."""
    d_dropout: float = 0.2806
    """Variational dropout of the discriminator [C: keep .7194]."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least(1, self, "hidden_dim", "num_layers", "batch_size", "pretrain_batch_size", "patience", "d_steps")
        at_least(0, self, "lm_steps", "mle_steps", "d_pretrain_steps", "rounds", "curriculum")
        at_least(0, self, "dropout", "d_dropout", "present_rate", "whole_rate", "discount", "objective_weight")
        at_most(1, self, "dropout", "d_dropout", "present_rate", "whole_rate", "discount", "objective_weight")
        above(0, self, "clip", "advantage_clip", "pretrain_lr", "d_pretrain_lr", "g_lr", "d_lr", "critic_lr")


SMALL = Config(
    hidden_dim=128,
    num_layers=1,
    dropout=0.3,
    mask="bernoulli",  # what people leave blank are words here and there
    whole_rate=0.5,
    lm_steps=300,
    mle_steps=1500,
    pretrain_batch_size=64,
    pretrain_lr=3e-3,
    patience=4,
    d_pretrain_steps=100,
    d_pretrain_lr=1e-3,
    rounds=50,
    batch_size=64,
    g_lr=5e-5,
    critic_lr=2e-2,
)
PRESETS = {
    "paper": Config(),
    "small": SMALL,
    "maskmle": replace(SMALL, rounds=0),
    "contiguous": replace(SMALL, mask="contiguous"),
    "tiny": Config(
        hidden_dim=12,
        num_layers=1,
        whole_rate=0.5,
        lm_steps=3,
        mle_steps=4,
        pretrain_batch_size=8,
        d_pretrain_steps=2,
        rounds=3,
        batch_size=8,
        critic_lr=1e-3,
    ),
}
LENGTHS = ("lm_steps", "mle_steps", "d_pretrain_steps", "rounds", "curriculum")


class Networks(TypedDict):
    """The two players; the critic is a head of the discriminator."""

    generator: InfillingGenerator
    discriminator: InfillingDiscriminator


def networks(config: Config, vocabulary: Vocabulary, max_length: int) -> Networks:
    """Build the generator and the discriminator, untrained."""
    size = {"hidden_dim": config.hidden_dim, "num_layers": config.num_layers}
    G = InfillingGenerator(vocabulary, max_length, dropout=config.dropout, **size)
    shared = G.embedding if config.share_embedding else None
    return Networks(
        generator=G,
        discriminator=InfillingDiscriminator(vocabulary, dropout=config.d_dropout, shared=shared, **size),
    )


def train(config: Config, task: Task, run: Run) -> Generator:
    """Run the four stages."""
    players = networks(config, task.vocabulary, task.max_length)
    G, D = players["generator"], players["discriminator"]
    g_optimizer = Adam(G.parameters(), lr=config.g_lr)
    d_optimizer = Adam(D.judging_parameters(), lr=config.d_lr)
    critic_optimizer = run.track(
        "critic_optimizer", Adam(D.critic_parameters(trunk=config.critic_trunk), lr=config.critic_lr)
    )
    pretrain_optimizer = run.track("pretrain_optimizer", Adam(G.parameters(), lr=config.pretrain_lr))
    d_pretrain_optimizer = run.track("d_pretrain_optimizer", Adam(D.judging_parameters(), lr=config.d_pretrain_lr))
    run.setup("generator", G, g_optimizer)
    run.setup("discriminator", D, d_optimizer)
    stream = partial(Stream, task.train, width=task.max_length, seed=run.seed, device=run.device)
    texts = run.track("texts", stream(config.pretrain_batch_size))
    real = run.track("real", stream(config.batch_size))
    measure = measurements(config, G, task, run)
    objective = rewarded(config, task.objective)

    for _ in run.phase("language-model", config.lm_steps, evaluate_every=0):  # it is no generator yet
        batch = texts.next()
        loss = nll(G.language_model(batch.tokens), batch.mask)
        run.step(pretrain_optimizer, loss, clip=config.clip)
        run.log(nll_lm=loss)
    G.encoder.load_state_dict(G.decoder.state_dict())

    for _ in run.phase("maskmle", config.mle_steps, patience=config.patience, measure=measure):
        batch = texts.next()
        masked = with_blanks(config, batch.tokens, task.vocabulary)
        loss = masked_mean(-G(batch.tokens, masked), batch.mask & (masked == task.vocabulary.mask))
        run.step(pretrain_optimizer, loss, clip=config.clip)
        run.log(nll_train=loss)

    G.dropout.eval()  # from here on the gradient is that of the policy which is sampled
    for _ in run.phase("discriminator", config.d_pretrain_steps, evaluate_every=0):
        play = filled(config, G, real.next().tokens)
        train_discriminator(config, D, d_pretrain_optimizer, play, run)
        return_ = steered(returns(config, rewards(config, D, play)), play.fake, config, objective)
        train_critic(config, D, critic_optimizer, play, return_, run)

    for i in run.phase("adversarial", config.rounds, measure=measure):
        width = curriculum_length(config, i, task.max_length)
        for _ in range(config.d_steps):
            play = filled(config, G, real.next().tokens[:, :width])
            train_discriminator(config, D, d_optimizer, play, run)
            if config.critic_step == "discriminator":
                return_ = steered(returns(config, rewards(config, D, play)), play.fake, config, objective)
                train_critic(config, D, critic_optimizer, play, return_, run)
        play = filled(config, G, real.next().tokens[:, :width])
        reward = rewards(config, D, play)
        return_ = steered(returns(config, reward), play.fake, config, objective)
        advantage = advantages(config, D, play, return_)
        run.step(g_optimizer, policy_gradient(G(play.fake, play.masked), advantage), clip=config.clip)
        run.log(reward=masked_mean(reward, play.blank))
        if config.critic_step == "generator":
            train_critic(config, D, critic_optimizer, play, return_, run)
    return G


@dataclass(frozen=True)
class Play:
    """Texts, what of them the generator was shown, and what it made of that.

    `masked` is m(x), `fake` the filled text x~. Of the blanks, `hidden` marks those that hold a real token in `real`,
    `blank` those that hold a fill in `fake`: the same, unless a text whose length was free ended elsewhere.
    """

    real: Int[Tensor, "B T"]
    masked: Int[Tensor, "B T"]
    fake: Int[Tensor, "B T"]
    hidden: Bool[Tensor, "B T"]
    blank: Bool[Tensor, "B T"]


def with_blanks(config: Config, tokens: Int[Tensor, "B T"], vocabulary: Vocabulary) -> Int[Tensor, "B T"]:
    """Draw m(x). `eos` stays, so that a text with blanks tells how long it is, but for those that are blank as a whole.

    These, a share of `whole_rate`, are blanks over the full width, as in writing freely.
    """
    draw = {"contiguous": contiguous_blanks, "bernoulli": bernoulli_blanks}[config.mask]
    blank = draw(words(tokens, vocabulary).sum(1), tokens.shape[1], config.present_rate)
    whole = torch.rand(len(tokens), 1, device=tokens.device) < config.whole_rate
    return tokens.masked_fill(blank | whole, vocabulary.mask)


def filled(config: Config, G: InfillingGenerator, tokens: Int[Tensor, "B T"]) -> Play:
    """Blank some tokens of each text and let the generator fill them."""
    vocabulary = G.vocabulary
    masked = with_blanks(config, tokens, vocabulary)
    unknown = masked == vocabulary.mask
    fake = decode(G, tokens, ~unknown, context=masked)
    return Play(tokens, masked, fake.tokens, unknown & (tokens != vocabulary.pad), unknown & fake.mask)


def train_discriminator(config: Config, D: InfillingDiscriminator, optimizer: Optimizer, play: Play, run: Run) -> None:
    """Descend -log D on the real tokens and -log(1 - D) on the fills, at the blanks."""
    real, fake = D(play.real, play.masked).logits, D(play.fake, play.masked).logits
    labels = labels_of_fills(config, play)
    loss = infilling_discriminator_loss(real, fake, labels, play)
    run.step(optimizer, loss, clip=config.clip)
    of_real = masked_mean((real > 0).to(real.dtype), play.hidden)
    of_fakes = masked_mean(((fake > 0) == labels).to(fake.dtype), play.blank)
    run.log(d_loss=loss, d_accuracy=(of_real + of_fakes) / 2)


def labels_of_fills(config: Config, play: Play) -> Bool[Tensor, "B T"]:
    """Return which fills are labelled real: none, or by the paper's equation those that equal the true token."""
    return (play.fake == play.real) & config.label_matches_as_real


def infilling_discriminator_loss(
    real: Float[Tensor, "B T"], fake: Float[Tensor, "B T"], labels: Bool[Tensor, "B T"], play: Play
) -> Float[Tensor, ""]:
    """Return the mean over blanks of the cross-entropies of real tokens and of fills, halved as in the code."""
    of_fakes = F.binary_cross_entropy_with_logits(fake, labels.to(fake.dtype), reduction="none")
    return (masked_mean(F.softplus(-real), play.hidden) + masked_mean(of_fakes, play.blank)) / 2


def rewards(config: Config, D: InfillingDiscriminator, play: Play) -> Float[Tensor, "B T"]:
    """Return r_t = log 2 D(x~_t | x~, m(x)) at the blanks, which is 0 where D cannot tell, and 0 elsewhere.

    That is the paper's log D and a constant. Where the number of blanks is given, the constant changes no gradient in
    expectation, and spares the critic, which does not see m(x), from having to know how many blanks are left. Where
    the generator chooses the length, a sum of negative rewards would have it end at once.
    """
    match config.reward:
        case "discriminator":
            with evaluating(D):
                verdict = F.logsigmoid(D(play.fake, play.masked).logits)
        case "constant":
            verdict = torch.full(play.fake.shape, -math.log(2), device=play.fake.device)
        case "random":
            verdict = torch.rand(play.fake.shape, device=play.fake.device).log()
    return (verdict + math.log(2)) * play.blank


def returns(config: Config, reward: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Return R_t, the discounted sum of the rewards from t on."""
    return discounted_returns(reward, config.discount, from_start=config.returns == "from-start")


def advantages(
    config: Config, D: InfillingDiscriminator, play: Play, return_: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Return R_t - V_t at the blanks, clipped, and 0 elsewhere."""
    with evaluating(D):
        advantage = return_ - D.critic(play.fake)
    return advantage.clamp(-config.advantage_clip, config.advantage_clip) * play.blank


def train_critic(
    config: Config,
    D: InfillingDiscriminator,
    optimizer: Optimizer,
    play: Play,
    return_: Float[Tensor, "B T"],
    run: Run,
) -> None:
    """Descend the squared error of V_t against R_t, at the blanks."""
    loss = masked_mean((D.critic(play.fake, trunk=config.critic_trunk) - return_).square(), play.blank)
    run.step(optimizer, loss, clip=config.clip)
    run.log(critic_loss=loss)


def masked_mean(values: Float[Tensor, "B T"], where: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Return the mean over the places where the mask is True, 0 if there are none."""
    return (values * where).sum() / where.sum().clamp(min=1)


def curriculum_length(config: Config, i: int, max_length: int) -> int:
    """Return how many tokens of each text are played for in round i."""
    if i >= config.curriculum:
        return max_length
    shortest = min(2, max_length)
    return shortest + (max_length - shortest) * i // config.curriculum


def measurements(config: Config, G: InfillingGenerator, task: Task, run: Run) -> Callable[[], Measurement]:
    """Return what evaluations add: how the blanks of held-out texts are filled, always the same blanks."""
    num = min(MEASURED, len(task.valid))
    tokens = task.valid.batch(np.arange(num), task.max_length).to(run.device).tokens
    with forked(derive(run.seed, "blanks"), run.device):
        masked = with_blanks(replace(config, whole_rate=0.0), tokens, task.vocabulary)

    def measure() -> Measurement:
        loss = masked_mean(-G(tokens, masked), masked == task.vocabulary.mask)
        scalars = {"nll_masked": loss.item(), "perplexity_masked": loss.exp().item()}
        if config.whole_rate > 0:  # else it has never learnt to write freely
            drawn, held_out = spelled(sample(G, num).tokens, task), spelled(tokens, task)
            scalars |= ngram_score(drawn, held_out, split=task.tokenizer.split)
        if task.objective is not None:
            scalars["objective_fills"] = float(task.objective(infill(G, masked).tokens).mean())
        if task.oracle is not None:
            fills = infill(G, masked)
            log_p = task.oracle.log_prob(spelled(fills.tokens, task))
            valid = log_p > -np.inf
            scalars["validity_fills"] = float(valid.mean())
            if valid.any():
                scalars["nll_fills"] = -float(log_p[valid].sum() / fills.lengths.cpu().numpy()[valid].sum())
        return Measurement(scalars)

    return measure


def spelled(tokens: Int[Tensor, "B T"], task: Task) -> list[str]:
    """Return the texts of rows of ids."""
    return [task.tokenizer.decode(row) for row in tokens.tolist()]
