"""Sentences as vectors, for the metrics that compare clouds of points; one encoder is built in and needs no download.

Distances between clouds mean nothing without the encoder they were taken in: its name belongs beside each value, and
values in two encoders do not compare.
"""

import hashlib
import importlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt64

from textforge.errors import UserError
from textforge.metrics.counts import Split, require

Encoder = Callable[[Sequence[str]], Float[np.ndarray, "N F"]]
"""A function from N texts to N vectors, a row each, in which a text's row does not depend on the other texts."""

EDGE = ""
"""The symbol before and behind every text; no `split` gives it."""


def hashed_ngrams(*, max_order: int = 3, size: int = 384, split: Split = str.split) -> Encoder:
    """Return the built-in encoder: n-grams of order 1 to `max_order`, hashed with signs to `size` numbers.

    Before hashing, order k of a text x is the vector sqrt(c(g) / n) over its k-grams g, with c(g) their counts and n
    their sum. It has length 1 whatever the length of the text, and the product of two texts' vectors is the
    Bhattacharyya coefficient of their k-gram frequencies: 1 if these agree, 0 if no k-gram is shared. The square root
    keeps a word that is said ten times from drowning the rest. Each order counts half the one below it and the squared
    lengths add up to 1: longer n-grams are rarer, and with equal shares those that occur once would fill the buckets
    with noise. Texts carry an `EDGE` on either side, so that beginnings and ends are n-grams too, and the weight of the
    edge itself tells the length.

    Hashing adds up the n-grams that fall into one of `size` buckets, each with a sign of its own, which leaves every
    product as it was in expectation, with a variance of order 1 / `size` (Weinberger et al. 2009, lemma 2). The hash is
    a function of the symbols alone: the same on every machine, in every process.
    """
    if max_order < 1 or size < 1:
        raise UserError(
            f"an encoder needs orders and numbers, not max_order {max_order} and size {size}; give 1 or more"
        )

    def encode(texts: Sequence[str]) -> Float[np.ndarray, "N F"]:
        require(texts, "texts")
        framed = [[EDGE, *split(text), EDGE] for text in texts]
        codes = {symbol: _code(symbol) for symbol in set(itertools.chain.from_iterable(framed))}
        flat = np.fromiter(map(codes.__getitem__, itertools.chain.from_iterable(framed)), np.uint64)
        lengths = np.array([len(symbols) for symbols in framed])
        text = np.repeat(np.arange(len(framed)), lengths)
        left = np.cumsum(lengths)[text] - np.arange(len(flat))  # symbols from here to the end of the text
        vectors = np.zeros(len(framed) * size)
        share = 2.0 ** -np.arange(max_order) / (2 - 2.0 ** (1 - max_order))
        grams = np.zeros(len(flat), np.uint64)
        for order in range(1, max_order + 1):
            fits = np.flatnonzero(left >= order)
            grams[fits] = _mix(grams[fits] + flat[fits + order - 1])
            by_text = fits[np.lexsort((grams[fits], text[fits]))]
            gram, owner = grams[by_text], text[by_text]
            new = np.flatnonzero((np.diff(gram, prepend=~gram[:1]) != 0) | (np.diff(owner, prepend=-1) != 0))
            count, gram, owner = np.diff(new, append=len(gram)), gram[new], owner[new]
            weight = np.sqrt(share[order - 1] * count / (lengths[owner] - order + 1))
            bucket = owner * size + (gram >> np.uint64(1)).astype(np.int64) % size
            vectors += np.bincount(bucket, np.where(gram & np.uint64(1), weight, -weight), len(vectors))
        return vectors.reshape(len(framed), size)

    return encode


def sentence_transformer(model: str | Path) -> Encoder:
    """Return the encoder of a sentence-transformers model that lies in a local folder; nothing is downloaded."""
    try:
        library = importlib.import_module("sentence_transformers")
    except ModuleNotFoundError:
        raise UserError(
            "sentence encoders need a library that is absent; run: pip install sentence-transformers"
        ) from None
    network = library.SentenceTransformer(str(model), local_files_only=True)

    def encode(texts: Sequence[str]) -> Float[np.ndarray, "N F"]:
        require(texts, "texts")
        return np.asarray(network.encode(list(texts), convert_to_numpy=True, show_progress_bar=False))

    return encode


def _code(symbol: str) -> int:
    """64 bits of a symbol; Python's own hash differs from process to process."""
    return int.from_bytes(hashlib.blake2b(symbol.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _mix(x: UInt64[np.ndarray, "K"]) -> UInt64[np.ndarray, "K"]:
    """Spread every bit over all 64 (the finaliser of SplitMix64, Steele et al. 2014), so that word order tells."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
