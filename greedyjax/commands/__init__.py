"""What the command line runs: one module per command, and the files they share."""

from greedyjax.commands._files import CommandError as CommandError
