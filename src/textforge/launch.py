"""How this process was started: by itself, or as one of several by torchrun or SLURM. Loads no torch."""

import os
from dataclasses import dataclass
from typing import Literal

from textforge.errors import UserError


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that were started together; on every node there are equally many."""

    launcher: Literal["none", "torchrun", "slurm"] = "none"
    rank: int = 0
    num: int = 1
    local_rank: int = 0
    nodes: int = 1

    @property
    def per_node(self) -> int:
        """Return how many processes a node has."""
        return self.num // self.nodes


def launch() -> Launch:
    """Read from the environment how this process was started.

    torchrun tells every process its place; srun does too, and what runs in a SLURM job without it is by itself. Raises
    UserError for different numbers of processes on the nodes.
    """
    own = os.environ
    if int(own.get("WORLD_SIZE", 1)) > 1 and {"RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"} <= own.keys():
        num, per_node = int(own["WORLD_SIZE"]), int(own["LOCAL_WORLD_SIZE"])
        _require_even(num, per_node)
        return Launch("torchrun", int(own["RANK"]), num, int(own["LOCAL_RANK"]), num // per_node)
    if "SLURM_STEP_ID" in own and int(own.get("SLURM_NTASKS", 1)) > 1:
        if "SLURM_NTASKS_PER_NODE" not in own:
            raise UserError("SLURM started several processes without --ntasks-per-node; give it in place of --ntasks")
        num, per_node = int(own["SLURM_NTASKS"]), int(own["SLURM_NTASKS_PER_NODE"])
        _require_even(num, per_node)
        return Launch("slurm", int(own["SLURM_PROCID"]), num, int(own["SLURM_LOCALID"]), num // per_node)
    return Launch()


def stand_alone() -> None:
    """Make this process one by itself, whatever the environment says that it came with."""
    for name in ("WORLD_SIZE", "SLURM_STEP_ID", "SLURM_NTASKS"):
        os.environ.pop(name, None)


def _require_even(num: int, per_node: int) -> None:
    if num % per_node:
        raise UserError(f"{num} processes are not {per_node} on each node; start equally many on every node")
