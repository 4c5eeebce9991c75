"""The model card: what a model is, how it was trained, what was measured of it beside its controls, how it is used.

Whatever comes from a corpus or a sample is text: it is escaped, or stands in a block that Markdown leaves as it is.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from textforge import methods
from textforge.decoding import Generator
from textforge.report.read import Evaluation, Row, read
from textforge.report.words import number, visible
from textforge.text import Labelled, Tokenizer

_MARKS = re.compile(r"([\\`*_{}\[\]<>()#|~$&!])")


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    return _MARKS.sub(r"\\\1", visible(text))


def card(
    settings: Mapping[str, Any],
    tokenizer: Tokenizer,
    generator: Generator,
    *,
    checkpoint: str,
    run: Path | None,
    samples: Sequence[str],
) -> str:
    """Write the card; `run` is the folder of the run, where there is one, and `samples` are drawn with seed 0."""
    method = settings["method"]
    module = methods.find(method)
    about = (module.__doc__ or "").strip().splitlines()[0]
    evaluation = None if run is None else read(run).evaluation
    sections = [
        f"---\nlibrary_name: textforge\npipeline_tag: text-generation\ntags:\n- textforge\n- {method}\n---",
        f"# {method} on {escaped(settings['data'])}",
        f"A generator of texts, made with TextForge {settings['textforge']}. Its method: {escaped(about)}",
        "## How it was trained",
        *_training(settings, tokenizer, generator, checkpoint),
        "## Results",
        *(
            _results(evaluation, checkpoint)
            if evaluation
            else ["The folder of its run held no evaluation: nothing is known of its worth."]
        ),
        "## What it writes",
        "The first texts of seed 0, not chosen:",
        "\n".join(f"    {visible(text)}" for text in samples),
        "## How to use it",
        _USE,
        "## Limitations",
        "\n".join(f"- {said}" for said in _limitations(tokenizer, generator, evaluation is not None)),
        "## The paper",
        f"```bibtex\n{module.CITATION}\n```",
    ]
    return "\n\n".join(sections) + "\n"


_USE = """```python
import textforge

model = textforge.load("the folder of this file")
model.sample(5, seed=0)
```

The library `tokenizers` reads `tokenizer.json` too, and `model.safetensors` holds the generator's weights by name."""


def _training(
    settings: Mapping[str, Any], tokenizer: Tokenizer, generator: Generator, checkpoint: str
) -> Iterator[str]:
    vocabulary = tokenizer.vocabulary
    states = {"last": "the end of training", "best": "its lowest held-out NLL"}
    facts = {
        "trained on": settings["data"],
        "state": states.get(checkpoint, f"the end of the phase {checkpoint}"),
        "preset": settings["preset"],
        "seed": settings["seed"],
        "texts are cut by": tokenizer.unit,
        "symbols": len(vocabulary.symbols) - vocabulary.num_labels,
        "labels": ", ".join(tokenizer.labels) if isinstance(tokenizer, Labelled) else "none",
        "tokens a text": f"at most {generator.max_length}, its end included",
    }
    yield _table(("", ""), [(name, str(value)) for name, value in facts.items()])
    yield "Every field of the method:"
    yield _table(("field", "value"), [(name, str(value)) for name, value in settings["config"].items()])


def _results(evaluation: Evaluation, checkpoint: str) -> Iterator[str]:
    """Yield the whole table of evaluation.json, a row a metric, the verdict, and what the numbers hang on."""
    if checkpoint != "last":
        yield "The first column is of the end of training, and not of the state in this folder."
    if evaluation.verdict:
        headline, *reasons = evaluation.verdict
        yield f"In words: {escaped(headline)}."
        if reasons:
            yield "\n".join(f"- {escaped(reason)}" for reason in reasons)
    found = dict.fromkeys(name for row in evaluation.rows for name in row.metrics)
    names = [name for name in found if not (name.endswith("_se") and name.removesuffix("_se") in found)]
    header = ("metric", *(f"{row.name} ({row.kind})" if row.kind == "control" else row.name for row in evaluation.rows))
    yield _table(header, [(name, *(_cell(row, name) for row in evaluation.rows)) for name in names])
    yield "Settings: " + "; ".join(f"{escaped(name)} {escaped(str(it))}" for name, it in evaluation.settings.items())


def _cell(row: Row, name: str) -> str:
    if name not in row.metrics:
        return ""
    error = row.metrics.get(f"{name}_se")
    return number(row.metrics[name]) + ("" if error is None else f" ± {number(error, digits=2)}")


def _limitations(tokenizer: Tokenizer, generator: Generator, measured: bool) -> Iterator[str]:
    yield "It knows the text that it was trained on and nothing else, and repeats what is false or hurtful in it."
    seen = "; `exact_copy` and `copied_8` above say how often it was seen to" if measured else ""
    yield f"It may give back training text word for word{seen}."
    if tokenizer.vocabulary.unk is not None:
        yield "What it has not seen, or too seldom, is one unknown symbol to it."
    if generator.noise_dim:
        yield "It is driven by noise: it has no likelihood, and cannot score texts."
    yield "The discriminator that it was trained with, if any, is not in this folder."


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head, *body = ([escaped(cell) for cell in row] for row in (header, *rows))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(header), *body))
