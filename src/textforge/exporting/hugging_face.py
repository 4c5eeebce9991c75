"""The folder in the form of the Hugging Face Hub: config.json, model.safetensors, tokenizer.json, README.md.

config.json is that of the run, with the names by which the Hub knows a model, the ids of the special tokens, and the
checksums of the two other files. The weights are the generator's alone.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from textforge.decoding import Generator
from textforge.errors import UserError
from textforge.exporting.card import card
from textforge.text import Tokenizer
from textforge.text.tokenizer_json import SPECIAL_IDS, from_json, kind_of, special_ids, to_json

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
MODEL_TYPE = "textforge"
_OWN = ("model_type", "architectures", "checkpoint", "symbols", "sha256", *SPECIAL_IDS)
"""What config.json has besides the settings of the run."""


@dataclass(frozen=True)
class Exported:
    """What an exported folder holds: settings as of a run, which of its states it is, tokenizer, weights."""

    settings: Mapping[str, Any]
    checkpoint: str
    tokenizer: Tokenizer
    weights: Mapping[str, Tensor]


def files(
    settings: Mapping[str, Any],
    tokenizer: Tokenizer,
    generator: Generator,
    *,
    checkpoint: str,
    run: Path | None,
    samples: Sequence[str],
) -> dict[str, bytes]:
    """Return what stands in the folder, by name; of paths in the settings only the last part goes along."""
    assert isinstance(generator, nn.Module)
    state = generator.state_dict()
    weights = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    content = {
        WEIGHTS: safetensors.torch.save(weights, metadata={"format": "pt"}),
        TOKENIZER: to_json(tokenizer).encode() + b"\n",
    }
    own = {**settings["config"]}
    shared = {**settings, "config": own}
    shared |= {name: _last_part(settings[name]) for name in ("data", "labels", "valid") if name in settings}
    if "tokenizer" in settings:
        shared["tokenizer"] = _without_folders(settings["tokenizer"])
    if "pretrained" in own:
        own["pretrained"] = _without_folders(own["pretrained"])
    if "objective_weight" in own:  # of other methods, `objective` is the form of a loss
        own["objective"] = _last_part(own["objective"])
    config = {
        "model_type": MODEL_TYPE,
        "architectures": [type(generator).__name__],
        "checkpoint": checkpoint,
        "symbols": kind_of(tokenizer),
        **special_ids(tokenizer.vocabulary),
        **shared,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
    }
    about = card(shared, tokenizer, generator, checkpoint=checkpoint, run=run, samples=samples)
    return {
        "config.json": json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n",
        **content,
        "README.md": about.encode(),
    }


def _last_part(data: str | None) -> str | None:
    """Leave out the folders of a path: they are their owner's affair."""
    return None if data is None else PurePath(data).name or data


def _without_folders(name: str | None) -> str | None:
    """Return the last part of a path, which is in full where there is one; a name of the Hub, OWNER/NAME, stays."""
    return _last_part(name) if name is not None and PurePath(name).is_absolute() else name


def is_export(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of an exported folder."""
    return config.get("model_type") == MODEL_TYPE


def read(folder: Path, config: Mapping[str, Any]) -> Exported:
    """Read the folder with this config.json; raises UserError that names the file that is missing or damaged."""
    try:
        sums = {name: str(config["sha256"][name]) for name in (WEIGHTS, TOKENIZER)}
        checkpoint, kind = str(config["checkpoint"]), dict(config["symbols"])
        ids = {name: config[name] for name in SPECIAL_IDS}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'} lacks what an export has in it ({error}); copy it again") from None
    data = {name: _checked(folder / name, known) for name, known in sums.items()}
    try:
        tokenizer = from_json(data[TOKENIZER].decode(), kind, ids)
        weights = safetensors.torch.load(data[WEIGHTS])
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"the files of {folder} do not fit its config.json ({error}); copy them again") from None
    settings = {name: value for name, value in config.items() if name not in _OWN}
    return Exported(settings, checkpoint, tokenizer, weights)


def _checked(path: Path, known: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); copy the folder again, whole") from None
    if hashlib.sha256(data).hexdigest() != known:
        raise UserError(f"{path} is damaged: its checksum is not that in config.json; copy it again")
    return data
