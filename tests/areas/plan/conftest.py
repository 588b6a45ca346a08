"""libtpu must be there: without it no test of the area is skipped, all fail."""

import libtpu  # noqa: F401
