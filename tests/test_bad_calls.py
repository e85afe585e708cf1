"""Invalid calls, beyond the solvers, raise clear errors. See also `test_bad_input.py`.

Networks, `fit`, `count_weights` and the problems have tables of their own, in the files of their
tests. This file has all other calls.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse
from flax import nnx

import greedyjax as gj
from greedyjax import certificates, metrics, plotting, problems
from greedyjax.nets import IHTNet, OMPNet, StepSize, Temperature, Weights
from greedyjax.training import count_weights, fit, fit_many, losses
from operator_kinds import Duck, bcoo

pytestmark = pytest.mark.wrong_types

A = np.linspace(-1, 1, 12).reshape(3, 4) ** 3
y, w = np.array([1.0, -2.0, 0.5]), np.ones(4)
Y, X = np.ones((8, 3)), np.ones((8, 4))
KEY = jax.random.key(0)
NET = OMPNet(A, sparsity=2)
LEARNED = Temperature(learned=True)


def omp_net(weights=None, tau=1e-3):
    return OMPNet(A, sparsity=2, weights=weights, tau=tau)


SETTINGS = {"optimizer": optax.sgd(0.1), "num_epochs": 1, "batch_size": 4, "key": KEY}
KEYS = [
    (0, TypeError, r"key: expected a key such as jax.random.key\(0\), got 0"),
    (None, TypeError, "key: expected a key .*, got None"),
    (np.ones(2), TypeError, "key: expected a key .*, got dtype float64"),
    (jax.random.split(KEY), ValueError, r"key: expected one key, got shape \(2,\)"),
]


class Constant(nnx.Module):
    """A module of somebody else, without a matrix or a temperature."""

    def __init__(self):
        self.weights = nnx.Param(jnp.ones(4))


def square(net, Y, X):
    return jnp.mean(net.weights[...] ** 2)


def run(net=NET, train=(Y, X), **changes):
    return fit(net, train, (Y, X), **{**SETTINGS, **changes})


ROWS = {
    # Operators; see `operators/test_bad_operators.py` as well
    "operator to count": (lambda: count_weights(Duck(A), Y, sparsity=1), TypeError, "A: expect"),
    "extended precision": (lambda: gj.omp(A.astype(np.longdouble), y, sparsity=1),
                           TypeError, "A: expected an array that JAX can hold, got dtype"),
    "array of objects": (lambda: gj.omp(np.full((3, 4), None), y, sparsity=1),
                         TypeError, "A: expected an array that JAX can hold, got dtype object"),
    # What scikit-learn, SciPy and NumPy have
    "sparse Y": (lambda: gj.omp_batch(A, scipy.sparse.csr_array(Y), sparsity=1),
                 TypeError, r"Y: .*got a sparse matrix; Y.todense\(\) makes an array of it"),
    "sparse A to count": (lambda: count_weights(bcoo(A), Y, sparsity=1),
                          TypeError, r"A: .*got a sparse matrix; A.todense\(\) makes"),
    "masked y": (lambda: gj.omp(A, np.ma.masked_less(y, 0), sparsity=1),
                 TypeError, r"y: .*got a masked array; y.filled\(0\) puts 0"),
    "tol": (lambda: gj.omp(A, y, sparsity=1, tol=0.1),
            TypeError, "tol: expected atol=, the norm .* atol=sqrt.*, got tol="),
    "tol of many": (lambda: gj.omp_batch(A, Y, sparsity=1, tol=0.1), TypeError, "tol: expected at"),
    "n_nonzero_coefs": (lambda: gj.omp(A, y, n_nonzero_coefs=1),
                        TypeError, "n_nonzero_coefs: expected sparsity=, the number of atoms, got"),
    "no sparsity": (lambda: gj.omp(A, y, atol=0.1), TypeError,
                    r"sparsity: expected the largest .* by atol or rtol .*min\(A.shape\), got"),
    "no sparsity, no atol": (lambda: gj.iht(A, y, num_steps=3), TypeError,
                             "^sparsity: expected the largest number of atoms, got none$"),
    "sparsity in third place": (lambda: gj.omp(A, y, 8), TypeError,
                                r"sparsity: .* as a keyword, omp\(A, y, sparsity=8\), got 3"),
    "no tau": (lambda: gj.soft_omp(A, y, sparsity=1), TypeError,
               r"tau: expected a temperature > 0; start with tau=gj.relative_tau\(A, y, 0.1\)"),
    "no tau, many steps": (lambda: gj.soft_cosamp(A, y, sparsity=1, num_steps=2),
                           TypeError, "tau: expected a temperature > 0; "),
    "encode without method": (lambda: gj.encode(A, Y, sparsity=8), TypeError,
                              r"method: expected .*, encode\(OMP\(sparsity=8\), A, Y\), got spar"),
    "a column": (lambda: gj.omp(A, y[:, None], sparsity=1),
                 ValueError, r"y: .*got shape \(3, 1\); one column: y\[:, 0\]"),
    "batch to omp": (lambda: gj.omp(A, Y, sparsity=1),
                     ValueError, r"y: .*got shape \(8, 3\); for many signals.* use omp_batch"),
    "transposed A": (lambda: gj.omp(A.T, y, sparsity=1),
                     ValueError, r"y: .*; that would fit the transpose of A, .* \(4, 3\): atoms"),
    "transposed A, batch": (lambda: gj.omp_batch(A.T, Y, sparsity=1),
                            ValueError, r"Y: .*\(8, 3\); that would fit the transpose of A"),
    "transposed Y": (lambda: gj.omp_batch(A, Y.T, sparsity=1),
                     ValueError, r"Y: .*\(num, 3\), .*\(3, 8\); one signal is a row, so give"),
    "transposed Y, net": (lambda: NET(Y.T), ValueError, r"Y: .*\(3, 8\); one signal is a row, so"),
    "Weights to a solver": (lambda: gj.omp(A, y, sparsity=1, weights=Weights()),
                            TypeError, "weights: .*got Weights, which is neither; of nets.Weights"),
    # Functions beside the solvers
    "stack_real: y ragged": (lambda: gj.stack_real(A, [[1.0], [1.0, 2.0]]),
                             TypeError, "y: expected an array that JAX can hold, got list"),
    "stack_real: y None": (lambda: gj.stack_real(A, None), TypeError, "y: expected an array"),
    "relative_tau: fraction": (lambda: gj.relative_tau(A, y, None), TypeError, "fraction: expe"),
    "topk_mask: no k": (lambda: gj.topk_mask(w, k=None), TypeError, "k: expected an int, got None"),
    "soft_topk_mask: no k": (lambda: gj.soft_topk_mask(w, k=None, tau=1.0),
                             TypeError, "k: expected an int, got None"),
    "same_path: weights": (lambda: certificates.same_path(A, y, sparsity=1, tau=1.0, weights=y),
                           ValueError, r"weights: expected shape \(4,\), got shape \(3,\)"),
    "same_path: NaN": (lambda: certificates.same_path(A, np.nan * y, sparsity=1, tau=1.0),
                       ValueError, "y: expected finite numbers"),
    # Metrics
    "squared_error: other width": (lambda: metrics.squared_error(X, X[:, 1:]),
                                   ValueError, r"X: expected shape \(8, 4\) as X_hat has"),
    "squared_error: one signal": (lambda: metrics.squared_error(X, X[0]),
                                  ValueError, r"X: .*\(8, 4\) as X_hat has, got shape \(4,\)"),
    "nmse: one answer": (lambda: metrics.nmse(X[0], X), ValueError, r"X: .*got shape \(8, 4\)"),
    "snr_db: None": (lambda: metrics.snr_db(X, None), TypeError, "X: expected an array, got None"),
    "snr_db: text": (lambda: metrics.snr_db("X", X), TypeError, "X_hat: expected an array, got s"),
    "nmse: booleans": (lambda: metrics.nmse(X, X > 0), TypeError, "X: expected numbers, got dtype"),
    "nmse: scalars": (lambda: metrics.nmse(1.0, 1.0), ValueError, r"X_hat: .*\.\.\., n.*got shape"),
    "hidden: no function": (lambda: metrics.hidden_measurement_error(A, Y, None),
                            TypeError, "recover: expected a function, got NoneType"),
    "hidden: not signals": (lambda: metrics.hidden_measurement_error(A, Y, lambda A, Y: Y),
                            ValueError, r"recover\(A, Y\): expected shape \(8, 4\), got .*\(8, 2"),
    "hidden: integers": (lambda: metrics.hidden_measurement_error(A.astype(int), Y, square),
                         TypeError, "A: expected floating"),
    # Losses
    "selection: fewer X": (lambda: losses.selection(NET, Y, X[1:]),
                           ValueError, r"X: expected shape \(8, 4\), got shape \(7, 4\)"),
    "selection: width of X": (lambda: losses.selection(NET, Y, X[:, 1:]),
                              ValueError, r"X: expected shape \(8, 4\), got shape \(8, 3\)"),
    "reconstruction: one X": (lambda: losses.reconstruction(NET, Y, X[0]), ValueError, "X: expec"),
    "hard_reconstruction: fewer X": (lambda: losses.hard_reconstruction(NET, Y, X[1:]),
                                     ValueError, r"X: .*\(8, 4\) .*got shape \(7, 4\)"),
    # Networks
    "rebuild: width of A": (lambda: NET.rebuild(A=A[:, 1:]), ValueError, "weights: expected shap"),
    "rebuild: weights": (lambda: NET.rebuild(weights=y), ValueError, r"weights: .*got shape \(3,"),
    "choices: width of Y": (lambda: NET.choices(X), ValueError, r"Y: expected shape \(\.\.\., 3\)"),
    "IHTNet: x0 for weights": (lambda: IHTNet(A, sparsity=1, num_layers=1, weights=0.0),
                               ValueError, "weights: expected an array with 1 axes"),
    "groups: lengths": (lambda: omp_net(Weights(groups=[0, 1])),
                        ValueError, r"groups: expected shape \(4,\).*, got shape \(2,\)"),
    "groups: floats": (lambda: omp_net(Weights(groups=w)), TypeError, "groups: expected int"),
    "groups: a gap": (lambda: omp_net(Weights(groups=[0, 1, 3, 3])),
                      ValueError, "groups: expected all ids from 0 to the largest, got 3 without"),
    "groups: below 0": (lambda: omp_net(Weights(groups=[-1, 0, 1, 2])),
                        ValueError, "groups: expected all ids from 0 to the largest, got -1"),
    "groups: far": (lambda: omp_net(Weights(groups=[0, 1, 2, 10**6])),
                    ValueError, "groups: .*got 1000000 without 3"),
    "groups: traced": (lambda: jax.jit(lambda g: omp_net(Weights(groups=g))(y))(np.arange(4)),
                       TypeError, "groups: expected an array that is not traced"),
    "groups: weights of atoms": (lambda: omp_net(Weights(w, groups=[0, 0, 1, 1])),
                                 ValueError, r"weights: expected shape \(2,\), got shape \(4,"),
    "per_layer: rows": (lambda: omp_net(Weights(np.ones((3, 4)), per_layer=True)),
                        ValueError, r"weights: expected shape \(4,\) or, one row per step, \(2, 4"),
    "tied: rows": (lambda: OMPNet(A, sparsity=2, weights=np.ones((2, 4))),
                   ValueError, "weights: expected an array with 1 axes"),
    "per_layer: a number": (lambda: omp_net(Weights(per_layer=2)),
                            TypeError, "per_layer: expected True or False, got 2"),
    "positive: zero": (lambda: omp_net(Weights(w - 1, positive=True)),
                       ValueError, "weights: expected positive, finite numbers, got 0"),
    "positive: None": (lambda: omp_net(Weights(positive=None)), TypeError, "positive: expect"),
    "learn_tau: a rate": (lambda: omp_net(tau=Temperature(learned=0.1)), TypeError, "tau.learned"),
    "learn_step_size: a size": (
        lambda: IHTNet(A, sparsity=1, num_layers=1, step_size=StepSize(learned=0.1)),
        TypeError, "step_size.learned: expected True or False, got 0.1"),
    "penalty: no fit": (lambda: IHTNet(A, sparsity=1, num_layers=1, penalty=w),
                        ValueError, "penalty: expected None, as nothing is fitted, got a pe"),
    "penalty: below 0": (lambda: OMPNet(A, sparsity=1, penalty=-w), ValueError, "penalty: expecte"),
    "penalty: lengths": (lambda: OMPNet(A, sparsity=1, penalty=y),
                         ValueError, r"penalty: expected shape \(4,\), got shape \(3,"),
    "harden: a name": (lambda: NET.harden("omp"), TypeError, "solver: expected a function, got st"),
    "harden: an array": (lambda: NET.harden(lambda A, y, *, sparsity, weights: y)(y),
                         TypeError, "solver: expected a function that returns a Recovery, got one"),
    # Training
    "fit: tau is learned": (lambda: run(omp_net(tau=LEARNED), tau=jnp.exp),
                            ValueError, "tau: expected None, as net learns its temperature, got"),
    "fit: a class": (lambda: run(OMPNet),
                     TypeError, "net: expected a network, an nnx.Module, got the class OMPNet"),
    "fit: a hard solver": (lambda: run(NET.harden()), TypeError, "net: expected .*got Hardened"),
    "fit: None": (lambda: run(None), TypeError, "net: expected a network, .*got NoneType"),
    "fit: checkpoint_dir 3": (lambda: run(checkpoint_dir=3),
                              TypeError, "checkpoint_dir: expected the path of a folder, got 3"),
    "fit: checkpoint_dir ''": (lambda: run(checkpoint_dir=""), TypeError, "checkpoint_dir: exp"),
    "fit: checkpoint_every": (lambda: run(checkpoint_every=0),
                              ValueError, "checkpoint_every: expected an int >= 1, got 0"),
    "fit: val_every": (lambda: run(val_every=1.5), TypeError, "val_every: expected an int"),
    "fit: tau below 0": (lambda: run(tau=lambda step: -1.0),
                         ValueError, r"tau\(0\): expected positive, finite numbers, got -1"),
    "fit: tau too long": (lambda: run(tau=lambda step: jnp.ones(7)),
                          ValueError, r"tau\(0\): expected a scalar or shape \(2,\), got .*\(7,\)"),
    "fit: no tau to set": (lambda: run(Constant(), loss=square, tau=lambda step: 1.0),
                           ValueError, "tau: expected None, as net has no temperature"),
    "fit: rows of a module": (lambda: run(Constant(), train=(Y, X[1:]), loss=square),
                              ValueError, r"train X: expected shape \(8, 4\), got shape \(7, 4\)"),
    "fit: loss of vectors": (lambda: run(loss=lambda net, Y, X: net.weights[...]),
                             TypeError, "Gradient only defined for scalar-output functions"),
    "fit_many: a class": (lambda: fit_many([OMPNet], (Y, X), (Y, X), **SETTINGS),
                          TypeError, r"nets\[0\]: expected a network.* the class OMPNet"),
    "fit_many: tau": (lambda: fit_many([NET], (Y, X), (Y, X), tau=0.1, **SETTINGS),
                      TypeError, "tau: expected a function, got float"),
    # Problems
    "levels: no matrix": (lambda: problems.sparse_in_levels(KEY, matrix=A),
                          TypeError, "matrix: expected a function, got ndarray"),
    "gaussian: dtype": (lambda: problems.gaussian(KEY, 2, 3, dtype="real"),
                        TypeError, "dtype: expected float32 or float64, got real"),
    "gaussian: no dtype": (lambda: problems.gaussian(KEY, 2, 3, dtype=None),
                           TypeError, "dtype: expected float32 or float64, got None"),
    "fourier: dtype": (lambda: problems.partial_fourier(KEY, 2, 9, dtype=jnp.complex64),
                       TypeError, "dtype: expected float32 or float64, got complex64"),
    # Pictures
    "weights: no dict": (lambda: plotting.plot_weights(w), TypeError, "weights: .*got ndarray"),
    "weights: nothing": (lambda: plotting.plot_weights({}), TypeError, "weights: expected a dict"),
    "weights: lengths": (lambda: plotting.plot_weights({"a": w, "b": y}),
                         ValueError, r"weights\['b'\]: expected shape \(4,\), got shape \(3,\)"),
    "weights: NaN": (lambda: plotting.plot_weights({"a": np.nan * w}),
                     ValueError, r"weights\['a'\]: expected finite"),
    "weights: support": (lambda: plotting.plot_weights({"a": w}, support=[4]),
                         ValueError, r"support: expected atoms between 0 and 3, got \[4\]"),
    "weights: mask": (lambda: plotting.plot_weights({"a": w}, support=w > 0),
                      ValueError, "support: expected atoms"),
    "weights: groups": (lambda: plotting.plot_weights({"a": w}, groups=[0, 1]),
                        ValueError, r"groups: expected shape \(4,\), got shape \(2,\)"),
    "training: a result": (lambda: plotting.plot_training((NET, {}, 0, 0.0)),
                           TypeError, "history: expected a dict, FitResult.history, got tuple"),
    "training: keys": (lambda: plotting.plot_training({"loss": w}),
                       ValueError, r"history: expected train_loss and val_loss, got keys \['loss"),
    "training: lengths": (lambda: plotting.plot_training({"train_loss": y, "val_loss": w}),
                          ValueError, r"history\['train_loss'\]: expected shape \(4,\)"),
    "training: best": (lambda: plotting.plot_training({"train_loss": w, "val_loss": w},
                                                      best_epoch=4),
                       ValueError, "best_epoch: expected an epoch between 0 and 3, got 4"),
    "recovery: no list": (lambda: plotting.plot_recovery(w, {"a": w}, titles=["a"], unit="V"),
                          TypeError, "windows: expected a list .*got dict"),
    "recovery: lengths": (lambda: plotting.plot_recovery(w, [{"a": y}], titles=["a"], unit="V"),
                          ValueError, r"windows\[0\]\['a'\]: expected shape \(4,\)"),
    "recovery: titles": (lambda: plotting.plot_recovery(w, [{"a": w}], titles="a", unit="V"),
                         ValueError, "titles: expected a list of 1, one per panel, got 'a'"),
}  # fmt: skip

DRAWN = {
    "fit": lambda key: run(key=key),
    "fit_many": lambda key: fit_many([NET], (Y, X), (Y, X), **{**SETTINGS, "key": key}),
    "sparse_in_levels": lambda key: problems.sparse_in_levels(key),
    "gaussian": lambda key: problems.gaussian(key, 2, 3),
    "partial_fourier": lambda key: problems.partial_fourier(key, 2, 9),
    "ecg": lambda key: problems.ecg(key),
    "second_ecg": lambda key: problems.second_ecg(key),
}


@pytest.mark.parametrize(("call", "error", "message"), list(ROWS.values()), ids=list(ROWS))
def test_says_what_is_wrong(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


@pytest.mark.parametrize("name", DRAWN)
def test_whatever_draws_needs_a_key(name):
    for key, error, message in KEYS:
        with pytest.raises(error, match=f"^{message}"):
            DRAWN[name](key)


def test_keys_of_either_style_will_do():
    for key in (KEY, jax.random.PRNGKey(0), np.array([0, 0], np.uint32)):
        np.testing.assert_array_equal(
            problems.gaussian(key, 2, 3), problems.gaussian(KEY, 2, 3)
        )  # JAX's default generator is the same for both.
    drawn = jax.jit(jax.vmap(lambda key: problems.gaussian(key, 2, 3)))(jax.random.split(KEY))
    assert drawn.shape == (2, 2, 3)


def test_a_module_of_ones_own_is_trained():
    """Of `fit`'s promises to them, the first: no matrix is asked for."""
    fitted = run(Constant(), loss=square)
    # Two steps of w - 0.1 * w / 2.
    np.testing.assert_allclose(fitted.net.weights[...], np.full(4, 0.95**2), rtol=1e-12)
