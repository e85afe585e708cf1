"""The tables of sparse coding, for `tables.py`."""

from common import load_result


def coding() -> str:
    """Time beside that of SPAMS, and whose atoms they are."""
    lines = [
        "| m, n, k, signals | method | s | signals/s | SPAMS's time over it | as OMP | as OLS |",
        "|---" * 7 + "|",
    ]
    for row in load_result("coding")["rows"]:
        sizes = ", ".join(f"{row[key]:,}" for key in ("m", "n", "k", "batch"))
        ratio = row.get("times_as_fast_as_spams")
        times = f"{row['median_s']:.3g} | {row['per_second']:,.0f}"
        atoms = " | ".join(f"{100 * row[name]:.1f} %" for name in ("as_omp", "as_ols"))
        ratio = "" if ratio is None else f"{ratio:.2f}"
        lines.append(f"| {sizes} | {row['method']} | {times} | {ratio} | {atoms} |")
    return "\n".join(lines)


def lexico() -> str:
    """Time and memory of coding in batches, beside a loop in torch."""
    lines = ["| m, n, k, vectors | code | s | peak, MB | exact |", "|---" * 5 + "|"]
    for row in load_result("lexico")["rows"]:
        sizes = ", ".join(f"{row[key]:,}" for key in ("m", "n", "k", "batch"))
        numbers = f"{row['median_s']:.3g} | {row['peak_mb']:.0f}"
        share = f"{100 * row['exact_recovery']:.1f} %"
        lines.append(f"| {sizes} | {row['method']} | {numbers} | {share} |")
    return "\n".join(lines)


def plan_unseen() -> str:
    """Times of both forms on the sizes that were not fitted."""
    lines = ["| m, n, k | Gram, s | residuals, s | the plan takes |", "|---" * 4 + "|"]
    for row in load_result("plan_grid")["unseen"]:
        sizes = ", ".join(f"{row[key]:,}" for key in ("m", "n", "k"))
        numbers = f"{row['gram_s']:.3g} | {row['residuals_s']:.3g}"
        lines.append(f"| {sizes} | {numbers} | {row['planned']} |")
    return "\n".join(lines)
