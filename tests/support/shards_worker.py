"""A process that recovers shards; `test_shards.py` starts it, and kills it.

    python shards_worker.py OUT RANK NUM_PROCESSES NUM_SHARDS SHARD_SIZE

Prints the most bytes that it held in memory.
"""

import resource
import sys
import time
from functools import partial

import jax
import numpy as np

import greedyjax as gj
from greedyjax import streaming
from greedyjax.pursuit import OMP

M, N, K = 16, 40, 3
A = np.random.default_rng(0).standard_normal((M, N)).astype(np.float32)


def shard(index, size, num):
    """The signals of a shard, of which one is bad; the last shard is shorter."""
    time.sleep(0.01)  # There is always work left when the process is killed.
    rows = np.random.default_rng(index).standard_normal((size, M), np.float32)
    rows[index % size] = np.nan
    return rows[: num - index * size]


def main(out, *numbers):
    rank, num_processes, num_shards, size = map(int, numbers)
    num = num_shards * size - 1
    found = streaming.recover_shards(
        jax.jit(partial(gj.encode, OMP(K), A)),
        partial(shard, size=size, num=num),
        out,
        num=num,
        shard_size=size,
        batch_size=256,
        rank=rank,
        num_processes=num_processes,
    )
    assert found.finished[rank::num_processes].all()
    sys.stdout.write(f"{1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
