"""Lightning Fabric, and all that the package does with it: the device, the group of processes, the backward pass.

Networks are not wrapped, so a method may call any function of theirs; how processes share work stands in `sharding`.
"""

import ctypes
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import torch

from textforge.errors import CallError, UserError, nearest
from textforge.launch import Launch, launch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_DEVICES = ("auto", "cpu", "cuda")
PATIENCE = timedelta(minutes=30)
"""How long processes wait for one that is late: more than any of them computes by itself."""


def connect(device: str) -> "Fabric":
    """Return Fabric on `auto` (a CUDA device where there is one), `cpu` or `cuda`.

    Where this process was started with others, by torchrun or SLURM, it joins their group, over gloo on CPUs and NCCL
    on GPUs, and waits until all are there.
    """
    if device not in _DEVICES:
        raise CallError(f"no such device: '{device}'{nearest(device, _DEVICES)}; choose one of {', '.join(_DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': PyTorch finds no CUDA device on this machine; use --device cpu, or auto")
    # Imported here because it takes as long as torch itself, and reading a run needs none of it.
    from lightning_fabric import Fabric

    keep_freed_memory()
    accelerator = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    return _join(launch(), accelerator) if launch().num > 1 else Fabric(accelerator=accelerator, devices=1)


def _join(place: Launch, accelerator: str) -> "Fabric":
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would tell that processes found each other
    if accelerator == "cuda" and torch.cuda.device_count() < place.per_node:
        raise UserError(
            f"{place.per_node} processes on a machine need as many GPUs, and this sees {torch.cuda.device_count()}; "
            "start fewer, or give --device cpu, or SLURM --gpus-per-node in place of --gpus-per-task"
        )
    environment: ClusterEnvironment
    if place.launcher == "slurm":
        environment = SLURMEnvironment(auto_requeue=False)
    else:
        environment = TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()
    strategy = DDPStrategy(cluster_environment=environment, timeout=PATIENCE)
    fabric = Fabric(accelerator=accelerator, devices=place.per_node, num_nodes=place.nodes, strategy=strategy)
    fabric.launch()
    return fabric


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
