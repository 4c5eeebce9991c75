"""What stands between the network and the pages: who may ask, and what a browser may do with the answers."""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
ANSWERED = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
"""Headers of every answer: scripts, styles and data from here and nowhere else, in no frame of another page."""


class Guard:
    """Refuse requests that another page made a browser send, and put `ANSWERED` on every answer.

    A page elsewhere can let its own name point to this machine (DNS rebinding); it then stands in `Host`. Or it can
    send a request here across sites; then its address stands in `Origin`, or `Sec-Fetch-Site` says so.
    """

    def __init__(self, app: ASGIApp, bound: str) -> None:
        self._app = app
        self._bound = bound

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(ANSWERED)
            await send(message)

        reason = refusal(Headers(scope=scope), scope["path"], self._bound)
        refused = JSONResponse({"error": reason, "code": "refused"}, status_code=403)
        await (refused if reason else self._app)(scope, receive, answer)


def refusal(headers: Headers, path: str, bound: str) -> str:
    """Return why a request is refused, or nothing."""
    host = headers.get("host", "")
    if not answers_to(host, bound):
        return f"the server does not answer to the name {host!r:.80}; use the address that it printed"
    origin = headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return f"the request comes from a page of {origin!r:.80}; open the page of this server"
    site = headers.get("sec-fetch-site", "none")
    if site not in ("same-origin", "none") and path != "/":
        return "the request comes from a page of another server; open the page of this one"
    return ""


def answers_to(host: str, bound: str) -> bool:
    """Whether a server bound to a name or number is meant by a `Host` header.

    Numbers cannot be made to point elsewhere, so a server that is open to others takes every number.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name in LOOPBACK or name == bound.lower():
            return True
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or bound not in LOOPBACK
