"""The longest stretch that a text shares with the training text, exactly and in linear time.

A suffix automaton (Blumer et al. 1985) of the texts holds every stretch of theirs in at most twice as many states as
they have symbols. The training text is led through it once, so it may stream from disk; memory holds the texts only.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int

from textforge.metrics.counts import Split, require


def longest_spans(texts: Sequence[str], train: Iterable[str], *, split: Split = str.split) -> Int[np.ndarray, "N"]:
    """Return for each text the number of symbols in its longest stretch that stands in one text of `train`."""
    require(texts, "texts")
    automaton = _Automaton()
    ends = [automaton.add(split(text)) for text in texts]
    for text in train:
        automaton.match(split(text))
    shared = automaton.shared()
    return np.array([max((shared[state] for state in states), default=0) for states in ends])


class _Automaton:
    """The suffix automaton of several texts: a state is a set of stretches that end at the same places.

    The stretches of a state are the suffixes of its longest one that are longer than those of its `link`.
    """

    def __init__(self) -> None:
        self.next: list[dict[str, int]] = [{}]
        self.length = [0]  # of the longest stretch of each state
        self.link = [-1]
        self.met = [0]  # the longest stretch of each state that the training text was seen to hold

    def add(self, symbols: Sequence[str]) -> list[int]:
        """Take in one text and return the state of each of its beginnings."""
        last, states = 0, []
        for symbol in symbols:
            last = self._extend(last, symbol)
            states.append(last)
        return states

    def match(self, symbols: Sequence[str]) -> None:
        """Follow one training text, and note at each symbol the longest stretch ending there that is known."""
        state = length = 0
        for symbol in symbols:
            while state and symbol not in self.next[state]:
                state = self.link[state]
                length = self.length[state]
            if symbol in self.next[state]:
                state = self.next[state][symbol]
                length += 1
                self.met[state] = max(self.met[state], length)

    def shared(self) -> list[int]:
        """Return for each state the longest end of its stretches that the training text holds."""
        order = sorted(range(1, len(self.link)), key=self.length.__getitem__)
        found = self.met.copy()
        for state in reversed(order):  # with a stretch all its ends are met, those of the link in full
            if found[state]:
                found[self.link[state]] = self.length[self.link[state]]
        for state in order:
            found[state] = found[state] or found[self.link[state]]
        return found

    def _extend(self, last: int, symbol: str) -> int:
        if symbol in self.next[last]:  # another text has been here
            return self._exact(last, symbol)
        new = self._state(self.length[last] + 1, {}, 0)
        while last != -1 and symbol not in self.next[last]:
            self.next[last][symbol] = new
            last = self.link[last]
        if last != -1:
            self.link[new] = self._exact(last, symbol)
        return new

    def _exact(self, state: int, symbol: str) -> int:
        """Return the state whose longest stretch is that of `state` and the symbol, cut from a longer one at need."""
        whole = self.next[state][symbol]
        if self.length[whole] == self.length[state] + 1:
            return whole
        part = self._state(self.length[state] + 1, self.next[whole].copy(), self.link[whole])
        self.link[whole] = part
        while state != -1 and self.next[state].get(symbol) == whole:
            self.next[state][symbol] = part
            state = self.link[state]
        return part

    def _state(self, length: int, following: dict[str, int], link: int) -> int:
        self.next.append(following)
        self.length.append(length)
        self.link.append(link)
        self.met.append(0)
        return len(self.link) - 1
