"""What a method learns from: encoded sequences, how they became ids, and the truth where it is known; or a world."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from textforge import oracles
from textforge.errors import CallError, UserError, nearest
from textforge.metrics.copying import exact_copy
from textforge.options import Options
from textforge.oracles import Oracle, worlds
from textforge.oracles.worlds import World
from textforge.text import (
    Corpus,
    Counts,
    Texts,
    Tokenizer,
    Vocabulary,
    catalog,
    encode,
    read_cells,
    read_texts,
    split_valid,
    tables,
    tokenizers,
)

ORACLE_SIZES = {"train": 10_000, "valid": 2_000, "test": 10_000}
"""Sequences drawn from an oracle; SeqGAN and its successors train on 10,000."""
ORACLE_KINDS = {*oracles.names(), "grammar"}
FEW_VALID = 20
"""Held-out lines below which it is said that they tell little."""
LONGEST = 2048
"""Tokens beyond which a sequence needs an explicit `max_length`: it would set the size of every batch."""


@dataclass(frozen=True, eq=False)
class Task:
    """Training, validation and test sequences of one language.

    `notes` say in words what was chosen or left out on the way, for the user to read.
    """

    texts: Texts
    tokenizer: Tokenizer
    max_length: int
    train: Corpus
    valid: Corpus
    oracle: Oracle | None
    notes: tuple[str, ...]
    test: Corpus | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The ids of the task."""
        return self.tokenizer.vocabulary


@dataclass(frozen=True, eq=False)
class WorldTask:
    """A distribution over points, for methods that write no sequences; `notes` say in words what was chosen."""

    name: str
    world: World
    notes: tuple[str, ...]


def load_world(options: Options) -> WorldTask:
    """Make a task of the name of a world, or of an oracle whose texts can be listed.

    Raises CallError for other data and for flags that only texts have.
    """
    data = options.data
    if data not in worlds.names() and (data.partition(":")[0] not in ORACLE_KINDS or Path(data).exists()):
        known = [*worlds.names(), "arithmetic"]
        raise CallError(f"'{data}' is no world of points; give --data {' or '.join(known)}{nearest(data, known)}")
    _refuse_text_flags(options, f"{data} is a world of points without text to prepare")
    if options.on_collapse != Options.on_collapse:
        raise CallError(f"--on-collapse is for text, and {data} is a world of points; leave it out, and see its modes")
    if data in worlds.names():
        return WorldTask(data, worlds.load(data), (f"fresh points of the world {data} at every step",))
    world = worlds.alphabet_of(oracles.load(data))
    return WorldTask(data, world, (f"the {len(world.symbols):,} texts of {data} as one table; expectations are sums",))


def _refuse_text_flags(options: Options, reason: str) -> None:
    for field in ("column", "valid", "tokenizer", "max_length", "min_count", "vocab_size"):
        if vars(options)[field] != vars(Options())[field]:
            raise CallError(f"{reason}; leave out --{field.replace('_', '-')}")


def load_task(options: Options) -> Task:
    """Make a task of a file, a folder, or the name of an oracle.

    A path wins over a name. Raises UserError where nothing of that name exists, or the text cannot be used.
    """
    data, valid = options.data, options.valid
    notes: list[str] = []
    if Path(data).exists():
        texts = read_texts(data, options.column)
        notes += _missing(Path(data), options.column)
    elif data.partition(":")[0] in ORACLE_KINDS:
        oracle = oracles.load(data)
        own = replace(options, max_length=None if options.max_length == oracle.max_length else options.max_length)
        _refuse_text_flags(own, f"{data} has its own symbols, length and held-out text")
        return task_from_oracle(oracle)
    elif data in worlds.names():
        raise CallError(f"{data} is a world of points, not of texts; choose a language: see `textforge data list`")
    elif data in catalog.names():
        raise UserError(f"the corpus {data} is not here yet: run `textforge data fetch {data}`, then try again")
    else:
        known = [*oracles.names(), *catalog.names()]
        raise UserError(f"there is no file, folder or corpus '{data}'; see `textforge data list`{nearest(data, known)}")
    if valid is not None:
        texts = replace(texts, valid=read_texts(valid, options.column).train)
    task = task_from_texts(texts, options)
    return replace(task, notes=(*notes, *task.notes))


def task_from_texts(texts: Texts, options: Options) -> Task:
    """Make a task of lines of text. Without a validation part, 5 % of the training lines are held out.

    Which lines are held out does not depend on the seed of a run, so that runs can be compared.
    """
    train, valid, notes, shared = texts.train, texts.valid, [], False
    if valid is None:
        split = split_valid(train, seed=0)
        train, valid, shared = split.train, split.valid, split.shared
        notes.append(
            "fewer than 20 lines: held-out NLL is measured on the training lines, so it cannot show over-fitting"
            if shared
            else "no validation text: 5 % of the training lines are held out"
        )
    name = tokenizers.choose(train) if options.tokenizer == "auto" else options.tokenizer
    if options.tokenizer == "auto":
        notes.append(f"tokenizer: {name} (chosen from the first lines; --tokenizer overrides)")
    trained = tokenizers.train(name, train, min_count=options.min_count, max_size=options.vocab_size)
    corpora, max_length = {}, options.max_length
    for part, lines in {"train": train, "valid": valid, "test": texts.test}.items():
        if lines is None:
            continue
        try:
            corpora[part], counts = encode(lines, trained, max_length=max_length)
        except UserError as error:
            raise UserError(f"{part} text: {error}") from None
        if max_length is None:
            max_length = _fitting_length(counts)
        notes += _left_out(part, counts, max_length)
        if part != "train" and lines is vars(texts)[part]:  # given, and not held out by us
            notes += _repeated(part, lines, train, trained)
    assert max_length is not None
    if not shared:
        notes += _scarce(corpora["train"], corpora["valid"])
    texts = replace(texts, train=train, valid=valid)
    return Task(texts, trained, max_length, **corpora, oracle=None, notes=tuple(notes))


def draw_parts(oracle: Oracle, num_train: int | None = None) -> dict[str, list[str]]:
    """Draw the three parts from an oracle, the same ones every time; `num_train` replaces the size of the first."""
    sizes = ORACLE_SIZES if num_train is None else {**ORACLE_SIZES, "train": num_train}
    return {part: oracle.sample(num, seed) for seed, (part, num) in enumerate(sizes.items())}


def task_from_oracle(oracle: Oracle) -> Task:
    """Make a task of the three parts that are drawn from an oracle."""
    lines = draw_parts(oracle)
    corpora = {part: encode(lines[part], oracle.tokenizer, max_length=oracle.max_length)[0] for part in lines}
    notes = (f"{ORACLE_SIZES['train']:,} training sequences drawn from the oracle {oracle.name}",)
    return Task(Texts(oracle.name, **lines), oracle.tokenizer, oracle.max_length, **corpora, oracle=oracle, notes=notes)


def _fitting_length(counts: Counts) -> int:
    if counts.longest > LONGEST:
        raise UserError(
            f"the longest training line has {counts.longest:,} tokens; set --max-length (at most {LONGEST:,} is "
            "sensible) to leave out lines beyond it, or cut the text into shorter lines"
        )
    return counts.longest


def _missing(path: Path, column: str) -> Iterator[str]:
    """Tell how many records of a file have no text."""
    if not path.is_file():
        return
    if tables.kind(path) is None:
        if column != Options.column:
            raise CallError(f"--column {column} is for {', '.join(tables.SUFFIXES)}, and {path} is plain text")
        return
    absent = Counter(not (cell or "").strip() for cell in read_cells(path, column))
    if absent[True]:
        yield f"{absent[True]:,} of {absent.total():,} records have no text in column '{column}' and are skipped"


def _scarce(train: Corpus, valid: Corpus) -> Iterator[str]:
    """Say what cannot be told from few lines."""
    if len(valid) < FEW_VALID:
        yield (
            f"only {len(train):,} training and {len(valid):,} held-out lines: expect samples that recite or garble the "
            "training text (exact_copy counts the first), and take no small difference between held-out numbers for one"
        )


def _repeated(part: str, lines: Iterable[str], train: Iterable[str], tokenizer: Tokenizer) -> Iterator[str]:
    """Tell of held-out text that was not taken from the training text, and yet stands in it."""
    held_out = list(lines)
    if share := exact_copy(held_out, train, split=tokenizer.split)["exact_copy"]:
        num = round(share * len(held_out))
        yield f"{part}: {num:,} of {len(held_out):,} lines ({share:.1%}) stand in the training text too: not held out"


def _left_out(part: str, counts: Counts, max_length: int) -> Iterator[str]:
    if counts.too_long:
        lines = counts.kept + counts.too_long
        yield f"{part}: {counts.too_long:,} of {lines:,} lines are longer than {max_length} tokens and left out"
    if counts.unknown_tokens:
        yield f"{part}: {counts.unknown_tokens:,} of {counts.tokens:,} tokens are unknown and become <unk>"
