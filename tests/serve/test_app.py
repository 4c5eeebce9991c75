"""What the server answers: the models' own numbers, and reasons in place of what is not allowed."""

import json
import math
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from report.pages import ATTACK, taken_apart
from starlette.testclient import TestClient

import textforge
from textforge.errors import UserError
from textforge.model import Model
from textforge.report.render import TEMPLATES
from textforge.serve import application
from textforge.serve.app import page
from textforge.serve.asked import BODY, CHARACTERS, CHOICES, NAMED, NUM
from textforge.serve.guard import ANSWERED, answers_to
from textforge.serve.turn import Busy, Rate, Turn
from textforge.serve.words import LANGUAGES, WORDS

STATIC = Path(__file__).parents[2] / "src" / "textforge" / "serve" / "static"
HOME = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def client(runs: list[Path]) -> Iterator[TestClient]:
    with TestClient(application(runs), base_url=HOME) as client:
        yield client


@pytest.fixture(scope="module")
def model(runs: list[Path]) -> Model:
    model = textforge.load(runs[0])
    assert isinstance(model, Model)
    return model


def draw(client: TestClient, **wish: object) -> dict[str, Any]:
    reply = client.post("/api/draw", json={"run": 0, **wish})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def texts(found: Mapping[str, Any]) -> list[str]:
    """What the page shows, put together again."""
    return [found["gap"].join(token["text"] for token in each["tokens"] if token["text"]) for each in found["samples"]]


def refused(client: TestClient, body: object, status: int = 400) -> str:
    reply = client.post("/api/draw", json=body)
    assert reply.status_code == status
    assert "\n" not in reply.json()["error"]
    return str(reply.json()["error"])


# --- Writing ---


def test_texts_are_those_of_the_model_with_their_probabilities(client: TestClient, model: Model) -> None:
    found = draw(client, num=6, seed=3, temperature=0.7)
    drawn = model.draw(6, seed=3, temperature=0.7)
    assert texts(found) == drawn.texts
    assert drawn.log_prob is not None
    sums = [sum(math.log(token["prob"]) for token in each["tokens"]) for each in found["samples"]]
    assert sums == pytest.approx(drawn.log_prob.tolist(), abs=1e-4)
    assert not any(token["given"] for each in found["samples"] for token in each["tokens"])


def test_the_detector_judges_every_beginning(client: TestClient, model: Model) -> None:
    found = draw(client, num=6, seed=3)
    lines = [each for each in found["samples"] if len(each["tokens"]) > 1]
    whole = model.p_real(texts({**found, "samples": lines}))
    assert [each["real"] for each in lines] == pytest.approx(whole.tolist(), abs=1e-5)
    assert [each["tokens"][-1]["real"] for each in lines] == [each["real"] for each in lines]
    assert len({token["real"] for token in lines[0]["tokens"]}) > 1


def test_without_a_detector_the_run_s_own_discriminator_judges_whole_texts(
    client: TestClient, runs: list[Path]
) -> None:
    found = draw(client, run=1, num=4, seed=1)
    own = textforge.load(runs[1])
    assert isinstance(own, Model)
    assert client.get("/api/runs/1").json()["judge"] == "own"
    assert {token["real"] for each in found["samples"] for token in each["tokens"]} == {None}
    judged = dict(zip(texts(found), (each["real"] for each in found["samples"]), strict=True))
    assert judged.pop("") is None  # of an empty text it has no opinion
    assert len(judged) == 3
    assert list(judged.values()) == pytest.approx(own.discriminate(list(judged)).tolist())


def test_a_beginning_is_continued(client: TestClient) -> None:
    found = draw(client, text="a man", num=4)
    assert all(text.startswith("a man") for text in texts(found))
    for each in found["samples"]:
        assert [token["given"] for token in each["tokens"]][:3] == [True, True, False]


def test_blanks_are_filled(client: TestClient, model: Model) -> None:
    found = draw(client, text="a ___ rides ___", num=4, seed=2)
    assert texts(found) == model.infill("a ___ rides ___", 4, seed=2)
    assert {tuple(token["given"] for token in each["tokens"])[:4] for each in found["samples"]} == {
        (True, False, True, False)
    }


@pytest.mark.parametrize("decode", ["greedy", "top-k", "top-p", "beam", "rerank", "resample", "reject", "mcts"])
def test_every_strategy_writes(client: TestClient, decode: str) -> None:
    strategy = {"decode": decode, "candidates": 3, "simulations": 3, "width": 4}
    assert len(draw(client, num=2, strategy=strategy)["samples"]) == 2


# --- What is not allowed ---

WRONG: list[tuple[object, str]] = [
    ({"run": 2}, "there is no run 2"),
    ({"run": -1}, "there is no run -1"),
    ({"run": "0"}, "run must be int"),
    ({}, "something is missing"),
    ([], "not an object"),
    ({"run": 0, "path": "/etc/passwd"}, "nothing named 'path'"),
    ({"run": 0, "num": 0}, "num must be between 1 and"),
    ({"run": 0, "num": NUM + 1}, f"not {NUM + 1}"),
    ({"run": 0, "temperature": 0}, "temperature must be between"),
    ({"run": 0, "temperature": 1e9}, "temperature must be between"),
    ({"run": 0, "seed": -1}, "seed must be between"),
    ({"run": 0, "seed": 2**60}, "seed must be between"),
    ({"run": 0, "text": "x" * (CHARACTERS + 1)}, f"shorten it to {CHARACTERS}"),
    ({"run": 0, "text": 3}, "text must be str"),
    ({"run": 0, "text": "a zebra"}, "does not know 'zebra'"),
    ({"run": 0, "text": "a man " * 300}, "shorten it"),
    ({"run": 0, "text": "___ man", "strategy": {"decode": "beam"}}, "blanks are filled by the model itself"),
    ({"run": 0, "strategy": {"decode": "magic"}}, "decode must be"),
    ({"run": 0, "strategy": {"decode": "beam", "beams": 3}}, "nothing named 'beams'"),
    ({"run": 0, "strategy": 3}, "strategy must be"),
    ({"run": 1, "strategy": {"decode": "resample"}}, "has no detector"),
    ({"run": 0, "temperature": 2, "strategy": {"decode": "greedy"}}, "has no temperature"),
    *(({"run": 0, "strategy": {name: most + 1}}, f"not {most + 1}") for name, most in CHOICES.items()),
]


@pytest.mark.parametrize(("body", "reason"), WRONG, ids=[reason for _, reason in WRONG])
def test_a_wrong_request_is_told_what_is_wrong(client: TestClient, body: object, reason: str) -> None:
    assert reason in refused(client, body)


def test_what_is_no_json_is_refused(client: TestClient) -> None:
    as_json = {"content-type": "application/json"}
    for body in (b"", b"{", b"\xff", b"[" * 20_000):
        assert "not JSON" in client.post("/api/draw", content=body, headers=as_json).json()["error"]
    nan = client.post("/api/draw", content=b'{"run": 0, "temperature": NaN}', headers=as_json)
    assert "not nan" in nan.json()["error"]
    half = client.post("/api/draw", content=b'{"run": 0, "text": "a \\ud800 man"}', headers=as_json)
    assert half.status_code == 400
    assert "does not know" in half.json()["error"]
    form = client.post("/api/draw", content=b'{"run": 0}', headers={"content-type": "text/plain"})
    assert form.status_code == 415
    assert client.post("/api/draw", content=b" " * (BODY + 1), headers=as_json).status_code == 413


def test_what_costs_too_much_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(draw(client, num=2, strategy={"decode": "mcts", "simulations": 3})["samples"]) == 2
    search = {"run": 0, "num": 2, "strategy": {"decode": "mcts", "simulations": 3}}
    monkeypatch.setattr("textforge.serve.drawing.STEPS", 10)
    assert "ask for fewer simulations" in refused(client, search)
    monkeypatch.setattr("textforge.serve.drawing.WORK", 100)
    assert "ask for fewer texts" in refused(client, search)


@pytest.mark.parametrize(
    "address",
    ["/api/runs/9", "/api/runs/9/training", "/api/runs/x", "/api/none", "/static/../app.py", "/static/app.py"],
)
def test_what_is_not_there(client: TestClient, address: str) -> None:
    reply = client.get(address)
    assert reply.status_code in (400, 404)
    assert reply.json()["error"]
    assert "import" not in reply.text


def test_of_paths_only_the_last_part_is_told(runs: list[Path], tmp_path: Path) -> None:
    for number in (1, 2):
        shutil.copytree(runs[0], tmp_path / str(number) / "mine")
    (tmp_path / "2" / "mine" / "detector" / "config.json").write_text("{}")
    with TestClient(application([tmp_path / str(i) / "mine" for i in (1, 2)]), base_url=HOME) as client:
        assert [run["name"] for run in client.get("/api/runs").json()] == ["mine (1)", "mine (2)"]
        why = client.get("/api/runs/1").json()["why"]
    assert "detector of mine is damaged" in why
    assert str(tmp_path) not in why


def test_only_runs_are_served(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run folder"):
        application([tmp_path])
    with pytest.raises(UserError, match="name at least one run"):
        application([])


# --- Who may ask ---


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"host": "evil.example"}, "does not answer to the name"),
        ({"host": "127.0.0.1.evil.example:8000"}, "does not answer to the name"),
        ({"host": "192.168.1.7:8000"}, "does not answer to the name"),
        ({"host": "[::1"}, "does not answer to the name"),
        ({"host": ""}, "does not answer to the name"),
        ({"origin": "https://evil.example"}, "comes from a page of"),
        ({"origin": "http://127.0.0.1:9999"}, "comes from a page of"),
        ({"origin": "null"}, "comes from a page of"),
        ({"origin": "http://["}, "comes from a page of"),
        ({"sec-fetch-site": "cross-site"}, "a page of another server"),
        ({"sec-fetch-site": "same-site"}, "a page of another server"),
    ],
)
def test_requests_of_other_pages_are_refused(client: TestClient, headers: dict[str, str], reason: str) -> None:
    for reply in (client.get("/api/runs", headers=headers), client.post("/api/draw", json={"run": 0}, headers=headers)):
        assert reply.status_code == 403
        assert reason in reply.json()["error"]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:9", "[::1]:8000", "LOCALHOST"])
def test_its_own_page_may_ask(client: TestClient, host: str) -> None:
    own = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
    assert client.get("/api/runs", headers=own).status_code == 200


@pytest.mark.parametrize(
    ("host", "bound", "meant"),
    [
        ("192.168.1.7:8000", "0.0.0.0", True),  # numbers cannot be made to point elsewhere
        ("[fe80::1]:8000", "::", True),
        ("box.lan", "box.lan", True),
        ("evil.example", "0.0.0.0", False),
        ("192.168.1.7", "127.0.0.1", False),
        ("127.0.0.2", "127.0.0.1", True),
    ],
)
def test_a_server_open_to_others_answers_to_numbers(host: str, bound: str, meant: bool) -> None:
    assert answers_to(host, bound) == meant


def test_every_answer_forbids_browsers_what_the_page_does_not_need(client: TestClient) -> None:
    def check(headers: Mapping[str, str]) -> None:
        assert headers.items() >= ANSWERED.items()

    check(client.get("/").headers)
    check(client.get("/static/page.js").headers)
    assert client.get("/static/base.css").text == (TEMPLATES / "base.css").read_text(encoding="utf-8")
    check(client.get("/api/none").headers)
    check(client.post("/api/draw", json={}).headers)
    check(client.get("/", headers={"host": "evil.example"}).headers)
    assert ANSWERED["content-security-policy"].startswith("default-src 'self'; ")


def test_an_error_that_nobody_foresaw_keeps_its_secrets(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr("textforge.serve.drawing.draw", broken)
    with TestClient(application(runs), base_url=HOME, raise_server_exceptions=False) as client:
        reply = client.post("/api/draw", json={"run": 0})
    assert reply.status_code == 500
    assert "secret" not in reply.text
    assert reply.headers.items() >= ANSWERED.items()


# --- One at a time ---


def test_too_many_are_sent_away_and_told_when_to_come_back(runs: list[Path]) -> None:
    turn = Turn(waiting=0)
    with TestClient(application(runs, turn=turn), base_url=HOME) as client:
        with turn.taken():
            for reply in (
                client.post("/api/draw", json={"run": 0}),
                client.get("/api/runs/0"),
            ):
                assert reply.status_code == 429
                assert reply.json()["code"] == "busy"
                assert int(reply.headers["retry-after"]) >= 1
            assert client.get("/api/runs").status_code == 200  # nothing is computed for it
        assert client.post("/api/draw", json={"run": 0}).status_code == 200


def test_requests_have_a_rate(runs: list[Path]) -> None:
    now = 0.0
    rate = Rate(per_second=2, at_once=3, clock=lambda: now)

    def answered(client: TestClient, num: int) -> list[int]:
        return [client.get("/api/runs").status_code for _ in range(num)]

    with TestClient(application(runs, rate=rate), base_url=HOME) as client:
        assert answered(client, 5) == [200, 200, 200, 429, 429]
        now += 1
        assert answered(client, 3) == [200, 200, 429]
        now += 100
        assert answered(client, 4) == [200, 200, 200, 429], "an idle hour allows no greater burst"
        for address in ("/api/runs/0/training", "/api/runs/0"):
            assert client.get(address).status_code == 429
        assert client.post("/api/draw", json={"run": 0}).status_code == 429
        assert client.get("/").status_code == 200, "the page itself costs nothing"


def test_turns_are_taken_one_at_a_time_and_only_some_may_wait() -> None:
    turn, inside, most, sent_away = Turn(waiting=2), 0, 0, 0
    begun, done = threading.Semaphore(0), threading.Event()

    def work() -> None:
        nonlocal inside, most, sent_away
        try:
            with turn.taken():
                inside += 1
                most = max(most, inside)
                begun.release()
                done.wait()
                inside -= 1
        except Busy:
            sent_away += 1
            begun.release()

    threads = [threading.Thread(target=work) for _ in range(7)]
    for thread in threads:
        thread.start()
    for _ in range(1 + 7 - 3):  # the first has its turn, and all are sent away that may not wait
        begun.acquire()
    now = inside, sent_away
    done.set()
    for thread in threads:
        thread.join()
    assert now == (1, 4)
    assert (inside, most, sent_away) == (0, 1, 4)


def test_a_turn_is_given_back_after_an_error() -> None:
    turn = Turn(waiting=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), turn.taken():
            raise ZeroDivisionError


# --- The page ---


def test_nothing_of_a_run_stands_in_the_page(client: TestClient) -> None:
    parsed = taken_apart(client.get("/").text)
    scripts = [attributes for attributes, _ in parsed.scripts]
    assert scripts == [{"type": "application/json", "id": "table"}, {"type": "module", "src": "/static/page.js"}]
    for _, attributes in parsed.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        address = attributes.get("src") or attributes.get("href") or "#"
        assert address.startswith(("#", "/static/"))
        assert address.startswith("#") or client.get(address).status_code == 200


def test_hostile_text_is_data(client: TestClient) -> None:
    found = draw(client, text=f"a man {ATTACK}", num=2)
    assert all(ATTACK in text for text in texts(found))
    reply = client.post("/api/draw", json={"run": 0, "text": "<script>alert(1)</script>"})
    assert reply.headers["content-type"] == "application/json"
    assert "<script>alert(1)</script>" in reply.json()["error"]


def test_the_script_makes_text_and_never_markup() -> None:
    script = (STATIC / "page.js").read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(|srcdoc|https?://(?!www\.w3)", script
    )
    for sheet in (STATIC / "page.css", TEMPLATES / "base.css"):
        assert not re.search(r"@import|url\(", sheet.read_text(encoding="utf-8"))


def test_both_languages_say_everything_with_the_same_values() -> None:
    for key, said in WORDS.items():
        assert len(said) == len(LANGUAGES) == 2
        assert all(said), key
        english, chinese = (set(re.findall(r"\{(\w+)\}", words)) for words in said)
        assert english == chinese, key


def test_every_word_is_used_and_every_used_word_is_there() -> None:
    html, script = page(), (STATIC / "page.js").read_text(encoding="utf-8")
    table = json.loads(taken_apart(html).scripts[0][1])
    assert {language: set(words) for language, words in table.items()} == {
        language: set(WORDS) for language in LANGUAGES
    }
    used = set(re.findall(r'data-(?:word|label|hint)="([^"]+)"', html))
    said = set(re.findall(r'"([\w-]+)"', script)) & set(WORDS)
    assert used <= set(WORDS)
    judged = {f"about_{judge}" for judge in ("detector", "own", "none")}
    assert set(WORDS) == used | said | judged | {"no_script"}


def test_games_of_too_many_runs_are_refused(client: TestClient) -> None:
    for runs in ([], [0] * (NAMED + 1), [7]):
        assert client.post("/api/games", json={"runs": runs}).status_code == 400
