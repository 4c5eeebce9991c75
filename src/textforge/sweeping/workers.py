"""All trials, in worker processes of Ray: here, or on a cluster.

Ray starts processes and tells when one dies. What a sweep needs beyond that, the run folders bring: a trial that is
started again goes on from its checkpoint, and the lock of a folder dies with its process.
"""

import logging
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import textforge
from textforge.errors import Interrupted, UserError
from textforge.run import StopSignals, write_atomic
from textforge.sweeping.plan import Plan, Trial
from textforge.sweeping.trials import carry_out, is_finished

DEATHS = 3
"""How often the worker of a trial may die before the trial is given up."""
PATIENCE = 300.0
"""Seconds in which each machine has to answer: a busy one takes long to import torch."""
ANSWER = 10.0
"""Seconds in which a cluster has to answer; Ray itself waits for minutes."""
OBJECTS = 80 * 2**20
"""Bytes of memory that Ray shares among workers, about its least: they hand over nothing."""
_TOKEN = secrets.token_hex(32)  # one for the process: Ray reads it once

Say = Callable[[str], object]


@contextmanager
def cluster(address: str | None, workers: int) -> Iterator[ModuleType]:
    """Start Ray for this many workers on this machine, or join the cluster at an address; and leave it at the end.

    Raises UserError where Ray is absent or no cluster answers.
    """
    # Read when Ray is imported, and by the processes that it starts.
    own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    if address is None:
        # On other systems Ray keeps to this machine anyway. The token is for its other users.
        own |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _TOKEN}
        own |= {"RAY_worker_niceness": "0"}  # beside anything else, the usual 15 gets nearly nothing
    else:
        _require_answer(address)
    with ExitStack() as stack:
        stack.enter_context(_environment(own))
        try:
            import ray
        except ModuleNotFoundError as error:
            raise UserError(f"sweep needs {error.name}, which is absent; run: pip install 'textforge[ray]'") from None
        if threading.current_thread() is threading.main_thread():  # Ray takes SIGTERM, and keeps it
            stack.callback(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address is None:
            root = "/tmp" if os.name == "posix" else None  # the paths of sockets are short
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="sweep-", dir=root, ignore_cleanup_errors=True)
            )
            stack.callback(ray.shutdown)
            ray.init(
                "local",
                num_cpus=workers,
                include_dashboard=False,
                object_store_memory=OBJECTS,
                _temp_dir=folder,
                **quiet,
            )
        else:
            stack.callback(ray.shutdown)
            try:
                ray.init(address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise UserError(f"no Ray cluster can be joined at {address}: {reason}") from None
        yield ray


def _require_answer(address: str) -> None:
    """Raise UserError where nobody listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER).close()
    except (OSError, OverflowError, ValueError) as error:
        raise UserError(
            f"no Ray cluster answers at {address}: {error}; give HOST:PORT, as `ray start` prints it"
        ) from None


@contextmanager
def _environment(own: dict[str, str]) -> Iterator[None]:
    """Set variables of the environment inside the block."""
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def look(paths: Sequence[str]) -> tuple[list[str], str]:
    """Return which of the paths a worker does not see, and its version of TextForge."""
    return [path for path in paths if not Path(path).exists()], textforge.__version__


def require_same_files(ray: ModuleType, folder: Path, *others: str) -> None:
    """Raise UserError for a machine whose workers do not see the folder, or other files, as we do."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token = folder / f".seen-{secrets.token_hex(8)}"
    write_atomic(token, b"")
    task = ray.remote(num_cpus=0, max_retries=0)(look)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        for node in nodes:
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = node["NodeManagerAddress"]
            try:
                unseen, version = ray.get(
                    task.options(scheduling_strategy=place).remote([str(token), *others]), timeout=PATIENCE
                )
            except ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[-1]
                raise UserError(f"no worker on {name} can start: {reason}; install textforge there, too") from None
            if unseen:
                what = folder if str(token) in unseen else unseen[0]
                raise UserError(f"a worker on {name} does not see {what}; put it where all machines share a folder")
            if version != textforge.__version__:
                raise UserError(f"{name} has textforge {version}, and here is {textforge.__version__}; make them equal")
    finally:
        token.unlink(missing_ok=True)


def carry_out_all(
    ray: ModuleType,
    plan: Plan,
    folder: Path,
    *,
    workers: int,
    gpus: float = 0.0,
    command: Sequence[str] = (),
    say: Say,
) -> dict[str, str]:
    """Carry out what is not finished, so many trials at once; return why trials have failed, by their names.

    A trial whose worker dies goes on from its checkpoint, in another. SIGTERM and Ctrl-C let all trials save; then, and
    with a second signal at once, `Interrupted` is raised. `UserError` where no machine has so many GPUs.
    """
    _require_gpus(ray, gpus)
    waiting = deque(trial for trial in plan.trials if not is_finished(folder / trial.name, plan.temperatures))
    if skipped := len(plan.trials) - len(waiting):
        say(f"{skipped} of {len(plan.trials)} trials are finished already")
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(carry_out)
    running: dict[Any, Trial] = {}
    deaths: Counter[str] = Counter()
    failed: dict[str, str] = {}
    with StopSignals(lambda: None) as signals:
        while waiting or running:
            while waiting and len(running) < workers:
                trial = waiting.popleft()
                place = folder / trial.name
                say(f"{trial.name}: {'goes on' if place.exists() else 'starts'}")
                options = plan.options_of(trial)
                running[remote.remote(trial, options, plan.temperatures, place, list(command))] = trial
            ended, _ = ray.wait(list(running), timeout=0.2)
            for reference in ended:
                trial = running.pop(reference)
                try:
                    ray.get(reference)
                    say(f"{trial.name}: done")
                except ray.exceptions.RayError as error:
                    if (words := _loss(ray, error)) is None:
                        failed[trial.name] = _reason(error.cause)
                        say(f"{trial.name}: {failed[trial.name]}")
                        continue
                    deaths[trial.name] += 1
                    if deaths[trial.name] < DEATHS:
                        say(f"{trial.name}: {words}")
                        waiting.appendleft(trial)
                    else:
                        failed[trial.name] = f"{words} {DEATHS} times"
                        say(f"{trial.name}: {failed[trial.name]}; it is given up")
            if signals.received is not None:
                _stop(ray, running, say)
    return failed


def _require_gpus(ray: ModuleType, num: float) -> None:
    """Raise UserError where no machine has so many GPUs: Ray would wait for one without a word."""
    if not num:
        return
    most = max((node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    if num > most:
        raise UserError(f"--gpus {num:g} is what each trial gets, and Ray finds {most:g} on a machine; give fewer")


def _loss(ray: ModuleType, error: Exception) -> str | None:
    """Say how a trial lost its worker; None where it ended by an error of its own, or as --on-collapse asks for."""
    if not isinstance(error, ray.exceptions.RayTaskError):
        return f"its worker died ({type(error).__name__})"
    stopped = isinstance(error.cause, Interrupted) and not str(error.cause).startswith("stopped by a collapse")
    return "its worker was told to stop" if stopped else None


def _stop(ray: ModuleType, running: dict[Any, Trial], say: Say) -> None:
    """Let the trials save and end; raises `Interrupted` then."""
    say(f"stopping: {len(running)} trials save what they have; again: at once")
    for reference in running:
        ray.cancel(reference)  # in the worker it is Ctrl-C
    left = list(running)
    while left:
        _, left = ray.wait(left, num_returns=len(left), timeout=0.2)
    raise Interrupted("stopped, everything is saved")


def _reason(cause: BaseException) -> str:
    """Say in one line why a trial has failed."""
    words = " ".join(str(cause).split()) or type(cause).__name__
    return words if isinstance(cause, UserError | RuntimeError) else f"{type(cause).__name__}: {words}"
