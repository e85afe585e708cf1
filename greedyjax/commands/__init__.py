"""What the command line runs: one module per command, and the files they share."""
