"""The catalogue fits the code, and the harness tells a caught bug from one that survived and from one that broke."""

from pathlib import Path

import pytest
from mutants.run import CATALOGUE, ROOT, Mutant, Tree, attempt, exit_status, main, read_catalogue

WHOLE = read_catalogue(CATALOGUE)


@pytest.mark.parametrize("mutant", WHOLE, ids=lambda mutant: mutant.name)
def test_mutant_applies_exactly_once(mutant: Mutant) -> None:
    assert mutant.apply(ROOT) != (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.file.startswith("src/")
    assert mutant.tests
    for selection in mutant.tests:
        assert (ROOT / selection.split("::")[0]).exists(), f"there is no: {selection}"


def test_mutants_have_names_of_their_own() -> None:
    assert len({mutant.name for mutant in WHOLE}) == len(WHOLE)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one function, and a test that sees some of it."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "src").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = src\n", encoding="utf-8")
    (tmp_path / "src" / "double.py").write_text("def double(n):\n    return n + n  # twice\n", encoding="utf-8")
    (tmp_path / "tests" / "test_double.py").write_text(
        "from double import double\n\n\ndef test_double():\n    assert double(2) == 4\n", encoding="utf-8"
    )
    return tmp_path


def bug(old: str, new: str, test: str = "tests/test_double.py") -> Mutant:
    return Mutant("double", "a bug", "src/double.py", old, new, (test,))


def test_only_an_ordinary_failure_counts_as_caught(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = Tree(root, tmp_path_factory.mktemp("copy"))
    assert attempt(bug("n + n", "n + 1"), tree, timeout=60).verdict == "caught"
    assert attempt(bug("n + n", "n * n"), tree, timeout=60).verdict == "SURVIVED"
    assert attempt(bug("def double", "def triple"), tree, timeout=60).verdict == "ERROR 2"  # no test was collected
    assert attempt(bug("return n + n", "while n: pass"), tree, timeout=0.5).verdict == "HANGS"
    source = Path("src", "double.py")
    assert (tree.folder / source).read_text(encoding="utf-8") == (root / source).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("n - n", "n + 1", "stands 0 times"),
        ("n", "m", r"stands \d+ times"),
        ("n + n", "n +", "is not Python"),
        ("n + n", "n + n", "equals the old"),
    ],
)
def test_a_bug_that_cannot_be_planted_is_refused(root: Path, old: str, new: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        bug(old, new).apply(root)


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ({"caught"}, 0),
        ({"caught", "SURVIVED"}, 1),
        ({"caught", "SURVIVED", "HANGS"}, 2),
        ({"DOES NOT APPLY"}, 2),
        ({"ERROR 4"}, 2),
    ],
)
def test_exit_status(verdicts: set[str], status: int) -> None:
    assert exit_status(verdicts) == status


def test_workers_do_not_see_each_other(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(root, [bug("n + n", "n + 1"), bug("n + n", "2 * n"), bug("n + n", "n + 3")], jobs=2) == 1
    verdicts = [line.split()[1] for line in capsys.readouterr().out.splitlines()[:3]]
    assert verdicts == ["caught", "SURVIVED", "caught"]


def test_the_tests_must_pass_and_exist_before_a_bug_is_planted(root: Path) -> None:
    (root / "tests" / "test_wrong.py").write_text("def test_wrong():\n    assert False\n", encoding="utf-8")
    assert main(root, [bug("n + n", "n + 1", test="tests/test_wrong.py")], jobs=1) == 2
    assert main(root, [bug("n + n", "n + 1", test="tests/test_double.py::test_absent")], jobs=1) == 2
