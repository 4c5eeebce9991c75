"""What the page can ask for: plain functions from what was asked to what JSON can say."""

from dataclasses import dataclass, field
from typing import Any

from textforge.serve import drawing
from textforge.serve.asked import Draw, Guess, NewGame
from textforge.serve.games import Games
from textforge.serve.shelf import Shelf, about
from textforge.serve.turn import Rate, Turn


@dataclass(frozen=True)
class Place:
    """What a server holds from one request to the next."""

    shelf: Shelf
    turn: Turn
    rate: Rate
    games: Games = field(default_factory=Games)


def runs(place: Place) -> list[dict[str, Any]]:
    """Name the runs."""
    return place.shelf.runs()


def describe(place: Place, run: int) -> dict[str, Any]:
    """Load a run, and tell what must be known before drawing from it."""
    place.shelf.folder(run)
    with place.turn.taken():
        return about(place.shelf.load(run))


def draw(place: Place, wish: Draw) -> dict[str, Any]:
    """Draw texts."""
    place.shelf.folder(wish.run)
    with place.turn.taken():
        return drawing.draw(place.shelf.load(wish.run), wish)


def begin(place: Place, wish: NewGame) -> dict[str, Any]:
    """Begin a game."""
    for run in wish.runs:
        place.shelf.folder(run)
    return {"game": place.games.begin(wish)}


def next_round(place: Place, game: str) -> dict[str, Any]:
    """Show the two texts of a round."""

    def write(run: int, temperature: float) -> str:
        return place.shelf.load(run).model.draw(1, temperature=temperature).texts[0]

    with place.turn.taken():
        return {"texts": place.games.round(game, place.shelf.held_out, write)}


def guess(place: Place, wish: Guess, game: str) -> dict[str, Any]:
    """Take a guess, and tell the truth."""
    return place.games.guess(game, wish.choice)
