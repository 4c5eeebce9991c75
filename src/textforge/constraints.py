"""Text that satisfies constraints, always: words, lengths, regular expressions, grammars, as automata over tokens.

Axis letters as in `decoding`, and S states of an automaton.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from textforge.decoding import Generator, State, device_of, log_prob
from textforge.errors import CallError, UserError, nearest
from textforge.oracles import grammar
from textforge.oracles.grammar import GrammarOracle
from textforge.patterns import EVERY, NONE, Reader, grammar_reader, in_bytes, pattern_reader
from textforge.text import Bpe, Pretrained, Tokenizer, Vocabulary, Word, plain

MAX_ENTRIES = 1 << 27
"""States times ids of the largest automaton: half a gigabyte."""
BATCH = 1024


@dataclass(frozen=True)
class Constraint:
    """A deterministic automaton over ids; it begins in state 0.

    `moves` leads from a state by an id to the next state, or to NONE: nothing that goes on so satisfies the constraint.
    It says nothing of `eos`: a text that ends in an accepting state satisfies the constraint.
    """

    moves: Int[Tensor, "S V"]
    accepting: Bool[Tensor, " S"]


def satisfies(constraint: Constraint, vocabulary: Vocabulary, tokens: Int[Tensor, "B T"]) -> Bool[Tensor, " B"]:
    """Return which padded sequences satisfy a constraint, ended by `eos` or not; none with an unknown word does."""
    moves, accepting = _tables(constraint, vocabulary)
    state = torch.zeros(len(tokens), dtype=torch.long)
    for column in tokens.cpu().T:
        real = (column != vocabulary.pad) & (column != vocabulary.eos)
        state = torch.where(real, moves[state, column.masked_fill(~real, 0)].long(), state)
    return accepting[state].to(tokens.device)


def _tables(constraint: Constraint, vocabulary: Vocabulary) -> tuple[Int[Tensor, "S V"], Bool[Tensor, " S"]]:
    """Return the automaton with one more state, the last, so that NONE is an index like any other and leads nowhere.

    So do an unknown word and `eos`. Where texts have labels it begins with a state of its own, behind which any label
    leads to the beginning of the text, and no label leads anywhere else.
    """
    moves, accepting, nowhere = constraint.moves, constraint.accepting, torch.full_like(constraint.moves[:1], NONE)
    moves = torch.cat([moves, nowhere])
    moves[:, vocabulary.labels.start :] = NONE
    accepting = torch.cat([accepting, torch.tensor([False])])
    if vocabulary.num_labels:
        moves = torch.cat([nowhere, torch.where(moves == NONE, NONE, moves + 1)])
        moves[0, vocabulary.labels.start : vocabulary.labels.stop] = 1
        accepting = torch.cat([torch.tensor([False]), accepting])
    return moves, accepting


def banned(vocabulary: Vocabulary, symbols: Iterable[str]) -> Constraint:
    """Forbid symbols; raises UserError for one that the vocabulary has not."""
    moves = _free(vocabulary, 1)
    moves[0, _ids(vocabulary, symbols)] = NONE
    return _constraint(moves, [True])


def required(vocabulary: Vocabulary, symbols: Iterable[str]) -> Constraint:
    """Demand that each of some symbols occurs, in any order; raises UserError for one that the vocabulary has not."""
    parts = []
    for id_ in _ids(vocabulary, symbols):
        moves = _free(vocabulary, 2)
        moves[0, id_] = 1
        parts.append(_constraint(moves, [False, True]))
    return all_of(length(vocabulary), *parts)


def length(
    vocabulary: Vocabulary, *, at_least: int = 0, at_most: int | None = None, exactly: int | None = None
) -> Constraint:
    """Bound the number of symbols, `eos` not counted; `exactly` is both bounds at once."""
    if exactly is not None:
        at_least = at_most = exactly
    if at_least < 0 or (at_most is not None and at_most < at_least):
        raise CallError(f"no text has at least {at_least} and at most {at_most} tokens; give bounds from 0 in order")
    last = at_least if at_most is None else at_most
    moves = _free(vocabulary, last + 1)
    moves[:, : len(vocabulary.symbols)] += 1
    moves[last] = _free(vocabulary, last + 1)[last] if at_most is None else NONE
    return _constraint(moves, np.arange(last + 1) >= at_least)


def matching(tokenizer: Tokenizer, pattern: str) -> Constraint:
    """Demand that the whole text, as the tokenizer writes it, matches a regular expression.

    It is Python's `re`, with what a finite automaton can read: see `patterns.pattern_reader`, which also says what is
    refused. A word is read with the space in front of it, a byte pair as its bytes, of whole characters or not.
    """
    return _over_tokens(tokenizer, lambda characters: pattern_reader(pattern, characters))


def from_grammar(tokenizer: Tokenizer, oracle: GrammarOracle | Path) -> Constraint:
    """Demand that the text is a sentence of a grammar, an oracle or a `.grammar` file, whatever its probability.

    The tokens need not be those of the grammar. A sentence with symbols unknown to the tokenizer is not written.
    """
    oracle = grammar.read(oracle, oracle.name) if isinstance(oracle, Path) else oracle
    return _over_tokens(tokenizer, lambda characters: grammar_reader(oracle, characters))


def all_of(*constraints: Constraint) -> Constraint:
    """Demand several things at once: the product automaton, with the states that can be reached."""
    if not constraints:
        raise CallError("of no constraints there is no product; give at least one")
    return reduce(_both, constraints)


def _both(left: Constraint, right: Constraint) -> Constraint:
    (a, one), (b, other) = ((c.moves.numpy().astype(np.int64), c.accepting.numpy()) for c in (left, right))
    if a.shape[1] != b.shape[1]:
        raise CallError(f"constraints over {a.shape[1]} and {b.shape[1]} ids do not go together; use one vocabulary")

    def after(pair: int) -> Int[np.ndarray, " V"]:
        i, j = divmod(pair, len(b))
        return np.where((a[i] == NONE) | (b[j] == NONE), NONE, a[i] * len(b) + b[j])

    pairs, moves = _explored(0, after)
    i, j = np.divmod(pairs, len(b))
    return _constraint(moves, one[i] & other[j])


def _over_tokens(tokenizer: Tokenizer, read: Callable[[Int[np.ndarray, " C"]], Reader]) -> Constraint:
    """Turn a reader of characters into one of tokens, whose states are those in which a token may end."""
    num_ids, tokenizer = tokenizer.vocabulary.vocab_size, plain(tokenizer)
    symbols, gap = tokenizer.vocabulary.symbols, " " if isinstance(tokenizer, Word) else ""
    if isinstance(tokenizer, Pretrained) and not tokenizer.in_bytes:
        raise UserError("the tokens of this pretrained model are not made of bytes; constraints need byte pairs")
    if isinstance(tokenizer, Bpe | Pretrained):
        byte_of = _bytes_of_characters()
        reader, spelled = in_bytes(read(EVERY)), [[byte_of[c] for c in symbol] for symbol in symbols]
    else:
        reader = read(np.unique([ord(character) for character in "".join([gap, *symbols])]))
        spelled = [[*map(ord, symbol)] for symbol in symbols]
    # One more kind of character, the last, fills short tokens up and leads nowhere else.
    moves = np.pad(reader.moves, ((0, 1), (0, 1)), constant_values=NONE)
    moves[:-1, -1] = np.arange(len(reader.moves))
    kinds = np.full((len(symbols), max(map(len, spelled))), -1)
    for row, characters in zip(kinds, spelled, strict=True):
        row[: len(characters)] = reader.kinds_of(characters)
    (space,) = reader.kinds_of([ord(gap)]) if gap else [-1]
    begin = len(reader.moves)  # nothing is written yet, and no space stands in front of a word

    def after(state: int) -> Int[np.ndarray, " V"]:
        states = np.full(len(symbols), 0 if state == begin else moves[state, space])
        for column in kinds.T:
            states = moves[states, column]
        return np.pad(states, (0, num_ids - len(symbols)), constant_values=NONE)

    states, table = _explored(begin, after)
    return _constraint(table, reader.accepting[np.where(states == begin, 0, states)])


def _explored(start: int, after: Callable[[int], Int[np.ndarray, " V"]]) -> tuple[Int[np.ndarray, " S"], np.ndarray]:
    """Number the states that can be reached as they are found; return them, and the moves between their numbers."""
    number, waiting = {start: 0}, [start]
    rows: list[np.ndarray] = []
    for state in waiting:
        found, which = np.unique(after(state), return_inverse=True)
        for target in found.tolist():
            if target != NONE and target not in number:
                number[target] = len(number)
                waiting.append(target)
        rows.append(np.array([number.get(target, NONE) for target in found.tolist()], np.int32)[which])
        if len(number) * len(which) > MAX_ENTRIES:
            raise UserError(
                f"the constraint needs over {MAX_ENTRIES // len(which)} states of {len(which)} ids; demand less at once"
            )
    return np.array(waiting), np.stack(rows)


def _bytes_of_characters() -> Mapping[str, int]:
    """Return the byte that each character in the symbols of byte pairs stands for.

    A byte whose Latin-1 character can be seen is written as that; the others, in order, as the characters from 256 on.
    """
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


def _free(vocabulary: Vocabulary, num_states: int) -> Int[np.ndarray, "S V"]:
    """Return moves in which every symbol leads from each state to itself; raises UserError for too many."""
    if num_states * vocabulary.vocab_size > MAX_ENTRIES:
        most = MAX_ENTRIES // vocabulary.vocab_size
        raise UserError(f"the constraint needs {num_states} states, and {most} are possible; bound the length lower")
    moves = np.full((num_states, vocabulary.vocab_size), NONE)
    moves[:, : len(vocabulary.symbols)] = np.arange(num_states)[:, None]
    return moves


def _ids(vocabulary: Vocabulary, symbols: Iterable[str]) -> list[int]:
    symbols = list(dict.fromkeys([symbols] if isinstance(symbols, str) else symbols))
    for symbol in set(symbols) - set(vocabulary.symbols):
        raise UserError(f"the model does not know {symbol!r}; name its own tokens{nearest(symbol, vocabulary.symbols)}")
    return vocabulary.encode(symbols)


def _constraint(moves: Int[np.ndarray, "S V"], accepting: Sequence[bool] | Bool[np.ndarray, " S"]) -> Constraint:
    return Constraint(torch.from_numpy(moves.astype(np.int32)), torch.tensor(np.asarray(accepting)))


class _Constrained(nn.Module):
    """A generator with an automaton beside it; a module, so that modes reach the generator inside.

    The state holds that of the generator, the state of the automaton [B] and the number of tokens read [B].
    """

    moves: Int[Tensor, "S V"]
    accepting: Bool[Tensor, " S"]
    alive: Bool[Tensor, "_ S"]
    fits: Bool[Tensor, "T V"]
    shown: Int[Tensor, " T"] | None

    def __init__(self, generator: Generator, constraint: Constraint, given: Sequence[int]) -> None:
        super().__init__()
        self.inner = generator
        self.vocabulary = generator.vocabulary
        self.max_length = generator.max_length
        self.noise_dim = generator.noise_dim
        moves, accepting = _tables(constraint, self.vocabulary)
        tables = {
            "moves": moves,
            "accepting": accepting,
            "alive": _alive(moves, accepting, self.vocabulary.eos, self.vocabulary.mask, given, self.max_length),
            "fits": _fits(generator, given),
        }
        device = device_of(generator)
        for name, table in tables.items():
            self.register_buffer(name, table.to(device), persistent=False)
        behind = self.vocabulary.pad if self.vocabulary.eos in given else self.vocabulary.mask
        row = torch.tensor([*given, *[behind] * (self.max_length - len(given))], device=device)
        self.register_buffer("shown", row if given and not self.noise_dim else None, persistent=False)

    def initial_state(self, batch: int, context: Any = None) -> State:
        """Return the state of the generator inside, which is shown what is given, and that of the automaton."""
        start = torch.zeros(batch, dtype=torch.long, device=self.moves.device)
        if context is None and self.shown is not None:
            context = self.shown.expand(batch, -1)
        return self.inner.initial_state(batch, context), start, start

    def step(self, token: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Step both; only tokens behind which the constraint can still be satisfied in time keep their logits."""
        inner, place, time = state
        logits, inner = self.inner.step(token, inner)
        first = time == 0  # `bos` was read, which is no part of the text
        place = torch.where(first, place, self.moves[place, token.masked_fill(first, 0)].long())
        allowed = self.alive[time[:, None] + 1, self.moves[place]] & self.fits[time]
        if self.vocabulary.eos is not None:
            allowed[:, self.vocabulary.eos] = self.accepting[place] & self.fits[time, self.vocabulary.eos]
        broken = ~allowed.any(1, keepdim=True)  # by given tokens
        logits = logits.masked_fill(~(allowed | broken), -torch.inf)
        if (logits.amax(1) == -torch.inf).any():
            raise UserError(
                "the generator gives no probability to any token that the constraint allows; constrain it before it is "
                "truncated, and take none whose noise alone decides the text"
            )
        return logits, (inner, place, time + 1)


def _fits(generator: Generator, given: Sequence[int]) -> Bool[Tensor, "T V"]:
    """Return which ids the given text leaves to each position: its own, any but `eos` for a blank, any behind it."""
    vocabulary = generator.vocabulary
    fits = torch.ones(generator.max_length, vocabulary.vocab_size, dtype=torch.bool)
    for row, token in zip(fits, given, strict=False):
        ids = torch.arange(len(row))
        row &= (ids != vocabulary.eos) if token == vocabulary.mask else (ids == token)
    return fits


def _alive(
    moves: Int[Tensor, "S V"],
    accepting: Bool[Tensor, " S"],
    eos: int | None,
    mask: int,
    given: Sequence[int],
    max_length: int,
) -> Bool[Tensor, "_ S"]:
    """Return from which states, after t tokens, the constraint can be satisfied by what is left to write.

    A text ends where it has its greatest length, or at `eos`.
    """
    leaving, _ = (moves != NONE).nonzero(as_tuple=True)
    arcs = (leaving * len(moves) + moves[moves != NONE]).unique()  # from and to, each once, whatever the token
    source, target = arcs // len(moves), arcs % len(moves)
    alive = torch.zeros(max_length + 1, len(moves), dtype=torch.bool)
    alive[max_length] = accepting
    for t in reversed(range(max_length)):
        token = given[t] if t < len(given) else None
        if token is not None and token == eos:
            alive[t] = accepting
        elif token is not None and token != mask:
            alive[t] = alive[t + 1][moves[:, token].long()]
        else:
            alive[t, source[alive[t + 1][target]]] = True
            if token is None and eos is not None:
                alive[t] |= accepting
    return alive


def constrain(generator: Generator, constraint: Constraint, given: Sequence[int] = ()) -> Generator:
    """Return a generator all of whose texts satisfy a constraint; it draws no unknown word either.

    `given` are the first ids of every text, with `mask` for what is to be filled in, never by `eos`; behind them the
    text goes on freely. With it, `sample` continues a prefix and fills blanks so that what comes later fits, too; the
    log-probabilities are then those of what is drawn, and a generator that looks at the text around blanks is shown it.
    Given tokens of which the wrapper was not told can break the constraint: they have log-probability -inf, and nothing
    is forbidden behind them.

    At each step the generator's probabilities are cut down to the tokens behind which the constraint can still be
    satisfied in time, and add up to one again. This is **not** the generator's distribution given that the constraint
    is satisfied, G(x | C): a token that leads into a corner where all ways on are unlikely is drawn as if they were
    not. Choosing among several candidates by their `log_weights` corrects it.

    Truncation goes around it, `top_k(constrain(generator, constraint), 40)`, lest nothing be left to draw. Raises
    UserError where no text of at most `max_length` tokens satisfies the constraint, or none with the given tokens.
    """
    vocabulary, limit = generator.vocabulary, generator.max_length
    if constraint.moves.shape[1] != vocabulary.vocab_size:
        raise CallError(
            f"the constraint is over {constraint.moves.shape[1]} ids and the generator emits {vocabulary.vocab_size}; "
            "make it from the generator's own tokenizer"
        )
    row = list(itertools.takewhile(lambda id_: id_ != vocabulary.pad, given))
    if vocabulary.eos in row:
        row = row[: row.index(vocabulary.eos) + 1]
    for id_ in row:
        if not (0 <= id_ < vocabulary.vocab_size or id_ == vocabulary.mask):
            raise UserError(f"the given id {id_} is no token of a text; give ids of symbols, eos, and mask for blanks")
    if len(row) > limit:
        raise UserError(f"the given text has {len(row)} tokens and the model at most {limit}; shorten it")
    constrained = _Constrained(generator, constraint, row)
    if not constrained.alive[0, 0]:
        size = "exactly" if vocabulary.eos is None else "at most"
        with_given = f" with the {len(row)} given ones" if row else ""
        raise UserError(
            f"no text of {size} {limit} tokens{with_given} satisfies the constraint; loosen it"
            + (", or give other tokens" if row else ", or train a model with a greater max_length")
        )
    return constrained


def log_weights(
    generator: Generator, constrained: Generator, tokens: Int[Tensor, "B T"], *, temperature: float = 1.0
) -> Float[Tensor, " B"]:
    """Return log G(x) - log Q(x) of texts of the constrained generator Q: up to a constant, the log of G(x | C) / Q(x).

    A mean over texts of Q, weighted by the exponentials over their sum, estimates the mean under G(x | C), and
    `resampling.resample` chooses by them, exactly in the limit of many candidates. Raises UserError for a generator
    driven by noise, whose likelihood nobody knows.
    """
    if generator.noise_dim:
        raise UserError("a generator driven by noise has no likelihood to weigh texts by; leave the weights out")

    def log_probs(of: Generator) -> Float[Tensor, " B"]:
        return torch.cat([log_prob(of, part, temperature=temperature) for part in tokens.split(BATCH)])

    return log_probs(generator) - log_probs(constrained)
