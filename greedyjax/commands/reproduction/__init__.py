"""The figures of the paper: what each computes, what was published, and how it is drawn."""
