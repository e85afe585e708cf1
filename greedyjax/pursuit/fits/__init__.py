"""Fits, which compute the coefficients of chosen atoms."""

from greedyjax.pursuit.fits._fit import Fit
from greedyjax.pursuit.fits._gram_matrix import GramMatrix
from greedyjax.pursuit.fits._least_squares import LeastSquares, Span
from greedyjax.pursuit.fits._least_squares import check_at_once as check_at_once
from greedyjax.pursuit.fits._order_recursive import OrderRecursive
from greedyjax.pursuit.fits._root_lasso import RootLasso

__all__ = ["Fit", "GramMatrix", "LeastSquares", "OrderRecursive", "RootLasso", "Span"]
