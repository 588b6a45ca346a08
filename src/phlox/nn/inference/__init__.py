"""Models made ready for inference: what training needs is gone, and what stands behind a product is part of it.

_optimize   px.optimize_for_inference
_layers     maps and convolutions with everything in their last pass
"""

from phlox.nn.inference._layers import FusedConv, InBfloat16, PackedConv, PackedDense, added
from phlox.nn.inference._optimize import optimize_for_inference

__all__ = ["FusedConv", "InBfloat16", "PackedConv", "PackedDense", "added", "optimize_for_inference"]
