"""Comparisons made by hand, with numbers such as captions give: models, a file of samples, controls."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence

from report.pages import ATTACK

from textforge.report.comparison import COPIER, COUNT, MLE, REAL, Comparison, Entry, Gap, Kind, Sweep, Verdict
from textforge.report.read import Record

KINDS: tuple[Kind, ...] = ("model", "samples", "control")
TEMPERATURES = (0.5, 0.7, 0.85, 1.0, 1.2)
SETTINGS = {
    "num_samples": 2000,
    "num_references": 1998,
    "tokenizer": "word",
    "casing": "as given",
    "bleu_smoothing": "method1: 0.1 matches where there are none",
    "self_bleu_protocol": "loo: each sample against all others",
    "references": "test text",
    "encoder": "hashed n-grams of order 1 to 3, 384 numbers",
}
REAL_TEXT = {
    **{"bleu_2": 0.736, "bleu_3": 0.512, "bleu_4": 0.329, "bleu_5": 0.211},
    **{"self_bleu_2": 0.811, "self_bleu_3": 0.619, "self_bleu_4": 0.431, "self_bleu_5": 0.292},
    **{"backward_bleu_4": 0.331, "ms_jaccard_2": 0.349, "ms_jaccard_3": 0.236, "ms_jaccard_4": 0.158},
    **{"in_test_1": 0.982, "in_test_2": 0.841, "in_test_3": 0.552, "in_test_4": 0.289},
    **{"lm_score": 3.21, "reverse_lm_score": 3.21, "distinct_2": 0.342, "unique": 0.987},
    **{"frechet": 0.021, "frechet_floor": 0.0206, "c2st": 0.502, "c2st_low": 0.48, "c2st_high": 0.524, "tv_bound": 0.0},
    **{"mauve": 0.972, "mauve_sd": 0.004, "exact_copy": 0.002},
    **{"copied_5": 0.066, "copied_real_5": 0.066, "copied_excess_5": 0.0},
    **{"copied_8": 0.005, "copied_real_8": 0.005, "copied_excess_8": 0.0},
    **{"span": 4.31, "span_real": 4.31, "span_max": 13.0, "span_max_real": 13.0, "edit": 0.487, "edit_real": 0.487},
}
COPYING = {"exact_copy": 1.0, "copied_5": 1.0, "copied_8": 1.0, "span": 10.9, "span_max": 28.0, "edit": 0.0}
ENGLISH = (
    "a man riding a wave on top of a surfboard .",
    "two dogs play with a red ball in the grass .",
    "a kitchen with a stove , a sink and wooden cabinets .",
    "the train pulls into a crowded station at night .",
    "a plate of food with rice and broccoli on it .",
)
CHINESE = ("一个男人在海边骑马。", "两只狗在草地上玩耍。", "厨房里有一张木桌子。")
CONFIG = {"hidden": 64, "learning_rate": 0.001, "filters": [100, 200], "schedule": {"start": 1.0, "end": 0.1}}


def measured(quality: float, *, collapse: float = 0.0, copying: float = 0.0) -> dict[str, float]:
    """Return metrics of a generator: 1 is real text in quality, `collapse` and `copying` run from 0 to 1."""
    values = {name: value for name, value in REAL_TEXT.items() if not name.endswith(("_low", "_high"))}
    for name in values:
        if name.startswith(("bleu", "in_test", "ms_jaccard", "backward", "mauve")):
            values[name] *= quality * (1 - 0.4 * collapse * name.startswith(("ms_", "back", "mauve")))
        if name.startswith("self_bleu"):
            values[name] += (0.97 - values[name]) * collapse
        if name in COPYING:
            values[name] += (COPYING[name] - values[name]) * copying
    values["lm_score"] *= 2 - quality
    values["reverse_lm_score"] *= 2 - quality + 0.5 * collapse
    values["frechet"] += 0.2 * (1 - quality) + 0.3 * collapse
    values["c2st"] = 0.5 + 0.45 * min(1, 1 - quality + collapse)
    values["unique"] *= 1 - 0.6 * collapse
    values["copied_excess_5"] = values["copied_5"] - values["copied_real_5"]
    values["copied_excess_8"] = values["copied_8"] - values["copied_real_8"]
    return values | {"entropy": 3.3 - 1.2 * collapse}


def seeded(
    metrics: Mapping[str, float], seeds: int, *, noise: float = 0.01, start: int = 0
) -> dict[str, tuple[float, ...]]:
    """Return one value per seed, scattered around each."""
    chance = random.Random(start)
    return {
        name: tuple(value * (1 + noise * chance.gauss(0, 1)) for _ in range(seeds)) for name, value in metrics.items()
    }


def frontier(quality: float, collapse: float, seeds: int, *, start: int = 0) -> tuple[Sweep, ...]:
    """Return metrics over temperatures: cold is better and more alike, hot worse and more varied."""
    sweeps = []
    for at, temperature in enumerate(TEMPERATURES):
        cold = 1 - temperature
        metrics = measured(quality * (1 + 0.5 * cold), collapse=min(1, max(0, collapse + 0.8 * cold)))
        sweeps.append(Sweep(temperature, seeded(metrics, seeds, start=start + at)))
    return tuple(sweeps)


def recorded(lines: int, *, seed: int = 0, level: float = 3.0, adversarial: bool = True) -> tuple[Record, ...]:
    """Return the records of one seed: a phase of maximum likelihood, then an adversarial one."""
    return tuple(_records(lines, random.Random(seed), level, adversarial=adversarial))


def _records(lines: int, chance: random.Random, level: float, *, adversarial: bool) -> Iterator[Record]:
    turn = lines * 6 // 10 if adversarial else lines
    for step in range(1, lines + 1):
        noise = chance.gauss(0, 0.02)
        if step <= turn:
            scalars = {"nll_train": level + 2 * math.exp(-4 * step / turn) + noise}
        else:
            scalars = {"g_loss": 0.7 - 0.2 * (step - turn) / lines + 3 * noise, "d_loss": 0.6 + 4 * noise}
        if step % max(1, lines // 40) == 0:
            late = max(0, step - turn) / lines
            scalars["nll_valid"] = level + 0.1 + 2 * math.exp(-4 * step / turn) + 0.3 * late + noise
            scalars |= {"entropy": level - 0.4 * late + noise, "unique": 0.98 - 0.3 * late + noise / 4}
        phase = "pretrain" if step <= turn else "adversarial"
        yield Record(phase if adversarial else "train", step, step / 4, scalars)


def texts(language: Sequence[str], num: int, first: int = 0) -> tuple[str, ...]:
    return tuple(language[(first + i) % len(language)] for i in range(num))


def model(
    name: str,
    *,
    quality: float,
    collapse: float = 0.0,
    seeds: int = 5,
    lines: int = 80,
    start: int = 0,
    kind: str = "model",
    adversarial: bool = True,
) -> Entry:
    """Return a trained model: swept over temperatures, recorded, sampled."""
    sweeps = frontier(quality, collapse, seeds, start=start)
    return Entry(
        name=name,
        kind="model" if kind == "model" else "control",
        metrics=sweeps[TEMPERATURES.index(1.0)].metrics,
        errors={"bleu_4": 0.0043},
        seeds=tuple(range(seeds)),
        frontier=sweeps,
        gaps=(*(Gap(0.3 + seed / 50, 0.24, 0.38, 3.4, 0.93) for seed in range(seeds - 1)), None)
        if kind == "model"
        else (),
        records=tuple(
            recorded(lines, seed=start + seed, level=4 - quality, adversarial=adversarial) for seed in range(seeds)
        ),
        samples={temperature: texts(ENGLISH, 12, first) for first, temperature in enumerate(TEMPERATURES)},
        config={"method": name, "preset": "small", "config": CONFIG},
        command=f"textforge train {name.split()[0]} --data captions --preset small --out runs/{name.split()[0]}",
        hashes={"model.safetensors": "9f86d081884c7d659a2feaa0c55ad015", "samples": "60303ae22b998861bce3b28f33eec1be"},
    )


def control(name: str, metrics: Mapping[str, float], samples: Sequence[str] = ()) -> Entry:
    return Entry(
        name=name,
        kind="control",
        metrics={key: (value,) for key, value in metrics.items()},
        errors={"bleu_4": 0.0041, "unique": 0.0025},
        samples={1.0: tuple(samples)} if samples else {},
    )


def controls(lines: int = 80) -> tuple[Entry, ...]:
    """Return what every comparison has: real text, a perfect copier, count models, maximum likelihood."""
    return (
        control(REAL, REAL_TEXT, texts(ENGLISH, 12)),
        control(COPIER, measured(1.0, copying=1.0), texts(ENGLISH, 12, 2)),
        control(COUNT, measured(1.08, collapse=0.28, copying=0.12), texts(ENGLISH, 12, 1)),
        control("unigram model", measured(0.32), texts(ENGLISH, 12, 3)),
        model(MLE, quality=0.93, lines=lines, start=50, kind="control", adversarial=False),
    )


def whole(*, seeds: int = 5, lines: int = 80) -> Comparison:
    """Return what a reader may expect: three methods on captions, a published file, five controls."""
    methods = (
        model("seqgan", quality=0.9, collapse=0.22, seeds=seeds, lines=lines),
        model("leakgan", quality=1.04, collapse=0.5, seeds=seeds, lines=lines, start=10),
        model("gumbel_gan", quality=0.8, collapse=0.1, seeds=seeds, lines=lines, start=20),
    )
    published = Entry(
        name="leakgan-published.txt",
        kind="samples",
        metrics={name: (value,) for name, value in measured(1.03, collapse=0.6).items()},
        samples={1.0: texts(ENGLISH, 3, 4)},
        hashes={"leakgan-published.txt": "2c26b46b68ffc68ff99b453c1d304134"},
    )
    verdicts = (
        Verdict(
            "seqgan",
            "Behind maximum likelihood at every temperature",
            (
                "At the LM score of mle its reverse LM score is 0.31 nats higher (0.24 to 0.38).",
                "Adversarial training raised BLEU-4 from 0.302 to 0.311 and Self-BLEU-4 from 0.44 to 0.55.",
            ),
        ),
        Verdict(
            "leakgan",
            "Good scores through repetition",
            ("BLEU-4 lies above that of real text, and only 69.1 % of the samples are different.",),
            ("collapse", "beyond real text"),
        ),
        Verdict("gumbel_gan", "Less fluent than maximum likelihood, and as varied", (), ()),
        Verdict(
            "leakgan-published.txt",
            "Not better than the 4-gram count model",
            ("One file: nothing is known of other seeds.",),
        ),
        Verdict(COPIER, "Copies: every sample stands in the training text", (), ("copies",)),
    )
    return Comparison(
        title="Three methods on captions",
        entries=(*methods, published, *controls(lines)),
        verdicts=verdicts,
        settings=SETTINGS,
        command="textforge compare runs/seqgan-* runs/leakgan-* runs/gumbel_gan-* leakgan-published.txt",
    )


def chinese() -> Comparison:
    """Return a comparison of Chinese text, with a truth that is known."""
    known = {"kl_qp": (14.1, 13.2, 14.9), "kl_pq": (18.7, 19.3, 18.1), "mode_coverage": (0.81, 0.83, 0.8)}
    poems = Entry(
        name="唐诗 seqgan",
        kind="model",
        metrics=known,
        seeds=(0, 1, 2),
        samples={1.0: CHINESE},
        config={"data": "唐诗"},
        command="textforge train seqgan --data 唐诗 --out runs/唐诗",
    )
    real = Entry(name=REAL, kind="control", metrics={"kl_qp": (0.0,), "kl_pq": (0.0,), "mode_coverage": (1.0,)})
    return Comparison(
        "唐诗的比较", (poems, real), (Verdict("唐诗 seqgan", "比真实文本差", ("漏掉了许多形式。",)),), {}, ""
    )


def bare() -> Comparison:
    """Return a comparison of entries of which nothing is known."""
    entries = (Entry("nothing", "samples", {}), Entry("nothing either", "model", {}), Entry("a control", "control", {}))
    return Comparison("nothing", entries, (), {}, "")


def hostile() -> Comparison:
    """Return a comparison in which every name and every text is an attack, after the name of its place."""

    def attack(place: str) -> str:
        return f"{place}{ATTACK}"

    records = tuple(Record(attack("phase"), step, 1.0, {attack("scalar"): 1.0 + step}) for step in (1, 2, 3))
    entries = tuple(
        Entry(
            name=attack("name"),
            kind=kind,
            metrics={"bleu_4": (0.3,), "self_bleu_4": (0.4,), "unique": (0.9,), attack("metric"): (1.0,)},
            frontier=(Sweep(0.5, {"bleu_4": (0.4,), "self_bleu_4": (0.5,)}),) if kind == "model" else (),
            records=(records,) if kind == "model" else (),
            samples={1.0: (attack("sample"), "plain")},
            config={attack("key"): {attack("inner"): [attack("value")]}},
            command=attack("command"),
            hashes={attack("what"): attack("digest")},
        )
        for kind in KINDS
    )
    verdict = Verdict(attack("name"), attack("headline"), (attack("reason"),), (attack("flag"),))
    settings = {attack("setting"): attack("choice"), "num_samples": attack("number"), "num_references": 3}
    return Comparison(attack("title"), entries, (verdict,), settings, attack("command"))
