"""A deterministic weighted automaton of a grammar: its exact language model.

A grammar is first written out as an automaton without empty moves, in which a symbol may lead to several states, each
with its probability. Weighted determinisation (Mohri 1997, "Finite-state transducers in language and speech
processing", section 3) then makes the reading of a sentence a walk: a state becomes the posterior distribution over the
states where the derivation may be, given the symbols so far. Weights are whole numbers in lowest terms throughout, so
equal posteriors are recognised as one state, and nothing is lost to rounding.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from itertools import accumulate
from typing import NamedTuple, TypeVar

from textforge.oracles.grammar_file import Grammar, Reference

Value = TypeVar("Value", int, float)
Moves = Mapping[tuple[str, int], int]  # (symbol, next state) -> weight; probabilities are weights over their sum
Posterior = tuple[tuple[int, int], ...]  # states and their weights in lowest terms, greatest state first

END = ""
"""The symbol behind the last one; it makes the end of a sentence a choice like any other."""


class Arc(NamedTuple):
    """A move: the state it leads to, and its probability among the moves of the state it leaves."""

    target: int
    probability: Fraction
    log_prob: float


@dataclass(frozen=True)
class Automaton:
    """The states, numbered so that every arc leads to a greater number; reading starts in state 0.

    `arcs[state][symbol]` is the only move by that symbol. A state without arcs is an end, and `scenes[state]` names the
    scene of the sentences that arrive there (the likeliest, should several scenes share them).
    """

    arcs: Sequence[Mapping[str, Arc]]
    scenes: Mapping[int, str]

    def read(self, sentences: Iterable[Sequence[str]]) -> Iterator[tuple[str | None, float]]:
        """Yield the scene and the log-probability of each sentence: None and -inf outside the language."""
        for sentence in sentences:
            state, log_prob = 0, 0.0
            for symbol in (*sentence, END):
                arc = self.arcs[state].get(symbol)
                if arc is None:
                    yield None, -math.inf
                    break
                state = arc.target
                log_prob += arc.log_prob
            else:
                yield self.scenes[state], log_prob

    def draw(self, uniforms: Iterable[Sequence[float]]) -> Iterator[list[str]]:
        """Yield the sentences that rows of numbers of [0, 1) choose, one for each symbol and one for the end."""
        for row in uniforms:
            state, sentence = 0, []
            for uniform in row:
                cumulative, choices = self._choices[state]
                symbol, state = choices[bisect_right(cumulative, uniform * cumulative[-1])]
                if symbol == END:
                    break
                sentence.append(symbol)
            yield sentence

    def sentences(self) -> Iterator[tuple[str, ...]]:
        """Yield every sentence once, in lexical order."""
        stack: list[tuple[int, tuple[str, ...]]] = [(0, ())]
        while stack:
            state, symbols = stack.pop()
            if state in self.scenes:
                yield symbols[:-1]
            for symbol in sorted(self.arcs[state], reverse=True):
                stack.append((self.arcs[state][symbol].target, (*symbols, symbol)))

    def symbols(self) -> list[str]:
        """Return the symbols that occur in sentences, sorted."""
        return sorted({symbol for arcs in self.arcs for symbol in arcs} - {END})

    def max_length(self) -> int:
        """Return the number of symbols in the longest sentence, END included."""
        return self._fold(0, lambda arcs, values: 1 + max(values))[0]

    def num_sentences(self) -> list[int]:
        """Return how many different sentences there are from each state on."""
        return self._fold(1, lambda arcs, values: sum(values))

    def entropy(self) -> float:
        """Return the entropy of the sentences in nats: that of every choice, weighted along the paths."""

        def after(arcs: list[Arc], values: list[float]) -> float:
            return math.fsum(
                float(arc.probability) * (value - arc.log_prob) for arc, value in zip(arcs, values, strict=True)
            )

        return self._fold(0.0, after)[0]

    def _fold(self, end: Value, combine: Callable[[list[Arc], list[Value]], Value]) -> list[Value]:
        """The value of each state, from the values of the states behind it; `end` at the ends."""
        values = [end] * len(self.arcs)
        for state in reversed(range(len(self.arcs))):
            arcs = list(self.arcs[state].values())
            if arcs:
                values[state] = combine(arcs, [values[arc.target] for arc in arcs])
        return values

    @cached_property
    def _choices(self) -> list[tuple[list[float], list[tuple[str, int]]]]:
        return [
            (
                list(accumulate(float(arc.probability) for arc in arcs.values())),
                [(symbol, arc.target) for symbol, arc in arcs.items()],
            )
            for arcs in self.arcs
        ]


def build(grammar: Grammar) -> Automaton:
    """Return the automaton of a grammar."""
    return _determinise(*_write_out(grammar))


def _write_out(grammar: Grammar) -> tuple[list[Moves], list[str]]:
    """Write the grammar out from its ends to its start, the last state; states 0 .. K-1 end the K scenes."""
    states: list[Moves] = [{} for _ in grammar.scenes]
    known: dict[frozenset[tuple[tuple[str, int], int]], int] = {}

    def state_of(moves: Moves) -> int:
        key = frozenset(moves.items())
        if key not in known:
            known[key] = len(states)
            states.append(moves)
        return known[key]

    @cache
    def enter(slot: str, then: int) -> int:
        """The state in which `slot` is read and after it whatever is read in the state `then`."""
        starts = []
        for alternative in grammar.slots[slot].alternatives:
            state = then
            for part in reversed(alternative.parts):
                state = enter(part.slot, state) if isinstance(part, Reference) else state_of({(part, state): 1})
            starts.append((alternative.weight, states[state]))
        return state_of(_mix(starts))

    ends = [state_of({(END, end): 1}) for end in range(len(grammar.scenes))]
    scenes = [(scene.weight, states[enter(scene.name, end)]) for scene, end in zip(grammar.scenes, ends, strict=True)]
    states.append(_mix(scenes))
    return states, [scene.name for scene in grammar.scenes]


def _mix(parts: Sequence[tuple[int, Moves]]) -> Moves:
    """Return the moves of a mixture of states in lowest terms, given the weight and the moves of each."""
    totals = [sum(moves.values()) for _, moves in parts]
    common = math.lcm(*totals)
    mixed: defaultdict[tuple[str, int], int] = defaultdict(int)
    for (share, moves), total in zip(parts, totals, strict=True):
        for move, weight in moves.items():
            mixed[move] += share * weight * (common // total)
    divisor = math.gcd(*mixed.values())
    return {move: weight // divisor for move, weight in mixed.items()}


def _determinise(states: Sequence[Moves], scenes: Sequence[str]) -> Automaton:
    """Follow all derivations of a prefix at once: a state is the posterior over the states they have reached."""
    found: dict[Posterior, dict[str, tuple[Posterior, Fraction]]] = {}
    waiting: list[Posterior] = [((len(states) - 1, 1),)]
    while waiting:
        posterior = waiting.pop()
        if posterior in found:
            continue
        moves = _mix([(share, states[state]) for state, share in posterior])
        total = sum(moves.values())
        reached: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for (symbol, target), weight in moves.items():
            reached[symbol][target] = weight
        found[posterior] = {}
        for symbol, weights in reached.items():
            divisor = math.gcd(*weights.values())
            after = tuple((state, weights[state] // divisor) for state in sorted(weights, reverse=True))
            found[posterior][symbol] = after, Fraction(sum(weights.values()), total)
            waiting.append(after)
    # Moves lead to smaller numbers in `states`, so the greatest member of a posterior falls along every arc.
    order = sorted(found, key=lambda posterior: posterior[0][0], reverse=True)
    number = {posterior: index for index, posterior in enumerate(order)}
    arcs = [
        {symbol: Arc(number[after], p, math.log(p)) for symbol, (after, p) in found[posterior].items()}
        for posterior in order
    ]
    ends = {
        number[posterior]: scenes[max(posterior, key=lambda member: member[1])[0]]
        for posterior in order
        if not found[posterior]
    }
    return Automaton(arcs, ends)
