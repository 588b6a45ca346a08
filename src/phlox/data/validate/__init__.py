"""Validation: what is in data, what is expected of it, and whether it has moved: ``px.data.validate``.

_values                      what a value is, and 64 bits that stand for it; read it first
_arrays _chunks              data of any kind as chunks of columns
_running                     gathered over chunks: moments, a sample of rows, distinct values
_column _statistics          what is in a column, and in data
_rules _schema               what is expected of a column, and of data
_inferring                   a schema from data that is good
_checking _report            data checked by a schema, and what was found
_guard                       arrays of a request checked, as a server does it
_files _pandera              schemas as files, and as those of pandera
_measures                    PSI, Jensen–Shannon, maximum mean discrepancy
_comparing _drift            two samples of a column; two sets of data
_labels _leakage             labels that are likely to be wrong; rows of the test data that are in the training data
_listed _html _page          findings as text, as tables of HTML, and as one page
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.data.validate._column import ColumnStatistics
from phlox.data.validate._drift import Drift, Moved, drift
from phlox.data.validate._guard import Guard as Guard  # for the server, and no user
from phlox.data.validate._inferring import schema
from phlox.data.validate._labels import LabelNoise, label_noise
from phlox.data.validate._leakage import Leakage, leakage
from phlox.data.validate._measures import jensen_shannon, mmd, psi
from phlox.data.validate._page import write_page
from phlox.data.validate._report import InvalidDataError, Problem, Report
from phlox.data.validate._rules import Column
from phlox.data.validate._schema import Schema
from phlox.data.validate._statistics import Statistics, statistics

__all__ = [
    "Column",
    "ColumnStatistics",
    "Drift",
    "InvalidDataError",
    "LabelNoise",
    "Leakage",
    "Moved",
    "Problem",
    "Report",
    "Schema",
    "Statistics",
    "drift",
    "jensen_shannon",
    "label_noise",
    "leakage",
    "mmd",
    "psi",
    "schema",
    "statistics",
    "write_page",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
