"""Several devices: a mesh of them, and strategies that say how a model, its optimiser and its batches are spread.

_mesh          devices along named axes
_strategy      strategies as values that multiply
_placement     a strategy on a mesh: where each array lies, and how a step keeps it there
strategies/    the strategies, a file each
tables/        which part of a layer tensor parallelism cuts how
"""

from phlox.parallel._mesh import mesh
from phlox.parallel._placement import Placement
from phlox.parallel._strategy import Product, Strategy
from phlox.parallel.strategies._data_parallel import DataParallel, data_parallel
from phlox.parallel.strategies._fsdp import FSDP, fsdp
from phlox.parallel.strategies._tensor_parallel import TensorParallel, tensor_parallel
from phlox.parallel.tables._shown import TensorRules, tensor_rules

__all__ = [
    "FSDP",
    "DataParallel",
    "Placement",
    "Product",
    "Strategy",
    "TensorParallel",
    "TensorRules",
    "data_parallel",
    "fsdp",
    "mesh",
    "tensor_parallel",
    "tensor_rules",
]
