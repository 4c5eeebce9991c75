"""Oracles of readable sentences: a probabilistic grammar with exact likelihoods, known modes and exact counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from importlib.resources import files
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Float

from textforge.errors import UserError
from textforge.oracles.automaton import Automaton, build
from textforge.oracles.grammar_file import SCENE, Grammar, Slot, parse, references
from textforge.text.tokenizers import Char, Tokenizer, Word
from textforge.text.vocabulary import Vocabulary

MAX_SUPPORT = 1_000_000
JOINTS = {"space": " ", "none": ""}


@dataclass(frozen=True)
class GrammarOracle:
    """The language of a grammar: sentences of words set apart by spaces, or of characters (`join = none`).

    Its modes are the scenes. White space between words is read like one space.
    """

    name: str
    grammar: Grammar
    automaton: Automaton

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """All symbols of the language and `eos`; there is nothing unknown."""
        vocabulary = Vocabulary.create(self.automaton.symbols(), unk=False)
        return Word(vocabulary) if self.grammar.join == "space" else Char(vocabulary)

    @cached_property
    def max_length(self) -> int:
        """The symbols of the longest sentence and `eos`."""
        return self.automaton.max_length()

    @cached_property
    def modes(self) -> tuple[str, ...]:
        """The names of the scenes."""
        return tuple(scene.name.removeprefix(SCENE) for scene in self.grammar.scenes)

    def sample(self, num: int, seed: int) -> list[str]:
        """Draw `num` sentences; with the same seed, a smaller number gives the first of them."""
        rng, length = np.random.default_rng(seed), self.max_length
        uniforms = (rng.random(length).tolist() for _ in range(num))
        return list(map(self._joint.join, self.automaton.draw(uniforms)))

    def log_prob(self, texts: Sequence[str]) -> Float[np.ndarray, "N"]:
        """Return the exact log-probability of each text in nats, -inf outside the language."""
        return np.array([log_prob for _, log_prob in self._read(texts)], dtype=np.float64)

    def mode_of(self, texts: Sequence[str]) -> list[str | None]:
        """Return the scene of each text, None outside the language."""
        return [None if scene is None else scene.removeprefix(SCENE) for scene, _ in self._read(texts)]

    def support(self) -> list[str] | None:
        """Return all sentences in lexical order, or None where there are more than 1,000,000."""
        return None if self.num_sentences > MAX_SUPPORT else list(map(self._joint.join, self.automaton.sentences()))

    @cached_property
    def num_sentences(self) -> int:
        """The exact number of different sentences."""
        return self.automaton.num_sentences()[0]

    @cached_property
    def entropy(self) -> float:
        """The exact entropy of a sentence, in nats."""
        return self.automaton.entropy()

    @property
    def _joint(self) -> str:
        return JOINTS[self.grammar.join]

    def _read(self, texts: Sequence[str]) -> Iterator[tuple[str | None, float]]:
        return self.automaton.read(map(str.split if self.grammar.join == "space" else list, texts))


def parsed(text: str, name: str, origin: str) -> GrammarOracle:
    """Make an oracle of the text of a grammar; raises `UserError` with `origin` and line for what is wrong in it."""
    grammar = parse(text, origin)
    return GrammarOracle(name, grammar, build(grammar))


def read(file: Path, name: str) -> GrammarOracle:
    """Make an oracle of a grammar file of the user's."""
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise UserError(
            f"the grammar {file} cannot be read: {error.strerror}; pass the path of a .grammar file"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"the grammar {file} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    return parsed(text, name, str(file))


def embedded(name: str) -> GrammarOracle:
    """Make the oracle of a grammar that comes with the package."""
    file = files("textforge.oracles") / f"{name}.grammar"
    return parsed(file.read_text("utf-8"), name, file.name)


def num_derivations(grammar: Grammar) -> dict[str, int]:
    """Return in how many ways each slot can be written out; different ways may give the same text."""
    counts: dict[str, int] = {}

    def count(name: str) -> int:
        if name not in counts:
            counts[name] = sum(
                prod(map(count, references(alternative.parts))) for alternative in grammar.slots[name].alternatives
            )
        return counts[name]

    return {name: count(name) for name in grammar.slots}


def ambiguous_sentence(grammar: Grammar) -> str | None:
    """Return a sentence that has more than one derivation, or None if there is none: an exact answer.

    Weights are replaced by numbers of derivations, so that all D derivations of the language become equally likely.
    Then a set of sentences has D times its probability of derivations, and where these are more than the sentences, one
    of its sentences is ambiguous; such a set is followed, symbol by symbol, to a single sentence.
    """
    counts = num_derivations(grammar)

    def uniform(slot: Slot) -> Slot:
        alternatives = (
            replace(alternative, weight=prod(counts[name] for name in references(alternative.parts)))
            for alternative in slot.alternatives
        )
        return replace(slot, weight=counts[slot.name], alternatives=tuple(alternatives))

    slots = {name: uniform(slot) for name, slot in grammar.slots.items()}
    automaton = build(replace(grammar, slots=slots))
    sentences = automaton.num_sentences()
    derivations = Fraction(sum(counts[scene.name] for scene in grammar.scenes))
    if derivations == sentences[0]:
        return None
    state, symbols = 0, list[str]()
    while automaton.arcs[state]:
        symbol, arc = next(
            (symbol, arc)
            for symbol, arc in automaton.arcs[state].items()
            if derivations * arc.probability > sentences[arc.target]
        )
        derivations *= arc.probability
        state = arc.target
        symbols.append(symbol)
    return JOINTS[grammar.join].join(symbols[:-1])
