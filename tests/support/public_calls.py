"""Every public function that takes arrays, as a call of a matrix, measurements and signals.

`test_precision.py` and `test_promotion.py` run over it. What `greedyjax` exports has to be here,
up to the first comma of a name, or in `LEFT_OUT`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

import greedyjax as gj
from greedyjax import certificates, metrics, nets, operators, policies, pursuit, sorting, training
from greedyjax.structures import Blocks, Levels, SharedSupport
from greedyjax.training import losses
from operator_kinds import matrix_free

M, N, K = 8, 12, 2
RNG = np.random.default_rng(0)
A, Y, X = (RNG.standard_normal(shape) for shape in ((M, N), (3, M), (3, N)))
STEPS = {"num_steps": 3}
SOLVERS = {
    "omp": {},
    "iht": STEPS,
    "niht": STEPS,
    "htp": STEPS,
    "subspace_pursuit": STEPS,
    "cosamp": STEPS,
}
NETS = ("OMPNet", "IHTNet", "NIHTNet", "HTPNet", "SubspacePursuitNet", "CoSaMPNet")
BLOCKS = Blocks(np.arange(N) // 2)


def given(dtype):
    """The three arrays in a dtype; of a complex one, with imaginary parts."""
    turned = 1 + 0.5j if jnp.issubdtype(dtype, jnp.complexfloating) else 1
    return [jnp.asarray(z * turned, dtype) for z in (A, Y, X)]


def real_of(dtype):
    return jnp.finfo(dtype).dtype


def net_of(A, name="OMPNet", **settings):
    layers = {} if name == "OMPNet" else {"num_layers": 3}
    return getattr(nets, name)(A, sparsity=K, tau=0.1, **layers, **settings)


def _solvers():
    for name, steps in SOLVERS.items():
        hard, soft, batch = (getattr(gj, f) for f in (name, f"soft_{name}", f"{name}_batch"))
        all_ = {"sparsity": K, **steps}
        yield name, lambda A, Y, X, f=hard, all_=all_: f(A, Y[0], weights=jnp.abs(X[0]), **all_)
        yield (
            f"soft_{name}",
            lambda A, Y, X, f=soft, all_=all_: f(A, Y[0], tau=jnp.abs(X[0, 0]), **all_),
        )
        yield f"{name}_batch", lambda A, Y, X, f=batch, all_=all_: f(A, Y, **all_)
        if name != "niht":
            settings = all_ | ({"debias": True} if name == "iht" else {})
            yield (
                f"{name}, penalty",
                lambda A, Y, X, f=hard, settings=settings: f(
                    A, Y[0], penalty=jnp.abs(X[0]), **settings
                ),
            )


def _nets():
    for name in NETS:
        yield name, lambda A, Y, X, name=name: net_of(A, name)(Y)
        yield f"{name}, layers", lambda A, Y, X, name=name: net_of(A, name).layers(Y)
        yield f"{name}, hardened", lambda A, Y, X, name=name: net_of(A, name).harden()(Y)
        yield f"{name}, choices", lambda A, Y, X, name=name: net_of(A, name).choices(Y)


def _functions():
    for name in ("reconstruction", "deep_supervision", "straight_through", "hard_reconstruction"):
        yield name, lambda A, Y, X, name=name: getattr(losses, name)(net_of(A), Y, X)
    for name in ("softsort", "soft_topk_mask"):
        yield name, lambda A, Y, X, name=name: getattr(gj, name)(jnp.abs(X[0]), k=3, tau=0.1)
    for name in ("hardsort", "topk_mask"):
        yield name, lambda A, Y, X, name=name: getattr(gj, name)(jnp.abs(X[0]), k=3)
    for name in ("squared_error", "nmse", "snr_db"):
        yield name, lambda A, Y, X, name=name: getattr(metrics, name)(X, jnp.abs(X))
    for name in ("NeuralSort", "SparseSort", "BoundaryGate"):
        relaxation = getattr(sorting, name)
        yield (
            name,
            lambda A, Y, X, relaxation=relaxation: gj.soft_iht(
                A, Y[0], sparsity=K, tau=0.1, relaxation=relaxation, **STEPS
            ),
        )


def _operators():
    """Each with a matrix or a filter of the arrays, so that its dtype is theirs."""
    with_matrix = {
        "MaskedFFT": lambda A: operators.MaskedFFT(np.arange(N), N),
        "DCT": lambda A: operators.DCT(N, A.real.dtype),
        "Wavelet": lambda A: operators.Wavelet(N, "haar", 2, A.real.dtype),
        "Convolution": lambda A: operators.Convolution(A[:1, :3], N),
    }
    for name, make in with_matrix.items():
        yield (
            name,
            lambda A, Y, X, make=make: gj.omp(
                gj.dictionary(operators.Product([A, make(A)])), Y[0], sparsity=K
            ),
        )
    for name in ("HStack", "VStack", "Sum"):
        stack, whole = getattr(operators, name), (np.s_[:], np.s_[:])
        pair = {"HStack": (np.s_[:, :5], np.s_[:, 5:]), "VStack": (np.s_[:5], np.s_[5:])}
        parts = pair.get(name, whole)
        yield (
            name,
            lambda A, Y, X, stack=stack, parts=parts: gj.iht(
                stack([A[part] for part in parts]), Y[0], sparsity=K, num_steps=3
            ),
        )
    yield (
        "Steering",
        lambda A, Y, X: gj.iht(
            operators.Sum([A, operators.Steering(M, N)]), Y[0], sparsity=K, num_steps=3
        ),
    )


def _hidden_error(A, Y, X):
    return metrics.hidden_measurement_error(A, Y, lambda A, Y: gj.omp_batch(A, Y, sparsity=K).x)


def _tempered(A, Y, X):
    learn = lambda Y: training.sparse_bayes(A, Y).weights
    return training.temper_weights(net_of(A), Y, learn, folds=2)


def _interacting(A, Y, X):
    shapes = ((N,), (2 * N, 3), (3, N))
    real = real_of(A.dtype)
    return policies.Interactions(*(jnp.full(shape, 0.1, real) for shape in shapes))


def whitened(A, X):
    return gj.whiten(A, jnp.abs(X[0]), noise=0.1)


def prior_of(A, dtype=None):
    return gj.GaussianPrior(jnp.eye(N, dtype=dtype or A.dtype))


def frames_of(Y):
    return jnp.stack([Y, 2 * Y[:, ::-1]], axis=2)


_omp = functools.partial(gj.omp, sparsity=K)

CALLS = dict(_solvers()) | dict(_nets()) | dict(_functions()) | dict(_operators()) | {
    "recover": lambda A, Y, X: gj.recover(pursuit.OMP(K), A, Y[0], tau=0.1),
    "encode": lambda A, Y, X: gj.encode(pursuit.OMP(K), A, Y),
    "recover_batch": lambda A, Y, X: gj.recover_batch(pursuit.OMP(K), A, Y),
    "omp, tolerances": lambda A, Y, X: _omp(A, Y[0], rtol=0.1, atol=jnp.abs(X[0, 0])),
    "omp_batch, tolerances": lambda A, Y, X: gj.omp_batch(A, Y, sparsity=K, atol=jnp.abs(X[:, 0])),
    "iht, start": lambda A, Y, X: gj.iht(
        A, Y[0], sparsity=K, x0=X[0], step_size=jnp.abs(X[0, 0]), **STEPS
    ),
    "Levels": lambda A, Y, X: gj.soft_cosamp(
        A, Y[0], sparsity=2, tau=0.1, structure=Levels(np.arange(N) % 2, (1, 1)), **STEPS
    ),
    "OrderRecursive": lambda A, Y, X: gj.recover(
        pursuit.OMP(K, fit=pursuit.OrderRecursive()), A, Y[0]
    ),
    "RootLasso": lambda A, Y, X: gj.recover(
        pursuit.OMP(K, fit=pursuit.RootLasso(level=0.1 * jnp.abs(X[0]))), A, Y[0]
    ),
    "Blocks": lambda A, Y, X: gj.omp(A, Y[0], sparsity=K, structure=BLOCKS),
    "Blocks, soft": lambda A, Y, X: gj.soft_iht(
        A, Y[0], sparsity=K, tau=0.1, structure=BLOCKS, **STEPS
    ),
    "SharedSupport": lambda A, Y, X: gj.omp_batch(
        A, frames_of(Y), sparsity=K, structure=SharedSupport()
    ),
    "SharedSupport, net": lambda A, Y, X: net_of(A, structure=SharedSupport())(frames_of(Y)),
    "PerStep": lambda A, Y, X: _omp(A, Y[0], weights=jnp.abs(X[:K])),
    "Tree": lambda A, Y, X: _omp(A, Y[0], weights=policies.Tree((np.arange(N) - 1) // 2)),
    "Interactions": lambda A, Y, X: gj.soft_omp(
        A, Y[0], sparsity=K, tau=0.1, weights=_interacting(A, Y, X)
    ),
    "Interactions, selection": lambda A, Y, X: losses.selection(
        net_of(A, weights=_interacting(A, Y, X)), Y
    ),
    "selection": lambda A, Y, X: losses.selection(net_of(A), Y),
    "selection, IHTNet": lambda A, Y, X: losses.selection(net_of(A, "IHTNet"), Y, X),
    "residual": lambda A, Y, X: losses.residual(net_of(A), Y),
    "residual, Atoms": lambda A, Y, X: losses.residual(
        net_of(nets.Atoms(A, learned=True), "IHTNet"), Y
    ),
    "hidden_rows": lambda A, Y, X: losses.hidden_rows(folds=3)(net_of(A), Y),
    "prior": lambda A, Y, X: net_of(A).harden(prior=prior_of(A, jnp.float64))(Y),
    "GaussianPrior": lambda A, Y, X: prior_of(A).refit(A, Y, jnp.array([[1, 2]] * 3)),
    "dictionary": lambda A, Y, X: gj.omp_batch(gj.dictionary(A), Y, sparsity=K),
    "MatrixFree": lambda A, Y, X: gj.iht(matrix_free(A), Y[0], sparsity=K, num_steps=3),
    "MatrixFree, prepared": lambda A, Y, X: _omp(
        gj.dictionary(matrix_free(A, norms=False)), Y[0]
    ),
    "BCOO": lambda A, Y, X: _omp(sparse.BCOO.fromdense(A, nse=M * N), Y[0]),
    "as_operator": lambda A, Y, X: operators.as_operator(A).matvec(X[0]),
    "relative_tau": lambda A, Y, X: gj.relative_tau(A, Y[0], 0.1),
    "stack_real": lambda A, Y, X: gj.stack_real(A, Y),
    "same_path": lambda A, Y, X: certificates.same_path(A, Y[0], sparsity=K, tau=0.01),
    "whiten": lambda A, Y, X: whitened(A, X),
    "measurements": lambda A, Y, X: whitened(A, X).measurements(Y),
    "complete": lambda A, Y, X: whitened(A, X).complete(Y, X),
    "hidden_measurement_error": _hidden_error,
    "sparse_bayes": lambda A, Y, X: training.sparse_bayes(A, Y),
    "count_weights": lambda A, Y, X: training.count_weights(A, Y, sparsity=K),
    "temper_weights": _tempered,
}  # fmt: skip


# Operators that are complex whatever the matrix is.
COMPLEX = {"MaskedFFT", "Steering"}
# Why each is not here.
LEFT_OUT = {
    # What the calls return, and values that hold no arrays.
    *(
        "Recovery",
        "Codes",
        "PackedCodes",
        "Dictionary",
        "Whitened",
        "Certificate",
        "FitResult",
        "Prior",
        "Learned",
        "Loss",
    ),
    *("Atoms", "Temperature", "StepSize", "Weights"),
    # They run by themselves, and cannot be traced; `test_promotion.py` trains.
    *("fit", "fit_many", "learn_interactions", "learn_dictionary"),
    # What the last of them takes and returns; `training/test_dictionary.py` runs it.
    *("KSVD", "MOD", "OnlineGradient", "DictionaryUpdate", "Coded", "LearnedDictionary"),
    # It returns nothing; the others are those of `operators/test_ready.py`.
    *("check_adjoint", "from_pylops", "Product"),
    "Unrolled",  # Every network.
}


def floating(tree):
    """The arrays of floating-point or complex numbers in it."""
    return [z for z in jax.tree.leaves(tree) if jnp.issubdtype(z.dtype, jnp.inexact)]
