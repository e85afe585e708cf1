"""Atoms between the points of a grid, and how many atoms stand out from noise.

`newtonised_omp` refines the parameters of the atoms that it chooses, such as frequencies, angles
or delays, and finds their number at a stated rate of false alarms. `noise_norm` gives solvers on a
grid a residual to stop at.
"""

from greedyjax.off_grid._false_alarm import noise_norm
from greedyjax.off_grid._newtonised import Paths, newtonised_omp, newtonised_omp_batch

__all__ = ["Paths", "newtonised_omp", "newtonised_omp_batch", "noise_norm"]
