"""What a sweep came to: numbers of trials that were written by hand."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textforge.errors import UserError
from textforge.metrics.bootstrap import mean_interval
from textforge.sweeping import plan as planning
from textforge.sweeping import summary
from textforge.sweeping.plan import Plan
from textforge.sweeping.trials import FILE, is_finished, measured

VALUES = {128: [1.0, 4.0, 2.0, 7.0], 256: [3.0, 1.0, 1.5, 2.5]}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Return a plan of two settings, with four seeds that are all done."""
    (tmp_path / "sweep.toml").write_text(
        'methods = ["mle"]\nseeds = 4\ntemperatures = [0.5, 1.0]\n[fields.mle]\nhidden_dim = [256, 128]',
        encoding="utf-8",
    )
    made = planning.read(tmp_path / "sweep.toml", device="cpu")
    for trial in made.trials:
        value = VALUES[trial.fields["hidden_dim"]][trial.seed]
        judge(tmp_path / trial.name, {0.5: {"js": value / 2, "odd": None}, 1.0: {"js": value, "odd": value}})
    return made


def judge(folder: Path, metrics: dict[float, dict[str, float | None]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text("{}", encoding="utf-8")
    rows = [{"temperature": at, "metrics": own} for at, own in metrics.items()]
    record = {"asked": list(metrics), "temperatures": rows, "settings": {"num_samples": 9}}
    (folder / FILE).write_text(json.dumps(record), encoding="utf-8")


def written(plan: Plan, folder: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    summary.write(plan, folder, summary.lines(plan, folder), {"a": "b"}, {"num_samples": 9}, "textforge sweep x")
    with (folder / "sweep.csv").open(encoding="utf-8") as file:
        return json.loads((folder / "sweep.json").read_bytes()), list(csv.DictReader(file))


def test_a_setting_is_the_mean_of_its_seeds_with_an_interval(plan: Plan, tmp_path: Path) -> None:
    """In the order of the file, whatever is better."""
    found, table = written(plan, tmp_path)
    assert (found["tried"], found["failed"], found["command"]) == ({"mle": 2}, {"a": "b"}, "textforge sweep x")
    assert [(line["setting"], line["temperature"]) for line in found["lines"]] == [
        (f"mle-small-hidden_dim={size}", temperature) for size in (256, 128) for temperature in (0.5, 1.0)
    ]
    for line in found["lines"]:
        values = np.array(VALUES[line["fields"]["hidden_dim"]]) * line["temperature"]
        interval = mean_interval(values)
        js = line["metrics"]["js"]
        assert js["values"] == list(values)
        assert js["mean"] == pytest.approx(values.mean())
        assert (js["low"], js["high"]) == (interval.low, interval.high)
        rows = [
            row
            for row in table
            if (row["setting"], row["temperature"], row["metric"]) == (line["setting"], str(line["temperature"]), "js")
        ]
        assert [row["seed"] for row in rows] == ["0", "1", "2", "3", ""]
        assert [float(row["value"]) for row in rows] == [*values, js["mean"]]
        assert [(row["low"], row["high"]) for row in rows] == [("", "")] * 4 + [(str(js["low"]), str(js["high"]))]
        assert {(row["method"], row["preset"]) for row in rows} == {("mle", "small")}


def test_what_is_no_number_has_no_mean(plan: Plan, tmp_path: Path) -> None:
    cold, *_ = written(plan, tmp_path)[0]["lines"]
    assert cold["metrics"]["odd"] == {"values": [None] * 4, "mean": None, "low": None, "high": None}


def test_few_seeds_have_no_interval_and_failed_ones_do_not_count(plan: Plan, tmp_path: Path) -> None:
    first, *_, last = plan.trials
    (tmp_path / first.name / FILE).unlink()
    wide, *_, narrow = summary.lines(plan, tmp_path)
    assert [trial.seed for trial in wide.trials] == [1, 2, 3]
    assert wide.mean("js") == pytest.approx((1.0 + 1.5 + 2.5) / 3 / 2)
    assert wide.interval("js") is None
    assert narrow.interval("js") is not None
    for trial in plan.trials[4:]:
        (tmp_path / trial.name / "evaluation.json").unlink()
    assert [line.setting for line in summary.lines(plan, tmp_path)] == [first.setting] * 2
    assert last.setting not in summary.finished(plan, tmp_path)


def test_a_trial_is_finished_when_all_temperatures_are_there(plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / plan.trials[0].name
    assert is_finished(folder, [0.5, 1.0])
    assert is_finished(folder, [1.0])
    assert not is_finished(folder, [1.0, 0.7])
    assert not is_finished(tmp_path / "none", [])
    assert measured(folder).metrics[1.0] == {"js": 3.0, "odd": 3.0}
    (folder / FILE).write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=rf"{FILE} is not JSON .*remove it"):
        is_finished(folder, [1.0])


def test_a_generator_that_noise_drives_has_one_temperature(plan: Plan, tmp_path: Path) -> None:
    """It was asked for both, and has numbers at 1."""
    for trial in plan.trials[:4]:
        judge(tmp_path / trial.name, {1.0: {"js": 1.0}})
        record = json.loads((tmp_path / trial.name / FILE).read_bytes()) | {"asked": [0.5, 1.0]}
        (tmp_path / trial.name / FILE).write_text(json.dumps(record), encoding="utf-8")
    found = [(line.trials[0].fields["hidden_dim"], line.temperature) for line in summary.lines(plan, tmp_path)]
    assert found == [(256, 1.0), (128, 0.5), (128, 1.0)]
