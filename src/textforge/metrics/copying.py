"""How much of the training set the samples give back word for word."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from jaxtyping import Bool, Int64

from textforge.metrics.counts import Split, require


def exact_copy(samples: Sequence[str], train: Iterable[str], *, split: Split = str.split) -> dict[str, float]:
    """Share of samples that stand in `train`, symbol for symbol: `exact_copy`.

    Memory holds the samples only, so `train` may stream from disk. Read the value beside that of held-out real text,
    which repeats some training lines too.
    """
    require(samples, "samples")
    times = Counter(tuple(split(text)) for text in samples)
    copied = sum(times.pop(tuple(split(text)), 0) for text in train)
    return {"exact_copy": copied / len(samples)}


@dataclass(frozen=True, eq=False)
class Known:
    """The texts of a corpus as sorted hashes, 8 bytes a text, to be asked again and again what stands among them.

    A hash has 64 bits, so that two of a million texts share one with a probability of 3e-8.
    """

    hashes: Int64[np.ndarray, " K"]
    split: Split

    @classmethod
    def of(cls, texts: Iterable[str], split: Split = str.split) -> "Known":
        """Go through the texts once; they may stream from disk."""
        return cls(np.unique(_hashes(texts, split)), split)

    def holds(self, texts: Iterable[str]) -> Bool[np.ndarray, " N"]:
        """Tell of each text whether it is one of them, symbol for symbol."""
        wanted = _hashes(texts, self.split)
        places = np.searchsorted(self.hashes, wanted).clip(max=len(self.hashes) - 1)
        return np.asarray(self.hashes[places] == wanted)


def _hashes(texts: Iterable[str], split: Split) -> Int64[np.ndarray, " N"]:
    digests = bytearray()
    for text in texts:
        # No symbol holds the character 0. Half a surrogate pair is no UTF-8, but a generator may emit it.
        digests += blake2b("\0".join(split(text)).encode(errors="surrogatepass"), digest_size=8).digest()
    return np.frombuffer(bytes(digests), np.int64)
