"""The parts of a corpus, and lines as flat arrays of ids, memory-mapped when large, cut into padded batches."""

import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b, sha256
from itertools import pairwise
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int, Int32, Int64
from torch import Tensor

from textforge.errors import UserError, WorkError
from textforge.text import tables
from textforge.text.labels import LabelledTexts, Records
from textforge.text.reading import TEXT_COLUMN, read_lines
from textforge.text.tokenizers import Labelled, Tokenizer
from textforge.text.vocabulary import Vocabulary

T = TypeVar("T")
# Bytes of ids that are held in memory; more go to a file.
IN_MEMORY = 2**26
# Sequences that are looked at together.
CHUNK = 2**16
SUFFIXES = tuple(f"{suffix}{gz}" for suffix in (".txt", *tables.SUFFIXES) for gz in ("", ".gz"))


@dataclass(frozen=True)
class Lines:
    """The lines of a file, read anew each time they are iterated and never held; see `read_lines`."""

    path: Path
    column: str = TEXT_COLUMN

    def __iter__(self) -> Iterator[str]:
        """Open the file and yield its lines."""
        return read_lines(self.path, self.column)


@dataclass(frozen=True)
class Texts:
    """The parts of a named corpus; each can be iterated any number of times."""

    name: str
    train: Iterable[str]
    valid: Iterable[str] | None = None
    test: Iterable[str] | None = None
    num_lines: int | None = None
    """How many lines the first two parts were cut from, where they were."""

    @property
    def held_out(self) -> Iterable[str]:
        """The test part, or the validation part where there is none; raises UserError where there is neither."""
        part = self.valid if self.test is None else self.test
        if part is None:
            raise UserError(f"{self.name} has neither a test nor a validation part; name a file of held-out text")
        return part


def read_texts(
    path: str | Path, column: str = TEXT_COLUMN, *, label_column: str | None = None, labels: str | Path | None = None
) -> Texts:
    """Take a file as training text, or a folder by its `train`, `valid` and `test` files; `train` must exist.

    `column` holds the text where a file holds records, and `label_column` its label; `labels` is a file with the label
    of each line of plain text. With either the parts are `LabelledTexts`.
    """
    path = Path(path)
    # os.path answers no where pathlib raises: for folders that may not be entered and names that are too long.
    if os.path.isdir(path):
        if labels is not None:
            raise UserError(f"{path} is a folder; labels from a file go with one file of text, or stand in its tables")
        train, valid, test = (_part(path, part, column, label_column) for part in ("train", "valid", "test"))
        if train is None:
            raise UserError(f"the folder {path} has no train.txt; name the training text so ({', '.join(SUFFIXES)})")
        return Texts(path.resolve().name, train, valid, test)
    if not os.path.exists(path):
        raise UserError(f"there is no file or folder {path}, or it may not be entered; check the path")
    if not os.path.isfile(path):
        raise UserError(f"{path} is no regular file, and text is read more than once; save it to a file first")
    return Texts(path.name.split(".")[0] or path.name, _lines(path, column, label_column, labels))


def _lines(path: Path, column: str, label_column: str | None, labels: str | Path | None = None) -> Iterable[str]:
    if label_column is None and labels is None:
        return Lines(path, column)
    return LabelledTexts(Records(path, column, label_column, None if labels is None else Path(labels)))


def _part(folder: Path, part: str, column: str, label_column: str | None) -> Iterable[str] | None:
    found = [name for suffix in SUFFIXES if os.path.exists(folder / (name := f"{part}{suffix}"))]
    if len(found) > 1:
        raise UserError(f"the folder {folder} has both {found[0]} and {found[1]}; keep one of them")
    return _lines(folder / found[0], column, label_column) if found else None


@dataclass(frozen=True)
class Split:
    """Training and validation text of `num` lines; `shared` tells that they were too few and serve as both."""

    train: Iterable[str]
    valid: Iterable[str]
    shared: bool
    num: int


@dataclass(frozen=True)
class _Selected(Generic[T]):
    items: Iterable[T]
    indices: frozenset[int]
    inside: bool

    def __iter__(self) -> Iterator[T]:
        return (item for i, item in enumerate(self.items) if (i in self.indices) == self.inside)


def _selected(texts: Iterable[str], indices: frozenset[int], *, inside: bool) -> Iterable[str]:
    if isinstance(texts, LabelledTexts):
        return LabelledTexts(_Selected(texts.pairs, indices, inside))
    return _Selected(texts, indices, inside)


def split_valid(texts: Iterable[str], seed: int, num: int | None = None) -> Split:
    """Hold out 5 % of the lines, at most 5,000, chosen by the seed; fewer than 20 lines serve for both parts.

    `num` is the number of lines, where it is known and need not be counted.
    """
    num = sum(1 for _ in texts) if num is None else num
    if num < 20:
        return Split(texts, texts, shared=True, num=num)
    chosen = np.random.default_rng(seed).choice(num, size=min(num // 20, 5000), replace=False)
    held = frozenset(chosen.tolist())
    return Split(_selected(texts, held, inside=False), _selected(texts, held, inside=True), False, num)


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences side by side, filled up with `pad`; `mask` is True on real tokens, `eos` included."""

    tokens: Int[Tensor, "B T"]
    mask: Bool[Tensor, "B T"]

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device."""
        return Batch(self.tokens.to(device), self.mask.to(device))


@dataclass(frozen=True, eq=False)
class Corpus:
    """N encoded sequences end to end: sequence n is `flat[offsets[n] : offsets[n + 1]]`, its `eos` included."""

    flat: Int32[np.ndarray, " L"]
    offsets: Int64[np.ndarray, " N_plus_1"]
    vocabulary: Vocabulary

    def __len__(self) -> int:
        """Return N, the number of sequences."""
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> Int64[np.ndarray, " N"]:
        """The number of tokens of each sequence, `eos` included."""
        return np.diff(self.offsets)

    @property
    def num_tokens(self) -> int:
        """The number of tokens of all sequences, `eos` included."""
        return len(self.flat)

    @cached_property
    def labelled(self) -> Bool[np.ndarray, " N"]:
        """Which sequences begin with a label."""
        first, labels = self.flat[self.offsets[:-1]], self.vocabulary.labels
        found: Bool[np.ndarray, " N"] = (first >= labels.start) & (first < labels.stop)
        return found

    def bare(self) -> "Corpus":
        """Return the sequences without the labels in front of them, where they have any."""
        if not self.vocabulary.num_labels:
            return self
        keep = np.ones(len(self.flat), dtype=bool)
        keep[self.offsets[:-1][self.labelled]] = False
        offsets = self.offsets - np.concatenate([[0], self.labelled.cumsum()])
        return Corpus(self.flat[keep], offsets, self.vocabulary)

    def frequencies(self) -> Int64[np.ndarray, " K"]:
        """Return how often each of the K distinct sequences occurs, in no particular order."""
        digests = bytearray()  # 8 bytes a sequence, of which two of a million are equal with a probability of 3e-8
        for first in range(0, len(self), CHUNK):
            for start, end in pairwise(self.offsets[first : first + CHUNK + 1].tolist()):
                digests += blake2b(self.flat[start:end].tobytes(), digest_size=8).digest()
        return np.unique(np.frombuffer(bytes(digests), np.int64), return_counts=True)[1].astype(np.int64)

    def take(self, indices: Int[np.ndarray, " M"]) -> "Corpus":
        """Return the sequences at the indices as a corpus of their own."""
        parts = [self.flat[self.offsets[i] : self.offsets[i + 1]] for i in indices.tolist()]
        offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return Corpus(np.concatenate(parts), offsets, self.vocabulary)

    def fingerprint(self) -> str:
        """Return a short hash of the sequences, by which a resumed run notices that its data has changed."""
        digest = sha256(np.ascontiguousarray(self.offsets).data)
        digest.update(np.ascontiguousarray(self.flat).data)
        return digest.hexdigest()[:16]

    def batch(self, indices: Int[np.ndarray, " B"], width: int | None) -> Batch:
        """Return the sequences at the indices, padded to `width`, or to the longest of them."""
        starts = self.offsets[indices]
        lengths = self.offsets[indices + 1] - starts
        longest = int(lengths.max(initial=0))
        width = longest if width is None else width
        assert longest <= width, f"a sequence of {longest} tokens does not fit a batch of width {width}"
        columns = np.arange(width)
        mask = columns < lengths[:, None]
        tokens = np.full(mask.shape, self.vocabulary.pad, dtype=np.int64)
        tokens[mask] = self.flat[(starts[:, None] + columns)[mask]]
        return Batch(torch.from_numpy(tokens), torch.from_numpy(mask))


@dataclass(frozen=True)
class Counts:
    """What `encode` saw: sequences kept and left out, and the tokens of those kept (`eos` included).

    `longest` is the largest number of tokens of any sequence, those left out included: the `max_length` that fits all.
    """

    kept: int
    too_long: int
    unknown_tokens: int
    tokens: int
    longest: int
    empty: int


def encode(texts: Iterable[str], tokenizer: Tokenizer, *, max_length: int | None) -> tuple[Corpus, Counts]:
    """Encode texts in one pass, each closed by `eos` where the vocabulary has one.

    In front of `LabelledTexts` stands their label, which counts as a token. Sequences of more than `max_length` tokens
    (`eos` included) and texts without a token are left out and counted.
    Beyond 64 MiB the ids lie in a temporary file without a name, so that memory grows by 8 bytes a sequence.
    Raises UserError where nothing is left, WorkError where the temporary file cannot be written.
    """
    vocabulary = tokenizer.vocabulary
    eos = [] if vocabulary.eos is None else [vocabulary.eos]
    offsets = array("q", [0])
    too_long = empty = unknown_tokens = longest = 0
    try:
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            for item in texts.pairs if isinstance(texts, LabelledTexts) else texts:
                try:
                    ids = _ids(item, tokenizer)
                except UserError as error:
                    raise UserError(f"text {len(offsets) + too_long + empty}: {error}") from None
                if not ids:
                    empty += 1
                    continue
                ids += eos
                longest = max(longest, len(ids))
                if max_length is not None and len(ids) > max_length:
                    too_long += 1
                    continue
                if vocabulary.unk is not None:
                    unknown_tokens += ids.count(vocabulary.unk)
                offsets.append(offsets[-1] + len(ids))
                file.write(array("i", ids))
            flat = _flat(file)
    except OSError as error:
        folder = tempfile.gettempdir()
        raise WorkError(
            f"no room for the encoded text in {folder} ({error.strerror}); free some or set TMPDIR"
        ) from error
    kept = len(offsets) - 1
    if too_long and not kept:
        raise UserError(
            f"all {too_long} sequences are longer than max_length {max_length}; the longest has {longest} tokens"
        )
    if not kept:
        raise UserError("there is no text to encode; give at least one line that is not blank")
    corpus = Corpus(flat, np.frombuffer(offsets, dtype=np.int64), vocabulary)
    return corpus, Counts(kept, too_long, unknown_tokens, corpus.num_tokens, longest, empty)


def _ids(item: str | tuple[str, str], tokenizer: Tokenizer) -> list[int]:
    if isinstance(item, str):
        return tokenizer.encode(item)
    assert isinstance(tokenizer, Labelled), "labels are known to the tokenizer"
    return tokenizer.encode_pair(*item)


def _flat(file: tempfile.SpooledTemporaryFile[bytes]) -> Int32[np.ndarray, " L"]:
    if file.tell() > IN_MEMORY:
        file.flush()
        return np.memmap(file, dtype=np.int32, mode="r")
    file.seek(0)
    return np.frombuffer(file.read(), dtype=np.int32)
