"""The training loop: fit, its callbacks, and the record of a run."""

from phlox.loop._callback import Callback
from phlox.loop._history import History
from phlox.loop._run import Run

__all__ = ["Callback", "History", "Run"]
