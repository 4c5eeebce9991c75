"""What processes share comes out as if one had done it: values, gradients, tokens, random numbers; in parts."""

import multiprocessing
from multiprocessing.context import ForkServerContext
from typing import Any

import pytest
import torch
from together import shared_work, together
from torch import Tensor

from textforge import processes as group
from textforge import sharding

Found = dict[str, Tensor]


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["together"])
    return context


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Any:
    before = torch.get_default_dtype()
    folder = tmp_path_factory.mktemp("one")
    shared_work(folder)
    torch.set_default_dtype(before)
    return torch.load(folder / "0.pt")


@pytest.fixture(scope="module", params=[2, 3], ids="of {}".format)
def all_of_them(
    request: pytest.FixtureRequest, processes: ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> list[Found]:
    """What each of several processes has."""
    folder = tmp_path_factory.mktemp("several")
    together(processes, folder, request.param, shared_work, folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(request.param)]


def test_all_have_what_one_has(one: Found, all_of_them: list[Found]) -> None:
    """Tokens to the bit, numbers to rounding; batches are smaller than the group, uneven, and even."""
    for found in all_of_them:
        assert list(found) == list(one)
        for name, value in one.items():
            if not name.startswith(("stepped", "dropped", "drawn", "random")):
                torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-14, msg=f"{name}: {{}}".format)


def test_roll_outs_are_stepped_in_equal_parts(one: Found, all_of_them: list[Found]) -> None:
    """Counted in rows, and all but one: each process steps one row to learn the type of the logits."""
    for name in ("stepped 40 1", "stepped 40 2"):
        whole, parts = int(one[name]), [int(found[name]) - 1 for found in all_of_them]
        assert sum(parts) == whole > 400
        assert max(parts) < 1.35 * whole / len(parts)


def test_a_batch_smaller_than_the_group_is_done_by_all(one: Found, all_of_them: list[Found]) -> None:
    assert all(found["stepped 1 1"] == one["stepped 1 1"] for found in all_of_them)


def test_dropout_is_each_process_s_own_and_random_numbers_stay_in_step(all_of_them: list[Found]) -> None:
    first, *others = all_of_them
    for found in others:
        for name in ("dropped", "drawn behind", "random"):
            assert torch.equal(found[name], first[name]), name
    dropped = first["dropped"].flatten(0, 1)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert abs(float(dropped.mean()) - 1) < 4.5 / dropped.numel() ** 0.5
    assert len(dropped.unique(dim=0)) == len(dropped), "rows share a mask"


def test_only_what_is_in_use_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accelerator that is absent would cost 2 ms at every step of a sequence."""
    seeded: list[int] = []
    monkeypatch.setattr(group, "number", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    drawn = []
    for rank in range(2):
        monkeypatch.setattr(group, "rank", lambda rank=rank: rank)
        torch.manual_seed(0)
        seeded.clear()
        with sharding.sharing(), sharding.inside(4):
            drawn.append(torch.rand(3))
        assert not seeded
    assert not torch.equal(*drawn)
