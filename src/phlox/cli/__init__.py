"""The ``phlox`` command.

_main                           arguments read, a command run, errors as one message and a status
_quickstart _digits _history    phlox quickstart, its data, what it measured
_report _outputs                what a run shows, and the folder that it writes
_export                         phlox export
_doctor _versions               phlox doctor, and what is installed
"""

from phlox.cli._main import main

__all__ = ["main"]
