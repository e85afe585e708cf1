"""What are weights worth that see what was chosen, on a real electrocardiogram?

Windows of `problems.ecg`, m random measurements of each, several draws of the matrix; everything is
learned on the first seconds of one person, and tested on later seconds of that person and on all
windows of another. Of the training windows the last 96 choose what is kept, and are trained on
after that; from measurements alone, the error of predicting hidden measurements chooses. The
generic network gets all training windows, the weights and the linear estimator those without the
last 96. Test windows choose nothing.

    python benchmarks/interactions.py [--draws 0 1 ...] [--measurements 32 48 64 96] [--methods ...]

A run in parts takes the place of the rows that it measures again, and leaves the others.

And what are they worth in other solvers, learned along the path of OMP and along their own?

    python benchmarks/interactions.py --solvers [--draws 0 1 ...] [--measurements 32 64]

The length of a training and its rate are compared by the validation windows, or by hidden
measurements:

    python benchmarks/interactions.py --settings [--draws 0 1 ...] [--measurements 48 64]
"""

import argparse
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, load_result, write_result

import greedyjax as gj
from greedyjax import metrics, problems, training
from greedyjax.commands._baselines import generic_network, linear_mmse
from greedyjax.commands._learning import adam
from greedyjax.nets import CoSaMPNet, HTPNet, IHTNet, OMPNet, SubspacePursuitNet

# Atoms, where true signals are known and where they are not.
SPARSITY = {32: (18, 12), 48: (26, 18), 64: (36, 24), 96: (48, 36)}
TAU = 0.005  # Of the mean largest first score.
VAL, BATCH, EPOCHS = 96, 64, 20
MLP = {"num_epochs": 300, "batch_size": BATCH}
WAYS = ("omp", "weights", "interactions", "blind", "linear", "mlp")
# Epochs of a training, of which a round has half, and Adam's rate.
SETTINGS = ((5, 4e-2), (10, 2e-2), (20, 1e-2))
STEPS = 6  # Of solvers that keep a whole support at a time; IHT takes five times as many.


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, nargs="+", default=range(5))
    parser.add_argument("--measurements", type=int, nargs="+", default=list(SPARSITY))
    parser.add_argument("--methods", nargs="+", default=WAYS, choices=WAYS)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--solvers", action="store_true", help="compare solvers instead")
    instead.add_argument("--settings", action="store_true", help="compare lengths of a training")
    options = parser.parse_args()
    name, measured = "interactions", lambda m, draw: one_draw(m, draw, options.methods)
    if options.solvers:
        name, measured = "interactions_solvers", all_solvers
    if options.settings:
        name, measured = "interactions_settings", all_settings
    rows = []
    for m in options.measurements:
        for draw in options.draws:
            found = measured(m, draw)
            jax.clear_caches()  # A process may hold only so many compiled programs.
            rows += [{"m": m, "draw": draw, "method": way, **row} for way, row in found.items()]
            for way, row in found.items():
                print(m, draw, way, *(round(value, 3) for value in row.values()), flush=True)
    config = {
        "sparsity": SPARSITY, "tau": TAU, "num_val": VAL, "batch": BATCH, "epochs": EPOCHS,
        "mlp": MLP,
    }  # fmt: skip
    metric = "test SNR in dB, of the mean relative squared error over the windows of a person"
    if options.settings:
        metric = "relative squared error of the validation windows, or of hidden measurements"
    content = {"config": config, "metric": metric, "rows": with_others(name, rows)}
    write_result("interactions", content, RESULTS / f"{name}.json")


def with_others(name: str, rows: list[dict]) -> list[dict]:
    """The rows of the result there is, with these in the places of those measured again."""
    key = lambda row: (row["m"], row["draw"], row["method"])
    now = {key(row): row for row in rows}
    before = load_result(name)["rows"] if (RESULTS / f"{name}.json").exists() else []
    known = set(map(key, before))
    kept = [now.get(key(row), row) for row in before]
    return kept + [row for row in rows if key(row) not in known]


class Draw:
    """One matrix: what is learned from, and the windows of either person that are recovered."""

    def __init__(self, m: int, draw: int) -> None:
        self.key = jax.random.key(draw)
        self.first = problems.ecg(self.key, num_measurements=m)
        self.second = problems.second_ecg(self.key, num_measurements=m)
        self.A = self.first.A
        self.pairs = Y, X = self.first.Y_train, self.first.X_train
        self.train, self.val = (Y[:-VAL], X[:-VAL]), (Y[-VAL:], X[-VAL:])
        largest = jax.vmap(lambda y: gj.relative_tau(self.A, y, 1.0))(Y)
        self.tau = TAU * jnp.mean(largest)

    def row(self, solve, seconds: float) -> dict[str, float]:
        """What a solver reaches, and how long it took to learn."""
        return {
            "snr_db": snr(solve(self.first.Y_test), self.first.X_test),
            "snr_second_db": snr(solve(self.second.Y_test), self.second.X_test),
            "seconds": seconds,
        }


def one_draw(m: int, draw: int, methods: list[str]) -> dict[str, dict]:
    """Test SNR of each method on either person, and the seconds that learning took."""
    drawn = Draw(m, draw)
    A, (Y, X), train, val, key = drawn.A, drawn.pairs, drawn.train, drawn.val, drawn.key
    many, few = SPARSITY[m]

    def net(sparsity):
        return OMPNet(A, sparsity=sparsity, tau=drawn.tau)

    def interacting():
        learned = training.learn_interactions(net(many), train, val, key=key, progress=False)
        by_policy = net(many).rebuild(weights=learned.policy).harden()
        return {"interactions, least squares": by_policy, "interactions": learned.solver}

    def blind():
        learned = training.learn_interactions(net(few), (Y, None), key=key, progress=False)
        return {"interactions, measurements alone": learned.solver}

    ways = (
        lambda: {"OMP": net(many).harden()},
        lambda: {"one weight per atom": weights(net(many), train, val, key)},
        interacting,
        blind,
        lambda: {"linear MMSE": linear(A, train[1])},
        lambda: {"MLP": generic_network(A, (Y, X), **MLP, key=key)},
    )
    found = {}
    for way, learn in zip(WAYS, ways, strict=True):
        if way not in methods:
            continue
        start = perf_counter()
        solvers = learn()
        seconds = perf_counter() - start
        for name, solve in solvers.items():
            found[name] = drawn.row(solve, seconds)
    return found


def all_solvers(m: int, draw: int) -> dict[str, dict]:
    """As `one_draw`, of true signals, without last fits: five solvers with equally many atoms."""
    drawn = Draw(m, draw)
    A, train, val, key = drawn.A, drawn.train, drawn.val, drawn.key
    k = m // 3
    nets = {
        "OMP": OMPNet(A, sparsity=k),
        "subspace pursuit": SubspacePursuitNet(A, sparsity=k, num_layers=STEPS),
        "CoSaMP": CoSaMPNet(A, sparsity=k, num_layers=STEPS),
        "HTP": HTPNet(A, sparsity=k, num_layers=STEPS),
        "IHT": IHTNet(A, sparsity=k, num_layers=5 * STEPS),
    }
    found, of_omp = {}, None
    for name, net in nets.items():
        net.tau = jnp.full_like(net.tau, drawn.tau * getattr(net, "step_size", 1.0))
        start = perf_counter()
        own = training.learn_interactions(net, train, val, key=key, progress=False).policy
        seconds = perf_counter() - start
        of_omp = of_omp or own
        for what, policy in (("w = 1", None), ("learned with OMP", of_omp), ("its own", own)):
            solve = net.harden() if policy is None else net.rebuild(weights=policy).harden()
            found[f"{name}, {what}"] = drawn.row(solve, seconds)
    return found


def all_settings(m: int, draw: int) -> dict[str, dict]:
    """The error by which a learning chooses what it keeps, for each length of a training."""
    drawn, found = Draw(m, draw), {}
    (Y, _), (many, few) = drawn.pairs, SPARSITY[m]
    ways = {
        "true signals": (many, drawn.train, drawn.val),
        "measurements alone": (few, (Y, None), None),
    }
    for way, (sparsity, train, val) in ways.items():
        net = OMPNet(drawn.A, sparsity=sparsity, tau=drawn.tau)
        for num_epochs, rate in SETTINGS:
            start = perf_counter()
            learned = training.learn_interactions(
                net, train, val, key=drawn.key, num_epochs=num_epochs, learning_rate=rate,
                progress=False,
            )  # fmt: skip
            seconds = perf_counter() - start
            error = learned.errors[learned.kept]
            found[f"{way}, {num_epochs} epochs"] = {"error": error, "seconds": seconds}
    return found


def snr(X_hat, X) -> float:
    return float(-10 * np.log10(np.mean(metrics.nmse(X_hat, X))))


def linear(A, X):
    estimator = linear_mmse(A, X)
    return lambda Y: Y @ estimator


def weights(net, train, val, key):
    """The selection loss and a hard validation, as for interactions."""
    fitted = training.fit(
        net, train, val, optimizer=adam(3e-2, EPOCHS * (len(train[0]) // BATCH)), num_epochs=EPOCHS,
        batch_size=BATCH, key=key, val_loss=training.losses.hard_reconstruction, progress=False,
    )  # fmt: skip
    return fitted.net.harden()


if __name__ == "__main__":
    main()
