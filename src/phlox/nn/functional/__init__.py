"""Functional forms: pure functions of arrays, batch first and channels last.

_numeric            what they share: dtypes that are safe to sum in, checks of axes
_bounds             maxima that keep NaN on every device
_activations _rectifiers _gated _softmax   elementwise, in pieces, gated, over classes
_linear _embedding _gather _onehot _experts   products, rows of tables, routing
_norm _moments _rescale   normalisation, means and variances that keep their digits, unit length
_distance           how near vectors are
_dropout _next_token   random masks, random tokens
_signal _mel _resample   signals in time and frequency, at another rate
space/              convolutions, pooling, resizing, sampling
boxes/              boxes of detection: formats, overlap, suppression
attention/          attention and positions
recurrence/         recurrent networks, linear recurrences
kernels/            faster forms for the CPU, behind one registry
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.nn.functional._activations import (
    gelu,
    identity,
    lisht,
    log_sigmoid,
    logcosh,
    logsigmoid,
    mish,
    sigmoid,
    silu,
    softplus,
    softsign,
    swish,
    tanh,
    tanhshrink,
)
from phlox.nn.functional._distance import (
    cdist,
    cosine_similarity,
    pairwise_distance,
    pdist,
)
from phlox.nn.functional._dropout import (
    alpha_dropout,
    drop_path,
    dropout,
    feature_alpha_dropout,
    variational_mask,
)
from phlox.nn.functional._embedding import (
    embedding,
    embedding_bag,
)
from phlox.nn.functional._experts import (
    load_balancing_loss,
    top_k_routing,
)
from phlox.nn.functional._gated import (
    geglu,
    glu,
    maxout,
    reglu,
    swiglu,
)
from phlox.nn.functional._gather import (
    gather,
    scatter,
    segment_max,
    segment_mean,
    segment_min,
    segment_prod,
    segment_softmax,
    segment_sum,
)
from phlox.nn.functional._linear import (
    batched_mul,
    bilinear,
    concatenate,
    dense,
)
from phlox.nn.functional._mel import (
    db_to_power,
    mel_filterbank,
    power_to_db,
)
from phlox.nn.functional._next_token import (
    keep_min_p,
    keep_top_k,
    keep_top_p,
    sample_min_p,
    sample_top_k,
    sample_top_p,
)
from phlox.nn.functional._norm import (
    batch_norm,
    batch_norm_train,
    group_norm,
    instance_norm,
    instance_norm_train,
    layer_norm,
    moments,
    rms_norm,
)
from phlox.nn.functional._onehot import (
    from_one_hot,
    one_hot,
)
from phlox.nn.functional._rectifiers import (
    celu,
    elu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    prelu,
    relu,
    relu6,
    rrelu,
    selu,
    softshrink,
    threshold,
    trelu,
)
from phlox.nn.functional._resample import (
    resample,
)
from phlox.nn.functional._rescale import (
    local_response_norm,
    normalize,
    spectral_norm,
    weight_norm,
)
from phlox.nn.functional._signal import (
    hamming_window,
    hann_window,
    istft,
    spectrogram,
    stft,
)
from phlox.nn.functional._softmax import (
    gumbel_softmax,
    log_softmax,
    logsumexp,
    softmax,
    softmin,
)
from phlox.nn.functional.attention._attention import (
    causal_mask,
    dot_product_attention,
)
from phlox.nn.functional.attention._positions import (
    alibi_bias,
    alibi_slopes,
    apply_rotary,
    relative_buckets,
    rotary_angles,
    rotary_frequencies,
    sinusoidal_positions,
)
from phlox.nn.functional.boxes._boxes import (
    box_area,
    box_convert,
)
from phlox.nn.functional.boxes._iou import (
    box_iou,
    complete_box_iou,
    distance_box_iou,
    generalized_box_iou,
)
from phlox.nn.functional.boxes._nms import (
    Suppressed,
    batched_nms,
    nms,
)
from phlox.nn.functional.recurrence._cells import (
    gru_cell,
    lstm_cell,
    rnn_cell,
)
from phlox.nn.functional.recurrence._conv_lstm import (
    conv_lstm,
)
from phlox.nn.functional.recurrence._form import (
    sequence_mask,
)
from phlox.nn.functional.recurrence._recurrent import (
    gru,
    lstm,
    rnn,
)
from phlox.nn.functional.recurrence._state_space import (
    linear_attention,
    linear_recurrence,
    selective_scan,
)
from phlox.nn.functional.space._adaptive import (
    adaptive_max_pool,
    adaptive_mean_pool,
)
from phlox.nn.functional.space._conv import (
    conv,
    conv_transpose,
    depthwise_conv,
)
from phlox.nn.functional.space._fold import (
    fold,
    unfold,
)
from phlox.nn.functional.space._padding import (
    pad_circular,
    pad_constant,
    pad_reflect,
    pad_replicate,
    pad_symmetric,
    pad_zeros,
)
from phlox.nn.functional.space._pool import (
    global_max_pool,
    global_mean_pool,
    lp_pool,
    max_pool,
    mean_pool,
)
from phlox.nn.functional.space._resize import (
    interpolate,
)
from phlox.nn.functional.space._sample import (
    affine_grid,
    grid_sample,
    imrotate,
)
from phlox.nn.functional.space._shuffle import (
    channel_shuffle,
    pixel_shuffle,
    pixel_unshuffle,
)
from phlox.nn.functional.space._unpool import (
    max_pool_with_indices,
    max_unpool,
)

__all__ = [
    "Suppressed",
    "adaptive_max_pool",
    "adaptive_mean_pool",
    "affine_grid",
    "alibi_bias",
    "alibi_slopes",
    "alpha_dropout",
    "apply_rotary",
    "batch_norm",
    "batch_norm_train",
    "batched_mul",
    "batched_nms",
    "bilinear",
    "box_area",
    "box_convert",
    "box_iou",
    "causal_mask",
    "cdist",
    "celu",
    "channel_shuffle",
    "complete_box_iou",
    "concatenate",
    "conv",
    "conv_lstm",
    "conv_transpose",
    "cosine_similarity",
    "db_to_power",
    "dense",
    "depthwise_conv",
    "distance_box_iou",
    "dot_product_attention",
    "drop_path",
    "dropout",
    "elu",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "fold",
    "from_one_hot",
    "gather",
    "geglu",
    "gelu",
    "generalized_box_iou",
    "global_max_pool",
    "global_mean_pool",
    "glu",
    "grid_sample",
    "group_norm",
    "gru",
    "gru_cell",
    "gumbel_softmax",
    "hamming_window",
    "hann_window",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "identity",
    "imrotate",
    "instance_norm",
    "instance_norm_train",
    "interpolate",
    "istft",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "layer_norm",
    "leaky_relu",
    "linear_attention",
    "linear_recurrence",
    "lisht",
    "load_balancing_loss",
    "local_response_norm",
    "log_sigmoid",
    "log_softmax",
    "logcosh",
    "logsigmoid",
    "logsumexp",
    "lp_pool",
    "lstm",
    "lstm_cell",
    "max_pool",
    "max_pool_with_indices",
    "max_unpool",
    "maxout",
    "mean_pool",
    "mel_filterbank",
    "mish",
    "moments",
    "nms",
    "normalize",
    "one_hot",
    "pad_circular",
    "pad_constant",
    "pad_reflect",
    "pad_replicate",
    "pad_symmetric",
    "pad_zeros",
    "pairwise_distance",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "power_to_db",
    "prelu",
    "reglu",
    "relative_buckets",
    "relu",
    "relu6",
    "resample",
    "rms_norm",
    "rnn",
    "rnn_cell",
    "rotary_angles",
    "rotary_frequencies",
    "rrelu",
    "sample_min_p",
    "sample_top_k",
    "sample_top_p",
    "scatter",
    "segment_max",
    "segment_mean",
    "segment_min",
    "segment_prod",
    "segment_softmax",
    "segment_sum",
    "selective_scan",
    "selu",
    "sequence_mask",
    "sigmoid",
    "silu",
    "sinusoidal_positions",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "spectral_norm",
    "spectrogram",
    "stft",
    "swiglu",
    "swish",
    "tanh",
    "tanhshrink",
    "threshold",
    "top_k_routing",
    "trelu",
    "unfold",
    "variational_mask",
    "weight_norm",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
