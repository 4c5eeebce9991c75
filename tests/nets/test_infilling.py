"""What fills blanks, what judges the fills, and the critic: against enumeration, and who depends on what."""

import copy
import itertools

import pytest
import torch
import worlds
from torch import Tensor, nn
from torch.nn import functional as F
from worlds import ENDING, FIXED, World

from textforge.decoding import Generator, decode, infill
from textforge.nets.infilling import InfillingDiscriminator, InfillingGenerator

pytestmark = pytest.mark.usefixtures("float64")

MASK, PAD = ENDING.vocabulary.mask, ENDING.vocabulary.pad
END = ENDING.vocabulary.vocab_size - 1  # eos
CONTEXTS = {
    "fixed, nothing given": (FIXED, [MASK, MASK, MASK]),
    "fixed, one given": (FIXED, [MASK, 1, MASK]),
    "fixed, all given": (FIXED, [2, 1, 0]),
    "ending, nothing given": (ENDING, [MASK] * 4),
    "ending, closed": (ENDING, [MASK, 1, MASK, END]),
    "ending, closed early": (ENDING, [MASK, MASK, END, PAD]),
    "ending, open behind": (ENDING, [0, MASK, MASK, MASK]),
}


def wide(world: World, seed: int = 1, num_layers: int = 1, dropout: float = 0.0) -> InfillingGenerator:
    """A generator whose weights are so large that nothing that it reads leaves it alike."""
    torch.manual_seed(seed)
    G = InfillingGenerator(world.vocabulary, world.max_length, hidden_dim=4, num_layers=num_layers, dropout=dropout)
    for parameter in G.parameters():
        nn.init.normal_(parameter)
    return G


def judge(world: World, seed: int = 1, shared: nn.Embedding | None = None) -> InfillingDiscriminator:
    torch.manual_seed(seed)
    D = InfillingDiscriminator(world.vocabulary, hidden_dim=4, num_layers=2, dropout=0.0, shared=shared)
    for parameter in D.parameters():
        nn.init.normal_(parameter)
    return D


def possible(world: World, context: list[int]) -> Tensor:
    """All sequences that agree with m(x)."""
    masked = torch.tensor(context)
    agree = (world.sequences == masked) | (masked == world.vocabulary.mask)
    return world.sequences[agree.all(1)]


# --- The generator ---


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("name", CONTEXTS)
def test_probabilities_of_all_fills_sum_to_one_and_are_those_of_the_steps(name: str, num_layers: int) -> None:
    world, context = CONTEXTS[name]
    G = wide(world, num_layers=num_layers)
    assert isinstance(G, Generator)
    rows = possible(world, context)
    masked = torch.tensor([context] * len(rows))
    log_probs = G(rows, masked)
    assert log_probs.sum(1).exp().sum().item() == pytest.approx(1, abs=1e-12)
    scored = (masked == world.vocabulary.mask) & (rows != world.vocabulary.pad)
    assert (log_probs[~scored] == 0).all()
    given = rows.masked_fill(rows == world.vocabulary.pad, 0)
    stepped = decode(G, given, torch.ones_like(scored), context=masked).log_probs
    torch.testing.assert_close(log_probs.detach(), stepped * scored, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CONTEXTS)
def test_fills_are_drawn_from_their_probabilities_and_what_is_present_stays(name: str) -> None:
    world, context = CONTEXTS[name]
    G = wide(world, 2)
    masked = torch.tensor([context] * 4000)
    blank = masked == world.vocabulary.mask
    filled = decode(G, masked.masked_fill(masked == world.vocabulary.pad, 0), ~blank, context=masked)
    present = (masked != world.vocabulary.mask) & (masked != world.vocabulary.pad)
    assert torch.equal(filled.tokens[present], masked[present])
    probs = torch.zeros(len(world.sequences))
    rows = possible(world, context)
    probs[world.index(rows)] = G(rows, masked[: len(rows)]).sum(1).exp().detach()
    assert worlds.frequencies_z(world, filled.tokens, probs) < 4.5
    again = G(filled.tokens, masked)
    torch.testing.assert_close(filled.log_probs * (blank & filled.mask), again.detach(), rtol=0, atol=1e-12)


def test_blanks_of_a_user_never_end_the_text() -> None:
    G = wide(ENDING, 2)
    with torch.no_grad():
        G.bias[END] += 100
    masked = torch.tensor([[MASK, 1, MASK, END], [0, MASK, END, PAD], [0, MASK, MASK, MASK]] * 50)
    filled = infill(G, masked)
    assert torch.equal(filled.mask, masked != PAD)
    assert torch.equal(filled.tokens == END, masked == END)


@pytest.mark.parametrize("world", [FIXED, ENDING], ids=["fixed", "ending"])
def test_without_a_context_it_is_the_language_model_of_blanks_only(world: World) -> None:
    G = wide(world)
    blanks = torch.full_like(world.sequences, world.vocabulary.mask)
    torch.testing.assert_close(G(world.sequences), G(world.sequences, blanks), rtol=0, atol=1e-12)
    exact = worlds.exact_log_probs(G, world)
    torch.testing.assert_close(G(world.sequences).detach(), exact, rtol=0, atol=1e-12)


def test_language_model_is_the_decoder_alone() -> None:
    G = wide(ENDING)
    before = G.language_model(ENDING.sequences)
    assert (before[~ENDING.mask] == 0).all()
    probs = [before[k].sum().exp().item() for k in range(len(before))]
    assert sum(probs) == pytest.approx(1, abs=1e-12)
    for part in (G.encoder, G.attention):
        for parameter in part.parameters():
            nn.init.normal_(parameter)
    assert torch.equal(G.language_model(ENDING.sequences), before)


def test_fills_depend_on_both_sides_of_a_blank() -> None:
    G = wide(FIXED)
    tokens = torch.tensor([[0, 1, 2]])
    before, other_left, other_right = (
        G(torch.tensor([row]), torch.tensor([masked]))[0, 1]
        for row, masked in (([0, 1, 2], [0, MASK, 2]), ([1, 1, 2], [1, MASK, 2]), ([0, 1, 0], [0, MASK, 0]))
    )
    assert len({before.item(), other_left.item(), other_right.item(), G(tokens)[0, 1].item()}) == 4


def test_padding_changes_nothing() -> None:
    G, D = wide(ENDING), judge(ENDING)
    tokens = ENDING.sequences
    masked = tokens.masked_fill((tokens != PAD) & (tokens != END), MASK)
    wider, wider_masked = (F.pad(rows, (0, 3), value=PAD) for rows in (tokens, masked))
    torch.testing.assert_close(G(wider, wider_masked), F.pad(G(tokens, masked), (0, 3)), rtol=0, atol=1e-12)
    for ours, theirs in ((D(wider, wider_masked), D(tokens, masked)), (D(wider), D(tokens))):
        torch.testing.assert_close(ours.logits[:, :4][ENDING.mask], theirs.logits[ENDING.mask], rtol=0, atol=1e-12)
    torch.testing.assert_close(D.critic(wider)[:, :4][ENDING.mask], D.critic(tokens)[ENDING.mask], rtol=0, atol=1e-12)


def test_embedding_is_the_softmax_and_its_gradient_the_sum_of_both_uses() -> None:
    G = wide(FIXED)
    other = copy.deepcopy(G)
    softmax = nn.Parameter(other.embedding.weight.detach().clone())

    def logits(output: Tensor, goes_on: Tensor) -> Tensor:
        return output @ softmax[:3].T + other.bias

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(other, "_logits", logits)
        other(FIXED.sequences).sum().backward()
    G(FIXED.sequences).sum().backward()
    assert other.embedding.weight.grad is not None
    assert softmax.grad is not None
    assert (other.embedding.weight.grad != 0).any()
    assert (softmax.grad != 0).any()
    torch.testing.assert_close(G.embedding.weight.grad, other.embedding.weight.grad + softmax.grad)
    shapes = [tuple(parameter.shape) for parameter in G.parameters()]
    assert shapes.count((3, 4)) == 0  # there are no softmax weights beside the embedding


def test_dropout_acts_in_forward_and_not_in_steps() -> None:
    G = wide(ENDING, dropout=0.5)
    masked = torch.full_like(ENDING.sequences, MASK)
    assert not torch.equal(G(ENDING.sequences, masked), G(ENDING.sequences, masked))
    G.dropout.eval()
    assert torch.equal(G(ENDING.sequences, masked), G(ENDING.sequences, masked))


# --- The discriminator ---


def test_verdicts_depend_on_the_text_so_far_and_on_the_whole_of_the_blanked_text() -> None:
    D = judge(FIXED)
    tokens, masked = torch.tensor([[0, 1, 2]]), torch.tensor([[0, MASK, MASK]])
    logits = D(tokens, masked).logits[0]
    assert (D(tokens, torch.tensor([[0, MASK, 2]])).logits[0] != logits).all()
    for t, token in itertools.product(range(3), range(3)):
        changed = tokens.clone()
        changed[0, t] = (changed[0, t] + 1 + token) % 3
        after = D(changed, masked).logits[0]
        same = token == 2
        assert torch.equal(after[:t], logits[:t])
        assert (after[t:] == logits[t:]).all() == same


def test_without_a_context_everything_but_the_end_counts_as_blank() -> None:
    D = judge(ENDING)
    tokens = ENDING.sequences
    masked = tokens.masked_fill((tokens != PAD) & (tokens != END), MASK)
    assert torch.equal(D(tokens).logits, D(tokens, masked).logits)
    assert D(tokens).features.shape == (*tokens.shape, 4)


def test_a_fault_can_be_blamed_on_its_place_only_by_who_sees_the_blanks() -> None:
    """The paper's example: of two equal words one was filled in. The best without m(x) is 1/2 at both."""
    tokens = torch.tensor([[1, 1, 2], [1, 1, 2]])
    masked = torch.tensor([[MASK, 1, 2], [1, MASK, 2]])
    labels = (masked != MASK).double()

    def fitted(sees: bool) -> tuple[float, Tensor]:
        torch.manual_seed(1)
        D = InfillingDiscriminator(FIXED.vocabulary, hidden_dim=8, num_layers=1, dropout=0.0)
        optimizer = torch.optim.Adam(D.judging_parameters(), lr=0.03)
        for _ in range(150):
            logits = D(tokens, masked if sees else None).logits[:, :2]
            loss = F.binary_cross_entropy_with_logits(logits, labels[:, :2])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item(), logits.detach().sigmoid()

    loss, verdicts = fitted(sees=True)
    assert loss < 0.02
    assert (verdicts.round() == labels[:, :2]).all()
    loss, verdicts = fitted(sees=False)
    assert loss == pytest.approx(torch.tensor(2.0).log().item(), abs=1e-4)
    torch.testing.assert_close(verdicts, torch.full((2, 2), 0.5), rtol=0, atol=0.01)


# --- The critic ---


def test_critic_sees_only_what_stands_before() -> None:
    D = judge(FIXED)
    tokens = torch.tensor([[0, 1, 2]])
    values = D.critic(tokens)[0]
    for t in range(3):
        changed = tokens.clone()
        changed[0, t] = (changed[0, t] + 1) % 3
        after = D.critic(changed)[0]
        assert torch.equal(after[: t + 1], values[: t + 1])
        assert (after[t + 1 :] != values[t + 1 :]).all()


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("trunk", [False, True])
def test_critic_trains_its_head_and_the_layers_below_on_request(trunk: bool, shares: bool) -> None:
    D = judge(FIXED, shared=wide(FIXED).embedding if shares else None)
    D.critic(FIXED.sequences, trunk=trunk).sum().backward()
    below = {"decoder"} | (set() if shares else {"embedding"})
    parts = {"critic_head"} | (below if trunk else set())
    expected = {name for name, _ in D.named_parameters() if name.split(".")[0] in parts}
    names = {id(parameter): name for name, parameter in D.named_parameters()}
    assert {name for name, parameter in D.named_parameters() if parameter.grad is not None} == expected
    assert sorted(names[id(parameter)] for parameter in D.critic_parameters(trunk=trunk)) == sorted(expected)


def test_a_shared_embedding_belongs_to_the_generator() -> None:
    G = wide(FIXED)
    own, shared = judge(FIXED), judge(FIXED, shared=G.embedding)
    assert shared.embedding.weight.data_ptr() == G.embedding.weight.data_ptr()
    for D, trains in ((own, True), (shared, False)):
        D(FIXED.sequences).logits.sum().backward()
        D.critic(FIXED.sequences, trunk=True).sum().backward()
        assert (D.embedding.weight.grad is not None) == trains
        names = {id(parameter): name for name, parameter in D.named_parameters()}
        judging = {names[id(parameter)] for parameter in D.judging_parameters()}
        critic = {"critic_head.weight", "critic_head.bias"}
        assert judging == set(names.values()) - critic - (set() if trains else {"embedding.weight"})
