"""What do two devices, or two processes, gain over one, for recovery and for training?

Each device has one thread and each process its own processors: XLA lets a large product of one
device use all processors, which would hide what sharding gains. One process beside them has both
processors and XLA's own settings, as a user has them who shards nothing. The processes take turns,
so that whatever the machine does meets all of them.

    python benchmarks/sharding.py
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile

import numpy as np
from common import write_result

REPEATS = 30
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
# Of each kind of run the processors of each of its processes, and the devices of one.
KINDS = {
    "one device": ([1], 1),
    "two devices": ([2], 2),
    "two processes": ([1, 1], 1),
    "not pinned": ([2], 1),
}
RECOVERY = ("omp_batch", "omp_batch, Auto axes", "vmap(omp)")
TRAINING = ("fit OMPNet", "fit IHTNet", "fit IHTNet, 512")  # Not of two processes: see below.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write results/sharding.json")
    arguments = parser.parse_args()
    if arguments.child:
        devices, rank, num, port = map(int, arguments.child)
        print(json.dumps(measured(devices, rank, num, port)))
        return
    runs = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as programs:  # Compiled once a kind.
        for _ in range(arguments.rounds):
            for kind, found in runs.items():
                found.append(at_once(kind, programs))
                print(kind, found[-1], flush=True)
    rows = []
    for case in RECOVERY + TRAINING:
        kinds = [kind for kind in KINDS if case in runs[kind][0]]
        seconds = {kind: float(np.median([each[case] for each in runs[kind]])) for kind in kinds}
        gains = {kind: seconds["one device"] / value for kind, value in seconds.items()}
        rows.append({"case": case, "seconds": seconds, "gains": gains})
        print(case, {kind: f"{seconds[kind]:.4f} s, {gains[kind]:.2f}" for kind in kinds})
    if arguments.write:
        write_result("sharding", {"rounds": arguments.rounds, "rows": rows})


def at_once(kind: str, programs: str) -> dict[str, float]:
    """The times of one kind of run: of several processes, those of the slowest."""
    processors, devices = KINDS[kind]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    flags = f"--xla_force_host_platform_device_count={devices} "
    environment = {
        "JAX_COMPILATION_CACHE_DIR": programs,
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": flags + ("" if kind == "not pinned" else ONE_THREAD),
    }
    started, free_ones = [], sorted(os.sched_getaffinity(0))
    for rank, count in enumerate(processors):
        mine = free_ones[rank : rank + count]
        child = [str(devices), str(rank), str(len(processors)), port]
        started.append(
            subprocess.Popen(
                [sys.executable, __file__, "--child", *child],
                env=environment,
                preexec_fn=lambda mine=mine: os.sched_setaffinity(0, mine),
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    texts = [each.communicate()[0] for each in started]
    assert not any(each.returncode for each in started)
    found = [json.loads(text.splitlines()[-1]) for text in texts]
    return {case: max(each[case] for each in found) for case in found[0]}


def measured(devices: int, rank: int, num: int, port: int) -> dict[str, float]:
    """Seconds of each case, the median of a few."""
    import jax

    if num > 1:
        jax.distributed.initialize(f"localhost:{port}", num, rank)
    import optax
    from common import timed
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    import greedyjax as gj
    from greedyjax import nets, problems, training

    parts = devices * num
    mesh = jax.make_mesh((parts,), ("signals",), axis_types=(AxisType.Auto,))
    by_signal = NamedSharding(mesh, PartitionSpec("signals"))

    def place(*arrays, to=by_signal):
        mine = [np.split(np.asarray(array), num)[rank] for array in arrays]
        return tuple(jax.make_array_from_process_local_data(to, each) for each in mine)

    A = problems.gaussian(jax.random.key(0), 64, 256)
    Y = jax.random.normal(jax.random.key(1), (4096, 64))
    explicit = jax.make_mesh((parts,), ("signals",), axis_types=(AxisType.Explicit,))
    spread = {
        kind: (
            jax.device_put(np.asarray(A), NamedSharding(over, PartitionSpec())),
            *place(Y, to=NamedSharding(over, PartitionSpec("signals"))),
        )
        for kind, over in (("Explicit", explicit), ("Auto", mesh))
    }
    batch = lambda A, Y: gj.omp_batch(A, Y, sparsity=8)
    each = jax.jit(lambda A, Y: jax.vmap(lambda y: gj.omp(A, y, sparsity=8))(Y))
    solvers = {
        "omp_batch": (batch, spread["Explicit"]),
        "omp_batch, Auto axes": (batch, spread["Auto"]),
        "vmap(omp)": (each, spread["Explicit"]),
    }
    times = {
        name: timed(solve, *arrays, repeats=REPEATS)["median_ms"] / 1e3
        for name, (solve, arrays) in solvers.items()
    }
    if num > 1:  # What it compiles is not kept, and takes a minute each time.
        return times
    A, Y, X, _ = problems.sparse_in_levels(jax.random.key(0), num_signals=1024 + 256)
    iht = nets.IHTNet(A, sparsity=10, num_layers=10, tau=0.1)
    for name, net, batch_size in [
        ("fit OMPNet", nets.OMPNet(A, sparsity=10, tau=0.1), 128),
        ("fit IHTNet", iht, 128),
        ("fit IHTNet, 512", iht, 512),
    ]:
        fitted = training.fit(
            net, place(Y[:1024], X[:1024]), place(Y[1024:], X[1024:]), num_epochs=12,
            optimizer=optax.adam(3e-2), batch_size=batch_size, key=jax.random.key(1),
            shards=parts, progress=False,
        )  # fmt: skip
        times[name] = float(np.median(fitted.history["seconds"][2:]))
    return times


if __name__ == "__main__":
    main()
