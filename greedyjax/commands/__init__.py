"""The commands of the command line: one module per command, and modules that they share."""

from greedyjax.commands._files import CommandError as CommandError
