"""All tests run on the CPU, whatever else the machine has, and leave the user's compile cache alone."""

import gc
import importlib.metadata
import itertools
import os
import signal
import sys
import zlib
from pathlib import Path

import pytest

import seconds

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("PHLOX_COMPILE_CACHE", "off")


def _compile_quickly():
    """Nearly all of the suite's time is XLA compiling small programs: half of it goes with fewer optimisations.

    ``JAX_DISABLE_MOST_OPTIMIZATIONS=0`` tests what users run, with every pass, as ``make soak`` does.
    """
    if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") in ("0", "false", "False"):
        return
    if importlib.metadata.version("jax").startswith(("0.10.", "0.11.")):  # 0.12 has no such flag, and stops at it
        flags = os.environ.get("XLA_FLAGS", "")
        quick = "--xla_cpu_use_fusion_emitters=false"
        os.environ["XLA_FLAGS"] = f"{flags} {quick}".strip()


_compile_quickly()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; tests interrupt themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _mappings() -> int:
    """How many mappings of memory this process has, where the system tells it in /proc; else 0."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0


_MOST_MAPPINGS = 15_000  # Linux allows a process 65,530; beyond, XLA's compiler ends it by a segmentation fault
_tests = itertools.count(1)


@pytest.fixture(autouse=True)
def _bounded_programs():
    """Thousands of small programs add up, some mappings of memory each: now and then they are let go."""
    yield
    if next(_tests) % 25 == 0 and _mappings() > _MOST_MAPPINGS:
        import jax

        jax.clear_caches()
        gc.collect()


def pytest_configure(config):
    seconds.watch(config)


def pytest_ignore_collect(collection_path):
    """A file that others run or import is not imported to look for examples in it: some are programs, which start."""
    return True if collection_path.suffix == ".py" and _is_a_tool(collection_path) else None


def _is_a_tool(path):
    return path.is_relative_to(Path(__file__).parent) and not path.name.startswith("test_")


def pytest_collection_finish(session):
    """What stays until the end is not looked through again for garbage, and that is looked for less often."""
    jax = sys.modules.get("jax")
    if jax is not None and jax.config.jax_enable_x64:
        raise pytest.UsageError("a file turned 64 bits on when it was imported: every test would run with them")
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


_BY_LAYER = ("tests/nn/test_contract.py", "tests/nn/test_jax_switches.py")


def group_of(nodeid):
    """Which tests one process runs, as they compile the same programs: a file, or the contract of one layer."""
    file, _, test = nodeid.partition("::")
    layer = test.partition("[")[2].rstrip("]").partition("-")[0]
    return f"{file} {layer}" if file in _BY_LAYER else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Groups by name: xdist's own are lost without a word where pytest has changed under it."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return group_of(nodeid)

    return ByGroup(config, log)


_SWEEPS = ("float16", "bfloat16", "float64")


def _is_drawn(item, one_of):
    return zlib.crc32(item.name.encode()) % one_of == 0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Sweeps of activations and losses over other dtypes than float32, and what a sample leaves, are for soak."""
    for item in items:
        sampled = item.get_closest_marker("sampled")
        if sampled and not item.get_closest_marker("soak") and not _is_drawn(item, *sampled.args):
            item.add_marker(pytest.mark.soak)
            item.add_marker(pytest.mark.left)
        swept = item.path.name in ("test_activations.py", "test_init.py") or "losses" in item.path.parts
        if swept and any(dtype in item.nodeid for dtype in _SWEEPS):
            item.add_marker(pytest.mark.soak)
