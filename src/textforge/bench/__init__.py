"""How fast this machine runs the expensive steps, against a naive reference and against the arithmetic floor.

Times are of little use between machines, ratios are: each row is measured in one process, ours and the reference in turn.
The floor is the operations that our algorithm cannot avoid at this machine's measured rate of matrix products, or the bytes
that it must move at the measured rate of copying, whichever takes longer, part by part.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Adam

from textforge.bench.naive import naive_log_probs, naive_monte_carlo_q, naive_sample
from textforge.decoding import sample
from textforge.losses import discriminator_loss, nll, policy_gradient
from textforge.methods.seqgan import Config, networks
from textforge.returns import monte_carlo_q
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

    step = _step_floor(machine, size, config)
    judged = size.batch * (size.rollouts * (size.length - 1) + 1)
    drawn = size.batch * size.rollouts * size.length * (size.length - 1) // 2
    windows = [(length, kernels) for length, kernels in config.d_windows if length <= size.length]
    one_hot = nn.functional.one_hot(tokens, len(vocabulary)).float()
    learnt = 3 * size.sequences * size.length  # forward and backward: three products where there was one
    return [
        _row("SeqGAN generator step", size, generator_step, naive_generator_step, drawn * step + judged * _judge_floor(machine, windows, size)),
        _row("sampling", size, lambda: sample(G, size.sequences), lambda: naive_sample(G, size.sequences), size.sequences * size.length * step),
        _row("MLE epoch", size, lambda: epoch(G), lambda: epoch(lambda y: naive_log_probs(G, y)), learnt * step),
        _row("discriminator update", size, lambda: discriminator_step(tokens), lambda: discriminator_step(one_hot), 3 * size.batch * _convolution_floor(machine, windows, config, size)),
    ]
