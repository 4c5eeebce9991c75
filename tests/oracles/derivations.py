"""Grammars read a second way: by writing every derivation out, and by parsing top-down without an automaton."""

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from textforge.oracles.grammar_file import Grammar, Reference


@dataclass
class Sentence:
    """What is known of a sentence when all derivations are listed."""

    probability: Fraction = Fraction(0)
    derivations: int = 0
    scenes: defaultdict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))


def write_out(grammar: Grammar) -> dict[tuple[str, ...], Sentence]:
    """List all derivations of a small grammar and gather them by sentence."""

    def derivations(slot: str) -> list[tuple[tuple[str, ...], Fraction]]:
        alternatives = grammar.slots[slot].alternatives
        total = sum(alternative.weight for alternative in alternatives)
        found = []
        for alternative in alternatives:
            parts = [
                derivations(part.slot) if isinstance(part, Reference) else [((part,), Fraction(1))]
                for part in alternative.parts
            ]
            for choice in itertools.product(*parts):
                symbols = tuple(symbol for piece, _ in choice for symbol in piece)
                found.append((symbols, math.prod((p for _, p in choice), start=Fraction(alternative.weight, total))))
        return found

    sentences: defaultdict[tuple[str, ...], Sentence] = defaultdict(Sentence)
    total = sum(scene.weight for scene in grammar.scenes)
    for scene in grammar.scenes:
        for symbols, probability in derivations(scene.name):
            sentence = sentences[symbols]
            sentence.probability += probability * Fraction(scene.weight, total)
            sentence.derivations += 1
            sentence.scenes[scene.name.removeprefix("scene.")] += probability * Fraction(scene.weight, total)
    return dict(sentences)


def scene_probabilities(grammar: Grammar, symbols: Sequence[str]) -> dict[str, float]:
    """The joint probability of a sentence with each scene that has it, by recursive descent."""

    @cache
    def ends(slot: str, start: int) -> dict[int, float]:
        """Where `slot`, read from `start` on, may end, and with which probability."""
        alternatives = grammar.slots[slot].alternatives
        total = sum(alternative.weight for alternative in alternatives)
        found: defaultdict[int, float] = defaultdict(float)
        for alternative in alternatives:
            here = {start: alternative.weight / total}
            for part in alternative.parts:
                there: defaultdict[int, float] = defaultdict(float)
                for position, probability in here.items():
                    if isinstance(part, Reference):
                        for end, inner in ends(part.slot, position).items():
                            there[end] += probability * inner
                    elif position < len(symbols) and symbols[position] == part:
                        there[position + 1] += probability
                here = there
            for position, probability in here.items():
                found[position] += probability
        return found

    total = sum(scene.weight for scene in grammar.scenes)
    return {
        scene.name.removeprefix("scene."): probability * scene.weight / total
        for scene in grammar.scenes
        if (probability := ends(scene.name, 0).get(len(symbols), 0.0)) > 0
    }
