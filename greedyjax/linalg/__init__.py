"""Operators, a growing orthonormal basis, and norms: what the solvers compute with."""
