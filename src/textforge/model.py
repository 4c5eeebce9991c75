"""Train a generator and use it: the interface for programs, and what the command line is made of."""

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from torch import nn

import textforge
from textforge import methods
from textforge.decoding import Generator, evaluating, infill
from textforge.errors import CallError, UserError, WorkError
from textforge.evaluation import Drawn, Watch, draw_texts, text_log_prob
from textforge.options import Options
from textforge.point_model import PointModel as PointModel
from textforge.run import OnCollapse, Run, derive, load_checkpoint, open_folder, save_checkpoint, write_atomic
from textforge.run.device import connect
from textforge.task import Task, WorldTask, load_world, task_from_texts
from textforge.text import Corpus, Texts, Tokenizer, encode, from_dict


@dataclass(frozen=True, eq=False)
class Model:
    """A trained generator with its tokenizer and, where the method has one, its discriminator."""

    settings: Mapping[str, Any]
    """What config.json of its run holds: method, preset, data, seed, and every field of the method's config."""
    tokenizer: Tokenizer
    networks: Mapping[str, nn.Module]

    @property
    def generator(self) -> Generator:
        """The generator; a module in evaluation mode."""
        generator = self.networks["generator"]
        assert isinstance(generator, Generator)
        return generator

    def sample(self, num: int, *, temperature: float = 1.0, seed: int | None = None) -> list[str]:
        """Draw texts. The same seed gives the same texts; without one they differ from call to call."""
        return self.draw(num, temperature=temperature, seed=seed).texts

    def draw(self, num: int, *, temperature: float = 1.0, seed: int | None = None) -> Drawn:
        """Draw texts as `sample` does, with their log-probabilities at this temperature and their lengths."""
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "sample")) if seed is not None else torch.seed()
            return draw_texts(self.generator, self.tokenizer, num, temperature=temperature)

    def log_prob(self, texts: Sequence[str]) -> Float[np.ndarray, "N"]:
        """Return the log-probability of each text in nats, its end included. Unknown symbols are scored as `unk`.

        Whatever `sample` returns can be scored, but for the empty text.
        """
        return text_log_prob(self.generator, self._encoded(texts)) if len(texts) else np.empty(0)

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the length of each text in tokens, its end included: what to divide `log_prob` by."""
        return self._encoded(texts).lengths.clip(max=self.generator.max_length).tolist() if len(texts) else []

    def discriminate(self, texts: Sequence[str]) -> Float[np.ndarray, "N"]:
        """Return the probability of being real that the discriminator gives to each text.

        One that judges every position gives the mean over the tokens of the text.
        Raises UserError where the method has no discriminator, or the checkpoint was loaded without it.
        """
        if "discriminator" not in self.networks:
            raise UserError(f"this {self.settings['method']} model has no discriminator; train a method that has one")
        if not texts:
            return np.empty(0)
        discriminator, corpus = self.networks["discriminator"], self._encoded(texts)
        width = self.generator.max_length
        parts = []
        with evaluating(discriminator):
            for rows in np.array_split(np.arange(len(corpus)), -(-len(corpus) // 256)):
                tokens = corpus.batch(rows, width + 1).tokens
                tokens = tokens[:, :width]
                opinion = discriminator(tokens).logits.sigmoid()
                if opinion.dim() == 2:  # one a position
                    real = tokens != corpus.vocabulary.pad
                    opinion = (opinion * real).sum(1) / real.sum(1)
                parts.append(opinion)
        return torch.cat(parts).double().numpy()

    def infill(
        self, text: str, num: int = 1, *, blank: str = "___", temperature: float = 1.0, seed: int | None = None
    ) -> list[str]:
        """Fill the blanks of a text, `num` times; each is one token, and all that stands between them stays.

        Raises UserError for a text without a blank or with symbols that the model does not know, and for a model that
        cannot fill blanks because noise drives it.
        """
        if num < 1:
            raise CallError(f"{num} fillings cannot be drawn; ask for 1 or more")
        if self.generator.noise_dim:
            raise UserError(f"a {self.settings['method']} model writes whole texts from noise and cannot fill blanks")
        if not blank or blank not in text:
            raise UserError(f"{text!r} has no blank {blank!r}; write one for each token to be filled in")
        vocabulary = self.tokenizer.vocabulary
        row: list[int] = []
        for i, part in enumerate(text.split(blank)):
            row += [vocabulary.mask] * (i > 0) + (self._known(part) if part.strip() else [])
        limit = self.generator.max_length
        if len(row) > limit:
            raise UserError(f"the text has {len(row)} tokens and the model at most {limit}; shorten it")
        if vocabulary.eos is not None and len(row) < limit:
            row.append(vocabulary.eos)
        row += [vocabulary.pad] * (limit - len(row))
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "infill")) if seed is not None else torch.seed()
            filled = infill(self.generator, torch.tensor(row).repeat(num, 1), temperature=temperature)
        return [self.tokenizer.decode(tokens) for tokens in filled.tokens.tolist()]

    def _known(self, text: str) -> list[int]:
        """Encode what stands around blanks, in which an unknown symbol would be lost."""
        ids = self.tokenizer.encode(text)
        if self.tokenizer.vocabulary.unk in ids:
            raise UserError(f"{text.strip()!r} holds symbols that the training text has not; replace them")
        return ids

    def save(self, folder: str | Path) -> Path:
        """Write what `load` needs into a new folder."""
        folder = open_folder(Path(folder), self.settings, resume=False)
        write_atomic(folder / "vocabulary.json", _json(self.tokenizer.to_dict()))
        state = {"modules": {name: network.state_dict() for name, network in self.networks.items()}}
        save_checkpoint(folder / "checkpoints", "last", 0, state)
        return folder

    def _encoded(self, texts: Sequence[str]) -> Corpus:
        _require_many(texts)
        corpus, counts = encode(texts, self.tokenizer, max_length=None)
        if counts.empty:
            raise UserError("an empty text cannot be scored; leave out texts without a token")
        # A text of `max_length` symbols has no room for its `eos`, and needs none.
        ends = self.tokenizer.vocabulary.eos is not None
        limit = self.generator.max_length
        if counts.longest > limit + ends:
            at = int(corpus.lengths.argmax())
            longest = counts.longest - ends
            raise UserError(f"text {at + 1} has {longest} tokens and the model at most {limit}; shorten it")
        return corpus


def _require_many(texts: Iterable[str]) -> None:
    """Refuse a single string, which would be taken for the texts of its characters."""
    if isinstance(texts, str):
        raise UserError(f"texts must be a list of strings, not the string {texts[:40]!r}; a file is given as data=")


@overload
def fit(texts: Iterable[str], **settings: Any) -> Model: ...
@overload
def fit(*, data: str | Path, **settings: Any) -> Model | PointModel: ...
def fit(
    texts: Iterable[str] | None = None,
    *,
    method: str = "seqgan",
    preset: str = "small",
    data: str | Path | None = None,
    valid: str | Path | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    tokenizer: Literal["auto", "word", "char", "bpe"] = "auto",
    max_length: int | None = None,
    min_count: int = 1,
    vocab_size: int | None = None,
    on_collapse: OnCollapse = "warn",
    **fields: Any,
) -> Model | PointModel:
    """Train a method on texts, or on `data` as the command line takes it, and return the model.

    `data` may also name a world of points, for a method that learns one: then the model is a `PointModel`. `fields`
    replace fields of the preset. With `out` the run is kept in that folder; without, in a temporary one that is
    removed. Raises UserError for unusable input and WorkError where training fails; `on_collapse="stop"` makes that a
    generator that collapses, too.
    """
    if (texts is None) == (data is None):
        raise UserError("give either texts or data to learn from, and not both")
    config = methods.configure(method, preset, fields)
    options = Options.of(
        {
            "data": "<texts>" if data is None else str(data),
            "valid": None if valid is None else str(valid),
            "preset": preset,
            "seed": seed,
            "device": device,
            "tokenizer": tokenizer,
            "max_length": max_length,
            "min_count": min_count,
            "vocab_size": vocab_size,
            "on_collapse": on_collapse,
        }
    ).anchored()
    if texts is None:
        task = methods.load_data(method, options)
    else:
        if isinstance(methods.find(method), methods.WorldMethod):
            raise UserError(f"{method} learns worlds of points, not texts; name one: data='temperatures'")
        if valid is not None:
            raise UserError("held-out text goes with data; texts alone give up 5 % of their lines for it")
        _require_many(texts)
        lines = [text for text in texts if text.strip()]
        task = task_from_texts(Texts("texts", lines), options)
    if out is not None:
        return train(method, options, config, task, Path(out))
    with tempfile.TemporaryDirectory() as folder:
        return train(method, options, config, task, Path(folder) / "run")


def train(
    method: str,
    options: Options,
    config: Any,
    task: Task | WorldTask,
    folder: Path,
    *,
    resume: bool = False,
    console: Console | None = None,
) -> Model | PointModel:
    """Train in a run folder, and return the model as it stands at the end; without a console nothing is shown."""
    connect(options.device)  # refuses a device that is not there before anything is written
    if resume and (folder / "checkpoints").exists() and not (folder / "metrics.jsonl").exists():
        raise UserError(f"{folder} holds a saved model and no run that could go on; train in another folder")
    module = methods.find(method)
    settings: dict[str, Any] = {"textforge": textforge.__version__, "method": method, **dataclasses.asdict(options)}
    del settings["device"]  # a run may go on elsewhere
    if isinstance(task, Task):
        settings |= {"max_length": task.max_length, "corpus": fingerprint(task.train)}
    else:
        settings = {name: settings[name] for name in ("textforge", "method", "data", "preset", "seed")}
    absent = {"on_collapse": Options.on_collapse} if "on_collapse" in settings else {}
    open_folder(folder, settings | {"config": vars(config)}, resume=resume, absent=absent)
    if isinstance(task, Task):
        write_atomic(folder / "vocabulary.json", _json(task.tokenizer.to_dict()))
    with Run(
        folder,
        seed=options.seed,
        device=options.device,
        resume=resume,
        evaluate=Watch(task) if isinstance(task, Task) else None,
        console=console or Console(quiet=True),
        on_collapse=options.on_collapse,
    ) as run:
        match task:
            case Task():
                assert isinstance(module, methods.Method), f"{method} learns no texts"
                module.train(config, task, run)
            case WorldTask():
                assert isinstance(module, methods.WorldMethod), f"{method} learns no worlds"
                module.train(config, task, run)
    return load(folder)


def load_text_model(folder: str | Path, checkpoint: str = "last") -> Model:
    """Load a model as `load` does; raises UserError for one of points."""
    model = load(folder, checkpoint)
    if isinstance(model, PointModel):
        raise UserError(f"{folder} holds a {model.settings['method']} model, which draws points and reads no text")
    return model


def load(folder: str | Path, checkpoint: str = "last") -> Model | PointModel:
    """Load a model from a run folder, or from where `save` wrote it.

    `checkpoint` is "last", "best" (the generator at its lowest held-out NLL) or the name of a phase (the generator as
    it was at its end). Raises UserError for a folder that holds no run or none that has saved, and WorkError for
    damaged files.
    """
    folder = Path(folder)
    settings = read_settings(folder / "config.json")
    config = stored_config(settings)
    method = methods.find(settings["method"])
    if isinstance(method, methods.WorldMethod):
        world = load_world(Options.of(settings)).world
        return PointModel(settings, world, _restored(method.players(config, world), folder, checkpoint))
    tokenizer = from_dict(_read_json(folder / "vocabulary.json"))
    networks = method.networks(config, tokenizer.vocabulary, settings["max_length"])
    return Model(settings, tokenizer, _restored(networks, folder, checkpoint))


def _restored(networks: Mapping[str, nn.Module], folder: Path, checkpoint: str) -> dict[str, nn.Module]:
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
    settings = _read_json(file)
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
    fields = {name: _tuples(value) for name, value in settings["config"].items()}
    return methods.configure(settings["method"], settings["preset"], fields)


def fingerprint(corpus: Corpus) -> str:
    """Return a short hash of the encoded sequences, by which a resumed run notices that its data has changed."""
    digest = hashlib.sha256(corpus.offsets.tobytes())
    digest.update(corpus.flat.tobytes())
    return digest.hexdigest()[:16]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no {path}; the folder is incomplete, restore it or train again") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); restore it, or train again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object; restore it, or train again")
    return value
