"""Training of networks, weights without training, and dictionaries learned from signals."""

from greedyjax.training import losses
from greedyjax.training._bayes import Prior, sparse_bayes
from greedyjax.training._counting import count_weights
from greedyjax.training._dictionary import LearnedDictionary, learn_dictionary
from greedyjax.training._dictionary_updates import (
    KSVD,
    MOD,
    Coded,
    DictionaryUpdate,
    OnlineGradient,
)
from greedyjax.training._fit import FitResult, Loss, fit, fit_many
from greedyjax.training._interactions import Learned, learn_interactions
from greedyjax.training._tempering import hidden_error as hidden_error
from greedyjax.training._tempering import temper_weights

__all__ = [
    "KSVD",
    "MOD",
    "Coded",
    "DictionaryUpdate",
    "FitResult",
    "Learned",
    "LearnedDictionary",
    "Loss",
    "OnlineGradient",
    "Prior",
    "count_weights",
    "fit",
    "fit_many",
    "learn_dictionary",
    "learn_interactions",
    "losses",
    "sparse_bayes",
    "temper_weights",
]
