"""What a number depends on besides the code and the configuration."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata

import numpy as np
import torch

from textforge.launch import launch


def environment() -> dict[str, object]:
    """Describe this process and its machine, ready for JSON."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "textforge": _version("textforge"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": launch().num,
        "git": _git(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # imported from a source tree
        return None


def _git() -> dict[str, object] | None:
    """Return the commit of the working directory and whether files differ from it; None outside a repository."""
    # Reading the status must not take git's own lock from a command that the user runs at the same time.
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10, env=quiet)
        return run.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": git("status", "--porcelain") != ""}
    except (OSError, subprocess.SubprocessError):
        return None
