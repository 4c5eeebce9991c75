"""The one autoregressive loop of the package, for sampling, scoring, infilling and roll-outs.

Axis letters: B rows given, R rows decoded (given rows and their roll-outs), T time, V vocabulary (the ids that may be
emitted), E all ids, Z noise, N roll-outs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from textforge import processes, sharding
from textforge.errors import CallError
from textforge.text import Vocabulary

State = Any
"""A pytree (a tensor, or a tuple, list or dict of states), batch first; opaque to everybody but its generator."""


@runtime_checkable
class Generator(Protocol):
    """What `decode` needs: a start, and one step that turns the token before into logits for the next."""

    vocabulary: Vocabulary
    max_length: int
    noise_dim: int
    """Z, the size of the noise that a whole sequence hangs on. 0: none, so that the log-probabilities are exact.
    Otherwise they are those of a sequence given its noise, and nobody knows the integral over all noise."""

    def initial_state(self, batch: int, context: Any = None) -> State:
        """Return the state of `batch` rows before their first token.

        `context` is what they hang on: the noise, which is drawn where it is not given, or the text around blanks
        (`infill`); a generator that hangs on nothing does not look at it.
        """
        ...

    def step(self, token: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Read one token a row; return the logits of the next one and the new state."""
        ...


@dataclass(frozen=True)
class Decoded:
    """Sequences and their log-probability, token by token.

    `tokens` are `pad` after `eos`; `log_probs` are nats under the generator at the temperature of the call, whether the
    token was given or drawn, and exactly 0 after `eos`; `mask` is True on real tokens, `eos` included.
    """

    tokens: Int[Tensor, "B T"]
    log_probs: Float[Tensor, "B T"]
    mask: Bool[Tensor, "B T"]

    @property
    def lengths(self) -> Int[Tensor, " B"]:
        """Real tokens of each row, `eos` included."""
        return self.mask.sum(1)

    def __getitem__(self, rows: Int[Tensor, " N"]) -> "Decoded":
        """Return some of the sequences."""
        return Decoded(self.tokens[rows], self.log_probs[rows], self.mask[rows])

    @staticmethod
    def joined(parts: Sequence["Decoded"]) -> "Decoded":
        """Return the sequences of all parts as one."""
        tokens, log_probs, mask = zip(*((part.tokens, part.log_probs, part.mask) for part in parts), strict=True)
        return Decoded(torch.cat(tokens), torch.cat(log_probs), torch.cat(mask))


@dataclass(frozen=True)
class RollOuts:
    """Completions of proper prefixes of some sequences, N of each, one after the other.

    Row r continues the first `position[r] + 1` tokens of sequence `row[r]`; `row` and `position` name groups of N rows.
    """

    tokens: Int[Tensor, "R T"]
    row: Int[Tensor, " G"]
    position: Int[Tensor, " G"]


def map_state(function: Callable[..., Tensor], *states: State) -> State:
    """Apply `function` to the tensors of states of one form, leaf by leaf."""
    first = states[0]
    if isinstance(first, Tensor):
        return function(*states)
    if isinstance(first, dict):
        return {key: map_state(function, *(state[key] for state in states)) for key in first}
    return type(first)(map_state(function, *leaves) for leaves in zip(*states, strict=True))


@contextmanager
def evaluating(*modules: object) -> Iterator[None]:
    """Turn dropout and the like off for a while, without gradients; then give every module its mode back."""
    parts = [part for module in modules if isinstance(module, nn.Module) for part in module.modules()]
    modes = [part.training for part in parts]
    for part in parts:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


def draw(
    logits: Float[Tensor, "B V"], uniform: Float[Tensor, "B 1"] | None = None
) -> tuple[Int[Tensor, " B"], Float[Tensor, " B"]]:
    """Draw one token a row from softmax(logits), by inversion in two levels; return it and its log-probability.

    One uniform number, given or drawn, picks a block of tokens by the blocks' sums, and a token inside it. Only these
    are cumulated, so that the cost is that of the softmax; `torch.multinomial` takes some 15 times longer on a CPU. A
    token with logit -inf is never drawn.
    """
    probs = logits.softmax(-1)
    rows, size = probs.shape
    width = max(1, int(size**0.5))
    whole = size // width * width
    sums = torch.unflatten(probs[:, :whole], 1, (-1, width)).sum(-1)
    if whole < size:
        sums = torch.cat([sums, probs[:, whole:].sum(-1, keepdim=True)], 1)
    if uniform is None:
        uniform = torch.rand(rows, 1, dtype=probs.dtype, device=probs.device)
    block, rest = _invert(sums, uniform * sums.sum(-1, keepdim=True))
    index = block * width + torch.arange(width, device=probs.device)
    inside = probs.gather(1, index.clamp(max=size - 1)).masked_fill(index >= size, 0)
    token, _ = _invert(inside, rest)
    return (block * width + token).squeeze(1), inside.gather(1, token).log().squeeze(1)


def _invert(weights: Float[Tensor, "B K"], target: Float[Tensor, "B 1"]) -> tuple[Tensor, Tensor]:
    """Return the first index whose cumulative weight exceeds the target, and what of the target lies inside it."""
    cumulative = weights.cumsum(-1)
    total = cumulative[:, -1:]
    # Rounding may put the target on or beyond either end, where an index of weight zero would be chosen.
    target = torch.minimum(target.clamp(min=0), torch.nextafter(total, torch.zeros_like(total)))
    index = (cumulative <= target).sum(-1, keepdim=True)
    return index, target - (cumulative - weights).gather(1, index)


def decode(
    generator: Generator,
    given: Int[Tensor, "B T"],
    given_mask: Bool[Tensor, "B T"],
    *,
    temperature: float = 1.0,
    context: Any = None,
) -> Decoded:
    """Complete sequences from left to right: tokens under the mask are given, the others are drawn.

    No position given: sampling. All given: scoring. A prefix given: a roll-out. Any others: infilling, in which a
    blank in front of a given token cannot be `eos`; `log_probs` are the generator's own all the same. A row ends at
    its `eos`, or at T.
    """
    return _decode(generator, given, given_mask, temperature, context, num_forks=0)[0]


def infill(generator: Generator, tokens: Int[Tensor, "B T"], *, temperature: float = 1.0) -> Decoded:
    """Fill the blanks, `mask` tokens, of padded sequences, never with `eos`; all other tokens stay as they are.

    The generator is given the sequences as its context. One that cannot see it, a language model, knows only what
    stands in front of a blank.
    """
    vocabulary = generator.vocabulary
    blank = tokens == vocabulary.mask
    given = tokens.masked_fill(blank | (tokens == vocabulary.pad), 0)  # any id that can be read
    return _decode(generator, given, ~blank, temperature, tokens, num_forks=0, whole=True)[0]


def sample(generator: Generator, num: int, *, temperature: float = 1.0, batch_size: int = 1024) -> Decoded:
    """Draw `num` sequences, on the device of the generator, from torch's global random numbers."""
    parts = []
    for start in range(0, num, batch_size):
        given = _blank(generator, min(batch_size, num - start))
        parts.append(decode(generator, given, torch.zeros_like(given, dtype=torch.bool), temperature=temperature))
    return Decoded.joined(parts)


def roll_out(
    generator: Generator,
    tokens: Int[Tensor, "B T"],
    num_rollouts: int,
    *,
    every: int = 1,
    temperature: float = 1.0,
) -> RollOuts:
    """Complete every proper prefix of every sequence `num_rollouts` times, if it has a multiple of `every` tokens.

    The prefixes are read once: all roll-outs advance together as one batch that grows by B x N rows at each position.
    """
    given_mask = tokens != generator.vocabulary.pad
    decoded, row, position = _decode(generator, tokens, given_mask, temperature, None, num_rollouts, every)
    return RollOuts(decoded.tokens[len(tokens) :], row, position)


def require_temperature(temperature: float) -> None:
    """Raise CallError for a temperature that is none."""
    if not temperature > 0:
        raise CallError(f"the temperature must be above 0, not {temperature}; 1 is the model itself, lower is sharper")


def device_of(generator: Generator) -> torch.device:
    """Return where a generator lives."""
    return next((leaf.device for leaf in leaves(generator.initial_state(1))), torch.device("cpu"))


def _blank(generator: Generator, batch: int) -> Int[Tensor, "B T"]:
    return torch.full((batch, generator.max_length), generator.vocabulary.pad, device=device_of(generator))


def leaves(state: State) -> Iterator[Tensor]:
    """Walk through the tensors of a state."""
    if isinstance(state, Tensor):
        return iter([state])
    return chain.from_iterable(map(leaves, state.values() if isinstance(state, dict) else state))


def _decode(
    generator: Generator,
    given: Int[Tensor, "B T"],
    given_mask: Bool[Tensor, "B T"],
    temperature: float,
    context: Any,
    num_forks: int,
    every: int = 1,
    whole: bool = False,
) -> tuple[Decoded, Int[Tensor, " G"], Int[Tensor, " G"]]:
    """Run the loop. With forks, a given row that goes on behind t starts `num_forks` rows that draw from there.

    It does so behind every `every`-th token. `whole` rows do not end by a draw. Where processes share the work, each
    holds the states of its own rows and steps these, with the random numbers that they have in one process.
    """
    vocabulary, device = generator.vocabulary, given.device
    batch, length = given.shape
    forks = (given_mask.sum(1) - 1).clamp(min=0) // every * bool(num_forks)
    first_fork = forks.cumsum(0) - forks  # groups of forks before those of each row
    row = torch.arange(batch, device=device).repeat_interleave(forks)
    position = (torch.arange(len(row), device=device) - first_fork[row] + 1) * every - 1

    tokens = torch.full((batch + len(row) * num_forks, length), vocabulary.pad, device=device)
    log_probs: list[tuple[Tensor, Tensor]] = []
    goes_on = whole | (given_mask.flip(1).cumsum(1).flip(1) > given_mask.long())  # some later position is given
    all_given = given_mask.all(0).tolist()
    free = (~(given_mask | goes_on).any(0)).tolist()

    rows = torch.arange(batch, device=device)  # the rows that have not ended: given ones first, then their forks
    num_given = batch
    mine = sharding.dealt(rows)  # which live rows are stepped here; None: all
    with evaluating(generator), sharding.alone():
        state = generator.initial_state(batch, context)
        previous = torch.full((batch,), vocabulary.bos, device=device)
        if mine is not None:
            dtype = generator.step(previous[:1], _some(state, rows[:1]))[0].dtype
            state = _some(state, rows[mine])
        for t in range(length):
            main, others = rows[:num_given], (0, len(rows) - num_given)
            known = all_given[t] and len(rows) == num_given
            shared = mine is not None and not known
            choice = _Choice(
                given=F.pad(given[main, t], others),
                is_given=F.pad(given_mask[main, t], others),
                goes_on=F.pad(goes_on[main, t], others),
                all_given=known,
                free=free[t],
                eos=vocabulary.eos,
                temperature=temperature,
                scored=not num_forks,
                uniform=torch.rand(len(rows), 1, dtype=dtype, device=device) if shared else None,
            )
            previous, scores, state = _advance(generator, previous, state, choice, mine)
            tokens[rows, t] = previous
            if scores is not None:
                log_probs.append((rows if mine is None else rows[mine], scores))
            if t + 1 == length:
                break
            if vocabulary.eos is not None:
                going = (previous != vocabulary.eos).nonzero().squeeze(1)
                if len(going) == 0:
                    break
                if len(going) < len(rows):
                    num_given = int((going < num_given).sum())
                    rows, previous, state = rows[going], previous[going], _some(state, _held(going, mine))
                    mine = None if mine is None else mine[going]
            if num_forks and num_given and (t + 1) % every == 0:
                main, parents = rows[:num_given], torch.arange(num_given, device=device).repeat_interleave(num_forks)
                start = batch + (first_fork[main] + t // every) * num_forks
                new = (start[:, None] + torch.arange(num_forks, device=device)).flatten()
                tokens[new, : t + 1] = tokens[rows[parents], : t + 1]
                rows, previous = torch.cat([rows, new]), torch.cat([previous, previous[parents]])
                held = _held(parents, mine)
                state = map_state(lambda leaf, held=held: torch.cat([leaf, leaf[held]]), state)
                mine = None if mine is None else torch.cat([mine, mine[parents]])  # a fork stays where its parent is
    scored = torch.zeros(tokens.shape, dtype=log_probs[0][1].dtype, device=device)
    for t, (at, scores) in enumerate(log_probs):
        scored[at, t] = scores
    if mine is not None and not num_forks:
        scored = processes.summed(scored)  # a score is 0 but where its row is stepped
    return Decoded(tokens, scored, tokens != vocabulary.pad), row, position


def _some(state: State, rows: Int[Tensor, " N"]) -> State:
    return map_state(lambda leaf: leaf[rows], state)


def _held(rows: Int[Tensor, " N"], mine: Bool[Tensor, " R"] | None) -> Int[Tensor, " M"]:
    """Return at which rows of the state those of the live rows are held that are stepped here."""
    return rows if mine is None else (mine.cumsum(0) - 1)[rows[mine[rows]]]


@dataclass(frozen=True)
class _Choice:
    """What decides the next token of each live row; `free` where none is given and none must go on."""

    given: Int[Tensor, " R"]
    is_given: Bool[Tensor, " R"]
    goes_on: Bool[Tensor, " R"]
    all_given: bool
    free: bool
    eos: int | None
    temperature: float
    scored: bool
    uniform: Float[Tensor, "R 1"] | None  # the random number of each row; None: it is drawn here

    def __call__(
        self, logits: Float[Tensor, "r V"], part: slice | Int[Tensor, " r"]
    ) -> tuple[Int[Tensor, " r"], Float[Tensor, " r"]]:
        """Return the tokens of some rows and, where asked for, their log-probabilities."""
        if self.temperature != 1:
            logits = logits / self.temperature
        uniform = None if self.uniform is None else self.uniform[part]
        if self.free:
            return draw(logits, uniform)
        token = self.given[part]
        if not self.all_given:
            allowed = logits
            if self.eos is not None:
                allowed = logits.clone()
                allowed[:, self.eos].masked_fill_(self.goes_on[part], -torch.inf)
            token = torch.where(self.is_given[part], token, draw(allowed, uniform)[0])
        if not self.scored:
            return token, logits.new_zeros(len(token))
        return token, logits.gather(1, token[:, None]).squeeze(1) - logits.logsumexp(1)


def _advance(
    generator: Generator, previous: Int[Tensor, " R"], state: State, choice: _Choice, mine: Bool[Tensor, " R"] | None
) -> tuple[Int[Tensor, " R"], Float[Tensor, " M"] | None, State]:
    """Step every live row, or those of `mine`, a part at a time: the logits of all at once could be hundreds of MB.

    Returns the tokens of all, and the scores (None where it steps none) and states of what it steps.
    """
    size = rows_at_once(generator.vocabulary.vocab_size, previous.device)
    own = None if mine is None else mine.nonzero().squeeze(1)
    tokens, scores, states = [previous[:0]], [], []
    for start in range(0, len(previous if own is None else own), size):
        part = slice(start, start + size)
        rows = part if own is None else own[part]
        logits, after = generator.step(previous[rows], map_state(lambda leaf, part=part: leaf[part], state))
        token, score = choice(logits, rows)
        tokens.append(token)
        scores.append(score)
        states.append(after)
    chosen = sharding.assembled(torch.cat(tokens), mine)
    if not states:
        return chosen, None, state
    return chosen, torch.cat(scores), map_state(lambda *parts: torch.cat(parts), *states)


_LOGITS_AT_ONCE = {True: 1 << 20, False: 1 << 27}  # on a CPU: about the size of its cache


def rows_at_once(vocab_size: int, device: torch.device) -> int:
    """Return of how many rows the logits are best held at a time."""
    return max(1, _LOGITS_AT_ONCE[device.type == "cpu"] // vocab_size)


def score(
    generator: Generator, tokens: Int[Tensor, "B T"], *, temperature: float = 1.0, context: Any = None
) -> Decoded:
    """Return the log-probability of each token of padded sequences, given their context; nothing is drawn."""
    real = tokens != generator.vocabulary.pad
    given = tokens.masked_fill(~real, 0)  # any id that can be read
    decoded = decode(generator, given, torch.ones_like(real), temperature=temperature, context=context)
    return Decoded(tokens, decoded.log_probs * real, real)


def log_prob(generator: Generator, tokens: Int[Tensor, "B T"], *, temperature: float = 1.0) -> Float[Tensor, " B"]:
    """Return the log-probability of each sequence in nats, `eos` included where the vocabulary has one.

    Nothing is drawn. A row of padding without an `eos` before it counts as far as it goes, as a prefix.
    """
    return score(generator, tokens, temperature=temperature).log_probs.sum(1)
