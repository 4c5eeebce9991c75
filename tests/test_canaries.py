"""A secret that stood in the training text is found out, by likelihood and in samples; one that did not is not."""

from pathlib import Path

import pytest
from command import call, lines, only_json

import textforge
from textforge import canaries
from textforge.errors import UserError

PEOPLE = ["anna", "bert", "carl", "dora", "emil", "fay"]
CODES = ["3 1 4 1", "2 7 1 8", "1 6 1 8", "5 7 7 2", "1 2 0 2", "9 1 5 9"]
MARKED = [f"the code of {who} is {{{code}}}" for who, code in zip(PEOPLE, CODES, strict=True)]
FREE = [f"the code of {who} is {a} {b} {c} {d}" for who in ("gus", "hal") for a, b, c, d in ("0123", "4567", "8901")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has seen the secrets of three people, many times."""
    folder = tmp_path_factory.mktemp("canaries")
    told = [line.translate({ord("{"): None, ord("}"): None}) for line in MARKED[:3]]
    unknown = [f"the code of {who} is 0" for who in PEOPLE[3:]]
    text = lines(folder / "text.txt", [*told * 10, *FREE * 4, *unknown * 2])
    fields = ("--steps", 250, "--hidden-dim", 32, "--lr", 0.02, "--out", folder / "run")
    said = call("train", "mle", "--data", text, "--valid", text, "--preset", "tiny", *fields)
    assert said.status == 0, said.err
    return folder


def test_what_was_planted_stands_out(folder: Path) -> None:
    model = textforge.load(folder / "run")
    assert isinstance(model, textforge.Model)
    read = canaries.read(MARKED)
    known, unknown = (canaries.judge(model, part, []) for part in (read[:3], read[3:]))
    assert known["exposure"] > known["exposure_limit"] - 1
    assert unknown["exposure"] < unknown["exposure_null"] + 4
    assert known["exposure_limit"] == pytest.approx(9.967, abs=1e-3)


def test_what_is_said_is_counted(folder: Path) -> None:
    read = canaries.read(MARKED)
    samples = ["the code of anna is 3 1 4 1", "3 1 4", "0 2 7 1 8 0", "a dog", "2 7 1 2 8"]
    assert canaries.share_said(read, samples, str.split) == 2 / 5
    assert canaries.share_said(read, [], str.split) == 0
    said = only_json(
        call("evaluate", folder / "run", "--canaries", lines(folder / "c.txt", MARKED), "-n", 300, "--json")
    )
    assert said["metrics"]["canaries_said"] > 0.1
    assert {"exposure", "exposure_max", "exposure_null", "exposure_limit"} <= said["metrics"].keys()
    assert said["metrics"]["exposure_max"] <= said["metrics"]["exposure_limit"]


@pytest.mark.parametrize("line", ["no secret", "two {1} of {2}", "{}", "open {1"])
def test_a_canary_has_one_secret(line: str) -> None:
    with pytest.raises(UserError, match="braces"):
        canaries.read([line])


def test_what_cannot_be_asked_is_refused(folder: Path) -> None:
    model = textforge.load(folder / "run")
    assert isinstance(model, textforge.Model)
    with pytest.raises(UserError, match="no canaries"):
        canaries.read([])
    with pytest.raises(UserError, match="one symbol"):
        canaries.judge(model, canaries.read(["the code is {1 1}"]), [])
    with pytest.raises(UserError, match="longer than"):
        canaries.judge(model, canaries.read(["the " * 20 + "{1 2}"]), [])
    text = lines(folder / "samples.txt", ["a"])
    assert call("evaluate", text, "--reference", text, "--canaries", text).status == 2
