"""Search: settings of a training found by trials, over Optuna, which is loaded when a search begins.

_space       what may be chosen from
_trial       one trial, as its objective sees it, and the callback that ends it early
_result      one trial of a study
_study       what came of a search
_pictures    a search as people see it
_storage     where Optuna keeps a study, and trials of processes that died
_tune        px.tune, over Optuna
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.search._result import TrialResult
from phlox.search._space import Choice, Integer, Uniform
from phlox.search._study import Study
from phlox.search._trial import Pruning, Trial
from phlox.search._tune import read_study, tune

__all__ = ["Choice", "Integer", "Pruning", "Study", "Trial", "TrialResult", "Uniform", "read_study", "tune"]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
