"""The transformer: signals to their coefficients over a given dictionary."""

from typing import Any, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.decomposition import SparseCoder as _ScikitLearns
from sklearn.utils.validation import check_array, validate_data

from greedyjax import _checks
from greedyjax.sklearn._pursued import FLOATS, most_atoms, pursued
from greedyjax.streaming._batches import threads
from greedyjax.structures import NonNegative, Plain


class SparseCoder(_ScikitLearns):
    """scikit-learn's `SparseCoder` with OMP, computed by `greedyjax.omp_batch`.

    For each row ``x`` of ``X`` it finds a sparse ``code`` with ``x ~ code @ dictionary``. ``fit``
    learns nothing, and ``transform`` works without it.

    Args:
        dictionary: one atom per row, shape ``(n_components, n_features)``. Atoms should have
            norm 1. As in scikit-learn, of two atoms that fit equally well the longer is chosen.
        transform_algorithm: ``"omp"``. scikit-learn's class has the other algorithms.
        transform_n_nonzero_coefs: largest number of nonzero coefficients of a signal, between 1 and
            ``n_components``. None means a tenth of the features, and at least 1. It has no effect
            if ``transform_alpha`` is given.
        transform_alpha: **squared** norm of the residual at which a signal stops, absolute, >= 0.
            A signal has at least one atom. scikit-learn documents this parameter for OMP, but does
            not apply it there.
        split_sign: whether a code has its positive part first and then its negative part, both
            >= 0, shape ``(n_samples, 2 n_components)``.
        n_jobs: number of parts of ``X`` that are coded at a time, in threads; -1 means one for each
            processor. None lets greedyjax choose, whereas scikit-learn takes 1.
        positive_code: whether codes are >= 0. scikit-learn refuses this for OMP.
        transform_max_iter: accepted for compatibility with scikit-learn; it has no effect.

    Attributes:
        n_components_: the number of atoms.
        n_features_in_: the number of features of ``X``.
        feature_names_in_: names of the columns of ``X``, if all are strings.

    Raises:
        ValueError: in ``fit`` and ``transform``, if parameters and data do not fit together.

    Example:
        >>> import numpy as np
        >>> from greedyjax.sklearn import SparseCoder
        >>> dictionary = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> coder = SparseCoder(dictionary, transform_n_nonzero_coefs=1)
        >>> coder.transform(np.array([[0.0, 2.0], [3.0, 4.0]])).round(6).tolist()
        [[0.0, 2.0, 0.0], [0.0, 0.0, 5.0]]

    References:
        Pati, Rezaiifar and Krishnaprasad, "Orthogonal matching pursuit: recursive function
        approximation with applications to wavelet decomposition", 1993.
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Checks the parameters, and that the dictionary fits the data.

        Args:
            X: signals, one per row, shape ``(n_samples, n_features)``.
            y: ignored.

        Returns:
            The transformer itself.

        Raises:
            ValueError: scikit-learn refuses parameters or data, or the algorithm is not OMP.
        """
        X = validate_data(self, X, dtype=FLOATS)
        self.n_components_ = len(self._checked(X)[0])
        return self

    def transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Codes signals.

        Args:
            X: signals, one per row, shape ``(n_samples, n_features)``. float32 and float64 are
                computed and returned in the same dtype; other numbers become float64.
            y: ignored.

        Returns:
            Codes, shape ``(n_samples, n_components)``, or with ``split_sign``
            ``(n_samples, 2 n_components)``.

        Raises:
            ValueError: as in ``fit``.
        """
        self._validate_params()
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        atoms, num_atoms = self._checked(X)
        found = pursued(
            atoms.T,
            X,
            num_atoms=num_atoms,
            tol=self.transform_alpha,
            structure=NonNegative() if self.positive_code else Plain(),
            num_threads=_threads(self.n_jobs),
        )
        codes = np.asarray(found.x)
        if self.split_sign:
            return np.concatenate([np.maximum(codes, 0), np.maximum(-codes, 0)], axis=1)
        return codes

    def inverse_transform(self, X: Any) -> np.ndarray:
        """The signals that codes stand for, ``code @ dictionary``.

        Args:
            X: codes, as ``transform`` returns them.

        Returns:
            Signals, one per row, shape ``(n_samples, n_features)``, in the dtype of the codes.

        Raises:
            ValueError: codes have another number of columns than those of ``transform``.
        """
        codes = check_array(X, dtype=FLOATS)
        atoms = check_array(self.dictionary, dtype=FLOATS).astype(codes.dtype)
        width = len(atoms) * (2 if self.split_sign else 1)
        if codes.shape[1] != width:
            _checks.fail(ValueError, "X", f"codes, shape (n_samples, {width})", str(codes.shape))
        if self.split_sign:
            codes = codes[:, : len(atoms)] - codes[:, len(atoms) :]
        return codes @ atoms

    def _checked(self, X: np.ndarray) -> tuple[np.ndarray, int]:
        """The dictionary in the dtype of the data, and the largest number of atoms of a signal."""
        if self.transform_algorithm != "omp":
            way = "sklearn.decomposition.SparseCoder has the other algorithms"
            got = f"{self.transform_algorithm!r}; {way}"
            _checks.fail(ValueError, "transform_algorithm", "'omp'", got)
        atoms = check_array(self.dictionary, dtype=FLOATS, input_name="dictionary").astype(X.dtype)
        if atoms.shape[1] != X.shape[1]:
            way = "; one atom is a row, so give its transpose" if len(atoms) == X.shape[1] else ""
            expected = f"shape (n_components, {X.shape[1]}), one column for each feature of X"
            _checks.fail(ValueError, "dictionary", expected, f"shape {atoms.shape}{way}")
        asked = self.transform_n_nonzero_coefs
        return atoms, most_atoms("transform_n_nonzero_coefs", asked, *atoms.shape)

    @property
    def _n_features_out(self) -> int:
        # scikit-learn forgets `split_sign` here, and then refuses to name the columns of a frame.
        return self.n_components_ * (2 if self.split_sign else 1)


def _threads(n_jobs: int | None) -> int | None:
    """The number of threads for ``n_jobs``: -1 means one per processor, and -2 one fewer."""
    if n_jobs == 0:
        _checks.fail(ValueError, "n_jobs", "None, or an int other than 0", "0")
    if n_jobs is None or n_jobs > 0:
        return n_jobs
    return max(threads(None) + 1 + n_jobs, 1)
