"""Planted numbers must get the name that they deserve."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from textforge.report.comparison import COPIER, COUNT, REAL, Entry, Gap, Kind, Verdict
from textforge.report.verdicts import verdicts

NUM = 10_000
TRAINING = {
    "bleu_4": 0.34,
    "bleu_5": 0.22,
    "self_bleu_4": 0.58,
    "backward_bleu_4": 0.41,
    "ms_jaccard_4": 0.16,
    "lm_score": 4.56,
    "reverse_lm_score": 4.12,
    "unique": 0.994,
    "distinct_2": 0.5,
    "in_test_1": 0.93,
    "in_test_2": 0.60,
    "exact_copy": 1.0,
    "copied_8": 1.0,
    "copied_real_8": 0.005,
}
COUNTED = TRAINING | {"reverse_lm_score": 4.24, "ms_jaccard_4": 0.149, "backward_bleu_4": 0.375, "exact_copy": 0.15}
ORDINARY = TRAINING | {
    "bleu_4": 0.31,
    "reverse_lm_score": 4.50,
    "lm_score": 4.89,
    "backward_bleu_4": 0.34,
    "ms_jaccard_4": 0.134,
    "exact_copy": 0.002,
    "copied_8": 0.007,
    "c2st_low": 0.79,
    "c2st_high": 0.82,
}
OF_REAL = {"unique": 0.986, "self_bleu_4": 0.62, "distinct_2": 0.49, "exact_copy": 0.002}


def entry(name: str, metrics: Mapping[str, float], kind: Kind = "samples", errors: float | None = 0.002) -> Entry:
    told = {} if errors is None else dict.fromkeys(metrics, errors)
    return Entry(name, kind, {key: (value,) for key, value in metrics.items()}, errors=told)


CONTROLS = (entry(COUNT, COUNTED, "control"), entry(COPIER, TRAINING, "control"), entry(REAL, OF_REAL, "control"))


def verdict(metrics: Mapping[str, float], *, controls: Sequence[Entry] = CONTROLS, **settings: float | None) -> Verdict:
    (found,) = verdicts([entry("samples", {**ORDINARY, **metrics}, **settings), *controls], NUM)  # type: ignore[arg-type]
    return found


def seeded(name: str, values: Mapping[str, Sequence[float]], **settings: object) -> Entry:
    num = len(next(iter(values.values())))
    made = Entry(name, "model", {key: tuple(row) for key, row in values.items()}, seeds=tuple(range(num)))
    return dataclasses.replace(made, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metrics", "flag", "words"),
    [
        ({"unique": 0.0001}, "collapse", "collapsed"),
        ({"unique": 0.707}, "repetition", "repeats itself"),
        ({"exact_copy": 0.97}, "copier", "copies its training text"),
        ({"exact_copy": 0.011}, "copies", "holds copies"),
        ({"copied_8": 0.03}, "stretches", "long stretches"),
        ({"bleu_5": 0.9995}, "references", "the reference text itself"),
        ({"in_test_2": 0.2, "lm_score": 7.0}, "disorder", "words without order"),
        ({"c2st_low": 0.49, "c2st_high": 0.52}, "indistinguishable", "indistinguishable"),
    ],
)
def test_each_fault_is_called_what_it_is(metrics: dict[str, float], flag: str, words: str) -> None:
    found = verdict(metrics)
    assert flag in found.flags
    assert words in found.headline
    ordinary = verdict({})
    assert flag not in ordinary.flags
    assert words not in ordinary.headline


@pytest.mark.parametrize(
    "metrics", [{"unique": 0.972}, {"exact_copy": 0.0037}, {"copied_8": 0.018}, {"in_test_2": 0.5}]
)
def test_what_chance_can_do_is_no_fault(metrics: dict[str, float]) -> None:
    assert set(verdict(metrics).flags) == {"dominated"}


def test_copies_are_denied_only_where_they_were_looked_for() -> None:
    assert "copies no more whole texts than real text does" in verdict({}).headline
    assert "copies no more" not in verdict({"exact_copy": 0.5}).headline
    assert "copies no more" not in verdict({}, controls=CONTROLS[:2]).headline


def test_a_bleu_above_that_of_real_text_is_explained_by_repetition() -> None:
    assert "repetition, not skill" in verdict({"unique": 0.7, "bleu_4": 0.36}).reasons[0]
    assert "repetition, not skill" not in verdict({"unique": 0.7}).reasons[0]


def test_sharper_than_the_truth_is_flagged_with_the_reason() -> None:
    """A collapsed generator beats the oracle's own entropy in `nll_oracle`."""
    controls = (*CONTROLS[:2], entry(REAL, OF_REAL | {"nll_oracle": 1.90}, "control"))
    truth = {"validity": 0.99, "nll_oracle": 1.60, "entropy": 0.7}
    found = verdict(truth, controls=controls)
    assert "sharp" in found.flags
    assert any("too few things" in reason and "1.600" in reason and "1.900" in reason for reason in found.reasons)
    for other in ({"nll_oracle": 1.90}, {"entropy": 1.95}, {"validity": 0.2}):
        assert "sharp" not in verdict(truth | other, controls=controls).flags


def test_few_texts_are_not_called_indistinguishable() -> None:
    few = verdict({"c2st_low": 0.39, "c2st_high": 0.78})
    assert "indistinguishable" not in few.flags
    assert "too few texts to tell" in few.headline


def test_indistinguishable_needs_the_truth_to_agree_where_it_is_known() -> None:
    covered = {"c2st_low": 0.49, "c2st_high": 0.51}
    assert "indistinguishable" in verdict(covered | {"js": 0.002, "js_se": 0.001}).flags
    assert "indistinguishable" not in verdict(covered | {"js": 0.004, "js_se": 0.001}).flags
    assert "indistinguishable" not in verdict(covered | {"unique": 0.5}).flags


def test_a_file_is_dominated_only_beyond_its_error() -> None:
    assert "dominated" in verdict({}).flags
    assert "dominated" not in verdict({}, errors=None).flags
    assert "dominated" not in verdict({"ms_jaccard_4": 0.148}).flags
    assert "ahead of the" in verdict({"ms_jaccard_4": 0.16, "backward_bleu_4": 0.4, "reverse_lm_score": 4.1}).headline


def test_without_an_interval_the_count_model_is_not_judged_but_told() -> None:
    (found,) = verdicts([seeded("seqgan", {name: [value] for name, value in ORDINARY.items()}), *CONTROLS], NUM)
    assert COUNT not in found.headline
    assert any("reverse LM score 4.50 against 4.24" in reason for reason in found.reasons)


def test_the_references_take_no_part_in_rankings() -> None:
    entries = [entry(name, ORDINARY | more) for name, more in (("file", {}), ("truth", {"bleu_5": 1.0}))]
    file, truth = verdicts([*entries, *CONTROLS], NUM)
    assert truth.headline == "is the reference text itself, so nothing is measured"
    assert "truth" not in file.headline


def test_held_out_text_that_was_trained_on_is_told() -> None:
    controls = (*CONTROLS[:2], entry(REAL, OF_REAL | {"exact_copy": 0.9}, "control"))
    found = verdict({"exact_copy": 0.9}, controls=controls)
    assert "copies no more" not in found.headline
    assert any("90% of real text stands in the training text" in reason for reason in found.reasons)


def test_few_texts_are_said_to_be_few() -> None:
    (found,) = verdicts([entry("samples", ORDINARY, errors=None), *CONTROLS], 20)
    assert any("20 texts" in reason for reason in found.reasons)
    assert any("too few texts for intervals" in reason for reason in found.reasons)
    assert not any("few" in reason for reason in verdict({}).reasons)


def gaps(*values: float) -> tuple[Gap, ...]:
    return tuple(Gap(value, value - 0.001, value + 0.001, 4.6, 0.9) for value in values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.1, 0.12, 0.11, 0.1), "behind mle"),
        ((-0.1, -0.12, -0.11, -0.1), "ahead of mle"),
        ((0.1, -0.12, 0.11, -0.1), "tie with mle"),
        ((0.1,), "tie with mle"),
    ],
)
def test_distance_to_maximum_likelihood_is_judged_over_trainings(values: tuple[float, ...], words: str) -> None:
    model = seeded("seqgan", {"unique": [0.99] * len(values)}, gaps=gaps(*values))
    (found,) = verdicts([model, *CONTROLS], NUM)
    assert words in found.headline
    assert "temperature 0.90" in found.headline
    assert any("trainings differ" in reason for reason in found.reasons) == (len(values) < 4)


def test_a_gap_that_cannot_be_measured_is_told() -> None:
    (found,) = verdicts([seeded("seqgan", {"unique": [0.99]}, gaps=(None,)), *CONTROLS], NUM)
    assert found.headline == "no gap to mle can be told"
    assert "has its quality, its LM score, at none of the temperatures swept" in found.reasons[0]
    (found,) = verdicts([seeded("seqgan", {"unique": [0.99] * 3}, gaps=(None, *gaps(0.1), None)), *CONTROLS], NUM)
    assert "LM score (of 2 of 3 trainings), at none" in found.reasons[0]


def test_runs_that_differ_by_seed_alone_tie() -> None:
    """Five trainings against five: 95 of 100 times, within 4 standard errors; one against one: ever."""
    rng = np.random.default_rng(0)
    ties = 0
    for _ in range(400):
        one, other = (
            seeded(name, {"reverse_lm_score": list(4.5 + 0.02 * rng.standard_normal(5))}) for name in ("one", "other")
        )
        ties += "tie with other" in verdicts([one, other], NUM)[0].headline
    assert ties / 400 > 0.95 - 4 * (0.95 * 0.05 / 400) ** 0.5
    single = [seeded(name, {"reverse_lm_score": [value]}) for name, value in (("one", 4.0), ("other", 9.0))]
    assert [found.headline for found in verdicts(single, NUM)] == [
        "tie with other, undecided",
        "tie with one, undecided",
    ]
    many = seeded("many", {"reverse_lm_score": [4.0, 4.01, 4.02, 4.03]})
    assert [found.headline for found in verdicts([many, single[1]], NUM)] == [
        "tie with other, undecided",
        "tie with many, undecided",
    ]


def test_a_real_difference_between_methods_is_noticed_from_both_sides() -> None:
    rng = np.random.default_rng(1)
    one, other = (
        seeded(
            name,
            {
                "reverse_lm_score": list(level + 0.02 * rng.standard_normal(5)),
                "self_bleu_4": list(level / 10 + 0.002 * rng.standard_normal(5)),
            },
        )
        for name, level in (("one", 4.4), ("other", 4.6))
    )
    found = verdicts([one, other], NUM)
    assert found[0].headline == "ahead of other in reverse LM score, more diverse"
    assert found[1].headline == "behind one in reverse LM score, less diverse"
    truth = [
        dataclasses.replace(item, metrics={**item.metrics, "js": tuple(js + 0.001 * rng.standard_normal(5))})
        for item, js in ((one, 0.3), (other, 0.2))
    ]
    assert "behind other in JS" in verdicts(truth, NUM)[0].headline
