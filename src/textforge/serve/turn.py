"""One computation at a time, and not too many requests: a few wait for their turn, the others are sent away."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from textforge.errors import WorkError

WAITING = 8
"""Requests that may wait."""
LONGEST = 60
"""Seconds after which who was sent away may always try again."""


class Busy(WorkError):
    """All places are taken; `seconds` later it is worth another try."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the machine is busy with the requests before; try again in {seconds} s")
        self.seconds = seconds


class Rate:
    """So many requests a second in the long run, and `at_once` in a burst."""

    def __init__(
        self, per_second: float = 20, at_once: float = 200, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._at_once = self._left = at_once
        self._clock = clock
        self._counted = clock()

    def take(self) -> None:
        """Count a request; raises Busy where there were too many."""
        now = self._clock()
        self._left = min(self._at_once, self._left + (now - self._counted) * self._per_second)
        self._counted = now
        if self._left < 1:
            raise Busy(1)
        self._left -= 1


class Turn:
    """A lock with a bounded number of waiting threads."""

    def __init__(self, waiting: int = WAITING) -> None:
        self._waiting = waiting
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._own = threading.Lock()
        self._took = 0.0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn and have it inside the block; raises Busy where too many wait already."""
        if not self._places.acquire(blocking=False):
            raise Busy(min(LONGEST, max(1, math.ceil(self._took * (self._waiting + 1)))))
        try:
            with self._own:
                start = time.monotonic()
                try:
                    yield
                finally:
                    self._took = time.monotonic() - start
        finally:
            self._places.release()
