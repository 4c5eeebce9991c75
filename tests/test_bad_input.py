"""Whatever is wrong with what the command line is given, the user reads one line about it, and loses nothing."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import SENTENCES, call, environment, lines

import textforge
from textforge.errors import CallError, UserError, WorkError
from textforge.run.folder import sole_writer

WRONG_TEXT = {
    "empty.txt": b"",
    "blank.txt": b"\n  \n\t\n\r\n",
    "binary.dat": bytes(range(256)) * 20,
    "latin.txt": "a cat\na caf\u00e9\n".encode("latin-1"),
    "utf16.txt": "a cat runs\n".encode("utf-16"),
    "nul.txt": b"a cat\na\0dog\n",
    "long-words.txt": b"word " * 20_000,
    "long-chars.txt": b"x" * 1_000_000,
    "broken.jsonl": b'{"text": "a cat"}\n{"text": \n',
    "untold.jsonl": b'{"txt": "a cat"}\n',
    "no.txt.gz": b"a cat\n",
}
ODD_TEXT = {
    "mark.txt": b"\xef\xbb\xbf" + "\n".join(SENTENCES).encode(),
    "windows.txt": "\r\n".join(SENTENCES).encode(),
    "one.txt": b"one line only",
    "odd.txt": "tab\there \U0001f600\n\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\na\u2028b c\u0085d\ne\x0bf g\rh\n".encode(),
    "word.txt": b"a\na a\na a a\n",
    "mostly-long.txt": b"a cat runs\na dog runs\n" + b"word " * 20_000,
}

TRAIN = "train mle --data good.txt --preset tiny --out"
NEW = f"{TRAIN} new"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in, with good and bad text, and one run: `run`, of the text in good.txt."""
    folder = tmp_path_factory.mktemp("home")
    lines(folder / "good.txt", SENTENCES)
    for name, content in {**WRONG_TEXT, **ODD_TEXT}.items():
        (folder / name).write_bytes(content)
    (folder / "no-train").mkdir()
    lines(folder / "too-long.txt", ["a cat", "a " * 30])
    (folder / "full").mkdir()
    lines(folder / "full" / "mine.txt", ["precious"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        patch.setattr("torch.cuda.is_available", lambda: False)
        patch.chdir(folder)
        assert call(*f"{TRAIN} run".split()).status == 0
        yield folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# --- One line each ---

CASES: dict[str, tuple[int, str]] = {
    # the call
    "": (2, ""),
    "trian": (2, "no command 'trian'; did you mean 'train'"),
    "train": (2, "name a method"),
    "train --preset tiny mle": (2, "name a method"),
    "train mel": (2, "no method 'mel'; choose from .*did you mean 'mle'"),
    "train mle --preset tinny": (2, "no preset 'tinny'; choose from .*did you mean 'tiny'"),
    "train mle --preset": (2, "--preset"),
    "train mle --resume": (2, "--resume needs --out"),
    "train mle --config run/config.json --preset tiny --out new": (2, "--preset and --config"),
    f"{NEW} --batchsize 3": (2, "unknown argument '--batchsize'; did you mean '--batch-size'"),
    f"{NEW} --dat x": (2, "unknown argument '--dat'; did you mean '--data'"),
    f"{NEW} more": (2, "unknown argument 'more'"),
    f"{NEW} --batch-size 0": (2, "^--batch-size must be at least 1, not 0; see textforge train mle --help"),
    f"{NEW} --lr nan": (2, "--lr must be .* not nan"),
    f"{NEW} --dropout 1.5": (2, "--dropout must be .* not 1.5"),
    f"{NEW} --batch-size x": (2, "^--batch-size cannot be 'x'; see"),
    f"{NEW} --batch-size 1.5": (2, "^--batch-size cannot be '1.5'"),
    f"{NEW} --batch-size": (2, "Missing value for argument '--batch-size'"),
    f"{NEW} --patience x": (2, "^--patience cannot be 'x'"),
    f"{NEW} --seed -1": (2, "^--seed must be at least 0, not -1"),
    f"{NEW} --max-length 0": (2, "^--max-length must be at least 1, not 0"),
    f"{NEW} --tokenizer wrd": (2, "there is no tokenizer 'wrd'; use word, .*; did you mean 'word'?"),
    f"{NEW} --device tpu": (2, "invalid choice 'tpu'"),
    f"{NEW} --device cuda": (1, "device 'cuda'.* use --device cpu"),
    "train seqgan --d-windows 3 --out new": (2, "--d-windows cannot be '3'"),
    "sample": (2, "Missing from textforge sample: .* run folder"),
    "sample run -n x": (2, "-n/--num cannot be 'x'"),
    "sample run -n -1": (2, "-1 samples"),
    "sample run --temperature 0": (2, "temperature must be above 0, not 0.0"),
    "sample run --temperature nan": (2, "temperature must be above 0"),
    "sample run --format json": (2, "invalid choice 'json'"),
    "score run": (2, "Missing from textforge score"),
    "evaluate": (2, r"Missing from textforge evaluate: RUN\|FILE"),
    "evaluate good.txt": (2, "need --reference FILE"),
    "evaluate run --temperature 0": (2, "temperature must be above 0"),
    "evaluate run -n -3": (2, "-3 samples"),
    "data": (2, "Missing from textforge data"),
    "data lst": (2, "invalid choice 'lst'"),
    "data show": (2, "textforge data show NAME"),
    "data show captions -n -2": (2, "^--num must be at least 0, not -2"),
    "data show captions --seed -2": (2, "^--seed must be at least 0, not -2"),
    "data show caption": (2, "no language, world or corpus 'caption'; see textforge data list; .* 'captions'"),
    "data show temperature": (2, "did you mean 'temperatures'"),
    "data show image-coc": (2, "did you mean 'image-coco'"),
    "data list -n 3": (2, "^textforge data list heeds no --num; leave it out"),
    "data show captions --out x": (2, "^textforge data show heeds no --out"),
    "data export captions --seed 1": (2, "^textforge data export heeds no --seed"),
    "data export captions -n 0": (2, "^--num must be at least 1, not 0"),
    "data show image-coco": (2, "textforge data fetch image-coco"),
    "data export nothing": (2, "no language, world or corpus 'nothing'"),
    "data fetch image-cocoa": (2, "did you mean 'image-coco'"),
    "bench --jsn": (2, "did you mean '--json'"),
    # text that is not there, or cannot be used
    "train mle --data absent.txt --out new": (1, "no file, folder or corpus 'absent.txt'"),
    "train mle --data captoins --out new": (1, "did you mean 'captions'"),
    "train mle --data image-coco --out new": (1, "textforge data fetch image-coco"),
    "train mle --data no-train --out new": (1, "folder .*no-train has no train.txt"),
    "train mle --data empty.txt --out new": (1, "empty.txt holds no text"),
    "train mle --data blank.txt --out new": (1, "blank.txt holds no text"),
    "train mle --data binary.dat --out new": (1, "binary.dat line 1 looks binary"),
    "train mle --data latin.txt --out new": (1, "latin.txt line 2 is not UTF-8 .byte 0xe9 at position 6"),
    "train mle --data utf16.txt --out new": (1, "utf16.txt line 1 looks binary or is in another encoding"),
    "train mle --data nul.txt --out new": (1, "nul.txt line 2 looks binary"),
    "train mle --data long-words.txt --out new": (1, "20,001 tokens; set --max-length"),
    "train mle --data long-chars.txt --out new": (1, "1,000,001 tokens; set --max-length"),
    "train mle --data long-chars.txt --max-length 9 --out new": (1, "longer than max_length 9"),
    "train mle --data broken.jsonl --out new": (1, "broken.jsonl line 2 is not JSON"),
    "train mle --data untold.jsonl --out new": (1, 'untold.jsonl line 1 has no "text"'),
    "train mle --data no.txt.gz --out new": (1, "no.txt.gz is damaged or no gzip file"),
    f"{NEW} --valid absent.txt": (1, "no file or folder absent.txt"),
    f"{NEW} --valid empty.txt": (1, "valid text: .*empty.txt holds no text"),
    f"{NEW} --valid latin.txt": (1, "latin.txt line 2"),
    f"{NEW} --max-length 2": (1, "longer than max_length 2"),
    f"{NEW} --min-count 1000": (1, "no symbol occurs at least 1000 times"),
    "train mle --data captions --tokenizer char --out new": (2, "captions has its own symbols.* leave out --tokenizer"),
    "score run absent.txt": (1, "no file absent.txt"),
    "score run no-train": (1, "no-train is a folder"),
    "score run binary.dat": (1, "binary.dat line 1 looks binary"),
    "score run empty.txt": (1, "empty.txt holds no text"),
    "score run too-long.txt": (1, "^too-long.txt: text 2 has 30 tokens and the model at most 7"),
    "evaluate absent.txt --reference good.txt": (1, "no file absent.txt"),
    "evaluate good.txt --reference absent.txt": (1, "absent.txt"),
    "evaluate good.txt --reference no-train": (1, "has no train.txt"),
    "evaluate good.txt --reference good.txt --train absent.txt": (1, "absent.txt"),
    "evaluate latin.txt --reference good.txt": (1, "latin.txt line 2"),
    "evaluate run --reference absent.txt": (1, "absent.txt"),
    "evaluate run -n 0": (1, "no samples"),
    "data show grammar:absent.grammar": (1, "absent.grammar cannot be read"),
    "data show lstm-oracle:absent.npz": (1, "no file absent.npz"),
    # places that cannot be used
    f"{TRAIN} good.txt": (1, "good.txt is a file, and a run needs a folder"),
    f"{TRAIN} good.txt/under": (1, "good.txt/under cannot be written to"),
    f"{TRAIN} /proc/none": (1, "/proc/none cannot be written to"),
    f"{TRAIN} full": (1, "full is not empty, and holds no run"),
    f"{TRAIN} run": (1, "run already holds a run; continue it with --resume"),
    "sample no-train": (1, "no-train is no run folder"),
    "sample absent": (1, "is no run folder"),
    "sample good.txt": (1, "good.txt is no run folder"),
    "score absent good.txt": (1, "is no run folder"),
    "evaluate no-train": (1, "no-train is no run folder"),
    "report no-train": (1, "no-train is no run"),
    "report absent": (1, "no run folder absent"),
    "sample run --out no-train": (1, "no-train could not be written"),
    "sample run --out absent/s.txt": (1, "absent/s.txt could not be written"),
    "report run --out absent/r.html": (1, "cannot write a report to absent/r.html"),
    "data export arithmetic --out good.txt": (1, "good.txt cannot be made a folder"),
    "data fetch image-coco --out good.txt": (1, "good.txt cannot be made a folder"),
    # a run with other settings
    "train mle --resume --out run --lr 0.5": (1, "config.lr was 0.01, is 0.5"),
    "train mle --resume --out run --seed 7": (1, "seed was 0, is 7"),
    "train mle --resume --out run --data one.txt": (1, "corpus was .*data was .*good.txt.* is .*one.txt"),
    "train seqgan --resume --out run": (2, "of the method 'mle'; run textforge train mle"),
    "train seqgan --config run/config.json": (2, "of the method 'mle'"),
    "train mle --config absent.json": (1, "absent.json"),
    "train mle --config good.txt": (1, "good.txt is not JSON"),
}


@pytest.mark.parametrize("command", CASES)
def test_one_line_says_what_is_wrong(command: str, home: Path) -> None:
    status, reason = CASES[command]
    before = contents(home)
    said = call(*command.split())
    assert said.status == status, said.err
    if command:
        assert said.out == ""
        assert re.search(reason, said.reason), said.reason
    assert contents(home) == before, "nothing is lost, changed or left behind"


# --- Text that is odd, and fine ---


@pytest.mark.parametrize("name", ODD_TEXT)
def test_odd_text_is_learnt_from(name: str, home: Path, tmp_path: Path) -> None:
    """A byte-order mark, foreign line ends, one line, fewer lines than a batch, one word, a line too long for all."""
    out = tmp_path / "run"
    said = call("train", "mle", "--data", name, "--preset", "tiny", "--steps", 1, "--max-length", 9, "--out", out)
    assert said.status == 0, said.err
    vocabulary = json.loads((out / "vocabulary.json").read_text("utf-8"))["vocabulary"]["symbols"]
    assert set(vocabulary) == set(ODD_TEXT[name].decode("utf-8-sig").split())
    assert ("1 of 3 lines are longer than 9 tokens" in said.err) == (name == "mostly-long.txt")


def test_unknown_words_of_a_complete_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded language has no word for the unknown, so the text is at fault, and the line is named."""
    monkeypatch.setattr("textforge.task.ORACLE_SIZES", {"train": 30, "valid": 20, "test": 30})
    call("train", "mle", "--data", "arithmetic", "--preset", "tiny", "--steps", 1, "--out", tmp_path / "run")
    said = call("score", tmp_path / "run", lines(tmp_path / "texts.txt", ["x+x", "x-y"]))
    assert said.status == 1
    assert re.search("text 2: 'y' is not in the vocabulary", said.reason)


# --- Training that fails ---


def test_a_loss_that_becomes_nan_stops_the_run(home: Path, tmp_path: Path) -> None:
    """Phase and iteration are named; the last checkpoint, from before, stays and can be used."""
    out = tmp_path / "run"
    said = call("train", "seqgan", "--data", "good.txt", "--preset", "tiny", "--g-lr", "inf", "--out", out)
    assert said.status == 1
    assert said.reason.startswith("the held-out NLL is nan in iteration 1 of phase 'adversarial'")
    assert "the last checkpoint stays" in said.reason
    assert len(call("sample", out, "-n", 3).out.splitlines()) == 3


def test_too_much_memory_is_one_line(home: Path, tmp_path: Path) -> None:
    said = call(*f"{TRAIN} {tmp_path / 'run'} --hidden-dim 100000000".split())
    assert said.status == 1
    assert said.reason.startswith("out of memory")


def test_what_nobody_foresaw_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[str]:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("textforge.methods.names", fail)
    said = call("methods")
    assert said.status == 1
    assert said.reason == "ZeroDivisionError: by nought (not foreseen: --debug shows where it happened)"
    with pytest.raises(ZeroDivisionError):
        call("methods", "--debug")


@pytest.mark.parametrize(
    ("error", "status"), [(CallError("x"), 2), (UserError("x"), 1), (WorkError("x"), 1), (OSError("x"), 1)]
)
def test_each_kind_of_error_has_its_status(error: Exception, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[str]:
        raise error

    monkeypatch.setattr("textforge.methods.names", fail)
    said = call("methods")
    assert (said.status, said.err) == (status, "textforge: x\n")


def test_a_folder_has_one_writer(home: Path, tmp_path: Path) -> None:
    with sole_writer(tmp_path / "run"):
        said = call(*f"{TRAIN} {tmp_path / 'run'}".split())
    assert said.status == 1
    assert "another process is writing to" in said.reason
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_full_disk(home: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for it: training stops, and goes on where it stood once there is room."""
    out = tmp_path / "run"
    command = ["train", "mle", "--data", str(home / "good.txt"), "--preset", "tiny", "--steps", "2", "--out", str(out)]
    script = (
        "import resource, sys\n"
        "sys.dont_write_bytecode = True\n"  # under the limit it would be cut short, and stay so for everybody
        "from textforge.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        f"sys.argv = {['textforge', *command]!r}\n"
        "sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert re.search(r"^textforge: .*checkpoints/best-\d+.safetensors could not be written: File too large", last), (
        done.stderr
    )
    assert "Traceback" not in done.stderr
    assert call(*command, "--resume").status == 0


# --- Damaged runs ---


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(home / "run", tmp_path / "run"))


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("config.json", '"mle"', '"mlle"', "config.json: there is no method 'mlle'.* did you mean 'mle'"),
        ("config.json", '"hidden_dim": 16', '"hidden_dim": "x"', "config.json: --hidden-dim must be int, not 'x'"),
        ("config.json", '"hidden_dim": 16', '"hidden_dim": 12', "does not fit its config.json and vocabulary.json"),
        ("config.json", "{", "", "config.json is not JSON"),
        ("vocabulary.json", '"red", ', "", "does not fit its config.json and vocabulary.json"),
        ("vocabulary.json", "{", "[", "vocabulary.json is not JSON"),
    ],
)
def test_altered_settings_are_named(file: str, old: str, new: str, reason: str, copy: Path) -> None:
    text = (copy / file).read_text("utf-8")
    assert old in text
    (copy / file).write_text(text.replace(old, new, 1), "utf-8")
    for command in (["sample", copy], ["evaluate", copy, "--json"]):
        said = call(*command)
        assert said.status == 1
        assert said.out == ""
        assert re.search(reason, said.reason), said.reason


@pytest.mark.parametrize("file", ["config.json", "vocabulary.json"])
def test_missing_settings_are_named(file: str, copy: Path) -> None:
    (copy / file).unlink()
    said = call("sample", copy)
    assert said.status == 1
    assert file in said.reason


@pytest.mark.filterwarnings("default")
def test_a_damaged_checkpoint(home: Path, copy: Path) -> None:
    """It is named, and the one before it is used; where none is left, that is said."""
    newest = max((copy / "checkpoints").glob("0*.safetensors"))
    older = newest.with_name("00000001.safetensors")
    shutil.copy(newest, older)
    digest = newest.with_name(f"{newest.name}.sha256").read_text().replace(newest.name, older.name)
    older.with_name(f"{older.name}.sha256").write_text(digest)
    newest.write_bytes(newest.read_bytes()[:-100])
    said = call("sample", copy, "-n", 2, "--seed", 0)
    assert (said.status, said.out) == (0, call("sample", "run", "-n", 2, "--seed", 0).out)
    (warning,) = said.err.splitlines()
    assert re.search(f"^textforge: warning: .*{newest.name} is damaged.* the one before it is used", warning)
    older.write_bytes(b"")
    said = call("sample", copy)
    assert said.status == 1
    assert re.search(f"no checkpoint is left to load: .*{newest.name}.*{older.name}", said.reason)


def test_a_run_that_never_saved(copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints")
    said = call("sample", copy)
    assert said.status == 1
    assert "holds no checkpoint 'last'" in said.reason


def test_a_saved_model_is_no_run_to_resume(home: Path, tmp_path: Path) -> None:
    textforge.load("run").save(tmp_path / "saved")
    assert call("sample", tmp_path / "saved", "-n", 1).status == 0
    said = call("train", "mle", "--resume", "--out", tmp_path / "saved")
    assert said.status == 1
    assert "holds a saved model and no run" in said.reason


def test_the_line_at_fault_is_found_in_a_long_file(home: Path, tmp_path: Path) -> None:
    """What stands before it is scored; it is counted from where the scores end."""
    file = lines(tmp_path / "texts.txt", [*["a cat runs"] * 1200, "a " * 9, "a cat"])
    said = call("score", "run", file)
    assert (said.status, len(said.out.splitlines())) == (1, 1000)
    assert f"{file} behind its first 1,000 lines: text 201 has 9 tokens" in said.reason
