"""The transformer `DictionaryLearning`, with data and classes of scikit-learn."""

import pickle

import jax
import numpy as np
import optax
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, orthogonal_mp
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from greedyjax.sklearn import DictionaryLearning
from greedyjax.training import KSVD, MOD, OnlineGradient, learn_dictionary
from helpers import assert_close, configured, slow_but


@pytest.fixture(scope="module")
def digits():
    """Images of digits less their mean, and labels."""
    X, labels = load_digits(return_X_y=True)
    return (X - X.mean(axis=0))[:400] / 16, labels[:400]


def learner(**changes):
    settings = {"max_iter": 3, "transform_n_nonzero_coefs": 3, "random_state": 0, **changes}
    return DictionaryLearning(24, **settings)


@pytest.mark.parametrize("dtype", slow_but([np.float32], [np.float32, np.float64]))
@pytest.mark.parametrize("update", [None, MOD(), OnlineGradient(optax.adam(1e-2))])
def test_it_learns_what_the_function_learns(digits, dtype, update):
    X = digits[0].astype(dtype)
    start = X[50:74] + 1
    model = learner(fit_algorithm=update, dict_init=start, batch_size=100).fit(X)
    key = jax.random.key(np.random.RandomState(0).randint(np.iinfo(np.int32).max))
    found = learn_dictionary(
        X, 24, 3, key=key, update=KSVD() if update is None else update, num_epochs=3,
        batch_size=100, initial=start.T, progress=False,
    )  # fmt: skip
    assert model.components_.dtype == dtype
    assert_close(model.components_, np.asarray(found.A).T, dtype)
    assert_close(model.error_, found.history["error"][1:], dtype)
    assert model.n_iter_ == 3
    assert model.error_[2] < model.error_[0]


@pytest.mark.slow
def test_codes_are_those_of_orthogonal_mp(digits):
    X, _ = digits
    model = learner().fit(X)
    codes = model.transform(X)
    assert_close(codes, orthogonal_mp(model.components_.T, X.T, n_nonzero_coefs=3).T)
    assert_close(model.inverse_transform(codes), codes @ model.components_)
    error = np.sum((X - model.inverse_transform(codes)) ** 2) / np.sum(X**2)
    assert error < model.error_[0]


@pytest.mark.slow
def test_it_learns_a_better_dictionary_than_signals_are(digits):
    X, _ = digits
    model = learner(max_iter=10).fit(X[:300])
    atoms = X[:24] / np.linalg.norm(X[:24], axis=1, keepdims=True)
    held_out = X[300:]

    def error(A):
        codes = orthogonal_mp(A.T, held_out.T, n_nonzero_coefs=3).T
        return np.sum((held_out - codes @ A) ** 2)

    assert error(model.components_) < 0.8 * error(atoms)


@pytest.mark.slow
def test_the_same_random_state_learns_the_same(digits):
    X, _ = digits
    first = learner().fit(X).components_
    np.testing.assert_array_equal(learner().fit(X).components_, first)
    assert not np.array_equal(learner(random_state=1).fit(X).components_, first)


@pytest.mark.slow
def test_double_where_jax_is_set_to_single(digits):
    X, _ = digits
    expected = learner().fit(X)
    with configured(enable_x64=False):
        model = learner().fit(X)
        assert_close(model.components_, expected.components_)
        assert not jax.config.jax_enable_x64


@pytest.mark.slow
def test_fewer_signals_than_atoms(digits):
    X, _ = digits
    model = learner().fit(X[:7])
    assert model.components_.shape == (24, 64)
    assert_close(np.linalg.norm(model.components_, axis=1), np.ones(24))


@pytest.mark.parametrize("split_sign", [False, True])
def test_frames_in_and_out(digits, split_sign):
    X, _ = digits
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)], index=range(100, 500))
    model = learner(split_sign=split_sign).set_output(transform="pandas")
    codes = model.fit_transform(frame)
    assert list(codes.index) == list(frame.index)
    assert list(codes.columns) == list(model.get_feature_names_out())
    assert codes.shape[1] == 24 * (1 + split_sign)
    assert codes.columns[0] == "dictionarylearning0"
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(frame.rename(columns={"pixel 0": "pixel A"}))


@pytest.mark.slow
def test_search_in_a_pipeline(digits):
    X, labels = digits
    steps = make_pipeline(learner(), LogisticRegression(max_iter=1000))
    grid = {"dictionarylearning__fit_algorithm": [KSVD(), MOD()]}
    search = GridSearchCV(steps, grid, cv=2).fit(X, labels)
    assert search.best_params_["dictionarylearning__fit_algorithm"] in (KSVD(), MOD())
    assert search.best_score_ > 0.6


def test_pickle_and_clone(digits):
    X, _ = digits
    model = learner().fit(X)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    assert not hasattr(fresh, "components_")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"transform_algorithm": "lasso_cd"},
            "transform_algorithm: expected 'omp', got 'lasso_cd'",
        ),
        ({"transform_n_nonzero_coefs": 25}, "transform_n_nonzero_coefs: expected at most 24, the"),
        ({"max_iter": 0}, "The 'max_iter' parameter of DictionaryLearning must be"),
        ({"fit_algorithm": "lars"}, "The 'fit_algorithm' parameter of DictionaryLearning must be"),
        ({"batch_size": 0}, "The 'batch_size' parameter of DictionaryLearning must be"),
        ({"dict_init": np.ones((24, 63))}, r"expected shape \(24, 64\), one atom per row"),
    ],
)
def test_parameters_that_are_refused(digits, parameters, message):
    with pytest.raises(ValueError, match=message):
        learner(**parameters).fit(digits[0])
