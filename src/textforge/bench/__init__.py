"""How fast this machine runs the expensive steps, against a naive reference and against the arithmetic floor.

Times are of little use between machines, ratios are: each row is measured in one process, ours and the reference in
turn. The floor is the operations that our algorithm cannot avoid at this machine's measured rate of matrix products,
or the bytes that it must move at the measured rate of copying, whichever takes longer, part by part.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from torch.optim import Adam

from textforge.bench.naive import naive_log_probs, naive_monte_carlo_q, naive_sample
from textforge.decoding import sample
from textforge.losses import discriminator_loss, nll, policy_gradient
from textforge.methods.seqgan import Config, networks
from textforge.nets.text_cnn import TextCNN
from textforge.returns import monte_carlo_q
from textforge.run import keep_freed_memory
from textforge.text import Vocabulary


@dataclass(frozen=True)
class Row:
    """One line: how long ours takes, how many times faster than the reference, how many times the floor."""

    name: str
    seconds: float
    naive_ratio: float
    floor_ratio: float


@dataclass(frozen=True)
class Size:
    """SeqGAN's synthetic experiment, or something to try the code on."""

    vocab_size: int = 5000
    length: int = 20
    batch: int = 64
    rollouts: int = 16
    sequences: int = 10_000
    repeats: int = 3


FAST = Size(vocab_size=50, length=5, batch=4, rollouts=2, sequences=64, repeats=1)


@dataclass(frozen=True)
class Machine:
    """Operations a second in a matrix product, and bytes a second in a copy (read and written), in float32."""

    operations: float
    bytes: float

    def seconds(self, operations: float, moved: float) -> float:
        """Return the time that one part needs at least."""
        return max(operations / self.operations, moved / self.bytes)


def rows(*, fast: bool = False) -> list[Row]:
    """Measure every row; about two minutes on two cores, seconds with `fast`."""
    torch.manual_seed(0)
    keep_freed_memory()  # for ours and for the reference
    size, config = FAST if fast else Size(), Config()
    machine = measure_machine(256 if fast else 2048)
    vocabulary = Vocabulary.create(map(str, range(size.vocab_size)), unk=False, eos=False, bos=0)
    players = networks(config, vocabulary, size.length)
    G, D = players["generator"], players["discriminator"]
    g_optimizer, d_optimizer = Adam(G.parameters()), Adam(D.parameters())
    tokens = torch.randint(size.vocab_size, (size.batch, size.length))

    def update(optimizer: Adam, loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def generator_step() -> None:
        judge = D.tabulated()
        fake = sample(G, size.batch).tokens
        q = monte_carlo_q(G, fake, lambda y: judge(y).logits.sigmoid(), size.rollouts)
        update(g_optimizer, policy_gradient(G(fake), q))

    def naive_generator_step() -> None:
        fake = naive_sample(G, size.batch)
        D.eval()
        q = naive_monte_carlo_q(G, fake, lambda y: D(y).logits.sigmoid(), size.rollouts)
        D.train()
        update(g_optimizer, policy_gradient(naive_log_probs(G, fake), q))

    def epoch(log_probs: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for _ in range(-(-size.sequences // size.batch)):
            update(g_optimizer, nll(log_probs(tokens), torch.ones_like(tokens, dtype=torch.bool)))

    def discriminator_step(sequences: torch.Tensor) -> None:
        update(d_optimizer, discriminator_loss(D(sequences).logits, torch.arange(size.batch) < size.batch // 2))

    # Rows that one pass of the generator's step must work through, and sequences that the discriminator must judge.
    drawn = size.batch * size.rollouts * size.length * (size.length - 1) // 2
    judged = size.batch * (size.rollouts * (size.length - 1) + 1)
    emitted = size.sequences * size.length
    step, looked_up, convolved = _floors(machine, size, config, D)
    one_hot = F.one_hot(tokens, len(vocabulary)).float()
    train = 3  # a forward and a backward pass are three products where there was one
    work: list[tuple[str, Callable[[], None], Callable[[], None], float]] = [
        ("SeqGAN generator step", generator_step, naive_generator_step, drawn * step + judged * looked_up),
        (
            "sampling",
            lambda: _discard(sample(G, size.sequences)),
            lambda: _discard(naive_sample(G, size.sequences)),
            emitted * step,
        ),
        ("MLE epoch", lambda: epoch(G), lambda: epoch(lambda y: naive_log_probs(G, y)), train * emitted * step),
        (
            "discriminator update, against one-hot input",
            lambda: discriminator_step(tokens),
            lambda: discriminator_step(one_hot),
            train * size.batch * convolved,
        ),
    ]
    result = []
    for name, ours, naive, floor in work:
        fast_seconds = min(_seconds(ours) for _ in range(size.repeats))
        result.append(Row(name, fast_seconds, _seconds(naive) / fast_seconds, fast_seconds / floor))
    return result


def _floors(machine: Machine, size: Size, config: Config, D: TextCNN) -> tuple[float, float, float]:
    """Return seconds for a step of the generator, and for a judgement with windows looked up or multiplied, per row."""
    E, H, V = config.embedding_dim, config.hidden_dim, size.vocab_size
    step = machine.seconds(2 * (E + H) * 4 * H, 0) + machine.seconds(2 * H * V, 8 * V)  # logits written and read
    highway = machine.seconds(2 * 2 * D.num_features**2, 0)
    windows = [(width, k, size.length - width + 1) for width, k in config.d_windows if width <= size.length]
    looked_up = sum(machine.seconds(width * k * n, 4 * width * k * n) for width, k, n in windows)
    convolved = sum(machine.seconds(2 * config.d_embedding_dim * width * k * n, 0) for width, k, n in windows)
    return step, looked_up + highway, convolved + highway


def measure_machine(side: int) -> Machine:
    """Measure the best of several products of square matrices, and of several copies of memory beyond the caches."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    product = min(_seconds(lambda: _discard(a @ b)) for _ in range(5))
    source = torch.rand(8 * side * side)
    target = torch.empty_like(source)
    copy = min(_seconds(lambda: _discard(target.copy_(source))) for _ in range(5))
    return Machine(2 * side**3 / product, 2 * 4 * source.numel() / copy)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _discard(value: object) -> None:
    """Turn a function's call into a statement."""
