"""The house rules that no type checker sees: who imports whom, what loads when, how large a file may be."""

import ast
import dataclasses
import importlib
import inspect
import os
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError

import textforge
import textforge.methods
from textforge import losses

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
METHODS = textforge.methods.names()


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter on the sources of this tree."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment)


def imported_by(*arguments: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter loads; the run must succeed."""
    done = python("-X", "importtime", *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    return set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", done.stderr, flags=re.MULTILINE))


# --- Who may import whom ---


def test_layers_hold() -> None:
    done = python(
        "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache", "--no-logo"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_package_loads_no_torch() -> None:
    loaded = imported_by("-c", "import textforge")
    assert "textforge" in loaded
    assert not loaded & {"torch", "numpy", "lightning_fabric", "tyro", "rich"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["methods", "--help"], ["sample", "--help"], ["sweep", "--help"]], ids=" ".join
)
def test_help_loads_no_torch(arguments: list[str]) -> None:
    loaded = imported_by("-m", "textforge", *arguments)
    assert "textforge.cli" in loaded
    assert not loaded & {"torch", "lightning_fabric", "ray", "tensorboard"}


def test_public_names_are_found_and_no_others() -> None:
    for name in textforge.__all__:
        assert name in dir(textforge)
        assert getattr(textforge, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        textforge.fitt  # noqa: B018 - the look-up itself is the test


# --- Every paper is one file of one form ---


def test_methods_are_discovered() -> None:
    assert "mle" in METHODS
    assert "seqgan" in METHODS


@pytest.mark.parametrize("name", METHODS)
class TestMethod:
    @pytest.fixture
    def method(self, name: str) -> ModuleType:
        return importlib.import_module(f"textforge.methods.{name}")

    def test_config_is_a_frozen_dataclass_with_defaults(self, method: ModuleType) -> None:
        config = method.Config()
        assert dataclasses.is_dataclass(config)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, dataclasses.fields(config)[0].name, None)

    def test_presets_are_configs(self, method: ModuleType) -> None:
        assert {"paper", "small", "tiny"} <= set(method.PRESETS)
        assert all(isinstance(preset, method.Config) for preset in method.PRESETS.values())

    def test_citation_is_bibtex(self, method: ModuleType) -> None:
        assert re.match(r"\s*@\w+\{[^,\s]+,", method.CITATION)
        assert all(field in method.CITATION for field in ("title", "author", "year"))

    def test_functions_have_the_common_signatures(self, method: ModuleType) -> None:
        if isinstance(method, textforge.methods.WorldMethod):
            assert list(inspect.signature(method.players).parameters) == ["config", "world"]
        else:
            assert list(inspect.signature(method.networks).parameters) == ["config", "vocabulary", "max_length"]
        assert list(inspect.signature(method.train).parameters) == ["config", "task", "run"]

    def test_module_says_which_paper_it_is(self, method: ModuleType) -> None:
        assert method.__doc__


# --- Files ---


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_source_file_is_small_and_named_for_its_subject(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_annotations_stay_live(path: Path) -> None:
    """Postponed annotations are strings, and then no shape is ever checked."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    futures = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert not futures


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_is_disabled(path: Path) -> None:
    """`skipif` states its condition and may stay; the one unconditional `skip` is that of absent corpora."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    switched_off = [name for name in calls if name in {"skip", "xfail", "importorskip", "skipTest"}]
    assert switched_off == (["skip"] if path == ROOT / "tests" / "conftest.py" else [])


# --- The suite itself ---


def test_tests_run_on_one_thread() -> None:
    assert torch.get_num_threads() == 1


def test_shapes_are_checked() -> None:
    log_probs = torch.zeros(2, 3)
    losses.nll(log_probs, torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(TypeCheckError):
        losses.nll(log_probs, torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(TypeCheckError):
        losses.nll(log_probs, torch.ones(2, 3))


def test_the_network_is_out_of_reach() -> None:
    with pytest.raises(RuntimeError, match="reached for the network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)  # an address reserved for documentation
    with pytest.raises(RuntimeError, match="reached for the network"):
        socket.getaddrinfo("example.invalid", 80)


def test_version_has_an_entry_in_the_changelog() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"


def test_torch_is_pinned_where_it_was_tested() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert "torch==2.13.0" in pins
    assert not [line for line in pins if "://" in line or line.startswith("-")]


def test_wheel_carries_every_file_of_the_package() -> None:
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["src/textforge"]}
