"""Quality against diversity: the sweep over temperatures, and the distance to maximum likelihood's curve."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tasks import QUIET, text_task

import textforge
from textforge import controls, frontier, results
from textforge.cli.comparing import print_frontier
from textforge.errors import CallError
from textforge.evaluation import draw_texts
from textforge.frontier import Point, gap, sweep
from textforge.metrics.kneser_ney import lm_score, reverse_lm_score
from textforge.model import Model, load_text_model
from textforge.report.comparison import MLE
from textforge.run import derive

WORDS = "abcdefgh"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return textforge.fit(
        [" ".join(row) for row in texts(200, 0)],
        method="mle",
        preset="tiny",
        steps=60,
        out=tmp_path_factory.mktemp("frontier") / "run",
    )


def texts(num: int, seed: int, spread: float = 1.0) -> list[str]:
    """Texts over a few words whose frequencies are more even the larger `spread` is."""
    rng = np.random.default_rng(seed)
    weights = np.exp(-np.arange(len(WORDS)) / spread)
    return [" ".join(rng.choice(list(WORDS), 5, p=weights / weights.sum())) for _ in range(num)]


def point(temperature: float, samples: list[str], references: list[str]) -> Point:
    scores = lm_score(samples, references) | reverse_lm_score(samples, references)
    return Point(temperature, scores, samples)


def test_samples_on_the_curve_have_no_gap() -> None:
    references = texts(500, 1, 2.0)
    curve = [point(t, texts(500, 2, t), references) for t in (0.8, 1.4, 2.0, 3.0)]
    found = gap(curve[2], curve, references)
    assert found is not None
    assert found.temperature == pytest.approx(2.0)
    assert found.interval.value == pytest.approx(0, abs=1e-9)
    fresh = gap(point(1.0, texts(500, 3, 1.7), references), curve, references)
    assert fresh is not None
    assert 1.4 <= fresh.temperature <= 2.0
    assert abs(fresh.interval.value) < 0.05


def test_the_gap_is_the_difference_of_the_scores_at_equal_quality() -> None:
    """At a point of the curve nothing is interpolated; one sentence repeated costs the references much more."""
    references = texts(400, 1, 2.0)
    curve = [point(t, texts(400, 2, t), references) for t in (0.8, 1.4, 2.0, 3.0)]
    ours = point(1.0, [references[0]] * 400, references)
    ours.metrics["lm_score"] = curve[1].metrics["lm_score"]
    found = gap(ours, curve, references)
    assert found is not None
    expected = ours.metrics["reverse_lm_score"] - curve[1].metrics["reverse_lm_score"]
    assert found.interval.value == pytest.approx(expected)
    assert found.interval.low > 0
    assert found.interval.verdict == "higher"
    between = (curve[1].metrics["lm_score"] + curve[2].metrics["lm_score"]) / 2
    ours.metrics["lm_score"] = between
    middle = gap(ours, curve, references)
    assert middle is not None
    both = (curve[1].metrics["reverse_lm_score"] + curve[2].metrics["reverse_lm_score"]) / 2
    assert middle.interval.value == pytest.approx(ours.metrics["reverse_lm_score"] - both)
    assert middle.temperature == pytest.approx(1.7)


def test_the_interval_holds_the_gap_of_other_references() -> None:
    """Of 60 sets of references, 95 % of the intervals hold the mean over them all, within 4 standard errors."""
    samples, warm, cold = (texts(300, 2 + i, spread) for i, spread in enumerate((0.9, 1.4, 2.2)))
    found = []
    for seed in range(60):
        references = texts(300, 100 + seed, 2.0)
        curve = [point(1.0, warm, references), point(1.5, cold, references)]
        ours = Point(1.0, {"lm_score": curve[0].metrics["lm_score"]}, samples)
        one = gap(ours, curve, references)
        assert one is not None
        found.append(one.interval)
    truth = np.mean([interval.value for interval in found])
    held = np.mean([interval.low <= truth <= interval.high for interval in found])
    assert held > 0.95 - 4 * (0.95 * 0.05 / 60) ** 0.5


def test_no_gap_beyond_the_curve_or_without_references() -> None:
    references = texts(50, 1)
    curve = [point(t, texts(50, 2, t), references) for t in (0.8, 1.4)]
    far = Point(1.0, {"lm_score": 99.0}, references)
    assert gap(far, curve, references) is None
    assert gap(curve[0], curve, references[:3]) is None


def test_a_sweep_draws_what_evaluation_draws(model: Model) -> None:
    references = texts(60, 1)
    points = sweep(model, references, temperatures=(1.0, 0.5), num=40, seed=3)
    assert [one.temperature for one in points] == [0.5, 1.0]
    with torch.random.fork_rng():
        torch.manual_seed(derive(3, "evaluate"))
        assert points[1].texts == draw_texts(model.generator, model.tokenizer, 40).texts
    assert points[0].metrics["entropy"] < points[1].metrics["entropy"]
    assert points[1].metrics["lm_score"] == lm_score(points[1].texts, references)["lm_score"]
    cold = sweep(model, references, temperatures=(1e-6,))[0]
    assert max(Counter(cold.texts).values()) == 60
    with pytest.raises(CallError, match="above 0"):
        sweep(model, references, temperatures=(0.0,))


def test_words_of_the_training_text_are_no_junk(model: Model) -> None:
    """In a sweep and on both sides of a gap, known symbols take a share of the rest."""
    references, words = texts(60, 1), frozenset("xyz")
    (known,) = sweep(model, references, temperatures=(1.0,), words=words)
    expected = lm_score(known.texts, references, vocabulary=words)
    expected |= reverse_lm_score(known.texts, references, vocabulary=words)
    assert {name: known.metrics[name] for name in expected} == expected
    assert expected["lm_score"] != lm_score(known.texts, references)["lm_score"]
    curve = [point(t, texts(60, 2, t), references) for t in (0.8, 1.4)]
    ours = Point(1.0, {"lm_score": curve[1].metrics["lm_score"]}, texts(60, 3))
    plain, other = (gap(ours, curve, references, words=known) for known in (frozenset[str](), words))
    assert plain is not None
    assert other is not None
    assert plain.interval.value != other.interval.value


def test_the_words_for_no_gap_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    def told(*scores: float) -> str:
        ours, *theirs = (Point(1 + i / 10, {"lm_score": score}, []) for i, score in enumerate(scores))
        print_frontier("seqgan", results.Frontier([ours], theirs, None))
        return capsys.readouterr().out.splitlines()[-1]

    assert told(4.5, 3.1, 4.25) == (
        "no gap to mle can be told: the quality of seqgan is an lm_score of 4.500, and over the temperatures swept mle "
        "has 3.100 to 4.250, so the two cannot be compared at equal quality"
    )
    assert told(4.0, 3.1, 4.25) == "no gap to mle can be told: there are too few references for an interval"


def test_a_generator_driven_by_noise_is_a_point(tmp_path: Path) -> None:
    noisy = textforge.fit(["a b", "b c"] * 20, method="gumbel_gan", preset="tiny", out=tmp_path / "run")
    (only,) = sweep(noisy, ["a b", "b c"])
    assert only.temperature == 1
    assert "entropy" not in only.metrics


def test_both_curves_are_written_down(tmp_path: Path) -> None:
    task = text_task()
    run = tmp_path / "run"
    textforge.fit(list(task.texts.train), method="seqgan", preset="tiny", out=run)
    textforge.fit(list(task.texts.train), method="mle", preset="tiny", out=run / controls.FOLDER / MLE)
    found = results.run_frontier(run, load_text_model(run), task, temperatures=(0.7, 1.3), num=15, console=QUIET)
    assert [one.temperature for one in found.control] == [0.7, 1.3]
    for place, control in ((run, True), (run / "controls" / "mle", False)):
        stored = json.loads((place / frontier.FILE).read_text("utf-8"))
        assert [one["temperature"] for one in stored["points"]] == [0.7, 1.3]
        assert stored["settings"]["num_samples"] == 15
        assert bool(stored["settings"]["control"]) is control
    ours = json.loads((run / frontier.FILE).read_text("utf-8"))
    assert (ours["gap"] is None) == (found.gap is None)
    assert ours["points"][0]["metrics"] == found.points[0].metrics
    assert len(ours["points"][0]["samples"]) == 15
