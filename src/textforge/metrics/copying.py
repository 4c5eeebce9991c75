"""How much of the training set the samples give back word for word."""

from collections import Counter
from collections.abc import Iterable, Sequence

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
