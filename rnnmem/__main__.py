"""`python -m rnnmem`: the command line."""

import sys

from rnnmem.cli import main

if __name__ == "__main__":
    sys.exit(main())
