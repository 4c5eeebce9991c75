"""What a step must cost on this machine, if nothing but its arithmetic and its memory counted.

Each part takes as long as its operations at the measured rate of matrix products, or its bytes at the measured rate of
copying, whichever is longer. Only what our algorithms cannot leave out is counted: no gathering of rows, no function of
single numbers, no optimizer, no start of a call. The axis letters are those of the networks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from textforge.methods import leakgan, seqgan

TRAINED = 3
"""Products where forward alone has one: the backward pass has one for the input and one for the weights."""


@dataclass(frozen=True)
class Size:
    """The synthetic experiments of both papers, or something to try the code on."""

    vocab_size: int = 5000
    length: int = 20
    batch: int = 64
    rollouts: int = 16
    """Of SeqGAN."""
    leak_rollouts: int = 4
    """Of LeakGAN."""
    sequences: int = 10_000
    """In an epoch, and of a large sample."""

    @property
    def updates(self) -> int:
        """Batches in an epoch."""
        return -(-self.sequences // self.batch)

    def completed(self, rollouts: int) -> int:
        """Sequences that the discriminator judges: the completions of every proper prefix, and the batch itself."""
        return self.batch * (rollouts * (self.length - 1) + 1)

    def drawn(self, rollouts: int) -> int:
        """Steps of one row that completing every proper prefix takes."""
        return self.batch * rollouts * self.length * (self.length - 1) // 2


@dataclass(frozen=True)
class Machine:
    """Operations a second in a matrix product, and bytes a second in a copy (read and written), in float32."""

    operations: float
    bytes: float

    def seconds(self, operations: float, moved: float = 0) -> float:
        """Return the time that one part needs at least."""
        return max(operations / self.operations, moved / self.bytes)


@dataclass(frozen=True)
class Floors:
    """Seconds at least, for one row where nothing else is said."""

    machine: Machine
    size: Size
    windows: tuple[tuple[int, int], ...]
    """Convolutions of the discriminator that fit, as pairs (window, kernels)."""
    seqgan: seqgan.Config
    leakgan: leakgan.Config

    @property
    def taps(self) -> int:
        """Numbers that one token adds to windows."""
        return sum(width * kernels for width, kernels in self.windows)

    @property
    def num_features(self) -> int:
        """F."""
        return sum(kernels for _, kernels in self.windows)

    def lstm_step(self) -> float:
        """SeqGAN's generator: the cell, and logits that are written and read."""
        E, H, V = self.seqgan.embedding_dim, self.seqgan.hidden_dim, self.size.vocab_size
        return self._cell(E, H) + self.machine.seconds(2 * H * V, 8 * V)

    def _cell(self, inputs: int, hidden: int) -> float:
        return self.machine.seconds(2 * (inputs + hidden) * 4 * hidden)

    def highway(self) -> float:
        """The layer behind the convolutions, two square matrices."""
        return self.machine.seconds(2 * 2 * self.num_features**2)

    def table(self) -> float:
        """The products of all embeddings with all kernels, for a whole vocabulary, written once."""
        V = self.size.vocab_size
        return self.machine.seconds(2 * V * self.seqgan.d_embedding_dim * self.taps, 4 * V * self.taps)

    def judged(self) -> float:
        """A sequence judged by looking its windows up."""
        return sum(self.machine.seconds(n * taps, 4 * n * taps) for n, taps in self._places()) + self.highway()

    def convolved(self) -> float:
        """A sequence judged by the convolutions themselves."""
        E = self.seqgan.d_embedding_dim
        return sum(self.machine.seconds(2 * E * n * taps) for n, taps in self._places()) + self.highway()

    def _places(self) -> list[tuple[int, int]]:
        return [(self.size.length - width + 1, width * kernels) for width, kernels in self.windows]

    def features(self) -> float:
        """The leaked features of a prefix, from those of the prefix before: what is kept is read and written."""
        products = self.machine.seconds(2 * self.leakgan.d_embedding_dim * self.taps)
        return products + self.machine.seconds(self.taps, 8 * self.taps) + self.highway()

    def manager(self) -> float:
        """A goal from features, and its embedding."""
        F, H, K = self.num_features, self.leakgan.manager_dim, self.leakgan.goal_dim
        return self._cell(F, H) + self.machine.seconds(2 * H * F + 2 * F * K)

    def worker(self) -> float:
        """The logits of a token under its goals."""
        E, H, K, V = self.leakgan.embedding_dim, self.leakgan.hidden_dim, self.leakgan.goal_dim, self.size.vocab_size
        return self._cell(E, H) + self.machine.seconds(2 * K * (H + 1) * V, 8 * V)

    def leak_step(self) -> float:
        """LeakGAN's generator, a token."""
        return self.features() + self.manager() + self.worker()

    def leak_update(self) -> float:
        """Manager and Worker learn from a batch whose features are worked out first."""
        size = self.size
        features = size.batch * (size.length + 1) * self.features()
        return features + TRAINED * size.batch * size.length * (self.manager() + self.worker())


def measure_machine(side: int) -> Machine:
    """Measure the best of several products of square matrices, and of several copies of memory beyond the caches."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    product = min(seconds(lambda: discard(a @ b)) for _ in range(10))
    source = torch.rand(8 * side * side)
    target = torch.empty_like(source)
    copy = min(seconds(lambda: discard(target.copy_(source))) for _ in range(10))
    return Machine(2 * side**3 / product, 2 * 4 * source.numel() / copy)


def seconds(work: Callable[[], None]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def discard(value: object) -> None:
    """Turn a function's call into a statement."""
