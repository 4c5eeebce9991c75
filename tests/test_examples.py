"""The scripts in examples/: each runs with --fast on its own sample and on a file, and judges as it says."""

import itertools
import json
import random
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
Run = Callable[..., str]

FILES = {
    "captions": ("two dogs run on the beach\na cat sleeps on the mat\n" * 40, ["samples:", "real text", "self_bleu_4"]),
    "chinese_poems": (
        "山 月 白 ， 孤 舟 归 。\n江雨细，老僧眠。\n" * 20,
        ["verses of 3, 3 characters", "held-out poems  100.0%"],
    ),
    "molecules": ("CCO\nc1ccccc1N\nCC(=O)O\n" * 20, ["held-out molecules  100.0% are valid"]),
    "dna": ("ATGGCTAAATAA\nATGTTCGGTGATTGA\n" * 30, ["held-out genes  100.0%", "drawn as genes  100.0%"]),
    "event_codes": (
        "".join(json.dumps(codes) + "\n" for codes in [["in", "heart failure", "out"], ["in", "E11", "out"]] * 30),
        ["of 4 codes, the 1 rarest are: ", "of the visits are copies"],
    ),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a script with arguments in an empty folder, in which it must leave nothing, and return what it printed."""

    def run(name: str, *arguments: str | Path) -> str:
        folder = tmp_path / "here"
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        assert not any(folder.iterdir())
        return capsys.readouterr().out

    return run


def of(name: str) -> dict[str, Any]:
    """The functions of a script, which is not run."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_every_script_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*FILES, "augmentation", "own_data", "reviews"}


@pytest.mark.parametrize("name", FILES)
def test_script_reads_a_file(name: str, run: Run, tmp_path: Path) -> None:
    text, expected = FILES[name]
    path = tmp_path / "mine.txt"
    path.write_text(text, encoding="utf-8")
    printed = run(name, path, "--fast")
    for words in expected:
        assert words in printed, printed


@pytest.mark.parametrize("name", FILES)
def test_sample_of_its_own_is_what_it_says(name: str) -> None:
    """The built-in data passes the script's own check, so that real text has its honest value."""
    module = of(name)
    match name:
        case "chinese_poems":
            assert {module["form"](poem) for poem in module["OWN"]} == {(4, 5)}
        case "molecules":
            assert all(map(module["looks_valid"], module["OWN"]))
        case "dna":
            assert all(module["re"].fullmatch(module["GENE"], gene) for gene in module["own"](200))
        case "event_codes":
            assert all(visit[0] == "admitted" and visit[-1] == "discharged" for visit in module["own"](200))


@pytest.mark.parametrize(
    ("smiles", "valid"),
    [
        ("CC(=O)Oc1ccccc1C(=O)O", True),
        ("C[C@@H]1CC(Nc2cncc(-c3nncn3C)c2)C[C@@H](C)C1", True),
        ("[NH4+].[Cl-]", True),
        ("C%12CCCC%12", True),
        ("", False),
        ("CC(", False),
        ("CC)C", False),
        ("C()C", False),
        ("C1CC", False),
        ("CC=", False),
        ("C[NH", False),
        ("CXC", False),
    ],
)
def test_form_of_molecules(smiles: str, valid: bool) -> None:
    assert of("molecules")["looks_valid"](smiles) is valid


@pytest.mark.parametrize(
    ("gene", "read"),
    [("ATGTAA", True), ("ATGGCTTGA", True), ("ATGTAATGA", False), ("ATGGCTA", False), ("GCTTAA", False)],
)
def test_gene_has_one_stop_at_its_end(gene: str, read: bool) -> None:
    module = of("dna")
    assert (module["re"].fullmatch(module["GENE"], gene) is not None) is read


def test_classifier_learns_what_can_be_learnt() -> None:
    score = of("augmentation")["balanced_accuracy"]
    train = [("up", "good day"), ("up", "good food"), ("down", "bad day")]
    assert score(train, [("up", "good"), ("down", "bad"), ("down", "bad food")]) == 1.0
    assert score(train, [("up", "bad"), ("up", "good"), ("down", "bad")]) == 0.75


def test_lopsided_sets_share_no_text_and_are_filled() -> None:
    module = of("augmentation")
    train, test = module["lopsided"](module["OWN"], 20, 5, seed=0)
    assert len(train) == 25
    assert not {*train} & {*test}
    full = module["filled"](train, 0, None)
    assert len(full) == 40
    assert {*full} == {*train}


def test_verdict_needs_an_interval_without_zero() -> None:
    verdict = of("augmentation")["verdict"]
    chance = random.Random(0)
    base = [chance.random() for _ in range(10)]
    noise = [chance.gauss(0, 0.02) for _ in base]
    moved = [[b + n + shift for b, n in zip(base, noise, strict=True)] for shift in (0.1, -0.1)]
    assert verdict(moved[0], base).endswith(": a gain")
    assert verdict(moved[1], base).endswith(": a loss")
    centred = [b + n - sum(noise) / len(noise) for b, n in zip(base, noise, strict=True)]
    assert verdict(centred, base).endswith(": no gain")


def test_augmentation_runs(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    lines = [f"{'ab'[i % 2]}\tthe {['good', 'bad'][i % 2]} {word} {i}\n" for i, word in enumerate(["x", "y"] * 60)]
    path.write_text("".join(lines), encoding="utf-8")
    printed = run("augmentation", path, "--fast", "--many", "20", "--few", "8")
    assert printed.count("balanced accuracy") == 3
    assert printed.count(": no gain") + printed.count(": a gain") + printed.count(": a loss") == 2


def test_reviews_are_what_they_are_called() -> None:
    """The parts share no line by place, and a classifier tells the classes of the script's own text apart."""
    module = of("reviews")
    data = module["own"](800)
    parts = module["parted"](data)
    assert [len(part) for part in parts] == [400, 200, 200]
    assert sorted(itertools.chain(*parts)) == sorted(data)
    classifier = module["NaiveBayes"](parts[0])
    for label in ("praise", "blame", "question"):
        texts = [text for mine, text in parts[2] if mine == label]
        assert module["share"](texts, label, classifier) > 0.8
        others = [text for mine, text in parts[2] if mine != label]
        assert module["share"](others, label, classifier) < 0.2


def test_reviews_run(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    rows = [f"{'ab'[i % 2]}\tthe {['good', 'bad'][i % 2]} {word} {i}\n" for i, word in enumerate(["x", "y"] * 60)]
    path.write_text("label\ttext\n" + "".join(rows), encoding="utf-8")
    printed = run("reviews", path, "--fast")
    assert re.search(r"^labels: '[ab]' \d+, '[ab]' \d+$", printed, re.MULTILINE)
    for label in "ab":
        assert re.search(rf"^  {label} +samples +\d+ +[\d.]+% +[\d.]+%$", printed, re.MULTILINE)
    assert "by the generator: " in printed
    assert "by naive Bayes on its texts: 100.0%" in printed
