"""How much faster or slower than another commit is this one?

Each commit runs in a process of its own, and only one of the two computes at a time. They take
turns, old, new, new, old, and so on, so that whatever else the machine does meets them both, and
scenarios are judged by the ratios new / old of neighbouring runs: of seconds, and of the seconds
that processors worked, which other programs disturb less. Each round starts both processes anew,
so compare rounds before you believe a ratio. On a busy machine believe only that of processors.

    python benchmarks/versus.py OLD [NEW] [--repeats N] [--rounds N] [--only NAME ...] [--quick]
                                [--compile] [--out JSON]

OLD and NEW are commits; without NEW it is the working tree. Sizes and settings are those of
train_step.py, batch_omp.py, batch_iht.py and mask.py, as they stand here, for both commits.
--compile times instead how long `omp_batch` takes to compile, each time in a fresh process.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import write_result

ROOT = Path(__file__).resolve().parents[1]
REPEATS, ROUNDS, COMPILATIONS = 15, 3, 5
RUN_S = 0.01  # Shorter functions are called several times in a run.
ONE_SIGNAL, TAU, STEPS_OF_ONE = (64, 256, 20), 0.1, 10
COMPILED = [(256, 1024, 8, 64), (256, 1024, 100, 64)]

Run = Callable[[], Any]  # Does the work once and blocks until it is done.


def main() -> None:
    parser = argparse.ArgumentParser(description="Times two commits side by side.")
    parser.add_argument("old", help="a commit")
    parser.add_argument("new", nargs="?", help="another; without it, the working tree")
    parser.add_argument("--repeats", type=int, help="runs in a round, or compilations")
    parser.add_argument("--rounds", type=int, help="how often both processes start anew")
    parser.add_argument("--only", nargs="+", help="scenarios, whole names or their first words")
    parser.add_argument("--quick", action="store_true", help="fewer signals, and fewer runs")
    parser.add_argument("--compile", action="store_true", help="time compilation, nothing else")
    parser.add_argument("--out", type=Path, help="write the rows there as JSON")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # So that folders go away.

    with ExitStack() as stack:
        commits = filter(None, (options.old, options.new))
        folders = [*[stack.enter_context(worktree(each)) for each in commits], ROOT][:2]
        labels = [git("describe", "--always", "--dirty", "--exclude=*", at=at) for at in folders]
        print(f"old {labels[0]}, new {labels[1]}{'' if options.new else ', the working tree'}")
        workers = [partial(Worker, folder, options.quick) for folder in folders]
        with workers[0]() as worker:
            there = [name for name in worker.names if name.startswith("compile") == options.compile]
        names = [n for n in there if not options.only or {n, n.split()[0]} & {*options.only}]
        if {*(options.only or ())} - {word for n in names for word in (n, n.split()[0])}:
            sys.exit(f"not all of these are scenarios; there are: {'; '.join(there)}")
        if options.compile:
            rows = compile_times(*workers, names, options.repeats or COMPILATIONS)
        else:
            rounds = options.rounds or (1 if options.quick else ROUNDS)
            rows = run_times(*workers, names, options.repeats or REPEATS, rounds)
    setting = {"old": labels[0], "new": labels[1], "load": os.getloadavg()[0]}
    print(f"load of the machine in the last minute {setting['load']:.1f}, of which 1 to 2 is ours")
    if options.out:
        print("wrote", write_result("versus", {**setting, "rows": rows}, options.out))


def run_times(old: Callable, new: Callable, names: list[str], repeats: int, rounds: int) -> list:
    """One row per scenario: first calls, then many runs in turn, in every round."""
    (first, runs, ratios), counts = (defaultdict(list) for _ in range(3)), {}
    for i in range(rounds):
        with old() as one, new() as other:
            ask = lambda turn, **request: in_turn(one, other, turn, lambda w: w.ask(**request))
            for name in names:
                first[name].append(ask(i, build=name))
                second_call = min(seconds for seconds, _ in ask(0, count=1) + ask(1, count=1))
                count = counts.setdefault(name, int(np.clip(RUN_S / second_call, 1, 1000)))
                pairs = [ask(turn, count=count) for turn in range(repeats)]
                runs[name] += pairs
                row = row_of(name, pairs, count)
                ratios[name].append(row["ratio"])
                print(f"{i + 1}/{rounds}", line(row), flush=True)
    rows = []
    for name in names:
        row = {**row_of(name, runs[name], counts[name]), "ratio_of_rounds": ratios[name]}
        row["first_call"] = row_of("first call", first[name], 1)
        rows.append(row)
        print("all", line(row), "\n   ", line(row["first_call"]))
    return rows


def compile_times(old: Callable, new: Callable, names: list[str], repeats: int) -> list:
    """One row per sparsity; every compilation has a process to itself."""
    rows = []
    for name in names:
        pairs = [in_turn(old, new, i, partial(first_call, name)) for i in range(repeats)]
        rows.append(row_of(name, pairs, 1))
        print(line(rows[-1]), flush=True)
    return rows


def first_call(name: str, start: Callable) -> list[float]:
    with start() as worker:
        return worker.ask(build=name)


def in_turn(old: Any, new: Any, turn: int, function: Callable) -> list:
    """The function's answers for old and new; every other turn new goes first."""
    order = -1 if turn % 2 else 1
    return [function(each) for each in (old, new)[::order]][::order]


def row_of(name: str, pairs: list, count: int) -> dict:
    """Medians over pairs of runs, each with seconds and processor seconds of old and of new."""
    seconds = np.array(pairs)
    old, new = (np.median(seconds[:, :, 0], axis=0) / count).tolist()
    row = {"scenario": name, "calls_per_run": count, "old_median_s": old, "new_median_s": new}
    ratios = np.percentile(seconds[:, 1] / seconds[:, 0], [50, 25, 75], axis=0).T.tolist()
    for which, (ratio, *quartiles) in zip(("ratio", "processor_ratio"), ratios, strict=True):
        row |= {which: ratio, f"{which}_quartiles": quartiles}
    return row


def line(row: dict) -> str:
    old, new = 1e3 * row["old_median_s"], 1e3 * row["new_median_s"]
    text = f"{row['scenario']:40} old {old:.3f} ms, new {new:.3f} ms,"
    for which in ("ratio", "processor_ratio"):
        low, high = row[f"{which}_quartiles"]
        text += f" {which.replace('_', ' ')} {row[which]:.3f} ({low:.3f} to {high:.3f}),"
    return text.rstrip(",")


def git(*arguments: str, at: Path = ROOT) -> str:
    return subprocess.check_output(["git", "-C", str(at), *arguments], text=True).strip()


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A folder with the commit checked out, while it is needed."""
    with tempfile.TemporaryDirectory(prefix="greedyjax-versus-") as parent:
        folder = Path(parent).resolve() / "tree"
        git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        try:
            yield folder
        finally:
            git("worktree", "remove", "--force", str(folder))


class Worker(AbstractContextManager):
    """A process that has one version's greedyjax, and computes only when asked to."""

    def __init__(self, folder: Path, quick: bool) -> None:
        # A cache of compiled programs would hide their time; a GPU's memory has to do for two.
        own = {"PYTHONPATH": str(folder), "JAX_ENABLE_COMPILATION_CACHE": "false"}
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", str(folder), *["--quick"] * quick],
            env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", **own},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.names = self.ask()  # Comes once it has started, so the next one starts after it.

    def ask(self, **request) -> Any:
        if request:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        text = self.process.stdout.readline()
        if not text:
            sys.exit(f"the process with greedyjax of {self.folder} stopped; its error is above")
        return json.loads(text)

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.communicate()


def work(folder: Path, quick: bool) -> None:
    """What a worker does: a request on each line, answered with how long that took."""
    import greedyjax

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Whatever else prints goes where errors go.
    assert Path(greedyjax.__file__).is_relative_to(folder), greedyjax.__file__
    jax.block_until_ready(jax.jit(jnp.sin)(1.0))
    builders = scenarios(quick)
    print(json.dumps(list(builders)), file=answers, flush=True)
    run = None
    for request in map(json.loads, sys.stdin):
        if "build" in request:
            run = None  # Gives its memory back before the next scenario takes its own.
            run = builders[request["build"]]()
            jax.clear_caches()  # Every scenario compiles all it needs, whichever came before.
        start, worked = perf_counter(), process_time()
        for _ in range(request.get("count", 1)):
            run()
        times = perf_counter() - start, process_time() - worked
        print(json.dumps(times), file=answers, flush=True)


def scenarios(quick: bool) -> dict[str, Callable[[], Run]]:
    """What prepares each scenario, by name. Imports are here, as only workers may make them."""
    import batch_iht
    import batch_omp
    import mask
    from train_step import BATCH, SPARSITY, STEP_SIZE, Net, our_step

    import greedyjax as gj
    from greedyjax import nets, problems, streaming, training

    def blocking(function: Callable, *arguments, **settings) -> Run:
        arguments = jax.block_until_ready(jax.tree.map(jnp.asarray, arguments))
        return lambda: jax.block_until_ready(function(*arguments, **settings))

    def steps(net: Callable, m: int, layers: int, loss: Callable) -> Run:
        sizes = {"num_signals": BATCH, "num_measurements": m}
        drawn = problems.sparse_in_levels(jax.random.key(0), **sizes)
        return our_step(Net(net(drawn.A, sparsity=SPARSITY), drawn, layers), loss)

    def prepared(sizes: tuple, gram: bool = True) -> tuple:
        A, _, Y = batch_omp.problem(*sizes)
        return jax.block_until_ready(jax.jit(partial(gj.dictionary, gram=gram))(A)), Y

    def omp_batch(sizes: tuple) -> Run:
        return blocking(batch_omp.by_plan, *prepared(sizes), sparsity=sizes[2])

    def by_residuals(sizes: tuple) -> Run:
        return blocking(batch_omp.by_plan, *prepared(sizes, False), sparsity=sizes[2], rtol=1e-3)

    def stream(sizes: tuple) -> Run:
        A, Y = prepared(sizes)
        solve = partial(batch_omp.by_plan, A, sparsity=sizes[2])
        return lambda: streaming.recover(solve, Y)  # Its answer is in host memory.

    def compilation(sizes: tuple) -> Run:
        arguments = prepared(sizes)
        return lambda: batch_omp.by_plan.lower(*arguments, sparsity=sizes[2]).compile()

    def iht_batch(sizes: tuple) -> Run:
        A, _, Y = batch_omp.problem(*sizes)
        step = np.float32(1 / np.linalg.norm(A, 2) ** 2)
        solve = partial(batch_iht.solve, num_steps=batch_iht.STEPS, step_size=step)
        return blocking(solve, batch_omp.prepare(A), Y, sparsity=sizes[2])

    def soft_topk_mask(n: int, k: int) -> Run:
        scores, other = jnp.abs(jax.random.normal(jax.random.key(0), (2, n)))
        largest = jax.lax.top_k(scores, k)[0]
        both = jax.value_and_grad(lambda *a: jnp.vdot(mask.soft(*a, k), other), (0, 1))
        return blocking(jax.jit(both), scores, (largest[0] - largest[-1]) / 10)

    def one_signal(solve: Callable, **settings) -> Run:
        A, _, Y = batch_omp.problem(*ONE_SIGNAL, 1)
        return blocking(jax.jit(partial(solve, sparsity=ONE_SIGNAL[2], **settings)), A, Y[0])

    def gradient_of_soft_omp(A, y, **settings):
        energy = lambda w, y: jnp.sum(gj.soft_omp(A, y, weights=w, tau=TAU, **settings).x ** 2)
        return jax.value_and_grad(energy, (0, 1))(jnp.ones(A.shape[1]), y)

    less, found = 8 if quick else 1, {}
    iht_net = partial(nets.IHTNet, num_layers=30, step_size=STEP_SIZE)
    for loss in (training.losses.reconstruction, training.losses.selection):
        found[f"OMPNet-{loss.__name__}"] = partial(steps, nets.OMPNet, 20, SPARSITY, loss)
        found[f"IHTNet-{loss.__name__}"] = partial(steps, iht_net, 36, 30, loss)
    on_gpu = batch_omp.ON_GPU if jax.default_backend() != "cpu" else []
    for prepare, name, every in (
        (omp_batch, "omp_batch", batch_omp.CONFIGURATIONS + on_gpu),
        (by_residuals, "omp_batch-by-residuals", batch_omp.CONFIGURATIONS + on_gpu),
        (stream, "streaming", [batch_omp.BASE]),
        (iht_batch, "iht_batch", batch_iht.CONFIGURATIONS),
        (compilation, "compile", COMPILED),
    ):
        for m, n, k, num in every:
            sizes = (m, n, k, num if every is COMPILED else num // less)
            found[f"{name} {','.join(map(str, sizes))}"] = partial(prepare, sizes)
    for n, k in mask.SIZES[3:4] if quick else mask.SIZES[-2:]:
        found[f"soft_topk_mask {n},{k}"] = partial(soft_topk_mask, n, k)
    found["omp"] = partial(one_signal, gj.omp)
    found["soft_omp-gradient"] = partial(one_signal, gradient_of_soft_omp)
    for solve in (gj.subspace_pursuit, gj.cosamp, gj.htp):
        found[solve.__name__] = partial(one_signal, solve, num_steps=STEPS_OF_ONE)
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(Path(sys.argv[2]), "--quick" in sys.argv)
    else:
        main()
