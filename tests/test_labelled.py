"""Labels end to end: trained with, asked for, told, scored, saved, on the command line; by several methods."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import call

import textforge
from textforge.errors import CallError, UserError
from textforge.options import Strategy

KINDS = {"praise": ("good", "clean", "bright"), "blame": ("cold", "rude", "dark")}
PAIRS = [
    (label, f"the {thing} was {how} {when}")
    for label, hows in KINDS.items()
    for thing in ("room", "staff", "pool", "bar")
    for how in hows
    for when in ("today", "again")
]
LABELS, TEXTS = [label for label, _ in PAIRS], [text for _, text in PAIRS]
LEARNS: dict[str, Any] = {"method": "mle", "preset": "tiny", "embedding_dim": 32, "hidden_dim": 32, "lr": 0.02}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of maximum likelihood that has learned from a table what its labels mean."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = "".join(f"{text},{label}\n" for label, text in PAIRS)
    (folder / "reviews.csv").write_text(f"review,kind\n{rows}")
    found = textforge.fit(
        data=folder / "reviews.csv", column="review", label_column="kind", out=folder / "run", steps=300, **LEARNS
    )
    assert isinstance(found, textforge.Model)
    assert "labels: 'praise' 24, 'blame' 24" in found.notes
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> textforge.Model:
    loaded = textforge.load(run)
    assert isinstance(loaded, textforge.Model)
    return loaded


def kind_of(text: str) -> set[str]:
    return {label for label, words in KINDS.items() for word in words if word in text.split()}


def test_texts_of_a_label_are_of_its_class(model: textforge.Model) -> None:
    assert model.labels == ("blame", "praise")
    for label in KINDS:
        texts = model.sample(200, label=label, seed=0)
        assert np.mean([kind_of(text) == {label} for text in texts]) > 0.9
        assert texts == model.sample(200, label=label, seed=0)
        filled = model.infill("the room was ___ today", 100, label=label, seed=0)
        assert np.mean([kind_of(text) == {label} for text in filled]) > 0.9
        for strategy in (Strategy("greedy"), Strategy("beam", width=8), Strategy("top-k", k=5)):
            assert kind_of(model.draw(1, label=label, strategy=strategy).texts[0]) == {label}


def test_samples_tell_their_label_and_do_not_say_it(model: textforge.Model) -> None:
    drawn = model.draw(200, seed=0)
    assert drawn.labels is not None
    assert np.mean([kind_of(text) == {label} for label, text in zip(drawn.labels, drawn.texts, strict=True)]) > 0.9
    assert not any(word in text for text in drawn.texts for word in (*KINDS, "\t"))


def test_the_generator_classifies(model: textforge.Model) -> None:
    probs = model.label_probs(TEXTS)
    assert probs.sum(1) == pytest.approx(1)
    right = np.array(model.labels)[probs.argmax(1)] == LABELS
    assert right.mean() > 0.9
    assert (model.log_prob(TEXTS, LABELS) > model.log_prob(TEXTS)).mean() > 0.9, "the label tells of the text"


def test_evaluation_sees_texts_alone(run: Path, model: textforge.Model, tmp_path: Path) -> None:
    """References have no labels: their likelihood is the exact sum over labels; nothing but texts is compared."""
    (tmp_path / "real.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    said = call("evaluate", run, "--reference", tmp_path / "real.txt", "--train", tmp_path / "real.txt", "--json")
    assert said.status == 0, said.err
    metrics = json.loads(said.out)["metrics"]
    tokens = sum(model.num_tokens(TEXTS))
    assert metrics["nll_test"] == pytest.approx(-model.log_prob(TEXTS).sum() / tokens, rel=1e-4)
    assert metrics["exact_copy"] > 0.5
    for file in (run / "samples").iterdir():
        assert "praise" not in file.read_text()


def test_command_line(run: Path, tmp_path: Path) -> None:
    told = call("sample", run, "-n", 20, "--with-labels", "--seed", 0)
    assert told.status == 0, told.err
    plain = call("sample", run, "-n", 20, "--seed", 0).out.splitlines()
    assert [line.split("\t")[1] for line in told.out.splitlines()] == plain
    assert {line.split("\t")[0] for line in told.out.splitlines()} == {*KINDS}
    rows = [json.loads(row) for row in call("sample", run, "--label", "praise", "--format", "jsonl").out.splitlines()]
    assert {row["label"] for row in rows} == {"praise"}
    assert set(rows[0]) == {"text", "label", "log_prob"}
    behind = call("sample", run, "--label", "blame", "--prompt", "the bar", "--decode", "top-k", "--k", 3, "-n", 3)
    assert all(line.startswith("the bar") and kind_of(line) <= {"blame"} for line in behind.out.splitlines())
    matched = call("sample", run, "--label", "blame", "--match", ".* again", "-n", 3).out.splitlines()
    assert all(line.endswith(" again") for line in matched)
    assert call("infill", run, "the ___ was ___", "--label", "praise", "-n", 2).status == 0
    (tmp_path / "some.txt").write_text("the room was rude again\nthe pool was clean today\n")
    scores = [json.loads(row) for row in call("score", run, tmp_path / "some.txt").out.splitlines()]
    assert [row["label"] for row in scores] == ["blame", "praise"]
    assert all(0.5 <= row["label_prob"] <= 1 for row in scores)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--label", "prais"], "there is no label 'prais'; there are 'blame', 'praise'; did you mean 'praise'?"),
        (["--label", "praise", "--prompt", "xyz"], "does not know 'xyz'"),
    ],
)
def test_wrong_calls(arguments: list[str], reason: str, run: Path) -> None:
    said = call("sample", run, *arguments)
    assert said.status == 1
    assert reason in said.reason


def test_models_leave_with_their_labels(model: textforge.Model, tmp_path: Path) -> None:
    for folder in (model.save(tmp_path / "saved"), model.export(tmp_path / "exported")):
        again = textforge.load(folder)
        assert isinstance(again, textforge.Model)
        assert again.labels == model.labels
        assert again.sample(5, label="praise", seed=0) == model.sample(5, label="praise", seed=0)
    assert "blame, praise" in (tmp_path / "exported" / "README.md").read_text()


@pytest.mark.parametrize("method", ["seqgan", "maskgan"])
def test_adversarial_methods_learn_pairs(method: str) -> None:
    model = textforge.fit(TEXTS, labels=LABELS, method=method, preset="tiny")
    for label in KINDS:
        assert set(model.draw(20, label=label, seed=0).labels or ()) == {label}
        assert len(model.infill("the ___ was ___", 3, label=label, seed=0)) == 3
    texts = TEXTS[::10]
    assert np.isfinite(model.log_prob(texts, LABELS[::10])).all()
    pairs = np.stack([model.discriminate(texts, [label] * len(texts)) for label in model.labels], 1)
    odds = (model.label_probs(texts) * pairs / (1 - pairs)).sum(1)
    assert model.discriminate(texts) == pytest.approx(odds / (1 + odds), abs=1e-4)


def test_noise_is_asked_until_it_gives_the_label() -> None:
    model = textforge.fit(TEXTS, labels=LABELS, method="textgan_workshop", preset="tiny", pretrain_steps=60)
    found = model.draw(300, seed=0).labels
    assert found is not None
    for label in {*found} - {None}:
        drawn = model.draw(5, label=label, seed=0)
        assert drawn.labels == [label] * 5
        assert drawn.log_prob is None
    with pytest.raises(UserError, match="no likelihood"):
        model.label_probs(TEXTS)
    some = next(iter({*found} - {None}), "praise")
    with pytest.raises(UserError, match=r"lies in the folder of a run"):
        model.draw(2, label=some, strategy=Strategy("resample"))


def test_lists_and_numbers() -> None:
    """Sequences of integers with integers as labels: both come back as they went in."""
    model = textforge.fit([[5, 7], [7, 5, 5]] * 12, labels=[0, 1] * 12, method="mle", preset="tiny", steps=2)
    assert model.labels == ("0", "1")
    assert "all labels are numbers: each is a class of its own, and 1 is no nearer to 2 than to 9" in model.notes
    assert all(isinstance(symbol, int | None) for text in model.sample(5, label=1, seed=0) for symbol in text)
    assert model.log_prob([[5, 7]], [np.int64(1)]).shape == (1,)


def test_plain_models_refuse_labels(tmp_path: Path) -> None:
    model = textforge.fit(TEXTS, method="mle", preset="tiny", steps=1, out=tmp_path / "plain")
    with pytest.raises(CallError, match="has learned no labels"):
        model.sample(1, label="praise")
    assert call("sample", tmp_path / "plain", "--label", "praise").status == 2
    assert "leave out --with-labels" in call("sample", tmp_path / "plain", "--with-labels").reason
    with pytest.raises(CallError, match="labels is a file with one a line"):
        textforge.fit(data=tmp_path / "x.txt", labels=["a"])
