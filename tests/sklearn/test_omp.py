"""The regressor `OrthogonalMatchingPursuit` beside scikit-learn's."""

import pickle

import jax
import numpy as np
import pandas as pd
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from greedyjax.sklearn import OrthogonalMatchingPursuit
from helpers import assert_close, configured, tolerance


@pytest.fixture(scope="module")
def diabetes():
    """Ten real features and all their products: 65 columns, many close to dependent."""
    X, y = load_diabetes(return_X_y=True)
    return PolynomialFeatures(2, include_bias=False).fit_transform(X), y


@pytest.fixture(scope="module")
def targets():
    """Columns of unequal norms, several targets, an intercept and noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 200)) * rng.uniform(0.5, 2, 200) + rng.standard_normal(200)
    W = np.zeros((200, 3))
    W[rng.choice(200, 12, replace=False)] = rng.standard_normal((12, 3))
    return X, X @ W + 0.1 * rng.standard_normal((60, 3)) + 3


def both(X, y, **parameters):
    ours = OrthogonalMatchingPursuit(**parameters).fit(X, y)
    return ours, linear_model.OrthogonalMatchingPursuit(**parameters).fit(X, y)


def assert_same(ours, theirs, X, y):
    assert_close(ours.coef_, theirs.coef_, rtol=1e-8)  # Columns are close to dependent.
    assert_close(ours.intercept_, theirs.intercept_)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.n_nonzero_coefs_ == theirs.n_nonzero_coefs_
    assert type(ours.intercept_) is type(theirs.intercept_)
    assert_close(ours.predict(X), theirs.predict(X))
    assert_close(ours.score(X, y), theirs.score(X, y))


@pytest.mark.slow
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"n_nonzero_coefs": 9, "fit_intercept": False},
        {"tol": 1.3e6},
        {"tol": 1e12},
        {"n_nonzero_coefs": 3, "precompute": False},
        {"n_nonzero_coefs": 3, "tol": 1.3e6, "precompute": True},
    ],
)
def test_real_data_as_scikit_learn(diabetes, parameters):
    assert_same(*both(*diabetes, **parameters), *diabetes)


@pytest.mark.parametrize("parameters", [{}, {"tol": 10.0}, {"tol": 1e9}, {"fit_intercept": False}])
@pytest.mark.parametrize("column", [slice(None), slice(1), 0])
def test_targets_as_scikit_learn(targets, parameters, column):
    X, Y = targets
    ours, theirs = both(X, Y[:, column], **parameters)
    assert_same(ours, theirs, X, Y[:, column])


def test_a_target_has_one_feature_at_least(targets):
    X, Y = targets
    model = OrthogonalMatchingPursuit(tol=1e9).fit(X, Y)
    assert model.n_iter_ == [1, 1, 1]
    assert np.count_nonzero(model.coef_, axis=1).tolist() == [1, 1, 1]
    assert OrthogonalMatchingPursuit(tol=1e9).fit(X, np.zeros(len(X))).n_iter_ == 0


def test_more_features_than_samples_can_tell(targets):
    """The fit ends once it is exact, at no more features than samples."""
    X, Y = targets
    model = OrthogonalMatchingPursuit(n_nonzero_coefs=100).fit(X, Y[:, 0])
    assert model.n_nonzero_coefs_ == 100
    assert model.n_iter_ <= len(X)
    assert model.score(X, Y[:, 0]) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(targets, dtype):
    X, Y = (array.astype(dtype) for array in targets)
    ours, theirs = both(X, Y)
    assert ours.coef_.dtype == ours.intercept_.dtype == ours.predict(X).dtype == dtype
    assert_close(ours.coef_, theirs.coef_, rtol=10 * tolerance(dtype)[0])  # Of norm 20 and more.


@pytest.mark.parametrize("kind", [np.int64, np.float16])
def test_other_numbers_become_double(kind):
    X = np.random.default_rng(0).integers(-9, 9, (30, 8))
    y = X @ np.array([0, 0, 3, 0, 0, -2, 0, 0])
    model = OrthogonalMatchingPursuit(n_nonzero_coefs=2).fit(X.astype(kind), y)
    assert model.coef_.dtype == np.float64
    assert_close(model.coef_, np.array([0, 0, 3.0, 0, 0, -2, 0, 0]))


def test_double_where_jax_is_set_to_single(targets):
    X, Y = targets
    with configured(enable_x64=False):
        ours, theirs = both(X, Y)
        assert_close(ours.coef_, theirs.coef_)
        assert not jax.config.jax_enable_x64


def test_pickle_and_clone(targets):
    X, Y = targets
    model = OrthogonalMatchingPursuit(tol=10.0).fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    assert not hasattr(fresh, "coef_")
    assert isinstance(fresh, linear_model.OrthogonalMatchingPursuit)


def test_frames_name_the_features(targets):
    X, Y = targets
    frame = pd.DataFrame(X, columns=[f"gene {i}" for i in range(X.shape[1])])
    model = OrthogonalMatchingPursuit().fit(frame, pd.Series(Y[:, 0]))
    assert list(model.feature_names_in_) == list(frame.columns)
    assert_close(model.coef_, OrthogonalMatchingPursuit().fit(X, Y[:, 0]).coef_)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"gene 0": "gene A"}))


@pytest.mark.slow
def test_search_in_a_pipeline():
    X, y = load_diabetes(return_X_y=True)

    def searched(kind):
        steps = make_pipeline(StandardScaler(), kind())
        grid = {"orthogonalmatchingpursuit__n_nonzero_coefs": [1, 4]}
        return GridSearchCV(steps, grid, cv=2).fit(X, y)

    ours, theirs = map(
        searched, [OrthogonalMatchingPursuit, linear_model.OrthogonalMatchingPursuit]
    )
    assert ours.best_params_ == theirs.best_params_
    assert_close(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_nonzero_coefs": 201}, "n_nonzero_coefs: expected at most 200, .* got 201"),
        ({"n_nonzero_coefs": 0}, "'n_nonzero_coefs' parameter"),
        ({"tol": -1.0}, "'tol' parameter"),
        ({"precompute": "yes"}, "'precompute' parameter"),
    ],
)
def test_parameters_that_are_refused(targets, parameters, message):
    with pytest.raises(ValueError, match=message):
        OrthogonalMatchingPursuit(**parameters).fit(*targets)
