"""Writes the tables of the README and the docs from the results, between their markers.

python benchmarks/tables.py
"""

import json
import math
import re
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def demo() -> str:
    """Methods of the demo by falling SNR."""
    result = _load("demo")
    lines = [
        "| method | SNR (dB) | each draw (dB) | median SNR (dB) | seconds |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(result["rows"], key=lambda row: -row["snr_db"]):
        draws = ", ".join(f"{value:.1f}" for value in row["snr_db_draws"])
        cells = f"{row['snr_db']:.1f} | {draws} | {row['snr_db_median']:.1f} | {row['seconds']:.1f}"
        lines.append(f"| {row['method']} | {cells} |")
    return "\n".join(lines)


def paper() -> str:
    """Test error of hard OMP on the paper's problem, median and range over the seeds."""
    result = _load("paper_problem")
    names = {
        "ones": "`w = 1`",
        "learned": "learned from true signals",
        "learned_from_measurements": "learned from measurements alone",
        "counted_from_measurements": "counted from measurements alone",
        "oracle": "oracle: 1 on the hidden set, 0 off it",
    }
    systems = ("complex", "stacked real")
    num = len({row["seed"] for row in result["rows"]})
    lines = [f"| weights | complex, {num} seeds | stacked, {num} seeds |", "|---|---|---|"]
    for key, name in names.items():
        cells = []
        for system in systems:
            values = [row[key] for row in result["rows"] if row["system"] == system]
            cells.append(f"{median(values):.1e} ({min(values):.1e} to {max(values):.1e})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fig1() -> str:
    """Distance of softsort to the sort, beside its bound."""
    lines = ["| τ | largest row distance, ours | bound | published |", "|---|---|---|---|"]
    for row in _load("fig1")["soft"]:
        lines.append(f"| {row['tau']:g} | {row['distance']:.2g} | {row['bound']:.2g} | – |")
    return "\n".join(lines)


def fig2_recovery() -> str:
    """Geometric means of the recovery error, published and ours."""
    header = ["| | τ | σ = 1e-5 | σ = 1e-3 | σ = 1e-1 |", "|---|---|---|---|---|"]
    noises = ("1e-05", "0.001", "0.1")
    return "\n".join(header + _fig2_rows("hard", noises) + _fig2_rows("soft", noises))


def fig2_difference() -> str:
    """Geometric means of the difference to the hard iterates, published and ours."""
    lines = []
    for algorithm in ("omp", "iht"):
        result = _load("fig2")[algorithm]
        steps = [row["steps"] for row in result["difference"]]
        lines += ["", f"| {algorithm.upper()}, τ | {' | '.join(f'n = {n}' for n in steps)} |"]
        lines += ["|---|---|---|---|"]
        by_tau: dict[float, list[str]] = {}
        for row in result["comparison"]:
            if row["what"].startswith("difference"):
                by_tau.setdefault(row["tau"], []).append(_beside(row))
        lines += [f"| {tau:.1e} | {' | '.join(cells)} |" for tau, cells in by_tau.items()]
    return "\n".join(lines[1:])


def certificates() -> str:
    """How often the certificate said yes, and how often yes was true."""
    result = _load("fig2")["omp"]
    noises = [f"σ = {row['noise']:g}" for row in result["certificate"]]
    lines = [f"| τ | {' | '.join(noises)} |", "|---|---|---|---|"]
    for i, tau in enumerate(result["taus"]):
        shares = [(row["proven"][i], row["same_atoms"][i]) for row in result["certificate"]]
        if i % 2 == 0 and tau < 0.1:
            cells = [f"{100 * proven:.0f} % of {100 * same:.0f} %" for proven, same in shares]
            lines.append(f"| {tau:.0e} | {' | '.join(cells)} |")
    wrong, runs = (sum(row[key] for row in result["certificate"]) for key in ("wrong", "runs"))
    return "\n".join([*lines, "", f"Wrong: {wrong} of {runs} runs."])


def fig3_methods() -> str:
    """Median and range over the seeds of the MSE of every method, beside the published MSE."""
    lines = []
    for algorithm, problem in (("omp", "OMP problem, m = 20"), ("iht", "IHT problem, m = 36")):
        result = _load("fig3")[algorithm]
        lines += [
            "",
            f"| {problem} | published | ratio | validation | test |",
            "|---|---|---|---|---|",
        ]
        groups: dict[tuple[str, str], list[dict]] = {}
        for row in result["rows"]:
            groups.setdefault((row["system"], row["method"]), []).append(row)
        for (system, method), rows in groups.items():
            published, ratio = "–", "–"
            if "published" in rows[0]:
                value = rows[0]["published"]["mse"]
                published = f"{value:.2e}"
                ratio = f"{median(row['val']['mse'] for row in rows) / value:.2f}"
            cells = [_range([row[name]["mse"] for row in rows]) for name in ("val", "test")]
            lines.append(f"| {system}: {method} | {published} | {ratio} | {' | '.join(cells)} |")
    return "\n".join(lines[1:])


def fig3_seeds() -> str:
    """The paper's training and ours, seed by seed."""
    lines, paper = [], "the paper's training"
    for algorithm in ("omp", "iht"):
        result = _load("fig3")[algorithm]
        test = {
            (row["system"], row["method"], row["seed"]): row["test"]["mse"]
            for row in result["rows"]
        }
        columns = [
            f"{algorithm.upper()}-Net, seed",
            "best validation MSE (epoch)",
            "by epoch 600",
            "test MSE",
            "hidden set found",
            "ours / oracle, test, complex",
            "hidden set found",
            "stacked",
            "hidden set found",
        ]
        lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        for i, (seed, training) in enumerate(zip(result["seeds"], result["training"], strict=True)):
            found = {name: each[i] for name, each in result["hidden_set_found"].items()}
            cells = [
                f"{training['best_val_loss']:.2e} ({training['best_epoch']})",
                f"{training['best_val_loss_by_epoch_600']:.2e}",
                f"{test['complex', f'network, {paper}', seed]:.2e}",
                f"{found[paper]} of 20",
            ]
            for system in ("complex", "stacked"):
                ours, oracle = (
                    test[system, f"hard, {name}", seed]
                    for name in ("selection loss", "oracle weights")
                )
                cells += [f"{ours / oracle:.2f}", f"{found[f'selection loss, {system}']} of 20"]
            lines.append(f"| {seed} | {' | '.join(cells)} |")
    return "\n".join(lines[1:])


def minutes() -> str:
    """How long each figure takes."""
    lines = ["| what | seeds | minutes |", "|---|---|---|"]
    for name in ("fig1", "fig2", "fig3"):
        result = _load(name)
        for algorithm in ("omp", "iht") if name != "fig1" else (None,):
            part = result if algorithm is None else result[algorithm]
            seeds = ", ".join(map(str, part["seeds"]))
            title = name if algorithm is None else f"{name}, {algorithm.upper()}"
            lines.append(f"| {title} | {seeds} | {part['seconds'] / 60:.2g} |")
    alone = _load("paper_training")["rows"] if (RESULTS / "paper_training.json").exists() else []
    for row in alone:
        lines.append(f"| {row['net']} as published, 1000 epochs | 0 | {row['minutes']:.2g} |")
    return "\n".join(lines)


def train_step() -> str:
    """Each step, what its products alone take, and the authors' code."""
    result = _load("train_step")
    lines = [
        "| step of 64 signals | ms | its products alone, ms | ratio | authors' code, ms | ratio |",
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
    rows = [row for row in _load("batch_omp")["rows"] if "grows" not in row]
    problems = list(dict.fromkeys((row["m"], row["n"], row["k"], row["batch"]) for row in rows))
    found = {(row["m"], row["n"], row["k"], row["batch"], row["method"]): row for row in rows}
    titles = [f"m = {m}, n = {n}, k = {k}, {num} signals" for m, n, k, num in problems]
    lines = [f"| seconds (greedyjax is so many times as fast) | {' | '.join(titles)} |"]
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
    rows = _load("batch_iht")["rows"]
    lines = [
        "| m, n, k, signals | method | s | its products alone, s | exact |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        sizes = ", ".join(str(row[key]) for key in ("m", "n", "k", "batch"))
        cells = f"{row['median_s']:.3g} | {row['products_alone_s']:.3g}"
        share = f"{100 * row['exact_recovery']:.1f} %"
        lines.append(f"| {sizes} | {row['method']} | {cells} | {share} |")
    return "\n".join(lines)


def mask() -> str:
    """Time and memory beside the dense form."""
    rows = _load("mask")["rows"]
    dense = {(row["n"], row["k"]): row for row in rows if row["method"] == "dense"}
    lines = ["| n | k | ms | MB | dense, ms | dense, MB | ratio of times |", "|---" * 7 + "|"]
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


def one_epoch() -> str:
    """Learned weights over the oracle's in a network's own solver, and the hidden sets found."""
    rows = _load("solvers")["rows"]
    lines = [
        "| problem | epochs | test error over the oracle's | hidden set found |",
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
    rows = _load("solvers")["rows"]
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


def ecg() -> str:
    """Signal to noise in dB, the mean error over the draws of the matrix, and seconds to learn."""
    rows = _load("ecg")["rows"]
    sizes = list(dict.fromkeys(row["m"] for row in rows))
    lines = [f"| method | {' | '.join(f'm = {m}' for m in sizes)} | learning, s |"]
    lines.append("|---" * (len(sizes) + 2) + "|")
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = {m: [row for row in rows if (row["m"], row["method"]) == (m, method)] for m in sizes}
        cells = [f"{_decibels(row['error'] for row in mine[m]):.1f}" for m in sizes]
        seconds = median(row["seconds"] for row in mine[64])
        lines.append(f"| {method} | {' | '.join(cells)} | {f'{seconds:.1f}' if seconds else '–'} |")
    return "\n".join(lines)


def _decibels(errors) -> float:
    errors = list(errors)
    return -10 * math.log10(sum(errors) / len(errors))


def _load(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _fig2_rows(kind: str, noises: tuple[str, ...]) -> list[str]:
    lines = []
    for algorithm in ("omp", "iht"):
        rows = {(row["what"], row["tau"]): row for row in _load("fig2")[algorithm]["comparison"]}
        taus = sorted({tau or 0 for what, tau in rows if what.startswith(kind)})
        for tau in taus:
            cells = [_beside(rows[f"{kind}, noise {noise}", tau or None]) for noise in noises]
            name = f"{'Soft-' if kind == 'soft' else ''}{algorithm.upper()}"
            lines.append(f"| {name} | {f'{tau:.1e}' if tau else '–'} | {' | '.join(cells)} |")
    return lines


def _beside(row: dict) -> str:
    """Published, ours and their ratio, marked where chance does not explain it."""
    off = abs(math.log(row["ratio"]))
    mark = "\\*" if off > math.log(row["factor_by_chance"]) + 0.05 else ""
    return f"{row['published']:.2e}, {row['ours']:.2e} ({row['ratio']:.2f}{mark})"


def _range(values: list[float]) -> str:
    return f"{median(values):.1e} ({min(values):.1e} to {max(values):.1e})"


TABLES = {
    "README.md": {"demo": demo, "paper": paper},
    "docs/reproduction.md": {
        "fig1": fig1,
        "fig2 recovery": fig2_recovery,
        "fig2 difference": fig2_difference,
        "certificates": certificates,
        "fig3 methods": fig3_methods,
        "fig3 seeds": fig3_seeds,
        "minutes": minutes,
    },
    "docs/speed.md": {
        "train step": train_step,
        "batch omp": batch_omp,
        "batch iht": batch_iht,
        "mask": mask,
    },
    "docs/training.md": {
        "one epoch": one_epoch,
        "solvers": solvers,
        "ecg": ecg,
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
