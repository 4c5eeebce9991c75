"""Labels in front of texts: a generator that writes pairs is one of texts given a label, by the rules of probability.

A label is the first token of a sequence (Keskar et al., 2019, "CTRL"): p(label, text) = p(label) p(text | label), of
which p(text) is a sum over labels, and p(label | text) follows by Bayes' rule.

Axis letters as in `decoding`, and K labels.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from textforge.decoding import Decoded, Generator, State, device_of, log_prob
from textforge.errors import WorkError
from textforge.text import Vocabulary

AT_ONCE = 256
"""Sequences that are drawn together while a label is waited for."""
PATIENCE = 1000
"""Sequences drawn for each that is wanted, above which `until` gives up."""
ROWS = 1024
"""Pairs that are scored together."""


class _Paired(nn.Module):
    """A generator without the sequences that are no pair; a module, so that modes reach the generator inside."""

    first: Bool[Tensor, " V"]
    later: Bool[Tensor, " V"]

    def __init__(self, generator: Generator, label: int | None) -> None:
        super().__init__()
        self.inner = generator
        self.vocabulary = generator.vocabulary
        self.max_length = generator.max_length
        self.noise_dim = generator.noise_dim
        ids, device = torch.arange(self.vocabulary.vocab_size), device_of(generator)
        is_label = is_of(self.vocabulary, ids)
        self.register_buffer("first", (is_label if label is None else ids == label).to(device), persistent=False)
        self.register_buffer("later", ~is_label.to(device), persistent=False)

    def initial_state(self, batch: int, context: Any = None) -> State:
        """Return the state of the generator inside."""
        return self.inner.initial_state(batch, context)

    def step(self, token: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Step it; behind `bos` only labels keep their logits, and behind anything else only the other tokens."""
        logits, state = self.inner.step(token, state)
        begins = (token == self.vocabulary.bos)[:, None]
        kept = (begins & self.first) | (~begins & self.later)  # `where` of truth values is no operation of ONNX
        return logits.masked_fill(~kept, -torch.inf), state


def paired(generator: Generator, label: int | None = None) -> Generator:
    """Return a generator whose first token is a label, or the one with this id, and no later one is.

    What is left of the probabilities adds up to one again; that of a label that is asked for is 1, so that the
    log-probability of a sequence is log p(text | label). Without labels in the vocabulary, and where noise drives the
    generator and all probabilities hang on it, it is the generator as it is.
    """
    if not generator.vocabulary.num_labels or generator.noise_dim:
        return generator
    return _Paired(generator, label)


def is_of(vocabulary: Vocabulary, ids: Int[Tensor, " *any"]) -> Bool[Tensor, " *any"]:
    """Return which ids are labels."""
    return (ids >= vocabulary.labels.start) & (ids < vocabulary.labels.stop)


def each_label(vocabulary: Vocabulary, tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B K T1"]:
    """Return texts without a label behind every label."""
    labels = torch.tensor(vocabulary.labels, device=tokens.device).expand(len(tokens), -1)
    return torch.cat([labels[:, :, None], tokens[:, None].expand(-1, labels.shape[1], -1)], 2)


def joint(generator: Generator, tokens: Int[Tensor, "B T"], *, temperature: float = 1.0) -> Float[Tensor, "B K"]:
    """Return log p(label, text) of texts without a label, and of every label, in nats."""
    num = generator.vocabulary.num_labels
    scores = []
    for texts in tokens.split(max(1, ROWS // num)):
        pairs = each_label(generator.vocabulary, texts).flatten(0, 1)[:, : generator.max_length]
        scores += [log_prob(generator, rows, temperature=temperature) for rows in pairs.split(ROWS)]
    return torch.cat(scores).view(-1, num)


def prior(generator: Generator, *, temperature: float = 1.0) -> Float[Tensor, " K"]:
    """Return log p(label) of every label, in nats."""
    labels = torch.tensor(generator.vocabulary.labels, device=device_of(generator))
    return log_prob(generator, labels[:, None], temperature=temperature)


def judged(
    generator: Generator,
    judge: Callable[[Int[Tensor, "R T"]], Float[Tensor, " R"]],
    tokens: Int[Tensor, "B T"],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, " B"]:
    """Return the logits of texts without a label being real, made of a judge's logits of pairs.

    The odds of a pair are p(label, text) / q(label, text), q being the generator's at the temperature of the
    samples that the judge knows, and those of the text p(text) / q(text): the mean of the former under q(label | text).
    Where noise drives the generator, all labels weigh the same.
    """
    pairs = each_label(generator.vocabulary, tokens)
    logits = judge(pairs.flatten(0, 1)[:, : generator.max_length]).view(pairs.shape[:2])
    if generator.noise_dim:
        return logits.logsumexp(1) - math.log(logits.shape[1])
    weights = joint(generator, tokens, temperature=temperature).to(logits)
    return (logits + weights.log_softmax(1)).logsumexp(1)


def until(draw: Callable[[int], Decoded], label: int, num: int) -> Decoded:
    """Draw until `num` sequences begin with a label: exact draws given it, of any generator.

    Raises WorkError where that takes more than `PATIENCE` draws for each.
    """
    kept: list[Decoded] = []
    drawn = found = 0
    while found < num:
        if drawn > PATIENCE * num:
            raise WorkError(
                f"of {drawn:,} texts {found:,} have this label, and {num:,} are wanted: the generator hardly does it, "
                "so train another"
            )
        pool = draw(AT_ONCE)
        rows = (pool.tokens[:, 0] == label).nonzero().squeeze(1)
        drawn, found = drawn + len(pool.tokens), found + len(rows)
        kept.append(pool[rows])
    return Decoded.joined(kept)[torch.arange(num, device=kept[0].tokens.device)]
