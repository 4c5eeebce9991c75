"""What is timed: the steps of the methods' own code, at the sizes of the papers, each beside its naive reference."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam

from textforge.bench.floors import TRAINED, Floors, Machine, Size, discard
from textforge.bench.naive import NaiveLeakGAN, naive_log_probs, naive_monte_carlo_q, naive_pass, naive_sample
from textforge.decoding import evaluating, sample
from textforge.losses import discriminator_loss, nll, policy_gradient
from textforge.methods import leakgan, seqgan
from textforge.nets.judgement import Judgement
from textforge.nets.text_cnn import TextCNN
from textforge.returns import Reward, monte_carlo_q, rank_rescale
from textforge.text import Vocabulary

WINDOWS = leakgan.paper_windows(20)  # those of SeqGAN's `paper` too


@dataclass(frozen=True)
class Work:
    """A row to be: what is timed, what it is compared with, and the seconds that it needs at least."""

    name: str
    ours: Callable[[], None]
    naive: Callable[[], None]
    floor: float


def seqgan_work(size: Size, machine: Machine) -> list[Work]:
    """Return the rows of SeqGAN, whose generator is that of maximum likelihood too."""
    config = seqgan.Config(d_windows=WINDOWS)
    players = seqgan.networks(config, _vocabulary(size), size.length)
    G, D = players["generator"], players["discriminator"]
    floors = _floors(size, machine, D)
    g_optimizer, d_optimizer = Adam(G.parameters(), lr=config.g_lr), Adam(D.parameters(), lr=config.d_lr)
    tokens, every = _batch(size)
    q = torch.rand(tokens.shape)
    is_real = torch.arange(size.batch) < size.batch // 2
    one_hot = F.one_hot(tokens, D.embedding.num_embeddings).float()

    def learn(log_probs: Callable[[Tensor], Tensor]) -> None:
        _update(g_optimizer, G, nll(log_probs(tokens), every))

    def reinforce(log_probs: Callable[[Tensor], Tensor], tokens: Tensor = tokens, q: Tensor = q) -> None:
        _update(g_optimizer, G, policy_gradient(log_probs(tokens), q))

    def naive(tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        return naive_log_probs(G, tokens)

    def values(tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        return monte_carlo_q(G, tokens, verdict(D), size.rollouts)

    def naive_values(tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        return naive_monte_carlo_q(G, tokens, naive_verdict(D), size.rollouts)

    def step() -> None:
        fake = sample(G, size.batch).tokens
        reinforce(G, fake, values(fake))

    def naive_step() -> None:
        fake = naive_sample(G, size.batch)
        reinforce(naive, fake, naive_values(fake))

    def judge(sequences: Tensor) -> None:
        _update(d_optimizer, None, discriminator_loss(D(sequences).logits, is_real))

    token, row = floors.lstm_step(), size.batch * size.length
    drawn, completed = row + size.drawn(size.rollouts), size.completed(size.rollouts)
    reward = floors.table() + drawn * token + completed * floors.judged()
    return [
        Work(
            f"MLE epoch, {size.sequences:,} sequences",
            lambda: _repeat(size.updates, lambda: learn(G)),
            lambda: _repeat(size.updates, lambda: learn(naive)),
            size.updates * TRAINED * row * token,
        ),
        Work(
            f"SeqGAN rewards, {size.rollouts} roll-outs",
            lambda: discard(values(tokens)),
            lambda: discard(naive_values(tokens)),
            reward,
        ),
        Work("policy-gradient update", lambda: reinforce(G), lambda: reinforce(naive), TRAINED * row * token),
        Work("SeqGAN generator step", step, naive_step, row * token + reward + TRAINED * row * token),
        Work(
            f"discriminator update, batch of {size.batch}",
            lambda: judge(tokens),
            lambda: judge(one_hot),
            TRAINED * size.batch * floors.convolved(),
        ),
        Work(
            f"sampling {size.sequences:,} sequences",
            lambda: discard(sample(G, size.sequences)),
            lambda: discard(naive_sample(G, size.sequences)),
            size.sequences * size.length * token,
        ),
    ]


def leakgan_work(size: Size, machine: Machine) -> list[Work]:
    """Return the rows of LeakGAN."""
    config = leakgan.Config(d_windows=WINDOWS)
    players = leakgan.networks(config, _vocabulary(size), size.length)
    G, D = players["generator"], players["discriminator"]
    plain = NaiveLeakGAN(G, D)
    floors = _floors(size, machine, D)
    manager_optimizer = Adam(G.manager.parameters(), lr=config.g_lr)
    worker_optimizer = Adam(G.worker.parameters(), lr=config.g_lr)
    tokens, every = _batch(size)
    pairs = leakgan.transitions(G, every)

    def learn() -> None:
        features = G.leaked(tokens)
        goals = G.manager(features[:, :-1])
        _update(manager_optimizer, G.manager, leakgan.manager_loss(G, features, goals, pairs, pairs.float()))
        _update(worker_optimizer, G.worker, nll(G.log_probs(tokens, goals), every))

    def naive_learn() -> None:
        features, goals, log_probs = naive_pass(plain, tokens)
        _update(manager_optimizer, G.manager, leakgan.manager_loss(G, features, goals, pairs, pairs.float()))
        _update(worker_optimizer, G.worker, nll(log_probs, every))

    def worth(q: Float[Tensor, "B T"]) -> Float[Tensor, "B P"]:
        return rank_rescale(leakgan.values_behind(q, every, G.step_size), pairs, delta=config.rescale_delta)

    def values(tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        return monte_carlo_q(G, tokens, verdict(D), size.leak_rollouts)

    def naive_values(tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        return naive_monte_carlo_q(plain, tokens, naive_verdict(D), size.leak_rollouts)

    def step() -> None:
        fake = sample(G, size.batch).tokens
        q = values(fake)
        features = G.leaked(fake)
        goals = G.manager(features[:, :-1])
        _update(manager_optimizer, G.manager, leakgan.manager_loss(G, features, goals, pairs, worth(q)))
        reward = leakgan.worker_reward(G, features, goals.detach())
        _update(worker_optimizer, G.worker, policy_gradient(G.log_probs(fake, goals), reward))

    def naive_step() -> None:
        fake = naive_sample(plain, size.batch)
        q = naive_values(fake)
        features, goals, log_probs = naive_pass(plain, fake)
        _update(manager_optimizer, G.manager, leakgan.manager_loss(G, features, goals, pairs, worth(q)))
        reward = leakgan.worker_reward(G, features, goals.detach())
        _update(worker_optimizer, G.worker, policy_gradient(log_probs, reward))

    row = size.batch * size.length
    drawn, completed = row + size.drawn(size.leak_rollouts), size.completed(size.leak_rollouts)
    reward = floors.table() + drawn * floors.leak_step() + completed * floors.judged()
    sampling = row * floors.leak_step()
    return [
        Work(f"LeakGAN from text, batch of {size.batch}", learn, naive_learn, floors.leak_update()),
        Work(
            f"LeakGAN rewards, {size.leak_rollouts} roll-outs",
            lambda: discard(values(tokens)),
            lambda: discard(naive_values(tokens)),
            reward,
        ),
        Work("LeakGAN generator step", step, naive_step, sampling + reward + floors.leak_update()),
        Work(
            f"LeakGAN sampling {size.batch} sequences",
            lambda: discard(sample(G, size.batch)),
            lambda: discard(naive_sample(plain, size.batch)),
            sampling,
        ),
    ]


def _vocabulary(size: Size) -> Vocabulary:
    return Vocabulary.create(map(str, range(size.vocab_size)), unk=False, eos=False, bos=0)


def _batch(size: Size) -> tuple[Int[Tensor, "B T"], Tensor]:
    """Return sequences, and the mask that all of their tokens are real."""
    tokens = torch.randint(size.vocab_size, (size.batch, size.length))
    return tokens, torch.ones_like(tokens, dtype=torch.bool)


def _floors(size: Size, machine: Machine, D: TextCNN) -> Floors:
    windows = tuple((width, kernels) for width, kernels in WINDOWS if width <= size.length)
    assert sum(kernels for _, kernels in windows) == D.num_features
    return Floors(machine, size, windows, seqgan.Config(), leakgan.Config())


def verdict(D: TextCNN) -> Reward:
    """Return what both methods reward roll-outs by."""
    return leakgan.verdict(leakgan.Config(), D)


def naive_verdict(D: TextCNN) -> Reward:
    """Return the same by the network itself."""

    def reward(tokens: Int[Tensor, "B T"]) -> Float[Tensor, " B"]:
        with evaluating(D):
            judgement: Judgement = D(tokens)
            return judgement.logits.sigmoid()

    return reward


def _update(optimizer: Adam, clipped: nn.Module | None, loss: Float[Tensor, ""]) -> None:
    optimizer.zero_grad()
    loss.backward()
    if clipped is not None:
        clip_grad_norm_(clipped.parameters(), 5.0)
    optimizer.step()


def _repeat(times: int, work: Callable[[], None]) -> None:
    for _ in range(times):
        work()
