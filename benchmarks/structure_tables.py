"""The tables of structures, for `tables.py`."""

from common import load_result


def snapshots() -> str:
    """Errors of channels, and frames per second, with shared supports and without."""
    lines = ["| directions | method | NMSE, dB | frames/s |", "|---" * 4 + "|"]
    for row in load_result("snapshots")["rows"]:
        rate = "" if row["frames_per_s"] is None else f"{row['frames_per_s']:.0f}"
        where = "on the grid" if row["on_grid"] else "anywhere"
        lines.append(f"| {where} | {row['method']} | {row['nmse_db']:.1f} | {rate} |")
    return "\n".join(lines)


def nonnegative() -> str:
    """Errors, nonzeros and speed of solvers whose answers are not negative, and of one other."""
    lines = [
        "| dictionary | method | error of x, dB | of A x, dB | nonzeros | signals/s |",
        "|---" * 6 + "|",
    ]
    for row in load_result("nonnegative")["rows"]:
        errors = f"{row['nmse_db']:.1f} | {row['measured_db']:.1f}"
        counts = f"{row['nonzeros']:.1f} | {row['signals_per_s']:.0f}"
        lines.append(f"| {row['dictionary']} | {row['method']} | {errors} | {counts} |")
    return "\n".join(lines)
