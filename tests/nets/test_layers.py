"""The answers after each layer, from one run, against networks with fewer layers."""

import functools

import numpy as np
import pytest

from greedyjax import nets
from helpers import assert_close, random_problem

M, N, K, LAYERS = 8, 12, 3, 3
TAUS = np.array([0.1, 0.05, 0.02])

NETS = {
    "OMPNet": lambda A, num: functools.partial(nets.OMPNet, A, sparsity=num),
    "IHTNet": lambda A, num: functools.partial(nets.IHTNet, A, sparsity=K, num_layers=num),
    "HTPNet": lambda A, num: functools.partial(nets.HTPNet, A, sparsity=K, num_layers=num),
    "SubspacePursuitNet": lambda A, num: functools.partial(
        nets.SubspacePursuitNet, A, sparsity=K, num_layers=num
    ),
    "CoSaMPNet": lambda A, num: functools.partial(nets.CoSaMPNet, A, sparsity=K, num_layers=num),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "OMPNet" else pytest.mark.slow) for name in NETS],
)
def test_layers_are_the_answers_of_shorter_networks(name):
    A, _, y = random_problem(0, M, N, K, np.complex128, noise=0.2)
    A = A * np.linspace(0.5, 1.5, N)  # Columns of other norms.
    Y = np.stack([y, np.roll(y, 1)])
    weights = np.random.default_rng(1).uniform(0.5, 1.5, N)
    make = lambda num: NETS[name](A, num)(tau=TAUS[:num], weights=weights)
    got = make(LAYERS).layers(Y)
    assert (got.shape, got.dtype) == ((2, LAYERS, N), np.complex128)
    assert np.linalg.norm(got[:, 0] - got[:, -1]) > 0.01, "layers that change nothing test nothing"
    for num in range(1, LAYERS + 1):
        assert_close(got[:, num - 1], make(num)(Y), rtol=1e-8)
