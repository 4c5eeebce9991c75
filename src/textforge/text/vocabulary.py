"""Symbols and their ids: which ids a generator may emit and which it may only read."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from textforge.errors import UserError

UNKNOWN_TEXT = "<unk>"
MASK_TEXT = "<mask>"


@dataclass(frozen=True)
class Vocabulary:
    """An ordered set of symbols with its special ids.

    Ids run over the symbols, then `unk` and `eos` (each only if present), then the input-only ids `bos`, `pad` and
    `mask`. The output layer of a generator has `vocab_size` rows and the embedding `len(vocabulary)`, so no generator
    can emit an input-only id. A language without a start symbol of its own may lend `bos` the id of a symbol.
    Where texts have labels, the last `num_labels` symbols are these: one stands in front of a text, and none within it.
    """

    symbols: tuple[str, ...]
    unk: int | None
    eos: int | None
    bos: int
    pad: int
    mask: int
    num_labels: int = 0

    @classmethod
    def create(
        cls, symbols: Iterable[str], *, unk: bool = True, eos: bool = True, bos: int | None = None, num_labels: int = 0
    ) -> "Vocabulary":
        """Lay out the ids for the given symbols, which must differ; `bos` names an emitted id to share."""
        symbols = tuple(symbols)
        if len(set(symbols)) < len(symbols):
            repeated = next(symbol for symbol, count in Counter(symbols).items() if count > 1)
            raise UserError(f"the vocabulary holds {repeated!r} more than once; list each symbol once")
        size = len(symbols) + unk + eos
        if bos is not None and not 0 <= bos < size:
            raise UserError(
                f"bos {bos} is no id of this vocabulary; pass 0 to {size - 1}, or None for an id of its own"
            )
        pad = size if bos is not None else size + 1
        return cls(
            symbols=symbols,
            unk=len(symbols) if unk else None,
            eos=size - 1 if eos else None,
            bos=size if bos is None else bos,
            pad=pad,
            mask=pad + 1,
            num_labels=num_labels,
        )

    @classmethod
    def build(
        cls, sequences: Iterable[Sequence[str]], *, min_count: int = 1, max_size: int | None = None
    ) -> "Vocabulary":
        """Collect the symbols that occur at least `min_count` times, most frequent first, ties by code point.

        The sequences are read once and only the counts are held. `max_size` bounds the number of symbols; the special
        ids come on top.
        """
        if min_count < 1:
            raise UserError(f"min_count must be at least 1, not {min_count}")
        if max_size is not None and max_size < 1:
            raise UserError(f"max_size must be at least 1, not {max_size}")
        counts: Counter[str] = Counter()
        for sequence in sequences:
            counts.update(sequence)
        frequent = [symbol for symbol, count in counts.items() if count >= min_count]
        if not frequent:
            raise UserError(
                f"no symbol occurs at least {min_count} times in the text; give more text or a lower min_count"
            )
        frequent.sort(key=lambda symbol: (-counts[symbol], symbol))
        return cls.create(frequent[:max_size])

    @property
    def vocab_size(self) -> int:
        """How many ids a generator may emit: V, the rows of its output layer."""
        return len(self.symbols) + (self.unk is not None) + (self.eos is not None)

    @property
    def labels(self) -> range:
        """The ids of the labels; empty where texts have none."""
        return range(len(self.symbols) - self.num_labels, len(self.symbols))

    def __len__(self) -> int:
        """Return the number of all ids, the input-only ones included: the rows of an embedding."""
        return self.mask + 1

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    @cached_property
    def _texts(self) -> dict[int, str]:
        texts = dict(enumerate(self.symbols)) | {self.mask: MASK_TEXT}
        return texts if self.unk is None else texts | {self.unk: UNKNOWN_TEXT}

    def encode(self, symbols: Sequence[str]) -> list[int]:
        """Return the ids of the symbols, without `bos` and `eos`; an unknown symbol becomes `unk`.

        Raises UserError for an unknown symbol where the vocabulary has no `unk`.
        """
        ids, unk = self._ids, self.unk
        if unk is not None:
            return [ids.get(symbol, unk) for symbol in symbols]
        try:
            return [ids[symbol] for symbol in symbols]
        except KeyError as error:
            raise UserError(f"{error.args[0]!r} is not in the vocabulary of {len(self.symbols)} symbols") from None

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the symbols up to the first `eos`; `pad` and an input-only `bos` are left out."""
        texts, ids = self._texts, itertools.takewhile(lambda i: i != self.eos, ids)
        return [texts[i] for i in ids if i != self.pad and (i != self.bos or i < self.vocab_size)]

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` needs, ready for JSON."""
        return {
            "symbols": list(self.symbols),
            "unk": self.unk is not None,
            "eos": self.eos is not None,
            "bos": self.bos if self.bos < self.vocab_size else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Vocabulary":
        """Rebuild a vocabulary from what `to_dict` returned; raises UserError for anything else."""
        match data:
            case {"symbols": [*symbols], "unk": bool(unk), "eos": bool(eos), "bos": int() | None as bos}:
                if all(isinstance(symbol, str) for symbol in symbols):
                    return cls.create(symbols, unk=unk, eos=eos, bos=bos)
        raise UserError("the stored vocabulary is not one of ours; it needs symbols (texts), unk, eos and bos")
