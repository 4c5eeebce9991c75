import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textforge.errors import UserError
from textforge.text import Lines, read_lines, read_texts

LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), min_size=1)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["corpus.txt", "corpus", "corpus.smi", "corpus.txt.gz", "CORPUS.GZ"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_plain_text_of_every_kind(tmp_path: Path, name: str, end: str, bom: bytes) -> None:
    lines = ["a man", "", "  ", "床前明月光", "👩‍👩‍👧\ttab", " kept blanks ", "مرحبا", "last"]
    path = tmp_path / name
    data = bom + end.join(lines).encode()
    path.write_bytes(gzip.compress(data) if name.lower().endswith("gz") else data)
    assert list(read_lines(path)) == [line for line in lines if line.strip()]
    assert list(read_lines(str(path))) == list(Lines(path)) == list(Lines(path))


@given(st.lists(LINE, min_size=1))
def test_only_a_line_feed_ends_a_line(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "separators.txt"
    lines = ["a\u2028b\x0bc\x0cd\x85e\x1cf\rg", *lines]
    path.write_bytes("\n".join(lines).encode())
    assert list(read_lines(path)) == [line for line in lines if line.strip()]


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz", "CORPUS.JSONL"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    texts = ["a man", "床前明月光", "👩 \u2028 é", "two\nlines", " "]
    records = [json.dumps({"id": i, "text": text}) for i, text in enumerate(texts)]
    path = write(tmp_path / name, "\r\n".join(["\ufeff" + records[0], " ", *records[1:], ""]).encode())
    assert list(read_lines(path)) == texts[:-1]


BAD = [
    ("a.txt", b"", "a.txt holds no text"),
    ("a.txt", b"\n \r\n\n\t\n", "a.txt holds no text"),
    ("a.txt.gz", b"", "a.txt.gz holds no text"),
    ("a.txt", b"good\ngood\ncaf\xe9 au lait\n", "a.txt line 3 is not UTF-8 (byte 0xe9 at position 4)"),
    ("a.txt", b"good\nbad\0\n", "a.txt line 2 looks binary"),
    ("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a.png line 1 looks binary"),
    ("a.txt", "a man\nrides".encode("utf-16"), "a.txt line 1 looks binary or is in another encoding"),
    ("a.txt", "床前明月光疑是地上霜".encode("gb18030"), "a.txt line 1 looks binary or is in another encoding"),
    ("a.bin", bytes(range(128, 256)), "a.bin line 1 looks binary"),
    ("a.txt.gz", b"good\ncaf\xe9 au lait\n", "a.txt.gz line 2 is not UTF-8"),
    ("a.jsonl", b'{"text": "good"}\n{"text": \n', "a.jsonl line 2 is not JSON"),
    ("a.jsonl", b'{"text": "good"}\nplain\n', "a.jsonl line 2 is not JSON"),
    ("a.jsonl", b"[" * 100_000, "a.jsonl line 1 is not JSON"),
    ("a.jsonl", b'\n{"sentence": "good"}\n', 'a.jsonl line 2 has no "text"'),
    ("a.jsonl", b'{"text": 5}\n', 'a.jsonl line 1 has no "text"'),
    ("a.jsonl", b'["text"]\n', 'a.jsonl line 1 has no "text"'),
    ("a.jsonl", b'{"text": "\\ud800"}\n', "a.jsonl line 1 holds half a surrogate pair"),
    ("a.jsonl", b'{"text": " "}\n', "a.jsonl holds no text"),
]


@pytest.mark.parametrize(("name", "data", "message"), BAD)
def test_bad_files_are_named_with_their_line(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = write(tmp_path / name, data)
    with pytest.raises(UserError) as error:
        list(read_lines(path))
    assert f"{tmp_path}/{message}" in str(error.value)
    assert "\n" not in str(error.value)


def test_lines_before_a_fault_are_still_given(tmp_path: Path) -> None:
    lines = read_lines(write(tmp_path / "a.txt", b"one\ntwo\n\xff\n"))
    assert (next(lines), next(lines)) == ("one", "two")


def test_damaged_gzip_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    whole = gzip.compress(b"a man rides a horse\n" * 100)
    wrong_sum = whole[:-8] + bytes(8)
    wrong_block = whole[:10] + b"\xff" * 20 + whole[30:]
    for data in (b"plain text", whole[:-9], whole[:20], wrong_sum, wrong_block):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"a\.txt\.gz is damaged or no gzip file"):
            list(read_lines(path))


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*/none\.txt"):
        list(read_lines(tmp_path / "none.txt"))
    with pytest.raises(UserError, match="is a folder"):
        list(read_lines(tmp_path))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match=r"loop cannot be read \(Too many levels"):
        list(read_lines(tmp_path / "loop"))
    for name in ("none", "x" * 5000, "nul\0byte"):
        with pytest.raises(UserError, match="there is no file or folder"):
            read_texts(tmp_path / name)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up the rights of root, for whom every file is readable."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_files_that_may_not_be_read_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "secret.txt", b"text")
    path.chmod(0)
    with as_nobody(), pytest.raises(UserError, match=r"secret\.txt may not be read"):
        list(read_lines(path))
    closed = tmp_path / "closed"
    closed.mkdir()
    write(closed / "train.txt", b"text")
    closed.chmod(0)
    with as_nobody(), pytest.raises(UserError, match="closed"):
        read_texts(closed / "train.txt")
    closed.chmod(0o700)


def test_a_file_is_training_text(tmp_path: Path) -> None:
    texts = read_texts(write(tmp_path / "captions.v2.txt.gz", b"one\ntwo\n"))
    assert (texts.name, texts.valid, texts.test) == ("captions", None, None)
    assert list(texts.train) == list(texts.train) == ["one", "two"]
    assert read_texts(write(tmp_path / ".hidden", b"one")).name == ".hidden"


def test_a_folder_has_parts_in_any_of_the_forms(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    write(folder / "train.jsonl", b'{"text": "one"}\n')
    write(folder / "valid.txt.gz", b"two\n")
    texts = read_texts(folder)
    assert texts.name == "corpus"
    assert list(texts.train) == ["one"]
    assert texts.valid is not None
    assert list(texts.valid) == ["two"]
    assert texts.test is None

    write(folder / "test.jsonl.gz", b'{"text": "three"}\n')
    test = read_texts(folder).test
    assert test is not None
    assert list(test) == ["three"]


def test_a_folder_must_say_which_text_trains(tmp_path: Path) -> None:
    write(tmp_path / "test.txt", b"one\n")
    with pytest.raises(UserError, match=r"has no train\.txt"):
        read_texts(tmp_path)
    write(tmp_path / "train.txt", b"one\n")
    write(tmp_path / "train.txt.gz", b"one\n")
    with pytest.raises(UserError, match=r"both train\.txt and train\.txt\.gz"):
        read_texts(tmp_path)


def test_a_pipe_can_be_read_once_only(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="no regular file"):
        read_texts(pipe)
