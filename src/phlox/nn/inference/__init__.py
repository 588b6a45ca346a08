"""Models made ready for inference: what training needs is gone, and what stands behind a product is part of it.

_optimize   px.optimize_for_inference
_layers     weights as a CPU multiplies them fastest, and everything in the last pass of a product
"""

from phlox.nn.inference._layers import FusedConv, InBfloat16, PackedConv, PackedDense, PackedEmbedding, added
from phlox.nn.inference._optimize import optimize_for_inference

__all__ = [
    "FusedConv",
    "InBfloat16",
    "PackedConv",
    "PackedDense",
    "PackedEmbedding",
    "added",
    "optimize_for_inference",
]
