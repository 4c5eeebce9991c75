"""A training that collapses within seconds is noticed, and healthy ones are left alone."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from command import call
from tasks import SENTENCES

import textforge
from textforge.errors import CallError
from textforge.fitting import train as train_in
from textforge.model import load_text_model, stored_config
from textforge.options import Options
from textforge.report import page
from textforge.run import OnCollapse
from textforge.task import load_world, task_from_texts
from textforge.text import Texts

TEXTS = SENTENCES * 5
SHARPENING: dict[str, Any] = {
    "preset": "tiny",
    "batch_size": 32,
    "hidden_dim": 32,
    "pretrain_steps": 120,
    "pretrain_lr": 0.02,
    "pretrain_rounds": 0,
    "rounds": 12,
    "g_lr": 0.1,
    "num_rollouts": 0,
    "d_steps": 0,
    "reward": "constant",  # without a baseline, whatever is drawn is made likelier
}


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def train(folder: Path, mode: OnCollapse, **fields: Any) -> textforge.Model:
    model = textforge.fit(TEXTS, method="seqgan", out=folder, on_collapse=mode, **{**SHARPENING, **fields})
    assert isinstance(model, textforge.Model)
    return model


def test_sharpening_is_noticed_and_changes_nothing_but_the_warning(tmp_path: Path) -> None:
    """Constant reward at a high learning rate leaves one of twenty sentences."""
    train(tmp_path / "ignore", "ignore")
    train(tmp_path / "warn", "warn")
    *before, last = [record for record in records(tmp_path / "warn") if "unique" in record]
    assert last["unique"] < 0.01
    assert last["nll_valid"] > 2 * before[9]["nll_valid"]
    warned = [record for record in records(tmp_path / "warn") if "warning" in record]
    assert {record["phase"] for record in warned} == {"adversarial"}
    for cause in ("of as many lines of real text about 20", "the generator says too few things"):
        assert sum(cause in record["warning"] for record in warned) == 1
    assert all("--checkpoint best" in record["warning"] for record in warned)
    others = [record | {"seconds": 0} for record in records(tmp_path / "warn") if "warning" not in record]
    assert others == [record | {"seconds": 0} for record in records(tmp_path / "ignore")]
    assert "Warning of the run, in adversarial at step" in page.html(tmp_path / "warn")


def test_rollback_keeps_a_model_that_says_everything(tmp_path: Path) -> None:
    model = train(tmp_path / "run", "rollback")
    assert {*SENTENCES} <= {*model.sample(500, seed=0)}
    best = load_text_model(tmp_path / "run", "best")
    assert model.sample(20, seed=1) == best.sample(20, seed=1)
    assert len(records(tmp_path / "run")) < 300


def test_stop_is_an_error_of_one_line_and_the_run_can_go_on(tmp_path: Path) -> None:
    text, folder = tmp_path / "my.txt", tmp_path / "run"
    text.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    flags = [part for name, value in SHARPENING.items() for part in (f"--{name.replace('_', '-')}", value)]
    said = call(
        "train", "seqgan", "--data", text, *flags, "--controls", "none", "--on-collapse", "stop", "--out", folder
    )
    assert said.status == 1
    assert said.out == ""
    assert re.fullmatch(
        r"stopped by a collapse in iteration \d+ of phase 'adversarial', everything is saved in .*; repeat the same "
        r"command with --resume to go on: textforge train seqgan --resume --out .*",
        said.reason,
    )
    assert "warning: adversarial" in said.err
    assert load_text_model(folder).sample(1, seed=0)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert settings["on_collapse"] == "stop"
    assert call("train", "seqgan", "--resume", "--controls", "none", "--out", folder).status == 0


@pytest.mark.parametrize("method", ["mle", "seqgan", "maskgan"])
def test_healthy_runs_say_nothing(method: str, tmp_path: Path) -> None:
    for name, texts in {"all": TEXTS, "one": TEXTS[:1] * 30}.items():
        textforge.fit(texts, method=method, preset="tiny", out=tmp_path / name)
        assert not [record for record in records(tmp_path / name) if "warning" in record]
    learnt = {"steps": 150} if method == "mle" else {}
    textforge.fit(TEXTS[:1] * 30, method=method, preset="tiny", out=tmp_path / "learnt", **learnt)
    assert not [record for record in records(tmp_path / "learnt") if "warning" in record]


def test_worlds_have_no_collapse_of_text() -> None:
    with pytest.raises(CallError, match="--on-collapse is for text, and temperatures is a world of points"):
        load_world(Options(data="temperatures", on_collapse="stop"))


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(CallError, match=r"--on-collapse must be .*not 'explode'"):
        Options.of({"on_collapse": "explode"})


def test_folder_of_before_the_field_can_be_loaded_and_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    textforge.fit(TEXTS, method="mle", preset="tiny", out=folder)
    path = folder / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    assert settings.pop("on_collapse") == "warn"
    path.write_text(json.dumps(settings), encoding="utf-8")
    assert Options.of(settings).on_collapse == "warn"
    config = stored_config(settings)
    options = Options.of({**settings, "max_length": None})
    resumed = train_in("mle", options, config, task_from_texts(Texts("texts", TEXTS), options), folder, resume=True)
    assert resumed.sample(3, seed=0) == load_text_model(folder).sample(3, seed=0)
