"""The operators of ONNX in JAX, a file for each family.

_arithmetic    one number at a time, and two
_activations   the curves of layers
_logic         comparisons, flags, bits
_casting       dtypes, constants
_shapes        sizes, and arrays in other shapes
_moving        parts of arrays joined, cut, padded, repeated
_indexing      by index: gathered, scattered, sorted, found
_reductions    sums along axes, running ones too
_products      matrices and their like
_attention     attention and what stands around it
_convolutions  kernels that slide
_pools         windows that slide
_boxes         boxes of detectors
_images        resized, sampled, put together of patches
_norms         normalisations
_recurrent     RNN, GRU, LSTM
_control       If, Loop, Scan
_losses        losses
_signals       Fourier transforms and windows
_quantised     numbers in 8 bits and fewer
_table         the table that all are entered in
microsoft/     of com.microsoft, what ONNX Runtime fuses and quantises
learned/       of ai.onnx.ml, what pipelines of scikit-learn are written in
"""

from phlox.interchange.onnx_reading.operators import (
    _activations,
    _arithmetic,
    _attention,
    _boxes,
    _casting,
    _control,
    _convolutions,
    _images,
    _indexing,
    _logic,
    _losses,
    _moving,
    _norms,
    _pools,
    _products,
    _quantised,
    _recurrent,
    _reductions,
    _shapes,
    _signals,
    learned,
)
from phlox.interchange.onnx_reading.operators._table import OPERATORS as OPERATORS
from phlox.interchange.onnx_reading.operators.microsoft import _attention as _microsoft_attention
from phlox.interchange.onnx_reading.operators.microsoft import _layers
from phlox.interchange.onnx_reading.operators.microsoft import _quantised as _microsoft_quantised

FAMILIES = (
    _activations, _arithmetic, _attention, _boxes, _casting, _control, _convolutions, _images, _indexing, _logic,
    _losses, _moving, _norms, _pools, _products, _quantised, _recurrent, _reductions, _shapes, _signals,
    _layers, _microsoft_attention, _microsoft_quantised, *learned.FAMILIES,
)  # fmt: skip
"""Modules that enter their operators when they are imported."""
