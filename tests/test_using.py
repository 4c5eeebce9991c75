"""What is done with a run: sample, score, evaluate and report say the same as the package."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from command import SENTENCES, Said, Trained, call, lines, only_json, train

import textforge
from textforge.model import load_text_model


@pytest.fixture(scope="module")
def seqgan(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("seqgan"), "seqgan", "--seed", 2, "--pretrain-steps", 3, "--g-lr", 0.3)


@pytest.fixture(scope="module")
def mle(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("mle"), "mle")


def test_sample(seqgan: Trained, tmp_path: Path) -> None:
    model = load_text_model(seqgan.folder)
    said = call("sample", seqgan.folder, "-n", 7, "--seed", 3)
    assert (said.status, said.err) == (0, "")
    assert said.out.split("\n") == [*model.sample(7, seed=3), ""]
    assert call("sample", seqgan.folder, "--num", 7, "--seed", 3, "--out", tmp_path / "s.txt").out == ""
    assert (tmp_path / "s.txt").read_text("utf-8") == said.out
    cold = call("sample", seqgan.folder, "-n", 5, "--temperature", 1e-6)
    assert len(set(cold.out.splitlines())) == 1
    best = call("sample", seqgan.folder, "-n", 7, "--seed", 3, "--checkpoint", "best")
    assert best.out.split("\n") == [*load_text_model(seqgan.folder, "best").sample(7, seed=3), ""]
    assert call("sample", seqgan.folder, "-n", 0) == Said(0, "", "")


def test_sample_as_json(seqgan: Trained) -> None:
    said = call("sample", seqgan.folder, "-n", 7, "--seed", 3, "--format", "jsonl", "--temperature", 0.8)
    drawn = load_text_model(seqgan.folder).draw(7, seed=3, temperature=0.8)
    records = [json.loads(line) for line in said.out.splitlines()]
    assert [record["text"] for record in records] == drawn.texts
    assert drawn.log_prob is not None
    assert [record["log_prob"] for record in records] == drawn.log_prob.tolist()


def test_samples_stay_on_their_lines(tmp_path: Path) -> None:
    """Line ends are written so that a sample is a line; the backslashes of molecules stay what they are."""
    textforge.fit(["C\\C\nN\rO\u2028S"], method="mle", preset="tiny", tokenizer="char", out=tmp_path / "run")
    said = call("sample", tmp_path / "run", "-n", 200, "--seed", 0)
    texts = load_text_model(tmp_path / "run").sample(200, seed=0)
    assert said.out.split("\n") == [*(text.replace("\n", "\\n").replace("\r", "\\r") for text in texts), ""]
    assert all(any(symbol in text for text in texts) for symbol in "\\\n\r\u2028")
    records = call("sample", tmp_path / "run", "-n", 200, "--seed", 0, "--format", "jsonl").out.split("\n")[:-1]
    assert [json.loads(line)["text"] for line in records] == texts


def test_output_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    textforge.fit(["男人在骑马 😀"] * 20, method="mle", preset="tiny", steps=1, out=tmp_path / "run")
    said = call("sample", tmp_path / "run", "-n", 50, "--seed", 0, encoding="latin-1")
    assert said.out.split("\n")[:-1] == load_text_model(tmp_path / "run").sample(50, seed=0)
    assert "😀" in said.out


def test_score(seqgan: Trained, mle: Trained, tmp_path: Path) -> None:
    """A JSON line for every line of text, in order, also beyond a thousand; unknown words count as such."""
    texts = [*SENTENCES, "a purple cat runs"] * 20
    file = lines(tmp_path / "texts.txt", texts)
    for run in (seqgan, mle):
        model = load_text_model(run.folder)
        said = call("score", run.folder, file)
        assert said.status == 0
        assert said.err == "textforge: 20 of 5,840 tokens are unknown and were scored as <unk>\n"
        scores = [json.loads(line) for line in said.out.splitlines()]
        assert [score["log_prob"] for score in scores] == pytest.approx(model.log_prob(texts).tolist(), abs=1e-4)
        for text, score in zip(texts, scores, strict=True):
            assert score["nll_per_token"] == pytest.approx(-score["log_prob"] / (len(text.split()) + 1))
        if run is mle:
            assert not any("discriminator" in score for score in scores)
        else:
            opinions = [score["discriminator"] for score in scores]
            assert opinions == pytest.approx(model.discriminate(texts).tolist(), abs=1e-5)


def test_own_samples_can_be_scored_and_judged(mle: Trained, tmp_path: Path) -> None:
    """Also those that ended because they were as long as they can be."""
    file = tmp_path / "samples.txt"
    call("sample", mle.folder, "-n", 60, "--seed", 1, "--out", file)
    texts = [text for text in file.read_text("utf-8").splitlines() if text]
    assert max(len(text.split()) for text in texts) == load_text_model(mle.folder).generator.max_length
    assert len(call("score", mle.folder, file).out.splitlines()) == len(texts)
    metrics = only_json(call("evaluate", file, "--reference", mle.data, "--train", mle.data, "--json"))["metrics"]
    assert metrics["unique"] == len(set(texts)) / len(texts)


def test_evaluate_repeats_what_training_said(seqgan: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another folder too: the run knows where its text is."""
    monkeypatch.chdir(tmp_path)
    judged = only_json(call("evaluate", seqgan.folder, "--json"))
    assert judged.keys() == {"metrics", "settings"}
    row = json.loads((seqgan.folder / "evaluation.json").read_text("utf-8"))["rows"][0]
    assert judged["metrics"] == row["metrics"]
    assert {"bleu_2", "bleu_5", "self_bleu_2", "unique", "exact_copy", "nll_test", "entropy"} <= judged[
        "metrics"
    ].keys()
    best = only_json(call("evaluate", seqgan.folder, "--checkpoint", "best", "--json"))["metrics"]
    assert best["nll_test"] < judged["metrics"]["nll_test"]
    table = call("evaluate", seqgan.folder).out
    assert f"{judged['metrics']['bleu_2']:.4f}" in table
    assert "self bleu protocol: loo" in table


def test_evaluate_with_settings(mle: Trained, tmp_path: Path) -> None:
    reference = lines(tmp_path / "held.txt", ["a red dog runs here", "a red fish", "a " * 30])
    judged = only_json(
        call("evaluate", mle.folder, "--reference", reference, "-n", 5, "--temperature", 2, "--seed", 1, "--json")
    )
    settings = judged["settings"]
    assert (settings["num_samples"], settings["num_references"], settings["temperature"]) == (5, 3, 2.0)
    assert (settings["nll_test_lines_too_long"], settings["nll_test_unknown_tokens"]) == (1, 1)
    assert settings["num_train"] == 52
    other = only_json(call("evaluate", mle.folder, "--reference", reference, "--train", reference, "--json"))
    assert other["settings"]["num_train"] == 3


def test_evaluate_says_when_the_text_has_changed(tmp_path: Path) -> None:
    run = train(tmp_path, "mle", "--steps", 1)
    lines(run.data, SENTENCES[::-1])
    said = call("evaluate", run.folder, "--json")
    assert only_json(said)
    assert "not what the run has learnt from" in said.err
    run.data.unlink()
    said = call("evaluate", run.folder, "--json")
    assert said.status == 1
    assert said.reason.endswith("give --reference")
    held = lines(tmp_path / "held.txt", SENTENCES[:5])
    said = call("evaluate", run.folder, "--reference", held, "--json")
    assert "exact_copy" not in only_json(said)["metrics"]
    assert "only with --train" in said.err


def test_numbers_that_json_does_not_know_are_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(tmp_path, "mle", "--steps", 1)
    monkeypatch.setattr("textforge.evaluation.held_out_nll", lambda *args, **settings: math.nan)
    assert only_json(call("evaluate", run.folder, "--json"))["metrics"]["nll_test"] is None
    monkeypatch.setattr("textforge.model.Model.log_prob", lambda self, texts: np.full(len(texts), -np.inf))
    said = call("score", run.folder, run.data)
    assert json.loads(said.out.splitlines()[0]) == {"log_prob": None, "nll_per_token": None}


def test_report(mle: Trained, tmp_path: Path) -> None:
    page = (mle.folder / "report.html").read_bytes()
    said = call("report", mle.folder, "--out", tmp_path / "page.html")
    assert (said.status, said.out) == (0, f"{tmp_path / 'page.html'}\n")
    assert (tmp_path / "page.html").read_bytes() == page
    assert call("report", mle.folder).out == f"{mle.folder / 'report.html'}\n"
