"""`greedyjax recover`: recovers many signals with a stored model."""

import os
from argparse import Namespace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from greedyjax import _checks, encode, stack_real, streaming
from greedyjax.commands import _files, _long_runs
from greedyjax.commands._files import CommandError
from greedyjax.pursuit import HTP, IHT, OMP, CoSaMP, Hardened, SubspacePursuit


def recover(options: Namespace) -> None:
    """Reads measurements, recovers them batch by batch, and writes the signals."""
    model = _files.read_model(options.model)
    if os.path.isdir(options.measurements):
        _recover_folder(options, model)
        return
    for name in ("shard_size", "rank", "num_processes"):
        if getattr(options, name) is not None:
            raise CommandError(f"--{name.replace('_', '-')}: only with a folder of measurements")
    Y = _files.read_npy(options.measurements)
    single = Y.ndim == 1
    Y = Y[None] if single else Y
    Y = _files.numbers(str(options.measurements), Y, ("num", len(model.A)))
    out = Path(options.out)
    if os.path.exists(out) and not options.overwrite:
        raise CommandError(f"{out}: exists; choose another --out or pass --overwrite")
    if not out.parent.is_dir():
        raise CommandError(f"{out.parent}: no such folder")

    A = jnp.asarray(model.A)

    def solve(recoverer, A, batch):
        return recoverer(stack_real(A, batch)[1] if model.real else batch)

    size, num_threads = streaming.batches_of(len(Y), options.batch_size, None)
    try:
        recoverer = _recoverer(options, model, A)
        batch = jax.ShapeDtypeStruct((size, *Y.shape[1:]), jnp.result_type(Y))
        compiled = jax.jit(solve).lower(recoverer, A, batch).compile()
    except (TypeError, ValueError) as error:
        raise CommandError(f"{options.model}: {error}") from error

    _long_runs.say("recover", memory=_long_runs.memory_of(compiled, num_threads))
    begin = perf_counter()
    found = streaming.batches(
        partial(compiled, recoverer, A), Y, batch_size=options.batch_size, progress=True
    )
    with _files.replacing(out) as file:
        for start, X in found:
            if start == 0:
                # The time so far is that of one batch per thread.
                rounds = (len(Y) - len(X)) / (len(X) * num_threads)
                _long_runs.say("recover", seconds=rounds * (perf_counter() - begin))
                _write_header(file, X, (X.shape[1],) if single else (len(Y), X.shape[1]))
            file.write(np.ascontiguousarray(X).tobytes())
    print(f"wrote {out}: {len(Y)} signals of {model.A.shape[1]} coefficients")


def _recover_folder(options: Namespace, model: _files.Model) -> None:
    """Recovers the signals of a folder shard by shard, and keeps shards that are stored already."""
    if options.overwrite:
        raise CommandError("--overwrite: only with Y.npy; remove the folder to begin anew")
    A, out = jnp.asarray(model.A), options.out

    @jax.jit
    def solve(recoverer, A, batch):
        Y = stack_real(A, batch)[1] if model.real else batch
        if isinstance(recoverer, Hardened) and recoverer.prior is None:
            return encode(recoverer.method, recoverer.A, Y, weights=recoverer.policy)
        return {"x": recoverer(Y)}  # These answers have no zeros.

    settings = {"rank": options.rank, "num_processes": options.num_processes}
    if options.shard_size:
        settings["shard_size"] = options.shard_size
    try:
        recoverer = _recoverer(options, model, A)
    except (TypeError, ValueError) as error:
        raise CommandError(f"{options.model}: {error}") from error
    try:
        found = streaming.recover_shards(
            partial(solve, recoverer, A),
            options.measurements,
            out,
            batch_size=options.batch_size,
            progress=True,
            **settings,
        )
    except (ImportError, OSError, TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    if len(found.bad):
        listed = ", ".join(map(str, found.bad[:10])) + (", ..." if len(found.bad) > 10 else "")
        listed += f" ({len(found.bad)} in all)"
        print(f"signals with NaN or infinity, which are not recovered: {listed}")
    print(f"wrote {out}: {found.finished.sum()} of {len(found.finished)} shards are stored")


def _recoverer(options: Namespace, model: _files.Model, A: jax.Array) -> Any:
    """The network, its hard solver, or another hard solver with the same weights."""
    solver = None  # The model's own solver.
    if options.solver:
        kinds = {"htp": HTP, "subspace_pursuit": SubspacePursuit, "cosamp": CoSaMP}
        solver = kinds[options.solver](model.sparsity, options.num_steps or 20)
    elif options.num_steps:
        raise CommandError("--num-steps: only with --solver; the model has its own steps")
    return _network(model, A) if options.soft else _hard_solver(model, A, solver)


def _hard_solver(model: _files.Model, A: jax.Array, solver: Any) -> Hardened:
    _checks.scalar("tau", model.tau, positive=True)  # Every model has it, for the soft solver.
    A, weights = _system(model, A)
    method = OMP(model.sparsity)
    if model.method == "iht":
        num_layers = _checks.static_int("num_layers", model.num_layers, minimum=1)
        method = IHT(model.sparsity, num_layers, step_size=model.step_size)
    prior = jax.tree.map(jnp.asarray, model.prior)
    m, n = A.shape
    return Hardened.of(method.checked((m, n), A.dtype), solver, A, weights, prior)


def _network(model: _files.Model, A: jax.Array) -> Any:
    from greedyjax.nets import IHTNet, OMPNet  # This loads flax, which hard solvers do not need.

    A, weights = _system(model, A)
    shared = {"sparsity": model.sparsity, "tau": model.tau, "weights": weights}
    if model.method == "omp":
        return OMPNet(A, **shared)
    return IHTNet(A, num_layers=model.num_layers, step_size=model.step_size, **shared)


def _system(model: _files.Model, A: jax.Array) -> tuple[jax.Array, Any]:
    """The matrix for the solver, which is stacked for a real system, and the weights."""
    if model.real:
        A = stack_real(A, jnp.zeros(len(A), A.dtype))[0]
    return A, jax.tree.map(jnp.asarray, model.weights)


def _write_header(file, X: np.ndarray, shape: tuple[int, ...]) -> None:
    settings = {"descr": np.lib.format.dtype_to_descr(X.dtype), "fortran_order": False}
    np.lib.format.write_array_header_2_0(file, {**settings, "shape": shape})
