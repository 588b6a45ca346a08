"""Several devices: a mesh of them, and strategies that say how a model, its optimiser and its batches are spread.

_mesh          devices along named axes
_strategy      strategies as values that multiply
_placement     a strategy on a mesh: where each array lies, and how a step keeps it there
_alike         what goes with a model's arrays lies as they do
_results       results of layers held where batches lie
_late_sums     between processes, sums over a batch in few messages
_shard         for loops by hand: a model placed, or made in its place
_inspect       which device holds what, as a table and a picture
planning/      what a model takes on chips that are not there
processes/     several processes: brought together, compared, and ended together
strategies/    the strategies, a file each
tables/        which part of a layer tensor parallelism cuts how
ring/          attention over sequences that are cut over devices
experts/       tokens that go to experts on other devices, and come back
"""

# What is named as itself, ``x as x``, is for the rooms above and no user's business: not in __all__.
from phlox.parallel._alike import meant as meant
from phlox.parallel._inspect import Layout, inspect
from phlox.parallel._mesh import mesh
from phlox.parallel._placement import Placement, placement_of
from phlox.parallel._placement import placed as placed
from phlox.parallel._shard import create, shard
from phlox.parallel._strategy import Product, Strategy
from phlox.parallel.planning._plan import plan
from phlox.parallel.planning._report import Plan, PlanRow
from phlox.parallel.planning._step import Case as Case
from phlox.parallel.planning._step import PlannedStep as PlannedStep
from phlox.parallel.planning._step import steps_are_made_by as steps_are_made_by
from phlox.parallel.processes._agreement import FAILED as FAILED
from phlox.parallel.processes._agreement import agree as agree
from phlox.parallel.processes._agreement import checksum as checksum
from phlox.parallel.processes._agreement import checksums as checksums
from phlox.parallel.processes._cores import THREADS as THREADS
from phlox.parallel.processes._cores import cores as cores
from phlox.parallel.processes._cores import share_of as share_of
from phlox.parallel.processes._ending import Ending as Ending
from phlox.parallel.processes._group import Group as Group
from phlox.parallel.processes._group import ProcessError
from phlox.parallel.processes._group import group as group
from phlox.parallel.processes._initialize import initialize
from phlox.parallel.processes._ray import ray
from phlox.parallel.processes._reached import FOLDER as FOLDER
from phlox.parallel.processes._reached import furthest as furthest
from phlox.parallel.processes._reached import reached as reached
from phlox.parallel.processes._requeue import requeue as requeue
from phlox.parallel.processes._rows import devices_by_part as devices_by_part
from phlox.parallel.processes._rows import own_rows as own_rows
from phlox.parallel.strategies._context_parallel import ContextParallel, context_parallel
from phlox.parallel.strategies._data_parallel import DataParallel, data_parallel
from phlox.parallel.strategies._expert_parallel import ExpertParallel, expert_parallel
from phlox.parallel.strategies._fsdp import FSDP, fsdp
from phlox.parallel.strategies._pipeline import Pipeline, pipeline
from phlox.parallel.strategies._tensor_parallel import TensorParallel, tensor_parallel
from phlox.parallel.strategies.pipelining._timetable import Timetable
from phlox.parallel.tables._shown import TensorRules, tensor_rules

__all__ = [
    "FSDP",
    "ContextParallel",
    "DataParallel",
    "ExpertParallel",
    "Layout",
    "Pipeline",
    "Placement",
    "Plan",
    "PlanRow",
    "ProcessError",
    "Product",
    "Strategy",
    "TensorParallel",
    "TensorRules",
    "Timetable",
    "context_parallel",
    "create",
    "data_parallel",
    "expert_parallel",
    "fsdp",
    "initialize",
    "inspect",
    "mesh",
    "pipeline",
    "placement_of",
    "plan",
    "ray",
    "shard",
    "tensor_parallel",
    "tensor_rules",
]
