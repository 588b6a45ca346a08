"""All tests run on the CPU, whatever else the machine has, and leave the user's compile cache alone."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("PHLOX_COMPILE_CACHE", "off")
