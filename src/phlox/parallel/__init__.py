"""Several devices: a mesh of them, and strategies that say how a model, its optimiser and its batches are spread.

_mesh          devices along named axes
_strategy      strategies as values that multiply
_placement     a strategy on a mesh: where each array lies, and how a step keeps it there
_alike         what goes with a model's arrays lies as they do
_results       results of layers held where batches lie
_shard         for loops by hand: a model placed, or made in its place
_inspect       which device holds what, as a table and a picture
strategies/    the strategies, a file each
"""

from phlox.parallel._inspect import Layout, inspect
from phlox.parallel._mesh import mesh
from phlox.parallel._placement import Placement, placement_of
from phlox.parallel._shard import create, shard
from phlox.parallel._strategy import Product, Strategy
from phlox.parallel.strategies._data_parallel import DataParallel, data_parallel
from phlox.parallel.strategies._fsdp import FSDP, fsdp
from phlox.parallel.strategies._pipeline import Pipeline, pipeline
from phlox.parallel.strategies.pipelining._timetable import Timetable

__all__ = [
    "FSDP",
    "DataParallel",
    "Layout",
    "Pipeline",
    "Placement",
    "Product",
    "Strategy",
    "Timetable",
    "create",
    "data_parallel",
    "fsdp",
    "inspect",
    "mesh",
    "pipeline",
    "placement_of",
    "shard",
]
