"""Training of the networks, and weights without training."""

from greedyjax.training import losses
from greedyjax.training._counting import count_weights
from greedyjax.training._fit import FitResult, Loss, fit, fit_many

__all__ = ["FitResult", "Loss", "count_weights", "fit", "fit_many", "losses"]
