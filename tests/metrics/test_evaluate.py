import dataclasses
import json
import math

import pytest

from textforge.errors import UserError
from textforge.metrics import evaluate
from textforge.metrics.bleu import backward_bleu, bleu, self_bleu
from textforge.metrics.copying import exact_copy
from textforge.metrics.ngrams import distinct, unique

SAMPLES = ["a b c d", "a b", "c d e f g", "a b"]
REFERENCES = ["a b c", "d e f g h", "c d"]


def test_every_metric_that_applies_is_there() -> None:
    expected = bleu(SAMPLES, REFERENCES) | backward_bleu(SAMPLES, REFERENCES) | self_bleu(SAMPLES)
    expected |= distinct(SAMPLES) | unique(SAMPLES)
    assert evaluate(SAMPLES, REFERENCES).metrics == expected
    copied = exact_copy(SAMPLES, ["a b"])
    assert evaluate(SAMPLES, REFERENCES, train=["a b"]).metrics == expected | copied


def test_settings_say_what_the_numbers_rest_on() -> None:
    settings = evaluate(SAMPLES, REFERENCES, train=iter(["a b", "c"]), max_order=3).settings
    expected = {"num_samples": 4, "num_references": 3, "num_train": 2, "bleu_orders": "2 to 3", "distinct_symbols": 13}
    assert settings == settings | expected
    assert settings["tokenizer"] == "white space"
    assert "loo" in str(settings["self_bleu_protocol"])
    assert "method1" in str(settings["bleu_smoothing"])


def test_a_tokeniser_of_ones_own_has_a_name() -> None:
    evaluation = evaluate(["ab", "ba"], ["ab"], split=list, split_name="character", max_order=2)
    assert evaluation.settings["tokenizer"] == "character"
    assert evaluation.metrics["bleu_2"] == bleu(["ab", "ba"], ["ab"], split=list)["bleu_2"]
    with pytest.raises(UserError, match="split_name"):
        evaluate(["ab", "ba"], ["ab"], split=list)


def test_one_sample_has_no_others() -> None:
    metrics = evaluate(["a b"], REFERENCES).metrics
    assert "bleu_2" in metrics
    assert "self_bleu_2" not in metrics


def test_a_generator_of_nothing_is_judged_too() -> None:
    """Empty texts, as an untrained generator writes them, give numbers that every JSON reader accepts."""
    evaluation = evaluate(["", ""], ["", "a"])
    assert all(math.isfinite(value) for value in evaluation.metrics.values())
    json.dumps(dataclasses.asdict(evaluation), allow_nan=False)
    assert evaluation.metrics["bleu_5"] == 0


def test_missing_texts_are_refused() -> None:
    with pytest.raises(UserError, match="no samples"):
        evaluate([], REFERENCES)
    with pytest.raises(UserError, match="no references"):
        evaluate(SAMPLES, [])
