"""The regressor: a linear model with few coefficients."""

from typing import Any, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.linear_model import OrthogonalMatchingPursuit as _ScikitLearns
from sklearn.utils.validation import validate_data

from greedyjax.sklearn._pursued import FLOATS, most_atoms, pursued


class OrthogonalMatchingPursuit(_ScikitLearns):
    """scikit-learn's `OrthogonalMatchingPursuit`, computed by `greedyjax.omp_batch`.

    Fits ``y = X w + intercept`` with few entries of ``w`` other than 0. Features are chosen one
    by one: the next is the one of the largest ``|x_j^T r|``, with the residual ``r`` of the fit on
    those before it. All targets are computed at once.

    The model has no atom that depends on those before it. scikit-learn warns and ends there, and
    this class goes on with the other features, without a warning.

    Args:
        n_nonzero_coefs: most features in use, between 1 and the number of features. None means a
            tenth of the features, and at least 1. Of no effect where ``tol`` is given.
        tol: **squared** norm of the residual at which a target stops, absolute, >= 0. A target has
            one feature at least, as in scikit-learn.
        fit_intercept: whether the model has an intercept. Without it, data should have mean 0.
        precompute: accepted for the sake of scikit-learn, and of no effect: `greedyjax.omp_batch`
            takes the Gram matrix where that costs less.

    Attributes:
        coef_: ``w``, shape ``(n_features,)``, or of several targets ``(n_targets, n_features)``.
        intercept_: a number, or of several targets shape ``(n_targets,)``.
        n_iter_: how many features were chosen, an int, or of several targets a list of them.
        n_nonzero_coefs_: the most features that were allowed; None where ``tol`` is given.
        n_features_in_: the number of features of ``X``.
        feature_names_in_: names of the columns of ``X``, where they are strings.

    Raises:
        ValueError: in ``fit``, for parameters and data that scikit-learn refuses.

    Example:
        >>> import numpy as np
        >>> from greedyjax.sklearn import OrthogonalMatchingPursuit
        >>> X = np.random.default_rng(0).standard_normal((40, 10))
        >>> model = OrthogonalMatchingPursuit(n_nonzero_coefs=2).fit(X, 3 * X[:, 4] - X[:, 7] + 5)
        >>> np.flatnonzero(model.coef_).tolist(), float(model.intercept_.round(6))
        ([4, 7], 5.0)

    References:
        Pati, Rezaiifar and Krishnaprasad, "Orthogonal matching pursuit: recursive function
        approximation with applications to wavelet decomposition", 1993.
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any) -> Self:
        """Chooses features and fits their coefficients.

        Args:
            X: samples, shape ``(n_samples, n_features)``. float32 and float64 are computed and
                returned as they are; other numbers become float64.
            y: targets, shape ``(n_samples,)`` or ``(n_samples, n_targets)``; computed in the dtype
                of ``X``.

        Returns:
            The model itself.

        Raises:
            ValueError: ``n_nonzero_coefs`` exceeds the number of features; data that scikit-learn
                refuses, such as NaN.
        """
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=FLOATS)
        n_features, num_atoms = X.shape[1], None
        if self.tol is None:
            asked = self.n_nonzero_coefs
            num_atoms = most_atoms("n_nonzero_coefs", asked, n_features, n_features)

        targets = y.reshape(len(y), -1).astype(X.dtype)
        X_mean, y_mean = np.zeros(n_features, X.dtype), np.zeros(targets.shape[1], X.dtype)
        if self.fit_intercept:
            X_mean, y_mean = X.mean(axis=0), targets.mean(axis=0)
        Y = (targets - y_mean).T
        found = pursued(X - X_mean, Y, num_atoms=num_atoms, tol=self.tol)

        one = len(Y) == 1
        self.n_nonzero_coefs_ = num_atoms
        self.coef_ = found.x[0] if one else found.x
        self.n_iter_ = int(found.num_steps[0]) if one else found.num_steps.tolist()
        self.intercept_ = 0.0
        if self.fit_intercept:
            intercepts = y_mean - found.x @ X_mean
            self.intercept_ = intercepts[0] if y.ndim == 1 else intercepts
        return self
