"""How long does the soft top-k mask take, with its gradient, beside the dense form, as n grows?

The dense form builds the k rows of softsort and adds them up. float32, tau a tenth of the spread of
the k largest scores; memory is what the compiled function takes beside its arguments.

    python benchmarks/mask.py
"""

import jax
import jax.numpy as jnp
from common import timed, write_result

import greedyjax as gj

SIZES = [(1024, 32), (4096, 64), (16_384, 128), (65_536, 512), (262_144, 512), (1_048_576, 512)]
SIZES += [(1_048_576, 10_000)]
DENSE_NUMBERS = 2**26  # More than this would be no comparison but a test of the memory.


def main() -> None:
    rows = []
    for n, k in SIZES:
        for name, mask in (("greedyjax", soft), ("dense", dense)):
            if name == "dense" and n * k > DENSE_NUMBERS:
                continue
            rows.append({"method": name, "n": n, "k": k, **measure(mask, n, k)})
            print(rows[-1])
    write_result("mask", {"dtype": "float32", "rows": rows})


def soft(scores, tau, k):
    return gj.soft_topk_mask(scores, k=k, tau=tau)


def dense(scores, tau, k):
    return jnp.sum(gj.softsort(scores, k=k, tau=tau), axis=0)


def measure(mask, n: int, k: int) -> dict:
    scores = jnp.abs(jax.random.normal(jax.random.key(0), (n,)))
    largest = jax.lax.top_k(scores, k)[0]
    tau = (largest[0] - largest[-1]) / 10
    cotangent = jax.random.normal(jax.random.key(1), (n,))

    def both(scores, tau):
        return jax.value_and_grad(lambda *a: jnp.vdot(mask(*a, k), cotangent), (0, 1))(scores, tau)

    compiled = jax.jit(both).lower(scores, tau).compile()
    memory = compiled.memory_analysis()
    megabytes = (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 1e6
    return {
        **timed(compiled, scores, tau, repeats=20 if n * k < 2**25 else 5),
        "megabytes": megabytes,
    }


if __name__ == "__main__":
    main()
