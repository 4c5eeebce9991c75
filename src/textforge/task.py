"""What a method learns from: encoded sequences, how they became ids, and the truth where it is known; or a world."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from textforge import oracles
from textforge.errors import CallError, UserError, nearest
from textforge.metrics.copying import Known, exact_copy
from textforge.objectives import Objective
from textforge.options import Options
from textforge.oracles import Oracle, worlds
from textforge.oracles.worlds import World
from textforge.text import (
    Corpus,
    Counts,
    Labelled,
    LabelledTexts,
    Texts,
    Tokenizer,
    Vocabulary,
    cache,
    catalog,
    encode,
    from_dict,
    labels,
    read_cells,
    read_texts,
    split_valid,
    tables,
    tokenizers,
)

ORACLE_SIZES = {"train": 10_000, "valid": 2_000, "test": 10_000}
"""Sequences drawn from an oracle; SeqGAN and its successors train on 10,000."""
ORACLE_KINDS = {*oracles.names(), "grammar"}
PARTS = ("train", "valid", "test")
FEW_VALID = 20
"""Held-out lines below which it is said that they tell little."""
LONGEST = 2048
"""Tokens beyond which a sequence needs an explicit `max_length`: it would set the size of every batch."""


@dataclass(frozen=True, eq=False)
class Facts:
    """What takes a pass over all of the training text to tell, where it is kept with the encoded text."""

    fingerprint: str
    frequencies: Int64[np.ndarray, " K"]
    hashes: Int64[np.ndarray, " D"]


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
    objective: Objective | None = None
    """What the user wants of texts; it is measured at every evaluation, and rewarded where the config says so."""
    facts: Facts | None = None
    """Of `train`, where they are known beforehand."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The ids of the task."""
        return self.tokenizer.vocabulary

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of the training sequences, by which a resumed run notices that its data has changed."""
        return self.train.fingerprint() if self.facts is None else self.facts.fingerprint

    @cached_property
    def frequencies(self) -> Int64[np.ndarray, " K"]:
        """How often each distinct training text occurs."""
        return self.train.bare().frequencies() if self.facts is None else self.facts.frequencies

    @cached_property
    def known(self) -> Known:
        """The training texts, to be asked what stands among them."""
        split = self.tokenizer.split
        return Known.of(self.texts.train, split) if self.facts is None else Known(self.facts.hashes, split)


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
    for field in ("column", "label_column", "labels", "valid", "tokenizer", "max_length", "min_count", "vocab_size"):
        if vars(options)[field] != vars(Options())[field]:
            raise CallError(f"{reason}; leave out --{field.replace('_', '-')}")


def load_task(options: Options) -> Task:
    """Make a task of a file, a folder, or the name of an oracle.

    A path wins over a name. Raises UserError where nothing of that name exists, or the text cannot be used.
    """
    data = options.data
    if Path(data).exists():
        return _task_from_files(options)
    if data.partition(":")[0] in ORACLE_KINDS:
        oracle = oracles.load(data)
        own = replace(options, max_length=None if options.max_length == oracle.max_length else options.max_length)
        _refuse_text_flags(own, f"{data} has its own symbols, length and held-out text")
        return task_from_oracle(oracle)
    if data in worlds.names():
        raise CallError(f"{data} is a world of points, not of texts; choose a language: see `textforge data list`")
    if data in catalog.names():
        raise UserError(f"the corpus {data} is not here yet: run `textforge data fetch {data}`, then try again")
    known = [*oracles.names(), *catalog.names()]
    raise UserError(f"there is no file, folder or corpus '{data}'; see `textforge data list`{nearest(data, known)}")


def _task_from_files(options: Options) -> Task:
    """Make a task of files; where they are large, keep it for the next start, or take what an earlier start has kept.

    Where nothing can be kept, the notes say so.
    """
    damage = None
    with ExitStack() as stack:
        try:
            place = cache.place(options)
            if place is not None and options.max_length is not None:
                # Perhaps that of a run, which had none and says what it came to.
                open_place = cache.place(replace(options, max_length=None))
                if open_place is not None and cache.fact(open_place, "max_length") == options.max_length:
                    with cache.locked(open_place):
                        entry, damage = cache.read(open_place)
                    if entry is not None:
                        return _restored(entry, options)
            if place is not None:
                stack.enter_context(cache.locked(place))
                entry, own_damage = cache.read(place)
                damage = own_damage or damage
                if entry is not None:
                    return _noted(_restored(entry, options), *_damaged(damage))
        except OSError as error:
            return _noted(_encoded(options), _unkept(error))
        task = _encoded(options)
        if place is None:
            return task
        try:
            if cache.place(options) != place:
                return _noted(task, f"{options.data} was changed while it was read; is it complete?")
            cache.write(place, _entry(task), options.data)
            entry, _ = cache.read(place)  # from now on it is read as it will be by the next start
        except OSError as error:
            return _noted(task, _unkept(error))
        return _noted(task if entry is None else _restored(entry, options), *_damaged(damage))


def _unkept(error: OSError) -> str:
    return (
        f"the encoded text cannot be kept for the next start in {cache.folder()} ({error.strerror or error}); "
        f"free some space, or name another folder in {cache.VARIABLE}"
    )


def _damaged(damage: str | None) -> list[str]:
    return (
        []
        if damage is None
        else [f"what was kept of this text in {cache.folder()} was damaged ({damage}) and is removed"]
    )


def _noted(task: Task, *notes: str) -> Task:
    return replace(task, notes=(*task.notes, *notes))


def _entry(task: Task) -> cache.Entry:
    """Return what is kept of a task; its texts are read from their files when they are asked for.

    The lines that were held out are kept: few, they stand all over the file, and every evaluation asks for them.
    """
    texts, held_out = task.texts, None
    if texts.num_lines is not None:
        assert texts.valid is not None
        held_out = list(texts.valid.pairs if isinstance(texts.valid, LabelledTexts) else texts.valid)
    arrays = {"frequencies": task.frequencies, "hashes": task.known.hashes}
    for part in PARTS:
        corpus: Corpus | None = vars(task)[part]
        if corpus is not None:
            arrays |= {f"{part}_flat": corpus.flat, f"{part}_offsets": corpus.offsets}
    facts = {
        "tokenizer": task.tokenizer.to_dict(),
        "max_length": task.max_length,
        "notes": task.notes,
        "fingerprint": task.fingerprint,
        "num_lines": texts.num_lines,
        "held_out": held_out,
    }
    return cache.Entry(facts, arrays)


def _restored(entry: cache.Entry, options: Options) -> Task:
    """Return the task that was kept."""
    facts, arrays = entry.facts, entry.arrays
    texts = _texts(options)
    if facts["num_lines"] is not None:
        split = split_valid(texts.train, seed=0, num=facts["num_lines"])
        held_out = facts["held_out"]
        valid = LabelledTexts(list(map(tuple, held_out))) if isinstance(split.valid, LabelledTexts) else held_out
        texts = replace(texts, train=split.train, valid=valid, num_lines=split.num)
    tokenizer = from_dict(facts["tokenizer"])
    corpora = {
        part: Corpus(arrays[f"{part}_flat"], arrays[f"{part}_offsets"], tokenizer.vocabulary)
        for part in PARTS
        if f"{part}_flat" in arrays
    }
    return Task(
        texts,
        tokenizer,
        facts["max_length"],
        **corpora,
        oracle=None,
        notes=tuple(facts["notes"]),
        objective=None,
        facts=Facts(facts["fingerprint"], arrays["frequencies"], arrays["hashes"]),
    )


def _encoded(options: Options) -> Task:
    """Make a task of files by reading them."""
    texts = _texts(options)
    missing = (*_missing(Path(options.data), options.column), *_unlabelled(options))
    task = task_from_texts(texts, options)
    return replace(task, notes=(*missing, *task.notes))


def _texts(options: Options) -> Texts:
    column, label_column = options.column, options.label_column
    texts = read_texts(options.data, column, label_column=label_column, labels=options.labels)
    if options.valid is None:
        return texts
    return replace(texts, valid=read_texts(options.valid, column, label_column=label_column).train)


def task_from_texts(texts: Texts, options: Options) -> Task:
    """Make a task of lines of text. Without a validation part, 5 % of the training lines are held out.

    Which lines are held out does not depend on the seed of a run, so that runs can be compared.
    """
    train, valid, notes, shared, num_lines = texts.train, texts.valid, [], False, None
    if valid is None:
        split = split_valid(train, seed=0)
        train, valid, shared, num_lines = split.train, split.valid, split.shared, split.num
        notes.append(
            "fewer than 20 lines: held-out NLL is measured on the training lines, so it cannot show over-fitting"
            if shared
            else "no validation text: 5 % of the training lines are held out"
        )
    name = tokenizers.choose(train) if options.tokenizer == "auto" else options.tokenizer
    if options.tokenizer == "auto":
        notes.append(f"tokenizer: {name} (chosen from the first lines; --tokenizer overrides)")
    trained = tokenizers.train(name, train, min_count=options.min_count, max_size=options.vocab_size)
    if isinstance(texts.train, LabelledTexts):
        counts_of = Counter(label for label, _ in texts.train.pairs)
        trained = Labelled(trained, tuple(sorted(counts_of)))
        notes += labels.described(counts_of)
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
    texts = replace(texts, train=train, valid=valid, num_lines=num_lines)
    return Task(texts, trained, max_length, **corpora, oracle=None, notes=tuple(notes), objective=None, facts=None)


def draw_parts(oracle: Oracle, num_train: int | None = None) -> dict[str, list[str]]:
    """Draw the three parts from an oracle, the same ones every time; `num_train` replaces the size of the first."""
    sizes = ORACLE_SIZES if num_train is None else {**ORACLE_SIZES, "train": num_train}
    return {part: oracle.sample(num, seed) for seed, (part, num) in enumerate(sizes.items())}


def task_from_oracle(oracle: Oracle) -> Task:
    """Make a task of the three parts that are drawn from an oracle."""
    lines = draw_parts(oracle)
    notes = (f"{ORACLE_SIZES['train']:,} training sequences drawn from the oracle {oracle.name}",)
    texts = Texts(oracle.name, lines["train"], lines["valid"], lines["test"])
    train, valid, test = (encode(part, oracle.tokenizer, max_length=oracle.max_length)[0] for part in lines.values())
    return Task(texts, oracle.tokenizer, oracle.max_length, train, valid, oracle, notes, test)


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


def _unlabelled(options: Options) -> Iterator[str]:
    """Tell how many texts of a file have no label; raises CallError where labels are looked for in the wrong place."""
    path = Path(options.data)
    if options.label_column is not None and path.is_file() and tables.kind(path) is None:
        raise CallError(
            f"--label-column {options.label_column} is for {', '.join(tables.SUFFIXES)}, and {path} is plain text; "
            "give its labels in a file, by --labels"
        )
    if options.labels is not None and (path.is_dir() or tables.kind(path) or tables.kind(Path(options.labels))):
        raise CallError(f"--labels is for one file of plain text and one of labels; of {path}, name the --label-column")
    train = _texts(options).train
    if isinstance(train, LabelledTexts):
        assert isinstance(train.pairs, labels.Records)
        if num := train.pairs.num_unlabelled():
            yield labels.without_label(num)


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
