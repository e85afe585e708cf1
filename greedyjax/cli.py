"""The command ``greedyjax``."""

import argparse
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module

import greedyjax

_DESCRIPTION = """\
Greedy sparse recovery with learned structure.

Find a sparse x from few measurements y = A x + e. Greedy solvers (OMP, IHT) pick
columns of A one after another. greedyjax learns which columns signals use, and which
columns occur together. It learns this from examples, or from measurements alone.
"""
_TRAIN = """\
Learns one weight per column of A from your own signals. Then it learns interactions: how
each chosen column raises or lowers the weights of the others. The model keeps the
simplest candidate, unless another one is clearly better.

DATA.npz holds
  A        (m, n)    measurement matrix or dictionary, real or complex
  Y        (num, m)  measurements, one signal per row
  X        (num, n)  true signals; without them weights are learned from Y alone
  Y_val, X_val       signals to validate on; otherwise the last third of Y and X
  support  (s,)      columns that are in use, if known: the report then has oracle weights
The command computes in single precision. The units of the arrays do not matter.

It prints, and metrics.json has, three kinds of errors:
  val_loss      ||x_hat - x||^2, mean over the validation signals (needs X)
  val_residual  ||A x_hat - y|| / ||y|| of measurements hidden from the solver
  errors        of each candidate for the model: ||x_hat - x||^2 / ||x||^2, mean over the
                validation signals; without X ||A x_hat - y||^2 / ||y||^2 of hidden
                measurements
"""
_RECOVER = """\
Recovers signals from measurements with a model that `greedyjax train` wrote.

Y.npy holds the measurements of one signal, (m,), or of many, (num, m). X.npy receives
signals of shape (n,) or (num, n). If you pass a folder of .npy files in place of Y.npy, the
command recovers it shard by shard into a zarr store of sparse answers. Run the same command
again to continue a run that was interrupted.
Learned weights can be used in other solvers. If signals are truly sparse,
--solver subspace_pursuit is often more accurate; compare on signals that you know.
"""
_DEMO = """\
Learns on the first seconds of a real 12-lead electrocardiogram, in a wavelet basis. Then
it recovers later seconds, and another person's recording, from 64 random measurements per
256 samples. It compares learned weights and interactions with other methods. It takes a
minute or two, and needs matplotlib, PyWavelets and pydicom:
pip install "greedyjax[demo]".
"""
_INFO = """\
Prints what a bug report should contain: versions, devices, precision, and the folder of
compiled programs. It computes nothing.
"""
_REPRODUCE = """\
Computes a figure of the paper "Deep greedy unfolding" (arXiv 2505.15661). It writes a
picture, and a JSON file with our numbers and the published numbers. The pictures need
pip install "greedyjax[demo]".

fig1  sort and softsort, with settings of our own, because the paper does not give its
      settings; takes a second
fig2  error of the soft algorithms against the temperature, in double precision; takes a
      minute
fig3  OMP-Net and IHT-Net, trained as published (1000 epochs) and by the selection loss
      (5 epochs), on separate validation and test sets; takes an hour for five seeds
"""

# The examples at the end of each --help. Tests run them unchanged.
_EXAMPLES = {
    "greedyjax": """\
  greedyjax info          # shows which packages are installed
  greedyjax train --help  # the help of each command ends with an example
""",
    "demo": """\
  greedyjax demo --out demo-out
""",
    "train": """\
  python -c "import jax, numpy; from greedyjax.problems import sparse_in_levels; \\
    A, Y, X, _ = sparse_in_levels(jax.random.key(0)); numpy.savez('data.npz', A=A, Y=Y, X=X)"
  greedyjax train data.npz --method omp --sparsity 10 --out trained
""",
    "recover": """\
  # after the example of greedyjax train --help
  python -c "import numpy; numpy.save('Y.npy', numpy.load('data.npz')['Y'])"
  greedyjax recover trained/model.npz Y.npy --out X.npy
""",
    "reproduce": """\
  greedyjax reproduce fig1 --out figures
""",
    "info": """\
  greedyjax info > info.txt
""",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code, 2 for an error that the user can correct."""
    options = _parser().parse_args(arguments)
    keeps_compiled = vars(options).pop("keep_compiled")  # It does not change the computation.
    from greedyjax.commands import CommandError

    def warn(message, *_, **__):
        print(f"greedyjax {options.command}: warning: {message}", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = warn  # One line, without the line of code that warned.
            # If a stored program cannot be read or written, the program is compiled as usual.
            warnings.filterwarnings("ignore", ".*persistent compilation cache")
            if keeps_compiled:
                _keep_compiled()
            options.run(options)
    except CommandError as error:
        print(f"greedyjax {options.command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"greedyjax {options.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "greedyjax", description=_DESCRIPTION, epilog=_example("greedyjax"), formatter_class=raw
    )
    parser.add_argument("--version", action="version", version=greedyjax.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, summary: str, description: str, add_options: Callable) -> None:
        """Adds the command ``name``, which runs the function ``name`` of the module ``_name``."""
        added = commands.add_parser(
            name,
            help=summary,
            description=description,
            epilog=_example(name),
            formatter_class=raw,
        )
        add_options(added)
        added.add_argument(
            "--no-compilation-cache", dest="keep_compiled", action="store_false",
            help="do not store compiled programs in the user's cache folder for the next run; "
            "JAX_ENABLE_COMPILATION_CACHE=0 does the same",
        )  # fmt: skip
        added.set_defaults(run=_lazily(f"_{name}", name))

    command("demo", "learn from a real electrocardiogram", _DEMO, _add_demo_options)
    command("train", "learn weights from your own arrays", _TRAIN, _add_train_options)
    command("recover", "recover signals with a model", _RECOVER, _add_recover_options)
    command("reproduce", "compute a figure of the paper", _REPRODUCE, _add_reproduce_options)
    command("info", "print versions and devices, for a bug report", _INFO, lambda added: None)
    return parser


def _example(command: str) -> str:
    return f"example:\n{_EXAMPLES[command]}"


def _add_demo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--draws", type=_integer(1), default=1, metavar="N",
        help="random measurement matrices to average over (default 1)",
    )  # fmt: skip
    _add_seed(parser)
    _add_out(parser, "demo-out", "metrics.json and pictures")


def _add_train_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA.npz", help="your arrays, see above")
    add(
        "--method", choices=("omp", "iht"), default="omp",
        help="the solver to learn weights for (default omp)",
    )  # fmt: skip
    add("--sparsity", type=_integer(1), required=True, metavar="S", help="nonzeros per signal")
    add(
        "--loss", choices=("selection", "reconstruction"), default="selection",
        help="judge each choice of the solver (default), or the error of the recovered "
        "signals (needs X)",
    )  # fmt: skip
    add(
        "--learn", choices=("interactions", "weights"), default="interactions",
        help="weights, interactions and a last fit, of which the best candidate is kept "
        "(default; a last fit gives more nonzeros than --sparsity), or only one weight per column",
    )  # fmt: skip
    add(
        "--real", action="store_true",
        help="the signals are real: solve the real system [Re A; Im A] x = [Re y; Im y]",
    )  # fmt: skip
    add(
        "--num-layers", type=_integer(1), default=30, metavar="L",
        help="number of steps of IHT (default 30); OMP takes S steps",
    )  # fmt: skip
    add(
        "--step-size", type=_positive, metavar="E",
        help="step size of IHT (default 1 / ||A||^2)",
    )  # fmt: skip
    add(
        "--tau", type=_positive, metavar="T",
        help="temperature as a fraction of the largest score (default 0.1, and 0.002 for the "
        "reconstruction loss)",
    )  # fmt: skip
    add(
        "--epochs", type=_integer(1), metavar="N",
        help="passes over the training signals (default: enough for 400 steps, or for 4000 steps "
        "with the reconstruction loss)",
    )  # fmt: skip
    add(
        "--batch-size", type=_integer(1), default=64, metavar="B",
        help="signals per step (default 64)",
    )  # fmt: skip
    add(
        "--learning-rate", type=_positive, metavar="R",
        help="learning rate of Adam, which falls to 0 along a cosine (default 0.03, and 0.01 for "
        "the reconstruction loss)",
    )  # fmt: skip
    add(
        "--checkpoint-dir", metavar="DIR",
        help="folder for checkpoints; run the same command again to continue from the newest",
    )  # fmt: skip
    add(
        "--checkpoint-every", type=_integer(1), default=1, metavar="N",
        help="number of epochs from one checkpoint to the next (default 1)",
    )  # fmt: skip
    _add_seed(parser)
    _add_out(parser, "train-out", "model.npz, metrics.json, history.csv and pictures")


def _add_recover_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL.npz", help="a model that train wrote")
    add("measurements", metavar="Y.npy", help="measurements, or a folder of .npy files")
    add(
        "--out",
        required=True,
        metavar="X.npy",
        help="file for the signals; a folder if Y.npy is a folder",
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--soft", action="store_true", help="use the soft solver in place of the hard solver"
    )
    way.add_argument(
        "--solver", choices=("htp", "subspace_pursuit", "cosamp"),
        help="use the weights in this hard solver, in place of the solver that learned them",
    )  # fmt: skip
    add(
        "--num-steps", type=_integer(1), metavar="T",
        help="number of steps of --solver (default 20)",
    )  # fmt: skip
    add(
        "--batch-size", type=_integer(1), default=1024, metavar="B",
        help="signals at a time (default 1024)",
    )  # fmt: skip
    add("--overwrite", action="store_true", help="replace an existing X.npy")
    add(
        "--shard-size", type=_integer(1), metavar="N",
        help="with a folder: number of signals that are stored together (default 65536)",
    )  # fmt: skip
    add(
        "--rank", type=_integer(0), metavar="R",
        help="with a folder: the number of this process, counted from 0",
    )  # fmt: skip
    add(
        "--num-processes", type=_integer(1), metavar="P", help="with a folder: number of processes",
    )  # fmt: skip


def _add_reproduce_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("figure", choices=("fig1", "fig2", "fig3"))
    add(
        "--algorithm", choices=("omp", "iht"),
        help="only this algorithm (default both; omp for fig3 with --quick)",
    )  # fmt: skip
    add(
        "--seeds", type=_integer(0), nargs="+", metavar="N",
        help="seeds of the random draws (default 0; 0 to 4 for fig3)",
    )  # fmt: skip
    add(
        "--quick",
        action="store_true",
        help="few repeats and epochs: checks that everything runs; the numbers mean nothing",
    )
    _add_out(parser, "reproduce-out", "FIGURE.json and FIGURE.png or FIGURE-ALGORITHM.png")


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=_integer(0), default=0, help="random seed (default 0)")


def _add_out(parser: argparse.ArgumentParser, default: str, names: str) -> None:
    help = f"folder for {names} (default {default}); other files in it stay"
    parser.add_argument("--out", default=default, metavar="DIR", help=help)


def _keep_compiled() -> None:
    from greedyjax.commands import _compilations

    _compilations.keep()


def _lazily(module: str, name: str) -> Callable[[argparse.Namespace], None]:
    """Imports a command only when it runs, so that --help is quick."""
    return lambda options: getattr(import_module(f"greedyjax.commands.{module}"), name)(options)


def _integer(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value < 2**63:  # JAX takes no larger seeds, and no count is larger.
            message = f"expected an integer >= {minimum}, got {text!r}"
            raise argparse.ArgumentTypeError(message)
        return value

    return parse


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1e-30 <= value <= 1e30:  # This leaves room for products in single precision.
        message = f"expected a positive number, 1e-30 to 1e30, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return value
