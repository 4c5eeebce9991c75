"""The LSTM as judge: forward it sees quality, backward it sees what is missing."""

import numpy as np
import pytest
import torch
from tasks import text_task
from toy_texts import markov_texts, noise

from textforge.errors import UserError
from textforge.evaluation import Judges, evaluate_texts
from textforge.neural_scores import fit_lstm, lstm_scores
from textforge.text import encode
from textforge.text.tokenizers import train

REAL = markov_texts(400, 0)
CHAR = train("char", REAL)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SIZE": 24, "LR": 2e-2, "EPOCHS": 6, "DROPOUT": 0.0}.items():
        monkeypatch.setattr(f"textforge.neural_scores.{name}", value)


def test_scores_order_generators_as_they_deserve() -> None:
    fresh, collapsed, random = (
        lstm_scores(texts, REAL, CHAR) for texts in (markov_texts(400, 1), REAL[:1] * 400, noise(400, 2))
    )
    assert fresh["lstm_lm_score"] < random["lstm_lm_score"] - 0.2
    assert fresh["lstm_reverse_lm_score"] < random["lstm_reverse_lm_score"] - 0.2
    assert fresh["lstm_reverse_lm_score"] < collapsed["lstm_reverse_lm_score"] - 0.5
    assert collapsed["lstm_lm_score"] < fresh["lstm_lm_score"] + 0.5, "one true text is as likely as another"
    assert lstm_scores(markov_texts(400, 1), REAL, CHAR) == fresh, "the same seed, the same value"


def test_a_trained_model_is_near_the_entropy_of_its_texts() -> None:
    """Uniform symbols of length 5 cost log 5 nats each, and their end nothing: 5/6 log 5 a token."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcde"), 5)) for _ in range(600)]
    tokenizer = train("char", texts)
    model = fit_lstm(texts, tokenizer, 6, seed=0)
    fresh, _ = encode(["".join(rng.choice(list("abcde"), 5)) for _ in range(600)], tokenizer, max_length=None)
    with torch.no_grad():
        nats = -float(model(fresh.batch(np.arange(600), None).tokens).sum()) / int(fresh.lengths.sum())
    assert nats == pytest.approx(5 / 6 * np.log(5), abs=0.03)


def test_it_is_added_where_it_is_asked_for() -> None:
    task = text_task()
    lines = [*task.texts.train] * 3
    found = evaluate_texts(lines, lines, task.tokenizer, judges=Judges(lstm=True)).metrics
    assert {"lstm_lm_score", "lstm_reverse_lm_score"} <= found.keys()
    assert "lstm_lm_score" not in evaluate_texts(lines, lines, task.tokenizer).metrics
    with pytest.raises(UserError, match="20 texts a side"):
        lstm_scores(lines[:19], lines, task.tokenizer)
