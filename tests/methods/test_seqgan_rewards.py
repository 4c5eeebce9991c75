"""What scores a sequence: the discriminator, how it learns, and the controls in its place."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import worlds
from methods.players import opinionated, table_world
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu  # type: ignore[import-untyped]
from tasks import observed, oracle_task, text_task, tiny, trained
from torch import Tensor, nn

from textforge import methods
from textforge.decoding import sample
from textforge.losses import discriminator_loss
from textforge.methods import seqgan
from textforge.nets.lstm import LSTMGenerator
from textforge.nets.text_cnn import TextCNN
from textforge.oracles.table import TableOracle
from textforge.returns import monte_carlo_q
from textforge.task import Task
from textforge.text import Stream

SEQGAN = methods.load("seqgan")


def two_languages(**fields: Any) -> tuple[Task, Any, Any, LSTMGenerator, TextCNN]:
    """Real sequences hold the symbol b or c only; the generator writes nothing but a."""
    oracle = TableOracle(("a", "b", "c"), {("b", "c", "c"): 0.5, ("c", "b", "b"): 0.3, ("c", "c", "c"): 0.2})
    task = oracle_task(oracle, 50)
    config = tiny(SEQGAN, {"negatives": 24, "batch_size": 16, **fields})
    players = seqgan.networks(config, task.vocabulary, task.max_length)
    G = players["generator"]
    assert isinstance(G, LSTMGenerator)
    with torch.no_grad():
        G.output.bias[0] = 100.0
    positives = Stream(task.train, config.negatives, width=task.max_length, seed=0)
    return task, config, positives, G, players["discriminator"]


def test_discriminator_sees_every_real_and_fake_sequence_once_an_epoch_with_its_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, config, positives, G, D = two_languages(d_epochs=3)
    inputs: list[Tensor] = []
    labels: list[Tensor] = []
    modes: list[bool] = []

    def look(module: nn.Module, arguments: tuple[Tensor]) -> None:
        inputs.append(arguments[0])
        modes.append(D.dropout.training)

    def loss(logits: Tensor, is_real: Tensor) -> Tensor:
        labels.append(is_real)
        return discriminator_loss(logits, is_real)

    D.register_forward_pre_hook(look)
    monkeypatch.setattr(seqgan, "discriminator_loss", loss)
    expected = Stream(task.train, 24, width=3, seed=0).next().tokens.tolist() + [[0, 0, 0]] * 24
    with observed(tmp_path, task) as run:
        optimizer = torch.optim.Adam(D.parameters(), lr=1e-3)
        run.setup("discriminator", D, optimizer)
        seqgan.train_discriminator(config, G, D, optimizer, positives, run)
    assert [len(rows) for rows in inputs] == [16, 16, 16] * 3
    assert all(modes)
    orders = []
    for epoch in range(3):
        rows = torch.cat(inputs[3 * epoch : 3 * epoch + 3])
        real = torch.cat(labels[3 * epoch : 3 * epoch + 3])
        assert Counter(map(tuple, rows.tolist())) == Counter(map(tuple, expected))
        assert torch.equal(real, rows[:, 0] != 0)
        orders.append(rows)
    assert not torch.equal(orders[0], orders[1])
    mixed = [batch.float().mean().item() for batch in labels]
    assert all(0 < share < 1 for share in mixed)
    assert positives.state_dict() == {"position": 24}


def test_discriminator_learns_to_tell_real_from_fake(tmp_path: Path) -> None:
    task, config, positives, G, D = two_languages(d_epochs=30, d_l2=0.0)
    G_before, D_before = copy.deepcopy(G.state_dict()), copy.deepcopy(D.state_dict())
    with observed(tmp_path, task) as run:
        optimizer = torch.optim.Adam(D.parameters(), lr=1e-2)
        run.setup("generator", G)
        run.setup("discriminator", D, optimizer)
        seqgan.train_discriminator(config, G, D, optimizer, positives, run)
        reward = seqgan.reward_function(config, D, task)
    assert reward(torch.tensor([[1, 2, 2], [2, 1, 1]])).min() > 0.95
    assert reward(torch.tensor([[0, 0, 0]])).max() < 0.05
    assert all(torch.equal(value, G_before[name]) for name, value in G.state_dict().items())
    assert all(parameter.grad is None for parameter in G.parameters())
    assert not any(torch.equal(value, D_before[name]) for name, value in D.state_dict().items())


def test_l2_weighs_on_the_loss_of_the_discriminator(tmp_path: Path) -> None:
    """With a weight beyond all reason, nothing is left of the head."""
    task, config, positives, G, D = two_languages(d_epochs=60, d_l2=1e3)
    with observed(tmp_path, task) as run:
        optimizer = torch.optim.Adam(D.parameters(), lr=1e-2)
        run.setup("discriminator", D, optimizer)
        before = D.head_penalty().item()
        seqgan.train_discriminator(config, G, D, optimizer, positives, run)
    assert D.head_penalty().item() < before / 100


def test_training_the_generator_does_not_touch_the_discriminator(tmp_path: Path) -> None:
    config = tiny(SEQGAN, {"pretrain_rounds": 0, "d_steps": 0})
    run = trained(tmp_path, SEQGAN, config, text_task())
    for name, value in run.modules["discriminator"].state_dict().items():
        assert torch.equal(value, run.trained["discriminator"][name])
    assert all(parameter.grad is None for parameter in run.modules["discriminator"].parameters())


def test_verdicts_are_those_of_the_discriminator_in_eval_mode() -> None:
    world, task = table_world()
    config = tiny(SEQGAN, {"d_dropout": 0.5})
    D = opinionated(task, config)
    reward = seqgan.reward_function(config, D, task)
    said = reward(world.sequences)
    assert torch.equal(reward(world.sequences), said)
    assert all(module.training for module in D.modules())
    torch.testing.assert_close(said, D.eval()(world.sequences).logits.sigmoid().detach())


# --- Rewards in place of the discriminator ---


def test_constant_reward_values_every_real_token_alike() -> None:
    task = text_task()
    config = tiny(SEQGAN, {"reward": "constant"})
    players = seqgan.networks(config, task.vocabulary, task.max_length)
    reward = seqgan.reward_function(config, players["discriminator"], task)
    fake = sample(players["generator"], 20)
    assert torch.equal(monte_carlo_q(players["generator"], fake.tokens, reward, 3), fake.mask.float())


def test_random_reward_is_uniform_noise() -> None:
    world, task = table_world()
    config = tiny(SEQGAN, {"reward": "random"})
    reward = seqgan.reward_function(config, opinionated(task, config), task)
    noise = torch.cat([reward(world.sequences[:1].expand(100, -1)) for _ in range(40)])
    counts = torch.histc(noise, bins=10, min=0, max=1).long().numpy()
    assert worlds.chi_square_z(counts, torch.full((10,), 0.1).numpy()) < 4.5
    assert noise.min() >= 0
    assert noise.max() < 1


@pytest.mark.parametrize("order", [2, 4])
def test_bleu_reward_is_that_of_nltk_against_all_training_sequences(order: int) -> None:
    task = text_task()
    config = tiny(SEQGAN, {"reward": "bleu", "bleu_order": order})
    players = seqgan.networks(config, task.vocabulary, task.max_length)
    reward = seqgan.reward_function(config, players["discriminator"], task)
    own = task.train.batch(np.arange(20), None).tokens
    fake = sample(players["generator"], 30).tokens
    real, written = ([[i for i in row if i != task.vocabulary.pad] for row in rows.tolist()] for rows in (own, fake))
    smoothing, weights = SmoothingFunction().method1, [1 / order] * order
    expected = [sentence_bleu(real, row, weights, smoothing_function=smoothing) for row in written]
    torch.testing.assert_close(reward(fake), torch.tensor(expected), rtol=1e-5, atol=1e-7)
    long_enough = (own != task.vocabulary.pad).sum(1) >= order
    assert (reward(own)[long_enough] > 0.999).all()
