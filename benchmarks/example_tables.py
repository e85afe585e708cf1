"""Tables of the worked examples: channel, MRI slice, dictionaries, cache, devices, estimator."""

import math
from statistics import mean, median, stdev

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
    lines = [f"| `false_alarm` | {' | '.join(f'measured, noise {kind}' for kind in kinds)} |"]
    lines.append("|---" * (len(kinds) + 1) + "|")
    for stated in dict.fromkeys(row["stated"] for row in rows):
        mine = {row["noise"]: row["measured"] for row in rows if row["stated"] == stated}
        cells = " | ".join(f"{100 * mine[kind]:.2f} %" for kind in kinds)
        lines.append(f"| {100 * stated:g} % | {cells} |")
    return "\n".join(lines)


def mri() -> str:
    """Peak signal-to-noise ratios and seconds of a slice."""
    lines = [
        "| PSNR in dB | held out | another head | known | seconds per slice |",
        "|---" * 5 + "|",
    ]
    for row in load_result("mri")["rows"]:
        psnr = row["psnr_db"]
        cells = [f"{mean(psnr[where]):.2f}" for where in ("held out", "another head", "known")]
        lines.append(f"| {row['method']} | {' | '.join(cells)} | {row['median_s']:.2f} |")
    return "\n".join(lines)


def planted() -> str:
    """Atoms found of a planted dictionary, over the seeds."""
    rows = load_result("dictionary_learning")["planted"]
    lines = ["| update | atoms found, mean | atoms found, worst seed |", "|---" * 3 + "|"]
    for update in dict.fromkeys(row["update"] for row in rows):
        mine = [row for row in rows if row["update"] == update]
        shares = [row["share_found"] for row in mine]
        lines.append(f"| {update} | {100 * mean(shares):.1f} % | {100 * min(shares):.1f} % |")
    return "\n".join(lines)


def patches() -> str:
    """Errors of held-out patches, and the seconds until scikit-learn's lowest one is reached."""
    result = load_result("dictionary_learning")
    theirs = min(result["sklearn"], key=lambda row: min(row["errors"]))
    wanted = min(theirs["errors"])
    head = "| method | last error | seconds in all | seconds to scikit-learn's lowest error |"
    lines = [f"{head} times as fast as scikit-learn | compiling, s |", "|---" * 6 + "|"]
    name = f"scikit-learn, `alpha={theirs['alpha']:g}`"
    needed = _seconds_until(wanted, theirs)
    for row in [*result["patches"], {"update": name, **theirs}]:
        seconds, compiling = _seconds_until(wanted, row), row.get("compile_s")
        cells = [f"{row['errors'][-1]:.4f}", f"{row['seconds'][-1]:.1f}", f"{seconds:.1f}"]
        cells += [f"{needed / seconds:.1f}", f"{compiling:.0f}" if compiling else "–"]
        lines.append(f"| {row['update']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds_until(wanted: float, row: dict) -> float:
    """Those of the first error that is no larger; infinite where there is none."""
    pairs = zip(row["errors"], row["seconds"], strict=True)
    return next((seconds for error, seconds in pairs if error <= wanted), float("inf"))


def estimator() -> str:
    """Seconds of `SparseCoder` beside scikit-learn's, and how the answers agree."""
    lines = [
        "| dictionary, dtype | greedyjax, s | its first call, s | scikit-learn, s "
        "| scikit-learn, n_jobs=2, s | same atoms | as small a residual | as many atoms |",
        "|---" * 8 + "|",
    ]
    for row in load_result("estimator")["rows"]:
        ours, *theirs = row["times"].values()
        ratios = [time["median_s"] / ours["median_s"] for time in theirs]
        shares = (row[name] for name in ("equal_supports", "residual_at_most", "equal_counts_tol"))
        cells = [
            f"{row['dictionary']}, {row['dtype']}",
            f"{ours['median_s']:.2f}",
            f"{ours['first_call_s']:.1f}",
            *(
                f"{time['median_s']:.1f} ({ratio:.0f} times)"
                for time, ratio in zip(theirs, ratios, strict=True)
            ),
            *(f"{100 * share:.2f} %" for share in shares),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def devices() -> str:
    """Seconds of two devices and of two processes, and of one that has both processors."""
    lines = ["| task | one device, s | two devices, s | two processes, s | not pinned, s |"]
    lines.append("|---" * 5 + "|")
    kinds = ("one device", "two devices", "two processes", "not pinned")
    for row in load_result("sharding")["rows"]:
        cells = [
            f"{row['seconds'][kind]:.4f} ({row['gains'][kind]:.2f} times)"
            if kind in row["seconds"]
            else "–"
            for kind in kinds
        ]
        lines.append(f"| {row['case']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def kv_cache(part: str = "rows") -> str:
    """Bytes, and perplexity over that of the same sequences with a cache as it is."""
    rows = load_result("kv_cache")[part]
    exact = rows["as it is"]["losses"]
    lines = ["| form of the cache | bytes, % of float16 | news | Python source | sequences |"]
    lines.append("|---" * 5 + "|")
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["share"]):
        if name == "as it is":
            cells = [f"{math.exp(mean(losses)):.2f} (perplexity)" for losses in exact]
        else:
            cells = [_ratio(*pair) for pair in zip(row["losses"], exact, strict=True)]
        share, num = f"{100 * row['share']:.1f}", sum(map(len, row["losses"]))
        lines.append(f"| {name} | {share} | {' | '.join(cells)} | {num} |")
    return "\n".join(lines)


def _ratio(losses: list[float], exact: list[float]) -> str:
    """Of perplexities of the same sequences, with its standard error."""
    differences = [loss - before for loss, before in zip(losses, exact, strict=False)]
    ratio = math.exp(mean(differences))
    return f"{ratio:.3f} ± {ratio * stdev(differences) / math.sqrt(len(differences)):.3f}"


def kv_selection() -> str:
    """Relative squared errors of signals that nothing was counted on, by how atoms are chosen."""
    rows = load_result("kv_cache")["selection"]
    ways = list(rows[0]["errors"])
    names = {"counted weights": "OMP, counted weights"}
    lines = [f"| signals | layer | {' | '.join(map(names.get, ways, ways))} |"]
    lines.append("|---" * (2 + len(ways)) + "|")
    for row in rows:
        cells = " | ".join(f"{row['errors'][way]:.4f}" for way in ways)
        lines.append(f"| {row['kind'].split()[0]} | {row['layer']} | {cells} |")
    return "\n".join(lines)


def denoising() -> str:
    """Decibels of each method at each noise, medians over the seeds."""
    rows = load_result("denoising")["rows"]
    return _by_case("PSNR in dB", rows, lambda of: f"{of('psnr_db'):.2f}")


def denoising_times() -> str:
    """Seconds to learn and to do the rest, medians over the seeds."""

    def cell(of):
        learn, rest = of("learn_s"), of("code_s")
        return f"{learn:.1f} + {rest:.1f}" if learn >= 0.05 else f"{rest:.2f}"

    rows = [row for row in load_result("denoising")["rows"] if "code_s" in row]
    return _by_case("seconds (learning + coding)", rows, cell)


def denoising_atoms() -> str:
    """Mean atoms of a patch, medians over the seeds."""
    rows = [row for row in load_result("denoising")["rows"] if row.get("atoms") is not None]
    return _by_case("mean atoms per patch", rows, lambda of: f"{of('atoms'):.2f}")


def _by_case(corner: str, rows: list[dict], cell) -> str:
    """A line for each method and a column for each photograph and noise.

    ``cell`` gets a function from the name of a number to its median over the seeds.
    """
    cases = list(dict.fromkeys((row["photograph"], row["sigma"]) for row in rows))
    heads = " | ".join(f"{photograph}, {sigma}" for photograph, sigma in cases)
    lines = [f"| {corner} | {heads} |", "|---" * (len(cases) + 1) + "|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = []
        for case in cases:
            wanted = (method, *case)
            mine = [r for r in rows if (r["method"], r["photograph"], r["sigma"]) == wanted]
            cells.append(cell(lambda name, mine=mine: median(row[name] for row in mine)))
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


CHANNEL = {"channel": channel, "noise alone": noise_alone}
DENOISING = {"denoising": denoising, "times": denoising_times, "atoms": denoising_atoms}
DEVICES = {"devices": devices}
ESTIMATOR = {"estimator": estimator}
KV_CACHE = {
    "cache": kv_cache,
    "longer": lambda: kv_cache("long"),
    "selection": kv_selection,
}
MRI = {"mri": mri}


def missing() -> str:
    """Errors of missing pixels of digits, the mean over the seeds."""
    rows = load_result("missing_entries")["rows"]
    shares = sorted({row["share"] for row in rows})
    head = " | ".join(f"{100 * share:.0f} % missing" for share in shares)
    lines = [f"| filled in by | {head} |", "|---" * (1 + len(shares)) + "|"]

    def errors(ways) -> list[float]:
        """The least error of several ways, for each share."""
        of = lambda way, share: mean(
            row["error"] for row in rows if (row["way"], row["share"]) == (way, share)
        )
        return [min(of(way, share) for way in ways) for share in shares]

    names = dict.fromkeys(row["way"] for row in rows)
    neighbours = [name for name in names if name.startswith("`KNN")]
    ways = {name: [name] for name in names if name not in neighbours}
    ways["`KNNImputer`, the best number"] = neighbours
    for name, group in ways.items():
        lines.append(f"| {name} | {' | '.join(f'{error:.3f}' for error in errors(group))} |")
    return "\n".join(lines)


def soft() -> str:
    """Each way to learn a dictionary, at the rate with the lower error of validation signals."""
    rows = load_result("soft_dictionary")["rows"]
    of = lambda row, name: [each[name] for each in row["seeds"]]
    head = "| learned by | learning rate | atoms found, mean | atoms found, worst seed |"
    lines = [f"{head} test error |", "|---" * 5 + "|"]
    for way in dict.fromkeys(row["way"] for row in rows):
        mine = [row for row in rows if row["way"] == way]
        best = min(mine, key=lambda row: mean(of(row, "val_error")))
        found = [100 * share for share in of(best, "share_found")]
        cells = [f"{best['rate']:g}" if best["rate"] else "–"]
        cells += [f"{mean(found):.1f} %", f"{min(found):.1f} %"]
        lines.append(f"| {way} | {' | '.join(cells)} | {mean(of(best, 'test_error')):.4f} |")
    return "\n".join(lines)


DICTIONARIES = {"planted": planted, "patches": patches, "missing": missing, "soft": soft}
