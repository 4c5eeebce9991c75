"""Lightning Fabric, and all that the package does with it: the device, the backward pass, averages over processes.

Networks are not wrapped, so a method may call any function of theirs; gradients are averaged after the backward pass.
"""

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from textforge.errors import CallError, UserError, nearest

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_DEVICES = ("auto", "cpu", "cuda")


def connect(device: str) -> "Fabric":
    """Return Fabric on `auto` (a CUDA device where there is one), `cpu` or `cuda`."""
    if device not in _DEVICES:
        raise CallError(f"no such device: '{device}'{nearest(device, _DEVICES)}; choose one of {', '.join(_DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': PyTorch finds no CUDA device on this machine; use --device cpu, or auto")
    # Imported here because it takes as long as torch itself, and reading a run needs none of it.
    from lightning_fabric import Fabric

    keep_freed_memory()
    accelerator = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    return Fabric(accelerator=accelerator, devices=1)


def keep_freed_memory() -> None:
    """Let the C library keep freed blocks of up to 32 MiB for the next step, where it is glibc.

    By default it gives large blocks back to the kernel, and the next step pays for every page of them again: with
    logits of 25 MB that was half of the time of training.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, TypeError, AttributeError):  # no glibc: Windows and macOS manage memory in ways of their own
        return


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


def in_any_process(fabric: "Fabric", flag: bool) -> bool:
    """Return, in all processes the same, whether the flag is set in one of them."""
    if fabric.world_size == 1:
        return flag
    total = fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="sum")
    assert isinstance(total, Tensor)
    return bool(total > 0)


def average_gradients(fabric: "Fabric", parameters: Sequence[Tensor]) -> None:
    """Replace the gradients by their mean over the processes, in one exchange.

    Every process must have gradients for the same parameters: the same code on other data.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    mean = fabric.all_reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduce_op="mean")
    assert isinstance(mean, Tensor)
    parts = torch.split(mean, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
