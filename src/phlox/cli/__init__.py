"""The ``phlox`` command.

_main                           arguments read, a command run, errors as one message and a status
_arguments                      arguments as the values that they mean
_quickstart _digits _history    phlox quickstart, its data, what it measured
_report _outputs                what a run shows, and the folder that it writes
_chat _conversation _pieces     phlox chat, what was said as tokens, answers as they come
_export                         phlox export
_serve                          phlox serve
_launch _restarts               phlox launch, and when it starts all again
_plan                           phlox plan
_explore                        phlox explore
_runs                           phlox report, phlox compare
_doctor _versions               phlox doctor, and what is installed
"""

from phlox.cli._main import main

__all__ = ["main"]
