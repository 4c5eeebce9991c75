"""What holds for every test: one thread, no network, no chance, no clock."""

import os

# Before anything imports torch: threads are counted once, at its import.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["HF_HUB_OFFLINE"] = "1"

import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

ROOT = Path(__file__).resolve().parents[1]

# Derandomized: a run of the suite is a function of the code. No deadline: shared machines are slow at random.
settings.register_profile("suite", derandomize=True, deadline=None, database=None)
# Where a failure is expected, nobody reads the smallest example, which takes long to find.
settings.register_profile("mutants", settings.get_profile("suite"), phases=[Phase.explicit, Phase.generate])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def is_local(host: str) -> bool:
    """Whether the host is this machine: loopback by name or number, or every interface of our own."""
    if host in {"", "localhost"}:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: a test that looks up or calls another machine fails, whatever library it goes through."""
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # otherwise the path of a Unix socket
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else str(host or "")
    if not is_local(host):
        raise RuntimeError(f"a test reached for the network: {event} to {host!r}; only this machine is allowed")


sys.addaudithook(refuse_network)


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """What tests write need not survive a power cut; child processes do wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start every test from the same random state, so that none depends on the order of the suite."""
    import torch

    torch.manual_seed(0)


@pytest.fixture
def float64() -> Iterator[None]:
    """Make float64 the default type: for exact sums, and to find code that hard-codes float32."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of corpora, which are not part of the repository: $TEXTFORGE_DATA, or `../shared/data` beside it."""
    folder = Path(os.environ.get("TEXTFORGE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        missing = f"no corpora at {folder}; set TEXTFORGE_DATA to their folder"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return folder
