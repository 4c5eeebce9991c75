"""Regular expressions and grammars as deterministic automata that read a text character by character, or byte by byte.

Only the skeleton of an expression is parsed here: groups, `|` and repetitions. Which characters a class, an escape or a
dot stands for is asked of Python's own `re`, so that `\\w` is there and here the same, in every script. The automata
are those of Thompson (1968), made deterministic by following all their states at once (Rabin and Scott 1959).
"""

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int

from textforge.errors import UserError
from textforge.oracles.automaton import END
from textforge.oracles.grammar import JOINTS, GrammarOracle

MAX_STATES = 100_000
NONE = -1
"""No way on. As an index it means the last row or column, which is kept for it."""
EVERY = np.concatenate([np.arange(0xD800), np.arange(0xE000, 0x110000)])
"""All characters: code points without the surrogates, which stand in no UTF-8 text."""

_PIECE = re.compile(
    r"""(?P<open> \( (?: \?: | \?P<\w+> | (?!\?) ) )
      | (?P<close> \) )
      | (?P<bar> \| )
      | (?P<repeat> [*+?] | \{ (?=[\d,]) \d* ,? \d* \} ) (?: \? | (?!\+) )   # lazy or not, the language is the same
      | (?P<atom> \[ \^? \]? (?: \\. | [^\]\\] )* \]
                | \\ (?: x..  | u.{4} | U.{8} | N\{[^}]*\} | 0[0-7]{0,2} | [1-3][0-7]{2} | [^1-9AbBZ] )
                | [^\\^$()|*+?\[] )""",
    re.VERBOSE | re.DOTALL,
)
_FLAGS = re.compile(r"\(\?[aimsu]+\)")


@dataclass(frozen=True)
class Reader:
    """A deterministic automaton over characters, each known by its code point, or over bytes; it begins in state 0.

    Characters that are read alike are of one kind. `moves` leads from a state by a kind to the next state, or to NONE.
    """

    characters: Int[np.ndarray, " C"]
    """In ascending order; all others are read by no state."""
    kinds: Int[np.ndarray, " C"]
    moves: Int[np.ndarray, "S K"]
    accepting: Bool[np.ndarray, " S"]

    def kinds_of(self, characters: Sequence[int]) -> list[int]:
        """Return the kinds of characters, which must be known."""
        return [int(kind) for kind in self.kinds[np.searchsorted(self.characters, characters)]]


@dataclass
class _Thompson:
    """An automaton that grows from its end, state 0: a state reads an atom and goes on, or goes on in several ways."""

    atoms: list[str | None] = field(default_factory=lambda: [None])
    after: list[list[int]] = field(default_factory=lambda: [[]])

    def add(self, atom: str | None, after: Iterable[int]) -> int:
        _require_few(self.atoms)
        self.atoms.append(atom)
        self.after.append(list(after))
        return len(self.atoms) - 1

    def spell(self, text: str, then: int) -> int:
        """Return the state that reads the characters of a text and then goes on."""
        for character in reversed(text):
            then = self.add(re.escape(character), [then])
        return then

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        """Return the states reached without reading that read something, or end."""
        seen: set[int] = set()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if state not in seen:
                seen.add(state)
                if self.atoms[state] is None:
                    waiting += self.after[state]
        return frozenset(state for state in seen if state == 0 or self.atoms[state] is not None)


_Build = Callable[[_Thompson, int], int]
"""What a part of an expression is: a function from the state that follows it to the state it begins in."""


def pattern_reader(pattern: str, characters: Int[np.ndarray, " C"]) -> Reader:
    """Return what accepts the texts that `re.fullmatch` matches, among those of the given characters.

    There are literal characters, classes, escapes, groups, `|`, and the repetitions `* + ? {m,n}`; the flags `(?i)`,
    `(?s)` and `(?a)` may stand in front. Raises UserError for all else: references, conditions on what stands around a
    place, atomic groups.
    """
    thompson = _Thompson()
    try:
        flags = re.compile(pattern).flags
        start = _choice(_pieces(pattern))(thompson, 0)
    except re.error as error:
        raise UserError(f"{pattern!r} is no regular expression: {error}; mend it") from None
    except (OverflowError, RecursionError):
        raise UserError(f"{pattern!r:.80} repeats too often or is nested too deeply; make it simpler") from None
    return _determinise(thompson, start, characters, flags)


def grammar_reader(oracle: GrammarOracle, characters: Int[np.ndarray, " C"]) -> Reader:
    """Return what accepts the sentences of a grammar, among those of the given characters."""
    joint, arcs, thompson = JOINTS[oracle.grammar.join], oracle.automaton.arcs, _Thompson()
    behind: dict[int, int] = {}  # a state of the grammar -> the state that reads the rest of a sentence

    def rest(state: int, joint: str) -> int:
        ends = [0] if END in arcs[state] else []
        moves = ((symbol, arc.target) for symbol, arc in arcs[state].items() if symbol != END)
        return thompson.add(None, [*ends, *(thompson.spell(joint + symbol, behind[to]) for symbol, to in moves)])

    for state in reversed(range(len(arcs))):  # every arc leads to a greater number
        behind[state] = rest(state, joint)
    return _determinise(thompson, rest(0, ""), characters, 0)


def _pieces(pattern: str) -> deque[re.Match[str]]:
    """Cut an expression that `re` takes into pieces."""
    flags = _FLAGS.match(pattern)
    start = 0 if flags is None else flags.end()
    pieces: deque[re.Match[str]] = deque()
    while start < len(pattern):
        piece = _PIECE.match(pattern, start)
        if piece is None:
            raise UserError(
                f"{pattern[start : start + 3]!r} in the pattern {pattern!r} is nothing that is read here; use "
                "characters, classes, groups, | and * + ? {m,n}, and no ^ or $: the whole text is matched anyway"
            )
        pieces.append(piece)
        start = piece.end()
    return pieces


def _choice(pieces: deque[re.Match[str]]) -> _Build:
    options = [_sequence(pieces)]
    while pieces and pieces[0].lastgroup == "bar":
        pieces.popleft()
        options.append(_sequence(pieces))
    return lambda thompson, then: thompson.add(None, [option(thompson, then) for option in options])


def _sequence(pieces: deque[re.Match[str]]) -> _Build:
    parts: list[_Build] = []
    while pieces and pieces[0].lastgroup in {"open", "atom"}:
        piece = pieces.popleft()
        if piece["open"]:
            part = _choice(pieces)
            pieces.popleft()  # the closing parenthesis, which `re` has seen
        else:
            part = _atom(piece["atom"])
        if pieces and pieces[0].lastgroup == "repeat":
            part = _repeated(part, pieces.popleft()["repeat"])
        parts.append(part)

    def build(thompson: _Thompson, then: int) -> int:
        for part in reversed(parts):
            then = part(thompson, then)
        return then

    return build


def _atom(source: str) -> _Build:
    return lambda thompson, then: thompson.add(source, [then])


def _repeated(part: _Build, sign: str) -> _Build:
    sign = {"*": "{0,}", "+": "{1,}", "?": "{0,1}"}.get(sign, sign)
    low, comma, high = sign[1:-1].partition(",")
    least, most = int(low or 0), (int(high) if high else None) if comma else int(low)

    def build(thompson: _Thompson, then: int) -> int:
        state = then
        if most is None:
            state = thompson.add(None, [then])
            thompson.after[state].append(part(thompson, state))
        else:
            for _ in range(most - least):
                state = thompson.add(None, [then, part(thompson, state)])
        for _ in range(least):
            state = part(thompson, state)
        return state

    return build


def _determinise(thompson: _Thompson, start: int, characters: Int[np.ndarray, " C"], flags: int) -> Reader:
    """Follow all states at once, over the kinds of characters that the atoms tell apart."""
    atoms = sorted({atom for atom in thompson.atoms if atom is not None})
    kinds, first = _kinds(atoms, characters, flags)
    examples = "".join(map(chr, characters[first]))
    read_by = {atom: [m.start() for m in re.compile(atom, flags).finditer(examples)] for atom in atoms}
    number = {thompson.closure([start]): 0}
    waiting = list(number)
    rows: list[np.ndarray] = []
    for states in waiting:
        targets: defaultdict[int, set[int]] = defaultdict(set)
        for state in states:
            atom = thompson.atoms[state]
            for kind in read_by[atom] if atom is not None else ():
                targets[kind].update(thompson.after[state])
        row = np.full(len(first), NONE, np.int32)
        for kind, reached in targets.items():
            after = thompson.closure(reached)
            if after not in number:
                _require_few(number)
                number[after] = len(number)
                waiting.append(after)
            row[kind] = number[after]
        rows.append(row)
    return Reader(characters, kinds, np.stack(rows), np.array([0 in states for states in number]))


def _require_few(states: Sized) -> None:
    if len(states) >= MAX_STATES:
        raise UserError(f"the pattern or grammar needs more than {MAX_STATES:,} states; repeat less, or shorten it")


def _kinds(
    atoms: Sequence[str], characters: Int[np.ndarray, " C"], flags: int
) -> tuple[Int[np.ndarray, " C"], Int[np.ndarray, " K"]]:
    """Return the kind of each character, so that no atom tells two of a kind apart, and a place of each kind."""
    text = "".join(map(chr, characters))
    kinds = np.zeros(len(characters), np.int64)
    for i, atom in enumerate(atoms, 1):
        matched = np.fromiter(map(ord, re.compile(atom, flags).findall(text)), np.int64)
        kinds *= 2
        kinds[np.searchsorted(characters, matched)] += 1
        if i % 32 == 0:  # before the numbers grow too large
            kinds = np.unique(kinds, return_inverse=True)[1]
    _, first, kinds = np.unique(kinds, return_index=True, return_inverse=True)
    return kinds, first


def in_bytes(reader: Reader) -> Reader:
    """Return what reads the UTF-8 bytes of the texts that a reader of characters accepts.

    Behind a byte that is not the last of its character stands a state which knows the state before the character and
    what the bytes that are missing lead to; of equal ones there is one. The table is filled from the last byte to the
    first. Overlong forms and surrogates are read by none.
    """
    kinds = np.full(0x110000, NONE)
    kinds[reader.characters] = reader.kinds
    moves = np.pad(reader.moves, ((0, 0), (0, 1)), constant_values=NONE)
    # Blocks of 64 characters, of 64 blocks, and of 64 of those: what one, two and three more bytes choose from.
    small, small_at = _blocks(kinds)
    none = small_at[0xD800 // 64]  # surrogates only
    middle, middle_at = _blocks(small_at)
    middle = np.concatenate([middle, [np.where(np.arange(64) < 32, none, middle[middle_at[0]])], [np.full(64, none)]])
    overlong, void = len(middle) - 2, len(middle) - 1
    large, large_at = _blocks(np.pad(middle_at, (0, -len(middle_at) % 64), constant_values=void))
    large = np.concatenate([large, [np.where(np.arange(64) < 16, void, large[large_at[0]])]])

    one, one_of = _merged(moves[:, small])
    two, two_of = _merged(one_of[:, middle])
    three, three_of = _merged(two_of[:, large])
    size = len(moves)
    at_one, at_two, at_three = size, size + len(one), size + len(one) + len(two)
    table = np.full((at_three + len(three), 256), NONE, np.int32)
    table[:size, :0x80] = moves[:, kinds[:0x80]]
    table[:size, 0xC2:0xE0] = at_one + one_of[:, small_at[2:32]]
    table[:size, 0xE0:0xF0] = at_two + two_of[:, [overlong, *middle_at[1:16]]]
    table[:size, 0xF0:0xF5] = at_three + three_of[:, [len(large) - 1, *large_at[1:]]]
    table[at_one:at_two, 0x80:0xC0] = one
    table[at_two:at_three, 0x80:0xC0] = at_one + two
    table[at_three:, 0x80:0xC0] = at_two + three
    accepting = np.pad(reader.accepting, (0, len(table) - size))
    return Reader(np.arange(256), np.arange(256), table, accepting)


def _blocks(values: Int[np.ndarray, " N"]) -> tuple[Int[np.ndarray, "U 64"], Int[np.ndarray, " M"]]:
    """Return the different blocks of 64 values, and which of them each block is."""
    return np.unique(values.reshape(-1, 64), axis=0, return_inverse=True)


def _merged(rows: Int[np.ndarray, "S N 64"]) -> tuple[Int[np.ndarray, "U 64"], Int[np.ndarray, "S N"]]:
    """Return the different rows, and which of them each row is."""
    different, which = np.unique(rows.reshape(-1, 64), axis=0, return_inverse=True)
    return different, which.reshape(rows.shape[:2])
