"""Batches without end, in an order that depends on nothing but the seed and the position."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Int64

from textforge.text.corpus import Batch, Corpus


class Stream:
    """Hands out batches of a corpus for ever, every sequence once per epoch.

    Epoch e is the permutation of `numpy.random.default_rng([seed, e])`. Batches run across the ends of epochs, so all
    of them are full, also where the corpus is smaller than a batch. The state is one number, the sequences handed out
    so far, and a stream set to it continues as if it had never stopped.
    """

    def __init__(
        self, corpus: Corpus, batch_size: int, *, width: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        """Stand at the beginning of the first epoch; batches have `batch_size` rows and `width` columns."""
        self.corpus = corpus
        self.batch_size = batch_size
        self.width = width
        self.seed = seed
        self.device = device
        self._position = 0
        self._permuted: tuple[int, Int64[np.ndarray, " N"]] | None = None

    @property
    def epoch(self) -> float:
        """How many times the corpus has been handed out."""
        return self._position / len(self.corpus)

    def next(self) -> Batch:
        """Return the next batch, on the device of the stream."""
        parts = []
        missing = self.batch_size
        while missing:
            epoch, start = divmod(self._position, len(self.corpus))
            part = self._permutation(epoch)[start : start + missing]
            parts.append(part)
            missing -= len(part)
            self._position += len(part)
        return self.corpus.batch(np.concatenate(parts), self.width).to(self.device)

    def _permutation(self, epoch: int) -> Int64[np.ndarray, " N"]:
        if self._permuted is None or self._permuted[0] != epoch:
            self._permuted = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.corpus))
        return self._permuted[1]

    def state_dict(self) -> dict[str, int]:
        """Return the position: the number of sequences handed out."""
        return {"position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue behind the position of `state_dict`."""
        self._position = state["position"]
