"""`greedyjax train`: learns weights from the user's own arrays."""

import itertools
import shlex
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from greedyjax import metrics
from greedyjax.commands import _files, _learning, _long_runs
from greedyjax.commands._data import Data, read_data
from greedyjax.commands._files import CommandError, Model
from greedyjax.nets import IHTNet, OMPNet
from greedyjax.training import (
    FitResult,
    Learned,
    Loss,
    fit,
    hidden_error,
    learn_interactions,
    losses,
)

OUTPUTS = (
    "metrics.json",
    "model.npz",
    "history.csv",
    "training.png",
    "weights.png",
    "interactions.png",
)
# The largest number of atoms for which a picture of interactions is drawn.
_PICTURED = 1024


class Recipe(NamedTuple):
    """A loss and its default settings.

    The selection loss needs a temperature at which several atoms compete. The reconstruction loss
    needs a temperature at which the network recovers signals, and ten times as many smaller steps.
    """

    loss: Loss
    tau: float
    num_steps: int
    learning_rate: float


RECIPES = {
    "selection": Recipe(losses.selection, 0.1, 400, 3e-2),
    "reconstruction": Recipe(losses.reconstruction, _learning.SOFT_TAU, 4000, 1e-2),
}


def train(options: Namespace) -> None:
    """Learns weights and interactions, keeps the best candidate, and writes all files."""
    data = read_data(options)
    recipe = RECIPES[options.loss]
    config = _config(options, data, recipe)
    temperature = config["tau"]
    folder = Path(options.out)
    checkpoint_dir = _claim_checkpoints(options.checkpoint_dir, config)
    _files.claim_folder(folder, OUTPUTS, "train")

    num = f"{config['num_train']} signals, {config['num_val']} to validate on"
    _long_runs.stage(f"train: {options.method.upper()} on {num}, {config['epochs']} epochs")
    net = _network(data.A, options)
    scale = _learning.score_scale_of(net, data.train[0])
    soft_temperature = temperature if options.loss == "reconstruction" else _learning.SOFT_TAU
    net.tau = jnp.full_like(net.tau, temperature * scale)
    by_error = options.loss == "selection" and data.train[1] is not None
    fitted = _fitted(net, data, recipe, config, checkpoint_dir, by_error)
    _check_finite(fitted)
    net = fitted.net
    net.tau = jnp.full_like(net.tau, soft_temperature * scale)
    learned = net.atom_weights

    _long_runs.stage("compare the learned weights with w = 1")
    candidates = {"hard_ones": jnp.ones_like(learned), "hard_learned": learned}
    val_residual = {
        name: float(hidden_error(net, data.val[0], weights)) for name, weights in candidates.items()
    }
    keeps_learned = val_residual["hard_learned"] < val_residual["hard_ones"]
    val_loss = _val_loss(net, data) if data.val[1] is not None else None

    kept = learned if keeps_learned else jnp.ones_like(learned)
    found = None
    if options.learn == "interactions" and len(fitted.history["tau"]) > config["epochs"]:
        _long_runs.stage("learn interactions, and a last fit")
        net.tau = jnp.full_like(net.tau, _learning.INTERACTIONS_TAU * scale)
        found = _interactions(net.rebuild(weights=kept), data, config, checkpoint_dir)
    policy = kept if found is None else _kept(found)
    prior = found.prior if found else None
    model = _model(net, options, data, policy, soft_temperature * scale, prior)
    content = {
        "finished": True,
        "val_loss": val_loss,
        "val_residual": val_residual,
        "weights_kept": "learned" if keeps_learned else "ones",
        "kept": found.kept if found else None,
        "errors": found.errors if found else None,
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.history["val_loss"]) - 1,
        "skipped_steps": int(np.sum(fitted.history["skipped_steps"])),
        "seconds": float(np.sum(fitted.history["seconds"])),
        "config": config,
    }
    _files.write_model(folder / "model.npz", model)
    history = _in_users_units(fitted.history, data.unit, by_error, options.loss)
    _files.write_csv(folder / "history.csv", history, index="epoch")
    title = "learned weights" + ("" if keeps_learned else ", not kept: w = 1 predicts better")
    pictures = _draw(folder, history, fitted.best_epoch, by_error, {title: learned}, data.support)
    if pictures and callable(policy) and data.A.shape[1] <= _PICTURED:
        _draw_interactions(folder, policy)
    _files.write_json(folder / "metrics.json", content, "train")
    _report(content, folder, pictures)


def _config(options: Namespace, data: Data, recipe: Recipe) -> dict[str, Any]:
    """The user's settings, completed by the defaults of the recipe, and the sizes of the data."""
    num = len(data.train[0])
    num_batches = num // min(options.batch_size, num)
    return {
        **{name: value for name, value in vars(options).items() if name != "run"},
        "epochs": options.epochs or -(-recipe.num_steps // num_batches),
        "tau": options.tau or recipe.tau,
        "learning_rate": options.learning_rate or recipe.learning_rate,
        "num_train": num,
        "num_val": len(data.val[0]),
        "num_layers": options.num_layers if options.method == "iht" else options.sparsity,
        "learned_from": "Y alone" if data.train[1] is None else "Y and X",
    }


def _fitted(
    net, data: Data, recipe: Recipe, config: dict[str, Any], checkpoint_dir, by_error: bool
) -> FitResult:
    """Trains with the settings of the configuration."""
    num_epochs, batch_size = config["epochs"], min(config["batch_size"], config["num_train"])
    num_steps = num_epochs * (config["num_train"] // batch_size)
    with _errors_of_checkpoints():
        return fit(
            net,
            data.train,
            data.val,
            loss=recipe.loss,
            # With true signals, the error of the hard solver chooses the epoch.
            val_loss=losses.hard_reconstruction if by_error else None,
            optimizer=_learning.adam(config["learning_rate"], num_steps),
            num_epochs=num_epochs,
            batch_size=batch_size,
            key=jax.random.key(config["seed"]),
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=config["checkpoint_every"],
            callback=_estimate(num_epochs),
        )


def _estimate(num_epochs: int) -> Callable[[int, dict[str, Any]], None]:
    """A callback that prints how long training will take, after an epoch without compilation."""
    calls = itertools.count()

    def callback(epoch: int, metrics: dict[str, Any]) -> None:
        if next(calls) == 2:  # Epoch 0 only validates, and the next epoch compiles.
            seconds = metrics["seconds"] * (num_epochs - epoch)
            if seconds >= _long_runs.LONG:
                _long_runs.say("train", seconds=seconds, memory=_long_runs.memory_so_far())

    return callback


def _interactions(net, data: Data, config: dict[str, Any], checkpoint_dir) -> Learned | None:
    """Learns interactions. Returns None if Ctrl-C ended it."""
    try:
        with _errors_of_checkpoints():
            return learn_interactions(
                net,
                data.train,
                data.val,
                key=jax.random.key(config["seed"]),
                num_epochs=config["epochs"],
                batch_size=min(config["batch_size"], config["num_train"]),
                checkpoint_dir=checkpoint_dir and checkpoint_dir.parent / "interactions",
            )
    except KeyboardInterrupt:  # The learned weights must not be lost.
        return None


def _kept(found: Learned) -> Any:
    """The weights for the model: a policy if interactions were kept, and else one per atom."""
    return found.policy if found.kept.startswith("interactions") else jnp.exp(found.policy.bias)


def _model(net, options: Namespace, data: Data, weights, tau: float, prior) -> Model:
    """The model to store: the network's settings in the user's units, and the kept weights."""
    is_iht = options.method == "iht"
    return Model(
        A=data.A_given,
        weights=weights if callable(weights) else np.asarray(weights),
        method=options.method,
        sparsity=options.sparsity,
        tau=tau * data.unit,
        real=options.real,
        num_layers=options.num_layers if is_iht else 0,
        step_size=float(net.step_size) if is_iht else 0.0,
        prior=prior,
    )


def _check_finite(fitted: FitResult) -> None:
    """Raises a CommandError if the validation loss or the weights are not finite."""
    if not np.isfinite(fitted.best_val_loss):
        raise CommandError(
            "the validation loss is never finite: the solver diverges; "
            "a smaller --step-size or other units of A may help"
        )
    if not np.isfinite(fitted.net.atom_weights).all():
        raise CommandError("the weights overflowed: a smaller --learning-rate helps")


def _claim_checkpoints(folder: str | None, config: dict[str, Any]) -> Path | None:
    """The folder for the checkpoints of `fit`, checked to belong to this training alone.

    `fit` recognises a training by its data and its network. Settings that `fit` cannot recognise,
    such as the learning rate, are stored beside the checkpoints.
    """
    if folder is None:
        return None
    other = {"command", "data", "out", "checkpoint_dir", "checkpoint_every"}
    if config["method"] == "omp":
        other.add("num_layers")  # It is the sparsity.
    wanted = {name: str(config[name]) for name in sorted(set(config) - other)}
    path = Path(folder) / "settings.json"
    found = _files.read_json(path) or {}
    for name, value in wanted.items():
        if found.get(name, value) != value:
            raise CommandError(
                f"{folder}: expected checkpoints of this training, got {name} {found[name]} "
                f"instead of {value}; choose another --checkpoint-dir"
            )
    names = (path.name, "epochs", "interactions")
    _files.claim_folder(Path(folder), names, "train", mark=path.name)
    _files.write_json(path, wanted, "train")
    return path.parent / "epochs"


@contextmanager
def _errors_of_checkpoints() -> Iterator[None]:
    """Turns errors of `fit` about checkpoints into errors of the command."""
    try:
        yield
    except (OSError, ValueError) as error:
        what, _, why = str(error).partition("checkpoint_dir: ")
        if what or not why:
            raise
        raise CommandError(f"--checkpoint-dir: {why}") from error


def _network(A, options: Namespace) -> OMPNet | IHTNet:
    if options.method == "omp":
        return OMPNet(A, sparsity=options.sparsity)
    return IHTNet(
        A,
        sparsity=options.sparsity,
        num_layers=options.num_layers,
        step_size=options.step_size,
    )


def _in_users_units(history, unit: float, by_error: bool, loss: str):
    """The history in the user's units: temperatures, and losses that are squared errors."""
    is_error = loss == "reconstruction"
    scales = {
        "tau": unit,
        "train_loss": unit**2 if is_error else 1.0,
        "val_loss": unit**2 if is_error or by_error else 1.0,
    }
    return {name: values * scales.get(name, 1.0) for name, values in history.items()}


def _val_loss(net, data: Data) -> dict[str, float]:
    """``||x_hat - x||^2``, mean over the validation signals, in the user's units."""
    Y, X = data.val
    learned = net.atom_weights
    weights = {"hard_ones": jnp.ones_like(learned), "hard_learned": learned}
    if data.support is not None:
        weights["hard_oracle"] = jnp.zeros_like(learned).at[data.support].set(1)
    answers = {name: _learning.solve_hard(net, Y, w) for name, w in weights.items()}
    answers["net"] = _learning.solve_soft(net, Y)
    return {
        name: float(jnp.mean(metrics.squared_error(answers[name], X))) * data.unit**2
        for name in _METHODS
        if name in answers
    }


def _draw(folder, history, best_epoch: int, by_error: bool, weights, support) -> bool:
    try:
        from greedyjax import plotting
    except ImportError:
        return False
    _files.draw(folder / "weights.png", plotting.plot_weights, weights, support=support)
    settings: dict[str, Any] = {"best_epoch": best_epoch}
    if by_error:
        settings["val_measure"] = "squared error, hard solver"
    return _files.draw(folder / "training.png", plotting.plot_training, history, **settings)


def _draw_interactions(folder: Path, policy) -> None:
    from greedyjax import plotting

    _files.draw(folder / "interactions.png", plotting.plot_interactions, policy.matrix)


def _report(content: dict[str, Any], folder: Path, pictures: bool) -> None:
    config = content["config"]
    print(
        f"{config['method'].upper()}, {config['loss']} loss, {config['num_train']} signals, "
        f"learned from {config['learned_from']}; "
        f"best epoch {content['best_epoch']} of {content['epochs']}"
    )
    if content["val_loss"]:
        print("val_loss: ||x_hat - x||^2, mean over the validation signals")
        for name, value in content["val_loss"].items():
            print(f"  {_METHODS[name]:34} {value:.4g}")
    print("val_residual: ||A x_hat - y|| / ||y|| of hidden measurements (no true signal needed)")
    for name, value in content["val_residual"].items():
        print(f"  {_METHODS[name]:34} {value:.4g}")
    if content["weights_kept"] == "ones":
        so = "w = 1 is kept" if content["kept"] is None else "interactions begin at w = 1"
        print(f"the learned weights do not predict hidden measurements better: {so}")
    if content["errors"]:
        error = "||x_hat - x||^2 / ||x||^2"
        if not content["val_loss"]:
            error = "||A x_hat - y||^2 / ||y||^2 of hidden measurements"
        print(f"errors: {error}, mean over the validation signals, hard solver (* is kept)")
        for name, value in content["errors"].items():
            print(f"{'*' if name == content['kept'] else ' ':>2}{name:34} {value:.4g}")
    if "last fit" in (content["kept"] or ""):
        print("the last fit gives more nonzeros than --sparsity; --learn weights has no last fit")
    if not pictures:
        print('no pictures: they need matplotlib, pip install "greedyjax[demo]"')
    print(f"wrote {folder}/")
    model = shlex.quote(str(folder / "model.npz"))
    print(f"next: greedyjax recover {model} Y.npy --out X.npy")


_METHODS = {
    "hard_ones": "hard solver, w = 1",
    "net": "trained network",
    "hard_learned": "hard solver, learned weights",
    "hard_oracle": "hard solver, oracle weights",
}
