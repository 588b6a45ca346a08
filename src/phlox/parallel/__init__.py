"""Several devices: a mesh of them, and strategies that say how a model, its optimiser and its batches are spread.

_mesh          devices along named axes
_strategy      strategies as values that multiply
_placement     a strategy on a mesh: where each array lies, and how a step keeps it there
_alike         what goes with a model's arrays lies as they do
_results       results of layers held where batches lie
_shard         for loops by hand: a model placed, or made in its place
_inspect       which device holds what, as a table and a picture
processes/     several processes: brought together, compared, and ended together
strategies/    the strategies, a file each
"""

from phlox.parallel._inspect import Layout, inspect
from phlox.parallel._mesh import mesh
from phlox.parallel._placement import Placement, placement_of
from phlox.parallel._shard import create, shard
from phlox.parallel._strategy import Product, Strategy

# For the rooms above, and no user's business: not in __all__.
from phlox.parallel.processes._agreement import FAILED as FAILED
from phlox.parallel.processes._agreement import agree as agree
from phlox.parallel.processes._agreement import checksum as checksum
from phlox.parallel.processes._agreement import checksums as checksums
from phlox.parallel.processes._ending import Ending as Ending
from phlox.parallel.processes._group import Group as Group
from phlox.parallel.processes._group import ProcessError
from phlox.parallel.processes._group import group as group
from phlox.parallel.processes._initialize import initialize
from phlox.parallel.processes._ray import ray
from phlox.parallel.processes._rows import own_rows as own_rows
from phlox.parallel.strategies._data_parallel import DataParallel, data_parallel
from phlox.parallel.strategies._fsdp import FSDP, fsdp

__all__ = [
    "FSDP",
    "DataParallel",
    "Layout",
    "Placement",
    "ProcessError",
    "Product",
    "Strategy",
    "create",
    "data_parallel",
    "fsdp",
    "initialize",
    "inspect",
    "mesh",
    "placement_of",
    "ray",
    "shard",
]
