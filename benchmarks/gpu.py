"""What a GPU makes of it: everything about a GPU in one call of less than nine minutes.

    python benchmarks/gpu.py [--sections NAME ...] [--seconds S] [--toy] [--out JSON]

The sections are training steps, hard OMP at the sizes that orthogonal-matching-pursuit-gpu
publishes and at those of key-value caches, whether atoms are those of the CPU and those of double
precision, memory, `vmap(omp)` beside `omp_batch`, hard IHT, soft masks, and that package on the
same arrays, where it is installed. The results are written after each measurement. One that fails
is recorded with its error, and loses nothing of the others. Once the seconds are used up, those
that are left are recorded as not begun.

Times are medians after the first call, with arrays that lie on the device and answers that stay
there. "megabytes" is what the compiled function takes beside its arguments, answers included.
--toy does all of it at sizes that a CPU does in seconds, and writes to --out alone.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import timed, write_result
from vectors import vectors

Job = tuple[dict, Callable[[], dict]]  # What is measured, and the measurement.
Section = Callable[[bool], Iterable[Job]]  # At toy sizes, or not.

SECONDS, REPEATS, CHECKED = 480, 10, 256

# m, n, k, signals. The first three are those of orthogonal-matching-pursuit-gpu: patches, faces,
# audio. A model's cache has vectors of 64 or 128 numbers (Lexico).
OF_OMP_GPU = [(256, 1024, 32, 5000), (8064, 1207, 30, 1200), (512, 2048, 64, 5000)]
OF_CACHES = [
    (64, 1024, 4, 100_000),
    (64, 1024, 8, 100_000),
    (64, 4096, 16, 100_000),
    (128, 1024, 8, 100_000),
    (128, 4096, 8, 100_000),
    (128, 4096, 32, 20_000),
]
ALIKE = [(64, 256, 8, 8192), (256, 1024, 32, 2048)]
# The constants of `greedyjax.pursuit.plan` on a GPU were not taken from these.
UNSEEN = [
    (128, 512, 16, 20_000),
    (256, 4096, 16, 5000),
    (96, 2048, 24, 10_000),
    (512, 1024, 16, 10_000),
]
OF_IHT = [(256, 1024, 16, 2048), (64, 256, 4, 8192), (512, 2048, 32, 512)]
LARGE = [(576, 131_072, 40, 512)]
MASKS = [(1024, 32), (16_384, 128), (65_536, 512), (1_048_576, 512)]
DICTIONARIES, STEPS_OF_IHT = 8, 30
problem = lru_cache(maxsize=1)(vectors)  # Several methods in a row are given the same.
TOY, TOY_MASKS = [(16, 32, 2, 24)], [(64, 4)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Times everything on one GPU.")
    parser.add_argument("--sections", nargs="+", choices=[*SECTIONS], default=[*SECTIONS])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="begin nothing after these")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, to see that all of it runs")
    parser.add_argument("--out", type=Path, help="where the results go")
    options = parser.parse_args(arguments)
    if options.toy and not options.out:
        parser.error("--toy needs --out, as its times are not results")

    def write(found: dict[str, list[dict]]) -> None:
        settings = {"dtype": "float32", "toy": options.toy, "seconds": perf_counter() - start}
        write_result("gpu", {**settings, "sections": found}, options.out)

    start = perf_counter()
    chosen = {name: SECTIONS[name] for name in options.sections}
    run_sections(chosen, options.toy, start + options.seconds, write)


def run_sections(
    sections: dict[str, Section], toy: bool, until: float, write: Callable[[dict], None]
) -> dict[str, list[dict]]:
    """The rows of each section; ``write`` is called with all that there are after each of them."""
    found: dict[str, list[dict]] = {name: [] for name in sections}
    write(found)  # What keeps it from writing shows before anything is measured.
    for name, section in sections.items():
        for row in rows_of(section, toy, until):
            found[name].append(row)
            print(name, row, flush=True)
            write(found)
    return found


def rows_of(section: Section, toy: bool, until: float) -> Iterator[dict]:
    """What is measured, with what came out, or with why nothing did."""
    try:
        for labels, measurement in section(toy):
            if perf_counter() > until:
                yield {**labels, "not_begun": "the time was used up"}
                continue
            begun = perf_counter()
            try:
                row = measurement()
            except Exception as error:
                row = {"error": f"{type(error).__name__}: {error}"[:500]}
            yield {**labels, **row, "all_of_it_s": perf_counter() - begun}
    except Exception as error:  # A package that is not there, most likely.
        yield {"error": f"{type(error).__name__}: {error}"[:500]}


# --- The sections ---------------------------------------------------------------------------------


def training(toy: bool) -> Iterator[Job]:
    """A step of 64 signals, value and gradient, as in train_step.py."""
    import train_step

    from greedyjax.nets import IHTNet, OMPNet
    from greedyjax.problems import sparse_in_levels
    from greedyjax.training import losses

    sparsity, layers, few = (2, 2, {"num_signals": 4}) if toy else (10, 30, {"num_signals": 64})

    def step(net, problem, loss) -> dict:
        prepared = train_step.Net(net, problem, layers)
        steps = train_step.our_step(prepared, loss)  # Several in a row.
        times = timed(steps, repeats=2 if toy else REPEATS)
        return {
            "median_ms": times["median_ms"] / train_step.IN_A_ROW,
            "first_call_s": times["first_call_s"],
        }

    omp, iht = (sparse_in_levels(jax.random.key(0), num_measurements=m, **few) for m in (20, 36))
    nets = {
        f"OMP-Net, {sparsity} layers": (OMPNet(omp.A, sparsity=sparsity), omp),
        f"IHT-Net, {layers} layers": (
            IHTNet(iht.A, sparsity=sparsity, num_layers=layers, step_size=0.5), iht,
        ),
    }  # fmt: skip
    for name, (net, problem) in nets.items():
        for loss in (losses.reconstruction, losses.selection):
            yield {"net": name, "loss": loss.__name__}, partial(step, net, problem, loss)


def omp(toy: bool) -> Iterator[Job]:
    """Hard OMP in both forms."""
    import forms

    def measure(by_gram: bool, m, n, k, num) -> dict:
        A, support, Y = on_device(m, n, k, num)
        solve = partial(forms.in_form, sparsity=k, by_gram=by_gram, size=None, dense=True)
        row, found = measured(solve, A, Y, toy)
        return {**row, "exact_recovery": forms.same(found.support, support)}

    for sizes in TOY if toy else [*OF_OMP_GPU, *ALIKE, *UNSEEN]:
        for form in (True, False):
            yield {**labelled(sizes), **of_form(sizes, form)}, partial(measure, form, *sizes)


def rivals(toy: bool) -> Iterator[Job]:
    """orthogonal-matching-pursuit-gpu on the same arrays, with answers that stay on the GPU."""
    import forms
    import peers

    def measure(m, n, k, num) -> dict:
        A, support, Y = problem(m, n, k, num)
        solve = peers.by_torch(A, Y, k)
        times = timed(solve, repeats=2 if toy else REPEATS)
        found = peers.signals(solve(), n)
        largest = np.argpartition(-np.abs(found), k - 1, axis=1)[:, :k]
        return {**times, "exact_recovery": forms.same(largest, support)}

    for sizes in TOY if toy else [*OF_OMP_GPU, *OF_CACHES]:
        yield {**labelled(sizes), "method": "omp-gpu v0"}, partial(measure, *sizes)


def caches(toy: bool) -> Iterator[Job]:
    """Sparse codes of many short vectors, in single and half precision; several dictionaries."""
    import forms

    import greedyjax as gj
    from greedyjax.pursuit import OMP

    def per_second(row: dict, num: int) -> dict:
        return {**row, "per_second": 1e3 * num / row["median_ms"]}

    def code(solve, dtype, m, n, k, num) -> dict:
        A, _, Y = on_device(m, n, k, num)
        return per_second(measured(solve(k), A.astype(dtype), Y.astype(dtype), toy)[0], num)

    def code_several(m, n, k, num) -> dict:
        A, _, Y = on_device(m, n, k, num)
        A = jnp.stack([A] * DICTIONARIES)
        Y = Y[: num // DICTIONARIES * DICTIONARIES].reshape(DICTIONARIES, -1, m)
        return per_second(measured(jax.vmap(planned(k)), A, Y, toy)[0], Y[..., 0].size)

    def planned(k):
        return partial(gj.encode, OMP(sparsity=k))

    def formed(by_gram, k):
        return partial(forms.in_form, sparsity=k, by_gram=by_gram, size=None, dense=False)

    for sizes in TOY if toy else OF_CACHES:
        for form in (True, False):
            labels = {**labelled(sizes), "dtype": "float32", **of_form(sizes, form)}
            yield labels, partial(code, partial(formed, form), jnp.float32, *sizes)
    sizes = TOY[0] if toy else OF_CACHES[1]
    labels = {**labelled(sizes), "dtype": "bfloat16", "method": "as planned"}
    yield labels, partial(code, planned, jnp.bfloat16, *sizes)
    labels = {**labelled(sizes), "dtype": "float32", "method": f"{DICTIONARIES} dictionaries"}
    yield labels, partial(code_several, *sizes)


def atoms(toy: bool) -> Iterator[Job]:
    """Whether the first signals of each problem get the atoms that they get on the CPU."""
    import forms

    import greedyjax as gj

    def compare(m, n, k, num) -> dict:
        A, _, Y = problem(m, n, k, min(num, CHECKED))
        solve = jax.jit(gj.omp_batch, static_argnames="sparsity")
        here = np.asarray(solve(jnp.asarray(A), jnp.asarray(Y), sparsity=k).support)
        with jax.default_device(jax.devices("cpu")[0]):
            there = np.asarray(solve(A, Y, sparsity=k).support)
        oracle = forms.greedy_atoms(A, Y, k, recursive=False)
        return {"as_on_cpu": forms.same(here, there), "as_in_float64": forms.same(here, oracle)}

    for sizes in TOY if toy else [*ALIKE, *OF_OMP_GPU[:2], OF_CACHES[1], OF_CACHES[4]]:
        yield labelled(sizes), partial(compare, *sizes)


def mapped(toy: bool) -> Iterator[Job]:
    """`vmap` of `omp` beside `omp_batch`."""
    import forms

    import greedyjax as gj

    def measure(several: bool, m, n, k, num) -> dict:
        A, support, Y = on_device(m, n, k, num)
        each = jax.vmap(partial(gj.omp, sparsity=k), (None, 0))
        solve = partial(gj.omp_batch, sparsity=k) if several else each
        row, found = measured(solve, A, Y, toy)
        return {**row, "exact_recovery": forms.same(found.support, support)}

    for sizes in TOY if toy else ALIKE:
        for name, several in (("omp_batch", True), ("vmap(omp)", False)):
            yield {**labelled(sizes), "method": name}, partial(measure, several, *sizes)


def iht(toy: bool) -> Iterator[Job]:
    """Hard IHT, with the time that its products alone take."""
    import greedyjax as gj

    def measure(m, n, k, num) -> dict:
        A, _, Y = on_device(m, n, k, num)
        step_size = np.float32(1 / np.linalg.norm(A, 2) ** 2)
        settings = {"sparsity": k, "num_steps": STEPS_OF_IHT, "step_size": step_size}
        row, _ = measured(partial(gj.iht_batch, **settings), A, Y, toy)
        there = jax.jit(partial(jnp.matmul, precision="highest"))
        products = timed(there, Y, A, repeats=2 if toy else REPEATS)["median_ms"]
        return {**row, "products_alone_ms": 2 * STEPS_OF_IHT * products}

    for sizes in TOY if toy else OF_IHT:
        yield {**labelled(sizes), "num_steps": STEPS_OF_IHT}, partial(measure, *sizes)


def masks(toy: bool) -> Iterator[Job]:
    """The soft top-k mask with its gradient, beside the dense form where that is small."""
    import mask

    for n, k in TOY_MASKS if toy else MASKS:
        for name, form in (("greedyjax", mask.soft), ("dense", mask.dense)):
            if name == "greedyjax" or n * k <= mask.DENSE_NUMBERS:
                yield {"n": n, "k": k, "method": name}, partial(mask.measure, form, n, k)


def memory(toy: bool) -> Iterator[Job]:
    """Many atoms: memory beside the numbers that there must be, ``A`` and ``num (m + k)``."""
    import greedyjax as gj
    from greedyjax.pursuit import OMP

    def measure(m, n, k, num) -> dict:
        A, _, Y = on_device(m, n, k, num)
        row, _ = measured(partial(gj.encode, OMP(sparsity=k)), A, Y, toy)
        needed = 4 * (m * n + num * (m + k)) / 1e6
        taken = (A.nbytes + Y.nbytes) / 1e6 + row["megabytes"]
        return {**row, "with_arguments_mb": taken, "needed_mb": needed, "ratio": taken / needed}

    for sizes in TOY if toy else LARGE:
        yield labelled(sizes), partial(measure, *sizes)
    yield {"what": "all of the run so far"}, most_so_far


SECTIONS: dict[str, Section] = {
    "training": training, "omp": omp, "caches": caches, "atoms": atoms, "memory": memory,
    "mapped": mapped, "iht": iht, "masks": masks, "rivals": rivals,
}  # fmt: skip


# --- What they share ------------------------------------------------------------------------------


def on_device(m: int, n: int, k: int, num: int) -> tuple[Any, np.ndarray, Any]:
    """A dictionary, the atoms of each signal, and the signals; what solvers read on the device."""
    A, support, Y = problem(m, n, k, num)
    return jnp.asarray(A), support, jnp.asarray(Y)


def measured(solve: Callable[..., Any], A, Y, toy: bool) -> tuple[dict, Any]:
    """Time and memory of a function of the dictionary and the measurements, and its answer."""
    begun = perf_counter()
    compiled = jax.jit(solve).lower(A, Y).compile()
    compile_s = perf_counter() - begun
    times = timed(compiled, A, Y, repeats=2 if toy else REPEATS)
    row = {"median_ms": times["median_ms"], "quartiles_ms": times["quartiles_ms"]}
    sizes = compiled.memory_analysis()  # Not every backend says.
    if sizes is not None:
        row["megabytes"] = (sizes.temp_size_in_bytes + sizes.output_size_in_bytes) / 1e6
    return {**row, "compile_s": compile_s}, compiled(A, Y)


def labelled(sizes: tuple[int, int, int, int]) -> dict[str, int]:
    return dict(zip(("m", "n", "k", "batch"), sizes, strict=True))


def of_form(sizes: tuple[int, int, int, int], by_gram: bool) -> dict:
    """A form of OMP, and whether it is the one that is planned."""
    from greedyjax.pursuit import plan

    settings = {"has_gram": False, "gram_serves": True, "backend": jax.default_backend()}
    planned = plan(*sizes, 4, **settings).by_gram == by_gram
    return {"method": "by Gram" if by_gram else "by residuals", "planned": planned}


def most_so_far() -> dict:
    """The most memory that the device has held, where it tells."""
    told = jax.devices()[0].memory_stats() or {}
    return {"peak_mb": told["peak_bytes_in_use"] / 1e6 if "peak_bytes_in_use" in told else None}


if __name__ == "__main__":
    main()
