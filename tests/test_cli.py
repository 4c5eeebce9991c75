"""The command line at work: what each command prints and writes, where, and that it says the same as the package."""

import contextlib
import dataclasses
import inspect
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
from command import SENTENCES, Trained, call, environment, lines, only_json, start, train

import textforge
import textforge.task
from textforge import methods, oracles
from textforge.cli import COMMANDS, finding
from textforge.cli.parsing import parse
from textforge.errors import CallError
from textforge.oracles import LANGUAGES, worlds
from textforge.text import catalog


@pytest.fixture(scope="module")
def seqgan(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("seqgan"), "seqgan", "--seed", 2, "--pretrain-steps", 3, "--g-lr", 0.3)


@pytest.fixture(scope="module")
def mle(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("mle"), "mle")


def weights(folder: Path) -> dict[str, bytes]:
    newest = max((folder / "checkpoints").glob("0*.safetensors"))
    tensors = safetensors.torch.load_file(newest)
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


# --- Help ---


def test_help_is_there_at_once() -> None:
    """Half a second of work at most, so neither torch nor numpy is imported."""
    script = (
        "import resource, sys\n"
        "from textforge.cli import main\n"
        "sys.argv = ['textforge', '--help']\n"
        "assert main() == 0\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "heavy = {'torch', 'numpy', 'lightning_fabric', 'rich', 'altair'} & sys.modules.keys()\n"
        "print(used.ru_utime + used.ru_stime, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=True)
    *usage, last = done.stdout.splitlines()
    seconds, heavy = last.split(" ", 1)
    assert float(seconds) < 0.5
    assert heavy == "[]"
    for command in COMMANDS:
        assert any(line.startswith(f"  {command} ") for line in usage), command


def test_every_command_explains_itself() -> None:
    for command in COMMANDS:
        said = call(command, "--help")
        assert (said.status, said.err) == (0, "")
        assert f"usage: textforge {command}" in said.out
        assert "None|" not in said.out
    assert call("-h").out == call("--help").out == call().out
    assert call("--version").out == f"{textforge.__version__}\n"


@pytest.mark.parametrize("method", methods.names())
def test_fields_of_a_method_are_explained(method: str) -> None:
    """Every field with its flag and its text, every option of training, and the defaults of the preset asked for."""
    said = call("train", method, "--preset", "tiny", "--help")
    assert said.status == 0
    words = " ".join(said.out.replace("│", " ").split())
    module = methods.find(method)
    source = Path(inspect.getfile(module.Config)).read_text("utf-8")
    for field in dataclasses.fields(module.Config):
        flag = field.name.replace("_", "-")
        assert f"--{flag} " in words or f"--{flag}, --no-{flag} " in words
        explanation = source.split(f"    {field.name}: ", 1)[1].split('"""')[1]
        assert " ".join(explanation.split()[:3]) in words, field.name
    for flag in ("data", "valid", "preset", "seed", "device", "tokenizer", "max-length", "out", "config", "resume"):
        assert f"--{flag}" in words
    assert f"(default: {module.PRESETS['tiny'].batch_size})" in words
    for title in ("training", "run", method):
        assert f"─ {title.replace('_', '-')} options ─" in said.out
    assert "--valid STR " in words
    assert "{None}" not in words


def test_methods_are_listed_with_their_presets() -> None:
    said = call("methods")
    assert said.status == 0
    for name in methods.names():
        assert f"\n{name} " in f"\n{said.out}"
        assert f"presets: {', '.join(methods.find(name).PRESETS)}" in said.out


def test_reasons_do_not_depend_on_how_the_parser_draws_boxes() -> None:
    """It draws them with other characters where standard output is no UTF-8."""
    for out in (io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")):
        with contextlib.redirect_stdout(out):
            for argument, reason in (
                ("--seed=-1", "--seed must be at least 0, not -1"),
                ("--seed=x", "--seed cannot be 'x'"),
            ):
                with pytest.raises(CallError, match=f"^{reason}; see textforge data --help$"):
                    parse(finding.DataOptions, ["list", argument], "data")


# --- Training ---


def test_results_and_progress_are_kept_apart(seqgan: Trained) -> None:
    out, err = seqgan.said.out, seqgan.said.err
    assert out.startswith("samples\n  ")
    for part in (
        "seqgan, over temperatures",
        "\nevaluation",
        "self_bleu_4",
        "references: validation",
    ):
        assert part in out
        assert part not in err
    assert out.endswith(f"report: {seqgan.folder}/report.html\nmore:   textforge sample {seqgan.folder} -n 10\n")
    reports = err.splitlines()
    assert reports[:2] == [
        "no validation text: 5 % of the training lines are held out",
        "tokenizer: word (chosen from the first lines; --tokenizer overrides)",
    ]
    assert sum(line.startswith("pretrain ") for line in reports) == 3
    assert any(line.startswith("adversarial 3/3 ") and "nll_valid" in line for line in reports)
    assert not {"\x1b", "\r"} & set(out + err), "no bar and no colour where no terminal is"


def test_run_folder_holds_everything(seqgan: Trained) -> None:
    folder = seqgan.folder
    assert b"</html>" in (folder / "report.html").read_bytes()
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert (config["method"], config["preset"], config["seed"], config["data"]) == (
        "seqgan",
        "tiny",
        2,
        str(seqgan.data),
    )
    assert config["config"]["pretrain_steps"] == 3
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert {record["phase"] for record in records} == {"pretrain", "discriminator", "adversarial"}
    assert all({"phase", "step", "iteration", "seconds"} < record.keys() for record in records)
    for name in ("environment.json", "vocabulary.json", "samples", "checkpoints", "tensorboard"):
        assert (folder / name).exists()


def test_evaluation_stands_beside_the_controls(seqgan: Trained, mle: Trained) -> None:
    """The model at its end and after earlier phases, its best checkpoint where that is none of them, real text."""
    copy, texts = "training text itself", ["4-gram count model", "training text itself", "real text"]
    for run, names in (
        (seqgan, ["seqgan", "seqgan, after pretrain", "mle", *texts]),
        (mle, ["mle", *texts]),
    ):
        table = json.loads((run.folder / "evaluation.json").read_text("utf-8"))
        rows = {row["name"]: row["metrics"] for row in table["rows"]}
        assert list(rows) == names
        assert rows[copy]["exact_copy"] == 1
        assert table["settings"]["references"] == "validation text"
        if run is seqgan:
            assert rows[names[1]]["nll_test"] < rows[names[0]]["nll_test"]


def test_no_number_is_cut_off_where_there_is_little_room(seqgan: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    narrow = call("train", "seqgan", "--resume", "--out", seqgan.folder).out
    number = re.compile(r"\d+\.\d{4}\b")
    assert number.findall(narrow) == number.findall(seqgan.said.out)


def test_a_config_repeats_a_run(seqgan: Trained, tmp_path: Path) -> None:
    for config, name in ((seqgan.folder / "config.json", "a"), (seqgan.folder, "b")):
        said = call("train", "seqgan", "--config", config, "--out", tmp_path / name)
        assert said.status == 0, said.err
        assert weights(tmp_path / name) == weights(seqgan.folder)
        for file in ("config.json", "vocabulary.json", "evaluation.json"):
            assert (tmp_path / name / file).read_bytes() == (seqgan.folder / file).read_bytes()
    said = call("train", "seqgan", "--config", config, "--seed", 5, "--rounds", 1, "--out", tmp_path / "c")
    stored = json.loads((tmp_path / "c" / "config.json").read_text("utf-8"))
    assert (stored["seed"], stored["config"]["rounds"], stored["config"]["pretrain_steps"]) == (5, 1, 3)


def test_resuming_what_is_done_says_it_again(seqgan: Trained) -> None:
    before = {path: path.read_bytes() for path in seqgan.folder.rglob("0*") if path.is_file()}
    said = call("train", "seqgan", "--resume", "--out", seqgan.folder)
    assert (said.status, said.out) == (0, seqgan.said.out)
    assert before == {path: path.read_bytes() for path in seqgan.folder.rglob("0*") if path.is_file()}


def test_resuming_nothing_starts_and_says_so(tmp_path: Path) -> None:
    data = lines(tmp_path / "data.txt", SENTENCES)
    said = call("train", "mle", "--data", data, "--preset", "tiny", "--steps", 1, "--resume", "--out", tmp_path / "run")
    assert said.status == 0
    assert f"{tmp_path / 'run'} holds no run yet: starting one" in said.err


def test_runs_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "my data.txt", SENTENCES)
    for folder in ("runs/mle-my data", "runs/mle-my data-2"):
        said = call("train", "mle", "--data", "my data.txt", "--preset", "tiny", "--steps", 1)
        assert said.status == 0
        assert f"report: {folder}/report.html" in said.out
        config = json.loads((tmp_path / folder / "config.json").read_text("utf-8"))
        assert config["data"] == str(tmp_path / "my data.txt"), "in full, for whoever looks at the run from elsewhere"


def test_a_terminal_shows_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only there: what `rich` takes for a terminal, by its own variable."""
    data = lines(tmp_path / "data.txt", SENTENCES)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "160")
    said = call("train", "mle", "--data", data, "--preset", "tiny", "--out", tmp_path / "run")
    assert "6/6" in said.err
    assert "\x1b" in said.err


# --- Data and speed ---


def test_data_list_and_show() -> None:
    said = call("data", "list")
    listed = [line.split()[0] for line in said.out.splitlines()]
    assert listed == [*LANGUAGES, *worlds.names(), *catalog.names()]
    shown = call("data", "show", "arithmetic", "-n", 5, "--seed", 4)
    assert shown.out.splitlines() == oracles.load("arithmetic").sample(5, 4)


def test_an_exported_language_can_be_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textforge.task, "ORACLE_SIZES", {"train": 60, "valid": 20, "test": 30})
    monkeypatch.chdir(tmp_path)
    assert call("data", "export", "arithmetic").out == "arithmetic\n"
    assert call("data", "export", "arithmetic", "-n", 7, "--out", "few").out == "few\n"
    assert (tmp_path / "few" / "train.txt").read_text("utf-8").splitlines() == oracles.load("arithmetic").sample(7, 0)
    assert len((tmp_path / "few" / "test.txt").read_text("utf-8").splitlines()) == 30
    said = call("data", "export", "arithmetic", "--out", "a/b")
    assert (said.status, said.out) == (0, "a/b\n")
    for part, num in {"train": 60, "valid": 20, "test": 30}.items():
        assert len((tmp_path / "a" / "b" / f"{part}.txt").read_text("utf-8").splitlines()) == num
    said = call("train", "mle", "--data", "a/b", "--preset", "tiny", "--steps", 1, "--out", "run")
    assert said.status == 0, said.err
    table = json.loads((tmp_path / "run" / "evaluation.json").read_text("utf-8"))
    assert table["settings"]["references"] == "test text"
    assert table["settings"]["num_references"] == 30


def test_training_on_an_oracle_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textforge.task, "ORACLE_SIZES", {"train": 60, "valid": 20, "test": 30})
    said = call("train", "mle", "--data", "arithmetic", "--preset", "tiny", "--steps", 1, "--out", tmp_path / "run")
    assert said.status == 0, said.err
    assert "60 training sequences drawn from the oracle arithmetic" in said.err
    for metric in ("validity", "js", "exact_js", "mode_coverage"):
        assert f"\n{metric} " in said.out


@pytest.mark.parametrize(
    ("model", "reference", "bleu", "self_bleu"),
    [
        ("mle", "image_coco_tok", [0.7311, 0.4982, 0.3073, 0.1905], [0.9158, 0.7693, 0.5829, 0.4090]),
        ("leakgan", "image_coco_tok/test.txt", [0.7457, 0.5287, 0.3565, 0.2309], [0.9662, 0.9133, 0.8486, 0.7804]),
    ],
)
def test_published_samples_score_as_published(
    model: str, reference: str, bleu: list[float], self_bleu: list[float], shared_data: Path
) -> None:
    """Of a folder, the test part is the reference."""
    samples = shared_data / "texygen_samples" / f"{model}.txt"
    judged = only_json(call("evaluate", samples, "--reference", shared_data / reference, "--json"))
    metrics = judged["metrics"]
    assert [metrics[f"bleu_{n}"] for n in (2, 3, 4, 5)] == pytest.approx(bleu, abs=0.0005)
    assert [metrics[f"self_bleu_{n}"] for n in (2, 3, 4, 5)] == pytest.approx(self_bleu, abs=0.0005)
    assert judged["settings"]["tokenizer"] == "white space"


# --- Real processes ---


def test_a_reader_may_stop_reading(mle: Trained, tmp_path: Path) -> None:
    """Neither a word nor a failure where the reader has gone before anything was written."""
    process = start("sample", mle.folder, "-n", 3000, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_status_and_reason_of_a_process(tmp_path: Path) -> None:
    """As a shell sees them: through `python -m textforge`, and through the function that the console script calls."""
    process = start("sample", "nowhere", cwd=tmp_path)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert err.startswith(b"textforge: nowhere is no run folder")
    assert err.count(b"\n") == 1
    with Path("/dev/full").open("wb") as full:
        process = start("methods", cwd=tmp_path, stdout=full)
        _, err = process.communicate()
    assert process.returncode == 1
    assert err.startswith(b"textforge: ")
    assert err.count(b"\n") == 1


def test_debug_shows_where_it_happened(tmp_path: Path) -> None:
    with pytest.raises(textforge.errors.UserError, match="no run folder"):
        call("sample", tmp_path, "--debug")


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> list[str]:
        signal.raise_signal(signal.SIGINT)
        return []

    monkeypatch.setattr("textforge.methods.names", stop)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as a process starts, whatever ran in this one
    try:
        said = call("methods")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (said.status, said.out, said.err) == (1, "", "textforge: interrupted\n")
