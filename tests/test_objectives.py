"""A user's function: how it is named and found, what is said where it is wrong, and when it runs."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wishes
from command import ROOT, call, lines
from tasks import SENTENCES, text_task

import textforge
from textforge import methods, objectives
from textforge.errors import CallError, UserError
from textforge.fitting import with_objective
from textforge.model import load_text_model
from textforge.objectives import Objective
from textforge.text import Word

TASK = text_task()


def scores(function: Callable[[list[str]], Any], texts: list[str]) -> Any:
    return Objective("mine.py:f", function, TASK.tokenizer).scores(texts)


# --- Scores ---


def test_equal_texts_are_scored_once_and_keep_their_places() -> None:
    asked: list[list[str]] = []

    def lengths(texts: list[str]) -> list[int]:
        asked.append(texts)
        return [len(text) for text in texts]

    found = scores(lengths, ["cats", "the men", "cats", "", "the men"])
    assert found.tolist() == [4, 7, 4, 0, 7]
    assert asked == [["cats", "the men", ""]]


@pytest.mark.parametrize(
    "numbers", [[1, 2], (1.0, 2.0), np.array([1, 2], np.int8), torch.tensor([1.0, 2.0], requires_grad=True)]
)
def test_numbers_of_any_kind_are_taken(numbers: Any) -> None:
    assert scores(lambda texts: numbers, ["a", "b"]).tolist() == [1, 2]


@pytest.mark.parametrize(
    "wrong", [None, 3.0, [1.0], [1.0, 2.0, 3.0], [[1.0], [2.0]], ["high", "low"], {"a": 1.0}, [None, 1.0, 2.0]]
)
def test_anything_but_a_number_for_each_text_is_refused(wrong: Any) -> None:
    with pytest.raises(UserError, match=r"mine\.py:f returned .*not one number for each of 2 texts.*'cats sit'"):
        scores(lambda texts: wrong, ["cats sit", "dogs run"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), None])
def test_a_score_that_is_not_finite_is_refused_with_its_text(value: Any) -> None:
    with pytest.raises(UserError, match=r"mine\.py:f gave (nan|inf|-inf) to the text 'dogs run'"):
        scores(lambda texts: [value if "dogs" in text else 1.0 for text in texts], ["cats sit", "dogs run"])


def test_an_error_of_the_function_names_it_and_the_text_that_brings_it() -> None:
    with pytest.raises(UserError, match=r"mine\.py:f failed on the text 'dogs run': ZeroDivisionError: ") as caught:
        scores(lambda texts: [1 / (text[0] != "d") for text in texts], ["cats sit", "dogs run"])
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_error_that_only_many_texts_bring_names_the_first() -> None:
    def few(texts: list[str]) -> list[int]:
        assert len(texts) < 2, "too many"
        return [1] * len(texts)

    with pytest.raises(UserError, match=r"failed on the text 'cats sit': AssertionError: too many"):
        scores(few, ["cats sit", "dogs run"])


def test_ids_become_rewards_of_the_default_type_without_what_stands_behind_the_end() -> None:
    vocabulary = TASK.vocabulary
    (cats, sit), eos, pad = vocabulary.encode(["cats", "sit"]), vocabulary.eos, vocabulary.pad
    assert eos is not None
    found = Objective("f", lambda texts: [float(text == "cats") for text in texts], Word(vocabulary))(
        torch.tensor([[cats, eos, pad], [cats, sit, eos]])
    )
    assert found.dtype == torch.get_default_dtype()
    assert found.tolist() == [1, 0]


# --- Names ---


def test_a_function_that_can_be_imported_is_known_by_its_place() -> None:
    assert objectives.name_of(wishes.first_words) == "wishes:first_words"
    assert objectives.load("wishes:first_words") is wishes.first_words


def test_what_only_this_process_knows_has_its_name_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    def local(texts: list[str]) -> list[float]:
        return [0.0] * len(texts)

    assert objectives.name_of(local) == "<local>"
    assert objectives.name_of(lambda texts: texts) == "<lambda>"
    assert objectives.name_of(Objective("f", local, TASK.tokenizer).scores) == "<method>"
    monkeypatch.setattr(local, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "local", local, raising=False)
    assert objectives.name_of(local) == "<local>"  # whoever imports a script runs it


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("first_words", CallError, "must be module:function or file.py:function, not 'first_words'"),
        ("wishes:", CallError, "must be module:function"),
        (":length", CallError, "must be module:function"),
        ("no_such_module:f", CallError, "there is no module 'no_such_module' for --objective"),
        ("no/such/file.py:f", CallError, "there is no file no/such/file.py for --objective"),
        ("wishes:size", CallError, "wishes has no function 'size' for --objective; it has first_words, length"),
        ("wishes:NOT_A_FUNCTION", CallError, "has no function 'NOT_A_FUNCTION'"),
        ("<lambda>", CallError, "the objective <lambda> was handed over by a program"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(name: str, error: type[UserError], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        objectives.load(name)


def test_a_file_is_run_anew_beside_what_it_imports(tmp_path: Path, fresh_path: None) -> None:
    file = tmp_path / "random.py"  # the name of a module of Python's own
    (tmp_path / "words_of_mine.py").write_text("GOOD = 'cats'\n", encoding="utf-8")
    for value in (1, 2):
        file.write_text(
            "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom words_of_mine import GOOD\n"
            f"@dataclass\nclass A:\n    b: int = {value}\ndef f(texts): return [A().b * (GOOD in t) for t in texts]\n",
            encoding="utf-8",
        )
        assert objectives.load(f"{file}:f")(["cats", "dogs"]) == [value, 0]
    import random

    assert random.random() < 1


def test_a_file_that_fails_says_how(tmp_path: Path, fresh_path: None) -> None:
    (tmp_path / "broken.py").write_text("import no_such_thing\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.py cannot be imported: ModuleNotFoundError: No module named"):
        objectives.load(f"{tmp_path / 'broken.py'}:f")
    sys.path.append(str(tmp_path))
    with pytest.raises(UserError, match=r"broken cannot be imported: ModuleNotFoundError"):
        objectives.load("broken:f")


@pytest.fixture
def fresh_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Undo what imports from the test's own folder leave behind."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name, module in list(sys.modules.items()):
        if str(vars(module).get("__file__")).startswith(str(tmp_path)):
            del sys.modules[name]


# --- From Python ---


FIELDS: dict[str, Any] = {"method": "seqgan", "preset": "tiny", "tokenizer": "word", "seed": 1}


def test_a_function_of_this_process_steers_and_marks_the_run(tmp_path: Path) -> None:
    """A generator that is paid for cats alone writes of cats; the name in config.json leads nowhere."""

    def about_cats(texts: list[str]) -> list[float]:
        return [float(text.startswith("cats")) for text in texts]

    fields = {"pretrain_steps": 80, "pretrain_lr": 0.02, "rounds": 40, "batch_size": 32, "num_rollouts": 0}
    model = textforge.fit(
        SENTENCES * 2, **FIELDS, **fields, objective=about_cats, objective_weight=1.0, g_lr=0.02, out=tmp_path / "run"
    )
    drawn = model.sample(200, seed=3)
    assert np.mean([text.startswith("cats") for text in drawn]) > 0.9
    settings = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["config"]
    assert (settings["objective"], settings["objective_weight"]) == ("<about_cats>", 1.0)
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in metrics.splitlines()]
    found = [(record["phase"], record["objective"]) for record in records if "objective" in record]
    before = [value for phase, value in found if phase == "pretrain"]
    assert before[-1] < 0.5
    assert found[-1][1] > 0.9
    assert load_text_model(tmp_path / "run").sample(2, seed=0) == model.sample(2, seed=0)


def test_lists_are_handed_over_as_lists(tmp_path: Path) -> None:
    seen: set[type] = set()

    def remember(rows: list[list[int]]) -> list[float]:
        seen.update(type(symbol) for row in rows for symbol in row)
        assert all(isinstance(row, list) for row in rows)
        return [float(len(row)) for row in rows]

    textforge.fit([[1, 2, 3], [2, 3], [3, 1]] * 8, method="seqgan", preset="tiny", objective=remember, rounds=1)
    assert seen <= {int, type(None)}
    assert int in seen


def test_a_method_without_a_reward_takes_no_objective() -> None:
    with pytest.raises(CallError, match="mle has no field 'objective'"):
        textforge.fit(SENTENCES, method="mle", preset="tiny", objective=wishes.first_words)


@pytest.mark.parametrize("method", ["gan", "gumbel_gan"])
def test_the_form_of_a_loss_is_no_objective(method: str) -> None:
    """The field of the same name in methods that learn by a gradient is left alone."""
    config = methods.configure(method, "tiny", {"objective": "minimax"})
    assert with_objective(config, TASK) == (config, TASK)
    with pytest.raises(CallError, match="--objective must be"):
        textforge.fit(SENTENCES, method="gumbel_gan", preset="tiny", objective=wishes.first_words)


def test_a_weight_of_0_only_measures() -> None:
    """The same training as without, number by number."""
    plain = textforge.fit(SENTENCES, **FIELDS)
    measured = textforge.fit(SENTENCES, **FIELDS, objective=wishes.first_words, objective_weight=0.0)
    mixed = textforge.fit(SENTENCES, **FIELDS, objective=wishes.first_words, objective_weight=0.5)
    for name, value in plain.generator.state_dict().items():  # type: ignore[attr-defined]
        assert torch.equal(value, measured.generator.state_dict()[name])  # type: ignore[attr-defined]
    assert mixed.log_prob(SENTENCES).tolist() != plain.log_prob(SENTENCES).tolist()


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("method", ["seqgan", "leakgan", "maskgan"])
def test_a_weight_is_a_share(method: str, weight: float) -> None:
    with pytest.raises(CallError, match="--objective-weight must be"):
        textforge.fit(SENTENCES, method=method, preset="tiny", objective_weight=weight)


def test_the_table_of_the_page_is_what_the_script_wrote() -> None:
    table = (ROOT / "benchmarks" / "results" / "objectives.txt").read_text(encoding="utf-8")
    assert table in (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")


# --- From the command line ---


def test_a_run_with_a_file_can_be_resumed_repeated_and_loaded_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_path: None
) -> None:
    """The name is kept in full; the file runs when a run is trained, and is not asked for when one is used."""
    monkeypatch.chdir(tmp_path)
    file, log = tmp_path / "mine.py", tmp_path / "log"
    file.write_text(
        f"with open({str(log)!r}, 'a') as log: log.write('imported ')\n"
        "def f(texts): return [len(t) / 20 for t in texts]\n",
        encoding="utf-8",
    )
    flags = ["--preset", "tiny", "--controls", "none", "--data", lines(tmp_path / "lines.txt", SENTENCES * 3)]
    said = call("train", "seqgan", *flags, "--objective", "mine.py:f", "--out", "run")
    assert said.status == 0, said.err
    settings = json.loads(Path("run/config.json").read_text(encoding="utf-8"))
    assert settings["config"]["objective"] == f"{file}:f"
    assert log.read_text(encoding="utf-8") == "imported "
    again = ["seqgan", "--resume", "--controls", "none", "--out", "run"]
    for arguments in (again, ["seqgan", "--config", "run", "--out", "other"]):
        said = call("train", *arguments)  # the folder could be of somebody else
        assert (said.status, f"training runs its code; if you know it, add --objective {file}:f" in said.reason) == (
            2,
            True,
        )
    assert log.read_text(encoding="utf-8") == "imported "
    assert call("train", *again, "--objective", "mine.py:f").status == 0
    assert log.read_text(encoding="utf-8") == "imported imported "
    said = call("train", "seqgan", *flags, "--objective", "mine.py:g", "--out", "other")
    assert (said.status, said.reason) == (2, "mine.py has no function 'g' for --objective; it has f")
    file.write_text("def f(texts): return [1 / 0]\n", encoding="utf-8")
    said = call("train", "seqgan", *flags, "--objective", "mine.py:f", "--out", "other")
    assert said.status == 1
    assert "the objective mine.py:f failed on the text 'cats sit': ZeroDivisionError" in said.reason
    assert not Path("other").exists()  # it is tried before anything is written
    file.unlink()
    assert call("sample", "run", "-n", "2").status == 0
    said = call("train", *again, f"--objective={file}:f")
    assert (said.status, f"there is no file {file} for --objective" in said.reason) == (2, True)


def test_a_run_from_before_objectives_and_networks_goes_on(tmp_path: Path) -> None:
    """What its config.json lacks is what there was then."""
    data = lines(tmp_path / "lines.txt", SENTENCES * 3)
    textforge.fit(data=data, method="seqgan", preset="tiny", rounds=1, pretrain_steps=1, out=tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    settings = json.loads(file.read_bytes())
    for name in ("network", "num_layers", "num_heads", "pretrained", "lora_rank", "objective", "objective_weight"):
        del settings["config"][name]
    file.write_text(json.dumps(settings), encoding="utf-8")
    said = call("train", "seqgan", "--resume", "--controls", "none", "--out", tmp_path / "run")
    assert said.status == 0, said.err
    said = call("train", "seqgan", "--resume", "--network", "transformer", "--out", tmp_path / "run")
    assert 'config.network was "lstm", is "transformer"' in said.reason


def test_a_run_with_a_function_of_a_program_cannot_be_resumed(tmp_path: Path) -> None:
    textforge.fit(
        data=lines(tmp_path / "lines.txt", SENTENCES),
        method="seqgan",
        preset="tiny",
        objective=lambda texts: [0.0] * len(texts),
        rounds=1,
        pretrain_steps=1,
        out=tmp_path / "run",
    )
    said = call("train", "seqgan", "--resume", "--out", tmp_path / "run")
    assert said.status == 2
    assert "the objective <lambda> was handed over by a program" in said.reason
