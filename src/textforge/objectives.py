"""What a user wants of texts, as a function that gives each a number: it joins the reward of a method (ORGAN).

Guimaraes et al., *Objective-Reinforced Generative Adversarial Networks (ORGAN) for Sequence Generation Models*, 2017:
R(Y) = lambda D(Y) + (1 - lambda) O(Y). Here `objective_weight` is 1 - lambda, the share of the user's function O.
The function runs while a model is trained, and never when one is loaded, sampled or served.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from textforge.errors import CallError, UserError
from textforge.returns import Reward
from textforge.text import Tokenizer, as_given

Function = Callable[[list[Any]], Any]
"""Takes texts, or lists of symbols where the run learns such, and returns a number for each; higher is better."""


@dataclass(frozen=True)
class Objective:
    """A user's function with the name that a run's config has for it, and the tokenizer that spells its texts."""

    name: str
    function: Function
    tokenizer: Tokenizer

    def scores(self, texts: Sequence[str]) -> Float[np.ndarray, " N"]:
        """Return the function's number for each text; equal texts are handed to it once.

        Raises UserError, with the name and the text, where it fails, or returns anything but a finite number for each.
        """
        place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        different = list(place)
        try:
            found = self._called(different)
        # Whatever goes wrong in a user's own code, he should read where, and on which text.
        except Exception as error:
            text, own = self._culprit(different, error)
            raise UserError(
                f"the objective {self.name} failed on the text {text!r:.200}: {type(own).__name__}: {own}; mend it"
            ) from error
        try:
            values = np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.empty(0)
        if values.shape != (len(different),):
            raise UserError(
                f"the objective {self.name} returned {' '.join(repr(found).split())[:80]}, and not one number for each "
                f"of {len(different)} texts, of which the first is {different[0]!r:.200}"
            )
        if not (finite := np.isfinite(values)).all():
            first = int(finite.argmin())
            raise UserError(
                f"the objective {self.name} gave {values[first]} to the text {different[first]!r:.200}; "
                "return a finite number for every text that may come, the empty one too"
            )
        return values[[place[text] for text in texts]]

    def _called(self, texts: Sequence[str]) -> Any:
        found = self.function([as_given(text, self.tokenizer) for text in texts])
        return found.detach().cpu() if isinstance(found, Tensor) else found

    def _culprit(self, texts: Sequence[str], error: Exception) -> tuple[str, Exception]:
        """Return the first text on which the function fails by itself, and how; the first of all if there is none."""
        for text in texts:
            try:
                self._called([text])
            except Exception as own:
                return text, own
        return texts[0], error

    def __call__(self, tokens: Int[Tensor, "R T"]) -> Float[Tensor, " R"]:
        """Return the score of each sequence of ids, as a reward."""
        values = self.scores([self.tokenizer.decode(row) for row in tokens.tolist()])
        return torch.from_numpy(values).to(tokens.device, torch.get_default_dtype())


@runtime_checkable
class Wish(Protocol):
    """The two fields of the config of a method that takes an objective."""

    @property
    def objective(self) -> str | None:
        """The name of the function."""

    @property
    def objective_weight(self) -> float:
        """Its share of the reward, 1 - lambda."""


def rewarded(config: Wish, objective: Objective | None) -> Objective | None:
    """Return the objective where it is a part of the reward, and is not only measured."""
    assert (objective is None) == (config.objective is None), "what the config names comes with the task"
    return objective if config.objective_weight > 0 else None


def mixed(reward: Reward, config: Wish, objective: Objective | None) -> Reward:
    """Return R = lambda D + (1 - lambda) O for the reward D of whole sequences; without an objective, D itself."""
    objective, share = rewarded(config, objective), config.objective_weight
    if objective is None:
        return reward
    if share == 1:
        return objective
    return lambda tokens: (1 - share) * reward(tokens) + share * objective(tokens)


def steered(
    returns: Float[Tensor, "B T"], tokens: Int[Tensor, "B T"], config: Wish, objective: Objective | None
) -> Float[Tensor, "B T"]:
    """Return lambda R_t + (1 - lambda) O(Y) where each token has a return R_t of its own.

    The score is the whole text's: every choice in it had a part in all of it, whatever the discount of the rewards at
    single tokens. So sum_t O(Y) grad log G(y_t) is, in expectation, the gradient of E O(Y).
    """
    if objective is None:
        return returns
    return torch.lerp(returns, objective(tokens)[:, None].expand_as(returns), config.objective_weight)


def name_of(function: Function) -> str:
    """Return the name by which a run knows a function: module:function where an import finds it.

    What only this process knows, because it is a lambda or was defined inside another function or in a script, has its
    name in angle brackets: such a run cannot be resumed.
    """
    if not isinstance(function, FunctionType):
        return f"<{type(function).__name__}>"
    module = sys.modules.get(function.__module__)
    if module is not None and module.__name__ != "__main__" and vars(module).get(function.__name__) is function:
        return f"{module.__name__}:{function.__name__}"
    return f"<{function.__name__.strip('<>')}>"


def named(fields: Mapping[str, Any]) -> tuple[dict[str, Any], Function | None]:
    """Return the fields of a config with the name of the function that stands among them, and that function."""
    function = fields.get("objective")
    if not callable(function):
        return dict(fields), None
    return {**fields, "objective": name_of(function)}, function


def load(name: str) -> Function:
    """Import what is named as module:function or file.py:function.

    A module is looked for where Python looks, and in the working folder. Raises CallError where nothing of that name
    is found, UserError where its code fails.
    """
    if name.startswith("<"):
        raise CallError(
            f"the objective {name} was handed over by a program and stands in no file that could be imported; train "
            "again from that program, or name a function: --objective file.py:function"
        )
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise CallError(f"--objective must be module:function or file.py:function, not {name!r}")
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else _from_path(place)
    except CallError:
        raise
    except Exception as error:  # of a user's own code
        raise UserError(f"the objective's {place} cannot be imported: {type(error).__name__}: {error}") from error
    function = vars(module).get(attribute)
    if not callable(function):
        known = [known for known, value in vars(module).items() if isinstance(value, FunctionType)]
        raise CallError(f"{place} has no function '{attribute}' for --objective; it has {', '.join(known) or 'none'}")
    loaded: Function = function
    return loaded


def _from_path(module: str) -> ModuleType:
    _look_in(Path.cwd())
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that the module itself needs
        raise CallError(
            f"there is no module '{module}' for --objective; give one that Python finds, or file.py:function"
        ) from None


def _from_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise CallError(f"there is no file {file} for --objective; give the path of one, or module:function")
    file = file.resolve()
    _look_in(file.parent)  # for what it imports in turn
    module = ModuleType(str(file))
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # dataclasses look for it there; no import takes a path for a name
    # Python's cache would take a file for unchanged that was edited within a second and has kept its size.
    exec(compile(file.read_bytes(), file, "exec"), vars(module))
    return module


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def anchored(name: str) -> str:
    """Return the name with its file in full, so that the run can go on from any folder."""
    place, colon, attribute = name.rpartition(":")
    return f"{Path(place).resolve()}{colon}{attribute}" if place.endswith(".py") and Path(place).exists() else name
