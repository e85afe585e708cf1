"""The estimators pass all of scikit-learn's own checks, without exceptions."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import SparseCoder as ScikitLearns
from sklearn.utils import estimator_checks
from sklearn.utils._test_common.instance_generator import PER_ESTIMATOR_CHECK_PARAMS
from sklearn.utils.estimator_checks import estimator_checks_generator

from greedyjax.sklearn import DictionaryLearning, OrthogonalMatchingPursuit, SparseCoder

# The checks have data of several widths, and a dictionary has one. scikit-learn lists the width
# that each check needs, for its own class.
WIDTHS = PER_ESTIMATOR_CHECK_PARAMS[ScikitLearns]
PER_ESTIMATOR_CHECK_PARAMS[SparseCoder] = WIDTHS

ESTIMATORS = {
    "regressor": OrthogonalMatchingPursuit(),
    "tolerance": OrthogonalMatchingPursuit(tol=1e-3, fit_intercept=False),
    "coder": SparseCoder(np.random.default_rng(0).standard_normal((5, 3))),
    "learner": DictionaryLearning(max_iter=2),
}

# It only runs where the environment variable SCIPY_ARRAY_API was set before SciPy was loaded, and
# then it is of classes that compute in the array library of their input.
NOT_RUN = "check_array_api_input"

# Checks that scikit-learn runs on its own classes, and that the generator does not make.
OF_EACH = ["check_dataframe_column_names_consistency", "check_param_validation"]
OF_TRANSFORMERS = [
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_global_output_transform_pandas",
]


def cases():
    for title, estimator in ESTIMATORS.items():
        slow = [pytest.mark.slow] if title in ("tolerance", "learner") else []
        for made, check in estimator_checks_generator(estimator):
            name = getattr(check, "func", check).__name__
            if name != NOT_RUN:
                yield pytest.param(made, check, id=f"{title}-{name}", marks=slow)


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "check"), list(cases()))
def test_check_of_scikit_learn(estimator, check):
    check(estimator)


# They also fit a frame and transform an array, and the other way round, of which scikit-learn warns
# whatever the class.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")
@pytest.mark.parametrize(
    ("title", "name"),
    [
        *(("regressor", name) for name in OF_EACH),
        *(("coder", name) for name in [*OF_EACH, *OF_TRANSFORMERS]),
        *(
            pytest.param("learner", name, marks=pytest.mark.slow)
            for name in [*OF_EACH, *OF_TRANSFORMERS]
        ),
    ],
)
def test_check_of_scikit_learn_for_its_own(title, name):
    estimator = clone(ESTIMATORS[title])
    if title == "coder":
        estimator.set_params(**WIDTHS.get(name, {}))
    getattr(estimator_checks, name)(type(estimator).__name__, estimator)
