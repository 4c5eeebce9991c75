"""SeqGAN: policy gradient with the discriminator's verdict on Monte-Carlo roll-outs as reward (Yu et al., AAAI 2017).

The published algorithm 1, with the settings of its experiments. `Config.reward` replaces the discriminator by a
constant, by noise or by BLEU: the controls without which the effect of the discriminator cannot be told from that of
sharpening.
"""

import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypedDict

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from textforge.decoding import Generator, sample
from textforge.errors import CallError, above, at_least, at_most
from textforge.losses import discriminator_loss, nll, policy_gradient
from textforge.metrics.bleu import sentence_bleu
from textforge.nets.generators import LanguageModel, begin, build, check, trainable, without_dropout
from textforge.nets.text_cnn import TextCNN
from textforge.objectives import mixed
from textforge.returns import Reward, leave_one_out_baseline, monte_carlo_q
from textforge.run import Run
from textforge.sharding import by_rows
from textforge.task import Task
from textforge.text import Stream, Vocabulary

CITATION = """@inproceedings{yu2017seqgan,
  title = {{SeqGAN}: Sequence Generative Adversarial Nets with Policy Gradient},
  author = {Yu, Lantao and Zhang, Weinan and Wang, Jun and Yu, Yong},
  booktitle = {Proceedings of the Thirty-First AAAI Conference on Artificial Intelligence},
  pages = {2852--2858},
  year = {2017}
}"""

SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
KERNELS = (100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160)


@dataclass(frozen=True)
class Config:
    """The preset `paper` is the synthetic experiment: [P] marks values of the paper, [C] of the authors' code."""

    embedding_dim: int = 32
    """Size of the generator's embeddings [C]; a transformer is so wide throughout."""
    hidden_dim: int = 32
    """Size of the generator's LSTM [C]."""
    dropout: float = 0.0
    """Dropout of the generator while it learns from data; the paper has none."""
    init_std: float | None = 0.1
    """Standard deviation of the generator's initial weights [C]; None: PyTorch's own, of a transformer GPT-2's."""
    network: Literal["lstm", "transformer"] = "lstm"
    """What the generator is: an LSTM [P, C], or a small GPT."""
    num_layers: int = 1
    """Layers of the generator [C]."""
    num_heads: int = 4
    """Heads of the transformer's attention."""
    pretrained: str | None = None
    """A causal language model of Hugging Face to go on from: its folder, or its name with an owner (OWNER/NAME)."""
    lora_rank: int = 0
    """Of a pretrained model, train adapters of this rank in place of its weights; 0 trains all weights."""
    batch_size: int = 64
    """Sequences a step, of either network [P, C]."""
    clip: float = 5.0
    """Bound on the global norm of the generator's gradient [C]."""

    pretrain_steps: int = 120 * 157
    """Generator updates by maximum likelihood: 120 epochs of 10,000 sequences [C]; the paper trains to convergence."""
    pretrain_lr: float = 1e-2
    """Learning rate of Adam in pretraining [C]."""
    patience: int | None = None
    """End pretraining after this many evaluations without a lower held-out NLL, at the best; None: never [C]."""
    pretrain_rounds: int = 50
    """Rounds of discriminator pretraining, each with fresh negatives [C]."""

    rounds: int = 200
    """Adversarial rounds [C]."""
    g_steps: int = 1
    """Generator updates a round: g of algorithm 1 [P, fig. 3]."""
    g_lr: float = 1e-2
    """Learning rate of the generator's Adam in adversarial training, an optimizer of its own [C]."""
    num_rollouts: int = 16
    """Completions of each prefix, N of eq. 4 [C]; 0 gives the final reward to every position."""
    rollout_policy: Literal["copy", "ema"] = "copy"
    """How the roll-out policy follows: beta <- theta [P], or beta <- r beta + (1 - r) theta [C, meant]."""
    rollout_rate: float = 0.8
    """r of the `ema` roll-out policy [C]."""
    baseline: Literal["none", "leave-one-out"] = "none"
    """What is subtracted from the action values: nothing [P], or their mean over the other sequences of the batch."""
    reward: Literal["discriminator", "constant", "random", "bleu"] = "discriminator"
    """What scores a sequence: D(Y) [P]; 1 or uniform noise (controls); BLEU against the training text (PG-BLEU) [P]."""
    bleu_order: int = 4
    """The n of the BLEU reward; the paper does not give its own."""
    objective: str | None = None
    """A function of texts, `module:function` or `file.py:function`, that joins the reward (ORGAN); None: none."""
    objective_weight: float = 0.5
    """Its share of the reward, 1 - lambda of ORGAN: 0 only measures it, 1 is the objective alone."""

    d_steps: int = 5
    """Times a round that the discriminator gets fresh negatives: d of algorithm 1 [P, fig. 3]."""
    d_epochs: int = 3
    """Passes over each set of positives and negatives: k of algorithm 1 [P, fig. 3]."""
    negatives: int = 9984
    """Generated sequences in such a set, beside as many real ones [C]."""
    d_lr: float = 1e-4
    """Learning rate of the discriminator's Adam [C]."""
    d_embedding_dim: int = 64
    """Size of the discriminator's embeddings [C]."""
    d_windows: tuple[tuple[int, int], ...] = tuple(zip(SIZES, KERNELS, strict=True))
    """Convolutions as pairs (window, kernels) [P, appendix]; windows longer than a sequence are left out."""
    d_dropout: float = 0.25
    """Dropout in front of the discriminator's last layer [C: keep 0.75]."""
    d_l2: float = 0.2
    """Weight of (|w|^2 + |b|^2) / 2 of the discriminator's last layer [C]."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self)
        at_least(1, self, "batch_size", "pretrain_steps", "negatives", "d_embedding_dim")
        at_least(1, self, "patience", "g_steps", "d_epochs")
        at_least(2, self, "bleu_order")
        at_least(0, self, "pretrain_rounds", "rounds", "num_rollouts", "d_steps", "d_l2")
        at_least(0, self, "dropout", "d_dropout", "rollout_rate", "objective_weight")
        at_most(1, self, "dropout", "d_dropout", "rollout_rate", "objective_weight")
        above(0, self, "clip", "init_std", "pretrain_lr", "g_lr", "d_lr")
        if not self.d_windows or min(map(min, self.d_windows)) < 1:
            raise CallError(f"--d-windows takes pairs of sizes and numbers of kernels above 0, not {self.d_windows}")
        if self.baseline == "leave-one-out" and self.batch_size == 1:
            raise CallError("--baseline leave-one-out compares the sequences of a batch; set --batch-size above 1")


SMALL = Config(
    embedding_dim=256,
    hidden_dim=256,
    dropout=0.3,
    init_std=None,
    pretrain_steps=1000,
    pretrain_lr=2e-3,
    patience=4,
    pretrain_rounds=3,
    rounds=20,
    g_lr=1e-4,
    num_rollouts=4,
    baseline="leave-one-out",
    d_steps=1,
    d_epochs=1,
    negatives=1024,
    d_lr=5e-4,
    d_windows=((1, 50), (2, 100), (3, 100), (4, 100), (5, 100), (8, 50)),
)
PRESETS = {
    "paper": Config(),
    "small": SMALL,
    "constant-reward": replace(SMALL, reward="constant", baseline="none"),
    "random-reward": replace(SMALL, reward="random"),
    "pg-bleu": replace(SMALL, reward="bleu"),
    "transformer": replace(
        SMALL, network="transformer", embedding_dim=128, num_layers=2, dropout=0.1, pretrain_steps=2000
    ),
    "tiny": Config(
        embedding_dim=8,
        hidden_dim=16,
        batch_size=8,
        pretrain_steps=4,
        pretrain_rounds=1,
        rounds=3,
        num_rollouts=2,
        d_steps=1,
        d_epochs=1,
        negatives=16,
        d_embedding_dim=4,
        d_windows=((1, 4), (2, 4)),
    ),
}
LENGTHS = ("pretrain_steps", "pretrain_rounds", "rounds")


class Networks(TypedDict):
    """The two players."""

    generator: LanguageModel
    discriminator: TextCNN


def networks(config: Config, vocabulary: Vocabulary, max_length: int) -> Networks:
    """Build the generator and the discriminator, untrained."""
    return Networks(
        generator=build(config, vocabulary, max_length),
        discriminator=TextCNN(
            vocabulary,
            max_length,
            windows=config.d_windows,
            embedding_dim=config.d_embedding_dim,
            dropout=config.d_dropout,
        ),
    )


def train(config: Config, task: Task, run: Run) -> Generator:
    """Run algorithm 1."""
    players = networks(config, task.vocabulary, task.max_length)
    G, D = players["generator"], players["discriminator"]
    begin(G, config)
    beta = copy.deepcopy(G)  # the roll-out policy
    g_optimizer = Adam(trainable(G), lr=config.g_lr)
    d_optimizer = Adam(D.parameters(), lr=config.d_lr)
    pretrain_optimizer = run.track("pretrain_optimizer", Adam(trainable(G), lr=config.pretrain_lr))
    run.setup("generator", G, g_optimizer)
    run.setup("rollout_policy", beta)
    run.setup("discriminator", D, d_optimizer)
    stream = partial(Stream, task.train, width=task.max_length, seed=run.seed, device=run.device)
    real = run.track("real", stream(config.batch_size))
    positives = run.track("positives", stream(config.negatives))

    for _ in run.phase("pretrain", config.pretrain_steps, patience=config.patience):
        batch = real.next()
        loss = nll(G(batch.tokens), batch.mask)
        run.step(pretrain_optimizer, loss, clip=config.clip)
        run.log(nll_train=loss)
    beta.load_state_dict(G.state_dict())

    for _ in run.phase("discriminator", config.pretrain_rounds, evaluate_every=0):
        train_discriminator(config, G, D, d_optimizer, positives, run)

    without_dropout(G)  # from here on the gradient is that of the policy which is sampled
    for _ in run.phase("adversarial", config.rounds):
        reward = mixed(reward_function(config, D, task), config, task.objective)
        for _ in range(config.g_steps):
            fake = sample(G, config.batch_size)
            q = monte_carlo_q(beta, fake.tokens, reward, config.num_rollouts)  # eq. (4)
            run.log(reward=q.sum() / fake.mask.sum())
            if config.baseline == "leave-one-out":
                q = q - leave_one_out_baseline(q, fake.mask)
            run.step(g_optimizer, policy_gradient(G(fake.tokens), q), clip=config.clip)  # eq. (8)
        follow(beta, G, config.rollout_rate if config.rollout_policy == "ema" else 0.0)
        for _ in range(config.d_steps):
            train_discriminator(config, G, D, d_optimizer, positives, run)
    return G


def train_discriminator(
    config: Config, G: Generator, D: TextCNN, optimizer: Optimizer, positives: Stream, run: Run
) -> None:
    """Draw fresh negatives and minimise eq. (5) over them and as many real sequences, `d_epochs` times, shuffled."""
    sequences = torch.cat([positives.next().tokens, sample(G, config.negatives).tokens])
    is_real = torch.arange(len(sequences), device=sequences.device) < config.negatives
    for _ in range(config.d_epochs):
        for rows in torch.split(torch.randperm(len(sequences), device=sequences.device), config.batch_size):
            logits = D(sequences[rows]).logits
            loss = discriminator_loss(logits, is_real[rows])
            run.step(optimizer, loss + config.d_l2 * D.head_penalty())
            run.log(d_loss=loss, d_accuracy=((logits > 0) == is_real[rows]).float().mean())


def reward_function(config: Config, D: TextCNN, task: Task) -> Reward:
    """Return what scores whole sequences in this round: D as it stands now, or one of the controls."""
    match config.reward:
        case "discriminator":
            judge = D.tabulated()
            return by_rows(lambda tokens: judge(tokens).logits.sigmoid())
        case "constant":
            return lambda tokens: torch.ones(len(tokens), device=tokens.device)
        case "random":
            return lambda tokens: torch.rand(len(tokens), device=tokens.device)
        case "bleu":
            references = spelled(task.train.batch(np.arange(len(task.train)), None).tokens, task.vocabulary)
            return lambda tokens: torch.from_numpy(
                sentence_bleu(spelled(tokens, task.vocabulary), references, max_order=config.bleu_order)[-1]
            ).to(tokens.device, torch.get_default_dtype())


def spelled(tokens: Int[Tensor, "B T"], vocabulary: Vocabulary) -> list[str]:
    """Write ids as numbers between spaces, without padding, for metrics that take text."""
    return [" ".join(str(i) for i in row if i != vocabulary.pad) for row in tokens.tolist()]


@torch.no_grad()
def follow(beta: nn.Module, G: nn.Module, rate: float) -> None:
    """Move the roll-out policy: beta <- rate * beta + (1 - rate) * theta, for every parameter and buffer."""
    # Not in place: a tied weight has two names, and would move twice.
    theta = G.state_dict()
    moved = {name: value.lerp(theta[name], 1 - rate) for name, value in beta.state_dict().items()}
    beta.load_state_dict(moved)
