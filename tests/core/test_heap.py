"""Memory that is freed stays with the process: a second buffer of the same size costs no new pages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

import phlox as px

# On threads of their own, as JAX runs programs, 80 MB are written and freed, twice: what did the second time cost?
# By default it is all 19,531 pages, unless the system hands out huge ones unasked.
PROGRAM = """
import ctypes, resource, threading, runpy
assert runpy.run_path({heap!r})["keep_freed_memory"]()

def pages():
    def write():
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        where = libc.malloc(80_000_000)
        ctypes.memset(where, 1, 80_000_000)
        libc.free(where)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

pages()
print(pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_used_again() -> None:
    program = PROGRAM.format(heap=sys.modules[px.keep_freed_memory.__module__].__file__)
    assert int(subprocess.check_output([sys.executable, "-c", program])) < 200


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert px.keep_freed_memory() is False
