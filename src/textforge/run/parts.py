"""The parts of a run whose state a checkpoint holds: networks, their optimizers, and whatever else is tracked."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import nn
from torch.optim import Optimizer


@runtime_checkable
class Stateful(Protocol):
    """Anything whose state can be taken and set: streams, schedulers, optimizers."""

    def state_dict(self) -> Any:
        """Return plain values and tensors."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Set what `state_dict` returned."""
        ...


class Parts:
    """Networks, optimizers and tracked objects, each under a name of its own."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.modules: dict[str, nn.Module] = {}
        self.optimizers: dict[str, Optimizer] = {}
        self.tracked: dict[str, Stateful] = {}

    def add(self, name: str, module: nn.Module, optimizer: Optimizer | None) -> None:
        """Add a network, and its optimizer under the same name."""
        self._require_new(name)
        self.modules[name] = module
        if optimizer is not None:
            self.optimizers[name] = optimizer

    def track(self, name: str, stateful: Stateful) -> None:
        """Add anything else that has a state."""
        self._require_new(name)
        self.tracked[name] = stateful

    def _require_new(self, name: str) -> None:
        if name in self.modules or name in self.tracked:
            raise ValueError(f"{name!r} is set up already; every part of a run needs a name of its own")

    def name_of(self, optimizer: Optimizer) -> str:
        """Return the name that the optimizer was set up or tracked under."""
        for name, known in [*self.optimizers.items(), *self.tracked.items()]:
            if known is optimizer:
                return name
        raise ValueError("this optimizer is neither set up nor tracked, so its state would be lost; set it up first")

    def with_nan(self) -> str | None:
        """Return the name of a network with a parameter that is NaN, or None."""
        for name, module in self.modules.items():
            if any(parameter.isnan().any() for parameter in module.parameters()):
                return name
        return None

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return the state of every part, and which parts of the networks were in training mode."""
        return {
            **{kind: {name: part.state_dict() for name, part in parts.items()} for kind, parts in self._all().items()},
            "modes": {name: modes(module) for name, module in self.modules.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set every part; `ValueError` names the parts that only one side has."""
        for kind, parts in self._all().items():
            if parts.keys() != state[kind].keys():
                names = ", ".join(sorted(parts.keys() ^ state[kind].keys()))
                raise ValueError(
                    f"the checkpoint and the run differ in their {kind}: {names}; set up every part of a run before "
                    "the phase that first uses it"
                )
            for name, part in parts.items():
                part.load_state_dict(state[kind][name])
        for name, module in self.modules.items():
            set_modes(module, state["modes"][name])

    def _all(self) -> dict[str, Mapping[str, Stateful]]:
        return {"modules": self.modules, "optimizers": self.optimizers, "tracked": self.tracked}


def modes(module: nn.Module) -> list[bool]:
    """Return for the module and every one inside it whether it is in training mode."""
    return [inner.training for inner in module.modules()]


def set_modes(module: nn.Module, training: Sequence[bool]) -> None:
    """Set what `modes` returned, which `module.train()` cannot where some parts are frozen in eval mode."""
    for inner, mode in zip(module.modules(), training, strict=True):
        inner.training = mode
