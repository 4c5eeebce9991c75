"""The interface for programs: fit, load, save, sample, log_prob, discriminate, evaluate."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import ROOT, SENTENCES, lines

import textforge
from textforge.errors import CallError, UserError, WorkError
from textforge.methods import configure
from textforge.model import Model, load_text_model, read_settings, stored_config
from textforge.options import Options
from textforge.task import load_task

ONE_STEP: dict[str, Any] = {"method": "mle", "preset": "tiny", "steps": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of SeqGAN on all but the last sentence."""
    folder = tmp_path_factory.mktemp("runs") / "seqgan"
    textforge.fit(SENTENCES[:-1], method="seqgan", preset="tiny", seed=3, out=folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_text_model(folder)


def weights(model: Model) -> dict[str, bytes]:
    return {
        f"{name}.{key}": value.numpy().tobytes()
        for name, network in model.networks.items()
        for key, value in network.state_dict().items()
    }


# --- Using a model ---


def test_samples_follow_the_seed_and_nothing_else(model: Model) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again = model.sample(20, seed=1), model.sample(20, seed=1)
    assert torch.equal(torch.get_rng_state(), before), "sampling leaves the caller's random numbers alone"
    assert first == again
    assert first != model.sample(20, seed=2)
    assert model.sample(20) != model.sample(20), "without a seed, every call differs"
    assert all(set(text.split()) <= {"<unk>", *" ".join(SENTENCES).split()} for text in first)
    assert model.sample(0) == []


def test_a_low_temperature_is_greedy(model: Model) -> None:
    assert len(set(model.sample(30, temperature=1e-6, seed=0))) == 1
    assert len(set(model.sample(30, temperature=5.0, seed=0))) > 20


def test_log_prob_is_that_of_the_draw(model: Model) -> None:
    """What sampling says of its draws, the sum over symbols, and the score of the same text are one number."""
    drawn = model.draw(50, seed=4)
    assert drawn.texts == model.sample(50, seed=4)
    known = [i for i, text in enumerate(drawn.texts) if text]
    texts = [drawn.texts[i] for i in known]
    lengths = [len(text.split()) for text in texts]
    assert {model.generator.max_length, 2} <= set(lengths), "some end by themselves, some at the limit"
    assert drawn.log_prob is not None
    assert model.log_prob(texts) == pytest.approx(drawn.log_prob[known], abs=1e-4)
    assert model.num_tokens(texts) == drawn.lengths[known].tolist()
    assert (model.discriminate(texts) > 0).all()


def test_log_probs_do_not_depend_on_the_batch(model: Model) -> None:
    texts = (SENTENCES * 20)[:700]
    alone = np.array([model.log_prob([text])[0] for text in texts[:5]])
    scores = model.log_prob(texts)
    assert scores.shape == (700,)
    assert scores[:5] == pytest.approx(alone, abs=1e-5)
    assert model.log_prob([]).shape == (0,)
    assert model.num_tokens([]) == []


def test_unknown_words_score_as_unk(model: Model) -> None:
    assert model.log_prob(["a purple cat runs here"])[0] == model.log_prob(["a <unk> cat runs here"])[0]
    assert model.log_prob(["a purple cat runs here"])[0] != model.log_prob(["a red cat runs here"])[0]


def test_discriminator_gives_probabilities(model: Model) -> None:
    texts = SENTENCES * 10
    opinions = model.discriminate(texts)
    assert opinions.shape == (len(texts),)
    assert ((opinions > 0) & (opinions < 1)).all()
    assert len(set(opinions.round(6))) > 5
    assert (model.discriminate(texts) == opinions).all(), "dropout takes no part"
    assert model.discriminate(SENTENCES[3:4])[0] == pytest.approx(opinions[3], abs=1e-6)
    assert model.discriminate([]).shape == (0,)


@pytest.mark.parametrize("use", ["log_prob", "discriminate", "num_tokens"])
def test_texts_that_cannot_be_scored(model: Model, use: str) -> None:
    uses: dict[str, Callable[[list[str]], object]] = {
        "log_prob": model.log_prob,
        "discriminate": model.discriminate,
        "num_tokens": model.num_tokens,
    }
    score = uses[use]
    if use != "num_tokens":
        with pytest.raises(UserError, match=r"text 2 has 40 tokens and the model at most 7"):
            score(["a cat", "a " * 40, "a dog"])
    with pytest.raises(UserError, match="empty text"):
        score(["a cat", "  "])


@pytest.mark.parametrize(
    ("num", "settings", "reason"),
    [
        (-1, {}, "-1 samples"),
        (1, {"temperature": 0.0}, "above 0, not 0.0"),
        (1, {"temperature": -2.0}, "above 0, not -2.0"),
        (1, {"temperature": math.nan}, "above 0, not nan"),
    ],
)
def test_samples_that_cannot_be_drawn(model: Model, num: int, settings: dict[str, float], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        model.sample(num, temperature=settings.get("temperature", 1.0))


# --- Fitting ---


def test_the_same_seed_is_the_same_model(folder: Path, model: Model, capfd: pytest.CaptureFixture[str]) -> None:
    """With a folder or without; and nothing is printed, nor is torch's random state changed for good by the folder."""
    again = textforge.fit(SENTENCES[:-1], method="seqgan", preset="tiny", seed=3)
    assert capfd.readouterr() == ("", "")
    assert weights(again) == weights(model)
    assert again.sample(5, seed=0) == model.sample(5, seed=0)
    other = textforge.fit(SENTENCES[:-1], method="seqgan", preset="tiny", seed=4)
    assert weights(other) != weights(model)


def test_the_run_is_kept_where_it_was_asked_for(folder: Path) -> None:
    kept = {path.name for path in folder.iterdir()}
    assert {"config.json", "vocabulary.json", "metrics.jsonl", "environment.json", "checkpoints", "samples"} <= kept
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    assert settings["method"] == "seqgan"
    assert settings["data"] == "<texts>"
    assert settings["seed"] == 3
    assert settings["max_length"] == 7
    assert settings["config"]["hidden_dim"] == 16


def test_fields_and_options_are_obeyed(tmp_path: Path) -> None:
    model = textforge.fit(
        SENTENCES, **ONE_STEP, hidden_dim=5, tokenizer="char", max_length=27, min_count=2, vocab_size=9, out=tmp_path
    )
    assert model.generator.max_length == 27
    assert model.tokenizer.name == "char"
    assert len(model.tokenizer.vocabulary.symbols) == 9
    assert model.networks["generator"].state_dict()["output.weight"].shape[1] == 5
    assert model.networks.keys() == {"generator"}
    with pytest.raises(UserError, match="mle model has no discriminator"):
        model.discriminate(["a cat"])


def test_fit_reads_what_the_command_line_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may be relative; it is kept in full, so that the run can be looked at from anywhere."""
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "train.txt", SENTENCES)
    lines(tmp_path / "held.txt", SENTENCES[:4])
    textforge.fit(data="train.txt", valid=Path("held.txt"), **ONE_STEP, out="run")
    settings = read_settings(tmp_path / "run" / "config.json")
    assert settings["data"] == str(tmp_path / "train.txt")
    assert settings["valid"] == str(tmp_path / "held.txt")
    task = load_task(Options.of(settings))
    assert len(task.valid) == 4
    assert task.fingerprint == settings["corpus"]


@pytest.mark.parametrize(
    "texts",
    [
        ["the same line"] * 3,
        ["one line only"],
        ["word"] * 30,
        [f"{word} {word}" for word in "abcdefghij"] * 6,
        ["男人在骑马", "女人在看书", "孩子们在踢球"] * 10,
        ["C/C=C\\C", "CC(=O)O[C@H]1CC[C@@]2", "N#Cc1ccccc1"] * 10,
        ["tab\there", "a\u2028b", "c\rd", "e\x0bf", "😀 👩‍👩‍👧", "שלום עולם", "a\x00b"],
        ["two\nlines", "and\r\nmore"] * 12,
        iter(SENTENCES),
    ],
    ids=["repeated", "one", "word", "sixty", "chinese", "smiles", "odd", "line-ends", "iterator"],
)
def test_any_texts_will_do(texts: Any) -> None:
    model = textforge.fit(texts, **ONE_STEP)
    samples = model.sample(5, seed=0)
    assert all(isinstance(text, str) for text in samples)
    assert np.isfinite(model.log_prob([text for text in samples if text.strip()] or ["x"])).all()


def test_blank_texts_are_left_out() -> None:
    assert weights(textforge.fit([*SENTENCES, "", "  "], **ONE_STEP)) == weights(textforge.fit(SENTENCES, **ONE_STEP))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "either texts or data"),
        ({"texts": ["a"], "data": "captions"}, "either texts or data"),
        ({"texts": ["a"], "valid": "x.txt"}, "held-out text goes with data"),
        ({"texts": "one line"}, "texts must be a list of strings, not the string 'one line'"),
        ({"texts": []}, "nothing to learn from: the list of texts is empty"),
        ({"texts": ["", " "]}, "nothing to learn from: all 2 texts are blank"),
        ({"data": "no-such-file.txt"}, "no file, folder or corpus 'no-such-file.txt'"),
        ({"data": "caption"}, "did you mean 'captions'"),
        ({"texts": ["a"], "method": "seqgun"}, "did you mean 'seqgan'"),
        ({"texts": ["a"], "preset": "tinny"}, "did you mean 'tiny'"),
        ({"texts": ["a"], "batchsize": 3}, "did you mean 'batch_size'"),
        ({"texts": ["a"], "batch_size": 0}, "--batch-size must be at least 1, not 0"),
        ({"texts": ["a"], "batch_size": "8"}, "--batch-size must be int, not '8'"),
        ({"texts": ["a"], "batch_size": None}, "--batch-size must be int, not None"),
        ({"texts": ["a"], "d_windows": [[1, 2]]}, "--d-windows must be tuple"),
        ({"texts": ["a"], "reward": "bad"}, "--reward must be Literal"),
        ({"texts": ["a"], "seed": -1}, "--seed must be at least 0"),
        ({"texts": ["a b c"], "max_length": 2}, "longer than max_length 2"),
        ({"texts": ["a " * 3000]}, "3,001 tokens; set --max-length"),
        ({"texts": ["a"], "min_count": 2}, "at least 2 times"),
    ],
)
def test_calls_that_cannot_be_fitted(settings: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        textforge.fit(**{"method": "seqgan", "preset": "tiny", "out": tmp_path / "run", **settings})
    assert not (tmp_path / "run").exists(), "what cannot be fitted leaves nothing behind"


def test_a_folder_is_never_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    """And what to do instead is said without the flags of the command line."""
    for out, reason in (
        (folder, "already holds a model; read it with textforge.load, or give another folder"),
        (tmp_path, "not empty, and holds no run; choose another folder"),
        (tmp_path / "mine.txt", "is a file, and a run needs a folder; choose another one"),
    ):
        with pytest.raises(UserError, match=f"{reason}$"):
            textforge.fit(SENTENCES, **ONE_STEP, out=out)
    assert (tmp_path / "mine.txt").read_text() == "precious"


# --- Saving and loading ---


def test_a_saved_model_comes_back(model: Model, tmp_path: Path) -> None:
    out = model.save(tmp_path / "a" / "b")
    again = load_text_model(str(out))
    assert weights(again) == weights(model)
    assert again.settings == model.settings
    assert again.sample(5, seed=1) == model.sample(5, seed=1)
    assert (again.discriminate(SENTENCES) == model.discriminate(SENTENCES)).all()
    with pytest.raises(UserError, match=r"already holds a model; read it with textforge\.load"):
        model.save(out)


def test_the_best_is_the_generator_of_the_lowest_nll(folder: Path, tmp_path: Path) -> None:
    best = load_text_model(folder, "best")
    assert best.networks.keys() == {"generator"}
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    nlls = {record["step"]: record["nll_valid"] for record in records if "nll_valid" in record}
    step = min(nlls, key=lambda step: nlls[step])
    assert (folder / "checkpoints" / f"best-{step:08d}.safetensors").exists()
    with pytest.raises(UserError, match="no discriminator"):
        best.discriminate(SENTENCES)
    assert weights(load_text_model(best.save(tmp_path / "best"))) == weights(best)


def copied(folder: Path, tmp_path: Path) -> Path:
    """Return a copy that may be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("config.json", lambda text: text[:50], "config.json is not JSON"),
        ("config.json", lambda text: "[]", "config.json holds no JSON object"),
        ("config.json", lambda text: text.replace('"method"', '"methd"'), "value 'method' of type str"),
        ("config.json", lambda text: text.replace('"seqgan"', '"sqgan"'), "did you mean 'seqgan'"),
        ("config.json", lambda text: text.replace('"seed": 3', '"seed": "3"'), "config.json.* 'seed' of type int"),
        ("config.json", lambda text: text.replace('"tokenizer": "auto"', '"tokenizer": 5'), "--tokenizer must be"),
        ("config.json", lambda text: text.replace('"hidden_dim": 16', '"hidden_dim": "x"'), "--hidden-dim must be int"),
        ("config.json", lambda text: text.replace('"hidden_dim": 16', '"hidden_dim": 0'), "--hidden-dim must be at"),
        ("config.json", lambda text: text.replace('"clip"', '"clap"'), "no field 'clap'; did you mean 'clip'"),
        ("vocabulary.json", lambda text: text[:-20], "vocabulary.json is not JSON"),
        ("vocabulary.json", lambda text: "{}", "stored tokenizer"),
        ("vocabulary.json", lambda text: text.replace('"red"', "7"), "stored vocabulary"),
        ("vocabulary.json", lambda text: text.replace('"red"', '"cat"'), "'cat' more than once"),
    ],
)
def test_altered_files_are_named(folder: Path, tmp_path: Path, file: str, change: Any, reason: str) -> None:
    path = copied(folder, tmp_path) / file
    before = path.read_text("utf-8")
    path.write_text(change(before), "utf-8")
    assert path.read_text("utf-8") != before, "the test alters the file"
    with pytest.raises(UserError, match=reason):
        textforge.load(tmp_path / "copy")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("config.json", '"hidden_dim": 16', '"hidden_dim": 17'), ("vocabulary.json", '"red", ', "")],
)
def test_files_that_do_not_fit_each_other(folder: Path, tmp_path: Path, file: str, old: str, new: str) -> None:
    path = copied(folder, tmp_path) / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(WorkError, match="does not fit"):
        textforge.load(tmp_path / "copy")


def test_a_damaged_checkpoint_is_replaced_by_the_one_before(folder: Path, model: Model, tmp_path: Path) -> None:
    older, newest = sorted((copied(folder, tmp_path) / "checkpoints").glob("0*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=rf"{newest.name} is damaged.*the one before it is used"):
        earlier = load_text_model(tmp_path / "copy")
    assert weights(earlier) != weights(model)
    older.write_bytes(b"\0" + older.read_bytes()[1:])
    with pytest.raises(WorkError, match="no checkpoint is left"):
        textforge.load(tmp_path / "copy")


def test_what_is_no_run(tmp_path: Path) -> None:
    lines(tmp_path / "text.txt", SENTENCES)
    for place in (tmp_path, tmp_path / "absent", tmp_path / "text.txt"):
        with pytest.raises(UserError, match="is no run folder"):
            textforge.load(place)


def test_settings_survive_json(folder: Path) -> None:
    """The config that is read back equals the one that was used, tuples and all."""
    settings = read_settings(folder / "config.json")
    assert stored_config(settings) == configure("seqgan", "tiny", {})
    assert Options.of(settings) == Options(data="<texts>", preset="tiny", seed=3, max_length=7)
    for field, value in {"seed": "x", "tokenizer": 3, "device": "tpu", "valid": 3, "max_length": 2.5}.items():
        with pytest.raises(CallError, match=f"--{field.replace('_', '-')} must be "):
            Options.of({field: value})


# --- The package itself ---


def test_public_names_and_their_cost() -> None:
    """Importing the package loads nothing; every public name is there, and evaluate needs no torch."""
    script = (
        "import sys, textforge\n"
        "light = sorted(m for m in ('torch', 'numpy', 'lightning_fabric') if m in sys.modules)\n"
        "textforge.evaluate(['a b'], ['a b'])\n"
        "print(light, 'torch' in sys.modules, sorted(textforge.__all__), set(textforge.__all__) <= set(dir(textforge)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src")},
        check=True,
    )
    names = ["Model", "PointModel", "TextGenerator", "__version__", "evaluate", "fit", "load"]
    assert done.stdout.split("\n")[0] == f"[] False {names} True"
    with pytest.raises(AttributeError, match="no attribute 'fits'"):
        _ = textforge.fits
    with pytest.raises(CallError):
        textforge.fit(["a"], preset="none")


def test_one_string_is_no_list_of_texts(model: Model) -> None:
    with pytest.raises(UserError, match="texts must be a list of strings, not the string 'a man'"):
        textforge.fit("a man", method="mle", preset="tiny")
    with pytest.raises(UserError, match="texts must be a list of strings"):
        model.log_prob("a man")
