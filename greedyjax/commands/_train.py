"""`greedyjax train`: weights from the user's own arrays."""

from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from greedyjax import metrics, stack_real
from greedyjax.commands import _files, _learning
from greedyjax.commands._files import CommandError, Model
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.training import fit, losses

OUTPUTS = ("metrics.json", "model.npz", "history.csv", "training.png", "weights.png")
LOSSES = {"selection": losses.selection, "reconstruction": losses.reconstruction}
# Of the largest score. The selection loss wants a temperature at which several atoms compete, the
# reconstruction loss one at which the network recovers.
TAU = {"selection": 0.1, "reconstruction": _learning.SOFT_TAU}


class Data(NamedTuple):
    """The user's arrays as solved: stacked if asked for, in units where a typical ``||y||`` is 1.

    Attributes:
        A: matrix as solved, shape ``(m, n)``.
        train: pair ``(Y, X)``, ``X`` None if not given.
        val: the same.
        support: atoms of the hidden set, or None.
        unit: what ``Y`` and ``X`` were divided by.
    """

    A: Any
    train: tuple[Any, Any]
    val: tuple[Any, Any]
    support: np.ndarray | None
    unit: float


def train(options: Namespace) -> None:
    """Learns weights, compares the hard solver with and without them, and writes everything."""
    arrays = _files.read_npz(options.data)
    data = _prepare(arrays, options)
    folder = Path(options.out)
    _files.claim_folder(folder, OUTPUTS, "train")

    net = _network(data.A, options)
    scale = _learning.score_scale_of(net, data.train[0])
    temperature = options.tau or TAU[options.loss]
    soft_temperature = temperature if options.loss == "reconstruction" else _learning.SOFT_TAU
    net.tau = jnp.full_like(net.tau, temperature * scale)

    batch_size = min(options.batch_size, len(data.train[0]))
    num_batches = len(data.train[0]) // batch_size
    num_epochs = options.epochs or -(-_learning.DEFAULT_STEPS // num_batches)
    learns_from_x = data.train[1] is not None
    by_error = options.loss == "selection" and learns_from_x
    fitted = fit(
        net,
        data.train,
        data.val,
        loss=LOSSES[options.loss],
        # The epoch whose weights serve the hard solver best, where that can be measured.
        val_loss=losses.hard_reconstruction if by_error else None,
        optimizer=_learning.adam(options.learning_rate, num_epochs * num_batches),
        num_epochs=num_epochs,
        batch_size=batch_size,
        key=jax.random.key(options.seed),
    )
    net = fitted.net
    net.tau = jnp.full_like(net.tau, soft_temperature * scale)
    learned = net.weights[...]

    val_residual = {
        "hard_ones": _learning.hidden_error(net, data.val[0], jnp.ones_like(learned)),
        "hard_learned": _learning.hidden_error(net, data.val[0], learned),
    }
    keeps_learned = val_residual["hard_learned"] < val_residual["hard_ones"]
    val_loss = _val_loss(net, data) if data.val[1] is not None else None

    is_iht = options.method == "iht"
    model = Model(
        A=arrays["A"],
        weights=np.asarray(learned if keeps_learned else jnp.ones_like(learned)),
        method=options.method,
        sparsity=options.sparsity,
        tau=soft_temperature * scale * data.unit,
        real=options.real,
        num_layers=options.num_layers if is_iht else 0,
        step_size=float(net.step_size) if is_iht else 0.0,
    )
    content = {
        "finished": True,
        "val_loss": val_loss,
        "val_residual": val_residual,
        "weights_kept": "learned" if keeps_learned else "ones",
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.history["val_loss"]) - 1,
        "skipped_steps": int(np.sum(fitted.history["skipped_steps"])),
        "seconds": float(np.sum(fitted.history["seconds"])),
        "config": {
            **{name: value for name, value in vars(options).items() if name != "run"},
            "epochs": num_epochs,
            "tau": temperature,
            "num_train": len(data.train[0]),
            "num_val": len(data.val[0]),
            "learned_from": "Y and X" if learns_from_x else "Y alone",
        },
    }
    _files.write_model(folder / "model.npz", model)
    _files.write_csv(folder / "history.csv", fitted.history, index="epoch")
    pictures = _draw(folder, fitted.history, learned, data.support)
    _files.write_json(folder / "metrics.json", content, "train")
    _report(content, folder, pictures)


def _prepare(arrays: dict[str, np.ndarray], options: Namespace) -> Data:
    """Checks the arrays against each other and the options, splits and scales them."""
    for name in ("A", "Y"):
        if name not in arrays:
            raise CommandError(f"{options.data}: expected a key {name!r}, got {sorted(arrays)}")
    for given, missing in (("X_val", "Y_val"), ("Y_val", "X_val" if "X" in arrays else "Y_val")):
        if given in arrays and missing not in arrays:
            raise CommandError(f"{options.data}: {given!r} is there, but {missing!r} is not")

    A = _files.numbers("A", arrays["A"], ("m", "n"))
    m, n = A.shape
    shapes = {"Y": ("num", m), "Y_val": ("num_val", m), "X": ("num", n), "X_val": ("num_val", n)}
    checked = {
        name: _files.numbers(name, arrays[name], shape)
        for name, shape in shapes.items()
        if name in arrays
    }
    for Y, X in (("Y", "X"), ("Y_val", "X_val")):
        if X in checked and len(checked[X]) != len(checked[Y]):
            raise CommandError(
                f"{X}: expected {len(checked[Y])} rows as {Y} has, got {len(checked[X])}"
            )
        if X in checked and options.real and np.iscomplexobj(checked[X]):
            raise CommandError(f"{X}: expected real signals with --real, got {checked[X].dtype}")
    support = _support(arrays, n)

    if options.real:
        stacked = {name: stack_real(A, checked[name])[1] for name in checked if name[0] == "Y"}
        A, checked = stack_real(A, checked["Y"])[0], {**checked, **stacked}
        m = len(A)
    if m < 2:
        raise CommandError("A: expected at least 2 measurements, to hide one of them, got 1")
    limit = min(m, n) if options.method == "omp" else n
    if options.sparsity > limit:
        most = f"at most {limit} for A of shape {A.shape}"
        raise CommandError(f"--sparsity: expected {most}, got {options.sparsity}")

    train, val = (checked["Y"], checked.get("X")), (checked.get("Y_val"), checked.get("X_val"))
    if val[0] is None:
        cut = len(train[0]) - len(train[0]) // 3
        if cut == len(train[0]):
            got = len(train[0])
            raise CommandError(f"Y: expected at least 3 signals, a third to validate, got {got}")
        val = tuple(part if part is None else part[cut:] for part in train)
        train = tuple(part if part is None else part[:cut] for part in train)
    unit = float(np.sqrt(np.mean(np.sum(np.abs(np.asarray(train[0], complex)) ** 2, axis=1))))
    if unit == 0:
        raise CommandError("Y: expected measurements that are not all zero")
    train, val = (
        tuple(part if part is None else jnp.asarray(part / unit) for part in pair)
        for pair in (train, val)
    )
    return Data(jnp.asarray(A), train, val, support, unit)


def _support(arrays, n: int) -> np.ndarray | None:
    if "support" not in arrays:
        return None
    support = arrays["support"]
    if support.ndim != 1 or not np.issubdtype(support.dtype, np.integer) or len(support) == 0:
        raise CommandError(
            f"support: expected a list of atoms, got {support.dtype} of shape {support.shape}"
        )
    if support.min() < 0 or support.max() >= n:
        raise CommandError(f"support: expected atoms between 0 and {n - 1}, got others")
    return support


def _network(A, options: Namespace) -> OMPNet | IHTNet:
    if options.method == "omp":
        return OMPNet(A, sparsity=options.sparsity)
    return IHTNet(
        A,
        sparsity=options.sparsity,
        num_layers=options.num_layers,
        step_size=options.step_size,
    )


def _val_loss(net, data: Data) -> dict[str, float]:
    """Mean squared error over the validation signals, in the user's units."""
    Y, X = data.val
    learned = net.weights[...]

    @jax.jit
    def hard(weights):
        net.weights[...] = weights
        return net.harden()(Y)

    def error(X_hat) -> float:
        return float(jnp.mean(metrics.squared_error(X_hat, X))) * data.unit**2

    found = {"net": error(jax.jit(net)(Y)), "hard_ones": error(hard(jnp.ones_like(learned)))}
    found["hard_learned"] = error(hard(learned))
    if data.support is not None:
        oracle = jnp.zeros_like(learned).at[data.support].set(1)
        found["hard_oracle"] = error(hard(oracle))
    return found


def _draw(folder: Path, history, weights, support) -> bool:
    try:
        from greedyjax import plotting
    except ImportError:
        return False
    titles = {"learned weights": weights}
    _files.draw(folder / "weights.png", plotting.plot_weights, titles, support=support)
    return _files.draw(folder / "training.png", plotting.plot_training, history)


def _report(content: dict[str, Any], folder: Path, pictures: bool) -> None:
    config = content["config"]
    print(
        f"{config['method'].upper()}, {config['loss']} loss, learned from {config['learned_from']}: "
        f"{config['num_train']} signals, best epoch {content['best_epoch']} of {content['epochs']}"
    )
    if content["val_loss"]:
        print("mean squared error on the validation signals")
        for name, value in content["val_loss"].items():
            print(f"  {_METHODS[name]:34} {value:.4g}")
    print("relative error of predicting hidden measurements (no true signal needed)")
    for name, value in content["val_residual"].items():
        print(f"  {_METHODS[name]:34} {value:.4g}")
    if content["weights_kept"] == "ones":
        print("the learned weights do not predict hidden measurements better: the model keeps w = 1")
    if not pictures:
        print('no pictures: they need matplotlib, pip install "greedyjax[demo]"')
    print(f"wrote {folder}/")


_METHODS = {
    "hard_ones": "hard solver, w = 1",
    "net": "trained network",
    "hard_learned": "hard solver, learned weights",
    "hard_oracle": "hard solver, oracle weights",
}
