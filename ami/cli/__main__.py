"""`python -m ami.cli` is `ami`."""

import sys

from ami.cli import main

if __name__ == "__main__":
    sys.exit(main())
