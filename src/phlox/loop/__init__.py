"""The training loop: fit, its callbacks, and the record of a run."""

from phlox.loop._callback import Callback
from phlox.loop._history import History
from phlox.loop._memory import memory
from phlox.loop._memory_report import Memory, MemoryAdvice, MemoryRow, NotEnoughMemoryError
from phlox.loop._memory_room import available_memory, resident_memory
from phlox.loop._run import Run

__all__ = [
    "Callback",
    "History",
    "Memory",
    "MemoryAdvice",
    "MemoryRow",
    "NotEnoughMemoryError",
    "Run",
    "available_memory",
    "memory",
    "resident_memory",
]
