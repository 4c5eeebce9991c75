"""The processes of one training, and what they tell each other: the only place that calls torch.distributed.

All run the same program on the same data with the same random numbers, so all meet at the same calls in the same order.
A process by itself is a group of one, for which everything here is free.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from textforge.errors import LostProcess, WorkError

R = TypeVar("R")


def number() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return which of them this is, counted from 0: the first writes and speaks for all."""
    return dist.get_rank() if number() > 1 else 0


@contextmanager
def _exchange() -> Iterator[None]:
    """Say in one line that an exchange failed; whatever the reason, a process did not do its part."""
    try:
        yield
    except RuntimeError as error:
        other = f"process {1 - rank()}" if number() == 2 else "another process"
        cause = str(error).splitlines()[0].rpartition("] ")[2]
        raise LostProcess(
            f"process {rank()} of {number()} lost {other} ({cause}), so training ends here; the last checkpoint stays: "
            "start all processes again with --resume"
        ) from error


def by_first(function: Callable[[], R]) -> R:
    """Let the first process call the function; return in all of them what it returned, or raise what it raised."""
    if number() == 1:
        return function()
    box: list[tuple[R | None, Exception | None]] = [(None, None)]
    if rank() == 0:
        try:
            box = [(function(), None)]
        except Exception as error:  # whatever it is, all must end by it, or they would wait for each other
            box = [(None, error)]
    with _exchange():
        dist.broadcast_object_list(box, src=0)
    value, failure = box[0]
    if failure is not None:
        if isinstance(failure, WorkError):
            failure.shared = True
        raise failure
    return value  # type: ignore[return-value] # an R, where there was no failure


def largest(*values: int) -> list[int]:
    """Return, in all processes the same, the largest of what they have of each value."""
    if number() == 1:
        return list(values)
    found = torch.tensor(values, device=_device())
    with _exchange():
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return found.tolist()


def meet() -> None:
    """Wait until all processes are here."""
    largest(0)


def summed(values: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes, in place of the tensor."""
    if number() > 1:
        with _exchange():
            dist.all_reduce(values)
    return values


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace the gradients by their mean over the processes, in one exchange.

    Every process must have gradients for the same parameters. What they have to be for the mean to be right stands in
    `sharding`.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if number() == 1 or not gradients:
        return
    mean = summed(torch.cat([gradient.flatten() for gradient in gradients])) / number()
    parts = torch.split(mean, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def joined(part: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the rows of all processes one after the other; `sizes` says how many each has."""
    longest = max(sizes)
    own = part.new_zeros(longest, *part.shape[1:])  # an exchange takes tensors of one shape
    own[: len(part)] = part
    parts = [torch.empty_like(own) for _ in sizes]
    with _exchange():
        dist.all_gather(parts, own)
    return torch.cat([other[:size] for other, size in zip(parts, sizes, strict=True)])


def leave() -> None:
    """Leave the group: from here on this process is by itself."""
    if number() > 1:
        dist.destroy_process_group()


def _device() -> torch.device:
    """Return where tensors must lie that are exchanged."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
