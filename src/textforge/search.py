"""Text by search in place of luck: beam search, and Monte Carlo tree search with a discriminator as the value.

Both read a generator step by step and never change it. An opinion maps padded sequences, finished or not, to logits of
being real; with a good discriminator's, log g(prefix) + logit(prefix) is the prefix's log-probability in real text.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from textforge.decoding import Decoded, Generator, State, decode, device_of, evaluating, map_state, score
from textforge.errors import CallError

Opinion = Callable[[Int[Tensor, "R T"]], Float[Tensor, " R"]]


def beam(
    generator: Generator, num: int, *, width: int = 16, opinion: Opinion | None = None, weight: float = 1.0
) -> Decoded:
    """Return the `num` best different sequences that a search with `width` prefixes alive finds, the best first.

    A prefix is worth its log-probability, plus `weight` times the opinion of it where one is given; then the 2 x
    `width` most probable prefixes are looked at. There is no bonus for length, so short texts are favoured: they are
    more probable. Deterministic; less than `num` where the generator can say no more. Raises CallError where more are
    wanted than the beam is wide.
    """
    if not 1 <= num <= width:
        raise CallError(f"a beam of {width} finds 1 to {width} texts, not {num}; widen it")
    vocabulary, length = generator.vocabulary, generator.max_length
    ended_tokens: list[Tensor] = []
    ended_worth: list[Tensor] = []
    with evaluating(generator):
        state = generator.initial_state(1)
        device = device_of(generator)
        logits, state = generator.step(torch.tensor([vocabulary.bos], device=device), state)
        tokens = torch.full((1, length), vocabulary.pad, device=device)
        scores = logits.new_zeros(1)
        for t in range(length):
            totals = scores[:, None] + logits.log_softmax(-1)
            found = totals.flatten().topk(min(width if opinion is None else 2 * width, totals.numel()))
            possible = found.values > -math.inf
            scores, parent = found.values[possible], found.indices[possible] // totals.shape[1]
            chosen = found.indices[possible] % totals.shape[1]
            tokens = tokens[parent].clone()
            tokens[:, t] = chosen
            worth = scores if opinion is None else scores + weight * opinion(tokens)
            best = worth.topk(min(width, len(worth))).indices
            scores, parent, chosen, tokens, worth = (x[best] for x in (scores, parent, chosen, tokens, worth))
            ends = torch.full_like(chosen, t + 1 == length, dtype=torch.bool)
            if vocabulary.eos is not None:
                ends |= chosen == vocabulary.eos
            ended_tokens.append(tokens[ends])
            ended_worth.append(worth[ends])
            if ends.all():
                break
            scores, parent, chosen, tokens = (x[~ends] for x in (scores, parent, chosen, tokens))
            state = map_state(lambda leaf, parent=parent: leaf[parent], state)
            logits, state = generator.step(chosen, state)
    worth = torch.cat(ended_worth)
    return score(generator, torch.cat(ended_tokens)[worth.topk(min(num, len(worth))).indices])


@dataclass(eq=False)
class _Node:
    """A prefix: how probable its last token was, its visits, and the sum of the values found behind it."""

    tokens: tuple[int, ...]
    prior: float
    state: State
    """Of the generator in front of the last token."""
    visits: int = 0
    total: float = 0.0
    children: list["_Node"] = field(default_factory=list)


def tree_search(
    generator: Generator,
    opinion: Opinion,
    num: int,
    *,
    simulations: int = 50,
    breadth: int = 20,
    exploration: float = 1.0,
) -> Decoded:
    """Write `num` sequences, each token chosen by a Monte Carlo tree search of its own.

    For every token `simulations` times: **selection** goes down from the prefix so far, to the child with the largest
    mean value plus `exploration` x prior x sqrt(visits of the parent) / (1 + own visits), the prior being the
    generator's probability (Silver et al., 2017; the first descent takes the most probable); **expansion** adds the
    `breadth` most probable tokens behind the leaf; **simulation** completes the leaf by one roll-out, whose value is
    the probability of being real; **back-up** adds it to every node on the way. The token is then drawn with odds in
    proportion to the visits, so that texts differ, and its subtree is kept. (Kocsis and Szepesvari, 2006; SeqGAN, which
    is often said to search like this, only simulates.)

    All `num` trees advance together, one batch of the generator for each of the steps. Raises CallError for less than
    2 simulations: the first one only finds out what may come next.
    """
    if simulations < 2:
        raise CallError(f"a tree search needs 2 or more simulations a token, not {simulations}")
    vocabulary, length = generator.vocabulary, generator.max_length

    def finished(node: _Node) -> bool:
        return len(node.tokens) == length or (bool(node.tokens) and node.tokens[-1] == vocabulary.eos)

    with evaluating(generator):
        start = generator.initial_state(1)
        roots = [_Node((), 1.0, start) for _ in range(num)]
        while searching := [i for i, root in enumerate(roots) if not finished(root)]:
            for _ in range(simulations):
                paths = [_select(roots[i], exploration) for i in searching]
                leaves = [path[-1] for path in paths]
                _expand(generator, [leaf for leaf in leaves if not finished(leaf)], breadth)
                values = _simulate(generator, opinion, leaves)
                for path, value in zip(paths, values, strict=True):
                    for node in path:
                        node.visits += 1
                        node.total += value
            for i in searching:
                visits = torch.tensor([child.visits for child in roots[i].children], dtype=torch.float)
                roots[i] = roots[i].children[int(torch.multinomial(visits, 1))]
    return score(generator, _padded(roots, generator))


def _select(root: _Node, exploration: float) -> list[_Node]:
    """Return the way from the root to a node without children."""
    path = [root]
    while (parent := path[-1]).children:
        path.append(max(parent.children, key=partial(_worth, parent, exploration)))
    return path


def _worth(parent: _Node, exploration: float, child: _Node) -> float:
    known = child if child.visits else parent  # a child that nobody has tried is thought as good as all the others
    return known.total / known.visits + exploration * child.prior * math.sqrt(parent.visits) / (1 + child.visits)


def _expand(generator: Generator, leaves: list[_Node], breadth: int) -> None:
    if not leaves:
        return
    last = torch.tensor([leaf.tokens[-1] if leaf.tokens else generator.vocabulary.bos for leaf in leaves])
    state = map_state(lambda *rows: torch.cat(rows), *(leaf.state for leaf in leaves))
    logits, state = generator.step(last.to(device_of(generator)), state)
    priors, tokens = logits.softmax(-1).topk(min(breadth, logits.shape[1]))
    for i, (leaf, row, ids) in enumerate(zip(leaves, priors.tolist(), tokens.tolist(), strict=True)):
        own = map_state(lambda rows, i=i: rows[i : i + 1].clone(), state)  # a view would keep those of all leaves
        leaf.children = [_Node((*leaf.tokens, y), p, own) for y, p in zip(ids, row, strict=True) if p > 0]


def _simulate(generator: Generator, opinion: Opinion, leaves: list[_Node]) -> list[float]:
    given = _padded(leaves, generator)
    mask = given != generator.vocabulary.pad
    completed = decode(generator, given.masked_fill(~mask, 0), mask)
    return opinion(completed.tokens).sigmoid().tolist()


def _padded(nodes: list[_Node], generator: Generator) -> Int[Tensor, "N T"]:
    rows = [
        F.pad(
            torch.tensor(node.tokens, dtype=torch.long),
            (0, generator.max_length - len(node.tokens)),
            value=generator.vocabulary.pad,
        )
        for node in nodes
    ]
    return torch.stack(rows).to(device_of(generator))
