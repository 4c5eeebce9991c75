"""Texts token by token: against the generator stepped by hand, and a detector asked one beginning at a time."""

import math
from typing import Any

import pytest
import torch
import worlds
from tasks import SENTENCES
from worlds import ENDING

from textforge.detector import Detector
from textforge.model import Model
from textforge.nets.lstm import LSTMGenerator
from textforge.nets.text_cnn import TextCNN
from textforge.text import Char, Word, train
from textforge.tokenwise import PLACES, opinions, read, spellings

PAD, WIDTH = ENDING.vocabulary.pad, ENDING.max_length


def judge() -> Detector:
    network = TextCNN(ENDING.vocabulary, WIDTH, windows=((1, 4), (2, 4)), embedding_dim=3, dropout=0.5)
    return Detector(network.eval(), 9.0, 0.5, 1.0)


def model() -> Model:
    generator: Any = worlds.TableGenerator(ENDING, 2)
    return Model({"method": "table"}, Word(ENDING.vocabulary), {"generator": generator})


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_probabilities_are_those_of_the_generator_step_by_step(temperature: float) -> None:
    own = model()
    G = own.generator
    found = read(own, ENDING.sequences, temperature=temperature)
    assert len(found) == len(ENDING.sequences) > 10
    for row, tokens in zip(ENDING.sequences.tolist(), found, strict=True):
        assert len(tokens) == sum(id_ != PAD for id_ in row)
        state, previous = G.initial_state(1), torch.tensor([ENDING.vocabulary.bos])
        for id_, token in zip(row, tokens, strict=False):
            logits, state = G.step(previous, state)
            assert token.prob == pytest.approx((logits[0].detach() / temperature).softmax(0)[id_].item(), abs=1e-6)
            assert token.real is None
            previous = torch.tensor([id_])


def test_known_log_probabilities_are_taken_as_they_are() -> None:
    tokens = ENDING.sequences[:3]
    found = read(model(), tokens, log_probs=torch.full(tokens.shape, math.log(0.25)))
    probs = [token.prob for row in found for token in row]
    assert probs == pytest.approx([0.25] * len(probs))


def test_opinions_are_those_of_each_beginning_by_itself() -> None:
    detector = judge()
    found = opinions(detector, ENDING.sequences)
    for row, values in zip(ENDING.sequences.tolist(), found.tolist(), strict=True):
        for t, value in enumerate(values):
            if row[t] == PAD:
                assert math.isnan(value)
                continue
            beginning = torch.tensor([row[: t + 1] + [PAD] * (WIDTH - t - 1)])
            assert value == pytest.approx(float(detector.logits(beginning).sigmoid()), abs=1e-6)
    assert found.nan_to_num(0.5).std() > 0.01  # they differ, so a mix-up would show


def test_long_texts_are_judged_at_some_places_and_at_their_ends() -> None:
    vocabulary, length = ENDING.vocabulary, 2 * PLACES + 1  # every third place
    network = TextCNN(vocabulary, length, windows=((1, 4),), embedding_dim=3, dropout=0.5)
    tokens = torch.zeros(2, length, dtype=torch.long)
    tokens[1, 10:] = PAD
    found = opinions(Detector(network.eval(), 1.0, 0.0, 1.0), tokens)
    judged = [row.isfinite().nonzero().squeeze(1).tolist() for row in found]
    assert judged == [[*range(2, length, 3), length - 1], [2, 5, 8, 9]]


def test_a_detector_s_opinion_reaches_the_tokens() -> None:
    detector = judge()
    found = read(model(), ENDING.sequences, detector=detector)
    whole = detector.logits(ENDING.sequences).sigmoid().tolist()
    assert [row[-1].real for row in found] == pytest.approx(whole, abs=1e-6)


def test_noise_leaves_the_probabilities_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    own = model()
    monkeypatch.setattr(own.generator, "noise_dim", 3, raising=False)
    assert {token.prob for row in read(own, ENDING.sequences) for token in row} == {None}


def test_spellings_of_words_and_characters() -> None:
    words, characters = train("word", SENTENCES), train("char", ["中文 ab"])
    assert isinstance(characters, Char)
    eos = words.vocabulary.eos
    assert eos is not None
    assert list(spellings(words, [*words.encode("cats sit there"), eos])) == ["cats", "sit", "<unk>", ""]
    assert list(spellings(characters, characters.encode("文 aX"))) == ["文", " ", "a", "\ufffd"]


def test_bytes_of_one_character_are_spelled_once_it_is_whole() -> None:
    pairs = train("bpe", ["ab ab"] * 3)
    ids = pairs.encode("a文b")
    assert len(ids) == 5  # three bytes for the character
    assert list(spellings(pairs, ids)) == ["a", "", "", "文", "b"]
    assert list(spellings(pairs, ids[:3])) == ["a", "", "\ufffd"]  # a text that breaks off
    assert "".join(spellings(pairs, pairs.encode("ab 文文"))) == "ab 文文"


def test_fillings_come_with_the_probabilities_of_their_draw() -> None:
    words = train("word", SENTENCES)
    generator = LSTMGenerator(words.vocabulary, 4, embedding_dim=3, hidden_dim=5)
    own = Model({"method": "mle"}, words, {"generator": generator})
    filled = own.fill("cats ___", 4, seed=1, temperature=0.5)
    assert [words.decode(row) for row in filled.tokens.tolist()] == own.infill("cats ___", 4, seed=1, temperature=0.5)
    drawn, anew = read(own, filled.tokens, log_probs=filled.log_probs), read(own, filled.tokens, temperature=0.5)
    for row, other in zip(drawn, anew, strict=True):
        assert [token.text for token in row][::2] == ["cats", ""]
        assert [token.prob for token in row] == pytest.approx([token.prob for token in other], abs=1e-6)
