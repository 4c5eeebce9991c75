"""A trained generator and what can be done with it; how it is saved and loaded."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from textforge import exporting, methods
from textforge.constraints import Constraint, constrain, length, log_weights
from textforge.decoding import Decoded, Generator, evaluating, infill, require_temperature, sample, score
from textforge.detector import Detector
from textforge.detector import load as load_detector
from textforge.errors import CallError, UserError, WorkError
from textforge.evaluation import Drawn, draw_texts, spelled, text_log_prob
from textforge.options import PLAIN, Decode, Options, Strategy, from_json
from textforge.point_model import PointModel as PointModel
from textforge.resampling import resample
from textforge.run import derive, load_checkpoint, open_folder, save_checkpoint, write_atomic
from textforge.strategies import decode_by
from textforge.task import load_world
from textforge.text import Corpus, Tab, Tokenizer, encode, from_dict
from textforge.text.items import SEPARATOR, Text, as_text, require_many, restored


@dataclass(frozen=True, eq=False)
class Model:
    """A trained generator with its tokenizer and, where the method has one, its discriminator."""

    settings: Mapping[str, Any]
    """What config.json of its run holds: method, preset, data, seed, and every field of the method's config."""
    tokenizer: Tokenizer
    networks: Mapping[str, nn.Module]
    folder: Path | None = None
    """Where it was loaded from."""
    notes: tuple[str, ...] = ()
    """What `fit` chose or left out on the way, in words; of a loaded model none."""
    checkpoint: str = "last"
    """Which state of its run it is."""

    @property
    def generator(self) -> Generator:
        """The generator; a module in evaluation mode."""
        generator = self.networks["generator"]
        assert isinstance(generator, Generator)
        return generator

    def sample(
        self, num: int, *, temperature: float = 1.0, seed: int | None = None, decode: Decode = "ancestral"
    ) -> list[Any]:
        """Draw texts, or lists of symbols where the model learned such, in which an unknown integer is None.

        The same seed gives the same texts; without one they differ from call to call.
        """
        drawn = self.draw(num, temperature=temperature, seed=seed, strategy=Strategy(decode))
        return [self._as_given(text) for text in drawn.texts]

    def _as_given(self, text: str) -> Any:
        """Return a text in the form in which `fit` was given texts."""
        tokenizer = self.tokenizer
        if not isinstance(tokenizer, Tab) or tokenizer.kind == "texts":
            return text
        return restored(tokenizer.split(text), tokenizer.kind)

    def _spelled(self, item: Text) -> str:
        """Return a text, or a list of symbols, as the tokenizer reads it."""
        text, kind = as_text(item)
        if kind != "texts" and not isinstance(self.tokenizer, Tab):
            raise UserError(f"{item!r:.40} is a list, and this model learned texts; give a string")
        return text

    def draw(
        self,
        num: int,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
        strategy: Strategy = PLAIN,
        constraint: Constraint | None = None,
        prompt: str = "",
    ) -> Drawn:
        """Draw texts as `sample` does, with the log-probabilities that the model gives them at this temperature.

        All begin with the prompt and satisfy the constraint. Of `strategy.candidates` texts that do, one is kept with
        the odds that make it a draw from the model itself, given the constraint (`constraints.log_weights`); other
        strategies than ancestral and a generator driven by noise go without. Raises UserError where no text satisfies
        it, and for a strategy that needs a detector where the run has none.
        """
        require_temperature(temperature)
        generator = self.generator
        if generator.noise_dim and prompt:
            raise UserError(f"a {self.settings['method']} model writes whole texts from noise and continues none")
        if constraint is not None or prompt:
            ids = self._known(prompt)
            generator = constrain(generator, constraint or length(self.tokenizer.vocabulary), ids)
        detector = self.detector() if strategy.judged else None
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "sample")) if seed is not None else torch.seed()
            plain = strategy.decode == "ancestral"
            if num < 1 or (plain and generator is self.generator):
                return draw_texts(generator, self.tokenizer, num, temperature=temperature)
            if not plain:
                decoded = decode_by(strategy, generator, num, detector=detector, temperature=temperature)
            elif constraint is None or generator.noise_dim:
                decoded = sample(generator, num, temperature=temperature)
            else:
                decoded = resample(
                    partial(sample, generator, temperature=temperature),
                    partial(log_weights, self.generator, generator, temperature=temperature),
                    num,
                    candidates=strategy.candidates,
                )
            if not generator.noise_dim:
                decoded = score(self.generator, decoded.tokens, temperature=temperature)
            return spelled(decoded, generator, self.tokenizer)

    def detector(self) -> Detector:
        """Load the detector that `textforge detector` trained against this model; raises UserError where none is."""
        if self.folder is None:
            raise UserError("a detector lies in the folder of a run; train with out=, and load the model from there")
        return load_detector(self.folder, self.generator, self.tokenizer.vocabulary, self.checkpoint)

    def log_prob(self, texts: Sequence[Text]) -> Float[np.ndarray, "N"]:
        """Return the log-probability of each text in nats, its end included. Unknown symbols are scored as `unk`.

        Whatever `sample` returns can be scored, but for the empty text.
        """
        return text_log_prob(self.generator, self._encoded(texts)) if len(texts) else np.empty(0)

    def num_tokens(self, texts: Sequence[Text]) -> list[int]:
        """Return the length of each text in tokens, its end included: what to divide `log_prob` by."""
        return self._encoded(texts).lengths.clip(max=self.generator.max_length).tolist() if len(texts) else []

    def discriminate(self, texts: Sequence[Text]) -> Float[np.ndarray, "N"]:
        """Return the probability of being real that the discriminator gives to each text.

        One that judges every position gives the mean over the tokens of the text.
        Raises UserError where the method has no discriminator, or the checkpoint was loaded without it.
        """
        if "discriminator" not in self.networks:
            raise UserError(f"this {self.settings['method']} model has no discriminator; train a method that has one")
        if not texts:
            return np.empty(0)
        discriminator, parts = self.networks["discriminator"], []
        with evaluating(discriminator):
            for tokens in self._batches(texts):
                opinion = discriminator(tokens).logits.sigmoid()
                if opinion.dim() == 2:  # one a position
                    real = tokens != self.tokenizer.vocabulary.pad
                    opinion = (opinion * real).sum(1) / real.sum(1)
                parts.append(opinion)
        return torch.cat(parts).double().numpy()

    def p_real(self, texts: Sequence[Text], detector: Detector | None = None) -> Float[np.ndarray, "N"]:
        """Return the detector's probability of each text being real, where half of all texts are."""
        if not texts:
            return np.empty(0)
        logits = (detector or self.detector()).logits
        return torch.cat([logits(tokens).sigmoid() for tokens in self._batches(texts)]).double().cpu().numpy()

    def infill(
        self,
        text: str | Sequence[object],
        num: int = 1,
        *,
        blank: str = "___",
        temperature: float = 1.0,
        seed: int | None = None,
    ) -> list[Any]:
        """Fill the blanks of a text, `num` times; each is one known token, and all that stands between them stays.

        Raises UserError for a text without a blank or with symbols that the model does not know, and for a model that
        cannot fill blanks because noise drives it.
        """
        filled = self.fill(text, num, blank=blank, temperature=temperature, seed=seed)
        return [self._as_given(self.tokenizer.decode(tokens)) for tokens in filled.tokens.tolist()]

    def fill(
        self,
        text: str | Sequence[object],
        num: int = 1,
        *,
        blank: str = "___",
        temperature: float = 1.0,
        seed: int | None = None,
    ) -> Decoded:
        """Fill blanks as `infill` does; return ids, with the log-probability of each token at this temperature."""
        require_temperature(temperature)
        if num < 1:
            raise CallError(f"{num} fillings cannot be drawn; ask for 1 or more")
        if self.generator.noise_dim:
            raise UserError(f"a {self.settings['method']} model writes whole texts from noise and cannot fill blanks")
        if not isinstance(text, str):
            text = SEPARATOR.join(map(str, text))
        if not blank or blank not in text:
            raise UserError(f"{text!r} has no blank {blank!r}; write one for each token to be filled in")
        vocabulary = self.tokenizer.vocabulary
        row: list[int] = []
        for i, part in enumerate(text.split(blank)):
            row += [vocabulary.mask] * (i > 0) + self._known(part)
        limit = self.generator.max_length
        if len(row) > limit:
            raise UserError(f"the text has {len(row)} tokens and the model at most {limit}; shorten it")
        if vocabulary.eos is not None and len(row) < limit:
            row.append(vocabulary.eos)
        row += [vocabulary.pad] * (limit - len(row))
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "infill")) if seed is not None else torch.seed()
            rows = torch.tensor(row).repeat(num, 1)
            filled = infill(constrain(self.generator, length(vocabulary), row), rows, temperature=temperature)
            return score(self.generator, filled.tokens, temperature=temperature, context=rows)

    def _known(self, text: str) -> list[int]:
        """Encode what stands around blanks, in which an unknown symbol would be lost."""
        ids, unk = self.tokenizer.encode(text), self.tokenizer.vocabulary.unk
        if unk in ids:
            unknown = (s for s, id_ in zip(self.tokenizer.split(text), ids, strict=True) if id_ == unk)
            named = ", ".join(dict.fromkeys(map(repr, unknown)))
            raise UserError(f"the model does not know {named} of {text!r}; write what stands in the training text")
        return ids

    def save(self, folder: str | Path) -> Path:
        """Write what `load` needs into a new folder."""
        folder = Path(folder)
        require_new(folder)
        open_folder(folder, self.settings, resume=False)
        write_atomic(folder / "vocabulary.json", as_json(self.tokenizer.to_dict()))
        state = {"modules": {name: network.state_dict() for name, network in self.networks.items()}}
        save_checkpoint(folder / "checkpoints", "last", 0, state)
        return folder

    def export(self, folder: str | Path) -> Path:
        """Write a new folder in the form of the Hugging Face Hub, with the card of the model; `load` reads it anywhere.

        Of the networks only the generator goes along. The card has the results of the run, where there is one.
        """
        files = exporting.files(
            self.settings,
            self.tokenizer,
            self.generator,
            checkpoint=self.checkpoint,
            run=self.folder,
            samples=self.draw(5, seed=0).texts,
        )
        exporting.write_folder(Path(folder), files)
        return Path(folder)

    def export_onnx(self, folder: str | Path) -> Path:
        """Write a new folder with one decoding step of the generator as ONNX, and what a program needs to use it.

        Raises UserError where the libraries of `textforge[onnx]` are absent.
        """
        files = exporting.onnx_files(self.generator, self.tokenizer, method=self.settings["method"])
        exporting.write_folder(Path(folder), files)
        return Path(folder)

    def _batches(self, texts: Sequence[Text]) -> Iterator[Int[Tensor, "B T"]]:
        """Yield the texts as padded ids, as wide as the generator writes: an `eos` beyond is not read."""
        corpus, width = self._encoded(texts), self.generator.max_length
        for rows in np.array_split(np.arange(len(corpus)), -(-len(corpus) // 256)):
            yield corpus.batch(rows, width + 1).tokens[:, :width]

    def _encoded(self, texts: Sequence[Text]) -> Corpus:
        require_many(texts)
        corpus, counts = encode(map(self._spelled, texts), self.tokenizer, max_length=None)
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


def require_new(folder: Path) -> None:
    """Refuse a folder that holds a run or a model, in words for programs, which cannot resume it."""
    if (folder / "config.json").exists():
        raise UserError(f"{folder} already holds a model; read it with textforge.load, or give another folder")


def load_text_model(folder: str | Path, checkpoint: str = "last") -> Model:
    """Load a model as `load` does; raises UserError for one of points."""
    model = load(folder, checkpoint)
    if isinstance(model, PointModel):
        raise UserError(f"{folder} holds a {model.settings['method']} model, which draws points and reads no text")
    return model


def load(folder: str | Path, checkpoint: str = "last") -> Model | PointModel:
    """Load a model from a run folder, or from where `save` or `export` wrote it.

    `checkpoint` is "last", "best" (the generator at its lowest held-out NLL) or the name of a phase (the generator as
    it was at its end). Raises UserError for a folder that holds no run or none that has saved, and for a damaged
    export; WorkError for damaged files of a run.
    """
    folder = Path(folder)
    settings = read_settings(folder / "config.json")
    config = stored_config(settings)
    method = methods.find(settings["method"])
    if isinstance(method, methods.WorldMethod):
        world = load_world(Options.of(settings)).world
        return PointModel(settings, world, _restored(method.players(config, world), folder, checkpoint))
    if exporting.is_export(settings):
        return _exported(folder, settings, method, config, checkpoint)
    tokenizer = from_dict(_read_json(folder / "vocabulary.json"))
    networks = method.networks(config, tokenizer.vocabulary, settings["max_length"])
    return Model(settings, tokenizer, _restored(networks, folder, checkpoint), folder, checkpoint=checkpoint)


def _exported(folder: Path, settings: Mapping[str, Any], method: methods.Method, config: Any, checkpoint: str) -> Model:
    """Load what `Model.export` wrote."""
    if checkpoint != "last":
        raise UserError(f"{folder} was exported and holds one state of a model; leave out --checkpoint {checkpoint}")
    found = exporting.read(folder, settings)
    networks = method.networks(config, found.tokenizer.vocabulary, settings["max_length"])
    generator = networks["generator"].eval()
    try:
        generator.load_state_dict(found.weights)
    except RuntimeError:
        raise UserError(f"the weights in {folder} do not fit its config.json; copy the folder again") from None
    return Model(found.settings, found.tokenizer, {"generator": generator}, folder, checkpoint=found.checkpoint)


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
    fields = {name: from_json(value) for name, value in settings["config"].items()}
    return methods.configure(settings["method"], settings["preset"], fields)


def fingerprint(corpus: Corpus) -> str:
    """Return a short hash of the encoded sequences, by which a resumed run notices that its data has changed."""
    digest = hashlib.sha256(corpus.offsets.tobytes())
    digest.update(corpus.flat.tobytes())
    return digest.hexdigest()[:16]


def as_json(value: object) -> bytes:
    """Write a value as a line of JSON."""
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
