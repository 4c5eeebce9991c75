"""textforge methods, data and bench: what there is, and how fast."""

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from textforge.cli.output import deliver, escaped
from textforge.cli.parsing import parse
from textforge.errors import CallError, UserError, at_least, nearest


def methods_command(arguments: Sequence[str]) -> None:
    """List the methods."""

    @dataclass(frozen=True)
    class Methods:
        """The methods, a line each, with their presets."""

    parse(Methods, arguments, "methods")
    from textforge import methods

    width = max(map(len, methods.names()), default=0)
    for name in methods.names():
        module = methods.find(name)
        summary = (module.__doc__ or "").splitlines()[0]
        print(f"{name:<{width}} {summary}\n{'':<{width}} presets: {', '.join(module.PRESETS)}")


HEEDED = {"list": (), "show": ("num", "seed"), "export": ("num", "out"), "fetch": ("out",), "cache": ("clear",)}
"""The flags that each action of `data` takes."""


@dataclass(frozen=True)
class DataOptions:
    """Embedded languages and worlds of points, whose truth is known, and public corpora."""

    action: Annotated[Literal["list", "show", "export", "fetch", "cache"], Positional]
    """list: what there is. show NAME: some sentences of a language, or points of a world. export NAME: its train.txt,
    valid.txt and test.txt. fetch NAME: download a public corpus and check its hash. cache: what is kept of large files
    that were trained on, so that the next start takes seconds."""
    name: Annotated[str | None, Positional] = None
    """The language or corpus."""
    num: Annotated[int | None, arg(aliases=["-n"])] = None
    """How many sentences to show, by default 10; of an export, how many to train on, by default 10,000."""
    seed: int | None = None
    """Seed of the sentences shown; by default 0."""
    out: Path | None = None
    """The folder that export and fetch write; by default NAME."""
    clear: bool = False
    """Remove what the cache keeps; it is made again where it is needed."""

    def __post_init__(self) -> None:
        """Check the ranges, and that nothing is asked for that the action does not do."""
        at_least(1 if self.action == "export" else 0, self, "num")
        at_least(0, self, "seed")
        for field in ("num", "seed", "out", "clear"):
            if vars(self)[field] != vars(DataOptions)[field] and field not in HEEDED[self.action]:
                raise CallError(f"textforge data {self.action} heeds no --{field}; leave it out")


def data_command(arguments: Sequence[str]) -> None:
    """List, show, export, fetch, or look after the cache."""
    options = parse(DataOptions, arguments, "data")
    if options.action == "cache":
        _cache(options)
        return
    from textforge import oracles
    from textforge.oracles import worlds
    from textforge.task import ORACLE_KINDS
    from textforge.text import catalog

    if options.action == "list":
        _list()
        return
    if options.name is None:
        raise CallError(f"name a corpus: textforge data {options.action} NAME; see textforge data list")
    if options.action == "fetch":
        print(catalog.fetch(options.name, _folder(options)))
    elif options.name in catalog.names():
        raise CallError(f"{options.name} is a public corpus: see its files after `textforge data fetch {options.name}`")
    elif options.name not in worlds.names() and options.name.partition(":")[0] not in ORACLE_KINDS:
        known = [*oracles.names(), *worlds.names(), *catalog.names()]
        raise CallError(
            f"there is no language, world or corpus '{options.name}'; see textforge data list"
            f"{nearest(options.name, known)}"
        )
    elif options.action == "show":
        _show(options.name, 10 if options.num is None else options.num, options.seed or 0)
    elif options.name in worlds.names():
        raise CallError(f"{options.name} is a world of points and has no files; see textforge data show {options.name}")
    else:
        _export(options.name, _folder(options), options.num)


def _folder(options: DataOptions) -> Path:
    assert options.name is not None
    return options.out or Path(options.name.partition(":")[0])


def _list() -> None:
    from textforge import oracles
    from textforge.oracles import worlds
    from textforge.text import catalog

    for name, description in oracles.LANGUAGES.items():
        print(f"{name:<20} embedded; {description}")
    for name, description in worlds.WORLDS.items():
        print(f"{name:<20} world of points; {description}")
    for corpus in catalog.CORPORA:
        print(f"{corpus.name:<20} public; {corpus.description} ({corpus.licence}; text: {corpus.text_licence})")


def _cache(options: DataOptions) -> None:
    from textforge.text import cache

    if options.name is not None:
        raise CallError(f"textforge data cache is of all files; leave out {options.name}")
    folder = cache.folder()
    if folder is None:
        print(f"nothing is kept: {cache.VARIABLE} is empty")
        return
    if options.clear:
        num, size = cache.clear(folder)
        print(f"{num} removed, {size / 1e9:.2f} GB")
    for entry in cache.kept(folder):
        print(f"{entry.size / 1e9:6.2f} GB  {time.strftime('%Y-%m-%d', time.localtime(entry.used))}  {entry.data}")
    print(f"{folder} holds at most {cache.MOST / 1e9:.0f} GB; what was not used for the longest goes first")


def _show(name: str, num: int, seed: int) -> None:
    from textforge import oracles
    from textforge.oracles import worlds

    if name in worlds.names():
        world = worlds.load(name)
        deliver(world.written(world.sample(num, seed)), None)
    else:
        deliver([escaped(text) for text in oracles.load(name).sample(num, seed)], None)


def _export(name: str, out: Path, num: int | None) -> None:
    from textforge import oracles
    from textforge.task import draw_parts

    parts = draw_parts(oracles.load(name), num)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be made a folder ({error.strerror}); choose another with --out") from None
    for part, lines in parts.items():
        deliver(lines, out / f"{part}.txt")
    print(out)


@dataclass(frozen=True)
class BenchOptions:
    """How fast this machine is: each row against a naive reference and against the arithmetic floor."""

    json: bool = False
    """Print one JSON object with the rows."""
    growth: bool = False
    """How a generator step grows with the length, the vocabulary, the roll-outs and the batch, in place of the rows."""
    fast: bool = False
    """Small sizes: shows that it works, measures nothing of interest."""


def bench_command(arguments: Sequence[str]) -> None:
    """Measure this machine."""
    options = parse(BenchOptions, arguments, "bench")
    from textforge import bench

    rows: Iterator[bench.Growth] | Iterator[bench.Row]
    rows = bench.growth(fast=options.fast) if options.growth else bench.rows(fast=options.fast)
    if options.json:
        print(json.dumps({"growth" if options.growth else "rows": [dataclasses.asdict(row) for row in rows]}))
        return
    if options.growth:
        print(f"{'':<26}{'of':<14}{'exponent':>8}   seconds at each size")
    else:
        print(f"{'':<44}{'seconds':>10}{'naive / ours':>14}{'ours / floor':>14}")
    for row in rows:
        if isinstance(row, bench.Growth):
            at = ", ".join(f"{value}: {took:.3f}" for value, took in zip(row.values, row.seconds, strict=True))
            print(f"{row.name:<26}{row.size:<14}{row.exponent:>8.2f}   {at}", flush=True)
        else:
            print(f"{row.name:<44}{row.seconds:>10.3f}{row.naive_ratio:>14.1f}{row.floor_ratio:>14.1f}", flush=True)
