"""What processes do that train together: modules for children, which import nothing of the tests themselves."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import settings
import torch
from tasks import observed, text_task, tiny, train, world_task
from torch import Tensor, nn

from textforge import decoding, methods, processes, sharding
from textforge.decoding import Generator, sample
from textforge.methods import WorldMethod
from textforge.nets.lstm import LSTMGenerator
from textforge.nets.noise_lstm import NoiseStartLSTM
from textforge.relaxations import gumbel_softmax
from textforge.relaxed import decode_relaxed
from textforge.run import Measurement
from textforge.run.device import connect

Case = tuple[str, str]
"""A method and the name of its settings."""


def together(context: ForkServerContext, folder: Path, size: int, target: Callable[..., None], *values: Any) -> None:
    """Call `target` with the values in so many processes, which find each other by a file in the folder."""
    assert exits(context, folder, size, target, *values) == [0] * size


def exits(
    context: ForkServerContext, folder: Path, size: int, target: Callable[..., None], *values: Any
) -> list[int | None]:
    """Do the same, and return with what each process ended."""
    folder.mkdir(parents=True, exist_ok=True)
    group = [context.Process(target=_enter, args=(folder, rank, size, target, *values)) for rank in range(size)]
    for process in group:
        process.start()
    for process in group:
        process.join()
    return [process.exitcode for process in group]


def _enter(folder: Path, rank: int, size: int, target: Callable[..., None], *values: Any) -> None:
    torch.set_num_threads(1)
    if size > 1:
        join(folder, rank, size)
    target(*values)


def join(folder: Path, rank: int, size: int) -> None:
    """Be one of a group, as if torchrun had started this process."""
    place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
    os.environ |= {name: str(value) for name, value in place.items()} | {"GLOO_SOCKET_IFNAME": "lo"}
    torch.distributed.init_process_group("gloo", f"file://{folder / 'group'}", rank=rank, world_size=size)


def train_cases(folder: Path, cases: Sequence[Case]) -> None:
    """Train each case, without dropout and in double precision, in a folder of its own."""
    torch.set_default_dtype(torch.float64)
    for name, kind in cases:
        method = methods.find(name)
        fields = dict(settings.of(name).FURTHER.get(kind, {}))
        config = tiny(method, fields)
        config = tiny(method, fields | {field: 0.0 for field in vars(config) if field.endswith("dropout")})
        task = world_task(settings.worlds_of(name)[kind]) if isinstance(method, WorldMethod) else text_task()
        run = observed(folder / f"{name}-{kind}", task, checkpoint_seconds=1e9)
        if not isinstance(method, WorldMethod):
            run._evaluate = samples
        with run:
            train(method, config, task, run)


def samples(generator: nn.Module, *, phase_end: bool) -> Measurement:
    """Draw sequences, and give their ids to be kept."""
    assert isinstance(generator, Generator)
    decoded = sample(generator, 12)
    nll = -float(decoded.log_probs.sum() / decoded.mask.sum())
    scalars = {"nll_valid": nll} if not generator.noise_dim else {}
    return Measurement(scalars, [str(row) for row in decoded.tokens.tolist()])


def records(folder: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl without the seconds, which no two runs share."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def shared_work(folder: Path) -> None:
    """Do a bit of everything that processes share, and save what every one of them has of it."""
    torch.set_default_dtype(torch.float64)
    with sharding.sharing():
        found = {**gradients(), **decoded(), **relaxed(), **dropped()}
    found["random"] = torch.get_rng_state()
    torch.save(found, folder / f"{processes.rank()}.pt")


def gradients() -> dict[str, Tensor]:
    """Use the same parameters in parts and as a whole, one upon the other, with rows moved in between."""
    torch.manual_seed(0)
    net, found = nn.Linear(3, 3), {}
    shared = sharding.by_rows(net.forward)
    for num in (1, 2, 5, 8):
        net.zero_grad()
        x = torch.randn(num, 3, requires_grad=True)
        order = torch.randperm(2 * num)
        first = shared(x)
        second = net(first.flip(0)).tanh()
        both = shared(torch.cat([first, second])[order])
        loss = (both @ both.T).sigmoid().mean() + first.mean() * second.square().sum() + net.weight.square().sum()
        found[f"loss {num}"] = loss.detach()
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        (loss + slope.square().sum()).backward()
        processes.average_gradients([*net.parameters()])
        found |= slopes(net, num)
        assert x.grad is not None
        found[f"x {num}"] = x.grad
    return found


def slopes(net: nn.Module, num: int) -> dict[str, Tensor]:
    """Name the gradients of a network's weights."""
    return {f"{name} {num}": w.grad.clone() for name, w in net.named_parameters() if w.grad is not None}


class Counted(nn.Module):
    """A generator that counts the rows that it steps."""

    noise_dim = 0

    def __init__(self, inner: LSTMGenerator) -> None:
        super().__init__()
        self.inner, self.vocabulary, self.max_length = inner, inner.vocabulary, inner.max_length
        self.rows = 0

    def initial_state(self, batch: int, context: Any = None) -> decoding.State:
        return self.inner.initial_state(batch, context)

    def step(self, token: Tensor, state: decoding.State) -> tuple[Tensor, decoding.State]:
        self.rows += len(token)
        return self.inner.step(token, state)


def decoded() -> dict[str, Tensor]:
    """Sample, roll out, fill blanks and score; rows end early, and some are all that is left."""
    torch.manual_seed(1)
    vocabulary = text_task().vocabulary
    G = Counted(LSTMGenerator(vocabulary, 7, embedding_dim=4, hidden_dim=8, init_std=1.0))
    found: dict[str, Tensor] = {}
    for num in (1, 3, 40):
        drawn = sample(G, num, temperature=1.3)
        found |= {f"sampled {num}": drawn.tokens, f"scores {num}": drawn.log_probs}
        for every in (1, 2):
            before = G.rows
            rollouts = decoding.roll_out(G, drawn.tokens, 6, every=every)
            found |= {
                f"rollouts {num} {every}": rollouts.tokens,
                f"stepped {num} {every}": torch.tensor(G.rows - before),
            }
        blank = (torch.rand(drawn.tokens.shape) < 0.4) & drawn.mask & (drawn.tokens != vocabulary.eos)
        filled = decoding.infill(G, drawn.tokens.masked_fill(blank, vocabulary.mask))
        found |= {f"filled {num}": filled.tokens, f"fill scores {num}": filled.log_probs}
        found[f"score {num}"] = decoding.log_prob(G, drawn.tokens)
    return found


def relaxed() -> dict[str, Tensor]:
    """Write soft sequences, and take the gradient of what depends on all of them."""
    torch.manual_seed(2)
    G = NoiseStartLSTM(text_task().vocabulary, 6, hidden_dim=8, embedding_dim=4)
    found: dict[str, Tensor] = {}
    for num in (1, 7):
        G.zero_grad()
        noise = G.noise(num).requires_grad_()
        soft = decode_relaxed(G, noise, partial(gumbel_softmax, temperature=0.8))
        rows = torch.stack(soft.rows, 1)
        (rows.mean(0).square().sum() + (rows[0] * rows[-1]).sum()).backward()
        processes.average_gradients([*G.parameters()])
        assert noise.grad is not None
        found |= slopes(G, num)
        found |= {f"rows {num}": rows.detach(), f"tokens {num}": soft.tokens, f"noise {num}": noise.grad}
    return found


def dropped() -> dict[str, Tensor]:
    """Drop out, twice: no two masks are alike, and behind it all draw the same."""
    dropout = sharding.by_rows(nn.Dropout(0.5).forward)
    return {"dropped": torch.stack([dropout(torch.ones(6, 500)) for _ in range(2)]), "drawn behind": torch.rand(3)}


def deviation(one: Any, other: Any) -> float:
    """Return how far two nested states are apart; infinity where the forms differ.

    Relative to the largest number of a tensor, or to 0.01: what should be 0 has no size of its own.
    """
    match one, other:
        case torch.Tensor(), torch.Tensor():
            if one.shape != other.shape or one.dtype != other.dtype:
                return float("inf")
            one, other = one.double(), other.double()
            scale = max(float(one.abs().max()) if one.numel() else 0.0, 1e-2)
            return float((one - other).abs().max()) / scale if one.numel() else 0.0
        case dict(), dict():
            if list(one) != list(other):
                return float("inf")
            return max((deviation(one[key], other[key]) for key in one), default=0.0)
        case ((list() | tuple()), (list() | tuple())):
            if len(one) != len(other):
                return float("inf")
            return max((deviation(*pair) for pair in zip(one, other, strict=True)), default=0.0)
        case float(), float():
            return 0.0 if one == other else abs(one - other) / max(abs(one), abs(other), 1e-2)
    return 0.0 if one == other else float("inf")


def started_by_srun(environment: Mapping[str, str], file: Path) -> None:
    """Join the group that srun's variables describe; write down which place in it this process has."""
    os.environ |= environment
    fabric = connect("cpu")
    file.write_text(f"{processes.rank()} of {processes.number()} on {fabric.device}", "utf-8")
