import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textforge.errors import UserError, WorkError
from textforge.text import Char, Corpus, Lines, Vocabulary, Word, corpus, encode, split_valid, train

WORDS = st.lists(st.sampled_from("abcdx"), min_size=1, max_size=7).map(" ".join)


def tokenizer(eos: bool = True) -> Word:
    return Word(Vocabulary.create("abcd", eos=eos))


@given(st.lists(WORDS, min_size=1, max_size=9), st.booleans(), st.one_of(st.none(), st.integers(1, 8)))
def test_encode_equals_a_plain_loop(texts: list[str], eos: bool, max_length: int | None) -> None:
    tok = tokenizer(eos)
    v = tok.vocabulary
    sequences = [["abcdx".index(c) for c in text.split()] + [5] * eos for text in texts]
    kept = [s for s in sequences if max_length is None or len(s) <= max_length]
    if not kept:
        with pytest.raises(UserError, match=f"max_length {max_length}"):
            encode(texts, tok, max_length=max_length)
        return
    encoded, counts = encode(texts, tok, max_length=max_length)
    assert v.unk == 4
    assert [encoded.flat[a:b].tolist() for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)] == kept
    assert len(encoded) == counts.kept == len(kept)
    assert encoded.lengths.tolist() == [len(s) for s in kept]
    assert encoded.num_tokens == counts.tokens == sum(map(len, kept))
    assert counts.too_long == len(sequences) - len(kept)
    assert counts.unknown_tokens == sum(s.count(4) for s in kept)
    assert counts.longest == max(map(len, sequences)), "those left out count, so that the right max_length is known"


@given(st.lists(WORDS, min_size=1, max_size=9), st.data())
def test_batches_are_the_sequences_and_pad(texts: list[str], data: st.DataObject) -> None:
    tok = tokenizer()
    encoded, counts = encode(texts, tok, max_length=None)
    indices = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=6))
    width = data.draw(st.one_of(st.none(), st.integers(counts.longest, counts.longest + 3)))
    batch = encoded.batch(np.array(indices), width)
    rows = [[*tok.encode(texts[i]), 5] for i in indices]
    columns = max(map(len, rows)) if width is None else width
    assert batch.tokens.tolist() == [row + [tok.vocabulary.pad] * (columns - len(row)) for row in rows]
    assert batch.mask.tolist() == [[t < len(row) for t in range(columns)] for row in rows]
    assert (batch.tokens.dtype, batch.mask.dtype) == (torch.long, torch.bool)
    moved = batch.to("meta")
    assert (moved.tokens.device.type, moved.mask.device.type) == ("meta", "meta")


def test_frequencies_are_those_of_the_distinct_sequences() -> None:
    texts = ["ab", "a", "ab", "ba", "abba", "ab", "too long for it"]
    encoded, _ = encode(texts, train("char", texts), max_length=5)
    assert sorted(encoded.frequencies().tolist()) == [1, 1, 1, 3]


def test_a_batch_too_narrow_for_its_sequences_is_refused() -> None:
    encoded, _ = encode(["a b c"], tokenizer(), max_length=None)
    with pytest.raises(AssertionError, match="4 tokens does not fit a batch of width 3"):
        encoded.batch(np.array([0]), 3)


def test_texts_without_a_token_are_counted_and_left_out() -> None:
    encoded, counts = encode(["a", "", " \u2028 ", "b"], tokenizer(), max_length=None)
    assert (len(encoded), counts.kept, counts.empty) == (2, 2, 2)
    for nothing in ([], ["", " "]):
        with pytest.raises(UserError, match="no text to encode"):
            encode(nothing, tokenizer(), max_length=None)


@pytest.fixture
def spilling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Send all but a few ids to a temporary file, in a folder of the test."""
    monkeypatch.setattr(corpus, "IN_MEMORY", 64)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("tokens", [15, 16, 17, 1000])
def test_a_large_corpus_lies_in_a_file_without_a_name(spilling: Path, tokens: int) -> None:
    texts = ["a"] * (tokens - 1) + ["b"]
    tok = tokenizer(eos=False)
    encoded, _ = encode(texts, tok, max_length=None)
    assert isinstance(encoded.flat, np.memmap) == (4 * tokens > 64)
    assert encoded.flat.tolist() == [0] * (tokens - 1) + [1]
    assert encoded.batch(np.array([tokens - 1, 0]), 1).tokens.tolist() == [[1], [0]]
    assert list(spilling.iterdir()) == []


@pytest.mark.usefixtures("spilling")
def test_no_room_for_the_temporary_file_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(WorkError, match=r"/nowhere .*set TMPDIR"):
        encode(["a b c d"] * 10, tokenizer(), max_length=None)


@pytest.mark.usefixtures("spilling")
def test_a_failing_source_leaves_no_open_file() -> None:
    def broken() -> Iterator[str]:
        yield from ["a b c d"] * 10
        raise UserError("line 11 is bad")

    # A file left open would warn, and warnings are errors.
    with pytest.raises(UserError, match="line 11"):
        encode(broken(), tokenizer(), max_length=None)


# In a process of its own, where no shape checks slow the loop down.
STREAMING = """
import sys, tracemalloc
from pathlib import Path
from textforge.text import Lines, corpus, encode, train

corpus.IN_MEMORY = 2**20
texts = Lines(Path(sys.argv[1]))
tracemalloc.start()
encoded, counts = encode(texts, train("word", texts), max_length=None)
print(len(encoded), counts.tokens, counts.unknown_tokens, tracemalloc.get_traced_memory()[1])
"""


def test_100_000_lines_stream_through(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    num = 100_000
    with path.open("w") as file:
        file.writelines(f"{'word' * 10} w{i % 97}\n" for i in range(num))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", STREAMING, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    *found, peak = map(int, done.stdout.split())
    assert found == [num, 3 * num, 0]
    # 8 bytes of offset a line (twice that while the array grows) and the mebibyte of ids make 2.6 MB. The lines held
    # as strings would take 10 MB more and their ids as lists 8 MB.
    assert peak < 2 * 8 * num + 2**20 + 10**6


def test_one_line_of_a_megabyte_costs_memory_in_proportion(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("word " * 200_000 + "\na b\n")

    tracemalloc.start()
    try:
        for name in ("word", "char"):
            encoded, counts = encode(Lines(path), train(name, Lines(path)), max_length=10)
            assert (len(encoded), counts.too_long) == (1, 1)
            assert counts.longest == (200_001 if name == "word" else 1_000_001)
        assert tracemalloc.get_traced_memory()[1] < 40 * 10**6
    finally:
        tracemalloc.stop()


def test_split_holds_out_five_percent_and_loses_nothing() -> None:
    for num, held in ((20, 1), (39, 1), (40, 2), (1000, 50), (200_000, 5000)):
        texts = [str(i) for i in range(num)]
        parts = split_valid(texts, seed=3)
        train_part, valid_part = list(parts.train), list(parts.valid)
        assert not parts.shared
        assert len(valid_part) == held
        assert sorted(train_part + valid_part) == sorted(texts)
        assert train_part == sorted(train_part, key=int), "the order of the text is kept"
        assert list(parts.train) == train_part, "parts can be read again"


def test_split_is_a_fair_function_of_the_seed() -> None:
    texts = [str(i) for i in range(100)]
    held = [frozenset(split_valid(texts, seed).valid) for seed in range(400)]
    assert held[7] == frozenset(split_valid(texts, 7).valid)
    assert len(set(held)) > 390
    # Each line is held out with probability 0.05: 20 times in 400, standard deviation 4.4.
    counts = np.array([sum(text in part for part in held) for text in texts])
    assert counts.max() < 20 + 4.5 * 4.4
    assert counts[:50].sum() == pytest.approx(1000, abs=4.5 * (400 * 5 * 0.25) ** 0.5)


def test_few_lines_serve_for_both_parts() -> None:
    texts = [str(i) for i in range(19)]
    parts = split_valid(texts, seed=0)
    assert parts.shared
    assert list(parts.train) == list(parts.valid) == texts


def test_public_captions_encode_without_loss(shared_data: Path) -> None:
    texts = Lines(shared_data / "image_coco_tok" / "train.txt")
    tok = train("word", texts)
    encoded, counts = encode(texts, tok, max_length=None)
    assert isinstance(encoded, Corpus)
    assert len(tok.vocabulary.symbols) == 4704
    assert (counts.kept, counts.unknown_tokens, counts.longest) == (10_000, 0, 38)
    decoded = [tok.decode(encoded.batch(np.array([i]), None).tokens[0].tolist()) for i in range(0, 10_000, 500)]
    assert decoded == [text for i, text in enumerate(texts) if i % 500 == 0]


def test_characters_are_symbols_of_their_own() -> None:
    tok = Char(Vocabulary.create("ab "))
    encoded, _ = encode(["ab a"], tok, max_length=None)
    assert encoded.flat.tolist() == [0, 1, 2, 0, 4]
