"""A method of points, as it is used: from the command line, from programs, and on data that it cannot learn."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import call

import textforge
from textforge import arena, methods, results
from textforge.errors import CallError, UserError
from textforge.model import load_text_model
from textforge.options import Options
from textforge.oracles import worlds
from textforge.point_model import PointModel


@pytest.fixture(autouse=True)
def fewer_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena, "NUM_POINTS", 10_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "peaks"
    said = call("train", "gan", "--preset", "tiny", "--out", out, "--seed", 5)
    assert said.status == 0, said.err
    assert "fresh points of the world temperatures" in said.err
    assert "mode_coverage" in said.out
    return out


@pytest.fixture
def model(folder: Path) -> PointModel:
    found = textforge.load(folder)
    assert isinstance(found, PointModel)
    return found


def test_a_run_of_points_is_complete(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    assert settings["data"] == "temperatures"
    assert "tokenizer" not in settings
    assert not (folder / "vocabulary.json").exists()
    kept = sorted(path.name for path in (folder / "samples").iterdir())
    assert kept == [f"adversarial-{step:08d}.{kind}" for step in (1, 2, 3, 4) for kind in ("json", "txt")]
    table = json.loads((folder / "evaluation.json").read_text("utf-8"))
    assert [row["name"] for row in table["rows"]] == ["gan", "as many real points"]
    assert table["rows"][1]["metrics"]["mode_coverage"] == 1.0
    assert '<section id="rounds"' in (folder / "report.html").read_text("utf-8")


def test_points_are_drawn_by_seed(folder: Path, model: PointModel) -> None:
    assert model.sample(7, seed=1) == model.sample(7, seed=1) != model.sample(7, seed=2)
    assert model.sample(5) != model.sample(5)
    assert model.sample(0) == []
    drawn = model.draw(7, seed=1)
    assert drawn.shape == (7, 1)
    assert model.world.written(drawn) == model.sample(7, seed=1)
    said = call("sample", folder, "-n", 7, "--seed", 1)
    assert said.out.splitlines() == model.sample(7, seed=1)
    assert all(
        float(line) == pytest.approx(value, abs=0.006)
        for line, (value,) in zip(said.out.splitlines(), drawn, strict=True)
    )
    records = [
        json.loads(line) for line in call("sample", folder, "-n", 2, "--seed", 1, "--format", "jsonl").out.splitlines()
    ]
    assert records[0]["point"] == pytest.approx(model.draw(2, seed=1)[0].tolist())
    assert records[0]["log_p"] == pytest.approx(model.world.log_density(model.draw(2, seed=1))[0])


def test_evaluation_is_that_of_the_module(folder: Path, model: PointModel) -> None:
    printed = json.loads(call("evaluate", folder, "--json").out)
    assert printed["metrics"] == pytest.approx(model.evaluate())
    assert {"js", "js_floor", "parzen", "game_value"} <= printed["metrics"].keys()
    assert printed["settings"] == arena.settings(model.world)
    end = json.loads(call("evaluate", folder, "--checkpoint", "adversarial", "--json").out)["metrics"]
    assert "game_value" not in end, "that checkpoint holds the generator alone"


def test_discriminator_is_asked_in_points(folder: Path, model: PointModel) -> None:
    opinion = model.discriminate(np.array([[0.0], [30.0]]))
    assert opinion.shape == (2,)
    assert ((opinion > 0) & (opinion < 1)).all()
    alone = textforge.load(folder, "adversarial")
    assert isinstance(alone, PointModel)
    with pytest.raises(UserError, match="holds the generator alone"):
        alone.discriminate(np.array([[0.0]]))


def test_a_model_of_points_is_saved_and_loaded(tmp_path: Path, model: PointModel) -> None:
    again = textforge.load(model.save(tmp_path / "copy"))
    assert isinstance(again, PointModel)
    assert again.sample(3, seed=0) == model.sample(3, seed=0)


def test_a_run_of_points_goes_on_where_it_stopped(folder: Path) -> None:
    said = call("train", "gan", "--out", folder, "--resume")
    assert said.status == 0, said.err


def test_texts_of_a_finite_world(tmp_path: Path) -> None:
    found = textforge.fit(data="arithmetic", method="gan", preset="tiny", out=tmp_path / "run")
    assert isinstance(found, PointModel)
    assert all(text.startswith("x") for text in found.sample(20, seed=0))
    assert found.records(1, seed=0)[0].keys() == {"text", "log_p"}
    assert found.discriminate(found.draw(3, seed=0)).shape == (3,)
    rows, settings = results.world_rows(found)
    assert rows[1].metrics["js"] == pytest.approx(0, abs=1e-9)
    assert settings["sums"] == "exact"


# --- Wrong calls ---


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["score", "RUN", "RUN/config.json"], 1, "holds a gan model, which draws points and reads no text"),
        (["infill", "RUN", "a ___"], 1, "holds a gan model, which draws points and reads no text"),
        (["sample", "RUN", "--temperature", "0.5"], 2, "a gan model has no temperature; leave out --temperature"),
        (["sample", "RUN", "-n", "-1"], 2, "-1 points cannot be drawn; ask for 0 or more"),
        (["evaluate", "RUN", "--reference", "RUN/config.json"], 2, "the truth about the world temperatures is known"),
        (["train", "gan", "--data", "captions"], 2, "captions has too many texts to be listed in a table; give --data"),
        (["train", "gan", "--data", "no.txt"], 2, "gan learns points: 'no.txt' is no world of points; give --data"),
        (["train", "gan", "--data", "temperature"], 2, "did you mean 'temperatures'?"),
        (["train", "gan", "--max-length", "9"], 2, "without text to prepare; leave out --max-length"),
        (["train", "mle", "--data", "temperatures"], 2, "mle learns texts; give --data captions or another language"),
        (["data", "export", "ring"], 2, "ring is a world of points and has no files"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_is_told_in_one_line(arguments: list[str], status: int, reason: str, folder: Path) -> None:
    said = call(*(argument.replace("RUN", str(folder)) for argument in arguments))
    assert said.status == status
    assert len(said.err.splitlines()) == 1
    assert reason in said.err
    assert said.out == ""


def test_programs_are_told_too(folder: Path) -> None:
    with pytest.raises(UserError, match="gan learns worlds of points, not texts; name one: data='temperatures'"):
        textforge.fit(["a"] * 30, method="gan", preset="tiny")
    with pytest.raises(UserError, match="draws points and reads no text"):
        load_text_model(folder)
    with pytest.raises(CallError, match="gan learns worlds of points, not sequences"):
        methods.load("gan")
    assert methods.default_data("gan") == "temperatures"
    assert methods.default_data("mle") == Options.data


def test_worlds_are_listed_and_shown() -> None:
    listed = call("data", "list").out
    assert all(f"\n{name} " in listed for name in worlds.names())
    world: Any = worlds.load("temperatures")
    assert call("data", "show", "temperatures", "-n", 3, "--seed", 2).out.splitlines() == world.written(
        world.sample(3, 2)
    )


def test_help_shows_the_world_as_default() -> None:
    assert "temperatures" in call("train", "gan", "--help").out
