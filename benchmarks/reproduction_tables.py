"""Tables of the paper's figures as they come out here, beside the published numbers."""

import math
from statistics import median

from common import load_result


def fig1() -> str:
    """Distance of softsort to the sort, beside its bound."""
    lines = ["| τ | largest distance of a row, ours | its bound | published |", "|---|---|---|---|"]
    for row in load_result("fig1")["soft"]:
        lines.append(f"| {row['tau']:g} | {row['distance']:.2g} | {row['bound']:.2g} | – |")
    return "\n".join(lines)


def fig2_recovery() -> str:
    """Geometric means of the recovery error, published and ours."""
    header = ["| solver | τ | σ = 1e-5 | σ = 1e-3 | σ = 1e-1 |", "|---|---|---|---|---|"]
    noises = ("1e-05", "0.001", "0.1")
    return "\n".join(header + _fig2_rows("hard", noises) + _fig2_rows("soft", noises))


def fig2_difference() -> str:
    """Geometric means of the difference to the hard iterates, published and ours."""
    lines = []
    for algorithm in ("omp", "iht"):
        result = load_result("fig2")[algorithm]
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
    result = load_result("fig2")["omp"]
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
        result = load_result("fig3")[algorithm]
        lines += [
            "",
            f"| {problem} | published | validation / published | validation | test |",
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
        result = load_result("fig3")[algorithm]
        test = {
            (row["system"], row["method"], row["seed"]): row["test"]["mse"]
            for row in result["rows"]
        }
        columns = [
            f"{algorithm.upper()}-Net, seed",
            "paper's training: best validation MSE (epoch)",
            "best validation MSE by epoch 600",
            "test MSE",
            "hidden set found",
            "selection loss, complex: test MSE / oracle's; hidden set found",
            "selection loss, stacked: test MSE / oracle's; hidden set found",
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
                members = found[f"selection loss, {system}"]
                cells.append(f"{ours / oracle:.2f}; {members} of 20")
            lines.append(f"| {seed} | {' | '.join(cells)} |")
    return "\n".join(lines[1:])


def minutes() -> str:
    """How long each figure takes."""
    lines = ["| figure or training | seeds | minutes |", "|---|---|---|"]
    for name in ("fig1", "fig2", "fig3"):
        result = load_result(name)
        for algorithm in ("omp", "iht") if name != "fig1" else (None,):
            part = result if algorithm is None else result[algorithm]
            seeds = ", ".join(map(str, part["seeds"]))
            title = name if algorithm is None else f"{name}, {algorithm.upper()}"
            lines.append(f"| {title} | {seeds} | {part['seconds'] / 60:.2g} |")
    for row in load_result("paper_training")["rows"]:
        lines.append(f"| {row['net']} as published, 1000 epochs | 0 | {row['minutes']:.2g} |")
    return "\n".join(lines)


def _fig2_rows(kind: str, noises: tuple[str, ...]) -> list[str]:
    lines = []
    for algorithm in ("omp", "iht"):
        rows = {
            (row["what"], row["tau"]): row for row in load_result("fig2")[algorithm]["comparison"]
        }
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
    "fig1": fig1,
    "fig2 recovery": fig2_recovery,
    "fig2 difference": fig2_difference,
    "certificates": certificates,
    "fig3 methods": fig3_methods,
    "fig3 seeds": fig3_seeds,
    "minutes": minutes,
}
