"""The ledger against the program: its form, its commands, its page, and what other pages quote from it."""

import dataclasses
import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
from pages import ROOT, inline_code
from test_docs import read_only, require_known

from textforge import methods, replication
from textforge.errors import CallError
from textforge.replication import Ours, as_toml, words

LEDGER = replication.read()
COMMANDS = [(row.name, command) for row in LEDGER.rows for command in row.arguments(0, "runs", "corpora")]


def row(name: str) -> replication.Row:
    return LEDGER.find(name)


# --- Form ---


def test_every_paper_of_the_package_is_there() -> None:
    assert {*methods.names()} - {"mle"} <= {row.paper for row in LEDGER.rows} == LEDGER.papers.keys()


def test_names_are_slugs() -> None:
    for entry in LEDGER.rows:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name)


def test_every_file_is_read_by_some_row() -> None:
    assert {name for entry in LEDGER.rows for name in entry.files} == LEDGER.files.keys()


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(CallError, match="did you mean 'seqgan-oracle-mle'"):
        LEDGER.find("seqgan-oracle-mel")


GOOD = """
[papers]
ours = "A paper"

[files]
"toy.txt" = "some lines"

[[row]]
name = "a-row"
paper = "ours"
where = "table 1"
quantity = "NLL"
protocol = "As it is."
status = "run"
values = [{ metric = "nll_test", published = "1.50" }]
commands = [
  "textforge train mle --data {files}/toy.txt --seed {seed} --resume --out {out}/toy-{seed}",
  "textforge evaluate {out}/toy-{seed} --json",
]
files = ["toy.txt"]
seeds = 2
minutes = 1

[row.ours]
date = 2026-01-31
version = "0.1.0"
seeds = [0, 1]
nll_test = [1.49, 1.53]
"""


def test_a_ledger_is_read_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "ledger.toml").write_text(GOOD, encoding="utf-8")
    (only,) = replication.read(tmp_path / "ledger.toml").rows
    assert only.values == (replication.Value("nll_test", "1.50"),)
    assert only.ours == Ours("2026-01-31", "0.1.0", (0, 1), {"nll_test": (1.49, 1.53)})
    assert only.arguments(3, "a", "b") == [
        ["textforge", "train", "mle", "--data", "b/toy.txt", "--seed", "3", "--resume", "--out", "a/toy-3"],
        ["textforge", "evaluate", "a/toy-3", "--json"],
    ]
    assert only.arguments(0, "", "")[1] == ["textforge", "evaluate", "toy-0", "--json"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('status = "run"', 'status = "done"'),
        ('status = "run"', 'status = "not-comparable"'),
        ('paper = "ours"', 'paper = "theirs"'),
        ('files = ["toy.txt"]', "files = []"),
        ('files = ["toy.txt"]', 'files = ["toy.txt", "other.txt"]'),
        ('"toy.txt" = "some lines"', ""),
        ("--out {out}/toy-{seed}", "--out toy-{seed}"),
        ("--resume ", ""),
        (" --json", ""),
        ("toy-{seed} --json", "toy-{seed} --json --out x"),
        ('"textforge train', '"python train'),
        ("seeds = 2", "seeds = 0"),
        ("minutes = 1", "minutes = 0"),
        ("nll_test = [1.49, 1.53]", "nll_test = [1.49]"),
        ("nll_test = [1.49, 1.53]", "nll_valid = [1.49, 1.53]"),
        ("[row.ours]\n", '[[row]]\nname = "a-row"\n[row.ours]\n'),
        ('values = [{ metric = "nll_test", published = "1.50" }]', "values = []"),
        ('published = "1.50" }', 'published = "1.50" }, { metric = "nll_test" }'),
    ],
)
def test_a_malformed_ledger_is_refused(old: str, new: str, tmp_path: Path) -> None:
    assert GOOD.count(old) >= 1
    (tmp_path / "ledger.toml").write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises((AssertionError, KeyError, TypeError)):
        replication.read(tmp_path / "ledger.toml")


@pytest.mark.parametrize("published", ["about 2", ".", "1,000"])
def test_a_published_number_is_a_number(published: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.toml").write_text(GOOD.replace("1.50", published), encoding="utf-8")
    with pytest.raises(ValueError, match="could not convert"):
        replication.read(tmp_path / "ledger.toml")


def test_unmeasured_rows_say_why(tmp_path: Path) -> None:
    without, _, _ = GOOD.partition("[row.ours]")
    (tmp_path / "ledger.toml").write_text(without, encoding="utf-8")
    with pytest.raises(AssertionError, match="neither measured nor a reason"):
        replication.read(tmp_path / "ledger.toml")


@pytest.mark.parametrize("seeds", [(), (0, 1, 2)])
def test_a_measurement_is_pasted_as_it_was_made(seeds: tuple[int, ...]) -> None:
    ours = Ours("2026-01-31", "0.1.0", seeds, {"bleu_2": tuple(0.1234567 + seed for seed in seeds or (0,))})
    (table,) = tomllib.loads("[[row]]\nname = 'x'\n\n" + as_toml(ours))["row"]
    assert str(table["ours"]["date"]) == ours.date
    assert tuple(table["ours"]["seeds"]) == seeds
    assert tuple(table["ours"]["bleu_2"]) == ours.values["bleu_2"]


# --- Commands ---


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=lambda part: part if isinstance(part, str) else "")
def test_command_parses(name: str, command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    options = read_only(command[1:], monkeypatch)
    if command[1] == "train":
        require_known(options.options.data)
        assert dataclasses.is_dataclass(options.fields)
        assert options.place.resume


def test_rows_that_share_a_run_train_it_alike() -> None:
    runs = defaultdict[str, set[tuple[str, ...]]](set)
    for entry in LEDGER.rows:
        for command in entry.commands:
            if command[1] == "train":
                runs[command[command.index("--out") + 1]].add(command)
    assert max(map(len, runs.values())) == 1


def test_what_is_read_is_what_an_evaluation_prints() -> None:
    explained = {*inline_code("docs/metrics.md")}
    for entry in LEDGER.rows:
        if entry.status != "not-comparable":
            for value in entry.values:
                assert {value.metric, re.sub(r"_\d+$", "_n", value.metric)} & explained, (entry.name, value.metric)


# --- Pages ---


def test_page_is_the_ledger() -> None:
    """Written by `textforge replicate --markdown > docs/replication.md`."""
    assert (ROOT / "docs" / "replication.md").read_text(encoding="utf-8") == words.page(LEDGER)


def test_page_shows_every_row_and_every_number() -> None:
    page = words.page(LEDGER)
    for entry in LEDGER.rows:
        section = page.partition(f"### `{entry.name}`\n")[2].partition("\n### ")[0]
        for value in entry.values:
            (line,) = (line for line in section.splitlines() if line.replace("`", "").startswith(f"| {value.metric} |"))
            assert words.printed(value) in line
        assert (entry.ours is None) == ("Measured " not in section)


NUMBER = r"(\d*\.\d+)"
FOUR = " ".join([NUMBER] * 4)
QUOTED = [
    ("docs/results.md", rf"the paper's MLE: {NUMBER}", "seqgan-oracle-mle", ["nll_oracle"]),
    ("docs/methods/leakgan.md", rf"reaches {NUMBER} \(Caccia et al\.\)", "caccia-oracle-mle-sharp", ["nll_oracle"]),
    ("docs/methods/leakgan.md", rf"below LeakGAN's {NUMBER} ", "leakgan-oracle-leakgan", ["nll_oracle"]),
    (
        "docs/methods/textgan_workshop.md",
        rf"the paper ends at about {NUMBER} ",
        "textgan-workshop-fooled",
        ["D of written sentences"],
    ),
    ("docs/metrics.md", rf"paper prints {NUMBER};", "leakgan-oracle-real", ["nll_oracle"]),
    ("docs/metrics.md", rf"Caccia et al\. report\s+{NUMBER} for maximum", "caccia-oracle-mle", ["nll_oracle"]),
    ("docs/metrics.md", rf"sharpened first {NUMBER}, then", "caccia-oracle-mle-sharp", ["nll_oracle"]),
    ("docs/metrics.md", rf", then {NUMBER}, below every GAN", "caccia-oracle-mle-greedy", ["nll_oracle"]),
    (
        "docs/metrics.md",
        rf"BLEU-2 to 5 of {FOUR} at\s+Self-BLEU {FOUR}, where",
        "caccia-news-models",
        [f"MLE, temperature 0.8, {kind}BLEU-{n}" for kind in ("", "Self-") for n in (2, 3, 4, 5)],
    ),
    (
        "docs/metrics.md",
        rf"where LeakGAN has {FOUR} at {FOUR}, behind",
        "caccia-news-models",
        [f"LeakGAN, {kind}BLEU-{n}" for kind in ("", "Self-") for n in (2, 3, 4, 5)],
    ),
]


@pytest.mark.parametrize(("page", "pattern", "name", "names"), QUOTED)
def test_other_pages_quote_the_same_numbers(page: str, pattern: str, name: str, names: list[str]) -> None:
    published = {value.metric: value for value in row(name).values}
    (found,) = re.finditer(pattern, (ROOT / page).read_text(encoding="utf-8"))
    for metric, quoted in zip(names, found.groups(), strict=True):
        value = published[metric]
        assert value.published is not None
        digits = len(quoted.partition(".")[2])
        assert float(quoted) == round(float(value.published), digits), metric


def test_measured_columns_are_finite_and_intervals_hold_their_means() -> None:
    for entry in LEDGER.rows:
        for column in entry.ours.values.values() if entry.ours else ():
            assert all(abs(value) < 1e6 for value in column)
            if (found := words.interval(column)) is not None:
                assert found.low <= found.value <= found.high
                assert found.value == pytest.approx(sum(column) / len(column))


def test_the_strongest_replication_holds() -> None:
    """The published sample files give the published numbers: no difference beyond .001."""
    for name in ("texygen-coco-mle", "texygen-coco-leakgan"):
        entry = row(name)
        assert entry.ours is not None
        for value in entry.values:
            assert value.published is not None
            assert entry.ours.values[value.metric][0] == pytest.approx(float(value.published), abs=0.001)
