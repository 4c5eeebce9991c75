"""n-gram counts of texts that do not fit into memory: tables on disk, joined one range of hashes at a time.

The texts of a side are cut into blocks. A block is counted in memory, and of each of its distinct n-grams a row is
written: its hash, the largest and second largest count in one text, and the sum. The rows of a block are sorted, so
a range of hashes is one stretch of each block, and it is read from all blocks of both sides at once. What it comes to,
the largest count on the other side and the second largest on the own one, is written beside the rows, where the block
finds it again when it counts its texts a second time. No n-gram is in one block twice, so that the ranges are even,
however frequent an n-gram is. Memory holds one block, or one range of all.

An n-gram is known by a hash of 64 bits. That any two of a thousand million share one has a probability of 3 %, of a
million 3e-8; the counts of these two would be one's.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from weakref import finalize

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt64

from textforge.errors import WorkError
from textforge.metrics.bleu import second_largest
from textforge.metrics.counts import GramCounts, Split, changes

HELD = 2**22
"""Symbols of a block, and rows of a range; a block takes some 100 bytes a symbol while it is counted."""
REMEMBERED = 2**20
"""Symbols whose hashes are remembered, in place of being computed again."""
BUCKETS = 2**12
"""Ranges of hashes that are never divided."""
FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Of the polynomial that makes an n-gram's hash of the hashes of its symbols; odd, so that no bit is lost."""
ROW = np.dtype([("gram", "u8"), ("largest", "u4"), ("second", "u4"), ("total", "u4")], align=True)
LIMIT = np.dtype([("others", "u4"), ("own", "u4")])


class Column:
    """Values of one type behind one another in a file without a name, which ends with the process, however it ends."""

    def __init__(self, dtype: str | np.dtype) -> None:
        """Begin empty; raises WorkError where no temporary file can be made."""
        self.dtype = np.dtype(dtype)
        self.size = 0
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it is closed when nobody has the column any more
        except OSError as error:
            raise _full(error) from error
        finalize(self, self._file.close)

    def append(self, values: Shaped[np.ndarray, " K"]) -> None:
        """Write values at the end."""
        self.write(self.size, values)

    def write(self, start: int, values: Shaped[np.ndarray, " K"]) -> None:
        """Write values at a place; raises WorkError where the disk is full."""
        try:
            self._file.seek(start * self.dtype.itemsize)
            self._file.write(np.ascontiguousarray(values, self.dtype).data)
            self._file.flush()
        except OSError as error:
            with suppress(OSError):  # once more, of what was not written
                self._file.close()
            raise _full(error) from error
        self.size = max(self.size, start + len(values))

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, " K"]:
        """Return the values from `start` up to `stop`."""
        self._file.seek(start * self.dtype.itemsize)
        return np.frombuffer(self._file.read((stop - start) * self.dtype.itemsize), self.dtype)


def _full(error: OSError) -> WorkError:
    folder = tempfile.gettempdir()
    return WorkError(f"no room for tables of n-grams in {folder} ({error.strerror}); free some or set TMPDIR")


@dataclass(frozen=True)
class Block:
    """Where the symbols, and the lengths, of some texts stand in their columns."""

    symbols: tuple[int, int]
    texts: tuple[int, int]


@dataclass(eq=False)
class Side:
    """Texts as hashes of their symbols, on disk, in blocks."""

    symbols: Column = field(default_factory=lambda: Column("u8"))
    lengths: Column = field(default_factory=lambda: Column("i8"))
    blocks: list[Block] = field(default_factory=list)
    num_of_length: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(cls, texts: Iterable[str], split: Split, held: int = HELD) -> "Side":
        """Go through texts once; a block ends with the text that makes it `held` symbols long, or as many texts."""
        side = cls()
        for symbols, lengths in _blocks(texts, split, held):
            at, text = side.symbols.size, side.lengths.size
            side.blocks.append(Block((at, at + len(symbols)), (text, text + len(lengths))))
            side.symbols.append(symbols)
            side.lengths.append(lengths)
            side.num_of_length.update(lengths.tolist())
        return side

    def __len__(self) -> int:
        """Return the number of texts."""
        return self.lengths.size

    def lengths_of(self, block: Block) -> Int[np.ndarray, "N"]:
        """Return the number of symbols of each text."""
        return self.lengths.read(*block.texts)

    def hashes(self, block: Block, order: int) -> tuple[UInt64[np.ndarray, " K"], Int[np.ndarray, " K"]]:
        """Return the hash of each n-gram, and the text that it stands in, counted from the first of the block."""
        symbols, lengths = self.symbols.read(*block.symbols), self.lengths_of(block)
        hashes = symbols
        for step in range(1, order):
            hashes = hashes[:-1] * FACTOR + symbols[step:]
        text = np.repeat(np.arange(len(lengths)), lengths)
        left = np.cumsum(lengths)[text] - np.arange(len(symbols))
        fits = left[: len(hashes)] >= order
        return hashes[fits], text[: len(hashes)][fits]

    def count(self, block: Block, order: int) -> tuple[UInt64[np.ndarray, " grams"], GramCounts]:
        """Return the hashes of the distinct n-grams of a block, ascending, and how often each text holds each."""
        hashes, text = self.hashes(block, order)
        by_gram = np.argsort(hashes, kind="stable")
        hashes, owner = hashes[by_gram], text[by_gram]
        new = changes(hashes)
        rows = np.flatnonzero(new | changes(owner))
        number = (np.cumsum(new) - 1)[rows]
        return hashes[new], GramCounts(number, owner[rows], np.diff(rows, append=len(hashes)), int(new.sum()))


def _blocks(
    texts: Iterable[str], split: Split, held: int
) -> Iterator[tuple[UInt64[np.ndarray, " K"], Int[np.ndarray, "N"]]]:
    hashes = _Hashes()
    flat: list[int] = []
    lengths: list[int] = []
    for text in texts:
        before = len(flat)
        flat.extend(map(hashes.__getitem__, split(text)))
        lengths.append(len(flat) - before)
        if max(len(flat), len(lengths)) >= held:
            yield np.array(flat, np.uint64), np.array(lengths, np.int64)
            flat.clear()
            lengths.clear()
    if lengths:
        yield np.array(flat, np.uint64), np.array(lengths, np.int64)


class _Hashes(dict[str, int]):
    """The hash of each symbol that was asked for lately."""

    def __missing__(self, symbol: str) -> int:
        if len(self) >= REMEMBERED:
            self.clear()
        # Half a surrogate pair is no UTF-8, but a generator may emit it.
        digest = blake2b(symbol.encode(errors="surrogatepass"), digest_size=8).digest()
        self[symbol] = value = int.from_bytes(digest, "little")
        return value


class Rows:
    """What the distinct n-grams of each block of a side come to, block after block."""

    def __init__(self, side: Side, order: int) -> None:
        """Count the n-grams of one order."""
        self.side = side
        self.order = order
        self.rows = Column(ROW)
        self.limits = Column(LIMIT)
        self.starts: list[list[int]] = []
        for block in side.blocks:
            grams, counts = side.count(block, order)
            rows = np.zeros(len(grams), ROW)
            rows["gram"] = grams
            largest = np.zeros(len(grams), np.int64)
            np.maximum.at(largest, counts.gram, counts.count)
            rows["largest"], rows["second"] = largest, second_largest(counts)
            rows["total"] = np.bincount(counts.gram, counts.count, len(grams))
            inner = np.searchsorted(grams, np.arange(1, BUCKETS, dtype=np.uint64) * np.uint64(2**64 // BUCKETS))
            self.starts.append([self.rows.size + start for start in (0, *inner.tolist(), len(grams))])
            self.rows.append(rows)

    def sizes(self) -> Int[np.ndarray, " buckets"]:
        """Return how many rows of each bucket there are in all blocks together."""
        return sum((np.diff(starts) for starts in self.starts), np.zeros(BUCKETS, np.int64))

    def matches(self) -> Iterator[tuple[Block, Float[np.ndarray, "N"], Float[np.ndarray, "N"]]]:
        """Yield for the texts of each block how many n-grams they share with the other side, and with one another.

        As in BLEU, an n-gram counts at most as often as in that one text of the others that has it most often.
        """
        for block, starts in zip(self.side.blocks, self.starts, strict=True):
            _, counts = self.side.count(block, self.order)
            limits = self.limits.read(starts[0], starts[-1])
            num = block.texts[1] - block.texts[0]
            others, own = (
                np.bincount(counts.text, np.minimum(counts.count, limits[name][counts.gram]), num)
                for name in ("others", "own")
            )
            yield block, others, own


@dataclass
class Join:
    """Two sides side by side, for the n-grams of one order: sums over all of them, and the rows of either."""

    ours: Rows
    theirs: Rows
    num_ranges: int = 0
    distinct: int = 0
    """Distinct n-grams of ours."""
    total: int = 0
    """Occurrences of n-grams of ours."""
    known: int = 0
    """Occurrences of those that are also theirs."""
    both: int = 0
    """The sum of min(a, b), a an n-gram's occurrences per text of ours and b of theirs, times the texts of both."""
    either: int = 0
    """The same of max(a, b)."""


def join(ours: Side, theirs: Side, order: int, held: int = HELD) -> Join:
    """Count the n-grams of two sides and bring equal ones together, at most `held` rows at a time, or one bucket."""
    joined = Join(Rows(ours, order), Rows(theirs, order))
    sides = (joined.ours, joined.theirs)
    for first, last in _ranges(joined.ours.sizes() + joined.theirs.sizes(), held):
        stretches = [
            (rows, starts[first], starts[last])
            for rows in sides
            for starts in rows.starts
            if starts[first] < starts[last]
        ]
        found = np.concatenate([rows.rows.read(start, stop) for rows, start, stop in stretches])
        is_ours = np.repeat(
            [rows is joined.ours for rows, *_ in stretches], [stop - start for _, start, stop in stretches]
        )
        joined.num_ranges += 1
        limits = _bring_together(found, is_ours, joined, len(ours), len(theirs))
        at = 0
        for rows, start, stop in stretches:
            rows.limits.write(start, limits[at : at + stop - start])
            at += stop - start
    return joined


def _ranges(sizes: Int[np.ndarray, " buckets"], held: int) -> Iterator[tuple[int, int]]:
    """Cut the buckets into ranges of at most `held` rows, where a bucket itself has not more."""
    first = rows = 0
    for bucket, size in enumerate(sizes.tolist()):
        if rows and rows + size > held:
            yield first, bucket
            first, rows = bucket, 0
        rows += size
    if rows:
        yield first, len(sizes)


def _bring_together(
    rows: Shaped[np.ndarray, " K"], is_ours: Shaped[np.ndarray, " K"], joined: Join, num_ours: int, num_theirs: int
) -> Shaped[np.ndarray, " K"]:
    """Return the limit of each row, and add to the sums."""
    by_gram = np.argsort(rows["gram"], kind="stable")
    rows, is_ours = rows[by_gram], is_ours[by_gram]
    new = changes(rows["gram"])
    gram, first = np.cumsum(new) - 1, np.flatnonzero(new)
    ours, theirs = (_Merged.of(rows, side, gram, first) for side in (is_ours, ~is_ours))
    limits = np.zeros(len(rows), LIMIT)
    limits["others"][by_gram] = np.where(is_ours, theirs.largest[gram], ours.largest[gram])
    limits["own"][by_gram] = np.where(is_ours, ours.second[gram], theirs.second[gram])
    joined.distinct += int((ours.total > 0).sum())
    joined.total += int(ours.total.sum())
    joined.known += int(ours.total[theirs.total > 0].sum())
    a, b = ours.total * num_theirs, theirs.total * num_ours
    joined.both += int(np.minimum(a, b).sum())
    joined.either += int(np.maximum(a, b).sum())
    return limits


@dataclass(frozen=True)
class _Merged:
    """Each n-gram on one side: the largest and the second largest count in one text, with multiplicity, and the sum."""

    largest: Int[np.ndarray, " grams"]
    second: Int[np.ndarray, " grams"]
    total: Int[np.ndarray, " grams"]

    @classmethod
    def of(
        cls,
        rows: Shaped[np.ndarray, " K"],
        side: Shaped[np.ndarray, " K"],
        gram: Int[np.ndarray, " K"],
        first: Int[np.ndarray, " grams"],
    ) -> "_Merged":
        """Merge the rows of one side; those of an n-gram begin at `first` and stand together."""
        count = np.where(side, rows["largest"], 0).astype(np.int64)
        largest = np.maximum.reduceat(count, first)
        top = side & (count == largest[gram])
        below = np.maximum(np.where(top, 0, count), np.where(side, rows["second"], 0))
        second = np.where(np.add.reduceat(top.astype(np.int64), first) > 1, largest, np.maximum.reduceat(below, first))
        return cls(largest, second, np.add.reduceat(np.where(side, rows["total"], 0).astype(np.int64), first))
