"""Writes the tables of the README and the docs from the results, between their markers.

python benchmarks/tables.py
"""

import math
import re
from pathlib import Path
from statistics import median, mode

import coding_tables
import example_tables
import gpu_tables
import reproduction_tables
from common import load_result
from structure_tables import levels, nonnegative, snapshots, stopping, tree

ROOT = Path(__file__).parent.parent


def demo() -> str:
    """Methods of the demo by falling SNR."""
    result = load_result("demo")
    lines = [
        "| method | SNR (dB) | median SNR (dB) | second person, SNR (dB) | seconds |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(result["rows"], key=lambda row: -row["snr_db"]):
        numbers = (row[name] for name in ("snr_db", "snr_db_median", "snr_db_second", "seconds"))
        lines.append(f"| {row['method']} | {' | '.join(f'{each:.1f}' for each in numbers)} |")
    return "\n".join(lines)


def paper() -> str:
    """Test error of hard OMP on the paper's problem, median and range over the seeds."""
    found = _by_objective(load_result("objectives"))
    names = {
        "w = 1": "`w = 1`",
        "selection, cold": "learned from true signals",
        "self-selection, warm": "learned from measurements alone",
        "counting": "counted from measurements alone",
        "sparse Bayes": "sparse Bayes, measurements alone",
        "oracle": "oracle: 1 on the hidden set, 0 off it",
    }
    lines = ["| weights | complex | stacked real |", "|---|---|---|"]
    for title, name in names.items():
        cells = []
        for problem in ("OMP, complex", "OMP, stacked"):
            values = [row["test_mse"] for row in found[problem, title]]
            cells.append(f"{median(values):.1e} ({min(values):.1e} to {max(values):.1e})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def train_step() -> str:
    """Each step, what its products alone take, and the authors' code."""
    result = load_result("train_step")
    lines = [
        "| training step of 64 signals | ms | products alone, ms | step / products "
        "| authors' code, ms | authors' code / step |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        cells = [f"{row['median_ms']:.2f}", f"{row['limit_ms']:.2f}", f"{row['over_limit']:.1f}"]
        theirs = ["–", "–"]
        if "reference_ms" in row:
            theirs = [f"{row['reference_ms']:.0f}", f"{row['speedup']:.0f}"]
        lines.append(f"| {row['net']}, {row['loss']} | {' | '.join(cells + theirs)} |")
    return "\n".join(lines)


def batch_omp() -> str:
    """Every library's time and exact recovery on the three configurations."""
    rows = [row for row in load_result("batch_omp")["rows"] if "grows" not in row]
    problems = list(dict.fromkeys((row["m"], row["n"], row["k"], row["batch"]) for row in rows))
    found = {(row["m"], row["n"], row["k"], row["batch"], row["method"]): row for row in rows}
    titles = [f"m = {m}, n = {n}, k = {k}, {num} signals" for m, n, k, num in problems]
    lines = [f"| seconds (divided by those of greedyjax), share recovered | {' | '.join(titles)} |"]
    lines.append("|---" * (len(problems) + 1) + "|")
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = []
        for problem in problems:
            row, ours = found[*problem, method], found[*problem, "greedyjax"]
            ratio = row["median_s"] / ours["median_s"]
            share = f"{100 * row['exact_recovery']:.1f} % exact"
            cells.append(f"{row['median_s']:.3g} ({ratio:.2g}), {share}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def batch_iht() -> str:
    """Time beside NumPy's and that of the products alone."""
    rows = load_result("batch_iht")["rows"]
    lines = [
        "| m, n, k, signals | method | seconds | products alone, s | recovered exactly |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        sizes = ", ".join(str(row[key]) for key in ("m", "n", "k", "batch"))
        cells = f"{row['median_s']:.3g} | {row['products_alone_s']:.3g}"
        share = f"{100 * row['exact_recovery']:.1f} %"
        lines.append(f"| {sizes} | {row['method']} | {cells} | {share} |")
    return "\n".join(lines)


def tolerance() -> str:
    """Time of a batch whose signals stop at a tolerance, beside vmap and scikit-learn."""
    methods = ("omp_batch", "vmap of omp", "scikit-learn")
    head = " | ".join(f"{method}, s" for method in methods)
    lines = [f"| tolerance | mean atoms | most atoms | {head} | scikit-learn / omp_batch |"]
    lines.append("|---" * 7 + "|")
    for row in load_result("tolerance")["rows"]:
        counts = f"{row['mean_count']:.1f} | {row['largest_count']}"
        times = " | ".join(f"{row['times'][method]['median_s']:.2f}" for method in methods)
        ratio = row["scikit_learn_over_omp_batch"]
        lines.append(f"| {row['tolerance']:g} | {counts} | {times} | {ratio:.0f} |")
    return "\n".join(lines)


def mask() -> str:
    """Time and memory beside the dense form."""
    rows = load_result("mask")["rows"]
    dense = {(row["n"], row["k"]): row for row in rows if row["method"] == "dense"}
    lines = ["| n | k | mask, ms | mask, MB | dense, ms | dense, MB | dense / mask, times |"]
    lines.append("|---" * 7 + "|")
    for row in rows:
        if row["method"] == "dense":
            continue
        theirs, other = ["–", "–", "–"], dense.get((row["n"], row["k"]))
        if other:
            ratio = other["median_ms"] / row["median_ms"]
            theirs = [f"{other['median_ms']:.3g}", f"{other['megabytes']:.3g}", f"{ratio:.3g}"]
        cells = [f"{row['median_ms']:.3g}", f"{row['megabytes']:.3g}", *theirs]
        lines.append(f"| {row['n']:,} | {row['k']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


# Runs of relaxations.py, and what their networks are.
RELAXATIONS = {
    "relaxations": "OMP-Net, GPU",
    "relaxations_iht": "IHT-Net, m = 40 real, GPU",
    "relaxations_iht_complex": "IHT-Net, m = 36 complex, CPU",
    "relaxations_ecg": "OMP-Net, ECG, CPU",
}


def relaxations() -> str:
    """What each relaxation costs and what training by it reaches, over the draws."""
    lines = [
        "| network, machine | loss | relaxation | tau / largest score | training step, ms "
        "| gradient norm at the start | error, network | error, hard solver |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in RELAXATIONS:
        for row in load_result(name)["rows"]:
            mean = lambda key, row=row: math.exp(sum(map(math.log, row[key])) / len(row[key]))
            cells = [
                RELAXATIONS[name], row["loss"], row["relaxation"], f"{row['fraction']:g}",
                f"{row['step_ms']:.2f}", f"{median(row['gradient']):.2g}",
                f"{mean('soft'):.1e}", f"{mean('hard'):.1e}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def objectives() -> str:
    """Test error over the oracle's: median and worst seed, and how many seeds reach its level."""
    result = load_result("objectives")
    problems, found = list(result["config"]["epochs"]), _by_objective(result)
    lines = [f"| weights by | {' | '.join(problems)} |", "|---" * (len(problems) + 1) + "|"]
    for title in dict.fromkeys(title for _, title in found):
        cells = []
        for problem in problems:
            pairs = zip(found[problem, title], found[problem, "oracle"], strict=True)
            ratios = [row["test_mse"] / best["test_mse"] for row, best in pairs]
            typical, worst = (
                f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"
                for ratio in (median(ratios), max(ratios))
            )
            cells.append(f"{typical} ({worst})")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def objectives_time() -> str:
    """Seconds of a training, and seeds at the oracle's level with the median epoch of that."""
    result = load_result("objectives")
    problems, found = list(result["config"]["epochs"]), _by_objective(result)
    lines = [f"| weights by | {' | '.join(problems)} |", "|---" * (len(problems) + 1) + "|"]
    for title in dict.fromkeys(title for _, title in found if title not in ("w = 1", "oracle")):
        cells = []
        for problem in problems:
            rows = found[problem, title]
            epochs = [row["epochs_to_oracle"] for row in rows]
            reached = [epoch for epoch in epochs if epoch is not None]
            by = f", epoch {median(reached):g}" if any(reached) else ""
            seconds = median(row["seconds"] for row in rows)
            cells.append(f"{len(reached)} of {len(rows)}{by}; {seconds:.2g} s")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def one_epoch() -> str:
    """Learned weights over the oracle's in a network's own solver, and the hidden sets found."""
    rows = load_result("solvers")["rows"]
    lines = [
        "| problem | epochs | test error / error with oracle weights | hidden set found |",
        "|---" * 4 + "|",
    ]
    own = {"OMP": "OMP", "IHT": "IHT, 30 steps"}
    for problem, system in dict.fromkeys((row["problem"], row["system"]) for row in rows):
        mine = [row for row in rows if (row["problem"], row["system"]) == (problem, system)]
        for epochs in mine[0]["hidden_set_found"]:
            name = own[problem]
            ratios = [row[f"learned, {epochs}"][name] / row["oracle"][name] for row in mine]
            found = sum(row["hidden_set_found"][epochs] == 20 for row in mine)
            spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            lines.append(f"| {problem}, {system} | {epochs} | {spread} | {found} of {len(mine)} |")
    return "\n".join(lines)


def solvers() -> str:
    """Weights of ten epochs in every solver: median and worst test error of all seeds."""
    rows = load_result("solvers")["rows"]
    problems = list(dict.fromkeys((row["problem"], row["system"]) for row in rows))
    heads = " | ".join(f"{problem}, {system}" for problem, system in problems)
    lines = [f"| solver, weights | {heads} |", "|---" * (len(problems) + 1) + "|"]
    names = list(rows[0]["ones"])
    kinds = {"ones": "w = 1", "learned, 10": "learned", "oracle": "oracle"}
    cases = [(f"{name}, {say}", kind, name) for name in names for kind, say in kinds.items()]
    for say, kind, name in [*cases, ("least squares on the true support", "true_support", None)]:
        cells = []
        for pair in problems:
            mine = [row[kind] for row in rows if (row["problem"], row["system"]) == pair]
            errors = [each[name] if name else each for each in mine]
            cells.append(f"{median(errors):.1e} ({max(errors):.1e})")
        lines.append(f"| {say} | {' | '.join(cells)} |")
    return "\n".join(lines)


def blind() -> str:
    """Errors over those of weights from true signals: median and worst seed."""
    rows = load_result("self_training")["paper"]
    errors = {(r["problem"], r["vectors"], r["method"], r["seed"]): r["mse"] for r in rows}
    seeds = sorted({row["seed"] for row in rows})
    cases = list(dict.fromkeys((row["problem"], row["vectors"]) for row in rows))
    heads = " | ".join(f"{problem} problem, {num:,} vectors" for problem, num in cases)
    lines = [f"| weights by | {heads} |", "|---" * (len(cases) + 1) + "|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = []
        for case in cases:
            ratios = [
                errors[*case, method, seed] / errors[*case, "supervised", seed] for seed in seeds
            ]
            cells.append(f"{median(ratios):.2f} ({max(ratios):.2f})")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def coherent() -> str:
    """Error in dB where atoms are nearly alike: median and worst draw."""

    def cell(rows):
        errors = [row["error_db"] for row in rows]
        return f"{median(errors):.1f} ({max(errors):.1f})"

    return _grid(load_result("coherent")["rows"], "vectors", "error in dB", "{:,} vectors", cell)


def ecg() -> str:
    """Signal to noise in dB, the mean error over the draws of the matrix, and seconds to learn."""
    rows = load_result("ecg")["rows"]
    sizes = list(dict.fromkeys(row["m"] for row in rows))
    lines = [f"| SNR in dB | {' | '.join(f'm = {m}' for m in sizes)} | learning, s |"]
    lines.append("|---" * (len(sizes) + 2) + "|")
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = {m: [row for row in rows if (row["m"], row["method"]) == (m, method)] for m in sizes}
        cells = [f"{_decibels(row['error'] for row in mine[m]):.1f}" for m in sizes]
        seconds = median(row["seconds"] for row in mine[64])
        lines.append(f"| {method} | {' | '.join(cells)} | {f'{seconds:.1f}' if seconds else '–'} |")
    return "\n".join(lines)


def interactions(name: str = "interactions") -> str:
    """Test SNR in dB on the person learned from and on another, means over the draws."""

    def cell(rows):
        mean = lambda field: sum(row[field] for row in rows) / len(rows)
        return f"{mean('snr_db'):.1f}, {mean('snr_second_db'):.1f}"

    corner = "SNR in dB, first and second person"
    return _grid(load_result(name)["rows"], "m", corner, "m = {}", cell)


def dependence() -> str:
    """Test errors of each method on each problem, medians over the draws, and what was kept."""
    names = {"interactions": "`learn_interactions`", "measurements alone": "from Y alone"}

    def cell(rows):
        kept = mode(
            re.sub(", round [0-9]+", "", row["kept"] or "") for row in rows or [{"kept": ""}]
        )
        error = f"{median(row['nmse'] for row in rows):.1e}" if rows else ""
        return f"{error} ({kept})" if kept else error

    corner = "relative squared error (what was kept)"
    return _grid(load_result("dependence")["rows"], "problem", corner, "{}", cell, names)


def _grid(rows, key: str, corner: str, head: str, cell, names=None) -> str:
    """A line for each method and a column for each value of ``key``, a cell of their rows."""
    values = list(dict.fromkeys(row[key] for row in rows))
    lines = [f"| {corner} | {' | '.join(map(head.format, values))} |"]
    lines.append("|---" * (len(values) + 1) + "|")
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = ([r for r in rows if (r[key], r["method"]) == (value, method)] for value in values)
        lines.append(f"| {(names or {}).get(method, method)} | {' | '.join(map(cell, mine))} |")
    return "\n".join(lines)


def _decibels(errors) -> float:
    errors = list(errors)
    return -10 * math.log10(sum(errors) / len(errors))


def _by_objective(result: dict) -> dict[tuple[str, str], list[dict]]:
    """The rows of all seeds, by problem and objective."""
    found: dict[tuple[str, str], list[dict]] = {}
    for row in result["rows"]:
        found.setdefault((row["problem"], row["objective"]), []).append(row)
    return found


TABLES = {
    "README.md": {"demo": demo, "paper": paper},
    "docs/reproduction.md": reproduction_tables.TABLES,
    "docs/channel.md": example_tables.CHANNEL,
    "docs/mri.md": example_tables.MRI,
    "docs/denoising.md": example_tables.DENOISING,
    "docs/devices.md": example_tables.DEVICES,
    "docs/dictionaries.md": example_tables.DICTIONARIES,
    "docs/kv_cache.md": example_tables.KV_CACHE,
    "docs/sklearn.md": example_tables.ESTIMATOR,
    "docs/speed.md": {
        "train step": train_step,
        "batch omp": batch_omp,
        **coding_tables.TABLES,
        **gpu_tables.TABLES,
        "tolerance": tolerance,
        "snapshots": snapshots,
        "levels": levels,
        "nonnegative": nonnegative,
        "stopping": stopping,
        "tree": tree,
        "batch iht": batch_iht,
        "mask": mask,
        "relaxations": relaxations,
    },
    "docs/interactions.md": {
        "interactions": interactions,
        "solvers with interactions": lambda: interactions("interactions_solvers"),
        "dependence": dependence,
    },
    "docs/learning.md": {
        "one epoch": one_epoch,
        "solvers": solvers,
        "blind": blind,
        "coherent": coherent,
        "ecg": ecg,
        "objectives": objectives,
        "objectives time": objectives_time,
    },
}


def filled(name: str, text: str) -> str:
    """The text of a file with every table between its markers as the results have it."""
    for table, make in TABLES[name].items():
        marks = rf"(<!-- {table} table -->\n).*?(\n<!-- end of {table} table -->)"
        text, found = re.subn(
            marks, lambda match, make=make: match[1] + make() + match[2], text, flags=re.DOTALL
        )
        if found != 1:
            raise ValueError(f"{name}: expected one {table} table, got {found}")
    return text


if __name__ == "__main__":
    for name in TABLES:
        path = ROOT / name
        path.write_text(filled(name, path.read_text()))
