import hashlib
import itertools
import math
import os
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from textforge.errors import UserError
from textforge.metrics.encoder import hashed_ngrams, sentence_transformer

TEXTS = ["a b c d", "d c b a", "a b c d e", "a a a a b", "x y z", "", "a b c d"]


def similarity(one: str, other: str, max_order: int) -> float:
    """The mean over orders, each half the weight of the last, of the Bhattacharyya coefficient, by counting."""
    total = 0.0
    for order in range(1, max_order + 1):
        counts = []
        for text in (one, other):
            symbols = ["<", *text.split(), ">"]
            counts.append(Counter(tuple(symbols[at : at + order]) for at in range(len(symbols) - order + 1)))
        sizes = [counter.total() for counter in counts]
        if all(sizes):
            total += 0.5**order * sum(math.sqrt(counts[0][g] / sizes[0] * counts[1][g] / sizes[1]) for g in counts[0])
    return total / (1 - 0.5**max_order)


def test_products_are_shared_ngrams() -> None:
    """Where there are far more buckets than n-grams, hashing loses nothing."""
    vectors = hashed_ngrams(size=2**18)(TEXTS)
    for (i, one), (j, other) in itertools.product(enumerate(TEXTS), repeat=2):
        assert vectors[i] @ vectors[j] == pytest.approx(similarity(one, other, 3), abs=1e-12)
    assert np.square(vectors).sum(1) == pytest.approx([1, 1, 1, 1, 1, 6 / 7, 1])  # an empty text has no trigram


def test_signed_hashing_is_unbiased_with_the_stated_variance() -> None:
    """Another name for each symbol is another hash function: products vary around those of the n-grams."""
    encode, size, names = hashed_ngrams(max_order=2, size=32), 32, 1500
    one = [f"a{name} b{name} c{name} d{name}" for name in range(names)]
    other = [f"a{name} b{name} e{name} f{name}" for name in range(names)]
    products = (encode(one) * encode(other)).sum(1)
    error = products.std(ddof=1) / math.sqrt(names)
    # What is not of these names, the edges, is hashed the same each time: it stands in both, and once in each.
    assert abs(products.mean() - similarity("a b c d", "a b e f", 2)) < 4.5 * error + 1 / 3 / size
    assert products.var() < 1.5 / size


def test_a_text_has_one_vector_in_any_company() -> None:
    encode = hashed_ngrams()
    together = encode(TEXTS)
    assert together.shape == (7, 384)
    for text, row in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(encode([text])[0], row)
    np.testing.assert_array_equal(together[0], together[-1])
    np.testing.assert_array_equal(encode(["", ""]), together[[5, 5]])


def test_order_repetition_and_length_are_seen() -> None:
    encode = hashed_ngrams()
    for one, other in (("a b c", "c b a"), ("a", "a a"), ("a b", "b a"), ("ab c", "a bc"), ("", "a")):
        first, second = encode([one, other])
        assert np.abs(first - second).max() > 0.05, (one, other)
    words, characters = encode(["ab"]), hashed_ngrams(split=list)(["ab"])
    np.testing.assert_array_equal(characters, encode(["a b"]))
    assert np.abs(words - characters).max() > 0.05


def test_the_hash_is_the_same_everywhere() -> None:
    """In another process, with another seed of Python's own hash, and in every later version: values compare."""
    code = "from textforge.metrics.encoder import hashed_ngrams as h; print(h()(['a b', '中 文']).tobytes().hex())"
    here = hashed_ngrams()(["a b", "中 文"])
    for seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.strip() == here.tobytes().hex()
    signs = np.sign(here).astype(np.int8).tobytes()
    assert hashlib.sha256(signs).hexdigest()[:16] == "3befef96b4f2983c"


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UserError, match="max_order 0 and size 384"):
        hashed_ngrams(max_order=0)
    with pytest.raises(UserError, match="size 0"):
        hashed_ngrams(size=0)
    with pytest.raises(UserError, match="no texts"):
        hashed_ngrams()([])


def test_a_sentence_transformer_is_read_from_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    class Network:
        def __init__(self, folder: str, **settings: Any) -> None:
            calls.append((folder, settings))

        def encode(self, texts: list[str], **settings: Any) -> np.ndarray:
            assert settings == {"convert_to_numpy": True, "show_progress_bar": False}
            return np.array([[len(text), 1.0] for text in texts], np.float32)

    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Network))
    encode = sentence_transformer("models/small")
    assert calls == [("models/small", {"local_files_only": True})]
    np.testing.assert_array_equal(encode(("ab", "c")), [[2, 1], [1, 1]])


def test_an_absent_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match="pip install sentence-transformers"):
        sentence_transformer("models/small")
