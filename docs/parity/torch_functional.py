"""torch.nn.functional: every public function."""

from __future__ import annotations

from parity.rows import Section, Source, absent, have
from parity.torch_nn import by_rank

F = "px.nn.functional."
LOSS = "px.losses."


def ranks(name: str, numbers: str = "123", end: str = "") -> str:
    """``conv1d conv2d conv3d`` from ``conv``."""
    return " ".join(word + end for word in by_rank(name, numbers).split())


CONVOLUTIONS = Section(
    "Convolutions and products",
    (
        have(ranks("conv"), F + "conv", "the rank is that of the weight; also padding modes"),
        have(ranks("conv_transpose"), F + "conv_transpose", "weight (*kernel, in, out / groups)"),
        absent("conv_tbc", "it is `px.nn.functional.conv` with time before batch"),
        have("unfold", F + "unfold", "(batch, positions, window · channels)"),
        have("fold", F + "fold", "1 to 3 spatial axes"),
        have("linear", F + "dense", "weight (in, out)"),
        have("bilinear", F + "bilinear", "weight (in1, in2, out)"),
        absent("grouped_mm", "JAX has it: `jax.lax.ragged_dot`"),
        absent("scaled_mm scaled_grouped_mm", "JAX has it: `jax.nn.scaled_matmul`"),
    ),
    ("Channels are last everywhere; strides, paddings and all other options go by keyword.",),
)

POOLS = Section(
    "Pools",
    (
        have(ranks("max_pool"), F + "max_pool"),
        have(ranks("max_pool", end="_with_indices"), F + "max_pool_with_indices", "int32 places in the unpadded input"),
        have(ranks("max_unpool"), F + "max_unpool", "an index outside the output is dropped"),
        have(ranks("avg_pool"), F + "mean_pool", ""),
        have(
            ranks("lp_pool"),
            F + "lp_pool",
            "norms of magnitudes; PyTorch leaves the sign in odd powers, and scales up at the edge",
        ),
        have(ranks("adaptive_max_pool"), F + "adaptive_max_pool"),
        absent(
            ranks("adaptive_max_pool", end="_with_indices"),
            "what it was for, unpooling, needs windows that do not overlap",
        ),
        have(ranks("adaptive_avg_pool"), F + "adaptive_mean_pool"),
        absent(
            f"{ranks('fractional_max_pool', '23')} {ranks('fractional_max_pool', '23', '_with_indices')}",
            "random windows fell out of use",
        ),
    ),
    ("Padding may differ at both ends, and the last window may reach over the end, as in PyTorch (`ceil_mode`).",),
)

ACTIVATIONS = Section(
    "Activations",
    (
        *(have(n, f"px.{n}") for n in ("relu", "sigmoid", "tanh")),
        have("gelu", "px.gelu", "exact by default, as there"),
        *(
            have(n, F + n)
            for n in (
                *("celu", "elu", "selu", "silu", "mish", "relu6", "leaky_relu", "softplus", "softsign", "softshrink"),
                *("hardshrink", "hardsigmoid", "hardswish", "hardtanh", "tanhshrink", "threshold", "glu"),
            )
        ),
        have("logsigmoid", F + "log_sigmoid", "`logsigmoid` is another name of it"),
        have("prelu", F + "prelu", "one slope for each channel of the last axis"),
        have("rrelu", F + "rrelu", "random with `key=`, the mean slope without"),
        absent(
            "celu_ elu_ hardtanh_ leaky_relu_ relu_ rrelu_ selu_ threshold_",
            "arrays do not change in place; the compiler reuses buffers by itself",
        ),
        have("softmax", "px.softmax", "takes a mask, `where=`"),
        have("log_softmax", F + "log_softmax", "takes a mask, `where=`"),
        have("softmin", F + "softmin"),
        have("gumbel_softmax", F + "gumbel_softmax", "the key comes first"),
    ),
    ("`axis=-1` is the default, where PyTorch asks for `dim` or guesses it. No `dtype=`, no `inplace=`.",),
)

NORMS = Section(
    "Normalisation",
    (
        have(
            "batch_norm",
            F + "batch_norm",
            "by given statistics; `batch_norm_train` uses the batch's and returns them",
        ),
        have("group_norm", F + "group_norm"),
        have("instance_norm", F + "instance_norm", "`instance_norm_train` also returns what a running average takes"),
        have("layer_norm", F + "layer_norm"),
        have("local_response_norm", F + "local_response_norm"),
        have("rms_norm", F + "rms_norm", "ε is 1e-6; PyTorch's is the machine epsilon of the dtype"),
        have("normalize", F + "normalize", "the last axis; PyTorch takes the second"),
    ),
    ("No function writes running statistics into its arguments.",),
)

DROPOUTS = Section(
    "Dropout",
    (
        have("dropout", F + "dropout"),
        have(ranks("dropout"), F + "dropout(key, x, p, axis=(0, -1))", "drops whole channels of each example"),
        have("alpha_dropout", F + "alpha_dropout"),
        have("feature_alpha_dropout", F + "feature_alpha_dropout"),
    ),
    ("The key comes first, and they always drop: there is no `training=`.",),
)

EMBEDDINGS = Section(
    "Embeddings and distances",
    (
        have("embedding", F + "embedding", "no `max_norm`, `scale_grad_by_freq`, `sparse`"),
        have("embedding_bag", F + "embedding_bag", "bags also by `segment_ids`"),
        have("one_hot", F + "one_hot", "float32, and the number of classes is asked for; also labels of any kind"),
        have("cosine_similarity", F + "cosine_similarity", "the last axis; PyTorch takes the second"),
        have("pairwise_distance", F + "pairwise_distance"),
        have("pdist", F + "pdist"),
    ),
)

ATTENTION = Section(
    "Attention",
    (
        have(
            "scaled_dot_product_attention", F + "dot_product_attention", "a query that sees no key gets zeros, not NaN"
        ),
        absent(
            "multi_head_attention_forward",
            "`px.apply` is the pure form of every layer, `px.MultiHeadAttention` too",
        ),
    ),
    (
        "Heads stand behind time: (batch, time, heads, size), where PyTorch has (batch, heads, time, size).",
        "Fewer heads of keys need no `enable_gqa`. Dropout takes a `key`.",
    ),
)

LOSSES = Section(
    "Losses",
    (
        have("l1_loss", LOSS + "mae"),
        have("mse_loss", LOSS + "mse"),
        have("huber_loss", LOSS + "huber"),
        have("smooth_l1_loss", LOSS + "smooth_l1"),
        have("cross_entropy", LOSS + "cross_entropy", "classes are the last axis; `class_weight` for `weight`"),
        have("nll_loss", LOSS + "nll", "classes are the last axis"),
        absent(
            "linear_cross_entropy", "it is `px.losses.cross_entropy` of a `px.Dense`; logits are not cut into chunks"
        ),
        have("binary_cross_entropy", LOSS + "binary_cross_entropy"),
        have("binary_cross_entropy_with_logits", LOSS + "binary_cross_entropy_with_logits"),
        have("kl_div", LOSS + "kl_divergence", "both are probabilities; the mean is PyTorch's `batchmean`"),
        have("poisson_nll_loss", LOSS + "poisson_with_log_rates", "`px.losses.poisson` for `log_input=False`"),
        have("gaussian_nll_loss", LOSS + "gaussian_nll"),
        have("ctc_loss", LOSS + "ctc", "logits (batch, time, classes); lengths by keyword, all by default"),
        have("hinge_embedding_loss", LOSS + "hinge_embedding"),
        have("margin_ranking_loss", LOSS + "margin_ranking"),
        have("soft_margin_loss", LOSS + "soft_margin"),
        have("multi_margin_loss", LOSS + "multi_margin"),
        have("multilabel_margin_loss", LOSS + "multilabel_margin", "also takes multi-hot targets"),
        have("multilabel_soft_margin_loss", LOSS + "multilabel_soft_margin"),
        have("cosine_embedding_loss", LOSS + "cosine_embedding"),
        have("triplet_margin_loss", LOSS + "triplet_margin"),
        absent("triplet_margin_with_distance_loss", "with a distance of one's own it is one line"),
    ),
    ('As above for the classes: nothing is broadcast, `weight` weighs examples, and "mean" divides by its sum.',),
)

VISION = Section(
    "Space",
    (
        have("pixel_shuffle", F + "pixel_shuffle", "1 to 3 spatial axes"),
        have("pixel_unshuffle", F + "pixel_unshuffle", "1 to 3 spatial axes"),
        have("channel_shuffle native_channel_shuffle", F + "channel_shuffle"),
        have(
            "pad",
            F + "pad_constant",
            "one function for each mode: `pad_zeros`, `pad_reflect`, `pad_replicate`, `pad_circular`, `pad_symmetric`",
        ),
        have("interpolate", F + "interpolate", "`scale` for `scale_factor`"),
        have("upsample upsample_nearest upsample_bilinear", F + "interpolate", "deprecated doubles of `interpolate`"),
        have("grid_sample", F + "grid_sample", "1 to 3 spatial axes"),
        have("affine_grid", F + "affine_grid", "`size` is spatial: no batch, no channels"),
    ),
)

PLUMBING = Section(
    "Plumbing",
    (
        absent(
            "assert_int_or_pair boolean_dispatch handle_torch_function has_torch_function has_torch_function_unary "
            "has_torch_function_variadic",
            "they are PyTorch's own means, not for its users",
        ),
    ),
)

SOURCE = Source(
    "torch.nn.functional",
    "Every public function of PyTorch 2.13.",
    (CONVOLUTIONS, POOLS, ACTIVATIONS, NORMS, DROPOUTS, EMBEDDINGS, ATTENTION, LOSSES, VISION, PLUMBING),
)
