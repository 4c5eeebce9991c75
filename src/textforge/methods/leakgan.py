"""LeakGAN: long text, written towards goals among features that the discriminator leaks (Guo et al., AAAI 2018).

The goals are directions in which the features of a growing prefix should move. The Manager is trained to point where
moves were worth much to the discriminator, the Worker to write what moves the features there.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, TypedDict

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim import Adam, Optimizer

from textforge.decoding import Generator, sample
from textforge.errors import CallError, above, at_least, at_most
from textforge.losses import discriminator_loss, nll, policy_gradient
from textforge.nets.manager_worker import GoalForm, LeakGANGenerator
from textforge.nets.text_cnn import TextCNN
from textforge.objectives import mixed
from textforge.returns import Reward, cosine, intrinsic_reward, leave_one_out_baseline, monte_carlo_q, rank_rescale
from textforge.run import Measurement, Run
from textforge.sharding import by_rows
from textforge.task import Task
from textforge.text import Stream, Vocabulary

CITATION = """@inproceedings{guo2018leakgan,
  title = {Long Text Generation via Adversarial Training with Leaked Information},
  author = {Guo, Jiaxian and Lu, Sidi and Cai, Han and Zhang, Weinan and Yu, Yong and Wang, Jun},
  booktitle = {Proceedings of the Thirty-Second AAAI Conference on Artificial Intelligence},
  pages = {5141--5148},
  year = {2018}
}"""

KERNELS = {1: 100, **dict.fromkeys(range(2, 6), 200), **dict.fromkeys(range(6, 11), 100)}


def paper_windows(max_length: int) -> tuple[tuple[int, int], ...]:
    """Return the convolutions for sequences of this length, as pairs (window, kernels).

    Sizes 1 to 10, and above them 160 kernels each of three quarters of the length and of the length: the paper's table
    for 20. Half the length, where that is above 10 too: the released code's for 32; and at 40 also 16: the paper's.
    """
    longer = {max_length // 2, 3 * max_length // 4, max_length} | ({16} if max_length == 40 else set())
    kernels = KERNELS | {size: 160 for size in sorted(longer) if size > 10}
    return tuple((size, number) for size, number in kernels.items() if size <= max_length)


@dataclass(frozen=True)
class Config:
    """The preset `paper` is the synthetic experiment at length 20: [P] marks values of the paper, [C] of its code."""

    embedding_dim: int = 32
    """Size of the Worker's embeddings [P, C]."""
    hidden_dim: int = 32
    """Size of the Worker's LSTM [P, C]."""
    manager_dim: int = 32
    """Size of the Manager's LSTM [P, C]."""
    goal_dim: int = 16
    """Size of an embedded goal, k [P, C]."""
    step_size: int = 4
    """Steps over which a goal is pursued, c [P, C]; a shorter language takes its whole length."""
    goal_form: GoalForm = "sliding"
    """Which goals a token follows: the sum of the last c [P], or of the segment of c tokens before its own [C]."""
    normalise_goal: bool = False
    """Whether the embedded goal w_t is scaled to length 1: no [P], yes [C]."""
    dropout: float = 0.0
    """Dropout of the Worker while it learns from data; the paper has none."""
    init_std: float | None = 0.1
    """Standard deviation of the initial weights of Manager and Worker [C]; None leaves PyTorch's own."""
    batch_size: int = 64
    """Sequences a step, of any network [C]."""
    clip: float = 5.0
    """Bound on the global norm of the gradients of Manager and Worker, each [C]."""

    pretrain_steps: int = 80 * 157
    """Updates of Manager and Worker from real text: 80 epochs of 10,000 sequences [C]; to convergence [P]."""
    pretrain_every: int = 8 * 157
    """Such updates between two turns of the discriminator, which goes first: 8 epochs, so 10 turns [C]."""
    pretrain_lr: float = 1e-3
    """Learning rate of Adam when Manager and Worker learn from real text [P]; 1.5e-3 [C]."""
    patience: int | None = None
    """End pretraining after this many evaluations without a lower held-out NLL, at the best; None: never [C]."""

    rounds: int = 800
    """Adversarial rounds [C]."""
    g_steps: int = 1
    """Updates of Manager and Worker a round [C]."""
    g_lr: float = 1e-3
    """Learning rate of their Adams in adversarial training, optimizers of their own [P]; 1.5e-3 [C]."""
    num_rollouts: int = 4
    """Completions of each prefix [C]; 0 gives the final reward to every position."""
    rollout_every: Literal["token", "segment"] = "token"
    """Which prefixes are completed: all [P], or those of a multiple of c tokens [C]."""
    rescale_delta: float = 12.0
    """delta of the bootstrapped rescaled activation [P]; 16, of unsorted rewards [C]."""
    reward: Literal["discriminator", "constant", "random"] = "discriminator"
    """What scores a sequence: D(Y) [P]; 1 or uniform noise (controls; the leaked features stay D's)."""
    objective: str | None = None
    """A function of texts, `module:function` or `file.py:function`, that joins the reward (ORGAN); None: none."""
    objective_weight: float = 0.5
    """Its share of the reward, 1 - lambda of ORGAN: 0 only measures it, 1 is the objective alone."""
    baseline: Literal["none", "leave-one-out"] = "none"
    """What is subtracted from the intrinsic reward: nothing [P, C], or its mean over the other sequences."""
    temperature: float = 1.0
    """alpha of the policy that is trained and sampled in adversarial rounds; 1 [C, synthetic]. Never in evaluation."""
    mle_every: int = 15
    """An epoch on real text follows each so many adversarial rounds [P]; 0: never [C, synthetic]."""
    interleave_lr: float | None = None
    """Learning rate of those epochs; None: that of pretraining."""

    d_steps: int = 5
    """Times a turn that the discriminator gets fresh negatives [C]."""
    d_epochs: int = 3
    """Passes over each set of positives and negatives [C]."""
    negatives: int = 9984
    """Generated sequences in such a set, beside as many real ones [C]."""
    d_lr: float = 5e-5
    """Learning rate of the discriminator's Adam [C]."""
    d_embedding_dim: int = 64
    """Size of the discriminator's embeddings [C]."""
    d_windows: tuple[tuple[int, int], ...] | None = None
    """Convolutions as pairs (window, kernels), without those longer than a sequence; None: the paper's tables [P]."""
    d_dropout: float = 0.25
    """Dropout in front of the discriminator's last layer [P: keep 0.75]; none [C]."""
    d_l2: float = 0.2
    """Weight of (|w|^2 + |b|^2) / 2 of the discriminator's last layer, named [P] without a value; in effect 0 [C]."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least(1, self, "embedding_dim", "hidden_dim", "manager_dim", "goal_dim", "step_size", "batch_size")
        at_least(1, self, "pretrain_steps", "pretrain_every", "patience", "g_steps", "d_steps", "d_epochs", "negatives")
        at_least(1, self, "d_embedding_dim")
        at_least(0, self, "rounds", "num_rollouts", "mle_every", "d_l2", "dropout", "d_dropout", "objective_weight")
        at_most(1, self, "dropout", "d_dropout", "objective_weight")
        above(0, self, "clip", "init_std", "pretrain_lr", "g_lr", "interleave_lr", "d_lr")
        above(0, self, "rescale_delta", "temperature")
        if self.d_windows is not None and (not self.d_windows or min(map(min, self.d_windows)) < 1):
            raise CallError(f"--d-windows takes pairs of sizes and numbers of kernels above 0, not {self.d_windows}")
        if self.batch_size == 1:
            raise CallError("LeakGAN ranks the sequences of a batch; set --batch-size above 1")


SMALL = Config(
    embedding_dim=128,
    hidden_dim=128,
    manager_dim=64,
    goal_dim=8,
    normalise_goal=True,
    dropout=0.2,
    init_std=None,
    pretrain_steps=800,
    pretrain_every=200,
    pretrain_lr=4e-3,
    patience=4,
    rounds=25,
    g_steps=2,
    g_lr=1e-4,
    rollout_every="segment",
    baseline="leave-one-out",
    interleave_lr=1e-5,
    d_steps=1,
    d_epochs=1,
    negatives=512,
    d_lr=1e-3,
    d_windows=((1, 50), (2, 100), (3, 100), (4, 50)),
)
PRESETS = {
    "paper": Config(),
    "length-40": Config(embedding_dim=64, hidden_dim=64, manager_dim=64, pretrain_lr=5e-4, g_lr=5e-4),
    "image-coco": Config(
        embedding_dim=128,
        hidden_dim=128,
        manager_dim=128,
        pretrain_steps=200 * 62,
        pretrain_every=200 * 62 // 16,
        temperature=1.25,
        d_embedding_dim=256,
    ),
    "released-code": Config(
        goal_form="segment",
        normalise_goal=True,
        pretrain_lr=1.5e-3,
        g_lr=1.5e-3,
        rollout_every="segment",
        rescale_delta=16.0,
        mle_every=0,
        d_dropout=0.0,
        d_l2=0.0,
    ),
    "small": SMALL,
    "tiny": Config(
        embedding_dim=8,
        hidden_dim=16,
        manager_dim=8,
        goal_dim=4,
        step_size=2,
        batch_size=8,
        pretrain_steps=4,
        pretrain_every=2,
        rounds=3,
        num_rollouts=2,
        mle_every=2,
        d_steps=1,
        d_epochs=1,
        negatives=16,
        d_embedding_dim=4,
        d_windows=((1, 4), (2, 4)),
    ),
}
LENGTHS = ("pretrain_steps", "rounds")


class Networks(TypedDict):
    """The two players; the Manager and the Worker are one generator."""

    generator: LeakGANGenerator
    discriminator: TextCNN


def networks(config: Config, vocabulary: Vocabulary, max_length: int) -> Networks:
    """Build the generator, with the features of the discriminator, and the discriminator, untrained."""
    D = TextCNN(
        vocabulary,
        max_length,
        windows=config.d_windows or paper_windows(max_length),
        embedding_dim=config.d_embedding_dim,
        dropout=config.d_dropout,
    )
    G = LeakGANGenerator(
        vocabulary,
        max_length,
        D,
        embedding_dim=config.embedding_dim,
        hidden_dim=config.hidden_dim,
        manager_dim=config.manager_dim,
        goal_dim=config.goal_dim,
        step_size=config.step_size,
        goal_form=config.goal_form,
        normalise_goal=config.normalise_goal,
        dropout=config.dropout,
        init_std=config.init_std,
    )
    return Networks(generator=G, discriminator=D)


def train(config: Config, task: Task, run: Run) -> Generator:
    """Run algorithm 1 with interleaved training."""
    players = networks(config, task.vocabulary, task.max_length)
    G, D = players["generator"], players["discriminator"]
    c = G.step_size
    every = c if config.rollout_every == "segment" else 1
    worker_optimizer = Adam(G.worker.parameters(), lr=config.g_lr)
    manager_optimizer = run.track("manager_optimizer", Adam(G.manager.parameters(), lr=config.g_lr))
    from_text = Adams(
        manager=run.track("pretrain_manager_optimizer", Adam(G.manager.parameters(), lr=config.pretrain_lr)),
        worker=run.track("pretrain_worker_optimizer", Adam(G.worker.parameters(), lr=config.pretrain_lr)),
    )
    d_optimizer = Adam(D.parameters(), lr=config.d_lr)
    run.setup("generator", G, worker_optimizer)
    run.setup("discriminator", D, d_optimizer)
    stream = partial(Stream, task.train, width=task.max_length, seed=run.seed, device=run.device)
    real = run.track("real", stream(config.batch_size))
    positives = run.track("positives", stream(config.negatives))

    for step in run.phase("pretrain", config.pretrain_steps, patience=config.patience):
        if step % config.pretrain_every == 0:
            train_discriminator(config, G, D, d_optimizer, positives, run)
            G.leaked.leak(D)
        learn_from_text(config, G, from_text, real, run)

    for optimizer in (from_text["manager"], from_text["worker"]):
        optimizer.param_groups[0]["lr"] = config.interleave_lr or config.pretrain_lr
    G.worker.dropout.eval()  # in the game, the gradient is that of the policy which is sampled
    for round_ in run.phase("adversarial", config.rounds, measure=at_temperature_1):
        G.leaked.leak(D)
        reward_of = mixed(verdict(config, D), config, task.objective)
        for _ in range(config.g_steps):
            fake = sample(G, config.batch_size, temperature=config.temperature)
            q = monte_carlo_q(
                G, fake.tokens, reward_of, config.num_rollouts, every=every, temperature=config.temperature
            )
            features = G.leaked(fake.tokens)
            goals = G.manager(features[:, :-1])
            pairs = transitions(G, fake.mask)
            # Q(f_t, g_t), as its rank in the batch
            worth = rank_rescale(values_behind(q, fake.mask, c), pairs, delta=config.rescale_delta)
            run.step(manager_optimizer, manager_loss(G, features, goals, pairs, worth), clip=config.clip)
            reward = worker_reward(G, features, goals.detach()) * fake.mask  # r^I_t
            run.log(reward=q.sum() / fake.mask.sum(), intrinsic=reward.sum() / fake.mask.sum())
            if config.baseline == "leave-one-out":
                reward = reward - leave_one_out_baseline(reward, fake.mask)
            log_probs = G.log_probs(fake.tokens, goals, config.temperature)
            run.step(worker_optimizer, policy_gradient(log_probs, reward), clip=config.clip)  # eq. (8)
        run.log(temperature=config.temperature)
        if config.mle_every and (round_ + 1) % config.mle_every == 0:
            G.worker.dropout.train()
            for _ in range(-(-len(task.train) // config.batch_size)):
                learn_from_text(config, G, from_text, real, run)
            G.worker.dropout.eval()
        train_discriminator(config, G, D, d_optimizer, positives, run)
    return G


class Adams(TypedDict):
    """The optimizers of the two parts of the generator: each changes its own part alone."""

    manager: Adam
    worker: Adam


def learn_from_text(config: Config, G: LeakGANGenerator, optimizers: Adams, real: Stream, run: Run) -> None:
    """Make one update of the Manager, where every move of the features is worth 1, and one of the Worker by MLE."""
    batch = real.next()
    features = G.leaked(batch.tokens)
    goals = G.manager(features[:, :-1])
    pairs = transitions(G, batch.mask)
    loss = manager_loss(G, features, goals, pairs, pairs.to(features.dtype))
    run.step(optimizers["manager"], loss, clip=config.clip)
    run.log(goal_cosine=-loss)
    loss = nll(G.log_probs(batch.tokens, goals), batch.mask)
    run.step(optimizers["worker"], loss, clip=config.clip)
    run.log(nll_train=loss)


def transitions(G: LeakGANGenerator, mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B P"]:
    """Return from which t = 0..T-c a goal leads: where a token follows; of segments, where one begins.

    The features of T tokens are those of the sequence with its padding, so a goal may lead to the end and beyond it.
    """
    pairs = mask[:, : mask.shape[1] + 1 - G.step_size]
    begins = torch.arange(pairs.shape[1], device=mask.device) % G.step_size == 0
    return pairs & begins if G.goal_form == "segment" else pairs


def values_behind(q: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], step_size: int) -> Float[Tensor, "B P"]:
    """Return for each t = 0..T-c the value of the first t + c tokens, or of the sequence where it ends before."""
    end = torch.arange(step_size, q.shape[1] + 1, device=q.device)
    return q.gather(1, torch.minimum(end, mask.sum(1, keepdim=True)) - 1)


def manager_loss(
    G: LeakGANGenerator,
    features: Float[Tensor, "B T1 F"],
    goals: Float[Tensor, "B T F"],
    pairs: Bool[Tensor, "B P"],
    worth: Float[Tensor, "B P"],
) -> Float[Tensor, ""]:
    """Return the mean of -Q(f_t, g_t) cos(f_{t+c} - f_t, g_t) over the pairs whose features moved.

    It is a loss: its gradient is the expression of the paper, which is to be descended, since its d_cos is a
    similarity. In segments, the goal is the sum that the segment's tokens followed.
    """
    if G.goal_form == "segment":
        goals = G.summed(goals)
    value, moved = cosine(features[:, : -G.step_size], features[:, G.step_size :], goals[:, : pairs.shape[1]])
    pairs = pairs & moved
    return -(worth * value * pairs).sum() / pairs.sum().clamp(min=1)


def worker_reward(
    G: LeakGANGenerator, features: Float[Tensor, "B T1 F"], goals: Float[Tensor, "B T F"]
) -> Float[Tensor, "B T"]:
    """Return the intrinsic reward; in segments, of the way from the segment's beginning, along what it followed."""
    if G.goal_form == "sliding":
        return intrinsic_reward(features, goals, G.step_size)
    begin = torch.arange(goals.shape[1], device=goals.device) // G.step_size * G.step_size
    return cosine(features[:, begin], features[:, 1:], G.summed(goals))[0]


def verdict(config: Config, D: TextCNN) -> Reward:
    """Return the reward of whole sequences: their probability of being real, for D as it stands now, or a control."""
    if config.reward == "discriminator":
        judge = D.tabulated()
        return by_rows(lambda tokens: judge(tokens).logits.sigmoid())
    empty = {"constant": torch.ones, "random": torch.rand}[config.reward]
    return lambda tokens: empty(len(tokens), device=tokens.device)


def train_discriminator(
    config: Config, G: Generator, D: TextCNN, optimizer: Optimizer, positives: Stream, run: Run
) -> None:
    """Minimise the cross entropy over real sequences and as many fresh negatives, `d_steps` times `d_epochs` passes."""
    for _ in range(config.d_steps):
        negatives = sample(G, config.negatives, temperature=config.temperature).tokens
        sequences = torch.cat([positives.next().tokens, negatives])
        is_real = torch.arange(len(sequences), device=sequences.device) < config.negatives
        for _ in range(config.d_epochs):
            for rows in torch.split(torch.randperm(len(sequences), device=sequences.device), config.batch_size):
                logits = D(sequences[rows]).logits
                loss = discriminator_loss(logits, is_real[rows])
                run.step(optimizer, loss + config.d_l2 * D.head_penalty())
                run.log(d_loss=loss, d_accuracy=((logits > 0) == is_real[rows]).float().mean())


def at_temperature_1() -> Measurement:
    """Say of an evaluation that it is not at the temperature of training."""
    return Measurement({"temperature": 1.0})
