"""Work split by rows among the processes of a training: every process holds all, and computes its part.

Outside `sharing()`, and in a process by itself, nothing here does anything. Inside, all processes run the same program
with the same random numbers, and what costs most is split: each computes its rows, and then all hold the rows of all.

Which gradients this needs, for W processes that average theirs at the end of the backward pass (`average_gradients`):
a loss that all compute from whole batches leaves, in every process, the whole gradient of what all computed. Of a
parameter that was used there, the mean over the processes is the gradient. Where rows were split, a process knows only
its rows' share of a parameter's gradient, and the gradient is the sum of the shares, W times their mean. So inside a
split all gradients are W times as large: the mean is then right for both uses of a parameter, and for a mixture of
them, since all of it is linear. `gather`, on whose other side they have their own size, hands back its rows times W;
`split` hands back the rows of all, divided by W. Both are built of each other, so that gradients of gradients hold too.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from textforge import processes

P = ParamSpec("P")
R = TypeVar("R")

_shared: ContextVar[bool] = ContextVar("shared", default=False)


@contextmanager
def _set(value: bool) -> Iterator[None]:
    before = _shared.get()
    _shared.set(value)
    try:
        yield
    finally:
        _shared.set(before)


@contextmanager
def sharing() -> Iterator[None]:
    """Split work inside the block among all processes, which all enter it."""
    with _set(True):
        yield


@contextmanager
def alone() -> Iterator[None]:
    """Do all of the work inside the block in this process, even in the midst of `sharing`."""
    with _set(False):
        yield


def num_shares(num: int) -> int:
    """Return into how many parts so many rows are split: 1 where each process would not get one."""
    number = processes.number() if _shared.get() else 1
    return number if num >= number else 1


def split(rows: R) -> R:
    """Return this process's share of the rows of a tensor, or of each tensor in a structure (see `mapped`)."""
    whole: R = mapped(lambda rows: _split(rows) if num_shares(len(rows)) > 1 else rows, rows)
    return whole


def gather(part: R, num: int) -> R:
    """Return all `num` rows of what each process has its share of: the reverse of `split`."""
    if num_shares(num) == 1:
        return part
    whole: R = mapped(lambda part: _gather(part, num), part)
    return whole


def by_rows(function: Callable[P, R]) -> Callable[P, R]:
    """Let each process call the function on its share of the rows, and return the results for all rows.

    For functions that map each row, the first axis of every tensor among the arguments and the results, by itself. One
    that draws random numbers (dropout) draws others in every process.
    """

    @wraps(function)
    def shared(*args: P.args, **kwargs: P.kwargs) -> R:
        if not _shared.get() or processes.number() == 1:
            return function(*args, **kwargs)
        num = _num_rows((args, kwargs))
        if num_shares(num) == 1:
            return function(*args, **kwargs)
        args, kwargs = split((args, kwargs))
        with inside(num):
            part = function(*args, **kwargs)
        return gather(part, num)

    return shared


@contextmanager
def inside(num: int) -> Iterator[None]:
    """Work on a share of so many rows: nothing is split further, and random numbers are this process's own.

    Behind the block all draw the same ones again, as if none had been drawn, or, where some were, one.
    """
    if num_shares(num) == 1:
        yield
        return
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with alone():
        with torch.random.fork_rng(devices):
            seed = int(torch.randint(2**62, ()))  # the same in all processes, another each time
            # `torch.manual_seed` would also turn to every kind of accelerator, and this is called at every time step.
            own = seed + processes.rank()
            torch.default_generator.manual_seed(own)
            if devices:
                torch.cuda.manual_seed(own)
            before = _random_states(devices)
            yield
            drawn = any(not torch.equal(*states) for states in zip(before, _random_states(devices), strict=True))
        if drawn:
            torch.rand(())


def _random_states(devices: list[int]) -> list[Tensor]:
    return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, devices)]


def dealt(rows: Int[Tensor, " N"]) -> Bool[Tensor, " N"] | None:
    """Return which of some rows fall to this process, where they are dealt out in turn; None: all, as it is alone."""
    shares = num_shares(len(rows))
    return None if shares == 1 else rows % shares == processes.rank()


def assembled(part: Shaped[Tensor, "M *A"], mine: Bool[Tensor, " N"] | None) -> Shaped[Tensor, "N *A"]:
    """Return the rows of all processes where this one has those that were `dealt` to it."""
    if mine is None:
        return part
    rows = part.new_zeros(len(mine), *part.shape[1:])
    rows[mine] = part
    return processes.summed(rows)


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply the function to all tensors in tuples, lists, dicts and dataclasses; leave everything else as it is."""
    match value:
        case Tensor():
            return function(value)
        case tuple() | list():
            return type(value)(mapped(function, item) for item in value)
        case dict():
            return {key: mapped(function, item) for key, item in value.items()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return dataclasses.replace(value, **mapped(function, fields))
    return value


def _num_rows(value: Any) -> int:
    found: list[int] = []

    def look(tensor: Tensor) -> Tensor:
        found.append(len(tensor))
        return tensor

    mapped(look, value)
    assert len(set(found)) == 1, f"rows are split where the arguments have {found}"
    return found[0]


class _Split(torch.autograd.Function):
    """A process's rows of what all hold; see the head of the file for the scale of the gradients."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.num = len(rows)
        number, rank = processes.number(), processes.rank()
        return rows[ctx.num * rank // number : ctx.num * (rank + 1) // number].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _gather(gradient, ctx.num) / processes.number()


class _Gather(torch.autograd.Function):
    """The rows of all from a process's own; see the head of the file for the scale of the gradients."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, num: int) -> Tensor:
        number = processes.number()
        sizes = [num * (rank + 1) // number - num * rank // number for rank in range(number)]
        return processes.joined(part, sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _split(gradient) * processes.number(), None


def _split(rows: Tensor) -> Tensor:
    part: Tensor = _Split.apply(rows)  # type: ignore[no-untyped-call]
    return part


def _gather(part: Tensor, num: int) -> Tensor:
    whole: Tensor = _Gather.apply(part, num)  # type: ignore[no-untyped-call]
    return whole
