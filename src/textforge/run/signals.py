"""SIGTERM and Ctrl-C as requests: the first asks the run to stop with everything saved, the second stops it at once."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from textforge.errors import Interrupted


class StopSignals:
    """Inside the block, notes the first signal in `received` and raises `Interrupted` on the second.

    Python takes signals in the main thread only; elsewhere, the block leaves them alone.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        """Call `on_first` when the first signal comes in."""
        self.received: signal.Signals | None = None
        self._on_first = on_first
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the handlers back that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise Interrupted(
                f"stopped at once by a second {signal.Signals(number).name}; the last checkpoint stays: "
                "repeat the command with --resume to go on from there"
            )
        self.received = signal.Signals(number)
        self._on_first()
