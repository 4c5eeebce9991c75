"""Every method learns what anybody would: a constant sequence, one sentence, a small world whose truth is known."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import settings
import torch
import worlds
from tasks import SEQUENCE_METHODS, oracle_task, text_task, tiny, trained
from torch import Tensor
from worlds import ENDING, FIXED, World

from textforge import methods
from textforge.decoding import Generator, log_prob, sample
from textforge.evaluation import draw_texts, text_log_prob
from textforge.losses import policy_gradient
from textforge.metrics.divergence import exact_divergences
from textforge.oracles.table import TableOracle, random_table
from textforge.relaxations import gumbel_softmax
from textforge.relaxed import NoiseGenerator, decode_relaxed
from textforge.returns import leave_one_out_baseline, monte_carlo_q
from textforge.text import encode


@pytest.mark.parametrize("line", [" ".join(map(str, range(20))), "a man rides a horse"], ids=["0-to-19", "sentence"])
@pytest.mark.parametrize("name", SEQUENCE_METHODS)
def test_a_single_line_is_learnt(name: str, line: str, tmp_path: Path) -> None:
    method, task = methods.load(name), text_task([line])
    run = trained(tmp_path, method, tiny(method, settings.of(name).LINES), task)
    generator = run.returned
    assert isinstance(generator, Generator)
    texts = [task.tokenizer.decode(row) for row in sample(generator, 50).tokens.tolist()]
    assert texts.count(line) > 40
    if not generator.noise_dim:
        assert np.exp(text_log_prob(generator, task.train)[0]) > 0.9


def distances(oracle: TableOracle, generator: Generator) -> dict[str, float]:
    """How far the generator is from the truth, summed over all sequences; by many samples where noise drives it."""
    texts = oracle.support()
    if generator.noise_dim:
        drawn = Counter(draw_texts(generator, oracle.tokenizer, 20_000).texts)
        return exact_divergences(np.exp(oracle.log_prob(texts)), np.array([drawn[text] for text in texts]) / 20_000)
    corpus, _ = encode(texts, oracle.tokenizer, max_length=oracle.max_length)
    return exact_divergences(np.exp(oracle.log_prob(texts)), np.exp(text_log_prob(generator, corpus)))


def learnt(name: str, folder: Path, **fields: Any) -> tuple[dict[str, float], dict[str, float]]:
    """Return the distances to the truth of a world before and after training."""
    method, oracle = methods.load(name), random_table(seed=1)
    task = oracle_task(oracle, 1000)
    config = tiny(method, settings.of(name).TABLE | fields)
    run = trained(folder, method, config, task)
    after = run.returned
    assert isinstance(after, Generator)
    before = method.networks(config, task.vocabulary, task.max_length)["generator"]
    before.load_state_dict(run.trained["generator"])
    return distances(oracle, before), distances(oracle, after)


@pytest.mark.parametrize("name", SEQUENCE_METHODS)
def test_a_known_world_is_approached(name: str, tmp_path: Path) -> None:
    before, after = learnt(name, tmp_path)
    for distance in ("kl_pq", "kl_qp", "js"):
        assert after[distance] < before[distance] / 2, (distance, before, after)


@pytest.mark.parametrize("reward", ["constant", "random"])
def test_seqgan_approaches_nothing_without_its_discriminator(reward: str, tmp_path: Path) -> None:
    """The controls: what these rewards do is not learning."""
    before, after = learnt("seqgan", tmp_path, reward=reward, rounds=30)
    assert after["js"] > 0.9 * before["js"]


@pytest.mark.parametrize("world", [FIXED, ENDING], ids=["fixed", "ending"])
@pytest.mark.parametrize("token", range(3))
def test_policy_gradient_finds_the_rewarded_token(world: World, token: int) -> None:
    """Everywhere, and where it is `eos`, by ending at once."""

    def reward(rows: Tensor) -> Tensor:
        count = (rows == token).sum(1)
        return count / (rows != world.vocabulary.pad).sum(1) + 0.1 * count

    policy = worlds.wide_lstm(world, 1)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.1)
    for _ in range(40):
        drawn = sample(policy, 32)
        q = monte_carlo_q(policy, drawn.tokens, reward, 2)
        optimizer.zero_grad()
        policy_gradient(policy(drawn.tokens), q - leave_one_out_baseline(q, drawn.mask)).backward()
        optimizer.step()
    best = world.sequences[reward(world.sequences).argmax()]
    assert set(best.tolist()) <= {token, world.vocabulary.pad}
    assert log_prob(policy, best[None]).exp().item() > 0.9


@pytest.mark.parametrize("token", range(3))
@pytest.mark.parametrize("name", SEQUENCE_METHODS)
def test_the_generator_of_every_method_finds_the_rewarded_token(name: str, token: int) -> None:
    """By the gradient that it is made for: of the likelihood, or through relaxed rows where noise drives it."""
    method = methods.load(name)
    generator = method.networks(method.PRESETS["tiny"], FIXED.vocabulary, FIXED.max_length)["generator"]
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.05)
    for _ in range(60):
        if isinstance(generator, NoiseGenerator):
            rows = decode_relaxed(generator, generator.noise(64), partial(gumbel_softmax, temperature=1.0)).rows
            loss = -torch.stack(rows, 1)[:, :, token].mean()
        else:
            drawn = sample(generator, 64)
            count = (drawn.tokens == token).to(torch.get_default_dtype()).mean(1)
            loss = policy_gradient(generator(drawn.tokens), (count - count.mean())[:, None].expand(-1, 3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (sample(generator, 200).tokens == token).to(torch.get_default_dtype()).mean() > 0.95
