"""Several devices: a mesh of them, weights on each, batches spread over them."""

from phlox.parallel._data_parallel import DataParallel, data_parallel

__all__ = ["DataParallel", "data_parallel"]
