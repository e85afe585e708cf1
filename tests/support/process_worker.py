"""One of several processes that recover and train together; `test_processes.py` starts them.

    python process_worker.py RANK NUM PORT FOLDER TASK

Writes what it computed to FOLDER/TASK-RANK.npz. Alone, NUM = 1, it is the oracle.
"""

import sys
from pathlib import Path

import jax
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import greedyjax as gj
from greedyjax.nets import OMPNet
from greedyjax.training import fit, losses

M, N, K, NUM, SHARDS = 12, 24, 3, 48, 4
RNG = np.random.default_rng(0)
A = RNG.standard_normal((M, N))
X = np.zeros((NUM, N))
for x in X:
    x[RNG.choice(8, K, replace=False)] = 1 + np.arange(K)  # Something to learn.
Y = X @ A.T + 0.01 * RNG.standard_normal((NUM, M))


def placed(rows, mesh):
    """Rows of which each process holds its own, as one array."""
    mine = np.split(rows, jax.process_count())[jax.process_index()]
    return jax.make_array_from_process_local_data(NamedSharding(mesh, P("signals")), mine)


def own_rows(array):
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def recover(mesh, folder):
    """The shards that this process owns, by a batch, under vmap, and from its own signals alone."""
    matrix, signals = jax.device_put(A, NamedSharding(mesh, P())), placed(Y, mesh)
    batch = gj.omp_batch(matrix, signals, sparsity=K, rtol=0.01)
    gram = gj.omp_batch(matrix, signals, sparsity=K)
    each = jax.jit(jax.vmap(lambda y: gj.iht(matrix, y, sparsity=K, num_steps=4)))(signals)
    alone = gj.omp_batch(A, own_rows(signals), sparsity=K, rtol=0.01)
    return {
        "batch": own_rows(batch.x), "steps": own_rows(batch.num_steps), "gram": own_rows(gram.x),
        "each": own_rows(each.x), "alone": np.asarray(alone.x),
    }  # fmt: skip


def trained(mesh, folder, *, num_epochs=4, **settings):
    data = placed(Y, mesh), placed(X, mesh)
    net = OMPNet(A, sparsity=K, tau=0.3)
    fitted = fit(
        net, data, data, optimizer=optax.adam(0.05), num_epochs=num_epochs, batch_size=16,
        key=jax.random.key(1), shards=SHARDS, loss=losses.selection, **settings,
    )  # fmt: skip
    found = fitted.net.harden()(Y[:4])  # With arrays of this process alone.
    return {
        "weights": np.asarray(fitted.net.weights.get_value()), "found": np.asarray(found),
        "train_loss": fitted.history["train_loss"][1:], "val_loss": fitted.history["val_loss"],
    }  # fmt: skip


def resumed(mesh, folder):
    """Trained in two parts, the second from the checkpoint of the first."""
    settings = {"checkpoint_dir": folder / "checkpoints"}
    trained(mesh, folder, num_epochs=2, **settings)
    seen = []
    found = trained(mesh, folder, callback=lambda epoch, _: seen.append(epoch), **settings)
    return {**found, "epochs": np.array(seen)}


def refused(mesh, folder):
    """Training goes on from a checkpoint of another number of processes: what it says."""
    try:
        trained(mesh, folder, checkpoint_dir=folder / "checkpoints")
    except ValueError as error:
        return {"message": np.array(str(error))}
    raise AssertionError("it went on")


def separate(mesh, folder):
    """Training of this process alone, with checkpoints of its own."""
    settings = {"num_epochs": 1, "batch_size": 16, "key": jax.random.key(1)}
    fitted = fit(
        OMPNet(A, sparsity=K, tau=0.3), (Y, X), optimizer=optax.adam(0.05),
        checkpoint_dir=folder / f"own checkpoints {jax.process_index()}", **settings,
    )  # fmt: skip
    return {"weights": np.asarray(fitted.net.weights.get_value())}


def interrupted(mesh, folder):
    """Told to end by one process alone, in the second epoch."""
    import os
    import signal

    def callback(epoch, metrics):
        if epoch == 2 and jax.process_index() == jax.process_count() - 1:
            os.kill(os.getpid(), signal.SIGINT)

    return trained(mesh, folder, callback=callback)


FUNCTIONS = (recover, trained, resumed, refused, separate, interrupted)
TASKS = {function.__name__: function for function in FUNCTIONS}


def main(rank, num, port, folder, tasks):
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)  # Compiling is most of the time.
    jax.config.update("jax_num_cpu_devices", SHARDS // num)
    if num > 1:
        jax.distributed.initialize(f"localhost:{port}", num, rank)
    mesh = jax.make_mesh((SHARDS,), ("signals",), axis_types=(AxisType.Auto,))
    for task in tasks.split(","):
        np.savez(folder / f"{task}-{rank}.npz", **TASKS[task](mesh, folder))


if __name__ == "__main__":
    rank, num, port, folder, tasks = sys.argv[1:]
    main(int(rank), int(num), int(port), Path(folder), tasks)
