"""Linear algebra of the solvers: operators, a growing orthonormal basis, and norms."""
