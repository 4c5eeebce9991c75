"""What a run is asked for, besides the fields of its method's config. Imports nothing heavy."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from textforge.errors import CallError, at_least


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
    on_collapse: Literal["warn", "rollback", "stop", "ignore"] = "warn"
    """When an evaluation shows that the generator has collapsed: say so and go on (warn), end the phase with the
    generator of the lowest held-out NLL (rollback), stop so that --resume can go on (stop), or say nothing (ignore)."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least(0, self, "seed")
        at_least(1, self, "min_count", "max_length", "vocab_size")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Options":
        """Return the options of a run from its config.json; `max_length` is what it came to."""
        own = {field.name: settings[field.name] for field in dataclasses.fields(cls) if field.name in settings}
        require_types(cls, own)
        return cls(**own)

    def anchored(self) -> "Options":
        """Return the options with paths in full, so that the run can be resumed and evaluated from anywhere."""
        valid = None if self.valid is None else _in_full(self.valid)
        return dataclasses.replace(self, data=_in_full(self.data), valid=valid)


def _in_full(data: str) -> str:
    """Resolve a path, also behind a colon (`grammar:FILE`); what is none stays as it is."""
    kind, colon, file = data.partition(":")
    if Path(data).exists():
        return str(Path(data).resolve())
    return f"{kind}:{Path(file).resolve()}" if colon and Path(file).exists() else data


def require_types(kind: type, values: Mapping[str, Any]) -> None:
    """Raise CallError for a value that is not of the type of its field in the dataclass `kind`; an int is a float."""
    # Here, because it is slow: arguments have their types from the parser, values of programs and files have not.
    from typeguard import TypeCheckError, check_type

    wanted = get_type_hints(kind)
    for field, value in values.items():
        try:
            check_type(value, wanted[field])
        except TypeCheckError:
            name = str(wanted[field]).removeprefix("<class '").removesuffix("'>").replace("typing.", "")
            raise CallError(f"--{field.replace('_', '-')} must be {name}, not {value!r}") from None
