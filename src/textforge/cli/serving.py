"""textforge serve: a web page to play with trained models."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from textforge.cli.parsing import parse
from textforge.errors import CallError, UserError


@dataclass(frozen=True)
class ServeOptions:
    """Open a web page to play with runs: texts token by token, real or not, and trainings as they go."""

    runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN", help_behavior_hint="")]
    """The run folders."""
    host: str = "127.0.0.1"
    """Where to listen; other than by default, everybody who reaches this machine can use the page."""
    port: int = 8000
    """The port; 0 takes a free one."""

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0 <= self.port < 2**16:
            raise CallError(f"--port must be between 0 and {2**16 - 1}, not {self.port}")


def serve_command(arguments: Sequence[str]) -> None:
    """Serve runs until Ctrl-C."""
    options = parse(ServeOptions, arguments, "serve")
    try:
        from textforge.serve import LOOPBACK, answer, application, listen
    except ModuleNotFoundError as error:
        raise UserError(f"serve needs {error.name}, which is absent; run: pip install 'textforge[serve]'") from None
    served = application(options.runs, host=options.host)
    with listen(options.host, options.port) as door:
        number = door.getsockname()[1]
        name = f"[{options.host}]" if ":" in options.host else options.host
        print(f"http://{name}:{number}/", flush=True)
        if options.host not in LOOPBACK:
            print(f"textforge: everybody who reaches port {number} of this machine can use the page", file=sys.stderr)
        with contextlib.suppress(KeyboardInterrupt):  # the way to end it
            answer(served, door)
