"""`greedyjax reproduce`: a figure of the paper, with our numbers beside the published numbers."""

from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from greedyjax.commands import _files
from greedyjax.commands._files import CommandError
from greedyjax.commands.reproduction._fig1 import fig1
from greedyjax.commands.reproduction._fig2 import fig2
from greedyjax.commands.reproduction._fig3 import fig3

ALGORITHMS = ("omp", "iht")
QUICK = "--quick: a check that everything runs; the numbers mean nothing"
SEEDS = {"fig1": [0], "fig2": [0], "fig3": [0, 1, 2, 3, 4]}


def reproduce(options: Namespace) -> None:
    """Computes one figure, and writes its picture and its numbers for one algorithm at a time."""
    try:
        from greedyjax.commands.reproduction import _pictures
    except ImportError as error:
        raise CommandError(f'reproduce needs pip install "greedyjax[demo]": {error}') from error
    figure, folder = options.figure, Path(options.out)
    if figure == "fig1" and options.algorithm:
        raise CommandError("--algorithm: expected none for fig1, which only sorts")
    algorithms = (options.algorithm,) if options.algorithm else ALGORITHMS
    if options.quick and figure == "fig3":
        algorithms = algorithms[:1]  # Nearly all of the time is compilation of each algorithm.
    parts = ("",) if figure == "fig1" else tuple(f"-{name}" for name in algorithms)
    seeds = options.seeds or (SEEDS[figure][:1] if options.quick else SEEDS[figure])
    names = (f"{figure}.json", *(f"{figure}{part}.png" for part in parts))
    command = f"reproduce {figure}"
    _files.claim_folder(folder, names, command, mark=names[0])

    begin = perf_counter()
    content: dict[str, Any] = {"finished": False, "quick": options.quick}
    for name, result in _results(figure, algorithms, seeds, options.quick):
        content |= result if name is None else {name: result}
        interrupted = result.get("interrupted", False)
        content["finished"] = name in (None, algorithms[-1]) and not interrupted
        content["seconds"] = perf_counter() - begin
        # Written after each algorithm: an interrupt loses only the current algorithm.
        _files.write_json(folder / names[0], content, command)
        if name is None:
            plot = partial(_pictures.draw_fig1, result)
        else:
            draw = _pictures.draw_fig2 if figure == "fig2" else _pictures.draw_fig3
            plot = partial(draw, result, name)
        plot = partial(_pictures.draw_quick, plot, QUICK) if options.quick else plot
        picture = folder / (f"{figure}.png" if name is None else f"{figure}-{name}.png")
        _files.draw(picture, plot)
        print(*([QUICK] if options.quick else []), *_table(figure, name, result), sep="\n")
        if interrupted:
            raise KeyboardInterrupt  # The results so far are written.
    print(f"wrote {folder}/ after {content['seconds']:.0f} s")


def _results(figure, algorithms, seeds, quick) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Yields each algorithm with its result. fig1 has no algorithm, and yields None."""
    if figure == "fig1":
        yield None, fig1(seeds)
        return
    compute = {"fig2": fig2, "fig3": fig3}[figure]
    for algorithm in algorithms:
        begin = perf_counter()
        result = compute(algorithm, seeds, quick=quick)
        yield algorithm, {**result, "seconds": perf_counter() - begin}


def _table(figure: str, name: str | None, result: dict[str, Any]) -> Iterator[str]:
    """The lines of a table of our numbers beside the published numbers."""
    if figure == "fig1":
        yield "tau    distance to the sort  bound   (our settings; the paper's are not known)"
        for row in result["soft"]:
            yield f"{row['tau']:<6g} {row['distance']:<21.2g} {row['bound']:.2g}"
    elif figure == "fig2":
        yield f"{name}: geometric means over {result['repeats']['recovery']} repeats (recovery), "
        yield f"{result['repeats']['difference']} repeats (difference)"
        yield "what                           tau       published  ours       ratio"
        for row in result["comparison"]:
            tau = "" if row["tau"] is None else f"{row['tau']:.1e}"
            numbers = f"{row['published']:<10.2e} {row['ours']:<10.2e} {row['ratio']:.2f}"
            yield f"{row['what']:30} {tau:9} {numbers}"
    else:
        yield f"{name}: MSE on the validation set (which chose the epoch) and on the test set"
        yield "seed system   method                              validation  test      published"
        for row in result["rows"]:
            both = f"{row['val']['mse']:<11.2e} {row['test']['mse']:<9.2e}"
            published = f"{row['published']['mse']:.2e}" if "published" in row else ""
            yield f"{row['seed']:<4} {row['system']:8} {row['method']:35} {both} {published}"
