"""Layers, activations, initialisers and functional forms.

functional/       pure functions of arrays; a layer is a thin object over one of them
init/             initialisers
features/         layers on the last axis: dense, embeddings, gates, dropout
space/            convolutions, pooling, padding, resizing
normalisation/    of activations, and of weights
recurrence/       a state carried over time
attention/        attention, positions, transformers
containers/       layers made of layers
inference/        models made ready to be used alone
_autosize         sizes from shapes alone
_summary _flops   px.summary, and the operations that it counts
_kinds            what a parameter is, by the layer that owns it
_checks _label _fused   what layers share: checked arguments, one line of print, one compiled call
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.nn import functional, init
from phlox.nn._autosize import AUTO, autosize, output_shape
from phlox.nn._flops import operations as operations  # for the floors above
from phlox.nn._fused import fused as fused
from phlox.nn._kinds import KINDS, ParameterKind, kind_by_name, parameter_kinds
from phlox.nn._summary import Summary, SummaryRow, summary
from phlox.nn.attention._attention import MultiHeadAttention
from phlox.nn.attention._kv_cache import KVCache
from phlox.nn.attention._linear_attention import LinearAttention
from phlox.nn.attention._positions import (
    ALiBi,
    PositionEmbedding,
    RelativePositionBias,
    RotaryEmbedding,
    SinusoidalEmbedding,
)
from phlox.nn.attention._ring_cache import RingCache
from phlox.nn.attention._slot_cache import Cache as Cache
from phlox.nn.attention._slot_cache import SlotCache
from phlox.nn.attention._transformer import TransformerDecoderLayer, TransformerEncoderLayer
from phlox.nn.attention._transformer_stacks import Transformer, TransformerDecoder, TransformerEncoder
from phlox.nn.containers._branches import Branch, Maxout, PairwiseFusion
from phlox.nn.containers._compact import compact
from phlox.nn.containers._containers import Chain, Parallel, SkipConnection, flatten
from phlox.nn.containers._rearrange import Flatten, Reshape, ReverseSequence, SelectDim, WrappedFunction
from phlox.nn.containers._repeated import RepeatedLayer
from phlox.nn.features._activations import PReLU, RReLU, Swish
from phlox.nn.features._dense import Dense
from phlox.nn.features._dropout import Dropout
from phlox.nn.features._embedding import Embedding
from phlox.nn.features._embedding_bag import EmbeddingBag
from phlox.nn.features._experts import MixtureOfExperts
from phlox.nn.features._gated_mlp import GatedMLP
from phlox.nn.features._linear import Bilinear, Scale
from phlox.nn.features._noise import AlphaDropout, DropPath, FeatureAlphaDropout, VariationalDropout
from phlox.nn.functional._bounds import at_least as at_least
from phlox.nn.functional._bounds import rectified as rectified
from phlox.nn.functional._numeric import lp_norm as lp_norm
from phlox.nn.functional._numeric import squarable as squarable
from phlox.nn.functional.kernels._gradients import derive_by_plain_form as derive_by_plain_form
from phlox.nn.functional.kernels._gradients import map_plain_form as map_plain_form
from phlox.nn.functional.kernels._kernels import Kernel as Kernel
from phlox.nn.functional.kernels._kernels import in_use as in_use
from phlox.nn.functional.kernels._kernels import kernels_report as kernels_report
from phlox.nn.functional.kernels._kernels import plain_form as plain_form
from phlox.nn.functional.kernels._kernels import reference_forms as reference_forms
from phlox.nn.functional.kernels._kernels import summing_kernel as summing_kernel
from phlox.nn.functional.kernels._kernels import whole_operations as whole_operations
from phlox.nn.functional.kernels._kernels import whole_wanted as whole_wanted
from phlox.nn.functional.kernels._parts import Parts as Parts
from phlox.nn.functional.kernels._parts import Roles as Roles
from phlox.nn.functional.space._padding import pad_spatial as pad_spatial
from phlox.nn.functional.space._window import Window as Window
from phlox.nn.functional.space._window import plan_window as plan_window
from phlox.nn.inference._layers import added as added
from phlox.nn.inference._optimize import optimize_for_inference
from phlox.nn.normalisation._folding import fold_batch_norm
from phlox.nn.normalisation._group_norm import GroupNorm, InstanceNorm
from phlox.nn.normalisation._norm import BatchNorm, LayerNorm
from phlox.nn.normalisation._reparametrize import SpectralNorm, WeightNorm, remove_weight_norm
from phlox.nn.normalisation._rms_norm import LocalResponseNorm, RMSNorm
from phlox.nn.recurrence._cells import GRUCell, LSTMCell, RNNCell
from phlox.nn.recurrence._conv_lstm import ConvLSTM, ConvLSTMCell
from phlox.nn.recurrence._recurrence import Bidirectional, Recurrence, StatefulRecurrentCell
from phlox.nn.recurrence._recurrent import GRU, LSTM, RNN
from phlox.nn.recurrence._state_space import LRU, S4D, Mamba
from phlox.nn.space._adaptive_pool import AdaptiveMaxPool, AdaptiveMeanPool, GlobalMaxPool, LpPool
from phlox.nn.space._conv import Conv
from phlox.nn.space._conv_transpose import ConvTranspose, DepthwiseConv
from phlox.nn.space._fold import Fold, Unfold
from phlox.nn.space._pad import CircularPad, ConstantPad, ReflectPad, ReplicatePad, SymmetricPad, ZeroPad
from phlox.nn.space._pool import GlobalMeanPool, MaxPool, MeanPool
from phlox.nn.space._resize import PixelShuffle, PixelUnshuffle, Upsample

# Names imported as themselves serve the rooms above; they are no user's business, and not in __all__.

__all__ = [
    "AUTO",
    "GRU",
    "KINDS",
    "LRU",
    "LSTM",
    "RNN",
    "S4D",
    "ALiBi",
    "AdaptiveMaxPool",
    "AdaptiveMeanPool",
    "AlphaDropout",
    "BatchNorm",
    "Bidirectional",
    "Bilinear",
    "Branch",
    "Chain",
    "CircularPad",
    "ConstantPad",
    "Conv",
    "ConvLSTM",
    "ConvLSTMCell",
    "ConvTranspose",
    "Dense",
    "DepthwiseConv",
    "DropPath",
    "Dropout",
    "Embedding",
    "EmbeddingBag",
    "FeatureAlphaDropout",
    "Flatten",
    "Fold",
    "GRUCell",
    "GatedMLP",
    "GlobalMaxPool",
    "GlobalMeanPool",
    "GroupNorm",
    "InstanceNorm",
    "KVCache",
    "LSTMCell",
    "LayerNorm",
    "LinearAttention",
    "LocalResponseNorm",
    "LpPool",
    "Mamba",
    "MaxPool",
    "Maxout",
    "MeanPool",
    "MixtureOfExperts",
    "MultiHeadAttention",
    "PReLU",
    "PairwiseFusion",
    "Parallel",
    "ParameterKind",
    "PixelShuffle",
    "PixelUnshuffle",
    "PositionEmbedding",
    "RMSNorm",
    "RNNCell",
    "RReLU",
    "Recurrence",
    "ReflectPad",
    "RelativePositionBias",
    "RepeatedLayer",
    "ReplicatePad",
    "Reshape",
    "ReverseSequence",
    "RingCache",
    "RotaryEmbedding",
    "Scale",
    "SelectDim",
    "SinusoidalEmbedding",
    "SkipConnection",
    "SlotCache",
    "SpectralNorm",
    "StatefulRecurrentCell",
    "Summary",
    "SummaryRow",
    "Swish",
    "SymmetricPad",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "Unfold",
    "Upsample",
    "VariationalDropout",
    "WeightNorm",
    "WrappedFunction",
    "ZeroPad",
    "autosize",
    "compact",
    "flatten",
    "fold_batch_norm",
    "functional",
    "init",
    "kind_by_name",
    "optimize_for_inference",
    "output_shape",
    "parameter_kinds",
    "remove_weight_norm",
    "summary",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
