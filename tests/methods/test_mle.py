"""Teacher forcing against a loop written out, and scheduled sampling against the enumeration of what it reads."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import worlds
from tasks import text_task, tiny, trained
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from worlds import World

from textforge import methods
from textforge.errors import CallError
from textforge.methods import mle
from textforge.run import derive, load_checkpoint
from textforge.text import Stream

MLE = methods.load("mle")


@pytest.mark.parametrize("scheduled_sampling", [0.0, 0.5])
def test_training_is_the_plain_loop(scheduled_sampling: float, tmp_path: Path) -> None:
    """Bit for bit: what is read, what is scored, what is divided by, where the gradient is cut."""
    task = text_task()
    fields = {"steps": 7, "clip": 0.2, "dropout": 0.1, "batch_size": 10, "scheduled_sampling": scheduled_sampling}
    config = tiny(MLE, fields)
    run = trained(tmp_path, MLE, config, task, seed=3)

    torch.manual_seed(derive(3, "torch"))
    network = mle.networks(config, task.vocabulary, task.max_length)["generator"]
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr)
    stream = Stream(task.train, 10, width=task.max_length, seed=3)
    norms = []
    for step in range(7):
        batch = stream.next()
        inputs = None
        if scheduled_sampling:
            epoch = step // 2  # 20 sequences
            inputs = mle.scheduled_inputs(network, batch.tokens, max(0.0, 1.0 - 0.5 * epoch))
        loss = -network(batch.tokens, inputs).sum() / batch.mask.sum()
        optimizer.zero_grad()
        loss.backward()
        norms.append(clip_grad_norm_(network.parameters(), 0.2).item())
        optimizer.step()
    assert max(norms) > 0.2
    for name, value in run.modules["generator"].state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_patience_ends_at_the_best_generator(tmp_path: Path) -> None:
    task = text_task()
    run = trained(tmp_path, MLE, tiny(MLE, {"steps": 60, "lr": 0.5, "patience": 2}), task)
    assert len(run.steps) < 60
    best, last = load_checkpoint(tmp_path, "best"), load_checkpoint(tmp_path)
    assert best["position"]["step"] < last["position"]["step"]
    for name, value in run.modules["generator"].state_dict().items():
        assert torch.equal(value, best["modules"]["generator"][name])


# --- Scheduled sampling ---


@pytest.fixture(params=worlds.WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return worlds.WORLDS[request.param]


def input_probs(generator: Any, world: World, row: Tensor, truth: float) -> Tensor:
    """Enumerate which tokens are true, and then what is drawn in place of the others."""
    following = worlds.conditionals(generator, world)
    free = int((row != world.vocabulary.pad).sum()) - 1  # the last real token is always the true one
    total = torch.zeros(len(world.sequences))
    for pattern in itertools.product([False, True], repeat=free):
        kept = torch.tensor([*pattern, *[True] * (world.max_length - free)])
        weight = truth ** sum(pattern) * (1 - truth) ** (free - sum(pattern))
        total += weight * worlds.infilled_probs(world, following, row, kept)
    return total


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("truth", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", worlds.GENERATORS)
def test_what_is_read_has_the_enumerated_distribution(world: World, kind: str, truth: float) -> None:
    generator: Any = worlds.GENERATORS[kind](world, 1)
    rows = world.sequences[[-2, len(world.sequences) // 3]]  # of different lengths, where there are any
    inputs = mle.scheduled_inputs(generator, rows.repeat(4000, 1), truth)
    for b in range(2):
        probs = input_probs(generator, world, rows[b], truth)
        assert probs.sum().item() == pytest.approx(1, abs=1e-12)
        assert worlds.frequencies_z(world, inputs[b::2], probs) < 4.5
    if truth == 1:
        assert torch.equal(inputs, rows.repeat(4000, 1))


def test_truth_falls_by_the_epoch_from_one_to_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truths, original = [], mle.scheduled_inputs

    def spy(G: Any, tokens: Tensor, truth: float) -> Tensor:
        truths.append(truth)
        return original(G, tokens, truth)

    monkeypatch.setattr(mle, "scheduled_inputs", spy)
    trained(tmp_path, MLE, tiny(MLE, {"steps": 11, "batch_size": 10, "scheduled_sampling": 0.3}), text_task())
    assert truths == pytest.approx([1, 1, 0.7, 0.7, 0.4, 0.4, 0.1, 0.1, 0, 0, 0])


# --- Settings ---


def test_paper_settings() -> None:
    assert mle.PRESETS["paper"].scheduled_sampling == 0
    assert mle.PRESETS["scheduled-sampling"].scheduled_sampling == 0.002


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 0, "--steps must be at least 1, not 0"),
        ("batch_size", 0, "--batch-size must be at least 1"),
        ("patience", 0, "--patience must be at least 1"),
        ("dropout", 1.5, "--dropout must be at most 1, not 1.5"),
        ("dropout", -0.1, "--dropout must be at least 0"),
        ("lr", 0.0, "--lr must be above 0"),
        ("lr", float("nan"), "--lr must be above 0, not nan"),
        ("clip", 0.0, "--clip must be above 0"),
        ("init_std", -1.0, "--init-std must be above 0"),
        ("scheduled_sampling", -0.5, "--scheduled-sampling must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(CallError, match=message):
        mle.Config(**{field: value})
