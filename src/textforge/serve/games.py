"""Which is real? A real text and a sample side by side, and how often the reader can tell: a Turing test for runs."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import Any

from textforge.errors import CallError, UserError
from textforge.metrics.bootstrap import share_interval
from textforge.serve.asked import NewGame

MOST = 200
"""Games that are remembered; then those that nobody has played are forgotten, and the oldest."""
ATTEMPTS = 20
"""Draws until a sample differs from the real text beside it."""


@dataclass(frozen=True)
class Round:
    """Two texts, of which one is real, and the run that wrote the other."""

    texts: tuple[str, str]
    real: int
    run: int


@dataclass
class Game:
    """What is played, the round that waits for a guess, and of each run how many guesses there were, and right ones."""

    asked: NewGame
    waiting: Round | None = None
    guesses: dict[int, int] = field(default_factory=dict)
    right: dict[int, int] = field(default_factory=dict)


class Games:
    """The games by their names, which nobody can guess."""

    def __init__(self, chance: Random | None = None) -> None:
        self._games: dict[str, Game] = {}
        self._lock = threading.Lock()
        self._chance = chance or SystemRandom()

    def begin(self, asked: NewGame) -> str:
        """Begin a game; return its name."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            if len(self._games) == MOST:
                unplayed = (known for known, game in self._games.items() if not game.guesses)
                del self._games[next(unplayed, next(iter(self._games)))]
            self._games[name] = Game(asked)
        return name

    def round(self, name: str, real: Callable[[int], list[str]], write: Callable[[int, float], str]) -> tuple[str, str]:
        """Return the two texts of the round: the waiting one, so that none can be skipped, or a new one.

        `real` returns the real texts that stand against a run, `write` a sample of it at a temperature. Not meant for
        two threads at once; guesses may come meanwhile.
        """
        game = self._find(name)
        now = game.waiting
        if now is None:
            run = self._chance.choice(game.asked.runs)
            text = self._chance.choice(real(run))
            samples = (write(run, game.asked.temperature) for _ in range(ATTEMPTS))
            sample = next((sample for sample in samples if sample not in ("", text)), None)
            if sample is None:
                raise UserError("this run writes nothing but one text, or nothing at all; play with another one")
            place = self._chance.randrange(2)
            now = game.waiting = Round((text, sample) if place == 0 else (sample, text), place, run)
        return now.texts

    def guess(self, name: str, choice: int) -> dict[str, Any]:
        """Take the guess of the waiting round; return the truth, and the score of each run so far."""
        game = self._find(name)
        with self._lock:
            if game.waiting is None:
                raise CallError("there is no text to be guessed; ask for the next round")
            now, game.waiting = game.waiting, None
            game.guesses[now.run] = game.guesses.get(now.run, 0) + 1
            game.right[now.run] = game.right.get(now.run, 0) + (choice == now.real)
        return {"real": now.real, "run": now.run, "score": [_score(game, run) for run in sorted(game.guesses)]}

    def _find(self, name: str) -> Game:
        game = self._games.get(name)
        if game is None:
            raise CallError("this game is over or was never begun; begin a new one")
        return game


def _score(game: Game, run: int) -> dict[str, Any]:
    share = share_interval(game.right[run], game.guesses[run])
    return {
        "run": run,
        "guesses": game.guesses[run],
        "right": game.right[run],
        "share": share.value,
        "low": share.low,
        "high": share.high,
    }
