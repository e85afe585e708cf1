"""Tables of the worked examples: the channel off the grid, and the MRI slice."""

from statistics import mean

from common import load_result


def channel() -> str:
    """Errors, shares of frames with the right number of paths, and frames per second."""
    result = load_result("channel")
    heads = "| method | NMSE, dB | 4 paths found, % of frames | fewer, % | more, % | frames/s |"
    lines, paths = [heads, "|---" * 6 + "|"], result["paths"]
    for row in result["rows"]:
        shares = ["–"] * 3
        if row["counts"]:
            counts = row["counts"]
            parts = (counts[paths], sum(counts[:paths]), sum(counts[paths + 1 :]))
            shares = [f"{100 * part / sum(counts):.1f}" for part in parts]
        rate = f"{row['frames_per_s']:,.0f}" if row["frames_per_s"] else "–"
        cells = [row["method"], f"{row['nmse_db']:.2f}", *shares, rate]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def noise_alone() -> str:
    """How often noise alone is given a path, stated and measured."""
    rows = load_result("channel")["noise_alone"]
    kinds = list(dict.fromkeys(row["noise"] for row in rows))
    lines = [f"| stated | {' | '.join(f'noise {kind}' for kind in kinds)} |"]
    lines.append("|---" * (len(kinds) + 1) + "|")
    for stated in dict.fromkeys(row["stated"] for row in rows):
        mine = {row["noise"]: row["measured"] for row in rows if row["stated"] == stated}
        cells = " | ".join(f"{100 * mine[kind]:.2f} %" for kind in kinds)
        lines.append(f"| {100 * stated:g} % | {cells} |")
    return "\n".join(lines)


def mri() -> str:
    """Peak signal-to-noise ratios and seconds of a slice."""
    lines = ["| method | held out, dB | another head, dB | known, dB | s |", "|---" * 5 + "|"]
    for row in load_result("mri")["rows"]:
        psnr = row["psnr_db"]
        cells = [f"{mean(psnr[where]):.2f}" for where in ("held out", "another head", "known")]
        lines.append(f"| {row['method']} | {' | '.join(cells)} | {row['median_s']:.2f} |")
    return "\n".join(lines)


CHANNEL = {"channel": channel, "noise alone": noise_alone}
MRI = {"mri": mri}
