"""Derived seeds are stable, and streams do not touch each other."""

import torch

from textforge.run import derive
from textforge.run.seeds import forked, random_state, set_random_state

CPU = torch.device("cpu")


def test_seeds_are_the_same_for_ever() -> None:
    """Runs of an older version must repeat; these values never change."""
    assert derive(0) == 7520536977032167579
    assert derive(1, "torch") == 782893785560157388
    assert derive(-5, "evaluate", "adversarial", 17) == 8135617741370561146


def test_every_name_and_its_place_matter() -> None:
    names: list[tuple[str | int, ...]] = [
        (),
        ("a",),
        ("b",),
        ("a", "b"),
        ("b", "a"),
        ("ab",),
        ("a", 1),
        ("a", "1"),
        ("a1",),
    ]
    seeds = {derive(seed, *path) for seed in range(-3, 100) for path in names}
    assert len(seeds) == 103 * len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_bits_are_fair() -> None:
    """Each of the 63 bits is set in half of 4,000 seeds, within 4.5 standard errors."""
    seeds = [derive(seed, "fair") for seed in range(4000)]
    for bit in range(63):
        ones = sum(seed >> bit & 1 for seed in seeds)
        assert abs(ones - 2000) < 4.5 * 1000**0.5


def test_a_fork_leaves_the_stream_outside_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with forked(5, CPU):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with forked(5, CPU):
        assert torch.equal(torch.rand(3), inside)
    with forked(6, CPU):
        assert not torch.equal(torch.rand(3), inside)


def test_random_state_comes_back() -> None:
    torch.rand(5)
    state = random_state(CPU)
    expected = torch.randn(7)
    torch.rand(100)
    set_random_state(state, CPU)
    assert torch.equal(torch.randn(7), expected)
