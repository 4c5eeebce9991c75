"""Public corpora by name: where they lie, under which licence, and their SHA-256; fetched on request only."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from textforge.errors import CallError, UserError, WorkError, nearest

GITHUB = "https://raw.githubusercontent.com"
SECONDS_OF_SILENCE = 30


@dataclass(frozen=True)
class Part:
    """One file of a corpus: `train`, `valid` or `test`.

    `sha256` is of the text in the form `normal` gives it, so that line ends and blanks at the ends of lines, which
    differ between copies, do not matter while every symbol does.
    """

    name: str
    path: str
    sha256: str


@dataclass(frozen=True)
class PublicCorpus:
    """A corpus in a public repository, pinned by commit, with the licences of the repository and of the text."""

    name: str
    description: str
    repository: str
    commit: str
    licence: str
    text_licence: str
    parts: tuple[Part, ...]

    def url(self, part: Part, base: str = GITHUB) -> str:
        """Return where a part is fetched from."""
        return f"{base}/{self.repository}/{self.commit}/{part.path}"


CORPORA = (
    PublicCorpus(
        name="image-coco",
        description="10,000 + 10,000 English image captions, the split of Texygen (SIGIR 2018) and its successors",
        repository="geek-ai/Texygen",
        commit="3104e22ac75f3cc2070da2bf5e2da6d2bef149ad",
        licence="MIT",
        text_licence="COCO annotations, CC BY 4.0",
        parts=(
            Part("train", "data/image_coco.txt", "4064351bb85ba6d252f86d1608236b2a5900e3206be05b47b05c14e764214c5c"),
            Part(
                "test",
                "data/testdata/test_coco.txt",
                "e61f6f5a7a7beaf75436911cbf56232a9906e4947021eef2d3fd3f2dfef74747",
            ),
        ),
    ),
    PublicCorpus(
        name="chinese-poems",
        description="16,394 Chinese quatrains of 20 characters and punctuation, a space after each (Texygen, SeqGAN)",
        repository="geek-ai/Texygen",
        commit="3104e22ac75f3cc2070da2bf5e2da6d2bef149ad",
        licence="MIT",
        text_licence="classical texts",
        parts=(Part("train", "data/shi.txt", "f240f4d07bc82a1f8b0fb64f424efe510baef7e41d0349b3bcc70c30329e2a02"),),
    ),
    PublicCorpus(
        name="emnlp-news-part",
        description="10,000 + 10,000 sentences of English news: a part of EMNLP2017 WMT News, whose rest has 270,000",
        repository="pclucas14/GansFallingShort",
        commit="e6be915b1aed7843d83f7d543bfb8de9f3d3461f",
        licence="not stated",
        text_licence="WMT17 news text, offered for research",
        parts=(
            Part(
                "train",
                "real_data_experiments/data/news/valid.txt",
                "e66a6fdd1f6cb15cb8f851051e5c49062270e0de1e69213289ce50b88a1d7281",
            ),
            Part(
                "test",
                "real_data_experiments/data/news/test.txt",
                "e1ba37a752bc8fba6d9743898b30bb36119cc665cd35b229060bf5f75a94837d",
            ),
        ),
    ),
    PublicCorpus(
        name="zinc-smiles",
        description="24,445 + 5,000 molecules as SMILES: the smaller parts of ZINC-250k (JT-VAE, ICML 2018)",
        repository="wengong-jin/icml18-jtnn",
        commit="d4c425a8a28fce7d0e8f5da741d27d3fce4a7ec0",
        licence="MIT",
        text_licence="ZINC, free to use; ask before passing on large parts",
        parts=(
            Part("train", "data/zinc/valid.txt", "ad7d9c2bfebd93ffda6c32ed0e89d1714ae1f592f6340c0e6ae057521bbae30d"),
            Part("test", "data/zinc/test.txt", "31f6ce92914814db33bf0dbfc45f3836193e27cb80a59c54d88bc05a1f5fab83"),
        ),
    ),
)


def names() -> list[str]:
    """Return the names of all corpora."""
    return [corpus.name for corpus in CORPORA]


def find(name: str) -> PublicCorpus:
    """Return a corpus by name; raises CallError for an unknown one."""
    for corpus in CORPORA:
        if corpus.name == name:
            return corpus
    raise CallError(f"there is no public corpus '{name}'; known are {', '.join(names())}{nearest(name, names())}")


def fetch(name: str, out: Path, *, base: str = GITHUB) -> Path:
    """Fetch a corpus by name into the folder `out`; see `download`."""
    return download(find(name), out, base=base)


def download(corpus: PublicCorpus, out: Path, *, base: str = GITHUB) -> Path:
    """Write the parts of a corpus (`train.txt`, ...) and `SOURCE.txt` into a folder, and return the folder.

    A part that is there already is kept, without the network. Raises WorkError where a part cannot be fetched or
    is not the text it should be; then nothing of that part is written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be made a folder ({error.strerror}); choose another") from None
    for part in corpus.parts:
        target = out / f"{part.name}.txt"
        if target.exists() and _sha256(target.read_bytes()) == part.sha256:
            continue
        url = corpus.url(part, base)
        with tempfile.TemporaryDirectory(dir=out, prefix=".fetch-") as scratch:
            fetched = Path(scratch, "fetched")
            _fetch(url, fetched)
            text = normal(fetched.read_bytes())
            if _sha256(text) != part.sha256:
                raise WorkError(
                    f"{url} has changed: its text has SHA-256 {_sha256(text)}, not {part.sha256}; use a copy"
                )
            fetched.write_bytes(text)
            os.replace(fetched, target)
    source = f"{corpus.name}: {corpus.description}\n"
    source += "".join(f"{part.name}.txt: {corpus.url(part)}\n" for part in corpus.parts)
    source += f"licence of the repository: {corpus.licence}\nlicence of the text: {corpus.text_licence}\n"
    (out / "SOURCE.txt").write_text(source, encoding="utf-8")
    return out


def normal(text: bytes) -> bytes:
    """Return the text with a line feed after each line, no white space around lines and no blank lines."""
    lines = (line.strip() for line in text.decode(errors="replace").removeprefix("\ufeff").split("\n"))
    return "".join(f"{line}\n" for line in lines if line).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _fetch(url: str, path: Path) -> None:
    import pooch  # type: ignore[import-untyped]  # here, so that listing the catalog does not wait for it
    from rich.console import Console

    get = pooch.HTTPDownloader(timeout=SECONDS_OF_SILENCE)
    try:
        with Console(stderr=True).status(f"fetching {url}"):  # shows nothing where standard error is no terminal
            get(url, str(path), None)
    except OSError as error:
        raise WorkError(f"{url} could not be fetched ({error}); check the network and try again") from error
