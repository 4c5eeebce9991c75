"""What a run is asked for, besides the fields of its method's config, and how one draws from it. Nothing heavy."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from textforge.errors import CallError, above, at_least, at_most

Symbols = Literal["auto", "word", "char", "bpe", "tab"]
Decode = Literal["ancestral", "greedy", "top-k", "top-p", "beam", "rerank", "resample", "reject", "mcts"]


@dataclass(frozen=True)
class Options:
    """What to learn from, from which settings, and where to compute."""

    data: str = "captions"
    """A file (plain text, one sequence a line; .csv, .tsv, .parquet or .jsonl; .gz), a folder with train.txt, valid.txt
    and test.txt, or the name of an embedded language (`textforge data list`)."""
    column: str = "text"
    """The column of a .csv, .tsv or .parquet file, or the field of a .jsonl file, that holds the text."""
    label_column: str | None = None
    """The column, or field, that holds the label of each text: the model then writes texts of the class asked for."""
    labels: str | None = None
    """A file with the labels, one a line, beside plain text."""
    valid: str | None = None
    """A file of held-out text; without one, 5 % of the training lines are held out."""
    preset: str = "small"
    """The settings to start from; the flags of single fields change them."""
    seed: int = 0
    """All randomness of the run follows from it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    tokenizer: Symbols | str = "auto"
    """What a symbol is; auto looks at the text. tab: what stands between tabs, for symbols that hold spaces. The folder
    of a pretrained model, or its name with an owner (OWNER/NAME): the tokens of that model."""
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
        if self.labels is not None and self.label_column is not None:
            raise CallError("--labels and --label-column both say where labels come from; give one of them")
        if self.labels is not None and self.valid is not None:
            raise CallError("--labels has none for --valid; put text and label into tables, and give --label-column")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Options":
        """Return the options of a run from its config.json; `max_length` is what it came to."""
        own = {field.name: settings[field.name] for field in dataclasses.fields(cls) if field.name in settings}
        require_types(cls, own)
        return cls(**own)

    def anchored(self) -> "Options":
        """Return the options with paths in full, so that the run can be resumed and evaluated from anywhere."""
        files = {name: path for name, path in (("valid", self.valid), ("labels", self.labels)) if path is not None}
        if self.tokenizer not in get_args(Symbols):
            files["tokenizer"] = self.tokenizer
        in_full: dict[str, Any] = {name: _in_full(path) for name, path in files.items()}
        return dataclasses.replace(self, data=_in_full(self.data), **in_full)


def _in_full(data: str) -> str:
    """Resolve a path, also behind a colon (`grammar:FILE`); what is none stays as it is."""
    kind, colon, file = data.partition(":")
    if Path(data).exists():
        return str(Path(data).resolve())
    return f"{kind}:{Path(file).resolve()}" if colon and Path(file).exists() else data


def from_json(value: Any) -> Any:
    """Return a field's value as it was before JSON made lists of its tuples."""
    return tuple(map(from_json, value)) if isinstance(value, list) else value


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


@dataclass(frozen=True)
class Strategy:
    """One way of decoding, with its settings; those of the other ways do nothing."""

    decode: Decode = "ancestral"
    """ancestral: the model itself. greedy, top-k, top-p (nucleus): its surer tokens only. beam: its most probable
    texts. By the run's detector: resample and reject come nearer to real text; rerank and mcts take what looks most
    real, and vary less."""
    k: int = 40
    """For top-k: how many tokens may follow."""
    p: float = 0.9
    """For top-p: how probable the tokens that may follow are together."""
    width: int = 16
    """For beam: how many beginnings are alive."""
    guided: bool = False
    """For beam: the detector judges the beginnings, too."""
    candidates: int = 16
    """For rerank and resample: how many texts are drawn for each that is kept."""
    simulations: int = 50
    """For mcts: how many roll-outs decide a token."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least(1, self, "k", "width")
        at_least(2, self, "candidates", "simulations")
        above(0, self, "p")
        at_most(1, self, "p")
        if self.guided and self.decode != "beam":
            raise CallError(f"--guided is for --decode beam; leave it out with {self.decode}")

    @property
    def judged(self) -> bool:
        """Whether it needs a detector."""
        return self.guided or self.decode in ("rerank", "resample", "reject", "mcts")


PLAIN = Strategy()
