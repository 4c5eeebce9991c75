"""The objectives, their signs and where their gradients go; the order of the algorithm; the auto-encoder.

The discrepancy itself is tested in test_mmd.py, means and covariances and windows in test_matching.py, soft labels in
nets/test_textgan_heads.py, swaps in text/test_swap.py, the score by a density in metrics/test_kde.py, soft words in
test_relaxations.py.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tasks import SENTENCES, Observed, observed, oracle_task, text_task, tiny, trained
from torch import Tensor, nn
from torch.optim import SGD, Adam

from textforge.decoding import decode, sample
from textforge.errors import CallError
from textforge.losses import discriminator_loss
from textforge.matching import Window, covariance_matching, mean_matching
from textforge.methods import textgan
from textforge.mmd import mmd2
from textforge.nets.feature_cnn import FeatureCNN
from textforge.nets.noise_lstm import NoiseGateLSTM
from textforge.nets.textgan_heads import MatchingDiscriminator
from textforge.oracles.table import random_table
from textforge.relaxations import write_softly
from textforge.relaxed import Relaxed
from textforge.text import Stream, swap_two

TEXTGAN: Any = textgan


def players(fields: dict[str, Any], *, std: float = 0.5) -> tuple[Any, NoiseGateLSTM, MatchingDiscriminator]:
    """The settings and both networks, with weights so large that no two sentences are alike."""
    task, config = text_task(), tiny(TEXTGAN, fields)
    networks = TEXTGAN.networks(config, task.vocabulary, task.max_length)
    for network in networks.values():
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=std)
    G, D = networks["generator"], networks["discriminator"]
    assert isinstance(G, NoiseGateLSTM)
    assert isinstance(D, MatchingDiscriminator)
    return config, G, D


def windows() -> tuple[Window, Window]:
    return Window(1), Window(1)


def real_tokens(num: int = 8) -> Tensor:
    task = text_task()
    return Stream(task.train, num, width=task.max_length, seed=0).next().tokens


def write(G: NoiseGateLSTM, noise: Tensor) -> Relaxed:
    return write_softly(G, noise, 1.0)[0]


# --- Signs ---


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("matching", ["mmd", "mmd-l", "mm", "cm"])
def test_a_step_of_the_generator_makes_the_matching_term_small_and_one_of_d_large(matching: Any) -> None:
    config, G, D = players({"matching": matching})
    tokens, z = real_tokens(), torch.rand(8, 8) * 2 - 1

    def term() -> Tensor:
        features = D.features(tokens), D.features(write(G, z).rows)
        return textgan.matching_term(config, matching, D, *features, windows())[0]

    zero = torch.zeros(())
    for module, objective, sign in (
        (G, textgan.generator_objective, -1),
        (D, lambda value: textgan.discriminator_objective(config, zero, zero, value), 1),
    ):
        optimizer = SGD(module.parameters(), lr=1e-4 if module is G else 1e-2)
        before = term()
        optimizer.zero_grad()
        objective(before).backward()
        optimizer.step()
        assert sign * (term() - before).item() > 1e-12


@pytest.mark.usefixtures("float64")
def test_a_step_of_d_reconstructs_better_and_judges_better() -> None:
    config, G, D = players({})
    tokens, z, zero = real_tokens(), torch.rand(8, 8) * 2 - 1, torch.zeros(())
    rows = write(G, z).detach().rows

    def parts() -> tuple[Tensor, Tensor]:
        recon = (D.latent(D.features(rows)) - z).square().sum(1).mean()
        p, q = D(tokens).logits.sigmoid(), D(rows).logits.sigmoid()
        return -p.log().mean() - (1 - q).log().mean(), recon

    for i in range(2):
        before = parts()
        given = [value if j == i else zero for j, value in enumerate(before)]
        D.zero_grad()
        textgan.discriminator_objective(config, given[0], given[1], zero).backward()
        SGD(D.parameters(), lr=1e-3).step()
        assert parts()[i] < before[i] - 1e-9


# --- The objectives as they are handed to the run ---


@dataclass
class Seen:
    """What the networks of a run were given."""

    real: list[Tensor] = field(default_factory=list)
    noise: list[Tensor] = field(default_factory=list)
    fake: list[Relaxed] = field(default_factory=list)


def watched(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    check: Callable[[Observed, str, Tensor, Seen], None],
) -> None:
    """Train on sequences of three symbols, and call `check` with who makes it and its loss before every update of the
    adversarial phase.
    """
    seen, task = Seen(), oracle_task(random_table(seed=1), 64)
    next_batch, noise = Stream.next, NoiseGateLSTM.noise

    def next_(stream: Stream) -> Any:
        batch = next_batch(stream)
        seen.real.append(batch.tokens)
        return batch

    def noise_(G: NoiseGateLSTM, batch: int) -> Tensor:
        seen.noise.append(noise(G, batch))
        return seen.noise[-1]

    def write_(*arguments: Any, **settings: Any) -> Any:
        fake, largest = write_softly(*arguments, **settings)
        seen.fake.append(fake)
        return fake, largest

    monkeypatch.setattr(Stream, "next", next_)
    monkeypatch.setattr(NoiseGateLSTM, "noise", noise_)
    monkeypatch.setattr(textgan, "write_softly", write_)
    with observed(folder, task) as run:
        step = run.step

        def step_(optimizer: Any, loss: Tensor, clip: float | None = None) -> None:
            assert clip == 5.0
            if run.phase_now == "adversarial":
                (who,) = (name for name, known in run.optimizers.items() if known is optimizer)
                check(run, who, loss, seen)
            step(optimizer, loss, clip)

        monkeypatch.setattr(run, "step", step_)
        TEXTGAN.train(tiny(TEXTGAN, fields), task, run)


def by_loops(x: Tensor, y: Tensor, bandwidths: tuple[float, ...]) -> float:
    """MMD^2 from its definition."""

    def mean(a: Tensor, b: Tensor) -> float:
        pairs = [(u - v).square().sum().item() for u in a for v in b]
        return sum(math.exp(-d / (2 * s * s)) for d in pairs for s in bandwidths) / len(pairs)

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("square_root", [False, True])
def test_losses_are_those_of_the_equations(square_root: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """L_G is the matching term and nothing else, L_D classifies, reconstructs and maximises; by sums written out."""
    found: list[str] = []

    def check(run: Observed, who: str, loss: Tensor, seen: Seen) -> None:
        D: Any = run.modules["discriminator"]
        with torch.no_grad():
            x, y = D.features(seen.real[-1]), D.features(seen.fake[-1].rows)
            term = by_loops(x, y, (1.0, 2.0))
            term = math.sqrt(term + 1e-6) if square_root else term
            expected = term
            if who == "discriminator":
                p, q = (0.01 + 0.98 * D.cnn.head(f)[:, 0].sigmoid() for f in (x, y))
                z, z_hat = seen.noise[-1], D.encoder(y)
                recon = sum((a - b) ** 2 for a, b in zip(z.flatten().tolist(), z_hat.flatten().tolist(), strict=True))
                expected = -p.log().mean().item() - (1 - q).log().mean().item() + 0.5 * recon / len(z) - 0.25 * term
        assert loss.item() == pytest.approx(expected, rel=1e-9)
        found.append(who)

    fields = {"recon_weight": 0.5, "match_weight": 0.25, "square_root": square_root}
    watched(tmp_path, monkeypatch, fields, check)
    assert found == ["generator", "generator", "discriminator"] * 2  # K = 2 to one


def test_gradients_go_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The matching term reaches every parameter of G through the soft words; nothing of D's loss reaches G."""

    def check(run: Observed, who: str, loss: Tensor, seen: Seen) -> None:
        G, D = run.modules["generator"], run.modules["discriminator"]
        if who == "generator":
            for name, parameter in G.named_parameters():
                (slope,) = torch.autograd.grad(loss, parameter, retain_graph=True)
                assert slope.abs().max() > 0, name
            assert not any(parameter.requires_grad for parameter in D.parameters())
        else:
            slopes = torch.autograd.grad(loss, list(G.parameters()), retain_graph=True, allow_unused=True)
            assert all(slope is None for slope in slopes)
            for name, parameter in D.named_parameters():
                (slope,) = torch.autograd.grad(loss, parameter, retain_graph=True)
                assert slope.abs().max() > 0, name

    watched(tmp_path, monkeypatch, {"matching": "mmd-l"}, check)


def test_noise_is_fresh_and_real_sentences_are_new_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[Tensor, int]] = []

    def check(run: Observed, who: str, loss: Tensor, seen: Seen) -> None:
        found.append((seen.noise[-1], len(seen.real)))

    watched(tmp_path, monkeypatch, {"rounds": 3}, check)
    assert len({noise.sum().item() for noise, _ in found}) == len(found) == 9
    assert [count for _, count in found] == list(range(found[0][1], found[0][1] + 9))


# --- The variants ---


@pytest.mark.parametrize("matching", ["mm", "cm"])
def test_means_and_covariances_are_over_the_last_minibatches(
    matching: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three, from the first step on, all of which were written in that phase; the warm-up matches means."""
    function: Any = {"mm": mean_matching, "cm": covariance_matching}[matching]
    sizes: list[tuple[int, int]] = []
    written: list[tuple[int, Tensor]] = []  # what D made of sentences of so many words, before it was trained on them
    features = MatchingDiscriminator.features

    def spy(real: Tensor, fake: Tensor, **settings: Any) -> Tensor:
        of_d = len(sizes) % 3 == 2
        past = written[-2:] if of_d else written[-3:-1]
        torch.testing.assert_close(fake[:16], torch.cat([rows for _, rows in past]), rtol=0, atol=0)
        assert {words for words, _ in past} == {2 if run.phase_now == "warm-up" else task.max_length}
        sizes.append((len(real), len(fake)))
        value: Tensor = function(real, fake, **settings)
        return value

    def read(D: MatchingDiscriminator, sequences: Any) -> Tensor:
        found = features(D, sequences)
        if isinstance(sequences, tuple):
            written.append((len(sequences), found.detach()))
        return found

    monkeypatch.setattr(textgan, function.__name__, spy)
    monkeypatch.setattr(MatchingDiscriminator, "features", read)
    task, config = text_task(), tiny(TEXTGAN, {"matching": matching, "window": 3, "warmup_words": 2})
    with observed(tmp_path, task) as run:
        TEXTGAN.train(config, task, run)
    assert sizes == [(24, 24)] * (9 if matching == "mm" else 6)  # two of G and one of D a round, one of them a warm-up


def test_mmd_is_of_one_minibatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: set[tuple[int, int]] = set()

    def spy(real: Tensor, fake: Tensor, *arguments: Any, **settings: Any) -> Any:
        sizes.add((len(real), real.shape[1]))
        return mmd2(real, fake, *arguments, **settings)

    monkeypatch.setattr(textgan, "mmd2", spy)
    trained(tmp_path / "whole", TEXTGAN, tiny(TEXTGAN, {}), text_task())
    assert sizes == {(8, 8)}
    sizes.clear()
    trained(tmp_path / "compressed", TEXTGAN, tiny(TEXTGAN, {"matching": "mmd-l"}), text_task())
    assert sizes == {(8, 3)}


# --- Soft words ---


@pytest.mark.parametrize("straight_through", [False, True])
def test_soft_words_are_distributions_around_the_words_that_are_sampled(straight_through: bool) -> None:
    _, G, _ = players({}, std=1.0)
    noise = G.noise(64)
    fake, largest = write_softly(G, noise, 1e4, straight_through=straight_through)
    blank = torch.full((64, G.max_length), G.vocabulary.pad)
    hard = decode(G, blank, torch.zeros_like(blank, dtype=torch.bool), context=noise).tokens
    assert (fake.tokens == hard).all(1).float().mean() > 0.95  # near-ties are mixed at any sharpness
    assert len(hard.unique(dim=0)) > 5
    for row in fake.rows:
        torch.testing.assert_close(row.sum(1), torch.ones(64))
        if straight_through:
            assert (row.amax(1) == 1).all()
    assert 0.9 < largest.mean() <= 1


@pytest.mark.usefixtures("float64")
def test_largest_probabilities_leave_padding_out() -> None:
    _, G, _ = players({}, std=1.0)
    noise = G.noise(40)
    fake, largest = write_softly(G, noise, 0.5)
    expected = torch.stack([row.amax(1) for row in fake.rows], 1)[fake.tokens != G.vocabulary.pad]
    assert (fake.tokens == G.vocabulary.pad).any()
    torch.testing.assert_close(largest, expected)
    hardened = write_softly(G, noise, 0.5, straight_through=True)[1]
    assert hardened.mean() < 0.99  # of the soft rows behind the hard ones


def test_warm_up_matches_means_of_shortened_sentences_at_the_first_sharpness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, float]] = []
    read: list[tuple[str, int]] = []
    matched: list[tuple[str, str]] = []
    matching_term, forward = textgan.matching_term, FeatureCNN.forward
    features = MatchingDiscriminator.features

    def write_(G: Any, noise: Tensor, sharpness: float, **settings: Any) -> Any:
        calls.append((run.phase_now, sharpness))
        return write_softly(G, noise, sharpness, **settings)

    def judge(cnn: FeatureCNN, sequences: Any) -> Any:
        if isinstance(sequences, tuple):
            read.append((run.phase_now, len(sequences)))
        return forward(cnn, sequences)

    def look(D: MatchingDiscriminator, sequences: Any) -> Any:
        if isinstance(sequences, tuple):
            read.append((run.phase_now, len(sequences)))
        return features(D, sequences)

    def matching_term_(config: Any, matching: str, *arguments: Any) -> Any:
        matched.append((run.phase_now, matching))
        return matching_term(config, matching, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(textgan, "write_softly", write_)
    monkeypatch.setattr(textgan, "matching_term", matching_term_)
    monkeypatch.setattr(FeatureCNN, "forward", judge)
    monkeypatch.setattr(MatchingDiscriminator, "features", look)
    task = text_task()
    fields: dict[str, Any] = {"warmup_words": 2, "warmup_rounds": 2, "rounds": 3, "g_steps": 1}
    fields |= {"sharpness_start": 1.0, "sharpness": 9.0}
    with observed(tmp_path, task) as run:
        TEXTGAN.train(tiny(TEXTGAN, fields), task, run)
    whole = task.max_length
    assert whole > 2
    assert calls == [("warm-up", 1.0)] * 4 + [("adversarial", value) for value in (1.0, 1.0, 5.0, 5.0, 9.0, 9.0)]
    assert read == [("warm-up", 2)] * 4 + [("adversarial", whole)] * 6
    assert matched == [("warm-up", "mm")] * 4 + [("adversarial", "mmd")] * 6


# --- Pretraining ---


def test_order_and_number_of_updates(tmp_path: Path) -> None:
    counts = {"pretrain_steps": 3, "swap_steps": 2, "warmup_rounds": 1, "rounds": 2, "g_steps": 5}
    rates = {"pretrain_lr": 0.03, "g_lr": 0.02, "d_lr": 0.01}
    run = trained(tmp_path, TEXTGAN, tiny(TEXTGAN, counts | rates), text_task())
    names = {0.03: "pretrain", 0.02: "g", 0.01: "d"}
    steps = [(phase, names[optimizer.param_groups[0]["lr"]]) for phase, optimizer in run.steps]
    expected = [("pretrain", "pretrain")] * 3 + [("discriminator", "d")] * 2
    expected += [("warm-up", player) for player in "gggggd"] + [("adversarial", player) for player in "gggggd" * 2]
    assert steps == expected
    assert {type(optimizer) for _, optimizer in run.steps} == {Adam}


@pytest.mark.parametrize(("code", "steps"), [("features", 200), ("latent", 400)])
def test_decoder_gives_back_the_sentence_of_a_code(code: str, steps: int, tmp_path: Path) -> None:
    """The auto-encoder memorises a small corpus; the argmax of the decoder is then the sentence."""
    fields = {"pretrain_steps": steps, "pretrain_lr": 0.01, "hidden_dim": 32, "batch_size": 20, "code": code}
    fields |= {"swap_steps": 0, "warmup_rounds": 0, "rounds": 0, "d_windows": ((1, 8), (2, 8)), "noise_dim": 16}
    task, config = text_task(), tiny(TEXTGAN, fields)
    run = trained(tmp_path, TEXTGAN, config, task)
    G, D = run.modules["generator"], run.modules["discriminator"]
    assert isinstance(G, NoiseGateLSTM)
    assert isinstance(D, MatchingDiscriminator)
    tokens = Stream(task.train, len(SENTENCES), width=task.max_length, seed=0).next().tokens
    with torch.no_grad():
        noise = textgan.encode(config, D, tokens, G.noise(len(tokens)))
    again = decode(G, tokens, torch.zeros_like(tokens, dtype=torch.bool), context=noise).tokens
    assert (again == tokens).all(1).float().mean() > 0.9
    assert len(sample(G, 100).tokens.unique(dim=0)) > 3  # and the noise itself has a say


def test_the_code_is_mixed_with_noise() -> None:
    """By a share, and for some sentences wholly; it counts as far from noise as it is."""
    tokens = real_tokens(20).repeat(100, 1)
    fresh = torch.rand(2000, 8) * 2 - 1
    config, _, D = players({"code": "latent", "code_noise": 0.25, "blind": 0.3})
    code = D.latent(D.features(tokens))
    read = textgan.encode(config, D, tokens, fresh)
    blind = (read == fresh).all(1)
    assert abs(blind.float().mean() - 0.3) < 4 * (0.3 * 0.7 / 2000) ** 0.5
    torch.testing.assert_close(read[~blind], (0.75 * code + 0.25 * fresh)[~blind])
    plain = textgan.encode(tiny(TEXTGAN, {"code": "latent"}), D, tokens, fresh)
    torch.testing.assert_close(plain, code)
    prior = torch.rand(2000, 8) * 2 - 1
    distances = [textgan.distance_to_prior(noise, prior).item() for noise in (fresh, read, plain)]
    assert distances[0] * 10 < distances[1] < distances[2] / 1.5


def test_prior_weight_draws_the_codes_towards_noise(tmp_path: Path) -> None:
    fields = {
        "pretrain_steps": 60,
        "code": "latent",
        "rounds": 0,
        "warmup_rounds": 0,
        "swap_steps": 0,
        "batch_size": 64,
    }
    found = []
    for weight in (0.0, 100.0):
        config = tiny(TEXTGAN, fields | {"prior_weight": weight})
        D = trained(tmp_path / f"{weight}", TEXTGAN, config, text_task()).modules["discriminator"]
        assert isinstance(D, MatchingDiscriminator)
        prior = torch.rand(200, 8) * 2 - 1
        found.append(textgan.distance_to_prior(textgan.encode(config, D, real_tokens(200), prior), prior).item())
    assert found[1] < found[0] / 2


def test_unchanged_twins_are_no_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a sentence that repeats one word, no twin can be made: only the sentence itself is learnt from."""
    labels: list[list[bool]] = []
    loss = discriminator_loss

    def spy(logits: Tensor, is_real: Tensor) -> Tensor:
        labels.append(is_real.tolist())
        return loss(logits, is_real)

    monkeypatch.setattr(textgan, "discriminator_loss", spy)
    fields = {"warmup_rounds": 0, "rounds": 0, "swap_steps": 1, "batch_size": 30}
    trained(tmp_path, TEXTGAN, tiny(TEXTGAN, fields), text_task(["no no no", "no yes", "yes no no"]))
    assert labels == [[True] * 30 + [False] * 20]


def test_order_of_words_is_learnt_from_swaps(tmp_path: Path) -> None:
    fields = {"pretrain_steps": 0, "swap_steps": 150, "warmup_rounds": 0, "rounds": 0, "batch_size": 20}
    run = trained(tmp_path, TEXTGAN, tiny(TEXTGAN, fields), text_task())
    D, task = run.modules["discriminator"], text_task()
    twins, spoilt = swap_two(real_tokens(20), real_tokens(20) != task.vocabulary.pad, eos=task.vocabulary.eos)
    assert spoilt.all()
    assert (D(real_tokens(20)).logits > 0).float().mean() > 0.9
    assert (D(twins).logits < 0).float().mean() > 0.9


def test_scores_compare_because_their_features_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What measures is D as it was behind the auto-encoder."""
    kept: dict[str, dict[str, Tensor]] = {}
    score = textgan.kde_score

    def spy(extractor: MatchingDiscriminator, *arguments: Any) -> Any:
        kept.setdefault("first", copy.deepcopy(extractor.state_dict()))
        return score(extractor, *arguments)

    monkeypatch.setattr(textgan, "kde_score", spy)
    run = trained(tmp_path, TEXTGAN, tiny(TEXTGAN, {"swap_steps": 0}), text_task())
    for name, value in run.modules["extractor"].state_dict().items():
        assert torch.equal(value, kept["first"][name])
        assert name.startswith("compressor") or not torch.equal(value, run.modules["discriminator"].state_dict()[name])
    assert '"kde"' in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")


# --- Settings ---


def test_paper_settings() -> None:
    paper = textgan.PRESETS["paper"]
    assert dict(paper.d_windows) == {3: 300, 4: 300, 5: 300}
    assert (paper.noise_dim, paper.hidden_dim, paper.embedding_dim, paper.d_head_dim) == (900, 500, 300, 200)
    assert paper.bandwidths == (10, 15, 20, 25, 30)
    assert (paper.recon_weight, paper.match_weight, paper.sharpness, paper.soft_label) == (0.01, 0.001, 1e4, 0.01)
    assert (paper.g_steps, paper.batch_size, paper.g_lr, paper.d_lr, paper.clip) == (5, 256, 5e-5, 5e-5, 5)
    assert (paper.matching, paper.kernel, paper.warmup_words) == ("mmd", "sum", 15)
    # what is ours is off
    assert (paper.square_root, paper.straight_through) == (False, False)
    assert (paper.code_noise, paper.blind, paper.prior_weight) == (0, 0, 0)
    assert paper.sharpness_start is None
    released = textgan.PRESETS["released"]
    assert (released.bandwidths, released.square_root, released.g_steps) == ((20,), True, 1)
    assert (released.recon_weight, released.sharpness, released.d_lr) == (0.001, 1e3, 1e-4)
    assert (released.swap_steps, released.warmup_rounds) == (0, 0)
    assert released.rounds * released.g_steps * released.batch_size == 16 * 10**6  # 16 epochs of a million sentences
    assert paper.rounds * paper.g_steps * paper.batch_size == pytest.approx(50 * 10**6, rel=0.03)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rounds": -1}, "--rounds must be at least 0, not -1"),
        ({"batch_size": 1}, "--batch-size must be at least 2"),
        ({"warmup_words": 0}, "--warmup-words must be at least 1"),
        ({"g_steps": 0}, "--g-steps must be at least 1"),
        ({"window": 0}, "--window must be at least 1"),
        ({"code_noise": 1.5}, "--code-noise must be at most 1"),
        ({"blind": 1.5}, "--blind must be at most 1"),
        ({"soft_label": 0.5}, "--soft-label must be at most 0.49"),
        ({"recon_weight": -0.1}, "--recon-weight must be at least 0"),
        ({"sharpness": 0.0}, "--sharpness must be above 0"),
        ({"sharpness_start": 0.0}, "--sharpness-start must be above 0"),
        (
            {"sharpness_start": 1.0, "rounds": 1},
            "--sharpness-start 1.0 goes .* in at least 2 rounds, not in --rounds 1",
        ),
        ({"ridge": 0.0}, "--ridge must be above 0"),
        ({"bandwidths": ()}, "--bandwidths takes numbers above 0"),
        ({"bandwidths": (1.0, 0.0)}, "--bandwidths takes numbers above 0"),
        ({"d_windows": ()}, "--d-windows takes pairs"),
        ({"compressed_dims": (3, 0)}, "--compressed-dims takes two sizes"),
        ({"noise_dim": 100}, r"features, 900, not --noise-dim 100.*--code latent"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        textgan.Config(**fields)
