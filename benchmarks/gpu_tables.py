"""Tables of the run on a GPU: pursuit of many signals, and everything else."""

from common import load_result

FORMS = ("by Gram", "by residuals", "omp-gpu v0")


def pursuit() -> str:
    """Both forms of OMP beside the package in torch, in the order of the sections."""
    sections, by_sizes = load_result("gpu")["sections"], {}
    for row in [*sections["omp"], *sections["caches"], *sections["rivals"]]:
        if row["method"] in FORMS:
            sizes = tuple(row[name] for name in ("m", "n", "k", "batch"))
            by_sizes.setdefault(sizes, {})[row["method"]] = row
    lines = [
        "| m, n, k, signals | Gram form, ms | residual form, ms | omp-gpu, ms "
        "| signals/s, faster form |",
        "|---" * 5 + "|",
    ]
    for (m, n, k, num), rows in by_sizes.items():
        times = [rows[form]["median_ms"] if form in rows else None for form in FORMS]
        cells = [
            f"{m:,}, {n:,}, {k}, {num:,}",
            *("–" if time is None else f"{time:.2f}" for time in times),
            f"{1e3 * num / min(times[:2]):,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def others() -> str:
    """Single calls, training steps and masks."""
    sections = load_result("gpu")["sections"]
    sizes = lambda row: f"m = {row['m']}, n = {row['n']:,}, k = {row['k']}, {row['batch']} signals"
    found = [(f"`{row['method']}`", sizes(row), row) for row in sections["mapped"]]
    found += [
        (f"`iht_batch`, {row['num_steps']} steps", sizes(row), row) for row in sections["iht"]
    ]
    for row in sections["training"]:
        found.append((f"a training step, {row['loss']} loss", f"{row['net']}, 64 signals", row))
    for row in sections["masks"]:
        form = "soft mask" if row["method"] == "greedyjax" else "soft mask, dense form"
        found.append((f"{form}, with its gradient", f"n = {row['n']:,}, k = {row['k']}", row))
    lines = ["| what | size | ms | memory, MB |", "|---|---|---|---|"]
    for what, size, row in found:
        memory = f"{row['megabytes']:,.3g}" if "megabytes" in row else "–"
        lines.append(f"| {what} | {size} | {row['median_ms']:.2f} | {memory} |")
    return "\n".join(lines)


TABLES = {"gpu pursuit": pursuit, "gpu": others}
