"""What numbers mean, in words: is a generator collapsed, a copier, noise; and is it better than anything simple?

A difference is told only where its interval leaves out 0: over seeds where there are at least `SEEDS`, over texts for
files of samples. Fewer trainings than that cannot tell a method from another, so they tie.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean

import numpy as np

from textforge.metrics.bootstrap import Interval, difference_interval, mean_interval
from textforge.report.comparison import COPIER, COUNT, MLE, REAL, Entry, Verdict
from textforge.report.words import number

SEEDS = 4
"""Trainings from which an interval of 95 % can be said."""
FEW = 100
"""Texts below which a verdict says so."""
WIDE = 0.2
"""Width of the classifier's interval from which it tells nothing; 100 texts a side have about so much."""
Z = 4.0
"""Standard errors beyond which a share counts as different: a false flag is one in ten thousand."""

QUALITY = {"bleu_4": +1, "lm_score": -1}
DIVERSITY = {"self_bleu_4": -1, "unique": +1, "distinct_2": +1}
JOINT = {"reverse_lm_score": -1, "ms_jaccard_4": +1, "backward_bleu_4": +1}
"""Numbers that neither quality nor diversity alone can buy; +1 where more is better."""
TRUTH = {"js": -1, "kl_pq": -1, "tv": -1}
LABELS = {
    "bleu_4": "BLEU-4",
    "self_bleu_4": "Self-BLEU-4",
    "backward_bleu_4": "backward BLEU-4",
    "ms_jaccard_4": "MS-Jaccard-4",
    "lm_score": "LM score",
    "reverse_lm_score": "reverse LM score",
    "unique": "distinct texts",
    "distinct_2": "distinct-2",
    "js": "JS",
    "kl_pq": "KL(P‖G)",
    "tv": "TV",
}


def verdicts(entries: Sequence[Entry], num_samples: int) -> tuple[Verdict, ...]:
    """Return one verdict for each entry that is no control; `num_samples` texts of each were looked at."""
    controls = {entry.name: entry for entry in entries if entry.kind == "control"}
    judged = [entry for entry in entries if entry.kind != "control"]
    return tuple(_verdict(entry, judged, controls, num_samples) for entry in judged)


def _verdict(entry: Entry, judged: Sequence[Entry], controls: Mapping[str, Entry], num: int) -> Verdict:
    if said := _is_reference(entry, controls):
        return Verdict(entry.name, SHORT["references"], (said,), ("references",))
    flags = dict(
        (
            *_repetition(entry, controls, num),
            *_copying(entry, controls, num),
            *_disorder(entry, controls),
            *_sharpness(entry, controls),
        )
    )
    reasons = list(flags.values())
    main: list[str] = [SHORT[flag] for flag in flags]
    if not flags and _indistinguishable(entry):
        if _is_wide(entry):
            main.append("nothing tells it from real text, but there are too few texts to tell")
        else:
            flags["indistinguishable"] = ""
            main.append("indistinguishable from real text by every test here")
        reasons.append(_classifier(entry))
    for relation in (*_against_mle(entry), *_against_count(entry, controls)):
        flags |= {flag: "" for flag in relation.flags}
        main += [relation.headline] if relation.headline else []
        reasons += relation.reasons
    main += [_against(entry, other) for other in judged if other is not entry and not _is_reference(other, controls)]
    known = _of_real(controls, "exact_copy")
    if known is not None and known > 0.5:
        reasons.append(f"{known:.0%} of real text stands in the training text, so copying cannot be told from speaking")
    elif not {"copies", "copier"} & flags.keys() and entry.mean("exact_copy") is not None and known is not None:
        main.append("copies no more whole texts than real text does")
    elif entry.kind == "samples" and entry.mean("exact_copy") is None:
        main.append("whether it copies was not looked at: --train has the training text")
    return Verdict(
        entry.name, "; ".join(main) or "nothing to compare it with", (*reasons, *_doubts(entry, num)), tuple(flags)
    )


def _doubts(entry: Entry, num: int) -> Iterator[str]:
    """Say what the numbers are too few for."""
    if num < FEW:
        yield f"{num} texts were looked at: shares of so few say little, and {FEW} or more would say more"
    if entry.kind == "samples" and not entry.errors:
        yield "too few texts for intervals, so nothing is decided between this file and others"
    if entry.kind == "model" and len(entry.seeds) < SEEDS:
        plural = "s" * (len(entry.seeds) > 1)
        yield (
            f"{len(entry.seeds)} training{plural}: how much trainings differ is not known, so nothing is decided; "
            f"--seeds {SEEDS} or more would tell"
        )


SHORT = {
    "collapse": "collapsed",
    "repetition": "repeats itself",
    "copier": "copies its training text",
    "copies": "holds copies of its training text",
    "stretches": "gives back long stretches of its training text",
    "references": "is the reference text itself, so nothing is measured",
    "disorder": "words without order",
    "sharp": "too sharp, not too good",
}


FAULTS = frozenset({*SHORT, "dominated"})
"""The flags that speak against an entry."""


def _repetition(entry: Entry, controls: Mapping[str, Entry], num: int) -> Iterator[tuple[str, str]]:
    unique, real = entry.mean("unique"), _of_real(controls, "unique")
    if unique is None or real is None:
        return
    if real - unique > max(0.02, Z * math.sqrt(real * (1 - real) / num)):
        said = f"{unique:.1%} of its texts are distinct, of real text {real:.1%}"
        bleu, ordinary = entry.mean("bleu_4"), controls[COPIER].mean("bleu_4") if COPIER in controls else None
        if bleu is not None and ordinary is not None and bleu > ordinary:
            said += (
                f"; its BLEU-4 of {bleu:.3f}, above that of training text ({ordinary:.3f}), is repetition, not skill"
            )
        yield ("collapse", f"says hardly anything: {said}") if unique < 0.1 * real else ("repetition", said)


def _is_reference(entry: Entry, controls: Mapping[str, Entry]) -> str:
    """Say why these are the references themselves; nothing where they are not."""
    bleu, ordinary = entry.mean("bleu_5"), controls[COPIER].mean("bleu_5") if COPIER in controls else None
    if bleu is None or ordinary is None or bleu <= 0.999 or ordinary >= 0.9:
        return ""
    return f"its BLEU-5 is {bleu:.3f}, where other real text has {ordinary:.3f}"


def _copying(entry: Entry, controls: Mapping[str, Entry], num: int) -> Iterator[tuple[str, str]]:
    copied, real = entry.mean("exact_copy"), _of_real(controls, "exact_copy")
    if copied is not None and real is not None:
        excess = copied - real
        if excess > max(0.002, Z * math.sqrt(max(real, 1 / num) * (1 - real) / num)):
            said = f"{copied:.1%} of its texts stand in the training text, of real text {real:.1%}"
            yield ("copier", said) if excess > 0.5 * (1 - real) else ("copies", said)
    copied, real = entry.mean("copied_8"), entry.mean("copied_real_8")
    if copied is not None and real is not None and copied > 2 * real + 0.01:
        yield (
            "stretches",
            f"{copied:.1%} of its stretches of 8 symbols stand in the training text, of real text {real:.1%}",
        )


def _disorder(entry: Entry, controls: Mapping[str, Entry]) -> Iterator[tuple[str, str]]:
    ordinary = controls.get(COPIER) or controls.get(COUNT)
    if ordinary is None:
        return
    words, pairs, score = (entry.mean(name) for name in ("in_test_1", "in_test_2", "lm_score"))
    usual = [ordinary.mean(name) for name in ("in_test_1", "in_test_2", "lm_score")]
    if None in (words, pairs, score, *usual):
        return
    if words > 0.8 * usual[0] and pairs < 0.7 * usual[1] and score > usual[2] + 1:  # type: ignore[operator]
        yield (
            "disorder",
            f"{words:.0%} of its words occur in real text, but only {pairs:.0%} of its pairs of words "
            f"(training text: {usual[1]:.0%})",
        )


def _sharpness(entry: Entry, controls: Mapping[str, Entry]) -> Iterator[tuple[str, str]]:
    nll, real = entry.mean("nll_oracle"), _of_real(controls, "nll_oracle")
    entropy, valid = entry.mean("entropy"), entry.mean("validity")
    if nll is None or real is None or valid is None or valid < 0.5:
        return
    if nll < real - 0.02 and (entropy is None or entropy < real - 0.02):
        said = "" if entropy is None else f"; its entropy is {entropy:.3f}"
        yield (
            "sharp",
            f"the oracle finds its samples likelier ({nll:.3f} nats a token) than real text ({real:.3f}){said}: "
            "it says too few things",
        )


def _of_real(controls: Mapping[str, Entry], metric: str) -> float | None:
    """The value of real text; of the training text where the former is not known."""
    for name in (REAL, COPIER):
        if name in controls and (name == REAL or metric != "exact_copy"):
            value = controls[name].mean(metric)
            if value is not None:
                return value
    return None


def _indistinguishable(entry: Entry) -> bool:
    low, high = entry.mean("c2st_low"), entry.mean("c2st_high")
    if low is None or high is None or not low <= 0.5 <= high:
        return False
    js, error = entry.mean("js"), entry.mean("js_se")
    return js is None or error is None or abs(js) <= 3 * error


def _is_wide(entry: Entry) -> bool:
    low, high = entry.mean("c2st_low"), entry.mean("c2st_high")
    return low is None or high is None or high - low > WIDE


def _classifier(entry: Entry) -> str:
    low, high = entry.mean("c2st_low"), entry.mean("c2st_high")
    js, error = entry.mean("js"), entry.mean("js_se")
    said = f"a classifier is right in {low:.1%} to {high:.1%} of cases"
    return said if js is None or error is None else f"{said}; JS {number(js)} ± {number(error, digits=2)}"


def _against_mle(entry: Entry) -> Iterator[Verdict]:
    """Compare with maximum likelihood at equal quality, by the gaps that were measured with each training."""
    found = [gap for gap in entry.gaps if gap is not None]
    if not entry.gaps or entry.name == MLE:
        return
    if len(found) < len(entry.gaps):
        num = len(entry.gaps)
        told = "" if num == 1 else f" (of {num - len(found)} of {num} trainings)"
        yield Verdict(
            entry.name,
            f"no gap to {MLE} can be told",
            (
                f"the tuned {MLE} has its quality, its LM score{told}, at none of the temperatures swept, "
                "so the two cannot be compared at equal quality",
            ),
        )
        return
    values, warmth = np.array([gap.value for gap in found]), mean(gap.temperature for gap in found)
    if len(found) >= SEEDS:
        interval = mean_interval(values)
        said = f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
        relation = interval.verdict
    else:
        said = ", ".join(f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]" for gap in found)
        relation = "tie"
    words = {"tie": "tie with", "lower": "ahead of", "higher": "behind"}[relation]
    yield Verdict(
        entry.name,
        f"{words} {MLE} at temperature {warmth:.2f} on reverse LM score",
        (f"at equal LM score its reverse LM score less that of {MLE} is {said} nats a token",),
        () if relation == "tie" else (words,),
    )


def _against_count(entry: Entry, controls: Mapping[str, Entry]) -> Iterator[Verdict]:
    if COUNT not in controls:
        return
    count = controls[COUNT]
    relations = {name: _difference(entry, count, name) for name in (*QUALITY, *DIVERSITY, *JOINT, *TRUTH)}
    better: list[tuple[str, str]] = []
    worse: list[tuple[str, str]] = []
    for name, interval in relations.items():
        if interval is not None and interval.verdict != "tie":
            more_is_better = {**QUALITY, **DIVERSITY, **JOINT, **TRUTH}[name] > 0
            said = f"{LABELS[name]} {number(entry.mean(name), 3)} against {number(count.mean(name), 3)}"
            (better if (interval.verdict == "higher") == more_is_better else worse).append((name, said))
    if all(interval is None for interval in relations.values()):
        beside = [
            f"{LABELS[name]} {number(entry.mean(name), 3)} against {number(count.mean(name), 3)}"
            for name in JOINT
            if entry.mean(name) is not None
        ]
        if beside:
            yield Verdict(entry.name, "", (f"beside the {COUNT}, without an interval: {', '.join(beside)}",))
        return
    copied = count.mean("exact_copy")
    told = f"the {COUNT}" if copied is None else f"the {COUNT} (of whose texts {copied:.0%} are copies)"
    sides = [("ahead of", better), ("behind", worse)]
    ahead, dominated = (JOINT.keys() <= dict(found).keys() for found in (better, worse))
    if dominated:
        sides.reverse()
    relation = "dominated by" if dominated else "ahead of" if ahead else "neither ahead of nor behind"
    reasons = tuple(f"{words} {told} in {', '.join(said for _, said in found)}" for words, found in sides if found)
    yield Verdict(entry.name, f"{relation} the {COUNT}", reasons, ("dominated",) if dominated else ())


def _against(entry: Entry, other: Entry) -> str:
    """Say how two entries compare in what sees both quality and diversity, and in diversity."""
    name = "js" if entry.mean("js") is not None and other.mean("js") is not None else "reverse_lm_score"
    interval = _difference(entry, other, name)
    if interval is None:
        said = f"tie with {other.name}, undecided"
    elif interval.verdict == "tie":
        said = f"tie with {other.name}"
    else:
        said = f"{'ahead of' if interval.verdict == 'lower' else 'behind'} {other.name} in {LABELS[name]}"
    alike = _difference(entry, other, "self_bleu_4")
    if alike is not None and alike.verdict != "tie":
        said += f", {'less' if alike.verdict == 'higher' else 'more'} diverse"
    return said


def _difference(entry: Entry, other: Entry, metric: str) -> Interval | None:
    """Return the difference of two entries with its interval; None where one was not measured or it cannot be said."""
    ours, theirs = entry.metrics.get(metric), other.metrics.get(metric)
    if not ours or not theirs:
        return None
    if len(ours) > 1 and len(theirs) > 1:
        common = [seed for seed in entry.seeds if seed in other.seeds]
        if len(common) < SEEDS:
            return None
        pairs = [(ours[entry.seeds.index(seed)], theirs[other.seeds.index(seed)]) for seed in common]
        return difference_interval(*np.array(pairs).T)
    if any(item.kind == "model" and len(item.seeds) < SEEDS for item in (entry, other)):
        return None
    if len(ours) > 1 or len(theirs) > 1:
        return mean_interval(np.array(ours) - np.array(theirs))
    if metric not in entry.errors or metric not in other.errors:
        return None
    value, reach = ours[0] - theirs[0], 1.96 * math.hypot(entry.errors[metric], other.errors[metric])
    return Interval(value, value - reach, value + reach, 0.95)
