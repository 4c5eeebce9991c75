"""The rule of the sentinel on planted trajectories: what it must see, and how often it cries wolf."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float

from textforge.metrics.ngrams import expected_unique
from textforge.run import Share
from textforge.run.sentinel import Sentinel, spoken

NUM = 256


@dataclass(frozen=True)
class Look:
    """What one evaluation found; None where it was not measured."""

    unique: float | None = 0.98
    entropy: float | None = 1.2
    nll: float | None = 1.3
    copies: float | None = 0.05
    d_accuracy: float | None = 0.7
    real_unique: float = 0.98

    def at(self, sentinel: Sentinel) -> list[str]:
        """The causes that the sentinel tells at this look."""
        scalars = {"nll_valid": self.nll, "entropy": self.entropy}
        shares = {"unique": (self.unique, self.real_unique, 0.02), "exact_copy": (self.copies, 0.05, 0.01)}
        findings = sentinel.look(
            {name: value for name, value in scalars.items() if value is not None},
            {
                name: Share(value, real, error, NUM)
                for name, (value, real, error) in shares.items()
                if value is not None
            },
            self.d_accuracy,
        )
        return [finding.cause for finding in findings]


def told(looks: Iterable[Look]) -> dict[int, list[str]]:
    """What is told at which look of one phase."""
    sentinel = Sentinel()
    return {i: causes for i, look in enumerate(looks) if (causes := look.at(sentinel))}


HEALTHY = [Look(nll=nll) for nll in (3.0, 2.0, 1.5, 1.3)]
GONE = Look(unique=1 / NUM, entropy=0.01, nll=9.0)


def test_collapse_to_one_sentence_is_told_at_once_and_once() -> None:
    assert told([*HEALTHY, GONE, GONE, GONE]) == {4: ["unique", "entropy"]}


def test_what_is_over_may_come_again() -> None:
    """Half of the loss made up is not over; three quarters are."""
    better = [Look(unique=0.6, entropy=0.8, nll=1.5), GONE]
    assert told([*HEALTHY, GONE, *better]) == {4: ["unique", "entropy"]}
    assert told([*HEALTHY, GONE, Look(nll=1.5), *better]) == {4: ["unique", "entropy"], 7: ["unique", "entropy"]}


def test_every_phase_is_told_anew() -> None:
    sentinel = Sentinel()
    assert [look.at(sentinel) for look in [*HEALTHY, GONE]][-1] == ["unique", "entropy"]
    sentinel.begin()
    assert GONE.at(sentinel) == ["unique", "entropy"]


def test_slow_collapse_is_told_when_half_is_gone() -> None:
    entropies = [1.2 * 0.9**i for i in range(12)]
    looks = [*HEALTHY, *(Look(entropy=entropy, nll=1.3 + 0.1 * i) for i, entropy in enumerate(entropies))]
    (at,) = told(looks)
    assert entropies[at - 4] < 0.65 < entropies[at - 5]


def test_sharpening_while_the_likelihood_improves_is_learning() -> None:
    looks = [Look(entropy=0.3 * nll, unique=0.3, copies=0.9, nll=nll) for nll in np.linspace(5, 1, 20)]
    assert told([Look(nll=6.0), *looks]) == {}


def test_copier_is_told() -> None:
    copies = [0.05, 0.2, 0.4, 0.5, 0.53, 0.9]
    assert told([*HEALTHY, *(Look(copies=share, nll=1.4) for share in copies)]) == {8: ["exact_copy"]}


def test_few_held_out_lines_prove_no_copying() -> None:
    """That none of three held-out lines stands in the training text does not show that few texts of the kind do."""
    sentinel = Sentinel()
    sentinel.look({"nll_valid": 1.0}, {}, None)
    error = math.sqrt(0.2 * 0.8 * (1 / 5 + 1 / NUM))
    assert not sentinel.look({"nll_valid": 1.1}, {"exact_copy": Share(0.9, 0.2, error, NUM)}, None)


@pytest.mark.parametrize(
    ("accuracies", "at"),
    [
        ([1.0, 0.995, 1.0, 1.0, 1.0], [2]),
        ([1.0, 1.0, 0.9, 1.0, 1.0], []),
        ([1.0, 1.0, None, 1.0, 1.0], []),
        ([0.97] * 9, []),
        ([1.0] * 3 + [0.9] + [1.0] * 3, [2, 6]),
        ([0.5] * 9, []),  # at chance is where the game should end
    ],
)
def test_discriminator_that_is_perfect_for_long(accuracies: Sequence[float | None], at: list[int]) -> None:
    assert told(Look(d_accuracy=accuracy) for accuracy in accuracies) == {i: ["d_accuracy"] for i in at}


def test_only_a_worse_generator_is_a_collapse() -> None:
    sentinel = Sentinel()
    for look in HEALTHY:
        look.at(sentinel)
    findings = sentinel.look({"entropy": 0.1, "nll_valid": 5.0}, {}, 1.0)
    assert [(finding.cause, finding.is_collapse) for finding in findings] == [("entropy", True)]
    assert not sentinel.look({"entropy": 0.1, "nll_valid": 5.0}, {}, 1.0)
    findings = sentinel.look({"entropy": 0.1, "nll_valid": 5.0}, {}, 1.0)
    assert [(finding.cause, finding.is_collapse) for finding in findings] == [("d_accuracy", False)]


# --- Generators driven by noise have neither entropy nor likelihood ---


def noisy(*shares: float) -> Iterator[Look]:
    yield from (Look(unique=share, entropy=None, nll=None, copies=None) for share in shares)


def test_generator_without_likelihood_is_told_when_it_lasts() -> None:
    assert told(noisy(0.6, 0.7, 0.3, 0.02, 0.02, 0.02, 0.02)) == {5: ["unique"]}
    assert told(noisy(0.01, 0.1, 0.2, 0.5, 0.4, 0.4, 0.4, 0.6, 0.4)) == {}


# --- Languages: samples as good as real text are never told, however small the language ---


def zipf(num: int) -> Float[np.ndarray, " K"]:
    weights = 1 / np.arange(1, num + 1)
    return np.asarray(weights / weights.sum())


LANGUAGES: Mapping[str, Float[np.ndarray, " K"]] = {
    "one sentence": np.ones(1),
    "two, one of them rare": np.array([0.999, 0.001]),
    "five sentences": np.full(5, 0.2),
    "a table of 27": np.random.default_rng(3).dirichlet(np.ones(27)),
    "a thousand, a few of them often": zipf(1000),
    "a language": np.full(20_000, 1 / 20_000),
}


def looks_at(
    real: Float[np.ndarray, " K"], generator: Float[np.ndarray, " K"], num: int, seed: int
) -> Iterator[tuple[list[str], list[str]]]:
    """Train on 1,000 lines, hold out 100, and look twice at real samples and `num` times at those of a generator.

    Yields what is told of one with a likelihood, whose NLL swings about a value that is not improved any more, and of
    one without.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(real), 1100 + 2 * NUM, p=real)
    train, valid, first = drawn[:1000], drawn[1000:1100], drawn[1100:].reshape(2, NUM)
    expected = expected_unique(np.unique(train, return_counts=True)[1], NUM)
    held_out = (np.isin(valid, train).sum() + 1) / 102
    error = math.sqrt(held_out * (1 - held_out) * (1 / 102 + 1 / NUM))
    sentinels = Sentinel(), Sentinel()
    for samples in (*first, *rng.choice(len(real), (num, NUM), p=generator)):
        shares = {
            "unique": Share(len(set(samples.tolist())) / NUM, *expected, NUM),
            "exact_copy": Share(float(np.isin(samples, train).mean()), held_out, error, NUM),
        }
        cross = -np.log(real[valid]).mean() + abs(rng.normal(0, 0.02))
        scalars = {"nll_valid": cross / 10, "entropy": -np.log(real[samples]).mean() / 10}
        found = sentinels[0].look(scalars, shares, 0.5), sentinels[1].look({}, shares, 0.5)
        yield [finding.cause for finding in found[0]], [finding.cause for finding in found[1]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_healthy_runs_are_never_told(language: str) -> None:
    """100 runs of 22 looks: with no alarm in 2,200, the rate is below 3 in 2,200 with a confidence of 95 %."""
    p = LANGUAGES[language]
    alarms = [causes for seed in range(100) for causes in looks_at(p, p, 20, seed)]
    assert alarms == [([], [])] * 2200


@pytest.mark.parametrize(("language", "kept"), [("a table of 27", 2), ("five sentences", 1), ("a language", 60)])
def test_a_part_of_the_language_is_told(language: str, kept: int) -> None:
    """A generator that keeps so few of its texts is told within four looks, in all of 50 runs."""
    p = LANGUAGES[language]
    collapsed = np.where(np.arange(len(p)) < kept, 1 / kept, 0.0)
    for seed in range(50):
        with_likelihood, without = zip(*looks_at(p, collapsed, 4, seed), strict=True)
        assert any("unique" in causes for causes in with_likelihood)
        assert [i for i, causes in enumerate(without) if "unique" in causes] == [5]


# --- State ---


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_state_survives_a_resume(data: st.DataObject) -> None:
    """The same is told where a run is cut, whatever it looks at."""
    share = st.one_of(st.none(), st.floats(0, 1))
    look = st.builds(Look, share, st.one_of(st.none(), st.floats(0, 3)), st.one_of(st.none(), st.floats(0, 3)), share)
    looks = data.draw(st.lists(look, min_size=1, max_size=12))
    accuracies = data.draw(st.lists(st.sampled_from([1.0, 0.5]), min_size=len(looks), max_size=len(looks)))
    whole, cut = Sentinel(), Sentinel()
    for step, accuracy in zip(looks, accuracies, strict=True):
        state = json.loads(json.dumps(cut.state_dict()))
        cut = Sentinel()
        cut.load_state_dict(state)
        seen = Look(step.unique, step.entropy, step.nll, step.copies, accuracy)
        assert seen.at(cut) == seen.at(whole)


def test_what_is_not_a_number_is_not_told() -> None:
    nan = math.nan
    assert told([*HEALTHY, Look(entropy=nan, d_accuracy=nan, nll=2.0), Look(nll=math.inf, entropy=math.inf)]) == {}


# --- Words ---


def test_words_tell_what_was_measured_against_what_and_what_to_do() -> None:
    sentinel = Sentinel()
    for look in HEALTHY:
        look.at(sentinel)
    findings = sentinel.look({"entropy": 0.1, "nll_valid": 5.0}, {"unique": Share(0.0625, 0.5, 0.01, 256)}, 0.5)
    assert spoken(findings, "warn", ("best", 70)) == (
        "the generator repeats itself: 16 of 256 samples are different texts, of as many lines of real text about 128; "
        "the generator says too few things: its entropy is 0.10 nats a token, where its lowest held-out NLL, 1.30, "
        "promised about as much; the discriminator does not see it: its accuracy is 0.50; lower the generator's "
        "learning rate, or end this phase sooner; the generator of step 70 is kept: --checkpoint best"
    )
    for mode, earlier, end in (
        ("rollback", ("pretrain", 9), "; this phase ends with the generator of step 9, the checkpoint 'pretrain'"),
        ("rollback", None, "; there is no earlier generator to go back to"),
        ("stop", ("best", 70), "; the run stops"),
        ("warn", None, "or end this phase sooner"),
    ):
        assert spoken(findings, mode, earlier).endswith(end)  # type: ignore[arg-type]
