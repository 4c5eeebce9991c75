"""The Turing test: who guesses is shown one real text and one sample, is told the truth afterwards, and is counted."""

from pathlib import Path
from random import Random

import pytest
from serve.conftest import LINES
from starlette.testclient import TestClient

from textforge.errors import CallError, UserError
from textforge.metrics.bootstrap import share_interval
from textforge.serve import application
from textforge.serve.asked import NewGame
from textforge.serve.games import MOST, Games
from textforge.serve.shelf import Shelf

REAL = ["real one", "real two", "real three"]


def real(run: int) -> list[str]:
    return REAL


def write(run: int, temperature: float) -> str:
    return f"written by {run} at {temperature}"


def test_a_round_has_one_real_text_and_one_sample_in_any_order() -> None:
    games, places, runs = Games(Random(0)), [], []
    name = games.begin(NewGame([3, 5], temperature=0.5))
    for _ in range(200):
        texts = games.round(name, real, write)
        (place,) = (i for i, text in enumerate(texts) if text in REAL)
        found = games.guess(name, 0)
        assert found["real"] == place
        assert texts[1 - place] == f"written by {found['run']} at 0.5"
        places.append(place)
        runs.append(found["run"])
    # Binomial with 200 throws of a fair coin: 7.1 is one standard deviation.
    assert abs(sum(places) - 100) < 4.5 * 7.1
    assert abs(runs.count(3) - 100) < 4.5 * 7.1


def test_the_score_of_each_run_is_the_share_of_right_guesses_with_its_interval() -> None:
    games = Games(Random(1))
    name = games.begin(NewGame([0, 1]))
    right, guesses = {0: 0, 1: 0}, {0: 0, 1: 0}
    for number in range(30):
        texts = games.round(name, real, write)
        truth = 0 if texts[0] in REAL else 1
        choice = truth if number % 3 else 1 - truth
        found = games.guess(name, choice)
        guesses[found["run"]] += 1
        right[found["run"]] += choice == truth
        for row in found["score"]:
            run = row["run"]
            assert (row["guesses"], row["right"]) == (guesses[run], right[run])
            interval = share_interval(right[run], guesses[run])
            assert (row["share"], row["low"], row["high"]) == (interval.value, interval.low, interval.high)
    assert {row["run"] for row in found["score"]} == {0, 1}


def test_a_round_cannot_be_skipped_or_guessed_twice() -> None:
    games = Games(Random(2))
    name = games.begin(NewGame([0]))
    texts = games.round(name, real, write)
    assert all(games.round(name, real, write) == texts for _ in range(5))
    games.guess(name, 0)
    with pytest.raises(CallError, match="next round"):
        games.guess(name, 1)


def test_a_sample_that_equals_its_real_text_is_drawn_anew() -> None:
    games, drawn = Games(Random(3)), iter(["real one", "", "real one", "other"])
    name = games.begin(NewGame([0]))
    assert set(games.round(name, lambda _: ["real one"], lambda *_: next(drawn))) == {"real one", "other"}
    name = games.begin(NewGame([0]))
    with pytest.raises(UserError, match="nothing but one text"):
        games.round(name, lambda _: ["real one"], lambda *_: "real one")


def test_old_games_are_forgotten() -> None:
    games = Games()
    names = [games.begin(NewGame([0])) for _ in range(MOST + 1)]
    assert len(set(names)) == MOST + 1
    with pytest.raises(CallError, match="begin a new one"):
        games.round(names[0], real, write)
    assert games.round(names[1], real, write)


def test_games_that_are_played_outlive_those_that_are_only_begun() -> None:
    games = Games()
    played = games.begin(NewGame([0]))
    games.round(played, real, write)
    games.guess(played, 0)
    idle = games.begin(NewGame([0]))
    for _ in range(3 * MOST):
        last = games.begin(NewGame([0]))
    assert games.round(played, real, write)
    assert games.round(last, real, write)
    with pytest.raises(CallError, match="begin a new one"):
        games.round(idle, real, write)


def test_real_texts_are_the_held_out_ones_as_the_model_spells_them(runs: list[Path]) -> None:
    assert set(Shelf(runs).held_out(0)) == set(LINES[::2])


def test_the_server_keeps_the_truth_until_the_guess(runs: list[Path]) -> None:
    with TestClient(application(runs), base_url="http://127.0.0.1") as client:
        begun = client.post("/api/games", json={"runs": [0, 1], "temperature": 0.9}).json()
        address = f"/api/games/{begun['game']}"
        shown = client.post(f"{address}/round").json()
        assert set(begun) == {"game"}
        assert set(shown) == {"texts"}
        told = client.post(f"{address}/guess", json={"choice": 1}).json()
        assert shown["texts"][told["real"]] in LINES[::2]
        assert told["score"] == [
            {"run": told["run"], "guesses": 1, "right": int(told["real"] == 1)}
            | {key: told["score"][0][key] for key in ("share", "low", "high")}
        ]
        assert client.post(f"{address}/guess", json={"choice": 2}).status_code == 400
        assert "begin a new one" in client.post("/api/games/none/round").json()["error"]
