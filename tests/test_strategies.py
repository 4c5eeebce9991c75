"""Ways of decoding, from the flags to the texts: each does what its name says, and refuses what has no meaning."""

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Trained, call, lines, only_json, train
from worlds import ENDING, TableGenerator, exact_probs

import textforge
from textforge import detector
from textforge.constraints import Constraint, banned, required, satisfies
from textforge.decoding import log_prob
from textforge.detector import Detector
from textforge.errors import CallError, UserError
from textforge.model import Model, load_text_model
from textforge.nets.text_cnn import TextCNN
from textforge.options import Decode, Strategy
from textforge.results import own_task
from textforge.strategies import decode_by

DECODES: list[Decode] = ["ancestral", "greedy", "top-k", "top-p", "beam", "rerank", "resample", "reject", "mcts"]


def a_detector(temperature: float = 1.0) -> Detector:
    network = TextCNN(ENDING.vocabulary, ENDING.max_length, windows=((1, 4), (2, 4)), embedding_dim=4, dropout=0.0)
    raw = Detector(network.eval(), 1.0, 0.0, temperature).logits(ENDING.sequences)
    scale = 1.5 / float(raw.std())  # opinions that differ, from random weights
    return Detector(network, scale, -scale * float(raw.mean()), temperature)


@pytest.mark.parametrize("decode", DECODES)
def test_every_strategy_writes_sequences_of_the_world(decode: Decode) -> None:
    strategy = Strategy(decode, k=2, p=0.6, width=4, candidates=3, simulations=4)
    drawn = decode_by(strategy, TableGenerator(ENDING, 0), 3, detector=a_detector())
    assert drawn.tokens.shape == (3, ENDING.max_length)
    ENDING.index(drawn.tokens)


def test_greedy_follows_the_likeliest_token() -> None:
    generator = TableGenerator(ENDING, 0)
    (row,) = decode_by(Strategy("greedy"), generator, 1).tokens
    state, token = generator.initial_state(1), torch.tensor([ENDING.vocabulary.bos])
    for expected in row[row != ENDING.vocabulary.pad]:
        logits, state = generator.step(token, state)
        token = logits.argmax(1)
        assert token == expected


def test_the_judged_ones_are_more_real_than_the_model() -> None:
    """The detector's logits, on average: the weights draw them up, choice and search further."""
    generator, judge = TableGenerator(ENDING, 0), a_detector()

    def reality(decode: Decode) -> float:
        torch.manual_seed(1)
        strategy = Strategy(decode, candidates=8, simulations=30)
        num = 60 if decode == "mcts" else 1000
        return float(judge.logits(decode_by(strategy, generator, num, detector=judge).tokens).mean())

    plain = reality("ancestral")
    assert reality("resample") > plain + 0.1
    assert abs(reality("reject") - reality("resample")) < 0.1
    assert reality("rerank") > reality("resample")
    assert reality("mcts") > plain + 0.1


def test_what_has_no_meaning_is_refused() -> None:
    generator = TableGenerator(ENDING, 0)
    decode: Decode
    for decode in ("greedy", "beam", "mcts"):
        with pytest.raises(CallError, match="has no temperature"):
            decode_by(Strategy(decode), generator, 1, detector=a_detector(), temperature=0.5)
    for decode in ("rerank", "resample", "reject"):
        with pytest.raises(UserError, match=r"knows samples of temperature 0\.7, not 1; .* --temperature 1"):
            decode_by(Strategy(decode), generator, 1, detector=a_detector(0.7))
    with pytest.raises(CallError, match="--guided is for --decode beam"):
        Strategy("resample", guided=True)
    with pytest.raises(CallError, match="--candidates must be at least 2"):
        Strategy("resample", candidates=1)
    generator.noise_dim = 3
    for decode in ("greedy", "top-k", "top-p", "beam", "mcts"):
        with pytest.raises(UserError, match="noise drives this model"):
            decode_by(Strategy(decode), generator, 1, detector=a_detector())


@pytest.fixture(scope="module")
def mle(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("mle"), "mle", "--controls", "none", "--steps", 40, "--lr", 0.05)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a language, with its detector."""
    folder = tmp_path_factory.mktemp("judged") / "run"
    model = textforge.fit(data="arithmetic", method="mle", preset="tiny", out=folder)
    assert isinstance(model, Model)
    config = detector.Config(epochs=1, windows=((1, 8), (2, 8)), batch_size=512)
    found = detector.fit(model.generator, own_task(model), config)
    detector.save(found, model.generator, config, {}, folder)
    return folder


def constrained(model: Model) -> Constraint:
    return required(model.tokenizer.vocabulary, ["dog"])


def test_texts_under_a_constraint_are_those_of_the_model_given_it(mle: Trained) -> None:
    """Held against what the model itself draws and what of it satisfies the constraint, text by text."""
    model = load_text_model(mle.folder)
    plain = Counter(text for text in model.sample(20_000, seed=1) if "dog" in text.split())
    drawn = Counter(model.draw(4000, seed=2, constraint=constrained(model), strategy=Strategy(candidates=32)).texts)
    assert all("dog" in text.split() for text in drawn)
    assert sum(plain.values()) > 1000
    for text, count in plain.most_common(5):
        share, expected = drawn[text] / 4000, count / sum(plain.values())
        error = math.sqrt(expected * (1 - expected) * (1 / 4000 + 1 / sum(plain.values())))
        assert abs(share - expected) < 4.5 * error + 0.01, text  # .01: 32 candidates are no infinity


def test_log_probs_are_the_model_s_own(mle: Trained) -> None:
    model = load_text_model(mle.folder)
    for strategy, constraint in (
        (Strategy("top-k", k=2), None),
        (Strategy("beam"), None),
        (Strategy(), constrained(model)),
        (Strategy("top-p", p=0.5), constrained(model)),
    ):
        drawn = model.draw(6, seed=3, strategy=strategy, constraint=constraint)
        assert drawn.log_prob is not None
        np.testing.assert_allclose(drawn.log_prob, model.log_prob(drawn.texts), rtol=1e-4)


def test_flags(mle: Trained) -> None:
    model = load_text_model(mle.folder)

    def said(*arguments: object) -> list[str]:
        out = call("sample", mle.folder, "-n", 8, "--seed", 0, *arguments)
        assert (out.status, out.err) == (0, "")
        return out.out.splitlines()

    assert said("--decode", "beam", "--width", 8) == model.draw(8, strategy=Strategy("beam", width=8)).texts
    assert len(set(said("--decode", "greedy"))) == 1
    assert all(text.startswith("a red") for text in said("--prompt", "a red"))
    assert all("cat" not in text.split() for text in said("--ban", "cat"))
    assert all({"dog", "runs"} <= {*text.split()} for text in said("--require", "dog", "runs"))
    assert all(len(text.split()) == 4 for text in said("--length", 4))
    assert all(text.split()[1] in ("red", "quick") for text in said("--match", "a (red|quick).*"))
    records = call("sample", mle.folder, "-n", 3, "--require", "dog", "--format", "jsonl").out.splitlines()
    texts, scores = zip(*((found["text"], found["log_prob"]) for found in map(json.loads, records)), strict=True)
    np.testing.assert_allclose(scores, model.log_prob(texts), rtol=1e-4)


def test_a_grammar_s_sentences(tmp_path: Path, mle: Trained) -> None:
    rules = ["join = space", "@scene.pets 1", "  a red {animal} sleeps here", "@animal", "  cat", "  dog"]
    out = call("sample", mle.folder, "-n", 20, "--grammar", lines(tmp_path / "pets.grammar", rules))
    assert set(out.out.splitlines()) == {"a red cat sleeps here", "a red dog sleeps here"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--decode", "resample"], "has no detector; train one: textforge detector"),
        (["--ban", "zebra"], "does not know 'zebra'"),
        (["--prompt", "a zebra"], "does not know 'zebra'"),
        (["--decode", "top-k", "--temperature", 0], "the temperature must be above 0, not 0"),
        (["--ban", "cat", "--temperature", "nan"], "the temperature must be above 0, not nan"),
        (["--length", 99], "no text of at most"),
        (["--match", "("], "("),
        (["--decode", "beam", "--width", 3], "a beam of 3 finds 1 to 3 texts, not 8"),
        (["--decode", "nonsense"], "nonsense"),
    ],
)
def test_wishes_that_cannot_be_met(mle: Trained, arguments: list[object], message: str) -> None:
    said = call("sample", mle.folder, "-n", 8, *arguments)
    assert said.status != 0
    assert message in said.err
    assert len(said.err.splitlines()) == 1


def test_the_detector_s_command(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    textforge.fit(data="arithmetic", method="mle", preset="tiny", out=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "Config", lambda: SMALL)
        found = call("detector", folder, "--json")
    metrics = only_json(found)
    assert set(metrics) == {"detector", "the model", "resampled"}
    assert 0 < metrics["detector"]["log_loss"] < math.log(2)
    assert metrics["resampled"]["js"] < metrics["the model"]["js"]
    stored = json.loads((folder / "detector" / "config.json").read_text())
    assert stored["metrics"]["log_loss"] == metrics["detector"]["log_loss"]
    assert "held-out log-loss" in found.err


SMALL = detector.Config(epochs=2, windows=((1, 16), (2, 16), (3, 16)), batch_size=256, lr=5e-3)


def test_score_tells_how_real_a_text_is(judged: Path, tmp_path: Path) -> None:
    texts = ["x+x", "x*x-x", "x"]
    records = [json.loads(line) for line in call("score", judged, lines(tmp_path / "t.txt", texts)).out.splitlines()]
    expected = load_text_model(judged).p_real(texts)
    assert [record["p_real"] for record in records] == expected.tolist()
    assert all(0 < p < 1 for p in expected)


def test_a_detector_of_other_weights_is_refused(judged: Path, tmp_path: Path) -> None:
    model = load_text_model(judged)
    other = dataclasses.replace(model, networks=load_text_model(judged).networks)
    with torch.no_grad():
        next(other.networks["generator"].parameters()).add_(1e-3)
    with pytest.raises(UserError, match="another state of its generator"):
        other.sample(2, decode="resample")
    kept = textforge.fit(["a b", "b a"] * 20, method="mle", preset="tiny", steps=1)
    with pytest.raises(UserError, match="train with out="):
        kept.sample(2, decode="resample")


def test_prompts_and_bans_in_python(mle: Trained) -> None:
    model = load_text_model(mle.folder)
    vocabulary = model.tokenizer.vocabulary
    forbidden = banned(vocabulary, ["cat"])
    drawn = model.draw(20, seed=0, prompt="a small", constraint=forbidden)
    assert all(text.startswith("a small") and "cat" not in text.split() for text in drawn.texts)
    for asked in (drawn, model.draw(20, seed=0, prompt="a small")):
        assert asked.log_prob is not None
        own = log_prob(model.generator, asked.tokens).double()
        np.testing.assert_allclose(asked.log_prob, own, rtol=1e-5, err_msg="the prompt counts, too")
    rows = torch.tensor([[*vocabulary.encode(text.split()), vocabulary.eos] for text in ["a cat", "a dog"]])
    assert satisfies(forbidden, vocabulary, rows).tolist() == [False, True]
    assert log_prob(model.generator, rows).shape == (2,)


def test_the_exact_distribution_of_the_world_is_what_ancestral_draws() -> None:
    generator = TableGenerator(ENDING, 3)
    drawn = decode_by(Strategy(), generator, 20_000)
    counts = torch.bincount(ENDING.index(drawn.tokens), minlength=len(ENDING.sequences)).double() / 20_000
    exact = exact_probs(generator, ENDING).double()
    assert ((counts - exact).abs() / (exact * (1 - exact) / 20_000).sqrt()).max() < 4.5
