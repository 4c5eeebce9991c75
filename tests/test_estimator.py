"""The estimator keeps the contract of scikit-learn, by that library's own tools."""

import numpy as np
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import pytest
from command import SENTENCES
from sklearn.base import clone  # type: ignore[import-untyped, unused-ignore]
from sklearn.exceptions import NotFittedError  # type: ignore[import-untyped, unused-ignore]
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score  # type: ignore[import-untyped, unused-ignore]
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped, unused-ignore]
from sklearn.utils.validation import check_is_fitted  # type: ignore[import-untyped, unused-ignore]

import textforge
from textforge import TextGenerator
from textforge.errors import CallError, UserError


def tiny(**params: object) -> TextGenerator:
    return TextGenerator().set_params(preset="tiny", max_length=8, **params)


def test_parameters_are_kept_as_they_are() -> None:
    windows = ((1, 2), (2, 3))
    generator = TextGenerator("seqgan", d_windows=windows, seed=3)
    params = generator.get_params()
    assert params["d_windows"] is windows
    assert (params["method"], params["seed"], params["minutes"]) == ("seqgan", 3, None)
    assert TextGenerator(**params).get_params() == params
    assert repr(generator) == "TextGenerator(method='seqgan', seed=3, d_windows=((1, 2), (2, 3)))"
    assert repr(TextGenerator()) == "TextGenerator()"


def test_set_params_changes_only_this_one() -> None:
    first = tiny(hidden_dim=4)
    second = clone(first)
    assert second.set_params(hidden_dim=9, seed=2) is second
    assert (first.get_params()["hidden_dim"], first.get_params()["seed"]) == (4, 0)
    assert (second.get_params()["hidden_dim"], second.get_params()["seed"]) == (9, 2)


def test_a_clone_has_the_parameters_and_nothing_learned() -> None:
    fitted = tiny(hidden_dim=4).fit(SENTENCES)
    check_is_fitted(fitted)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    for use in (copy.sample, lambda: copy.score(SENTENCES)):
        with pytest.raises(UserError, match="has learned nothing yet; call fit"):
            use()


def test_it_does_what_fit_and_the_model_do() -> None:
    generator = tiny()
    assert generator.fit(pd.Series([*SENTENCES, None])) is generator
    model = textforge.fit(SENTENCES, method="mle", preset="tiny", max_length=8)
    assert generator.sample(3, temperature=0.5, seed=1) == model.sample(3, temperature=0.5, seed=1)
    assert generator.score(pd.Series(SENTENCES)) == np.mean(model.log_prob(SENTENCES)) < 0


def test_lists_of_ids() -> None:
    generator = tiny(steps=1).fit(np.array([[1, 2, 3], [3, 2, 1]] * 10))
    assert generator.score([[1, 2, 3]]) == generator.score(np.array([[1, 2, 3]]))
    assert all(isinstance(sequence, list) for sequence in generator.sample(3, seed=0))


def test_without_a_method_it_is_sized_as_fit_sizes() -> None:
    """Nobody named a method or a preset: both choose the same, and nothing but `fit` knows what."""
    assert TextGenerator().get_params()["method"] is None
    fitted = TextGenerator(steps=1, max_length=8).fit(SENTENCES).model_
    model = textforge.fit(SENTENCES, steps=1, max_length=8)
    assert fitted.settings["config"] == model.settings["config"]
    assert fitted.notes == model.notes


def test_lists_are_no_texts_to_score() -> None:
    with pytest.raises(UserError, match="is a list, and this model learned texts"):
        tiny(steps=1).fit(SENTENCES).score([["a", "red", "cat"]])


def test_y_is_labels() -> None:
    """They are learned, asked for, predicted, and told by the score; those without one are left out."""
    y = ["quick" if "quick" in text else "slow" for text in SENTENCES]
    generator = tiny(steps=150, hidden_dim=32, embedding_dim=32, lr=0.02).fit(pd.Series(SENTENCES), np.array(y))
    assert generator.model_.labels == ("quick", "slow")
    assert np.mean(["quick" in text for text in generator.sample(50, label="quick", seed=0)]) > 0.8
    assert (generator.predict(SENTENCES) == y).mean() > 0.8
    assert generator.score(SENTENCES, y) > generator.score(SENTENCES)
    assert generator.score(SENTENCES, [*y[:-1], None]) == pytest.approx(generator.score(SENTENCES[:-1], y[:-1]))
    folds = KFold(2, shuffle=True, random_state=0)  # in order, one of them would lack a label
    assert cross_val_score(tiny(steps=1), SENTENCES, y, cv=folds).shape == (2,)
    with pytest.raises(CallError, match="has learned no labels"):
        tiny(steps=1).fit(SENTENCES).predict(SENTENCES)


def test_a_wrong_parameter_is_named_by_fit() -> None:
    with pytest.raises(CallError, match="did you mean 'hidden_dim'"):
        tiny(hiden_dim=4).fit(SENTENCES)


def test_what_has_no_likelihood_has_no_score() -> None:
    generator = TextGenerator("gumbel_gan", preset="tiny").fit(SENTENCES)
    with pytest.raises(UserError, match="no likelihood"):
        generator.score(SENTENCES)


def test_searches_and_pipelines() -> None:
    """A search by held-out likelihood keeps the better training: forty steps are more than one."""
    texts = SENTENCES[::2]
    search = GridSearchCV(tiny(hidden_dim=8), {"steps": [1, 40]}, cv=2).fit(texts)
    assert search.best_params_ == {"steps": 40}
    assert len(search.best_estimator_.sample(2)) == 2
    assert cross_val_score(tiny(steps=1), pd.Series(texts), cv=3).shape == (3,)
    pipeline = make_pipeline(tiny(steps=1)).fit(texts)
    assert pipeline.score(texts) < 0
