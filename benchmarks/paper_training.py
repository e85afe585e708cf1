"""How long is the paper's whole training, 1,000 epochs of one seed, and where does it end?

OMP-Net and IHT-Net as `greedyjax reproduce fig3` trains them, compilation included.

    python benchmarks/paper_training.py
"""

from time import perf_counter

from common import write_result

from greedyjax.commands.reproduction import _fig3

SEED = 0


def main() -> None:
    rows = []
    for algorithm in ("omp", "iht"):
        # The test set is drawn with the rest: the signals are those of seed 0 in the figure.
        drawn = [_fig3.draw(algorithm, SEED, _fig3.NUM_TEST)]
        start = perf_counter()
        (fitted,) = _fig3.train_as_published(algorithm, drawn, _fig3.PAPER_EPOCHS)
        row = {
            "net": f"{algorithm.upper()}-Net",
            "seed": SEED,
            "minutes": (perf_counter() - start) / 60,
            "best_epoch": fitted.best_epoch,
            "best_val_loss": fitted.best_val_loss,
        }
        rows.append(row)
        print(row)
    write_result("paper_training", {"epochs": _fig3.PAPER_EPOCHS, "rows": rows})


if __name__ == "__main__":
    main()
