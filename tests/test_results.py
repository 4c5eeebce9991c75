"""The table of a finished run: the model beside its controls."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tasks import oracle_task

import textforge
from textforge import oracles, results
from textforge.model import Model
from textforge.report.comparison import COPIER, COUNT, REAL


def test_texts_have_the_divergence_of_their_frequencies_from_a_known_truth(tmp_path: Path) -> None:
    """As the model's samples do, beside as many of the truth; of the training text against the sum by hand."""
    language = oracles.load("arithmetic")
    task = oracle_task(language, 60)
    model = textforge.fit(data="arithmetic", method="mle", preset="tiny", out=tmp_path / "run")
    assert isinstance(model, Model)
    rows, _ = results.run_rows(tmp_path / "run", model, task)
    found = {row.name: row.metrics for row in rows}
    assert {"mle", COPIER, COUNT, REAL} <= found.keys()
    for metrics in found.values():
        assert 0 < metrics["sample_js"] <= np.log(2)
    assert len({metrics["sample_js_floor"] for metrics in found.values()}) == 1

    support = language.support()
    assert support is not None
    truth = dict(zip(support, np.exp(language.log_prob(support)), strict=True))
    counts = Counter(task.texts.train)
    js = 0.0
    for text, p in truth.items():
        q = counts[text] / 60
        js += sum(x * np.log(2 * x / (p + q)) / 2 for x in (p, q) if x > 0)
    assert found[COPIER]["sample_js"] == pytest.approx(js)
