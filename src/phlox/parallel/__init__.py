"""Several devices: a mesh of them, weights on each, batches spread over them.

_data_parallel    the whole model on every device, a part of the batch on each
"""

from phlox.parallel._data_parallel import DataParallel, data_parallel

__all__ = ["DataParallel", "data_parallel"]
