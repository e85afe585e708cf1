"""The transformer that learns its dictionary from the signals."""

from contextlib import nullcontext
from numbers import Integral
from typing import Any, Self

import jax
import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.decomposition import DictionaryLearning as _ScikitLearns
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from greedyjax import _checks
from greedyjax.sklearn._coder import SparseCoder
from greedyjax.sklearn._pursued import FLOATS, most_atoms
from greedyjax.training import KSVD, DictionaryUpdate, learn_dictionary

# Parameters with the same meaning as in scikit-learn's class.
_AS_THERE = (
    "n_components",
    "n_jobs",
    "transform_algorithm",
    "transform_n_nonzero_coefs",
    "transform_alpha",
    "split_sign",
    "random_state",
    "positive_code",
)


class DictionaryLearning(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A dictionary learned by `greedyjax.training.learn_dictionary`, and codes by OMP.

    It finds ``components_`` and sparse codes with ``X ~ codes @ components_``. Parameters that
    scikit-learn's `DictionaryLearning` and `MiniBatchDictionaryLearning` also have mean the same.
    The objective differs. Those classes learn with an l1 penalty ``alpha`` and then code by OMP.
    This class learns for the codes of OMP that ``transform`` computes.

    Args:
        n_components: number of atoms; None means the number of features.
        max_iter: number of epochs, each of which goes through the signals once; at least 1.
        fit_algorithm: `greedyjax.training.KSVD`, `MOD` or `OnlineGradient`, or any
            `greedyjax.training.DictionaryUpdate`. None means ``KSVD()``.
        batch_size: number of signals in a step, at least 1. None takes enough signals that each
            atom is used 100 times on average, or all signals if there are fewer.
        dict_init: dictionary to start from, one atom per row, shape
            ``(n_components, n_features)``. None starts from signals drawn at random.
        transform_algorithm: ``"omp"``. scikit-learn's classes have the other algorithms.
        transform_n_nonzero_coefs: largest number of nonzero coefficients of a signal, in ``fit``
            and in ``transform``. None means a tenth of the features, and at least 1.
        transform_alpha: **squared** norm of the residual at which a signal stops in ``transform``,
            as in `SparseCoder`. None stops at ``transform_n_nonzero_coefs``.
        split_sign: as in `SparseCoder`.
        random_state: an int, a `numpy.random.RandomState` or None, as anywhere in scikit-learn.
        n_jobs: as in `SparseCoder`.
        positive_code: whether codes of ``transform`` are >= 0. Codes in ``fit`` have either sign.

    Attributes:
        components_: the atoms, of norm 1, shape ``(n_components, n_features)``.
        error_: ``sum ||x - code @ components_||^2 / sum ||x||^2`` of each epoch, a list.
        n_iter_: the number of epochs.
        n_features_in_: the number of features of ``X``.
        feature_names_in_: names of the columns of ``X``, if all are strings.

    Raises:
        ValueError: in ``fit`` and ``transform``, if parameters and data do not fit together.

    Example:
        >>> import numpy as np
        >>> from greedyjax.sklearn import DictionaryLearning
        >>> X = np.repeat([[3.0, 4.0], [1.0, 0.0]], 50, axis=0)
        >>> learner = DictionaryLearning(transform_n_nonzero_coefs=1, random_state=0).fit(X)
        >>> learner.components_.shape, learner.transform(X).shape
        ((2, 2), (100, 2))

    References:
        Aharon, Elad and Bruckstein, "K-SVD: An algorithm for designing overcomplete dictionaries
        for sparse representation", IEEE Transactions on Signal Processing 54 (2006).
    """

    _parameter_constraints: dict = {
        **{name: _ScikitLearns._parameter_constraints[name] for name in _AS_THERE},
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "fit_algorithm": [None, DictionaryUpdate],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "dict_init": [None, "array-like"],
    }

    def __init__(
        self,
        n_components: int | None = None,
        *,
        max_iter: int = 10,
        fit_algorithm: DictionaryUpdate | None = None,
        batch_size: int | None = None,
        dict_init: Any = None,
        transform_algorithm: str = "omp",
        transform_n_nonzero_coefs: int | None = None,
        transform_alpha: float | None = None,
        split_sign: bool = False,
        random_state: Any = None,
        n_jobs: int | None = None,
        positive_code: bool = False,
    ) -> None:
        self.n_components = n_components
        self.max_iter = max_iter
        self.fit_algorithm = fit_algorithm
        self.batch_size = batch_size
        self.dict_init = dict_init
        self.transform_algorithm = transform_algorithm
        self.transform_n_nonzero_coefs = transform_n_nonzero_coefs
        self.transform_alpha = transform_alpha
        self.split_sign = split_sign
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.positive_code = positive_code

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learns the dictionary.

        Args:
            X: signals, one per row, shape ``(n_samples, n_features)``. float32 and float64 are
                computed and learned in the same dtype; other numbers become float64.
            y: ignored.

        Returns:
            The transformer itself.

        Raises:
            ValueError: parameters and data do not fit together.
        """
        X = validate_data(self, X, dtype=FLOATS)
        _check_omp(self.transform_algorithm)
        num, m = X.shape
        n = m if self.n_components is None else self.n_components
        asked = self.transform_n_nonzero_coefs
        sparsity = min(most_atoms("transform_n_nonzero_coefs", asked, n, m), m)
        random = check_random_state(self.random_state)
        # The setting holds only within this thread and this block.
        with jax.enable_x64(True) if X.dtype == np.float64 else nullcontext():
            learned = learn_dictionary(
                X,
                n,
                sparsity,
                key=jax.random.key(random.randint(np.iinfo(np.int32).max)),
                update=KSVD() if self.fit_algorithm is None else self.fit_algorithm,
                num_epochs=self.max_iter,
                batch_size=None if self.batch_size is None else min(self.batch_size, num),
                initial=self._start(X, n, random),
                progress=False,
            )
        self.components_ = np.array(learned.A).T
        self.error_ = learned.history["error"][1:].tolist()
        self.n_iter_ = len(self.error_)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Codes signals over the dictionary, as `SparseCoder` does.

        Args:
            X: signals, one per row, shape ``(n_samples, n_features)``.

        Returns:
            Codes, shape ``(n_samples, n_components)``, or with ``split_sign``
            ``(n_samples, 2 n_components)``.

        Raises:
            ValueError: as in ``fit``.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        return self._coder().transform(X)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """The signals that codes stand for, ``code @ components_``.

        Args:
            X: codes, as ``transform`` returns them.

        Returns:
            Signals, one per row, shape ``(n_samples, n_features)``, in the dtype of the codes.

        Raises:
            ValueError: codes have another number of columns than those of ``transform``.
        """
        check_is_fitted(self)
        return self._coder().inverse_transform(X)

    def _start(self, X: np.ndarray, n: int, random: np.random.RandomState) -> np.ndarray | None:
        """Columns to start from. If there are too few signals, random directions are added."""
        num, m = X.shape
        if self.dict_init is not None:
            atoms = check_array(self.dict_init, dtype=FLOATS, input_name="dict_init")
            if atoms.shape != (n, m):
                expected = f"shape {(n, m)}, one atom per row"
                _checks.fail(ValueError, "dict_init", expected, f"shape {atoms.shape}")
            return atoms.astype(X.dtype).T
        if num >= n:
            return None
        atoms = random.standard_normal((n, m)).astype(X.dtype)
        there = np.any(X != 0, axis=1)
        atoms[:num][there] = X[there]
        return atoms.T

    def _coder(self) -> SparseCoder:
        coder = SparseCoder(
            self.components_,
            transform_algorithm=self.transform_algorithm,
            transform_n_nonzero_coefs=self.transform_n_nonzero_coefs,
            transform_alpha=self.transform_alpha,
            split_sign=self.split_sign,
            n_jobs=self.n_jobs,
            positive_code=self.positive_code,
        )
        # This inner transformer returns arrays. The output format that a user has set is applied to
        # the answers of the outer one.
        return coder.set_output(transform="default")

    @property
    def _n_features_out(self) -> int:
        return len(self.components_) * (2 if self.split_sign else 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _check_omp(algorithm: str) -> None:
    if algorithm != "omp":
        way = "sklearn.decomposition.DictionaryLearning has the other algorithms"
        _checks.fail(ValueError, "transform_algorithm", "'omp'", f"{algorithm!r}; {way}")
