"""A model that leaves its run: the folder, its card, and what comes back from it."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import SENTENCES, call, lines
from exporting.models import LINES, model
from markdown_it import MarkdownIt
from safetensors.torch import load_file
from tasks import SEQUENCE_METHODS

import textforge
from textforge.errors import UserError, WorkError
from textforge.model import Model, load_text_model
from textforge.report.words import number
from textforge.results import Row, write_rows
from textforge.text import Tab, Vocabulary, train

FILES = {"config.json", "model.safetensors", "tokenizer.json", "README.md"}


NUMBERS = {"bleu_4": 0.61803, "self_bleu_4": 0.5, "unique": 1.0, "nll_test": 3.25, "js": 0.125, "js_se": 0.0123}
ROWS = [
    Row("seqgan", NUMBERS),
    Row("seqgan, after pretrain", {"bleu_4": 0.5, "nll_test": math.inf, "exact_copy": 0.0}, "phase"),
    Row("mle", {"bleu_4": 0.25, "js": 0.0, "js_se": 0.001}, "control"),
    Row("real text", {"bleu_4": 0.75, "num": 12345}, "control"),
]
VERDICT = {"headline": "repeats itself; a tie", "reasons": ["12 of 20 texts differ", "1 training: nothing is decided"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an evaluation, beside the text that it learned."""
    folder = tmp_path_factory.mktemp("seqgan")
    data = lines(folder / "data.txt", SENTENCES)
    textforge.fit(data=data, method="seqgan", preset="tiny", pretrain_steps=3, g_lr=0.3, out=folder / "run")
    write_rows(folder / "run", ROWS, {"num_samples": 20, "references": "test text"}, VERDICT)
    return folder / "run"


def rendered(folder: Path) -> str:
    """The card as a reader sees it, without its head."""
    head, text = re.fullmatch(r"(---\n.*?\n---\n)(.*)", (folder / "README.md").read_text("utf-8"), re.DOTALL).groups()  # type: ignore[union-attr]
    assert head.splitlines()[1:3] == ["library_name: textforge", "pipeline_tag: text-generation"]
    return str(MarkdownIt("commonmark").enable("table").render(text))


def cells(folder: Path) -> dict[str, list[str]]:
    """The rows of the card's tables by their first cell."""
    found = re.findall(r"<tr>\n(.*?)</tr>", rendered(folder), re.DOTALL)
    rows = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in found]
    return {row[0]: row[1:] for row in rows}


# --- There and back ---


@pytest.mark.parametrize("method", SEQUENCE_METHODS)
def test_model_comes_back_from_anywhere_as_it_was(method: str, tmp_path: Path) -> None:
    left = model(method).save(tmp_path / "run")
    run = load_text_model(left)
    run.export(tmp_path / "export")
    assert {path.name for path in (tmp_path / "export").iterdir()} == FILES
    (tmp_path / "export").rename(tmp_path / "elsewhere")
    left.rename(tmp_path / "gone")
    back = load_text_model(tmp_path / "elsewhere")
    assert back.sample(20, seed=4) == run.sample(20, seed=4)
    assert back.settings == run.settings
    assert list(back.networks) == ["generator"]
    if not run.generator.noise_dim:
        assert np.array_equal(back.log_prob(LINES), run.log_prob(LINES))
    assert isinstance(run.generator, torch.nn.Module)
    weights, state = load_file(tmp_path / "elsewhere" / "model.safetensors"), run.generator.state_dict()
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], state[name]) for name in state)


@pytest.mark.parametrize("kind", ["word", "char", "bpe", "tab"])
def test_every_tokenizer_comes_back(kind: str, tmp_path: Path) -> None:
    tab = Tab(Vocabulary.create(["a man", "rides", "床前"]), "symbols")
    tokenizer = tab if kind == "tab" else train(kind, LINES, max_size=300 if kind == "bpe" else None)
    run = model("mle", tokenizer, length=20)
    back = load_text_model(run.export(tmp_path / "export"))
    assert back.sample(9, seed=1) == run.sample(9, seed=1)
    given: list[Any] = [["a man", "rides"], ["字"]] if kind == "tab" else ["a man 😀", "字 🦖"]
    assert np.array_equal(back.log_prob(given), run.log_prob(given))


def test_export_can_be_exported_and_saved_again(tmp_path: Path) -> None:
    first = model("seqgan").export(tmp_path / "first")
    again = load_text_model(load_text_model(first).export(tmp_path / "again"))
    saved = load_text_model(load_text_model(first).save(tmp_path / "saved"))
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (first / name).read_bytes()
    assert again.sample(5, seed=0) == saved.sample(5, seed=0)


def test_where_the_data_lay_stays_at_home(tmp_path: Path) -> None:
    folder = model("mle", data="/home/somebody/secret/poems.txt").export(tmp_path / "export")
    assert not any(b"somebody" in path.read_bytes() for path in folder.iterdir())
    assert load_text_model(folder).settings["data"] == "poems.txt"
    assert cells(folder)["trained on"] == ["poems.txt"]


def test_where_code_and_models_lay_stays_at_home(tmp_path: Path) -> None:
    """A name of the Hub, with its owner, is whole; the form of a loss is no path."""
    found = {}
    for name, place in (("path", "/home/somebody/secret/models/small"), ("hub", "owner/small")):
        own = model("seqgan")
        config = {**own.settings["config"], "pretrained": place, "objective": "/home/somebody/secret/rewards.py:brief"}
        settings = {**own.settings, "tokenizer": place, "config": config}
        folder = dataclasses.replace(own, settings=settings).export(tmp_path / name)
        assert not any(b"somebody" in path.read_bytes() for path in folder.iterdir())
        stored = json.loads((folder / "config.json").read_bytes())
        assert stored["config"]["objective"] == "rewards.py:brief"
        found[name] = (stored["tokenizer"], stored["config"]["pretrained"])
    assert found == {"path": ("small", "small"), "hub": ("owner/small", "owner/small")}
    folder = model("gumbel_gan").export(tmp_path / "loss")
    own_form = model("gumbel_gan").settings["config"]["objective"]
    assert json.loads((folder / "config.json").read_bytes())["config"]["objective"] == own_form


# --- Refusals ---


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("model.safetensors", lambda data: None, "model.safetensors cannot be read"),
        ("tokenizer.json", lambda data: None, "tokenizer.json cannot be read"),
        ("config.json", lambda data: None, "is no run folder"),
        ("model.safetensors", lambda data: data[:-3] + b"\x01" + data[-2:], "model.safetensors is damaged"),
        ("tokenizer.json", lambda data: data.replace(b"horse", b"house"), "tokenizer.json is damaged"),
        ("config.json", lambda data: data[:40], "is not JSON"),
        ("config.json", lambda data: data.replace(b'"sha256"', b'"sha"'), "lacks what an export has in it"),
        (
            "config.json",
            lambda data: data.replace(b'"symbols": {', b'"symbols": 3, "x": {'),
            "lacks what an export has",
        ),
        ("config.json", lambda data: data.replace(b'"pad_token_id": ', b'"pad_token_id": 1'), "special ids"),
        ("config.json", lambda data: data.replace(b'"hidden_dim": 16', b'"hidden_dim": 17'), "do not fit"),
        ("config.json", lambda data: data.replace(b'"hidden_dim": 16', b'"hidden_dim": "x"'), "hidden-dim"),
    ],
)
def test_damage_is_told(name: str, change: Any, reason: str, tmp_path: Path) -> None:
    path = model("mle").export(tmp_path / "export") / name
    data = change(path.read_bytes())
    assert data != path.read_bytes()
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(UserError, match=reason) as caught:
        textforge.load(tmp_path / "export")
    assert "\n" not in str(caught.value)


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = model("mle")
    folder = run.export(tmp_path / "export")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for place in (folder, tmp_path / "file", tmp_path):
        with pytest.raises(UserError, match="exists already"):
            run.export(place)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "empty").mkdir()
    run.export(tmp_path / "empty")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run.export(".")
    textforge.load(tmp_path / "here")
    with pytest.raises(WorkError, match="could not be written"):
        run.export(tmp_path / "file" / "below")
    assert {path.name for path in tmp_path.iterdir()} == {"export", "file", "empty", "here"}


def test_an_export_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise WorkError("the disk is full")

    monkeypatch.setattr("textforge.exporting.place.write_atomic", full)
    with pytest.raises(WorkError, match="full"):
        model("mle").export(tmp_path / "export")
    assert not list(tmp_path.iterdir())


# --- The card ---


def test_card_has_every_number_of_the_evaluation_and_its_verdict(run: Path, tmp_path: Path) -> None:
    folder = load_text_model(run).export(tmp_path / "export")
    evaluation = json.loads((run / "evaluation.json").read_bytes())
    found, rows = cells(folder), evaluation["rows"]
    shown = [f"{row['name']} (control)" if row["kind"] == "control" else row["name"] for row in rows]
    assert found["metric"] == shown
    names = {name for row in rows for name in row["metrics"]}
    for name in names - {f"{other}_se" for other in names}:
        values = [row["metrics"].get(name, "absent") for row in rows]
        errors = [row["metrics"].get(f"{name}_se") for row in rows]
        assert [cell.partition(" ±")[0] for cell in found[name]] == ["" if v == "absent" else number(v) for v in values]
        assert [" ± " in cell for cell in found[name]] == [error is not None for error in errors]
    page = rendered(folder)
    assert evaluation["verdict"]["headline"] in page
    assert all(reason in page for reason in evaluation["verdict"]["reasons"])


def test_numbers_of_a_card_are_in_the_column_of_their_row(run: Path, tmp_path: Path) -> None:
    found = cells(load_text_model(run).export(tmp_path / "export"))
    assert found["metric"] == ["seqgan", "seqgan, after pretrain", "mle (control)", "real text (control)"]
    assert found["bleu_4"] == ["0.6180", "0.5000", "0.2500", "0.7500"]
    assert found["js"] == ["0.1250 ± 0.012", "", "0.000 ± 0.0010", ""]
    assert found["nll_test"] == ["3.250", "\N{EN DASH}", "", ""]
    assert found["num"] == ["", "", "", "12,345"]
    assert "js_se" not in found


def test_text_of_others_stays_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|**x**|[a](http://b)\r\n```\n# $1$ `y` \\ &amp;"
    left = load_text_model(model("mle").save(tmp_path / "run"))
    write_rows(tmp_path / "run", [Row(evil, {evil: 0.5})], {evil: evil}, {"headline": evil, "reasons": [evil]})
    symbols = ["<script>alert(1)</script>", "```\n", "# x", "**b**", "|"]
    settings = {**left.settings, "data": evil.replace("/", "")}
    one = model("mle", Tab(Vocabulary.create(symbols, unk=False, eos=False)))
    folder = Model(settings, one.tokenizer, one.networks, left.folder).export(tmp_path / "export")
    page = rendered(folder)
    assert not re.search(r"<script|<strong|<em>|<a |<h1>x", page)
    shown = "&lt;script&gt;alert(1)&lt;/script&gt;|**x**|[a](http://b)␍␊```␊# $1$ `y` \\ &amp;amp;"
    assert page.count(shown) == 6  # the headline, a reason, the head of a column and of a row, and a setting
    assert page.count("<table>") == 3
    assert page.count("<pre>") == 3  # samples, code, citation
    (samples,) = re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)
    assert len(samples.splitlines()) == 5
    assert "```␊" in samples
    assert "&lt;script&gt;" in samples


def test_card_says_which_state_it_is(run: Path, tmp_path: Path) -> None:
    last, best = load_text_model(run), load_text_model(run, "best")
    folder = best.export(tmp_path / "best")
    assert cells(folder)["state"] == ["its lowest held-out NLL"]
    assert "not of the state in this folder" in rendered(folder)
    assert "not of the state in this folder" not in rendered(last.export(tmp_path / "last"))
    assert load_text_model(folder).checkpoint == "best"
    assert load_text_model(folder).sample(5, seed=1) == best.sample(5, seed=1)
    with pytest.raises(UserError, match="holds one state"):
        textforge.load(folder, "best")


def test_card_without_an_evaluation_says_so(tmp_path: Path) -> None:
    page = rendered(model("textgan").export(tmp_path / "export"))
    assert "held no evaluation" in page
    assert "no likelihood" in page
    assert "exact_copy" not in page


def test_samples_of_the_card_are_those_of_seed_0(tmp_path: Path) -> None:
    run = model("seqgan")
    page = rendered(run.export(tmp_path / "export"))
    assert "\n".join(run.sample(5, seed=0)).replace("<", "&lt;").replace(">", "&gt;") in page


# --- The command ---


def test_command_exports_and_the_others_read_it(run: Path, tmp_path: Path) -> None:
    said = call("export", run)
    assert (said.status, said.out, said.err) == (0, f"{run / 'huggingface'}\n", "")
    assert "exists already" in call("export", run).reason
    assert call("export", run, "--out", tmp_path / "out").out == f"{tmp_path / 'out'}\n"
    ours = [call("sample", folder, "--seed", 5).out for folder in (run, tmp_path / "out")]
    assert ours[0] == ours[1] != ""
    scores = [call("score", folder, run.parent / "data.txt").out.splitlines() for folder in (run, tmp_path / "out")]
    for with_discriminator, without in zip(*scores, strict=True):
        assert json.loads(with_discriminator).items() > json.loads(without).items()


def test_command_refuses_points(tmp_path: Path) -> None:
    textforge.fit(data="temperatures", method="gan", preset="tiny", out=tmp_path / "run")
    said = call("export", tmp_path / "run")
    assert said.status == 1
    assert "draws points" in said.reason
