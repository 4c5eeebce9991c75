"""MaskGAN's estimate of the gradient against the enumerated one, with and without a baseline that sees too much."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import worlds
from methods.maskgan_plays import players
from tasks import observed, text_task
from torch import Tensor, nn
from torch.nn import functional as F
from worlds import ENDING, FIXED, World

from textforge.decoding import infill
from textforge.losses import policy_gradient
from textforge.methods import maskgan
from textforge.nets.infilling import InfillingDiscriminator, InfillingGenerator
from textforge.nets.judgement import Judgement

MASK, END = ENDING.vocabulary.mask, ENDING.vocabulary.vocab_size - 1  # eos
CONTEXTS = {
    "nothing given": (FIXED, [MASK, MASK, MASK]),
    "one given": (FIXED, [MASK, 1, MASK]),
    "length given": (ENDING, [MASK, 1, MASK, END]),
    "length free": (ENDING, [MASK] * 4),
    "open behind": (ENDING, [0, MASK, MASK, MASK]),
}


@pytest.fixture(params=CONTEXTS)
def context(request: pytest.FixtureRequest) -> tuple[World, list[int]]:
    return CONTEXTS[request.param]


class TableJudge(InfillingDiscriminator):
    """A discriminator and a critic whose every answer is an arbitrary number that hangs on the prefix."""

    def __init__(self, world: World, *, fault: bool = False, scale: float = 2.0) -> None:
        super().__init__(world.vocabulary, hidden_dim=2, num_layers=1, dropout=0.0)
        self.fault = fault  # the critic sees the token that it is a baseline for
        self.scale = scale  # of the verdicts; 0: it cannot tell

    def forward(self, tokens: Tensor, masked: Tensor | None = None) -> Judgement:
        logits = self.numbers(tokens, 1, self.scale)
        return Judgement(logits, logits[..., None])

    def critic(self, tokens: Tensor, *, trunk: bool = False) -> Tensor:
        before = tokens if self.fault else F.pad(tokens[:, :-1], (1, 0), value=7)
        return self.numbers(before, 5, 3.0)

    @staticmethod
    def numbers(tokens: Tensor, salt: int, scale: float) -> Tensor:
        code = torch.zeros(len(tokens))
        columns = []
        for t, column in enumerate(tokens.unbind(1)):
            code = 11 * code + column + t + salt
            columns.append(scale * (code * 12.9898).sin())
        return torch.stack(columns, 1)


def every_play(world: World, masked: list[int]) -> maskgan.Play:
    """Every text that may come of m(x), once."""
    row = torch.tensor(masked)
    agree = (world.sequences == row) | (row == world.vocabulary.mask)
    fake = world.sequences[agree.all(1)]
    shown = row.expand(len(fake), -1)
    blank = (shown == world.vocabulary.mask) & (fake != world.vocabulary.pad)
    return maskgan.Play(fake, shown, fake, blank, blank)


def row_of(play: maskgan.Play, k: int) -> maskgan.Play:
    return maskgan.Play(**{name: value[k : k + 1] for name, value in vars(play).items()})


def exact_objective(
    G: InfillingGenerator, D: InfillingDiscriminator, play: maskgan.Play, discount: float, constant: float
) -> Tensor:
    """The expected sum of discount^s (log D_s + constant) over the blanks, over all texts."""
    logits = D(play.fake, play.masked).logits
    total = torch.zeros(len(play.fake))
    for k in range(len(play.fake)):
        for s in range(play.fake.shape[1]):
            if play.blank[k, s]:
                total[k] += discount**s * (logits[k, s].sigmoid().log() + constant)
    probs: Tensor = G(play.fake, play.masked).sum(1).exp()
    return (probs * total).sum()


def expected_estimate(
    config: Any, G: InfillingGenerator, D: InfillingDiscriminator, play: maskgan.Play
) -> tuple[Tensor, Tensor]:
    """The mean of the gradient that training follows, and of its square, over all texts by their probabilities."""
    probs = G(play.fake, play.masked).sum(1).exp().detach()
    assert probs.sum().item() == pytest.approx(1)
    mean, square = torch.zeros(()), torch.zeros(())
    for k, prob in enumerate(probs):
        row = row_of(play, k)
        advantage = maskgan.advantages(config, D, row, maskgan.returns(config, maskgan.rewards(config, D, row)))
        one = -worlds.gradient(policy_gradient(G(row.fake, row.masked), advantage), G)
        mean, square = mean + prob * one, square + prob * one.square().sum()
    return mean, square


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("form", "discount"), [("from-start", 0.7), ("from-start", 1.0), ("from-here", 1.0)])
def test_expected_gradient_is_that_of_the_expected_return_whatever_the_baseline(
    form: str, discount: float, context: tuple[World, list[int]]
) -> None:
    world, masked = context
    config, G, _ = players(world, {"returns": form, "discount": discount, "advantage_clip": 1e9})
    play, D = every_play(world, masked), TableJudge(world)
    exact = worlds.gradient(exact_objective(G, D, play, discount, math.log(2)), G)
    assert exact.abs().max() > 0.01
    mean, _ = expected_estimate(config, G, D, play)
    torch.testing.assert_close(mean, exact, rtol=0, atol=1e-10)
    leaking, _ = expected_estimate(config, G, TableJudge(world, fault=True), play)
    assert (leaking - exact).abs().max() > 0.01  # a baseline that sees its own token does harm


@pytest.mark.usefixtures("float64")
def test_constant_in_the_reward_changes_no_gradient_but_where_the_length_is_open(
    context: tuple[World, list[int]],
) -> None:
    world, masked = context
    _, G, _ = players(world, {})
    play, D = every_play(world, masked), TableJudge(world)
    plain, shifted = (worlds.gradient(exact_objective(G, D, play, 0.7, c), G) for c in (0.0, math.log(2)))
    is_open = world is ENDING and masked[-1] == MASK
    assert ((plain - shifted).abs().max() > 0.01) == is_open
    if not is_open:
        torch.testing.assert_close(plain, shifted, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("form", ["from-start", "from-here"])
def test_nothing_is_learnt_from_who_cannot_tell(form: str, context: tuple[World, list[int]]) -> None:
    world, masked = context
    config, G, _ = players(world, {"returns": form, "discount": 0.7, "advantage_clip": 1e9})
    mean, square = expected_estimate(config, G, TableJudge(world, scale=0.0), every_play(world, masked))
    assert square > 0.01  # each text by itself pulls, by the critic's error
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-10)


@pytest.mark.usefixtures("float64")
def test_discounted_from_each_token_on_it_is_the_gradient_of_every_choice_by_its_own_future() -> None:
    """sum_t E sum_a dG(a | x_<t) Q(x_<t, a), with Q by recursion."""
    world, masked = CONTEXTS["nothing given"]
    config, G, _ = players(world, {"discount": 0.6, "advantage_clip": 1e9})
    play, D = every_play(world, masked), TableJudge(world)
    log_probs, logits = G(play.fake, play.masked), D(play.fake, play.masked).logits
    rewards = {
        tuple(row[: t + 1].tolist()): (2 * logits[k, t].sigmoid()).log()
        for k, row in enumerate(play.fake)
        for t in range(3)
    }
    chances = {tuple(row[: t + 1].tolist()): log_probs[k, t].exp() for k, row in enumerate(play.fake) for t in range(3)}

    def value(prefix: tuple[int, ...]) -> Any:
        if len(prefix) == 3:
            return torch.zeros(())
        return sum(chances[(*prefix, a)].detach() * q((*prefix, a)) for a in range(3))

    def q(prefix: tuple[int, ...]) -> Any:
        return rewards[prefix] + 0.6 * value(prefix)

    objective = torch.zeros(())
    for prefix, chance in chances.items():
        reached = torch.stack([torch.ones(()), *(chances[prefix[:t]].detach() for t in range(1, len(prefix)))]).prod()
        objective = objective + reached * chance * q(prefix)
    mean, _ = expected_estimate(config, G, D, play)
    torch.testing.assert_close(mean, worlds.gradient(objective, G), rtol=0, atol=1e-10)


@pytest.mark.usefixtures("float64")
def test_a_fitted_critic_makes_the_gradient_less_noisy(tmp_path: Path) -> None:
    world, masked = CONTEXTS["nothing given"]
    config, G, D = players(world, {"advantage_clip": 1e9, "discount": 1.0, "critic_lr": 0.1, "d_dropout": 0.0})
    nn.init.zeros_(D.critic_head.weight)
    nn.init.zeros_(D.critic_head.bias)
    play = every_play(world, masked)
    _, without = expected_estimate(config, G, D, play)
    optimizer = torch.optim.Adam(D.critic_parameters(), lr=config.critic_lr)
    with observed(tmp_path, text_task()) as run:
        run.setup("critic", D, optimizer)
        for _ in range(80):
            fake = infill(G, play.masked.repeat(4, 1)).tokens
            of_fakes = maskgan.Play(fake, play.masked.repeat(4, 1), fake, fake >= 0, fake >= 0)
            target = maskgan.returns(config, maskgan.rewards(config, D, of_fakes))
            maskgan.train_critic(config, D, optimizer, of_fakes, target, run)
    _, with_critic = expected_estimate(config, G, D, play)
    assert with_critic < without / 2
