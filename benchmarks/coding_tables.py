"""Tables of coding: beside SPAMS, beside a loop in torch, and what the plan takes."""

from common import load_result


def coding() -> str:
    """Time beside that of SPAMS, and whose atoms they are."""
    lines = [
        "| m, n, k, signals | method | seconds | signals/s | time of SPAMS / time "
        "| same atoms as OMP | same atoms as OLS |",
        "|---" * 7 + "|",
    ]
    for row in load_result("coding")["rows"]:
        ratio = row.get("times_as_fast_as_spams")
        cells = [
            _sizes(row),
            row["method"],
            f"{row['median_s']:.3g}",
            f"{row['per_second']:,.0f}",
            "–" if ratio is None else f"{ratio:.2f}",
            *(f"{100 * row[name]:.1f} %" for name in ("as_omp", "as_ols")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def lexico() -> str:
    """Time and memory of coding in batches, beside a loop in torch."""
    lines = ["| m, n, k, vectors | program | seconds | peak memory, MB | recovered exactly |"]
    lines.append("|---" * 5 + "|")
    for row in load_result("lexico")["rows"]:
        numbers = f"{row['median_s']:.3g} | {row['peak_mb']:.0f}"
        share = f"{100 * row['exact_recovery']:.1f} %"
        lines.append(f"| {_sizes(row)} | {row['method']} | {numbers} | {share} |")
    return "\n".join(lines)


def plan() -> str:
    """Processor seconds of both forms on the sizes that were not fitted."""
    lines = ["| m, n, k, signals | Gram matrix, s | residuals, s | form that the plan takes |"]
    lines.append("|---" * 4 + "|")
    for row in load_result("plan_grid")["unseen"]:
        seconds = f"{row['gram_processor_s']:.3g} | {row['residuals_processor_s']:.3g}"
        lines.append(f"| {_sizes(row)} | {seconds} | {row['planned']} |")
    return "\n".join(lines)


def _sizes(row: dict) -> str:
    return ", ".join(f"{row[name]:,}" for name in ("m", "n", "k", "batch"))


TABLES = {"coding": coding, "lexico": lexico, "plan": plan}
