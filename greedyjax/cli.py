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
columns of A one after another; greedyjax learns from examples, or from measurements
alone, which columns deserve it, and which of them go together.
"""
_TRAIN = """\
Learns one weight per column of A from your own signals, and then which columns call for
which once they are chosen. The model keeps the simplest that is as good as any.

DATA.npz holds
  A        (m, n)    measurement matrix or dictionary, real or complex
  Y        (num, m)  measurements, one signal per row
  X        (num, n)  true signals; without them weights are learned from Y alone
  Y_val, X_val       signals to validate on; otherwise the last third of Y and X
  support  (s,)      columns that are in use, if known: adds the oracle's result
Arrays are computed with in single precision. Their units do not matter.
"""
_RECOVER = """\
Recovers signals from measurements with a model that `greedyjax train` wrote.

Y.npy holds one signal (m,) or many (num, m); X.npy receives (n,) or (num, n). A folder of
.npy files in its place is recovered shard by shard into a zarr store of sparse answers; the
same command again goes on where it ended.
Learned weights say where the signals live, whatever the solver: where signals are truly
sparse, --solver subspace_pursuit is the most accurate.
"""
_DEMO = """\
Learns on the first seconds of a real 12-lead electrocardiogram, in a wavelet basis, and
recovers later seconds and another person's heart from 64 random measurements per 256
samples: with weights, with interactions, next to other methods. Takes a minute or two.
It needs pictures, wavelets and the recording: pip install "greedyjax[demo]" brings them.
"""
_INFO = """\
Says what a report of a fault should say: versions, devices, precision, and where compiled
programs are kept. Computes nothing.
"""
_REPRODUCE = """\
Computes a figure of the paper "Deep greedy unfolding" (arXiv 2505.15661) and writes its
picture and a JSON file with our numbers beside the published ones. The pictures need
pip install "greedyjax[demo]".

fig1  sort against softsort (settings ours: the published ones are not known); a second
fig2  error of the soft algorithms against the temperature, in double precision; a minute
fig3  OMP-Net and IHT-Net, trained as published (1000 epochs) and by the selection loss
      (5 epochs), on separate validation and test sets; an hour for five seeds
"""

# What each --help ends with; tests run them as they stand.
_EXAMPLES = {
    "greedyjax": """\
  greedyjax info          # whether all is there
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
    """Runs the command line; returns the exit code, 2 for anything the user can mend."""
    options = _parser().parse_args(arguments)
    keeps_compiled = vars(options).pop("keep_compiled")  # It is no setting of what is computed.
    from greedyjax.commands import CommandError

    def warn(message, *_, **__):
        print(f"greedyjax {options.command}: warning: {message}", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = warn  # One line, without the line of code it comes from.
            # A kept program that cannot be read or written is compiled as if there were none.
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
        """Adds one command, which is the function of its name in the module of its name."""
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
            help="do not keep compiled programs in the user's cache folder for the next run; nor "
            "does JAX_ENABLE_COMPILATION_CACHE=0",
        )  # fmt: skip
        added.set_defaults(run=_lazily(f"_{name}", name))

    command("demo", "learn structure on a real ECG", _DEMO, _add_demo_options)
    command("train", "learn weights from your own arrays", _TRAIN, _add_train_options)
    command("recover", "recover signals with a model", _RECOVER, _add_recover_options)
    command("reproduce", "a figure of the paper", _REPRODUCE, _add_reproduce_options)
    command("info", "versions and devices, for a report of a fault", _INFO, lambda added: None)
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
    add("--method", choices=("omp", "iht"), required=True, help="the solver to learn weights for")
    add("--sparsity", type=_integer(1), required=True, metavar="S", help="nonzeros of a signal")
    add(
        "--loss", choices=("selection", "reconstruction"), default="selection",
        help="score each choice of the solver (default), or the error of what it recovers "
        "(needs X)",
    )  # fmt: skip
    add(
        "--learn", choices=("interactions", "weights"), default="interactions",
        help="also which columns call for which, and a last fit, kept where they pay (default), "
        "or one weight per column alone",
    )  # fmt: skip
    add(
        "--real", action="store_true",
        help="X is real: solve the real system [Re A; Im A] x = [Re y; Im y]",
    )  # fmt: skip
    add(
        "--num-layers", type=_integer(1), default=30, metavar="L",
        help="steps of IHT (default 30); OMP takes S",
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
        help="passes over the training signals (default: as many as make 400 steps, and 4000 for "
        "the reconstruction loss)",
    )  # fmt: skip
    add(
        "--batch-size", type=_integer(1), default=64, metavar="B",
        help="signals per step (default 64)",
    )  # fmt: skip
    add(
        "--learning-rate", type=_positive, metavar="R",
        help="of Adam, decaying to 0 by a cosine (default 0.03, and 0.01 for the reconstruction "
        "loss)",
    )  # fmt: skip
    add(
        "--checkpoint-dir", metavar="DIR",
        help="folder for checkpoints: the same command again goes on from the newest one",
    )  # fmt: skip
    add(
        "--checkpoint-every", type=_integer(1), default=1, metavar="N",
        help="epochs from one checkpoint to the next (default 1)",
    )  # fmt: skip
    _add_seed(parser)
    _add_out(parser, "train-out", "model.npz, metrics.json, history.csv and pictures")


def _add_recover_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL.npz", help="a model that train wrote")
    add("measurements", metavar="Y.npy", help="measurements, or a folder of them")
    add("--out", required=True, metavar="X.npy", help="where the signals go; of a folder, a folder")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--soft", action="store_true", help="use the soft solver, not the hard")
    way.add_argument(
        "--solver", choices=("htp", "subspace_pursuit", "cosamp"),
        help="use the weights in this hard solver, not in the one they were learned with",
    )  # fmt: skip
    add(
        "--num-steps", type=_integer(1), metavar="T", help="steps of that solver (default 20)",
    )  # fmt: skip
    add(
        "--batch-size", type=_integer(1), default=1024, metavar="B",
        help="signals at a time (default 1024)",
    )  # fmt: skip
    add("--overwrite", action="store_true", help="replace an existing X.npy")
    add(
        "--shard-size", type=_integer(1), metavar="N",
        help="of a folder, signals that are stored together (default 65536)",
    )  # fmt: skip
    add(
        "--rank", type=_integer(0), metavar="R",
        help="of a folder, which of several processes this is, from 0",
    )  # fmt: skip
    add(
        "--num-processes", type=_integer(1), metavar="P", help="of a folder, how many there are",
    )  # fmt: skip


def _add_reproduce_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("figure", choices=("fig1", "fig2", "fig3"))
    add(
        "--algorithm", choices=("omp", "iht"),
        help="only this one (default both; omp for a quick fig3)",
    )  # fmt: skip
    add(
        "--seeds", type=_integer(0), nargs="+", metavar="N",
        help="of the generator (default 0; 0 to 4 for fig3)",
    )  # fmt: skip
    add("--quick", action="store_true", help="few repeats and epochs: a check, not a result")
    _add_out(parser, "reproduce-out", "FIGURE.json and FIGURE.png or FIGURE-ALGORITHM.png")


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=_integer(0), default=0, help="of all randomness (default 0)")


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
        if not minimum <= value < 2**63:  # More is no seed for JAX, and no sensible count.
            message = f"expected an integer >= {minimum}, got {text!r}"
            raise argparse.ArgumentTypeError(message)
        return value

    return parse


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1e-30 <= value <= 1e30:  # With room for products in single precision.
        message = f"expected a positive number, 1e-30 to 1e30, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return value
