"""Blanks: what stands around them stays, and each is filled by its conditional; from ids up to the command line."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import worlds
from command import SENTENCES, call
from worlds import ENDING, TableGenerator, frequencies_z

import textforge
from textforge.decoding import infill, log_prob
from textforge.errors import CallError, UserError
from textforge.model import Model, load_text_model
from textforge.text import Char


def test_blanks_are_filled_by_their_conditionals() -> None:
    vocabulary = ENDING.vocabulary
    eos, pad, mask = vocabulary.eos, vocabulary.pad, vocabulary.mask
    assert eos is not None
    generator = TableGenerator(ENDING, seed=3)
    following = worlds.conditionals(generator, ENDING)
    for row in ([mask, 1, mask, mask], [mask, mask, eos, pad], [0, mask, 1, eos], [mask, eos, pad, pad]):
        filled = infill(generator, torch.tensor(row).repeat(4000, 1)).tokens
        exact = torch.ones(len(ENDING.sequences))
        for k, sequence in enumerate(ENDING.sequences.tolist()):
            for t, (token, wanted) in enumerate(zip(sequence, row, strict=True)):
                if wanted == mask and token in (0, 1):  # not `eos`
                    probs = following[tuple(sequence[:t])].exp()[:2]
                    exact[k] *= probs[token] / probs.sum()
                else:
                    exact[k] *= token == wanted
        assert frequencies_z(ENDING, filled, exact) < 4, row


def test_the_generator_is_shown_the_text_around_the_blanks() -> None:
    seen: list[Any] = []

    class Reader(TableGenerator):
        def initial_state(self, batch: int, context: Any = None) -> Any:
            seen.append(context)
            return super().initial_state(batch)

    tokens = torch.tensor([[0, ENDING.vocabulary.mask, 1], [ENDING.vocabulary.mask, 1, 1]])
    infill(Reader(ENDING, seed=0), tokens)
    assert len(seen) == 1
    assert torch.equal(seen[0], tokens)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mle"
    textforge.fit(SENTENCES, method="mle", preset="tiny", steps=20, seed=3, out=folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_text_model(folder)


def test_each_blank_is_one_token_and_all_else_stays(model: Model) -> None:
    known = {word for sentence in SENTENCES for word in sentence.split()}
    for text in model.infill("a ___ cat ___", 20, seed=1):
        first, word, third, last = text.split()
        assert (first, third) == ("a", "cat")
        assert {word, last} <= known
    assert len(set(model.infill("a ___ cat ___", 20, seed=1))) > 1
    assert model.infill("a ___ cat", 5, seed=1) == model.infill("a ___ cat", 5, seed=1)
    assert all(text.startswith("a small ") for text in model.infill("a small ??", 5, blank="??", seed=1))
    with pytest.raises(CallError, match="0 fillings cannot be drawn"):
        model.infill("___ cat", 0)


def test_of_many_candidates_the_text_behind_the_blank_decides_too() -> None:
    """Against Bayes' rule by hand: how probable each symbol is in the blank, given all that stands around it."""
    own = Model({"method": "mle"}, Char(ENDING.vocabulary), {"generator": worlds.wide_lstm(ENDING, 1)})
    scores = own.log_prob(["aba", "bba"])
    exact = 1 / (1 + math.exp(scores[1] - scores[0]))
    error = math.sqrt(exact * (1 - exact) / 4000)

    def share(**settings: int) -> float:
        return own.infill("_ba", 4000, blank="_", seed=0, **settings).count("aba") / 4000

    assert abs(share(candidates=64) - exact) < 4.5 * error
    assert abs(share() - exact) > 10 * error, "what stands behind a blank makes no difference here"


def test_no_blank_is_filled_with_an_unknown_word(model: Model) -> None:
    vocabulary = model.tokenizer.vocabulary
    blanks = torch.full((1000, model.generator.max_length), vocabulary.mask)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert vocabulary.unk in infill(model.generator, blanks).tokens, "the model would say it"
    filled = model.fill("___ " * model.generator.max_length, 1000, seed=0)
    assert vocabulary.unk not in filled.tokens
    own = log_prob(model.generator, filled.tokens)  # and not those of a model that knows no such word
    torch.testing.assert_close(filled.log_probs.sum(1), own)


def test_white_space_between_blanks_stays_where_it_is_a_symbol() -> None:
    model = textforge.fit(["ab cd", "a b c"] * 10, method="mle", preset="tiny", tokenizer="char", steps=1)
    assert isinstance(model, Model)
    for text in model.infill("__ __", 20, blank="_", seed=0):
        assert (len(text), text[2]) == (5, " ")


def test_a_text_as_long_as_the_model_has_no_room_for_its_end(model: Model) -> None:
    limit = model.generator.max_length
    (text,) = model.infill("___ " * limit, 1, seed=0)
    assert len(text.split()) == limit
    with pytest.raises(UserError, match=f"the text has {limit + 1} tokens and the model at most {limit}"):
        model.infill("___ " * (limit + 1))


@pytest.mark.parametrize(
    ("text", "blank", "reason"),
    [
        ("a cat", "___", "has no blank '___'"),
        ("a ___", "", "has no blank ''"),
        ("a ___ zebra", "___", "the model does not know 'zebra' of ' zebra'"),
        ("a lynx or a gnu or ___", "___", "does not know 'lynx', 'or', 'gnu' of 'a lynx or a gnu or '"),
    ],
)
def test_what_cannot_be_filled_is_refused(model: Model, text: str, blank: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        model.infill(text, blank=blank)


def test_an_unknown_space_is_named() -> None:
    """Where every character is a symbol, white space around a blank is a part of the text."""
    model = textforge.fit(["男人在骑马", "女人在睡觉"] * 10, method="mle", preset="tiny", steps=1)
    assert isinstance(model, Model)
    with pytest.raises(UserError, match="does not know ' ' of '男人 '"):
        model.infill("男人 ___")
    assert model.infill("男人___", seed=0)[0].startswith("男人")


def test_the_command_fills_blanks(folder: Path, model: Model) -> None:
    said = call("infill", folder, "a ___ cat", "-n", 3, "--seed", 5)
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines() == model.infill("a ___ cat", 3, seed=5)
    assert len(call("infill", folder, "a ___ cat").out.splitlines()) == 5
    said = call("infill", folder, "a cat")
    assert (said.status, said.out) == (1, "")
    assert said.reason.startswith("'a cat' has no blank '___'")
