"""The collapse sentinel: reads what each evaluation found, and says in words what is wrong, or nothing.

What a generator has lost is a part of something it could have: of the different texts that as many lines of real text
hold, of the entropy that its best held-out NLL promised, of the novelty of real held-out text. While the held-out NLL
still falls to new lows, the generator learns, and nothing is called a collapse.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

from textforge.run.measurement import Share

OnCollapse = Literal["warn", "rollback", "stop", "ignore"]
Cause = Literal["unique", "entropy", "exact_copy", "d_accuracy"]


_MILDER = "lower the generator's learning rate, or end this phase sooner"
_SOONER = "end this phase sooner, or give it more text"
_WEAKER = "lower its learning rate or its steps, or train the generator for longer before they meet"


@dataclass(frozen=True)
class Rule:
    """When something is wrong enough to be told."""

    lost: float = 0.5
    """The part of diversity, entropy or novelty that must be gone."""
    recovered: float = 0.25
    """The part below which it counts as found again; a later loss is told anew."""
    errors: float = 4.0
    """Standard errors that a share must lie away from that of real text."""
    nats: float = 0.1
    """Nats a token by which the entropy must have fallen: where it was near 0, a half of it is nothing."""
    lasting: int = 4
    """Evaluations in a row, of a phase, at which a generator without a likelihood must lack diversity."""
    perfect: float = 0.99
    """The accuracy of a discriminator that is all but perfect."""
    in_a_row: int = 3
    """Evaluations in a row at which it must have been."""
    chance: float = 0.55
    """The accuracy below which a discriminator does not see what goes on."""


@dataclass(frozen=True)
class Finding:
    """What is wrong, in words: what was measured, against what; and what to do."""

    cause: Cause
    words: str
    advice: str

    @property
    def is_collapse(self) -> bool:
        """Whether the generator is worse than it was; a discriminator that knows everything is another trouble."""
        return self.cause != "d_accuracy"


class Loss(NamedTuple):
    """The part that is gone of something, and what is to be said if that is too much."""

    part: float
    finding: Finding


@dataclass
class Memory:
    """What the sentinel knows of the evaluations behind it; part of every checkpoint."""

    lowest: float = math.inf  # nll_valid
    scarce: int = 0  # evaluations in a row, of the phase, with too few different texts
    perfect: int = 0  # evaluations in a row, of the phase, at which the discriminator was perfect
    told: list[Cause] = field(default_factory=list)  # the causes that were told and are not over


class Sentinel:
    """Follows one run, evaluation by evaluation."""

    def __init__(self, rule: Rule | None = None) -> None:
        """Know nothing yet."""
        self._rule = Rule() if rule is None else rule
        self._memory = Memory()

    def begin(self) -> None:
        """Enter a phase: what was told in another one may be told again."""
        self._memory.scarce = self._memory.perfect = 0
        self._memory.told = []

    @property
    def has_told(self) -> bool:
        """Whether a collapse of the phase was told and is not over: what else it brings is the same collapse."""
        return any(cause != "d_accuracy" for cause in self._memory.told)

    def look(
        self, scalars: Mapping[str, float], shares: Mapping[str, Share], d_accuracy: float | None
    ) -> list[Finding]:
        """Return what this evaluation shows that was not told before: each cause once, until it is over.

        Of the scalars `nll_valid` and `entropy` count, of the shares `unique` and `exact_copy`; any may be missing.
        `d_accuracy` is what training logged last.
        """
        memory, rule = self._memory, self._rule
        losses = list(self._losses(scalars, shares))
        nll = scalars.get("nll_valid", math.inf)
        if nll < memory.lowest:
            memory.lowest = nll
            losses = []  # it learns
        found = [loss.finding for loss in losses if loss.part >= rule.lost]
        lasting = {loss.finding.cause for loss in losses if loss.part > rule.recovered}
        memory.perfect = memory.perfect + 1 if d_accuracy is not None and d_accuracy >= rule.perfect else 0
        if memory.perfect >= rule.in_a_row:
            found.append(
                Finding(
                    "d_accuracy",
                    f"the discriminator has told real from generated with an accuracy of at least {rule.perfect} at "
                    f"{memory.perfect} evaluations in a row: a generator that follows its verdict learns little more",
                    _WEAKER,
                )
            )
            lasting.add("d_accuracy")
        new = [finding for finding in found if finding.cause not in memory.told]
        memory.told = [cause for cause in memory.told if cause in lasting] + [finding.cause for finding in new]
        if new and d_accuracy is not None and d_accuracy < rule.chance:
            unseen = f"{new[-1].words}; the discriminator does not see it: its accuracy is {d_accuracy:.2f}"
            new[-1] = replace(new[-1], words=unseen)
        return new

    def _losses(self, scalars: Mapping[str, float], shares: Mapping[str, Share]) -> Iterator[Loss]:
        if unique := shares.get("unique"):
            yield self._diversity(unique, has_likelihood="nll_valid" in scalars)
        if (entropy := scalars.get("entropy")) is not None and self._memory.lowest < math.inf:
            yield self._entropy(entropy)
        if copies := shares.get("exact_copy"):
            yield self._novelty(copies)

    def _diversity(self, unique: Share, *, has_likelihood: bool) -> Loss:
        """Compare with real text.

        Without a likelihood, which tells learning from collapse, a lack of diversity must last: it may be a beginning.
        """
        memory, rule = self._memory, self._rule
        memory.scarce = memory.scarce + 1 if unique.value < (1 - rule.lost) * unique.real else 0
        by_chance = unique.real - unique.value <= rule.errors * unique.error
        due = has_likelihood or memory.scarce >= rule.lasting
        texts, real = round(unique.num * unique.value), round(unique.num * unique.real)
        words = f"the generator repeats itself: {texts} of {unique.num} samples are different texts, of as many lines "
        words += f"of real text about {real}"
        return Loss(1 - unique.value / unique.real if due and not by_chance else 0.0, Finding("unique", words, _MILDER))

    def _entropy(self, entropy: float) -> Loss:
        lowest = self._memory.lowest
        words = f"the generator says too few things: its entropy is {entropy:.2f} nats a token, where its lowest "
        words += f"held-out NLL, {lowest:.2f}, promised about as much"
        part = 1 - entropy / lowest if lowest - entropy > self._rule.nats else 0.0
        return Loss(part, Finding("entropy", words, _MILDER))

    def _novelty(self, copies: Share) -> Loss:
        by_chance = copies.value - copies.real <= self._rule.errors * copies.error
        words = f"the generator recites: {copies.value:.0%} of {copies.num} samples stand word for word in the "
        words += f"training text, of real held-out text about {copies.real:.0%}"
        part = 0.0 if by_chance else (copies.value - copies.real) / (1 - copies.real)
        return Loss(part, Finding("exact_copy", words, _SOONER))

    def state_dict(self) -> dict[str, Any]:
        """Return the memory as plain values."""
        return asdict(self._memory)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set what `state_dict` returned."""
        self._memory = Memory(**state)


def spoken(findings: Sequence[Finding], on_collapse: OnCollapse, earlier: tuple[str, int] | None) -> str:
    """Say what one evaluation found, what to do, and what is done; `earlier` is a generator by its name and step."""
    parts = [finding.words for finding in findings] + list(dict.fromkeys(finding.advice for finding in findings))
    if any(finding.is_collapse for finding in findings):
        parts += _consequence(on_collapse, earlier)
    return "; ".join(parts)


def _consequence(on_collapse: OnCollapse, earlier: tuple[str, int] | None) -> Iterator[str]:
    match on_collapse:
        case "rollback" if earlier:
            yield f"this phase ends with the generator of step {earlier[1]}, the checkpoint '{earlier[0]}'"
        case "rollback":
            yield "there is no earlier generator to go back to"
        case "stop":
            yield "the run stops"
        case "warn" if earlier:
            yield f"the generator of step {earlier[1]} is kept: --checkpoint {earlier[0]}"
