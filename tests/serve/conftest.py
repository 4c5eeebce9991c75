"""Two runs on one corpus, untrained: maximum likelihood, with a detector and a record, and SeqGAN."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from report.folders import records
from report.pages import ATTACK

from textforge import detector, methods
from textforge.detector import Detector
from textforge.model import Model
from textforge.nets.text_cnn import TextCNN
from textforge.options import Options
from textforge.task import load_task

LINES = [
    f"{who} {does} {where}"
    for who in ("a man", "the dog", "one horse")
    for does in ("rides", "sleeps", "runs", ATTACK)
    for where in ("home", "here", "on the grass", ".")
]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of the runs."""
    folder = tmp_path_factory.mktemp("serve")
    data = folder / "data"
    data.mkdir()
    for part, lines in {"train": LINES, "valid": LINES[::2]}.items():
        (data / f"{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        judged, _ = (_untrained(name, data, folder / name) for name in ("mle", "seqgan"))
        config = detector.Config(embedding_dim=4, windows=((1, 4), (2, 4)))
        vocabulary, length = judged.tokenizer.vocabulary, judged.generator.max_length
        network = TextCNN(vocabulary, length, windows=config.windows, embedding_dim=4, dropout=config.dropout)
    detector.save(Detector(network.eval(), 40.0, 0.0, 1.0), judged.generator, config, {}, folder / "mle")
    record(folder / "mle", 30, ["a man rides home", ATTACK, ""])
    return [folder / "mle", folder / "seqgan"]


def _untrained(name: str, data: Path, folder: Path) -> Model:
    method = methods.find(name)
    assert isinstance(method, methods.Method)
    options, config = Options(data=str(data), preset="tiny"), method.PRESETS["tiny"]
    task = load_task(options)
    settings: dict[str, Any] = {
        **vars(options),
        "method": name,
        "max_length": task.max_length,
        "corpus": task.fingerprint,
        "config": vars(config),
    }
    networks = method.networks(config, task.vocabulary, task.max_length)
    model = Model(json.loads(json.dumps(settings)), task.tokenizer, networks)
    model.save(folder)
    return model


def record(run: Path, length: int, samples: list[str]) -> None:
    """Write what a run keeps while it trains."""
    lines = records({"pretrain": length, ATTACK: length})
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (run / "samples").mkdir(exist_ok=True)
    (run / "samples" / f"pretrain-{2 * length:08}.txt").write_text("".join(f"{text}\n" for text in samples))
