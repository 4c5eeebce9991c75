import dataclasses
import importlib
import json
import math

import pytest

from textforge.errors import UserError
from textforge.metrics import evaluate
from textforge.metrics.audit import edit_distance, gram_copy, span_copy
from textforge.metrics.bleu import backward_bleu, bleu, self_bleu
from textforge.metrics.copying import exact_copy
from textforge.metrics.encoder import hashed_ngrams
from textforge.metrics.evaluate import real_text
from textforge.metrics.frechet import frechet
from textforge.metrics.kneser_ney import lm_score, reverse_lm_score
from textforge.metrics.mauve import mauve
from textforge.metrics.ngrams import distinct, unique
from textforge.metrics.overlap import in_test, ms_jaccard
from textforge.metrics.two_sample import c2st, c2st_distinct

SAMPLES = ["a b c d", "a b", "c d e f g", "a b"]
REFERENCES = ["a b c", "d e f g h", "c d"]


def test_every_metric_that_applies_is_there() -> None:
    expected = bleu(SAMPLES, REFERENCES) | backward_bleu(SAMPLES, REFERENCES) | self_bleu(SAMPLES)
    expected |= ms_jaccard(SAMPLES, REFERENCES) | in_test(SAMPLES, REFERENCES)
    expected |= distinct(SAMPLES) | unique(SAMPLES)
    judged = lm_score(SAMPLES, REFERENCES) | reverse_lm_score(SAMPLES, REFERENCES)
    assert evaluate(SAMPLES, REFERENCES).metrics == expected | judged
    train = ["a b", "c d e f g h i j k"]
    audited = exact_copy(SAMPLES, train) | gram_copy(SAMPLES, REFERENCES, train) | span_copy(SAMPLES, REFERENCES, train)
    audited |= edit_distance(SAMPLES, REFERENCES, train)
    words = set(" ".join(train).split())
    judged = lm_score(SAMPLES, REFERENCES, vocabulary=words) | reverse_lm_score(SAMPLES, REFERENCES, vocabulary=words)
    assert evaluate(SAMPLES, REFERENCES, train=train).metrics == expected | judged | audited


def test_vectors_are_compared_where_there_are_enough_texts() -> None:
    references = [*REFERENCES, "b a"]
    encode = hashed_ngrams()
    ours, real = encode(SAMPLES), encode(references)
    clouds = frechet(ours, real) | c2st(ours, real) | c2st_distinct(ours, real) | mauve(ours, real)
    found = evaluate(SAMPLES, references)
    assert clouds.items() <= found.metrics.items()
    assert found.settings["encoder"] == "hashed n-grams"


def test_an_encoder_of_ones_own_has_a_name() -> None:
    references = [*REFERENCES, "b a"]
    coarse = hashed_ngrams(max_order=1, size=8)
    found = evaluate(SAMPLES, references, encoder=coarse, encoder_name="words in 8 buckets")
    assert found.settings["encoder"] == "words in 8 buckets"
    assert found.metrics["frechet"] == frechet(coarse(SAMPLES), coarse(references))["frechet"]
    with pytest.raises(UserError, match="encoder_name"):
        evaluate(SAMPLES, references, encoder=coarse)


def test_the_audit_looks_at_the_first_training_texts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact copies are counted in all of them, streamed."""
    monkeypatch.setattr(importlib.import_module("textforge.metrics.evaluate"), "AUDITED", 2)
    found = evaluate(SAMPLES, REFERENCES, train=iter(["x y", "z", "a b"]))
    assert found.settings["num_audited"] == 2
    assert found.settings["num_train"] == 3
    assert found.metrics["exact_copy"] == 0.5
    assert found.metrics["span_max"] == 0


def test_real_text_is_told_without_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies are looked for in all of a stream, the rest in its first texts; beyond itself it copies nothing."""
    train = ["c d e f g h", "a b", "c d", "a b c"]
    alone = self_bleu(REFERENCES) | distinct(REFERENCES) | unique(REFERENCES)
    monkeypatch.setattr(importlib.import_module("textforge.metrics.evaluate"), "AUDITED", 2)
    expected = alone | {"exact_copy": 2 / 3}
    for audit in (gram_copy, span_copy, edit_distance):
        expected |= audit(REFERENCES, REFERENCES, train[:2])
    found = real_text(REFERENCES, iter(train))
    assert found == {name: value for name, value in expected.items() if not name.startswith("copied_excess")}
    assert real_text(REFERENCES, []) == alone


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
