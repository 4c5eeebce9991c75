"""A run is watched while it writes: curves and samples as its files have them."""

import json
import shutil
from pathlib import Path

import pytest
from report.pages import ATTACK
from serve.conftest import record
from starlette.testclient import TestClient

from textforge.serve import application


@pytest.fixture
def run(runs: list[Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs[0], tmp_path / "run"))


def test_curves_and_samples_follow_the_run(run: Path) -> None:
    with TestClient(application([run]), base_url="http://127.0.0.1") as client:
        reply = client.get("/api/runs/0/training")
        found = reply.json()
        assert (found["step"], found["seconds"], found["phase"]) == (60, 30.0, ATTACK)
        assert [phase["name"] for phase in found["phases"]] == ["pretrain", ATTACK]
        curves = {curve["name"]: curve["points"] for curve in found["curves"]}
        assert list(curves) == ["g_loss", "d_loss", "nll_valid", "entropy", "unique"]
        assert curves["nll_valid"] == [[step, 2 + 10 / step] for step in range(10, 61, 10)]
        assert found["samples"] == ["a man rides home", ATTACK, ""]

        unchanged = client.get("/api/runs/0/training", headers={"if-none-match": reply.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"phase": "last", "step": 61, "seconds": 31, "g_loss": null}\n{"phase": "ha')
        changed = client.get("/api/runs/0/training", headers={"if-none-match": reply.headers["etag"]})
        assert (changed.json()["step"], changed.json()["phase"]) == (61, "last")


def test_long_runs_fit_on_a_page(run: Path) -> None:
    record(run, 1_500, ["x" * 10_000] * 100)
    with TestClient(application([run]), base_url="http://127.0.0.1") as client:
        found = client.get("/api/runs/0/training").json()
    assert max(len(curve["points"]) for curve in found["curves"]) <= 210
    assert len(json.dumps(found)) < 100_000


def test_a_run_that_has_not_begun_says_so(runs: list[Path]) -> None:
    with TestClient(application(runs), base_url="http://127.0.0.1") as client:
        found = client.get("/api/runs/1/training").json()
    assert found["step"] is None
    assert found["curves"] == found["samples"] == []


def test_a_model_is_read_again_when_its_run_has_saved(run: Path, runs: list[Path]) -> None:
    with TestClient(application([run]), base_url="http://127.0.0.1") as client:
        assert client.get("/api/runs/0").json()["judge"] == "detector"
        shutil.rmtree(run / "detector")
        assert client.get("/api/runs/0").json()["judge"] == "none"
        (run / "detector").mkdir()
        (run / "detector" / "config.json").write_text("{}")
        assert "damaged" in client.get("/api/runs/0").json()["why"]
        shutil.rmtree(run / "checkpoints")
        reply = client.post("/api/draw", json={"run": 0})
        assert reply.status_code == 400
        assert reply.json()["error"]
