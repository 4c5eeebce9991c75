"""A trained generator and what can be done with it; how it is saved and loaded."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from textforge import conditions, exporting, methods
from textforge.constraints import Constraint, constrain, length, log_weights
from textforge.decoding import Decoded, Generator, evaluating, infill, require_temperature, sample, score
from textforge.detector import Detector
from textforge.detector import load as load_detector
from textforge.errors import CallError, UserError
from textforge.evaluation import Drawn, draw_texts, joint_log_prob, spelled, text_log_prob
from textforge.options import PLAIN, Decode, Options, Strategy
from textforge.point_model import PointModel as PointModel
from textforge.resampling import resample
from textforge.run import derive, open_folder, save_checkpoint, write_atomic
from textforge.stored import as_json as as_json
from textforge.stored import read_json, restored
from textforge.stored import read_settings as read_settings
from textforge.stored import require_new as require_new
from textforge.stored import stored_config as stored_config
from textforge.strategies import decode_by
from textforge.task import load_world
from textforge.text import Corpus, Labelled, LabelledTexts, Tab, Tokenizer, as_given, encode, from_dict, plain
from textforge.text.items import SEPARATOR, Text, as_text, require_many
from textforge.text.labels import as_labels


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

    @cached_property
    def generator(self) -> Generator:
        """The generator; a module in evaluation mode. Where texts have labels it writes one, and then a text."""
        return conditions.paired(self._network)

    @property
    def _network(self) -> Generator:
        generator = self.networks["generator"]
        assert isinstance(generator, Generator)
        return generator

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that texts have; none for most models."""
        return self.tokenizer.labels if isinstance(self.tokenizer, Labelled) else ()

    def sample(
        self,
        num: int,
        *,
        label: object = None,
        temperature: float = 1.0,
        seed: int | None = None,
        decode: Decode = "ancestral",
    ) -> list[Any]:
        """Draw texts, or lists of symbols where the model learned such, in which an unknown integer is None.

        They have the label, where one is given, and otherwise such as the model draws, which `draw` tells. The same
        seed gives the same texts; without one they differ from call to call.
        """
        drawn = self.draw(num, label=label, temperature=temperature, seed=seed, strategy=Strategy(decode))
        return [as_given(text, self.tokenizer) for text in drawn.texts]

    def _spelled(self, item: Text) -> str:
        """Return a text, or a list of symbols, as the tokenizer reads it."""
        text, kind = as_text(item)
        if kind != "texts" and not isinstance(plain(self.tokenizer), Tab):
            raise UserError(f"{item!r:.40} is a list, and this model learned texts; give a string")
        return text

    def draw(
        self,
        num: int,
        *,
        label: object = None,
        temperature: float = 1.0,
        seed: int | None = None,
        strategy: Strategy = PLAIN,
        constraint: Constraint | None = None,
        prompt: str = "",
    ) -> Drawn:
        """Draw texts as `sample` does, with the log-probabilities that the model gives them at this temperature.

        All have the label, begin with the prompt and satisfy the constraint. Of `strategy.candidates` texts that do,
        one is kept with the odds that make it a draw from the model itself, given the constraint
        (`constraints.log_weights`); other strategies than ancestral and a generator driven by noise go without. The
        latter is asked until it gives the label. Raises UserError where no text satisfies all this, and for a strategy
        that needs a detector where the run has none; WorkError where noise hardly ever gives the label.
        """
        require_temperature(temperature)
        slot = self._slot(label)
        generator = own = self.generator if label is None else conditions.paired(self._network, *slot)
        waits = label is not None and generator.noise_dim > 0
        if generator.noise_dim and prompt:
            raise UserError(f"a {self.settings['method']} model writes whole texts from noise and continues none")
        if constraint is not None or prompt:
            ids = [*self._slot(None if waits else label), *self._known(prompt)]
            generator = constrain(generator, constraint or length(self.tokenizer.vocabulary), ids)
        detector = self.detector() if strategy.judged else None
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "sample")) if seed is not None else torch.seed()
            ancestral = strategy.decode == "ancestral"
            if num < 1 or (ancestral and generator is own and not waits):
                return draw_texts(generator, self.tokenizer, num, temperature=temperature)
            if waits and not ancestral:
                raise UserError(f"noise drives this model, and {strategy.decode} waits for no label; leave it out")
            if waits:
                decoded = conditions.until(partial(sample, generator, temperature=temperature), slot[0], num)
            elif not ancestral:
                decoded = decode_by(strategy, generator, num, detector=detector, temperature=temperature)
            elif constraint is None or generator.noise_dim:
                decoded = sample(generator, num, temperature=temperature)
            else:
                decoded = resample(
                    partial(sample, generator, temperature=temperature),
                    partial(log_weights, own, generator, temperature=temperature),
                    num,
                    candidates=strategy.candidates,
                )
            if not generator.noise_dim:
                decoded = score(own, decoded.tokens, temperature=temperature)
            return spelled(decoded, generator, self.tokenizer)

    def _slot(self, label: object) -> list[int]:
        """Return what stands in front of a text: the id of its label, `mask` for any, nothing where there are none."""
        if isinstance(self.tokenizer, Labelled):
            return [self.tokenizer.vocabulary.mask if label is None else self.tokenizer.label_id(label)]
        if label is not None:
            raise CallError(f"this model has learned no labels, so none can be {label!r}; train one with labels")
        return []

    def detector(self) -> Detector:
        """Load the detector that `textforge detector` trained against this model; raises UserError where none is."""
        if self.folder is None:
            raise UserError("a detector lies in the folder of a run; train with out=, and load the model from there")
        return load_detector(self.folder, self.generator, self.tokenizer.vocabulary, self.checkpoint)

    def log_prob(self, texts: Sequence[Text], labels: Collection[object] | None = None) -> Float[np.ndarray, "N"]:
        """Return the log-probability of each text in nats, its end included. Unknown symbols are scored as `unk`.

        With labels, one a text, it is that of the text given its label; without, of a model that has labels, the exact
        sum over all of them. Whatever `sample` returns can be scored, but for the empty text.
        """
        if not len(texts):
            return np.empty(0)
        found = text_log_prob(self.generator, corpus := self._encoded(texts, labels))
        if labels is not None:
            first = corpus.flat[corpus.offsets[:-1]] - corpus.vocabulary.labels.start
            found -= conditions.prior(self.generator).double().cpu().numpy()[first]
        return found

    def label_probs(self, texts: Sequence[Text]) -> Float[np.ndarray, "N K"]:
        """Return p(label | text) of each text, in the order of `labels`: Bayes' rule makes the generator a classifier.

        Raises CallError for a model without labels, and UserError for one driven by noise, which has no likelihood.
        """
        if not self.labels:
            raise CallError("this model has learned no labels to choose between; train one with labels")
        if not len(texts):
            return np.empty((0, len(self.labels)))
        found = torch.from_numpy(joint_log_prob(self.generator, self._encoded(texts)))
        return found.softmax(1).numpy()

    def num_tokens(self, texts: Sequence[Text]) -> list[int]:
        """Return the length of each text in tokens, its end included: what to divide `log_prob` by."""
        room = self.generator.max_length - bool(self.labels)
        return self._encoded(texts).lengths.clip(max=room).tolist() if len(texts) else []

    def discriminate(self, texts: Sequence[Text], labels: Collection[object] | None = None) -> Float[np.ndarray, "N"]:
        """Return the probability of being real that the discriminator gives to each text, or to text and label.

        One that judges every position gives the mean over the tokens of the text. Without labels, a model that has some
        judges the text alone: `conditions.judged` says how. Raises UserError where the method has no discriminator, or
        the checkpoint was loaded without it.
        """
        if "discriminator" not in self.networks:
            raise UserError(f"this {self.settings['method']} model has no discriminator; train a method that has one")
        discriminator, pad = self.networks["discriminator"], self.tokenizer.vocabulary.pad
        with evaluating(discriminator):
            return self._judged(lambda tokens: discriminator(tokens).whole(tokens != pad), texts, labels)

    def p_real(
        self, texts: Sequence[Text], detector: Detector | None = None, labels: Collection[object] | None = None
    ) -> Float[np.ndarray, "N"]:
        """Return the detector's probability of each text, or of text and label, being real, where half of all are."""
        if not len(texts):
            return np.empty(0)
        detector = detector or self.detector()
        return self._judged(detector.logits, texts, labels, detector.temperature)

    def _judged(
        self,
        judge: Callable[[Int[Tensor, "B T"]], Float[Tensor, " B"]],
        texts: Sequence[Text],
        labels: Collection[object] | None,
        temperature: float = 1.0,
    ) -> Float[np.ndarray, "N"]:
        """Return the probabilities of being real by logits of whole sequences, of those drawn at this temperature."""
        if not len(texts):
            return np.empty(0)
        if labels is None and self.labels:
            judge = partial(conditions.judged, self.generator, judge, temperature=temperature)
        logits = torch.cat([judge(tokens) for tokens in self._batches(texts, labels)])
        return logits.sigmoid().double().cpu().numpy()

    def infill(self, text: str | Sequence[object], num: int = 1, **settings: Any) -> list[Any]:
        """Fill the blanks of a text as `fill` does, with its settings by name; return texts, as `sample` does."""
        filled = self.fill(text, num, **settings)
        return [as_given(self.tokenizer.decode(tokens), self.tokenizer) for tokens in filled.tokens.tolist()]

    def fill(
        self,
        text: str | Sequence[object],
        num: int = 1,
        *,
        label: object = None,
        blank: str = "___",
        temperature: float = 1.0,
        seed: int | None = None,
        candidates: int = 1,
    ) -> Decoded:
        """Fill the blanks of a text, `num` times; each is one known token, and all that stands between them stays.

        Returns ids, with the log-probability of each token at this temperature. The text has the label, where one is
        given, and otherwise one that is drawn in front of it. A model that reads only forward fills a blank by what
        stands in front of it; of several `candidates` one is kept with the odds that make it a draw given the whole
        text, exactly in the limit of many (`constraints.log_weights`).

        Raises UserError for a text without a blank or with symbols that the model does not know, and for a model that
        cannot fill blanks because noise drives it.
        """
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
        row = slot = self._slot(label)
        generator = self.generator if label is None else conditions.paired(self._network, *slot)
        for i, part in enumerate(text.split(blank)):
            row = [*row, *[vocabulary.mask] * (i > 0), *self._known(part)]
        limit = self.generator.max_length
        if len(row) > limit:
            raise UserError(f"the text has {len(row)} tokens and the model at most {limit}; shorten it")
        if vocabulary.eos is not None and len(row) < limit:
            row.append(vocabulary.eos)
        row += [vocabulary.pad] * (limit - len(row))
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "infill")) if seed is not None else torch.seed()
            constrained = constrain(generator, length(vocabulary), row)

            def draw(num: int) -> Decoded:
                return infill(constrained, torch.tensor(row).repeat(num, 1), temperature=temperature)

            weights = partial(log_weights, generator, constrained, temperature=temperature)
            filled = draw(num) if candidates == 1 else resample(draw, weights, num, candidates=candidates)
            shown = torch.tensor(row).repeat(num, 1)
            return score(generator, filled.tokens, temperature=temperature, context=shown)

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
            self._network,
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

    def _batches(self, texts: Sequence[Text], labels: Collection[object] | None) -> Iterator[Int[Tensor, "B T"]]:
        """Yield the texts as padded ids, as wide as the generator writes: an `eos` beyond is not read."""
        corpus, width = self._encoded(texts, labels), self.generator.max_length
        for rows in np.array_split(np.arange(len(corpus)), -(-len(corpus) // 256)):
            yield corpus.batch(rows, width + 1).tokens[:, :width]

    def _encoded(self, texts: Sequence[Text], labels: Collection[object] | None = None) -> Corpus:
        require_many(texts)
        lines: Iterable[str] = map(self._spelled, texts)
        limit = self.generator.max_length
        if labels is not None:
            require_many(labels)
            if len(labels) != len(texts):
                raise UserError(f"there are {len(texts):,} texts and {len(labels):,} labels; give one for each")
            self._slot(next(iter(labels)))
            lines = LabelledTexts(list(zip(as_labels(labels), lines, strict=True)))
        elif self.labels:
            limit -= 1
        corpus, counts = encode(lines, self.tokenizer, max_length=None)
        if counts.empty:
            raise UserError("an empty text cannot be scored; leave out texts without a token")
        # A text of `max_length` symbols has no room for its `eos`, and needs none.
        ends = self.tokenizer.vocabulary.eos is not None
        if counts.longest > limit + ends:
            at = int(corpus.lengths.argmax())
            longest = counts.longest - ends
            raise UserError(f"text {at + 1} has {longest} tokens and the model at most {limit}; shorten it")
        return corpus


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
        return PointModel(settings, world, restored(method.players(config, world), folder, checkpoint))
    if exporting.is_export(settings):
        return _exported(folder, settings, method, config, checkpoint)
    tokenizer = from_dict(read_json(folder / "vocabulary.json"))
    networks = method.networks(config, tokenizer.vocabulary, settings["max_length"])
    return Model(settings, tokenizer, restored(networks, folder, checkpoint), folder, checkpoint=checkpoint)


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
