"""Losses and gradients must be finite: where they are not, training has ended, whatever the loop does."""

import math

import torch
from torch import Tensor

from textforge.errors import WorkError
from textforge.run.position import Position


def diverged(what: str, value: object, position: Position, iteration: int) -> WorkError:
    """Return the error that says what became useless, and where."""
    return WorkError(
        f"{what} is {value} in iteration {iteration} of phase '{position.phase}'; the last "
        "checkpoint stays: lower the learning rate, or clip the gradients, in a run in another folder"
    )


class Finite:
    """Looks at numbers of one iteration; `WorkError` names the first that is not finite."""

    def __init__(self) -> None:
        """Have seen nothing yet."""
        self._seen: dict[str, Tensor] = {}

    def require(self, what: str, value: Tensor, position: Position, device: torch.device) -> None:
        """Look at a number: at once on a CPU, elsewhere when `read` is called."""
        if device.type == "cpu":
            if not math.isfinite(number := value.item()):
                raise diverged(what, number, position, position.iteration + 1)
        else:
            # Reading a number stops an accelerator, so all of them are read at once, at the end of the iteration.
            finite = value.detach().isfinite()
            self._seen[what] = finite & self._seen.get(what, finite)

    def read(self, position: Position) -> None:
        """Look at what was not looked at before, behind an iteration."""
        if self._seen:
            checks = torch.stack(list(self._seen.values())).tolist()
            for what, finite in zip(self._seen, checks, strict=True):
                if not finite:
                    raise diverged(what, "NaN or infinite", position, position.iteration)
            self._seen.clear()
