"""Run folders made by hand, file by file, as the package's documents describe them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

CONFIG = {
    "textforge": "0.1.0",
    "method": "seqgan",
    "preset": "small",
    "data": "captions",
    "valid": None,
    "tokenizer": "word",
    "max_length": 22,
    "seed": 7,
    "config": {"hidden": 64, "learning_rate": 0.001, "filters": [100, 200], "schedule": {"start": 1.0}},
}
ENVIRONMENT = {"python": "3.11.7", "torch": "2.13.0", "command": ["textforge", "train"], "git": {"dirty": False}}
ROWS = [
    {"name": "real test text", "metrics": {"bleu_2": 0.74, "bleu_3": 0.5123456, "unique": 0.987}},
    {"name": "seqgan", "metrics": {"bleu_2": 0.71, "bleu_3": None, "unique": 1, "js": 0.3123, "js_se": 0.00213}},
]
SETTINGS = {"num_samples": 1000, "num_references": 998, "tokenizer": "white space", "temperature": 1.0}
SAMPLES = {"pretrain-00000100": ["a man rides a horse", "a dog"], "adversarial-00000150": ["two men ride"]}


def records(lengths: Mapping[str, int]) -> Iterator[dict[str, object]]:
    """Yield records of phases with so many steps: two losses each step, an evaluation every tenth."""
    step = 0
    for phase, length in lengths.items():
        for iteration in range(1, length + 1):
            step += 1
            record: dict[str, object] = {"phase": phase, "step": step, "iteration": iteration, "seconds": step / 2}
            yield record | {"g_loss": 1 / step, "d_loss": -step * 0.5}
            if step % 10 == 0:
                yield record | {"nll_valid": 2 + 10 / step, "entropy": 2 - 1 / step, "unique": 0.5}


def build(
    folder: Path,
    *,
    config: object = CONFIG,
    environment: object = ENVIRONMENT,
    lines: Sequence[object] | None = None,
    samples: Mapping[str, Sequence[str]] = SAMPLES,
    rows: object = ROWS,
    settings: object = SETTINGS,
) -> Path:
    """Write a complete run folder."""
    (folder / "samples").mkdir(parents=True)
    lines = list(records({"pretrain": 100, "adversarial": 50})) if lines is None else lines
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "evaluation.json").write_text(json.dumps({"rows": rows, "settings": settings}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    for name, texts in samples.items():
        path = folder / "samples" / f"{name}.txt"
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", newline="\n")
    return folder
