"""Adversarial text generation: train, sample, and measure honestly.

The public names load on first use, so that `import textforge` and `textforge --help` do not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textforge.estimator import TextGenerator
    from textforge.fitting import fit
    from textforge.metrics import evaluate
    from textforge.model import Model, load
    from textforge.point_model import PointModel

__all__ = ["Model", "PointModel", "TextGenerator", "__version__", "evaluate", "fit", "load"]

__version__ = "0.1.0"

_HOMES = {
    "Model": "textforge.model",
    "PointModel": "textforge.point_model",
    "TextGenerator": "textforge.estimator",
    "evaluate": "textforge.metrics",
    "fit": "textforge.fitting",
    "load": "textforge.model",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module the first time it is asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'textforge' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
