"""The command line. Results go to standard output, everything else to standard error.

Exit status: 0 done, 1 the work failed, 2 the call was wrong; failures are one line unless --debug is given. Heavy
imports stand inside the commands, so that `textforge --help` does not wait for torch.
"""

import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TextIO

from textforge.cli.comparing import compare_command, frontier_command
from textforge.cli.detecting import detector_command
from textforge.cli.exporting import export_command
from textforge.cli.finding import bench_command, data_command, methods_command
from textforge.cli.replicating import replicate_command
from textforge.cli.sampling import infill_command, sample_command
from textforge.cli.serving import serve_command
from textforge.cli.sweeping import sweep_command
from textforge.cli.training import train_command
from textforge.cli.using import evaluate_command, report_command, score_command
from textforge.errors import CallError, UserError, WorkError, nearest
from textforge.launch import launch

USAGE = """usage: textforge COMMAND ...

Train generators of discrete sequences against discriminators, and measure them honestly.

  methods                       the methods, a line each, with their presets
  train [METHOD]                train on your text, or on an embedded language
  sample RUN                    draw texts from a trained model
  infill RUN "a man ___ a ___"  fill the blanks of a text
  score RUN FILE                log-likelihood and discriminator's opinion of each line
  detector RUN                  train a discriminator against the finished model, for better samples and for score
  evaluate RUN|FILE             every metric that applies, with its settings
  report RUN                    write the run's page of results
  serve RUN...                  a web page to play with runs: tokens in colours, real or not, trainings live
  export RUN                    the model as a folder for others: Hugging Face, or ONNX
  frontier RUN                  quality against diversity over temperatures, beside maximum likelihood
  compare RUN|FILE...           a verdict in words, and one page over several runs or files
  sweep FILE.toml               methods x settings x seeds from one file, on many cores or a cluster
  data list|show|export|fetch   embedded languages and public corpora
  replicate [ROW]               the numbers of the papers beside ours
  bench                         how fast this machine is, as ratios

`textforge COMMAND --help` explains a command, `textforge train METHOD --help` every field of a method.
--version prints the version; --debug, anywhere, shows the traceback of an error."""


def main() -> int:
    """Run the command line and return its exit status."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    # Set before torch is imported: threads that spin while they wait slow each other down on shared cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # whatever the locale: every file that we read or write is so
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            status = run(arguments)
            sys.stdout.flush()  # shows that the disk is full, or the reader of our output gone
        except BrokenPipeError:
            status = 0  # to stop reading is the reader's right
        except KeyboardInterrupt:
            status = _fail("interrupted", 1)
        except Exception as error:  # the outermost handler: nobody sees a traceback who has not asked for it
            if debug:
                raise
            status = 2 if isinstance(error, CallError) else 1
            if _is_ours_to_tell(error):
                _fail(_reason(error), status)
    _drop_output()
    return status


def _is_ours_to_tell(error: Exception) -> bool:
    """Whether no other of several processes tells it: a wrong call, or what `by_first` raised, is the same for all."""
    same = error.shared if isinstance(error, WorkError) else isinstance(error, UserError)
    return not same or launch().local_rank == 0


def _reason(error: Exception) -> str:
    match error:
        case UserError() | WorkError():
            return str(error)
        case OSError() | MemoryError():
            return str(error) or type(error).__name__
        case RuntimeError() if "memory" in str(error):  # PyTorch has no error of its own for it on a CPU
            return f"out of memory; choose smaller networks, batches or a smaller --max-length ({error})"
    return f"{type(error).__name__}: {error} (not foreseen: --debug shows where it happened)"


def _fail(reason: str, status: int) -> int:
    print(f"textforge: {' '.join(reason.split())}", file=sys.stderr)
    return status


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if launch().local_rank == 0:
        print(f"textforge: warning: {message}", file=sys.stderr)


def _drop_output() -> None:
    """Forget what standard output does not take, or Python would try once more at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(arguments: Sequence[str]) -> int:
    """Dispatch on the first argument."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from textforge import __version__

        print(__version__)
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        raise CallError(f"there is no command '{command}'{nearest(command, COMMANDS)}; see textforge --help")
    COMMANDS[command](rest)
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "methods": methods_command,
    "train": train_command,
    "sample": sample_command,
    "infill": infill_command,
    "score": score_command,
    "detector": detector_command,
    "evaluate": evaluate_command,
    "report": report_command,
    "export": export_command,
    "serve": serve_command,
    "frontier": frontier_command,
    "compare": compare_command,
    "sweep": sweep_command,
    "data": data_command,
    "replicate": replicate_command,
    "bench": bench_command,
}
