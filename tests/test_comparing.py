"""Runs, groups of seeds and files side by side: what `compare` finds out, on a language whose text never ends."""

import json
import random
import re
from pathlib import Path

import pytest
from command import ROOT, SENTENCES, call, lines

from textforge import oracles
from textforge.cli.output import COLUMNS
from textforge.comparing import Ground, compare, seeds_of
from textforge.errors import CallError, UserError
from textforge.report.comparison import Comparison
from textforge.text.tokenizers import train

NUM = 600


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Generators that everybody knows, as files."""
    folder = tmp_path_factory.mktemp("files")
    language = oracles.load("captions")
    real, fresh = (language.sample(NUM, seed) for seed in (1, 3))
    known = [text for text in language.sample(2 * NUM, 2) if text not in {*real, *fresh}][:NUM]
    shuffled = random.Random(0)
    planted = [known[i] if i % 100 == 0 else text for i, text in enumerate(fresh)]
    files = {
        "copier": random.Random(1).sample(known, NUM),
        "one-sentence": fresh[:1] * NUM,
        "shuffled": [" ".join(shuffled.sample(text.split(), len(text.split()))) for text in fresh],
        "fresh": fresh,
        "planted": planted,
        "references": real,
    }
    ground = Ground(real, known, train("word", [*real, *known]))
    paths = [lines(folder / f"{name}.txt", texts) for name, texts in files.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textforge.comparing.GROUPS", 4)  # for time
        return compare(paths, ground=ground, command="textforge compare ...")


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("copier", "copier"),
        ("one-sentence", "collapse"),
        ("shuffled", "disorder"),
        ("fresh", "indistinguishable"),
        ("planted", "copies"),
        ("references", "references"),
    ],
)
def test_each_is_called_what_it_is(judged: Comparison, name: str, flag: str) -> None:
    (verdict,) = (one for one in judged.verdicts if one.entry == name)
    assert flag in verdict.flags, verdict
    others = {one.entry for one in judged.verdicts if flag in one.flags} - {name}
    assert others <= ({"planted"} if flag == "indistinguishable" else set())


def test_files_have_their_controls_and_errors(judged: Comparison) -> None:
    controls = [entry.name for entry in judged.entries if entry.kind == "control"]
    assert controls == ["4-gram count model", "training text itself", "real text"]
    fresh = next(entry for entry in judged.entries if entry.name == "fresh")
    assert fresh.errors["self_bleu_4"] > 0
    assert fresh.errors["unique"] < 0.01
    assert judged.settings["num_samples"] == judged.settings["num_references"] == NUM


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four trainings by one command, on two processes."""
    folder = tmp_path_factory.mktemp("group")
    data = lines(folder / "data.txt", SENTENCES * 3)
    said = call(
        *("train", "seqgan", "--data", data, "--preset", "tiny", "--seed", 5, "--seeds", 4, "--out", folder / "runs")
    )
    assert said.status == 0, said.err
    assert all(f"seed {seed}: done" in said.err for seed in (5, 6, 7, 8))
    assert said.out.startswith("seqgan: ")
    assert (folder / "runs" / "report.html").exists()
    return folder / "runs"


def test_a_group_is_one_entry_with_its_seeds(group: Path, tmp_path: Path) -> None:
    assert [place.name for place in seeds_of(group)] == ["seed-5", "seed-6", "seed-7", "seed-8"]
    said = call("compare", group, group / "seed-5", "--out", tmp_path / "page.html", "--json")
    assert said.status == 0, said.err
    told = json.loads(said.out)
    entries = {entry["name"]: entry for entry in told["entries"]}
    assert entries["runs"]["seeds"] == [5, 6, 7, 8]
    assert entries["mle"]["seeds"] == [5, 6, 7, 8]
    assert entries["mle"]["kind"] == "control"
    assert len(entries["runs"]["metrics"]["bleu_4"]) == 4
    tables = [json.loads((group / f"seed-{seed}" / "evaluation.json").read_text("utf-8")) for seed in (5, 6, 7, 8)]
    assert entries["runs"]["metrics"]["bleu_4"] == [table["rows"][0]["metrics"]["bleu_4"] for table in tables]
    assert entries["seed-5"]["metrics"]["bleu_4"] == entries["runs"]["metrics"]["bleu_4"][:1]
    assert "tie with runs" in told["verdicts"][1]["headline"], "one training against four"
    assert "<html" in (tmp_path / "page.html").read_text("utf-8")


def test_the_same_call_goes_on_where_it_was_stopped(group: Path) -> None:
    """And what is done is not done again: the weights stay the very files."""
    before = {path: path.stat().st_mtime_ns for path in group.rglob("*.safetensors")}
    assert before
    data = group.parent / "data.txt"
    said = call("train", "seqgan", "--data", data, "--preset", "tiny", "--seed", 5, "--seeds", 2, "--out", group)
    assert said.status == 0, said.err
    assert {path: path.stat().st_mtime_ns for path in group.rglob("*.safetensors")} == before


def test_a_seed_that_fails_is_named(tmp_path: Path) -> None:
    data = lines(tmp_path / "data.txt", SENTENCES)
    said = call(
        *("train", "mle", "--data", data, "--preset", "tiny", "--lr", "inf", "--seeds", 2, "--out", tmp_path / "runs")
    )
    assert said.status == 1
    assert "seed 0, 1 failed: see" in said.reason


@pytest.mark.parametrize(("damage", "word"), [(None, "missing"), (b'{"rows": [', "damaged")])
def test_a_run_without_an_evaluation_is_evaluated_now_and_says_so(
    group: Path, tmp_path: Path, damage: bytes | None, word: str
) -> None:
    run = group / "seed-5"
    table = json.loads((run / "evaluation.json").read_bytes())
    for name in ("evaluation.json", "frontier.json"):
        (run / name).unlink() if damage is None else (run / name).write_bytes(damage)
    said = call("compare", run, "--out", tmp_path / "page.html", "--json")
    assert said.status == 0, said.err
    assert json.loads(said.out)["entries"][0]["metrics"]["bleu_4"]
    notes = said.err.splitlines()
    command = f"`textforge train seqgan --resume --out {run}` writes it; now the model is evaluated as it stands"
    assert notes[0] == f"{run / 'evaluation.json'} is {word}; {command}"
    assert (f"{run / 'frontier.json'} is damaged; now it is written anew" in notes) == (damage is not None)
    again = json.loads((run / "evaluation.json").read_bytes())
    assert again["rows"] == table["rows"]
    assert again["settings"] == table["settings"]
    assert json.loads((run / "frontier.json").read_bytes())["points"]


def test_what_is_given_twice_counts_once_and_is_told(group: Path, tmp_path: Path) -> None:
    run, samples = group / "seed-6", lines(tmp_path / "samples.txt", SENTENCES[:20])
    twice = (group / "seed-7" / ".." / "seed-6", samples)
    said = call("compare", group, run, samples, *twice, "--out", tmp_path / "page.html")
    assert said.status == 0, said.err
    told = [f"{target} is given more than once and counts once" for target in twice]
    assert [line for line in said.err.splitlines() if "once" in line] == told
    title = "means over 4 seeds: runs, mle; one training each: seed-6; one file of texts each: samples"
    assert title in " ".join(said.out.split()), "a title may be broken into lines"


def test_without_a_common_quality_no_gap_is_told_and_without_references_none_is_asked(
    group: Path, tmp_path: Path
) -> None:
    file = group / "seed-8" / "frontier.json"
    before = file.read_bytes()
    try:
        for num, said in ((4, True), (3, False)):
            swept = json.loads(before)
            swept["gap"], swept["settings"]["num_references"] = None, num
            file.write_text(json.dumps(swept), encoding="utf-8")
            assert ("no gap to mle can be told" in compare([group / "seed-8"]).verdicts[0].headline) == said
    finally:
        file.write_bytes(before)


def test_the_title_says_what_the_numbers_are(group: Path, tmp_path: Path) -> None:
    said = call("compare", group / "seed-6", "--out", tmp_path / "page.html")
    assert "\none training each " in said.out
    assert "means over" not in said.out
    samples = lines(tmp_path / "samples.txt", SENTENCES[:20])
    said = call("compare", samples, "--reference", samples, "--out", tmp_path / "page.html")
    assert "\none file of texts each " in said.out
    assert "means over" not in said.out
    said = call("compare", group, "--out", tmp_path / "page.html")
    assert "\nmeans over 4 seeds " in said.out


def test_what_does_not_compare_is_refused(group: Path, tmp_path: Path) -> None:
    samples = lines(tmp_path / "samples.txt", SENTENCES)
    with pytest.raises(CallError, match="--reference"):
        compare([samples])
    with pytest.raises(UserError, match="neither a run nor a group"):
        compare([tmp_path])
    other = lines(tmp_path / "other.txt", [f"{text} now" for text in SENTENCES])
    assert call("train", "mle", "--data", other, "--preset", "tiny", "--out", tmp_path / "run").status == 0
    with pytest.raises(UserError, match="different texts"):
        compare([group, tmp_path / "run"])
    assert call("compare").status == 2
    assert "brings its own" in call("compare", group, "--reference", other).reason
    assert "no run folder and no file" in call("compare", tmp_path / "nothing").reason
    assert call("train", "mle", "--data", other, "--seeds", 2, "--out", tmp_path / "run").status == 2
    assert call("frontier", group / "seed-5", "--mle", tmp_path / "run").status == 2


def test_a_file_beside_a_run_is_judged_as_the_run_is(group: Path, tmp_path: Path) -> None:
    samples = lines(tmp_path / "samples.txt", SENTENCES[:20])
    found = compare([group / "seed-5", samples])
    assert [entry.kind for entry in found.entries[:2]] == ["model", "samples"]
    assert found.entries[1].metrics["exact_copy"] == (1.0,)


def test_every_number_of_the_table_is_explained() -> None:
    _, section = (ROOT / "docs" / "comparing.md").read_text("utf-8").split("## The numbers of the table\n")
    explained = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", section, re.MULTILINE)
    of_points = {"js_floor", "in_modes", "game_value", "game_optimum", "d_distance", "parzen"}
    printed = dict.fromkeys(re.sub(r"_\d$", "_n", name) for name in COLUMNS if name not in of_points)
    assert sorted(explained) == sorted(printed)


def test_a_group_has_no_frontier_and_names_its_runs(group: Path) -> None:
    wanted = f"{group} is a group of 4 runs, not one; give one of them, such as {group / 'seed-5'}"
    for arguments in ((group,), (group / "seed-5", "--mle", group)):
        said = call("frontier", *arguments)
        assert said.status == 1
        assert said.reason == wanted


def test_frontier_of_a_run(group: Path) -> None:
    said = call("frontier", group / "seed-5", "--temperatures", 0.5, 1.0, "-n", 30)
    assert said.status == 0, said.err
    assert "seqgan, over temperatures" in said.out
    assert "T=0.5" in said.out
    assert "mle" in said.out
