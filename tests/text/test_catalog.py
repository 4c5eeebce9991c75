import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from textforge.errors import CallError, UserError, WorkError
from textforge.text import catalog, read_texts
from textforge.text.catalog import Part, PublicCorpus

TRAIN, TEST = "a man\n床前\n", "two dogs\n"
SMALL = PublicCorpus(
    name="small",
    description="two lines and one",
    repository="owner/name",
    commit="0" * 40,
    licence="MIT",
    text_licence="public domain",
    parts=(
        Part("train", "data/all.txt", hashlib.sha256(TRAIN.encode()).hexdigest()),
        Part("test", "data/held.txt", hashlib.sha256(TEST.encode()).hexdigest()),
    ),
)


class Server:
    """A web server of this machine: what it serves by path, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                data = site.files.get(self.path)
                self.send_response(404 if data is None else 200)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.http.server_port}"

    def serve(self, corpus: PublicCorpus, *texts: bytes) -> None:
        for part, text in zip(corpus.parts, texts, strict=True):
            self.files[f"/{corpus.repository}/{corpus.commit}/{part.path}"] = text


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    site = Server()
    thread = threading.Thread(target=site.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.http.shutdown()
    thread.join()
    site.http.server_close()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_corpus_arrives_whole_with_its_source(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.serve(SMALL, TRAIN.encode(), TEST.encode())
    out = catalog.download(SMALL, tmp_path / "deep" / "small", base=server.base)
    assert out == tmp_path / "deep" / "small"
    found = files(out)
    source = found.pop("SOURCE.txt").decode()
    assert found == {"train.txt": TRAIN.encode(), "test.txt": TEST.encode()}
    for fact in ("MIT", "public domain", f"{catalog.GITHUB}/owner/name/{'0' * 40}/data/all.txt"):
        assert fact in source
    texts = read_texts(out)
    assert list(texts.train) == ["a man", "床前"]
    assert capfd.readouterr() == ("", ""), "no progress where there is no terminal"


def test_a_copy_with_other_line_ends_is_the_same_text(server: Server, tmp_path: Path) -> None:
    served = ("\ufeff" + TRAIN.replace("\n", " \r\n") + "\r\n").encode()
    server.serve(SMALL, served, TEST.encode().rstrip())
    out = catalog.download(SMALL, tmp_path, base=server.base)
    assert (out / "train.txt").read_bytes() == TRAIN.encode()


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    server.serve(SMALL, TRAIN.encode(), TEST.encode())
    catalog.download(SMALL, tmp_path, base=server.base)
    before = files(tmp_path)
    assert len(server.asked) == 2
    catalog.download(SMALL, tmp_path, base="http://127.0.0.1:1")
    assert files(tmp_path) == before

    (tmp_path / "train.txt").write_text("damaged")
    catalog.download(SMALL, tmp_path, base=server.base)
    assert files(tmp_path) == before
    assert len(server.asked) == 3, "only the damaged part"


def test_an_interrupted_fetch_goes_on_with_the_part_that_is_missing(server: Server, tmp_path: Path) -> None:
    server.serve(SMALL, TRAIN.encode(), TEST.encode())
    held = server.files.popitem()
    with pytest.raises(WorkError, match="404"):
        catalog.download(SMALL, tmp_path, base=server.base)
    assert files(tmp_path) == {"train.txt": TRAIN.encode()}
    server.files.update([held])
    catalog.download(SMALL, tmp_path, base=server.base)
    assert sorted(files(tmp_path)) == ["SOURCE.txt", "test.txt", "train.txt"]
    assert [path.rsplit("/")[-1] for path in server.asked] == ["all.txt", "held.txt", "held.txt"]


@pytest.mark.parametrize("served", [TRAIN.encode() + b"more\n", b"<html>moved</html>", b"", b"\xff\xfe\0", b"a man\n"])
def test_another_text_is_refused_and_not_kept(server: Server, tmp_path: Path, served: bytes) -> None:
    server.serve(SMALL, served, TEST.encode())
    with pytest.raises(WorkError, match=f"SHA-256 [0-9a-f]{{64}}, not {SMALL.parts[0].sha256}") as error:
        catalog.download(SMALL, tmp_path, base=server.base)
    assert f"{server.base}/owner/name/" in str(error.value)
    assert files(tmp_path) == {}


def test_no_network_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(WorkError, match=r"http://127\.0\.0\.1:1/.*refused.*check the network") as error:
        catalog.download(SMALL, tmp_path, base="http://127.0.0.1:1")
    assert "\n" not in str(error.value)
    assert files(tmp_path) == {}


def test_unknown_names_get_the_nearest_and_the_list(tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"'image-cocoa'; known are image-coco, .*did you mean 'image-coco'\?"):
        catalog.fetch("image-cocoa", tmp_path)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file cannot be made a folder"):
        catalog.download(SMALL, tmp_path / "file")


def test_the_entries_are_pinned_and_distinct() -> None:
    assert len(set(catalog.names())) == len(catalog.CORPORA) >= 4
    hashes = [part.sha256 for corpus in catalog.CORPORA for part in corpus.parts]
    assert len(set(hashes)) == len(hashes)
    for corpus in catalog.CORPORA:
        assert catalog.find(corpus.name) is corpus
        assert len(corpus.commit) == 40
        assert {part.name for part in corpus.parts} <= {"train", "valid", "test"}
        assert corpus.parts[0].name == "train"
        assert corpus.description
        assert corpus.licence
        assert corpus.text_licence
        assert int(corpus.commit, 16)
        for part in corpus.parts:
            assert len(part.sha256) == 64
            assert int(part.sha256, 16)
            url = corpus.url(part)
            assert url == f"https://raw.githubusercontent.com/{corpus.repository}/{corpus.commit}/{part.path}"


FOLDERS = {
    "image-coco": "image_coco",
    "chinese-poems": "chinese_poems",
    "emnlp-news-part": "emnlp_news",
    "zinc-smiles": "zinc_smiles",
}


@pytest.mark.parametrize("name", catalog.names())
def test_the_published_texts_pass(server: Server, tmp_path: Path, shared_data: Path, name: str) -> None:
    corpus = catalog.find(name)
    folder = shared_data / FOLDERS[name]
    # The poems lie in their repository with a blank at the end of each line.
    end = b" \n" if name == "chinese-poems" else b"\n"
    texts = [(folder / f"{part.name}.txt").read_bytes() for part in corpus.parts]
    server.serve(corpus, *(text.replace(b"\n", end) for text in texts))
    out = catalog.fetch(name, tmp_path, base=server.base)
    assert [(out / f"{part.name}.txt").read_bytes() for part in corpus.parts] == texts

    changed = replace(corpus, parts=corpus.parts[:1])
    server.serve(changed, texts[0].replace(b"a", b"b", 1) if b"a" in texts[0] else texts[0][3:])
    with pytest.raises(WorkError, match="SHA-256"):
        catalog.fetch(name, tmp_path / "again", base=server.base)
