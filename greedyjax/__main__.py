"""``python -m greedyjax``."""

import sys

from greedyjax.cli import main

if __name__ == "__main__":
    sys.exit(main())
