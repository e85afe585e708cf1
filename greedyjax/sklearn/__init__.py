"""Estimators with the names and parameters of scikit-learn's, computed by greedyjax.

`OrthogonalMatchingPursuit` and `SparseCoder` replace scikit-learn's classes of these names: change
the import, and the rest of a program stays as it is. Both inherit from the class that they replace,
so parameters, validation, tags, ``set_output``, pipelines and searches are scikit-learn's own. The
numbers come from `greedyjax.omp_batch`. `DictionaryLearning` has the names of scikit-learn's class
but another objective, and learns by `greedyjax.training.learn_dictionary`.

This module needs scikit-learn, which ``pip install "greedyjax[sklearn]"`` installs.
"""

try:
    from sklearn.utils.validation import validate_data as _new_in_1_6  # noqa: F401
except ImportError as error:
    raise ImportError(
        "greedyjax.sklearn: expected scikit-learn 1.6 or later to be installed; "
        'pip install "greedyjax[sklearn]" brings it'
    ) from error

from greedyjax.sklearn._coder import SparseCoder
from greedyjax.sklearn._learner import DictionaryLearning
from greedyjax.sklearn._omp import OrthogonalMatchingPursuit

__all__ = ["DictionaryLearning", "OrthogonalMatchingPursuit", "SparseCoder"]
