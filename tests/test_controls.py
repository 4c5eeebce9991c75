"""What stands beside every result: a count model, maximum likelihood, and training with scores that say nothing."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console
from tasks import text_task

from textforge import controls, methods
from textforge.methods import mle, seqgan
from textforge.model import load_text_model
from textforge.options import Options
from textforge.text.tokenizers import train

QUIET = Console(quiet=True)


def test_the_count_model_repeats_what_followed_what() -> None:
    """After `a b a` stands c in two of three texts; the texts are written with the tokenizer's own symbols."""
    lines = ["a b a c", "a b a c", "a b a d"]
    drawn = Counter(controls.count_model(lines, train("word", lines), 3000, 10))
    assert drawn.keys() == set(lines)
    assert abs(drawn["a b a c"] / 3000 - 2 / 3) < 4 * (2 / 9 / 3000) ** 0.5
    by_character = controls.count_model(["abac", "abad"], train("char", ["abac", "abad"]), 50, 10)
    assert set(by_character) == {"abac", "abad"}


def test_rare_words_are_as_unknown_to_the_count_model_as_to_the_others() -> None:
    lines = ["a b", "a b", "a c"]
    drawn = controls.count_model(lines, train("word", lines, min_count=2), 60, 10)
    assert set(drawn) == {"a b", "a <unk>"}


@pytest.mark.parametrize("method", ["seqgan", "leakgan", "maskgan"])
def test_a_method_with_a_reward_is_held_against_empty_ones(method: str) -> None:
    config = methods.load(method).PRESETS["tiny"]
    found = {name: (other, own) for name, other, own in controls.configurations(method, "tiny", config, "all")}
    assert found == {
        "mle": ("mle", mle.PRESETS["tiny"]),
        "constant-reward": (method, dataclasses.replace(config, reward="constant")),
        "random-reward": (method, dataclasses.replace(config, reward="random")),
    }


def test_controls_have_no_controls() -> None:
    """Maximum likelihood is its own, and a run that is an empty reward already needs no other."""
    assert list(controls.configurations("mle", "tiny", mle.PRESETS["tiny"], "all")) == []
    constant = dataclasses.replace(seqgan.PRESETS["tiny"], reward="constant")
    assert [name for name, *_ in controls.configurations("seqgan", "tiny", constant, "all")] == ["mle"]
    assert list(controls.configurations("seqgan", "tiny", constant, "none")) == []
    textgan = methods.load("textgan").PRESETS["tiny"]
    assert [name for name, *_ in controls.configurations("textgan", "tiny", textgan, "all")] == ["mle"]
    other = [own for _, _, own in controls.configurations("seqgan", "pg-bleu", seqgan.PRESETS["pg-bleu"], "mle")]
    assert other == [mle.PRESETS["small"]], "of a preset that mle has not, the usual one"


def test_controls_are_runs_in_the_folder_of_the_run(tmp_path: Path) -> None:
    task, options = text_task(), Options(preset="tiny", seed=3)
    config = seqgan.PRESETS["tiny"]
    for _ in range(2):  # the second time goes on where all is done
        controls.train_controls(tmp_path, "seqgan", options, config, task, "all", QUIET)
    places = controls.folders(tmp_path)
    assert list(places) == ["constant-reward", "mle", "random-reward"]
    settings = {name: load_text_model(place).settings for name, place in places.items()}
    assert {one["seed"] for one in settings.values()} == {3}
    assert len({one["corpus"] for one in settings.values()}) == 1
    assert settings["mle"]["method"] == "mle"
    assert settings["random-reward"]["config"]["reward"] == "random"
