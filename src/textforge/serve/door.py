"""Where the server listens, and how it answers."""

import socket

import uvicorn
from starlette.types import ASGIApp

from textforge.errors import UserError


def listen(host: str, port: int) -> socket.socket:
    """Open a port, 0 for any free one; raises UserError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(f"cannot listen at {host}, port {port} ({error.strerror}); choose another --port") from None


def server(application: ASGIApp) -> uvicorn.Server:
    """Return a server that prints nothing but warnings."""
    config = uvicorn.Config(application, access_log=False, log_level="warning", lifespan="off", ws="none")
    return uvicorn.Server(config)


def answer(application: ASGIApp, door: socket.socket) -> None:
    """Answer requests until the process is interrupted."""
    server(application).run(sockets=[door])
