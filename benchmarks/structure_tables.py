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
        "| dictionary | method | error of x, dB | error of A x, dB | nonzeros per signal "
        "| signals/s |",
        "|---" * 6 + "|",
    ]
    for row in load_result("nonnegative")["rows"]:
        errors = f"{row['nmse_db']:.1f} | {row['measured_db']:.1f}"
        counts = f"{row['nonzeros']:.1f} | {row['signals_per_s']:.0f}"
        lines.append(f"| {row['dictionary']} | {row['method']} | {errors} | {counts} |")
    return "\n".join(lines)


def levels() -> str:
    """Errors and signals found, with one sparsity and with local sparsities."""
    result = load_result("levels")
    lines = [
        "| solver | hidden level, NMSE, dB | functions, NMSE, dB | two levels, signals found |",
        "|---" * 4 + "|",
    ]
    found = {(r["method"], r["levels"]): r["found"] for r in result["two"] if r["m"] == 84}
    of_functions = {(r["method"], r["levels"]): r["nmse_db"] for r in result["functions"]["rows"]}
    for row in result["hidden"]:
        name = row["method"], row["levels"]
        cells = [f"{row['nmse_db']:.1f}", "", ""]
        if name in of_functions:
            cells[1] = f"{of_functions[name]:.1f}"
        if name in found:
            cells[2] = f"{100 * found[name]:.0f} %"
        lines.append(f"| {name[0]}{', in levels' if name[1] else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tree() -> str:
    """Errors of signals on a tree, by how closed atoms are whose parent was not chosen."""
    lines = ["| m | NMSE in dB | no tree | `closed=0` | `closed=0.3` |", "|---" * 5 + "|"]
    rows = load_result("levels")["tree"]
    errors = {(row["m"], row["method"], row["closed"]): row["nmse_db"] for row in rows}
    for m, method in dict.fromkeys((row["m"], row["method"]) for row in rows):
        cells = [f"{errors[m, method, closed]:.1f}" for closed in (None, 0.0, 0.3)]
        lines.append(f"| {m} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def stopping() -> str:
    """Errors where neither the number of atoms nor the noise is known."""
    lines = [
        "| stopped by | setting | mean NMSE, dB | median NMSE, dB | F1 of the support |",
        "|---" * 5 + "|",
    ]
    for row in load_result("noise_blind")["rows"]:
        setting = "" if row["setting"] is None else f"{row['setting']:g}"
        cells = f"{row['mean_db']:.1f} | {row['median_db']:.1f} | {row['f1']:.2f}"
        lines.append(f"| {row['method']} | {setting} | {cells} |")
    return "\n".join(lines)
