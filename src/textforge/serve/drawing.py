"""Texts of a model as the page shows them: token by token, with what the generator and the discriminator say."""

from itertools import zip_longest
from typing import Any

from textforge.errors import UserError
from textforge.model import Model
from textforge.serve.asked import BLANK, STEPS, WORK, Draw
from textforge.serve.shelf import Loaded
from textforge.text import Tab, Tokenizer, Word, plain
from textforge.tokenwise import Token, read


def draw(loaded: Loaded, asked: Draw) -> dict[str, Any]:
    """Draw what is asked for; raises UserError where the model cannot, or it would take too long."""
    model, detector = loaded.model, loaded.detector
    if (cost := asked.cost(model.generator.max_length)) > WORK:
        raise UserError(
            f"that costs about {cost:,} tokens, and {WORK:,} are allowed; ask for fewer texts or candidates"
        )
    if (steps := asked.steps(model.generator.max_length)) > STEPS:
        raise UserError(f"that takes about {steps:,} steps, and {STEPS:,} are allowed; ask for fewer simulations")
    settings: dict[str, Any] = {"temperature": asked.temperature, "seed": asked.seed}
    if asked.blanks:
        filled = model.fill(asked.text, asked.num, blank=BLANK, **settings)
        tokens, log_probs = filled.tokens, filled.log_probs
        texts = [model.tokenizer.decode(row) for row in tokens.tolist()]
    else:
        drawn = model.draw(asked.num, strategy=asked.strategy, prompt=asked.text, **settings)
        tokens, log_probs, texts = drawn.tokens, None, drawn.texts
    found = read(model, tokens, log_probs=log_probs, temperature=asked.temperature, detector=detector)
    whole = _of_whole_texts(model, texts) if detector is None else [sample[-1].real for sample in found]
    given = given_places(model.tokenizer, asked.text)
    return {
        "gap": " " if isinstance(plain(model.tokenizer), Word | Tab) else "",
        "samples": [
            {"tokens": _told(sample, given, rest=asked.blanks), "real": real}
            for sample, real in zip(found, whole, strict=True)
        ],
    }


def given_places(tokenizer: Tokenizer, text: str) -> list[bool]:
    """Return which of the first tokens stand in the text that was typed, and are no blanks."""
    found: list[bool] = []
    for i, part in enumerate(text.split(BLANK)):
        found += [False] * (i > 0) + [True] * len(tokenizer.encode(part))
    return found


def _told(sample: list[Token], given: list[bool], *, rest: bool) -> list[dict[str, Any]]:
    """Mark the tokens that were given; what stands behind a text with blanks is its end, and given as well."""
    pairs = zip_longest(sample, given[: len(sample)], fillvalue=rest)
    return [{**vars(token), "given": is_given} for token, is_given in pairs if isinstance(token, Token)]


def _of_whole_texts(model: Model, texts: list[str]) -> list[float | None]:
    """Ask the run's own discriminator, which may have learnt to judge nothing but whole texts."""
    if "discriminator" not in model.networks:
        return [None] * len(texts)
    judged = {text: 0.0 for text in texts if model.tokenizer.split(text)}
    judged = dict(zip(judged, model.discriminate(list(judged)).tolist(), strict=True))
    return [judged.get(text) for text in texts]
