import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from toy_texts import markov_texts, noise

from textforge.errors import UserError
from textforge.metrics.bleu import bleu, self_bleu
from textforge.metrics.kneser_ney import (
    fit_kneser_ney,
    fit_maximum_likelihood,
    lm_score,
    perplexity,
    reverse_lm_score,
)
from textforge.metrics.ngrams import unique

JUNK = "@"


def score(samples: Sequence[str], references: Sequence[str]) -> float:
    return lm_score(samples, references, split=list)["lm_score"]


def reverse(samples: Sequence[str], references: Sequence[str]) -> float:
    return reverse_lm_score(samples, references, split=list)["reverse_lm_score"]


def test_scores_are_nats_per_token_under_the_other_side() -> None:
    samples, references = ["abc", "ab"], ["dab", "cab"]
    forward = fit_kneser_ney(references, vocabulary="abcd", split=list)
    backward = fit_kneser_ney(samples, vocabulary="abcd", split=list)
    assert score(samples, references) == pytest.approx(-forward.log_prob(samples).sum() / 7)
    assert reverse(samples, references) == pytest.approx(-backward.log_prob(references).sum() / 8)
    assert math.log(perplexity(forward, samples)["perplexity"]) == pytest.approx(score(samples, references))


def test_as_many_texts_of_either_side() -> None:
    samples, references = markov_texts(40, 1), markov_texts(60, 2)
    assert score(samples, references) == score(samples, references[:40])
    assert reverse(samples, references) == reverse(samples, references[:40])
    assert reverse(references, samples) == reverse(references[:40], samples)
    # but what is known does not depend on their number
    assert score(["f"], ["ab", "f"]) == lm_score(["f"], ["ab"], vocabulary=["f"], split=list)["lm_score"]


def test_real_text_is_best_in_reverse_and_collapse_is_best_forward() -> None:
    references, same, flat = markov_texts(400, 1), markov_texts(400, 2), noise(400, 3)
    collapsed = [max(same[:50], key=lambda text: fit_kneser_ney(references, split=list).log_prob([text])[0])] * 400
    assert score(collapsed, references) < score(same, references) < score(flat, references)
    assert reverse(same, references) < reverse(flat, references)
    assert reverse(same, references) + 1 < reverse(collapsed, references)


def test_more_text_of_the_same_kind_lowers_the_reverse_score() -> None:
    references, samples = markov_texts(800, 1), markov_texts(800, 2)
    values = [
        -fit_kneser_ney(samples[:num], vocabulary="abcde", split=list).log_prob(references).sum()
        for num in (25, 100, 800)
    ]
    assert values == sorted(values, reverse=True)


def test_empty_lists_are_refused() -> None:
    for metric in (lm_score, reverse_lm_score):
        with pytest.raises(UserError, match="no samples"):
            metric([], ["a"])
        with pytest.raises(UserError, match="no references"):
            metric(["a"], [])


# --- Junk ---


def with_junk(texts: Sequence[str], share: float, seed: int, junk: str = JUNK) -> list[str]:
    """Put junk before this share of the symbols and ends."""
    rng = np.random.default_rng(seed)
    return ["".join(junk * int(rng.random() < share) + symbol for symbol in (*text, "")) for text in texts]


def test_texts_of_junk_cost_their_share_of_the_tokens_exactly() -> None:
    references, samples = markov_texts(50, 1), markov_texts(50, 2)
    clean, junky = (fit_kneser_ney(each, vocabulary="abcde", split=list) for each in (samples, [*samples, JUNK * 9]))
    tokens = sum(map(len, samples)) + 50
    cost = -math.log(1 - 9 / (tokens + 10))
    np.testing.assert_allclose(
        clean.token_log_probs(references)[0] - junky.token_log_probs(references)[0], cost, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("distinct", [1, 3, 20, 400])
def test_junk_never_lowers_the_reverse_score(distinct: int, share: float) -> None:
    """However collapsed the samples are, and whether junk is added to texts or takes their place."""
    references = markov_texts(400, 1)
    samples = (markov_texts(400, 2)[:distinct] * 400)[:400]
    clean = reverse(samples, references)
    assert reverse(with_junk(samples, share, seed=3), references) > clean
    replaced = [JUNK * len(text) if at < share * 400 else text for at, text in enumerate(samples[::-1])]
    assert reverse(replaced, references) > clean


def test_junk_as_a_word_would_pay() -> None:
    """Why it is cut out: as a known symbol it smooths the model of collapsed samples and lowers their score."""
    references, samples = markov_texts(400, 1), markov_texts(400, 2)[:20] * 20
    as_word = [
        reverse_lm_score(each, references, vocabulary=[JUNK], split=list)["reverse_lm_score"]
        for each in (samples, with_junk(samples, 0.2, seed=3))
    ]
    assert as_word[1] < as_word[0]


def test_new_junk_is_no_better_than_old_junk() -> None:
    references, samples = markov_texts(100, 1), markov_texts(100, 2)
    same = with_junk(samples, 0.1, seed=3)
    different = [
        "".join(chr(0x4E00 + 97 * at + i) if s == JUNK else s for i, s in enumerate(t)) for at, t in enumerate(same)
    ]
    assert reverse(same, references) == reverse(different, references)
    assert score(same, references) == score(different, references)


def test_junk_raises_the_forward_score() -> None:
    references, samples = markov_texts(400, 1), markov_texts(400, 2)
    assert score(samples, references) < score(with_junk(samples, 0.01, seed=3), references)


# --- Published samples ---


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def captions(folder: Path) -> tuple[list[str], list[str]]:
    return lines(folder / "image_coco_tok" / "train.txt"), lines(folder / "image_coco_tok" / "test.txt")


@pytest.mark.parametrize(
    ("model", "forward", "backward"), [("train", 4.562, 4.117), ("mle", 4.889, 4.497), ("leakgan", 4.466, 4.794)]
)
def test_scores_of_published_samples(model: str, forward: float, backward: float, shared_data: Path) -> None:
    """LeakGAN's captions are more fluent than real ones, and miss more of these than those of maximum likelihood."""
    train, test = captions(shared_data)
    samples = train if model == "train" else lines(shared_data / "texygen_samples" / f"{model}.txt")
    words = {word for line in train for word in line.split()}
    assert lm_score(samples, test, vocabulary=words)["lm_score"] == pytest.approx(forward, abs=0.0005)
    assert reverse_lm_score(samples, test, vocabulary=words)["reverse_lm_score"] == pytest.approx(backward, abs=0.0005)


@pytest.mark.parametrize(
    ("order", "of_bleu", "of_self_bleu", "distinct"),
    [
        (3, [0.674, 0.483, 0.314, 0.199], [0.957, 0.907, 0.778, 0.598], 0.927),
        (4, [0.730, 0.521, 0.347, 0.225], [0.955, 0.901, 0.846, 0.763], 0.912),
    ],
)
def test_count_models_reach_the_bleu_of_published_generators(
    order: int, of_bleu: list[float], of_self_bleu: list[float], distinct: float, shared_data: Path
) -> None:
    """The values are the mean of this sampler and one with lists of followers; standard errors are about .002."""
    train, test = captions(shared_data)
    samples = fit_maximum_likelihood(train, order=order).sample(10_000, 0)
    assert list(bleu(samples, test).values()) == pytest.approx(of_bleu, abs=0.008)
    assert list(self_bleu(samples).values()) == pytest.approx(of_self_bleu, abs=0.01)
    assert unique(samples)["unique"] == pytest.approx(distinct, abs=0.01)
