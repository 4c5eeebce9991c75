"""Where a run stands."""

import math
from dataclasses import dataclass, field


@dataclass
class Position:
    """Where a run stands; part of every checkpoint."""

    phase: str = ""
    iteration: int = 0  # of the phase, behind it
    step: int = 0  # iterations over all phases
    complete: bool = False
    behind: list[str] = field(default_factory=list)
    best: float = math.inf  # the lowest nll_valid of the run
    best_step: int | None = None
    lowest: float = math.inf  # the lowest nll_valid of the phase
    stale: int = 0  # evaluations since then

    def enter(self, phase: str, n: int) -> None:
        """Stand before the first of the n iterations of a phase."""
        self.phase, self.iteration, self.complete = phase, 0, n == 0
        self.lowest, self.stale = math.inf, 0
