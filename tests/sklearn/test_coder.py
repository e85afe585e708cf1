"""The transformer `SparseCoder` beside scikit-learn's."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls
from sklearn import decomposition, linear_model
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from greedyjax.sklearn import SparseCoder
from helpers import assert_close, slow_but


@pytest.fixture(scope="module")
def digits():
    """A Gaussian dictionary of 96 atoms of norm 1, images of digits less their mean, and labels."""
    X, labels = load_digits(return_X_y=True)
    atoms = np.random.default_rng(0).standard_normal((96, 64))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return atoms, (X - X.mean(axis=0))[:300] / 16, labels[:300]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", slow_but([np.float32], [np.float32, np.float64]))
@pytest.mark.parametrize(
    "parameters",
    [{}, {"transform_n_nonzero_coefs": 10}, {"split_sign": True}, {"n_jobs": -1}, {"n_jobs": -9}],
)
def test_real_data_as_scikit_learn(digits, dtype, parameters):
    atoms, X = (array.astype(dtype) for array in digits[:2])
    ours = SparseCoder(atoms, **parameters).fit_transform(X)
    assert ours.dtype == dtype
    theirs = decomposition.SparseCoder(atoms, **parameters).fit_transform(X)
    assert_close(ours, theirs, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("alpha", [2.0, 1e6])
def test_tolerance_is_that_of_orthogonal_mp(digits, dtype, alpha):
    """scikit-learn's coder has this parameter and ignores it; its function does not."""
    atoms, X = (array.astype(dtype) for array in digits[:2])
    ours = SparseCoder(atoms, transform_n_nonzero_coefs=1, transform_alpha=alpha).transform(X)
    theirs = linear_model.orthogonal_mp(atoms.T, X.T, tol=alpha).T
    assert_close(ours, theirs, dtype)
    assert np.count_nonzero(ours, axis=1).min() >= 1


def test_atoms_of_any_norm_are_chosen_as_in_scikit_learn(digits):
    atoms, X, _ = digits
    atoms = atoms * np.random.default_rng(1).uniform(0.5, 2, (len(atoms), 1))
    theirs = decomposition.SparseCoder(atoms).transform(X)
    assert_close(SparseCoder(atoms).transform(X), theirs)


def test_positive_code_is_least_squares_without_negative_coefficients(digits):
    atoms, X, _ = digits
    codes = SparseCoder(atoms, transform_n_nonzero_coefs=5, positive_code=True).transform(X[:20])
    assert codes.min() == 0
    assert np.count_nonzero(codes, axis=1).max() <= 5
    for x, code in zip(X, codes, strict=False):
        chosen = np.flatnonzero(code)
        assert_close(code[chosen], nnls(atoms[chosen].T, x)[0])


def test_a_code_depends_on_no_other_signal(digits):
    """Though rows of zeros fill up a batch."""
    atoms, X, _ = digits
    coder = SparseCoder(atoms)
    together = coder.transform(X)
    assert_close(np.concatenate([coder.transform(X[:1]), coder.transform(X[1:3])]), together[:3])


@pytest.mark.parametrize("split_sign", [False, True])
def test_inverse_transform(digits, split_sign):
    atoms, X, _ = (np.asarray(array, np.float32) for array in digits)
    coder = SparseCoder(atoms.astype(float), split_sign=split_sign)
    codes = coder.fit_transform(X)
    signals = coder.inverse_transform(codes)
    assert signals.dtype == np.float32
    theirs = decomposition.SparseCoder(atoms, split_sign=split_sign)
    assert_close(signals, theirs.fit(X).inverse_transform(codes), np.float32)
    with pytest.raises(ValueError, match=r"X: expected codes, shape \(n_samples, .*, got"):
        coder.inverse_transform(codes[:, 1:])


@pytest.mark.parametrize("split_sign", [False, True])
def test_frames_in_and_out(digits, split_sign):
    atoms, X, _ = digits
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)], index=range(100, 400))
    coder = SparseCoder(pd.DataFrame(atoms), split_sign=split_sign).set_output(transform="pandas")
    codes = coder.fit_transform(frame)
    assert list(codes.index) == list(frame.index)
    assert list(codes.columns) == list(coder.get_feature_names_out())
    assert codes.shape[1] == 96 * (1 + split_sign)
    np.testing.assert_array_equal(codes, SparseCoder(atoms, split_sign=split_sign).transform(X))
    assert list(coder.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        coder.transform(frame.rename(columns={"pixel 0": "pixel A"}))


@pytest.mark.slow
def test_search_in_a_pipeline(digits):
    atoms, X, labels = digits

    def searched(kind):
        steps = make_pipeline(kind(atoms), LogisticRegression(max_iter=1000))
        grid = {"sparsecoder__transform_n_nonzero_coefs": [2, 6]}
        return GridSearchCV(steps, grid, cv=2).fit(X, labels)

    ours, theirs = searched(SparseCoder), searched(decomposition.SparseCoder)
    assert ours.best_params_ == theirs.best_params_
    np.testing.assert_array_equal(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
    )


def test_pickle_and_clone(digits):
    atoms, X, _ = digits
    coder = SparseCoder(atoms).fit(X)
    again = pickle.loads(pickle.dumps(coder))
    np.testing.assert_array_equal(again.transform(X), coder.transform(X))
    fresh = clone(coder)
    np.testing.assert_array_equal(fresh.dictionary, atoms)
    assert not hasattr(fresh, "n_components_")
    assert isinstance(fresh, decomposition.SparseCoder)


@pytest.mark.parametrize("call", ["fit", "transform"])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"transform_algorithm": "lasso_lars"},
            "transform_algorithm: expected 'omp', got 'lasso_lars'; "
            "sklearn.decomposition.SparseCoder has the other algorithms",
        ),
        (
            {"transform_n_nonzero_coefs": 97},
            "transform_n_nonzero_coefs: expected at most 96, the number of atoms, got 97",
        ),
        ({"transform_alpha": -1.0}, "The 'transform_alpha' parameter of SparseCoder must be"),
        ({"dictionary": np.ones((64, 96))}, "got shape (64, 96); one atom is a row, so give its"),
        ({"dictionary": np.ones((9, 8))}, "dictionary: expected shape (n_components, 64), one"),
        ({"dictionary": np.full((9, 64), np.nan)}, "Input dictionary contains NaN"),
        ({"dictionary": None}, "dictionary"),
    ],
)
def test_parameters_that_are_refused(digits, call, parameters, message):
    atoms, X, _ = digits
    coder = SparseCoder(atoms).set_params(**parameters)
    with pytest.raises(ValueError) as info:  # noqa: PT011
        getattr(coder, call)(X)
    assert message in str(info.value)


def test_no_jobs_at_all_are_refused(digits):
    atoms, X, _ = digits
    with pytest.raises(ValueError, match="n_jobs: expected None, or an int other than 0, got 0"):
        SparseCoder(atoms, n_jobs=0).transform(X)
