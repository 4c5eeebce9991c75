"""The documentation against the program: pages, links, commands, code, names of metrics, defaults, printed numbers."""

import ast
import dataclasses
import importlib
import itertools
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import DOCS, PAGES, ROOT, code_blocks, headings, inline_code, links, parsed, rows, slug, spans

import textforge
from textforge import cli, methods, results
from textforge.cli import (
    comparing,
    detecting,
    exporting,
    finding,
    parsing,
    replicating,
    sampling,
    serving,
    sweeping,
    training,
    using,
)
from textforge.errors import CallError
from textforge.options import Options
from textforge.oracles import grammar_file, worlds
from textforge.task import ORACLE_KINDS, load_task
from textforge.text import catalog

METHODS = methods.names()
HEADINGS = [
    "Idea",
    "Algorithm",
    "Use",
    "What is logged",
    "Paper, released code, TextForge",
    "Results here",
    "Known failure modes",
    "Citation",
]


def test_the_reader_of_tables_reads_them() -> None:
    found = {row[0].content: row[1].content for _, row in rows("docs/methods/mle.md", "What is logged")}
    assert found["`nll_train`"] == "the loss, nats per real token"
    assert "epochs" not in found  # another table of the page


# --- Pages ---


@pytest.mark.parametrize("name", METHODS)
def test_page_of_a_method_has_the_fixed_headings(name: str) -> None:
    page = f"docs/methods/{name}.md"
    assert [token.content for level, token in headings(page) if level == "h2"] == HEADINGS
    assert f"../../src/textforge/methods/{name}.py" in links(page)


def test_every_page_of_a_method_is_of_a_method_that_exists() -> None:
    assert {Path(page).stem for page in DOCS if page.startswith("docs/methods/")} == set(METHODS)


@pytest.mark.parametrize("page", PAGES)
def test_page_has_one_title(page: str) -> None:
    assert [level for level, _ in headings(page)].count("h1") == 1


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_resolve(page: str) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent.joinpath(path).resolve() if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        assert target.is_relative_to(ROOT)
        if anchor:
            there = str(target.relative_to(ROOT))
            assert anchor in {slug(token.content) for _, token in headings(there)}, f"{page} links to {link}"


def test_every_page_can_be_reached() -> None:
    """By following links from the README and from the page that opens the folder."""
    reached: set[str] = set()
    ahead = {"README.md", "docs/index.md"}
    while ahead:
        page = ahead.pop()
        reached.add(page)
        targets = (((ROOT / page).parent / link.partition("#")[0]).resolve() for link in links(page))
        ahead |= {str(path.relative_to(ROOT)) for path in targets if str(path).endswith(".md")} & {*PAGES} - reached
    assert reached == {*PAGES}


# --- The paper index ---


@pytest.mark.parametrize("name", METHODS)
def test_every_default_has_its_source(name: str) -> None:
    default = methods.find(name).Config()
    table = [row for _, row in rows("docs/paper_index.md", f"`{name}`")]
    assert [spans(row[0]) for row in table] == [[field.name] for field in dataclasses.fields(default)]
    for field, value, source, *said in table:
        (shown,) = spans(value)
        assert ast.literal_eval(shown) == vars(default)[field.content.strip("`")], field.content
        assert set(source.content.split(", ")) <= {"paper", "code", "ours"}, field.content
        assert len(said) == 2
        assert all(cell.content for cell in said), field.content


# --- Commands ---


class Read(Exception):
    """Carries what a command line was read into."""


def shell_commands(page: str) -> Iterator[list[str]]:
    """The words of each command in blocks of shell, and of those between backticks that hold no placeholder."""
    lines = [
        line.removeprefix("$ ")
        for language, text in code_blocks(page)
        if language in {"", "sh", "bash", "shell", "console"}
        for line in text.replace("\\\n", " ").splitlines()
    ]
    lines += [span for span in inline_code(page) if not re.search(r"\b[A-Z]{3,}\b", span)]
    for line in lines:
        if re.match(r"(\S*/)?(textforge|make|python\S*|head) ", line):
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            for operator, words in itertools.groupby(lexer, lambda word: set(word) <= set("|&;<>()")):
                if not operator:
                    yield list(words)


def arguments_of(command: list[str]) -> list[str] | None:
    """The arguments of a call of textforge; None for another program."""
    program = Path(command[0]).name
    if program == "textforge":
        return command[1:]
    return command[3:] if program.startswith("python") and command[1:3] == ["-m", "textforge"] else None


def read_only(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the command line's own parser makes of arguments, without doing it; None for requests for help."""

    def stop(options: type, rest: list[str], command: str) -> None:
        raise Read(parsing.parse(options, rest, command))

    with monkeypatch.context() as patch:
        for module in (
            comparing,
            detecting,
            exporting,
            finding,
            replicating,
            sampling,
            serving,
            sweeping,
            training,
            using,
        ):
            patch.setattr(module, "parse", stop)
        if "--config" in arguments:
            settings = {"method": arguments[1], "preset": "tiny", "data": "captions", "seed": 0, "max_length": 9}
            path = Path(arguments[arguments.index("--config") + 1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings | {"config": {}}), encoding="utf-8")
        try:
            cli.run(arguments)
        except Read as read:
            return read.args[0]
        except SystemExit as exit_:
            if exit_.code:
                raise
        return None


def require_known(data: str) -> None:
    """Refuse a name of a corpus that is neither known nor a path."""
    if not {".", "/"} & set(data):
        assert data.partition(":")[0] in ORACLE_KINDS | {*worlds.names(), *catalog.names()}, (
            f"there is no corpus {data}"
        )


@pytest.mark.usefixtures("documented_methods")
@pytest.mark.parametrize("page", PAGES)
def test_commands_parse(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for command in shell_commands(page):
        arguments = arguments_of(command)
        if arguments is not None and len(arguments) == 1 and arguments[0] in cli.COMMANDS:
            continue  # only named
        if arguments is not None:
            options = read_only(arguments, monkeypatch)
            if arguments[0] == "train" and options is not None:
                require_known(options.options.data)
            if arguments[0] == "data" and options.name is not None:
                known = catalog.names() if options.action == "fetch" else ORACLE_KINDS | {*worlds.names()}
                assert options.name.partition(":")[0] in known, command
        elif command[0] == "make":
            assert set(command[1:]) <= set(targets), command
        elif len(command) > 1 and command[1].endswith(".py"):
            assert (ROOT / command[1]).exists(), command


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md", *(f"docs/methods/{name}.md" for name in METHODS)])
def test_page_shows_commands(page: str) -> None:
    assert sum(arguments_of(command) is not None for command in shell_commands(page)) >= 2


def test_a_wrong_command_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("train seqgam", "train mle --presets tiny", "train mle --preset tini", "train mle --rounds 3"):
        with pytest.raises(CallError):
            read_only(wrong.split(), monkeypatch)


# --- Code ---

FILE = re.compile(r"# src/textforge/methods/(\w+\.py)\n")


@pytest.fixture
def documented_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the method files that the pages show beside the real ones, for one test."""
    files = [
        (match[1], text) for page in DOCS for _, text in code_blocks(page) if (match := FILE.match(text)) is not None
    ]
    folder = tmp_path / "methods"
    folder.mkdir()
    for name, text in files:
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    importlib.invalidate_caches()
    yield
    for name, _ in files:
        sys.modules.pop(f"textforge.methods.{Path(name).stem}", None)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make everything small: oracles give a few sequences, the preset `small` is `tiny`. Work in an empty folder."""
    monkeypatch.setattr("textforge.task.ORACLE_SIZES", {"train": 64, "valid": 32, "test": 32})
    for name in METHODS:
        presets: Any = methods.find(name).PRESETS
        monkeypatch.setitem(presets, "small", presets["tiny"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text("a man rides a horse\na dog sleeps on the mat\n" * 30, encoding="utf-8")


@pytest.mark.usefixtures("documented_methods", "small")
@pytest.mark.parametrize("page", [page for page in ("README.md", *DOCS) if page != "docs/results.md"])
def test_code_runs(page: str) -> None:
    """All Python of a page, from top to bottom, in one namespace; grammars are read."""
    namespace: dict[str, Any] = {"__name__": "page"}
    for language, text in code_blocks(page):
        if language == "python" and not FILE.match(text):
            exec(compile(text, page, "exec"), namespace)
        if language == "grammar":
            assert grammar_file.parse(text, page).scenes


def test_pages_that_promise_code_have_it() -> None:
    for page in ("docs/quickstart.md", "docs/extending.md", "docs/oracles.md"):
        assert sum(language == "python" for language, _ in code_blocks(page)) >= 2


@pytest.mark.usefixtures("documented_methods", "small")
def test_documented_method_is_one_like_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert {*methods.names()} - {*METHODS} == {"terminal"}
    assert isinstance(methods.find("terminal"), methods.Method)
    first, again = (textforge.fit(data="my.txt", method="terminal", preset="tiny", seed=seed) for seed in (1, 1))
    assert first.sample(5, seed=0) == again.sample(5, seed=0)
    cli.run(["methods"])
    assert re.search(r"^terminal +REINFORCE", capsys.readouterr().out, re.MULTILINE)


# --- Names of numbers ---

SIZES = {"N": "num_samples", "M": "num_references"}
PLACE = {"phase", "step", "iteration", "seconds"}


@pytest.fixture
def run(
    small: None, tmp_path: Path, request: pytest.FixtureRequest
) -> tuple[Path, textforge.Model | textforge.PointModel]:
    """A tiny run of a method on a language with modes, whose texts can be listed."""
    folder = tmp_path / "run"
    textforge.fit(data="arithmetic", method=request.param, preset="tiny", out=folder)
    return folder, textforge.load(folder)


def recorded(folder: Path) -> tuple[set[str], set[str]]:
    """The names in records of training, and in those of evaluations."""
    names: tuple[set[str], set[str]] = set(), set()
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if "warning" in record:
            continue
        names["nll_valid" in record].update(record.keys() - PLACE)
    return names


@pytest.mark.parametrize("run", METHODS, indirect=True)
def test_everything_that_a_method_logs_is_on_its_page(run: tuple[Path, textforge.Model | textforge.PointModel]) -> None:
    folder, model = run
    name = model.settings["method"]
    explained = {span for _, row in rows(f"docs/methods/{name}.md", "What is logged") for span in spans(row[0])}
    trained, evaluated = recorded(folder)
    assert trained <= explained <= trained | evaluated


def test_every_metric_has_a_heading_and_every_heading_a_metric(small: None, tmp_path: Path) -> None:
    """Of a generator with a likelihood and of one that noise drives."""
    printed, named = set[str](), dict[str, object]()
    for method in ("mle", "gumbel_gan"):
        folder = tmp_path / method
        model = textforge.fit(data="arithmetic", method=method, preset="tiny", out=folder)
        assert isinstance(model, textforge.Model)
        table, settings = results.run_rows(folder, model, load_task(Options(data="arithmetic")))
        printed |= {*(recorded(folder)[1] if method == "mle" else ()), *table[0].metrics}
        named |= settings
    explained = {span for level, token in headings("docs/metrics.md") if level == "h3" for span in spans(token)}
    errors = {name for name in printed if name.endswith("_se")}
    assert {re.sub(r"_\d+$", "_n", name) for name in printed - errors} == explained - {"<name>_se"}
    (sentence,) = (
        token for token in parsed("docs/metrics.md") if token.content.startswith("The standard error of `kl")
    )
    assert {f"{name}_se" for name in spans(sentence)} == errors
    assert named.keys() == {span for _, row in rows("docs/metrics.md", "Settings") for span in spans(row[0])}


# --- Numbers ---


def test_numbers_beside_a_command_are_what_it_prints(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows that begin with `textforge evaluate`, and whose columns are metrics, N or M."""
    monkeypatch.chdir(tmp_path)
    # No such row has them, and they take most of the time.
    monkeypatch.setattr(importlib.import_module("textforge.metrics.evaluate"), "clouds", lambda *_: {})
    for name, folder in {"coco": "image_coco_tok", "image-coco": "image_coco"}.items():
        (tmp_path / name).symlink_to(shared_data / folder)
    for path in (shared_data / "texygen_samples").iterdir():
        (tmp_path / path.name).symlink_to(path)
    for part in ("train", "test"):
        lines = (tmp_path / "image-coco" / f"{part}.txt").read_text(encoding="utf-8").splitlines(keepends=True)
        (tmp_path / f"{part}-500.txt").write_text("".join(lines[:500]), encoding="utf-8")
    checked = 0
    for header, (command, *cells) in rows("docs/metrics.md"):
        if not command.content.startswith("`textforge evaluate "):
            continue
        cli.run([*shlex.split(spans(command)[0])[1:], "--json"])
        printed = json.loads(capsys.readouterr().out)
        values = printed["metrics"] | {name: printed["settings"][key] for name, key in SIZES.items()}
        for column, cell in zip(header[1:], cells, strict=True):
            shown = float(cell.content.replace(",", ""))
            assert values[column.content.strip("`")] == pytest.approx(shown, abs=0.000501), command.content
            checked += 1
    assert checked >= 60
