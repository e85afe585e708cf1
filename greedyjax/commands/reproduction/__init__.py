"""The figures of the paper: their computations, the published numbers, and their pictures."""
