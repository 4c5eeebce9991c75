"""The functions of `routes` over HTTP: addresses, bodies, errors, and the page itself."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from textforge.errors import UserError, WorkError
from textforge.report.render import TEMPLATES
from textforge.serve import asked, routes
from textforge.serve.guard import Guard
from textforge.serve.routes import Place
from textforge.serve.shelf import Shelf
from textforge.serve.training import training, version
from textforge.serve.turn import Busy, Rate, Turn
from textforge.serve.words import LANGUAGES, WORDS

FOLDER = Path(__file__).parent
BASE = TEMPLATES / "base.css"
"""What the page shares with reports."""
Endpoint = Callable[[Request], Awaitable[Response]]


def application(
    folders: Sequence[Path], *, host: str = "127.0.0.1", turn: Turn | None = None, rate: Rate | None = None
) -> ASGIApp:
    """Return the application that serves some runs at a host.

    Raises UserError for a folder that holds no run. Models are loaded when they are first asked for.
    """
    place = Place(Shelf(folders), turn or Turn(), rate or Rate())
    html = page()
    seen: dict[Path, tuple[str, Any]] = {}

    async def root(request: Request) -> Response:
        return HTMLResponse(html)

    async def base(request: Request) -> Response:
        return FileResponse(BASE)

    async def watch(request: Request) -> Response:
        folder = place.shelf.folder(request.path_params["run"])
        place.rate.take()
        now = version(folder)
        tag = f'"{now}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        if folder not in seen or seen[folder][0] != now:
            seen[folder] = now, await run_in_threadpool(training, folder)
        return JSONResponse(seen[folder][1], headers={"etag": tag})

    def post(path: str, endpoint: Endpoint) -> Route:
        return Route(path, endpoint, methods=["POST"])

    answers = Starlette(
        routes=[
            Route("/", root),
            Route("/api/runs", _told(place, routes.runs)),
            Route("/api/runs/{run:int}", _told(place, routes.describe)),
            Route("/api/runs/{run:int}/training", watch),
            post("/api/draw", _asked(place, asked.Draw, routes.draw)),
            post("/api/games", _asked(place, asked.NewGame, routes.begin)),
            post("/api/games/{game}/round", _told(place, routes.next_round)),
            post("/api/games/{game}/guess", _asked(place, asked.Guess, routes.guess)),
            Route("/static/base.css", base),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
        ],
        exception_handlers={
            Busy: _busy,
            UserError: _wrong,
            WorkError: _failed,
            HTTPException: _http,
            Exception: _unforeseen,
        },
    )
    return Guard(answers, host)


def page() -> str:
    """Return the page, whose words are English until its script has looked at what the reader wants."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    limits = {"characters": asked.CHARACTERS, "num": asked.NUM, "choices": asked.CHOICES, "blank": asked.BLANK}
    table = {language: {key: said[i] for key, said in WORDS.items()} for i, language in enumerate(LANGUAGES)}
    return templates.get_template("page.html").render(words=table["en"], table=table, limits=limits)


def _told(place: Place, function: Callable[..., Any]) -> Endpoint:
    """Answer with what the function returns, in a thread of its own, for the values in the path."""

    async def endpoint(request: Request) -> Response:
        place.rate.take()
        return JSONResponse(await run_in_threadpool(function, place, **request.path_params))

    return endpoint


def _asked(place: Place, kind: type[Any], function: Callable[..., Any]) -> Endpoint:
    """Answer likewise to a request of this kind."""

    async def endpoint(request: Request) -> Response:
        place.rate.take()
        wish = asked.read(kind, await _body(request))
        return JSONResponse(await run_in_threadpool(function, place, wish, **request.path_params))

    return endpoint


async def _body(request: Request) -> bytes:
    """Return the body of a request, which must be JSON: no form of another page can send that."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > asked.BODY:
            raise HTTPException(413, f"the request is longer than {asked.BODY} bytes; shorten it")
    return body


def _said(status: int, code: str, error: object, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": str(error), "code": code}, status_code=status, headers=headers)


async def _busy(request: Request, error: Exception) -> Response:
    assert isinstance(error, Busy)
    return _said(429, "busy", error, {"retry-after": str(error.seconds)})


async def _wrong(request: Request, error: Exception) -> Response:
    return _said(400, "wrong", error)


async def _failed(request: Request, error: Exception) -> Response:
    return _said(500, "failed", error)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _said(error.status_code, "wrong", error.detail)


async def _unforeseen(request: Request, error: Exception) -> Response:
    return _said(500, "failed", f"{type(error).__name__}, not foreseen; the terminal of the server says more")
