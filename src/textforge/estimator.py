"""A generator in the manners of scikit-learn, without needing it: for its pipelines, searches and cross-validation."""

import inspect
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Shaped

from textforge.errors import UserError
from textforge.fitting import fit
from textforge.model import Model
from textforge.text import collect
from textforge.text.items import SEPARATOR, Items
from textforge.text.labels import beside


class TextGenerator:
    """Learns texts by `fit`, writes new ones by `sample`, and is scored by the likelihood of held-out ones.

    The parameters are those of `textforge.fit`, and the fields of the method's config by name (`hidden_dim=128`).
    """

    def __init__(
        self,
        method: str | None = None,
        *,
        preset: str | None = None,
        seed: int = 0,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        tokenizer: Literal["auto", "word", "char", "bpe", "tab"] | str = "auto",
        max_length: int | None = None,
        min_count: int = 1,
        vocab_size: int | None = None,
        minutes: float | None = None,
        **fields: Any,
    ) -> None:
        """Keep the parameters as they are; `fit` checks them."""
        self.method = method
        self.preset = preset
        self.seed = seed
        self.device = device
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.min_count = min_count
        self.vocab_size = vocab_size
        self.minutes = minutes
        self.fields = fields

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return all parameters by name; there are none inside others, so `deep` changes nothing."""
        return {name: vars(self)[name] for name in _NAMES} | self.fields

    def set_params(self, **params: Any) -> Self:
        """Change parameters by name, and return the estimator; what was learned stays until the next `fit`."""
        for name, value in params.items():
            if name in _NAMES:
                setattr(self, name, value)
            else:
                self.fields = {**self.fields, name: value}
        return self

    def fit(self, X: object, y: object = None) -> Self:
        """Learn from whatever `textforge.fit` takes as texts, with the labels `y` where there are any."""
        self.model_ = fit(X, labels=y, **self.get_params())
        return self

    def sample(
        self, n: int = 1, *, label: object = None, temperature: float = 1.0, seed: int | None = None
    ) -> list[Any]:
        """Draw texts, or lists of symbols where it learned such, of a label or of any; the same seed gives the same."""
        return self._model.sample(n, label=label, temperature=temperature, seed=seed)

    def predict(self, X: object) -> Shaped[np.ndarray, " N"]:
        """Return the most probable label of each text, as a string; raises CallError where it learned no labels."""
        best = self._model.label_probs(_as_given(collect(X))).argmax(1).tolist()
        return np.array([self._model.labels[place] for place in best])

    def score(self, X: object, y: object = None) -> float:
        """Return the mean log-likelihood of a text, its end included, in nats; higher is better.

        With `y` it is that of a text given its label; without, where labels were learned, the exact sum over them.
        Comparable between settings of the same tokenizer, `min_count` and `vocab_size`: what is unknown counts as one
        symbol. Raises UserError for a generator driven by noise, which has no likelihood, and for texts that are longer
        than what it learned: `max_length` makes room.
        """
        items = collect(X)
        if y is None:
            return float(np.mean(self._model.log_prob(_as_given(items))))
        pairs = list(beside(items, y).pairs)
        texts = _as_given(replace(items, texts=[text for _, text in pairs]))
        return float(np.mean(self._model.log_prob(texts, [label for label, _ in pairs])))

    @property
    def _model(self) -> Model:
        model: Model | None = vars(self).get("model_")
        if model is None:
            raise UserError("this TextGenerator has learned nothing yet; call fit with texts first")
        return model

    def __repr__(self) -> str:
        """Return the call that makes it, without what is at its default."""
        changed = {name: value for name, value in self.get_params().items() if _DEFAULTS.get(name, ...) != value}
        return f"TextGenerator({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn asks of an estimator; only that library calls it."""
        from sklearn.utils import InputTags, Tags, TargetTags  # type: ignore[import-not-found, import-untyped, unused-ignore]

        text = InputTags(one_d_array=True, two_d_array=False, string=True)
        return Tags(estimator_type=None, target_tags=TargetTags(required=False), input_tags=text)


def _as_given(items: Items) -> list[Any]:
    """Return texts as texts and lists as lists, which a model of texts refuses."""
    return items.texts if items.kind == "texts" else [text.split(SEPARATOR) for text in items.texts]


_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(TextGenerator).parameters.items()
    if parameter.kind is not inspect.Parameter.VAR_KEYWORD
}
_NAMES = tuple(_DEFAULTS)
