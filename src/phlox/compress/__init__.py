"""Compression: models that take less room, and how much of what they knew is left.

_quantizing            px.compress.quantize and dequantize: weights as integers
_training              px.compress.prepare and convert: training with rounded weights
_scheme _integers      how many bits and which scales; a matrix as integers and back
_low_rank              px.compress.low_rank: weights as products of two
_layers                which layers are meant
_asking                a model asked, and what its parts gave on the way
calibration/           px.compress.calibrate: what comes into layers, measured
distillation/          px.compress.distil: a small model that learns from a large one
reporting/             px.compress.report: what a smaller model saves, and what it lost
pruning/               px.compress.prune and Pruning: masks on weights
structure/             px.compress.shrink and its kin: channels, heads and layers removed
layers/                layers with integers in them, with masks, in two steps
"""

from typing import TYPE_CHECKING

from phlox.compress._low_rank import low_rank
from phlox.compress._quantizing import dequantize, quantize
from phlox.compress._training import convert, prepare
from phlox.compress.calibration._calibrating import Ranges, calibrate
from phlox.compress.calibration._factors import Factors, awq, smooth
from phlox.compress.calibration._gptq import gptq
from phlox.compress.calibration._sensitivity import Sensitivity, sensitivity
from phlox.compress.distillation._distillation import Distillation
from phlox.compress.distillation._distilling import distil
from phlox.compress.layers._embedding import QuantizedEmbedding
from phlox.compress.layers._linear import (
    QuantizedConv,
    QuantizedConvTranspose,
    QuantizedDense,
    QuantizedDepthwiseConv,
)
from phlox.compress.layers._low_rank import LowRankConv, LowRankDense, LowRankEmbedding
from phlox.compress.layers._masked import (
    MaskedBilinear,
    MaskedConv,
    MaskedConvTranspose,
    MaskedDense,
    MaskedDepthwiseConv,
    MaskedEmbedding,
    MaskedEmbeddingBag,
    MaskedGRUCell,
    MaskedLSTMCell,
    MaskedRNNCell,
)

# Names imported as themselves serve files, which name classes so; they are not in __all__.
from phlox.compress.layers._rounded import RoundedConv as RoundedConv
from phlox.compress.layers._rounded import RoundedConvTranspose as RoundedConvTranspose
from phlox.compress.layers._rounded import RoundedDense as RoundedDense
from phlox.compress.layers._rounded import RoundedDepthwiseConv as RoundedDepthwiseConv
from phlox.compress.layers._rounded import RoundedEmbedding as RoundedEmbedding
from phlox.compress.layers._whole import DEQUANTIZE as DEQUANTIZE  # for exporters
from phlox.compress.pruning._gradual import Pruning
from phlox.compress.pruning._pruning import Sparsity, prune, remove_masks, sparsity
from phlox.compress.reporting._report import Report
from phlox.compress.reporting._reporting import report
from phlox.compress.structure._dropping import drop_layers
from phlox.compress.structure._shrinking import remove_units, shrink, units
from phlox.compress.structure._units import Units
from phlox.core import unknown_name as _unknown_name

__all__ = [
    "Distillation",
    "Factors",
    "LowRankConv",
    "LowRankDense",
    "LowRankEmbedding",
    "MaskedBilinear",
    "MaskedConv",
    "MaskedConvTranspose",
    "MaskedDense",
    "MaskedDepthwiseConv",
    "MaskedEmbedding",
    "MaskedEmbeddingBag",
    "MaskedGRUCell",
    "MaskedLSTMCell",
    "MaskedRNNCell",
    "Pruning",
    "QuantizedConv",
    "QuantizedConvTranspose",
    "QuantizedDense",
    "QuantizedDepthwiseConv",
    "QuantizedEmbedding",
    "Ranges",
    "Report",
    "Sensitivity",
    "Sparsity",
    "Units",
    "awq",
    "calibrate",
    "convert",
    "dequantize",
    "distil",
    "drop_layers",
    "gptq",
    "low_rank",
    "prepare",
    "prune",
    "quantize",
    "remove_masks",
    "remove_units",
    "report",
    "sensitivity",
    "shrink",
    "smooth",
    "sparsity",
    "units",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
