"""`python -m fairlightning` is the command `fairlightning`."""

import sys

from fairlightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
