"""What a run is asked for, besides the fields of its method's config. Imports nothing heavy."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from textforge.errors import at_least


@dataclass(frozen=True)
class Options:
    """What to learn from, from which settings, and where to compute."""

    data: str = "captions"
    """A file (plain text, one sequence a line; .gz; .jsonl with a "text" field), a folder with train.txt, valid.txt and
    test.txt, or the name of an embedded language (`textforge data list`)."""
    valid: str | None = None
    """A file of held-out text; without one, 5 % of the training lines are held out."""
    preset: str = "small"
    """The settings to start from; the flags of single fields change them."""
    seed: int = 0
    """All randomness of the run follows from it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    tokenizer: Literal["auto", "word", "char", "bpe"] = "auto"
    """What a symbol is; auto looks at the text."""
    max_length: int | None = None
    """Leave out sequences of more tokens; by default all training sequences fit."""
    min_count: int = 1
    """Words (characters) that occur less often become <unk>."""
    vocab_size: int | None = None
    """Keep only so many words (characters), the most frequent; for bpe, how many pieces to make."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least(0, self, "seed")
        at_least(1, self, "min_count")
        for field in ("max_length", "vocab_size"):
            if vars(self)[field] is not None:
                at_least(1, self, field)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Options":
        """Return the options of a run from its config.json; `max_length` is what it came to."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in settings.items() if name in names})
