"""The regressor: a linear model with few coefficients."""

from typing import Any, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.linear_model import OrthogonalMatchingPursuit as _ScikitLearns
from sklearn.utils.validation import validate_data

from greedyjax.sklearn._pursued import FLOATS, most_atoms, pursued


class OrthogonalMatchingPursuit(_ScikitLearns):
    """scikit-learn's `OrthogonalMatchingPursuit`, computed by `greedyjax.omp_batch`.

    It fits ``y = X w + intercept`` with few nonzero entries of ``w``. Features are chosen one by
    one. The next feature has the largest ``|x_j^T r|``, where ``r`` is the residual of the fit on
    the features chosen before. All targets are computed at once.

    A feature that depends linearly on the chosen features is never chosen. There scikit-learn warns
    and stops. This class goes on with the other features, without a warning.

    Args:
        n_nonzero_coefs: largest number of chosen features, between 1 and the number of features.
            None means a tenth of the features, and at least 1. It has no effect if ``tol`` is
            given.
        tol: **squared** norm of the residual at which a target stops, absolute, >= 0. A target has
            at least one feature, as in scikit-learn.
        fit_intercept: whether the model has an intercept. Without it, data should have mean 0.
        precompute: accepted for compatibility with scikit-learn; it has no effect.
            `greedyjax.omp_batch` uses the Gram matrix if that costs less.

    Attributes:
        coef_: ``w``, shape ``(n_features,)``, or ``(n_targets, n_features)`` for several targets.
        intercept_: a number, or an array of shape ``(n_targets,)`` for several targets.
        n_iter_: the number of chosen features, an int, or a list of ints for several targets.
        n_nonzero_coefs_: the largest number of features allowed; None if ``tol`` is given.
        n_features_in_: the number of features of ``X``.
        feature_names_in_: names of the columns of ``X``, if all are strings.

    Raises:
        ValueError: in ``fit``, if scikit-learn refuses parameters or data.

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
                returned in the same dtype; other numbers become float64.
            y: targets, shape ``(n_samples,)`` or ``(n_samples, n_targets)``; computed in the dtype
                of ``X``.

        Returns:
            The model itself.

        Raises:
            ValueError: ``n_nonzero_coefs`` exceeds the number of features, or scikit-learn refuses
                the data, such as NaN.
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
