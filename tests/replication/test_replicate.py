"""textforge replicate, on a ledger of one tiny training, one file of samples, and an oracle's own number."""

import importlib
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from command import SENTENCES, call, lines, only_json

import textforge
from textforge import losses, oracles, replication
from textforge.cli import main
from textforge.methods import mle
from textforge.metrics import evaluate
from textforge.replication import derivations

TOY = '''
[papers]
ours = "A paper"

[files]
"toy.txt" = "the lines of this test"

[[row]]
name = "toy-mle"
paper = "ours"
where = "table 1"
quantity = "NLL of held-out text"
protocol = "As it is."
status = "run"
reason = "not yet measured"
values = [{ metric = "nll_test", published = "9.00" }, { metric = "unique" }]
commands = [
  """textforge train mle --preset tiny --data {files}/toy.txt --steps 4 --controls none --seed {seed}
     --resume --out {out}/toy-{seed}""",
  "textforge evaluate {out}/toy-{seed} -n 20 --json",
]
files = ["toy.txt"]
seeds = 2
minutes = 0.1

[[row]]
name = "toy-warm"
paper = "ours"
where = "table 1"
quantity = "NLL of held-out text, at another temperature"
protocol = "The same run."
status = "run"
reason = "not yet measured"
values = [{ metric = "nll_test", published = "9.00" }]
commands = [
  """textforge train mle --preset tiny --data {files}/toy.txt --steps 4 --controls none --seed {seed}
     --resume --out {out}/toy-{seed}""",
  "textforge evaluate {out}/toy-{seed} -n 20 --temperature 2 --json",
]
files = ["toy.txt"]
seeds = 2
minutes = 0.1

[[row]]
name = "toy-points"
paper = "ours"
where = "table 1"
quantity = "JS of a generator of points"
protocol = "As it is."
status = "run"
reason = "not yet measured"
values = [{ metric = "js", published = "9.00" }, { metric = "in_modes" }]
commands = [
  "textforge train gan --preset tiny --data alphabet --seed {seed} --resume --out {out}/points-{seed}",
  "textforge evaluate {out}/points-{seed} --json",
]
seeds = 2
minutes = 0.1

[[row]]
name = "toy-samples"
paper = "ours"
where = "table 2"
quantity = "BLEU-2 of a file"
protocol = "As it is."
status = "run"
reason = "not yet measured"
values = [{ metric = "bleu_2", published = "1.000" }]
commands = ["textforge evaluate {files}/toy.txt --reference {files}/toy.txt --json"]
files = ["toy.txt"]
minutes = 0.1

[[row]]
name = "toy-missing"
paper = "ours"
where = "table 2"
quantity = "a number that is not printed"
protocol = "As it is."
status = "run"
reason = "not yet measured"
values = [{ metric = "bleu_9", published = "1.000" }]
commands = ["textforge evaluate {files}/toy.txt --reference {files}/toy.txt --json"]
files = ["toy.txt"]
minutes = 0.1

[[row]]
name = "toy-dear"
paper = "ours"
where = "table 3"
quantity = "BLEU-2 of a file"
protocol = "As it is."
status = "needs-gpu"
reason = "so it is said"
values = [{ metric = "bleu_2", published = "0.500" }]
commands = ["textforge evaluate {files}/toy.txt --reference {files}/toy.txt --json"]
files = ["toy.txt"]
minutes = 240

[[row]]
name = "toy-judges"
paper = "ours"
where = "table 4"
quantity = "what people said"
protocol = "As it was."
status = "not-comparable"
reason = "people cannot be run again"
values = [{ metric = "praise", published = "0.9" }]

[[row]]
name = "toy-oracle"
paper = "ours"
where = "table 5"
quantity = "entropy"
protocol = "As it is."
status = "run"
reason = "not yet measured"
values = [{ metric = "nll_oracle", published = "5.75" }]
derivation = "entropy"
oracle = "lstm-oracle"
seeds = 4
minutes = 0.1
'''


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This ledger in place of the real one, in a folder with the file that it needs."""
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "toy.txt", SENTENCES)
    (tmp_path / "ledger.toml").write_text(TOY, encoding="utf-8")
    read = replication.read
    ledger = read(tmp_path / "ledger.toml")
    monkeypatch.setattr(replication, "read", lambda: ledger)
    # No row here reads them, and they take most of the time.
    monkeypatch.setattr(importlib.import_module("textforge.metrics.evaluate"), "clouds", lambda *_: {})


def test_rows_are_listed() -> None:
    said = call("replicate")
    assert said.status == 0
    assert "toy-mle (run): NLL of held-out text\n    published 9.00 / none\n    ours      not run: not yet" in said.out
    assert "toy-judges (not-comparable)" in said.out
    listed = only_json(call("replicate", "--json"))["rows"]
    assert [row["name"] for row in listed][:2] == ["toy-mle", "toy-warm"]
    assert listed[0]["published"] == {"nll_test": "9.00", "unique": None}
    assert listed[0]["ours"] is None


def test_a_row_is_trained_evaluated_and_compared() -> None:
    said = call("replicate", "toy-points", "--out", "kept")
    assert said.status == 0, said.err
    assert [textforge.load(f"kept/points-{seed}").settings["seed"] for seed in (0, 1)] == [0, 1]
    found = only_json(call("replicate", "toy-points", "--out", "kept", "--json"))
    values = found["ours"]["js"]["values"]
    direct = only_json(call("evaluate", "kept/points-1", "--json"))["metrics"]
    assert values[1] == direct["js"] != values[0]
    assert f"js: published 9.00, ours {values[0]:.3f}, {values[1]:.3f}\n    all of ours are to one side" in said.out
    assert f"our mean is {9 - np.mean(values):.3f} below it (2 seeds: no interval)" in said.out
    assert "in_modes: published none" in said.out
    assert found["seeds"] == [0, 1]


def test_a_file_is_compared_without_seeds() -> None:
    said = call("replicate", "toy-samples")
    assert said.status == 0, said.err
    assert "bleu_2: published 1.000, ours 1.0000\n    the same to the last printed digit\n" in said.out
    assert "seed" not in said.out
    assert evaluate(SENTENCES, SENTENCES).metrics["bleu_2"] == 1
    (table,) = Path("runs/replication/measured").glob("toy-samples.toml")
    assert "bleu_2 = [1]" in table.read_text(encoding="utf-8")


def test_what_is_done_is_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = call("replicate", "toy-mle", "--json")
    shared = call("replicate", "toy-warm", "--json")
    assert first.status == shared.status == 0
    assert shared.err.count("is done") == 2, "the training of another row"
    warm, cold = (only_json(said)["ours"]["nll_test"]["values"] for said in (shared, first))
    assert warm != cold

    def fail(*_: object) -> None:
        raise AssertionError("runs again")

    monkeypatch.setattr(mle, "train", fail)
    monkeypatch.setattr("textforge.results.evaluate_model", fail)
    assert call("replicate", "toy-mle", "--json").out == first.out
    monkeypatch.setattr(textforge, "__version__", "0.0.1")
    assert call("replicate", "toy-mle", "--json").status == 1, "another version measures anew"


def test_a_stopped_row_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = only_json(call("replicate", "toy-mle", "--out", "whole", "--json"))
    calls: list[int] = []

    def stopping(log_probs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 6:  # the second update of the second seed
            signal.raise_signal(signal.SIGTERM)
        return losses.nll(log_probs, mask)

    monkeypatch.setattr(mle, "nll", stopping)
    said = call("replicate", "toy-mle", "--out", "cut", "--json")
    assert said.status == 1
    assert said.reason == ("stopped, and what is done is kept; to go on: textforge replicate toy-mle --out cut --json")
    assert said.out == ""
    assert [path.name for path in sorted(tmp_path.glob("cut/measured/*"))] == ["toy-mle-0.json"]
    again = call("replicate", "toy-mle", "--out", "cut", "--json")
    assert again.err.count("$ textforge train") == 1, "the first seed is kept"
    assert only_json(again)["ours"] == whole["ours"]
    assert len(calls) == 4 + 4, "no update was made twice"


def test_a_row_that_needs_a_gpu_runs_when_told_to() -> None:
    said = call("replicate", "toy-dear")
    assert said.status == 2
    assert said.reason == "toy-dear needs GPU-hours (4 hours of one CPU core); --force runs it all the same"
    said = call("replicate", "toy-dear", "--force")
    assert said.status == 0, said.err
    assert "ours is 0.5000 above it" in said.out


def test_what_cannot_be_compared_says_why() -> None:
    said = call("replicate", "toy-judges")
    assert (said.status, said.out) == (2, "")
    assert said.reason == "toy-judges is not comparable: people cannot be run again"
    assert call("replicate", "toy-judges", "--force").status == 2


def test_numbers_of_an_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derivations, "NUM", 50)
    found = only_json(call("replicate", "toy-oracle", "--json"))["ours"]["nll_oracle"]
    assert len(set(found["values"])) == 4
    mean, low, high = (found[name] for name in ("mean", "low", "high"))
    assert low < mean < high
    assert mean == pytest.approx(np.mean(found["values"]))
    said = call("replicate", "toy-oracle")
    assert f"nll_oracle: published 5.75, ours {mean:.3f} [{low:.3f}, {high:.3f}]" in said.out
    oracle = oracles.load("lstm-oracle")
    texts = oracle.sample(50, derivations.SEED + 2)
    assert found["values"][2] == pytest.approx(-oracle.log_prob(texts).mean() / 20)


def test_texts_that_ignore_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks: the oracle's own texts before tokens by frequency before uniform ones, whose tokens cover the symbols."""
    monkeypatch.setattr(derivations, "NUM", 500)
    own, unigram, uniform = (
        derivations.derive(what, "lstm-oracle", 0)["nll_oracle"] for what in ("entropy", "unigram", "uniform")
    )
    assert own + 1 < unigram < uniform - 0.5
    oracle = oracles.load("lstm-oracle")
    rng = np.random.default_rng(7)
    texts = [" ".join(map(str, rng.integers(5000, size=20))) for _ in range(500)]
    nats = -oracle.log_prob(texts) / 20
    assert abs(uniform - nats.mean()) < 4.5 * (2 / 500) ** 0.5 * nats.std()


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["toy-mel"], 2, "there is no row 'toy-mel'; did you mean 'toy-mle'?; `textforge replicate` lists them"),
        (["toy-mle", "--seeds", "0"], 2, "--seeds must be at least 1, not 0"),
        (["toy-samples", "--seeds", "3"], 2, "chance has no part in toy-samples; leave out --seeds"),
        (["toy-mle", "--markdown"], 2, "--markdown prints the page of all rows; leave out the name"),
        (["toy-mle", "--files", "elsewhere"], 1, "elsewhere/toy.txt is missing: the lines of this test; get it"),
        (["toy-missing"], 1, "toy-missing: there is no bleu_9 in what was measured: bleu_2, bleu_3"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], status: int, reason: str) -> None:
    said = call("replicate", *arguments)
    assert (said.status, said.out) == (status, "")
    assert said.reason.startswith(reason)


def test_the_package_is_not_written_to() -> None:
    inside = Path(replication.__file__).parent / "kept"
    said = call("replicate", "toy-samples", "--out", inside)
    assert said.status == 2
    assert "inside the package" in said.reason
    assert not inside.exists()


def test_markdown_is_the_page() -> None:
    said = call("replicate", "--markdown")
    assert said.status == 0
    assert said.out.startswith("# Replication\n")
    assert "### `toy-judges`\n\nWhat people said (table 4). As it was.\n" in said.out
    assert "| praise | 0.9 |\n\nNot comparable; people cannot be run again.\n" in said.out
    assert "Not run: needs GPU-hours; so it is said. A run takes some 4 hours of one core." in said.out
    assert "    textforge train mle --preset tiny --data corpora/toy.txt --steps 4 --controls none --seed 0" in said.out


def test_one_object_is_all_that_json_prints(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on the process's own standard output, whatever training and evaluation print."""
    monkeypatch.setattr("sys.argv", ["textforge", "replicate", "toy-mle", "--seeds", "1", "--json"])
    assert main() == 0
    assert json.loads(capfd.readouterr().out)["name"] == "toy-mle"
