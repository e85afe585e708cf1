"""Properties of every algorithm, over random problems, half of them degenerate."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import draws
import sorting_properties
from algorithms import ALGORITHMS, KINDS, PLACED, SOLVERS
from properties import PROPERTIES, Setting

NUM, SHAPE = 32, (8, 16, 3)  # One shape for all, so that JAX compiles little.
seeds = st.integers(0, 10**6)


def examples(max_examples):
    # A smaller seed is no simpler problem, so nothing is shrunk.
    return settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
    )


# Two kinds in double precision, real and complex in turn; slow, all of them.
quick = set(zip(KINDS[:2], [np.float64, np.complex128], strict=True))
quick_and_slow = [
    pytest.param(name, dtype, marks=() if (name, dtype) in quick else pytest.mark.slow)
    for name in ALGORITHMS
    for dtype in (np.float64, np.complex128, np.float32)
    if name not in PLACED
    if dtype is np.float32
    or (name in SOLVERS and (dtype is np.complex128 or (name, dtype) in quick))
]


@pytest.mark.parametrize(("name", "dtype"), quick_and_slow)
def test_invariances(name, dtype):
    setting = Setting(name, SHAPE[2], dtype)
    properties = {
        which: each
        for which, each in PROPERTIES.items()
        # Derivatives are the contract's: here they would have to be compiled once more.
        if each.holds_for(setting) and which != "answers and derivatives are finite"
    }
    assert len(properties) >= 6
    counted = {which: [] for which in properties}

    @examples(4)
    @given(seeds)
    def check(seed):
        problems, kinds = draws.mixed(np.random.default_rng(seed), NUM, SHAPE, dtype)
        for which, each in properties.items():
            found = each.check(setting, np.random.default_rng(seed), problems)
            bad = [kinds[i] for i in np.flatnonzero(found.violated)]
            assert not bad, which
            counted[which].append(found.counted)

    check()
    # A property that is never decided is not tested.
    for which, each in counted.items():
        assert np.mean(each) > 0.75, f"{which}: {np.mean(each):.0%} counted"


@pytest.mark.slow
@examples(12)
@given(seeds, st.sampled_from([(3, np.float32), (8, np.float32), (3, np.float64)]))
def test_sorting(seed, case):
    found = sorting_properties.violations(np.random.default_rng(seed), 200, 8, *case)
    for which, violated in found.items():
        assert not violated.any(), f"{which}: {np.flatnonzero(violated)}"
