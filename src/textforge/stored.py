"""What a run or a model keeps in its folder, read again: settings, the config of its method, weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from textforge import methods
from textforge.errors import CallError, UserError, WorkError
from textforge.options import Options, from_json
from textforge.run import load_checkpoint


def require_new(folder: Path) -> None:
    """Refuse a folder that holds a run or a model, in words for programs, which cannot resume it."""
    if (folder / "config.json").exists():
        raise UserError(f"{folder} already holds a model; read it with textforge.load, or give another folder")


def restored(networks: Mapping[str, nn.Module], folder: Path, checkpoint: str) -> dict[str, nn.Module]:
    """Return the networks that the checkpoint holds, with their weights, in evaluation mode."""
    state = load_checkpoint(folder, checkpoint)["modules"]
    loaded = {name: network.eval() for name, network in networks.items() if name in state}
    try:
        for name, network in loaded.items():
            network.load_state_dict(state[name])
    except RuntimeError as error:
        raise WorkError(
            f"the checkpoint in {folder} does not fit its config.json and vocabulary.json; restore the files"
        ) from error
    return loaded


def read_settings(file: Path) -> dict[str, Any]:
    """Read a config.json, and see that every value is what it should be."""
    if not file.exists():
        raise UserError(f"{file.parent} is no run folder (it has no {file.name}); train one with `textforge train`")
    settings = read_json(file)
    _require(file, settings, {"method": str, "preset": str, "data": str, "seed": int, "config": dict})
    try:
        Options.of(settings)
        stored_config(settings)
    except CallError as error:
        raise UserError(f"{file}: {error}; restore it, or train again") from None
    if isinstance(methods.find(settings["method"]), methods.Method):
        _require(file, settings, {"max_length": int})
    return settings


def _require(file: Path, settings: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for name, kind in kinds.items():
        if not isinstance(settings.get(name), kind):
            raise UserError(f"{file} should have a value '{name}' of type {kind.__name__}; restore it, or train again")


def stored_config(settings: Mapping[str, Any]) -> Any:
    """Rebuild the method's config from settings that were read from JSON."""
    fields = {name: from_json(value) for name, value in settings["config"].items()}
    return methods.configure(settings["method"], settings["preset"], fields)


def as_json(value: object) -> bytes:
    """Write a value as a line of JSON."""
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises UserError for a file that is missing or holds none."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no {path}; the folder is incomplete, restore it or train again") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); restore it, or train again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object; restore it, or train again")
    return value
