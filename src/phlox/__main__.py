"""``python -m phlox``: the ``phlox`` command."""

import sys

from phlox.cli import main

if __name__ == "__main__":
    sys.exit(main())
