"""Layers, activations, initialisers and functional forms."""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.nn import functional, init
from phlox.nn._activations import PReLU, RReLU, Swish
from phlox.nn._adaptive_pool import AdaptiveMaxPool, AdaptiveMeanPool, GlobalMaxPool, LpPool
from phlox.nn._attention import MultiHeadAttention
from phlox.nn._autosize import AUTO, autosize, output_shape
from phlox.nn._branches import Branch, Maxout, PairwiseFusion
from phlox.nn._cells import GRUCell, LSTMCell, RNNCell
from phlox.nn._compact import compact
from phlox.nn._containers import Chain, Parallel, SkipConnection, flatten
from phlox.nn._conv import Conv
from phlox.nn._conv_lstm import ConvLSTM, ConvLSTMCell
from phlox.nn._conv_transpose import ConvTranspose, DepthwiseConv
from phlox.nn._dense import Dense
from phlox.nn._dropout import Dropout
from phlox.nn._embedding import Embedding
from phlox.nn._embedding_bag import EmbeddingBag
from phlox.nn._experts import MixtureOfExperts
from phlox.nn._fold import Fold, Unfold
from phlox.nn._gated_mlp import GatedMLP
from phlox.nn._group_norm import GroupNorm, InstanceNorm
from phlox.nn._kinds import KINDS, ParameterKind, kind_by_name, parameter_kinds
from phlox.nn._kv_cache import KVCache
from phlox.nn._linear import Bilinear, Scale
from phlox.nn._linear_attention import LinearAttention
from phlox.nn._noise import AlphaDropout, DropPath, FeatureAlphaDropout, VariationalDropout
from phlox.nn._norm import BatchNorm, LayerNorm
from phlox.nn._pad import CircularPad, ConstantPad, ReflectPad, ReplicatePad, SymmetricPad, ZeroPad
from phlox.nn._pool import GlobalMeanPool, MaxPool, MeanPool
from phlox.nn._positions import (
    ALiBi,
    PositionEmbedding,
    RelativePositionBias,
    RotaryEmbedding,
    SinusoidalEmbedding,
)
from phlox.nn._rearrange import Flatten, Reshape, ReverseSequence, SelectDim, WrappedFunction
from phlox.nn._recurrence import Bidirectional, Recurrence, StatefulRecurrentCell
from phlox.nn._recurrent import GRU, LSTM, RNN
from phlox.nn._reparametrize import SpectralNorm, WeightNorm, remove_weight_norm
from phlox.nn._repeated import RepeatedLayer
from phlox.nn._resize import PixelShuffle, PixelUnshuffle, Upsample
from phlox.nn._rms_norm import LocalResponseNorm, RMSNorm
from phlox.nn._state_space import LRU, S4D, Mamba
from phlox.nn._summary import Summary, SummaryRow, summary
from phlox.nn._transformer import TransformerDecoderLayer, TransformerEncoderLayer
from phlox.nn._transformer_stacks import Transformer, TransformerDecoder, TransformerEncoder

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
    "RotaryEmbedding",
    "Scale",
    "SelectDim",
    "SinusoidalEmbedding",
    "SkipConnection",
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
    "functional",
    "init",
    "kind_by_name",
    "output_shape",
    "parameter_kinds",
    "remove_weight_norm",
    "summary",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
