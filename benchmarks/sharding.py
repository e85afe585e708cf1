"""What do two devices gain over one, for recovery and for training?

Two host devices, each with one thread, beside one device of the same kind in a process of its own:
XLA lets a large product of one device use all processors, which would hide what sharding gains. The
processes take turns, so that whatever the machine does meets both.

    python benchmarks/sharding.py
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np
from common import write_result

ROUNDS, REPEATS = 5, 3
FLAGS = "--xla_force_host_platform_device_count={} --xla_cpu_multi_thread_eigen=false"
CASES = ("omp_batch", "vmap(omp)", "fit OMPNet", "fit IHTNet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="write results/sharding.json")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measured(arguments.child)))
        return
    runs = {1: [], 2: []}
    for _ in range(ROUNDS):
        for devices, found in runs.items():
            found.append(in_a_process(devices))
    rows = []
    for case in CASES:
        one, two = (float(np.median([run[case] for run in runs[d]])) for d in (1, 2))
        rows.append({"case": case, "one_device_s": one, "two_devices_s": two, "gain": one / two})
        print(f"{case:12} one {one:.4f} s, two {two:.4f} s, gain {one / two:.2f}")
    if arguments.write:
        write_result("sharding", {"rounds": ROUNDS, "rows": rows})


def in_a_process(devices: int) -> dict:
    """The times with so many devices; one device keeps to one processor."""
    cores = sorted(os.sched_getaffinity(0))[:devices]
    child = subprocess.run(
        [sys.executable, __file__, "--child", str(devices)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": FLAGS.format(devices)},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(child.stdout.splitlines()[-1])


def measured(devices: int) -> dict[str, float]:
    """Seconds of each case, the best of a few: here other programs only add."""
    import jax
    import optax
    from common import timed
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    import greedyjax as gj
    from greedyjax import nets, problems, training

    mesh = jax.make_mesh((devices,), ("signals",), axis_types=(AxisType.Auto,))
    place = lambda *arrays: jax.device_put(arrays, NamedSharding(mesh, PartitionSpec("signals")))
    A = problems.gaussian(jax.random.key(0), 64, 256)
    (Y,) = place(jax.random.normal(jax.random.key(1), (4096, 64)))
    solvers = {
        "omp_batch": lambda Y: gj.omp_batch(A, Y, sparsity=8),
        "vmap(omp)": jax.jit(jax.vmap(lambda y: gj.omp(A, y, sparsity=8))),
    }
    times = {
        name: timed(solve, Y, repeats=REPEATS)["median_ms"] / 1e3 for name, solve in solvers.items()
    }
    A, Y, X, _ = problems.sparse_in_levels(jax.random.key(0), num_signals=1024 + 256)
    networks = {
        "fit OMPNet": nets.OMPNet(A, sparsity=10, tau=0.1),
        "fit IHTNet": nets.IHTNet(A, sparsity=10, num_layers=10, tau=0.1),
    }
    for name, net in networks.items():
        fitted = training.fit(
            net, place(Y[:1024], X[:1024]), place(Y[1024:], X[1024:]), num_epochs=4,
            optimizer=optax.adam(3e-2), batch_size=128, key=jax.random.key(1), progress=False,
        )  # fmt: skip
        times[name] = float(np.median(fitted.history["seconds"][2:]))
    return times


if __name__ == "__main__":
    main()
