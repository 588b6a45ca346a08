"""torch.nn: its classes, torch.nn.init and torch.nn.utils."""

from __future__ import annotations

from parity.rows import Row, Section, Source, absent, have

F = "px.nn.functional."
LOSS = "px.losses."
AUTO = "a layer takes its input size from `px.nn.AUTO`, inside `px.nn.autosize`"


def by_rank(name: str, ranks: str = "123") -> str:
    """``Conv1d Conv2d Conv3d`` from ``Conv``."""
    return " ".join(f"{name}{rank}d" for rank in ranks)


CONTAINERS = Section(
    "Modules and containers",
    (
        have("Module", "px.Module", "`__call__` for `forward`; submodules and arrays are found, not registered"),
        have(
            "Parameter",
            "px.Param",
            "an annotation of the class; floating arrays are parameters without it; `px.tie` for one in two places",
        ),
        have("Buffer", "px.State", "an annotation of the class: a floating array that no gradient reaches"),
        have("Sequential", "px.Chain", "functions are layers too; a tuple is spread over the next layer"),
        absent("ModuleList ModuleDict ParameterList ParameterDict", "lists, tuples and dicts are part of the model"),
        absent("Container", "it is deprecated; `px.Module` is the base"),
        absent("UninitializedParameter UninitializedBuffer", "a layer is never half built: " + AUTO),
        have("Identity", "px.identity", "a function; it takes one argument"),
        have("Flatten", "px.nn.Flatten", "`start` alone; `px.flatten` is the function"),
        have("Unflatten", "px.nn.Reshape", "names the whole shape behind the batch, not one axis"),
    ),
    (
        "No `train()` and `eval()`: a module trains while it is an argument of `px.grad`, and infers everywhere else.",
        "No `.to()` on a module: `px.to(model, device)` and `px.bf16(model)` return another model.",
    ),
)

LINEAR = Section(
    "Linear layers and embeddings",
    (
        have("Linear", "px.Dense", "weight (in, out); an activation is its third argument"),
        have("Bilinear", "px.nn.Bilinear", "weight (in1, in2, out); one input serves as both"),
        absent("LazyLinear", AUTO),
        have("Embedding", "px.Embedding", "no `max_norm`, `scale_grad_by_freq`, `sparse`; `.attend` for tied outputs"),
        have("EmbeddingBag", "px.nn.EmbeddingBag", "also takes a list of lists; no `max_norm`, no sparse gradients"),
    ),
    (
        "Weights start uniform by Glorot, biases at zero; PyTorch draws both from U(-1/√in, 1/√in).",
        "An index outside the table is an error line by line, and a row of NaN in a compiled function.",
    ),
)

CONVOLUTIONS = Section(
    "Convolutions",
    (
        have(by_rank("Conv"), "px.Conv", "the kernel comes first and its length is the rank"),
        have(by_rank("ConvTranspose"), "px.nn.ConvTranspose", "weight (*kernel, in, out / groups)"),
        absent(f"{by_rank('LazyConv')} {by_rank('LazyConvTranspose')}", AUTO),
        have(
            "Unfold", "px.nn.Unfold", "(batch, positions, window · channels): a patch is ordered by place, then channel"
        ),
        have("Fold", "px.nn.Fold", "takes patches in the order of `Unfold`; 1 to 3 spatial axes"),
    ),
    (
        "Channels are last: (batch, height, width, channels), and weights are (*kernel, in / groups, out).",
        "An int is a kernel of one axis: `px.Conv(3, 1, 8)` is a `Conv1d`, `px.Conv((3, 3), 1, 8)` a `Conv2d`.",
    ),
)

POOLS = Section(
    "Pools",
    (
        have(
            by_rank("MaxPool"), "px.MaxPool", "`ceil` for `ceil_mode`; dilation and indices are in the functional forms"
        ),
        have(by_rank("MaxUnpool"), F + "max_unpool", "a function; takes what `max_pool_with_indices` gave"),
        have(by_rank("AvgPool"), "px.MeanPool", ""),
        have(by_rank("LPPool"), "px.nn.LpPool", "norms of magnitudes; PyTorch leaves the sign in odd powers"),
        have(by_rank("AdaptiveMaxPool"), "px.nn.AdaptiveMaxPool", "no indices"),
        have(by_rank("AdaptiveAvgPool"), "px.nn.AdaptiveMeanPool"),
        absent(
            by_rank("FractionalMaxPool", "23"),
            "random windows fell out of use; a strided `px.Conv` shrinks by any factor",
        ),
    ),
    ("An int is a window of one axis: `px.MaxPool((2, 2))` pools images. The stride is the window by default.",),
)

PADS = Section(
    "Padding",
    (
        have(by_rank("ZeroPad"), "px.nn.ZeroPad"),
        have(by_rank("ConstantPad"), "px.nn.ConstantPad"),
        have(by_rank("ReflectionPad"), "px.nn.ReflectPad"),
        have(by_rank("ReplicationPad"), "px.nn.ReplicatePad"),
        have(by_rank("CircularPad"), "px.nn.CircularPad"),
    ),
    ("Amounts are one int, one per axis, or (low, high) pairs from the first axis; PyTorch counts from the last one.",),
)

ACTIVATIONS = Section(
    "Activations",
    (
        *(have(n, f"px.{n.lower()}") for n in ("ReLU", "Sigmoid", "Tanh")),
        have("GELU", "px.gelu", 'exact by default, as there; also `"tanh"` and `"sigmoid"`'),
        *(
            have(n, F + n.lower())
            for n in (
                *("ELU", "SELU", "CELU", "SiLU", "Mish", "ReLU6", "Softplus", "Softsign", "Softshrink", "Hardshrink"),
                *("Hardsigmoid", "Hardswish", "Hardtanh", "Tanhshrink", "Threshold"),
            )
        ),
        have("LeakyReLU", F + "leaky_relu"),
        have("LogSigmoid", F + "log_sigmoid"),
        have("PReLU", "px.nn.PReLU", "the slope is `slope`, one for each last-axis channel"),
        have("RReLU", "px.nn.RReLU", "owns its random key; the function takes one"),
        have("GLU", F + "glu"),
        have("Softmax", "px.softmax", "takes a mask, `where=`"),
        have("Softmax2d", "px.softmax", "channels are last, so it is the plain softmax"),
        have("Softmin", F + "softmin"),
        have("LogSoftmax", F + "log_softmax"),
    ),
    (
        "They are functions, for a layer (`px.Dense(4, 8, px.relu)`) or a `px.Chain`; none works in place.",
        "`functools.partial` sets their numbers. The last axis is the default, where PyTorch asks or guesses.",
    ),
)

NORMS = Section(
    "Normalisation",
    (
        have(by_rank("BatchNorm"), "px.BatchNorm", "any rank; `scale` and `bias` for `weight` and `bias`"),
        absent(f"{by_rank('LazyBatchNorm')} {by_rank('LazyInstanceNorm')}", AUTO),
        have("SyncBatchNorm", "px.BatchNorm", "statistics are those of the whole batch, on any number of devices"),
        have("GroupNorm", "px.nn.GroupNorm", "channels first, then groups; PyTorch has them the other way round"),
        have(by_rank("InstanceNorm"), "px.nn.InstanceNorm"),
        have("LayerNorm", "px.LayerNorm"),
        have("LocalResponseNorm", "px.nn.LocalResponseNorm"),
        absent("CrossMapLRN2d", "it is an old copy of `px.nn.LocalResponseNorm`"),
        have("RMSNorm", "px.nn.RMSNorm", "ε is 1e-6; PyTorch's is the machine epsilon of the dtype"),
    ),
    (
        "Momentum 0.1 is the share of the new batch, as there; `momentum=None` is BatchNorm's alone.",
        "Training on one value per channel is an error in both.",
        "Statistics stay float32 in a model of bfloat16 or float16.",
    ),
)

DROPOUTS = Section(
    "Dropout",
    (
        have("Dropout", "px.Dropout"),
        have(by_rank("Dropout"), "px.Dropout(p, axis=(0, -1))", "drops whole channels of each example"),
        have("AlphaDropout", "px.nn.AlphaDropout"),
        have("FeatureAlphaDropout", "px.nn.FeatureAlphaDropout"),
    ),
    ("Each layer owns a random key as State and moves it, so the draws are not PyTorch's; rates and scales are.",),
)

SEQUENCES = Section(
    "Recurrence and attention",
    (
        have("RNN", "px.nn.RNN", "an activation is its third argument; `lengths` for packed sequences"),
        have(
            "LSTM", "px.nn.LSTM", "one bias for two, and the forget gate's starts at 1; `lengths` for packed sequences"
        ),
        have("GRU", "px.nn.GRU", "`bias_hn` beside one bias; `lengths` for packed sequences"),
        have("RNNCell", "px.nn.RNNCell", "gives `(out, state)`"),
        have("LSTMCell", "px.nn.LSTMCell", "gives `(out, (h, c))`"),
        have("GRUCell", "px.nn.GRUCell", "gives `(out, state)`"),
        absent("RNNBase RNNCellBase", "they are bases that hold PyTorch's flags; `px.Module` is the base"),
        have(
            "MultiheadAttention",
            "px.MultiHeadAttention",
            "four maps; `key_dim`, `value_dim` for `kdim`, `vdim`; `kv_lengths` for a padding mask of the end; "
            "no `add_bias_kv`, `add_zero_attn`",
        ),
        have("Transformer", "px.Transformer", "the target is causal by itself"),
        have("TransformerEncoder", "px.TransformerEncoder", "takes a function that makes a layer"),
        have("TransformerDecoder", "px.TransformerDecoder", "takes a function that makes a layer"),
        have("TransformerEncoderLayer", "px.TransformerEncoderLayer", "4 dim hidden features for 2048"),
        have("TransformerDecoderLayer", "px.TransformerDecoderLayer", "causal by itself"),
    ),
    ("A boolean mask of attention is True where a query sees a key; `MultiheadAttention` has True where it does not.",),
)

LOSSES = Section(
    "Losses and distances",
    (
        have("L1Loss", LOSS + "mae"),
        have("MSELoss", LOSS + "mse"),
        have("HuberLoss", LOSS + "huber"),
        have("SmoothL1Loss", LOSS + "smooth_l1"),
        have("CrossEntropyLoss", LOSS + "cross_entropy", "classes are the last axis; `class_weight` for `weight`"),
        have("NLLLoss", LOSS + "nll", "classes are the last axis; also takes probabilities as targets"),
        absent("NLLLoss2d", "it is a deprecated double of `NLLLoss`"),
        absent(
            "LinearCrossEntropyLoss LinearCrossEntropyOptions",
            "it is `px.losses.cross_entropy` of a `px.Dense`; logits are not cut into chunks",
        ),
        absent(
            "AdaptiveLogSoftmaxWithLoss",
            "clusters of rare words fell out of use; use `px.losses.cross_entropy` over all",
        ),
        have("BCELoss", LOSS + "binary_cross_entropy"),
        have("BCEWithLogitsLoss", LOSS + "binary_cross_entropy_with_logits"),
        have("KLDivLoss", LOSS + "kl_divergence", "both are probabilities; the mean is PyTorch's `batchmean`"),
        have(
            "PoissonNLLLoss",
            LOSS + "poisson_with_log_rates",
            "`px.losses.poisson` for `log_input=False`; `full` is exact, not Stirling's",
        ),
        have("GaussianNLLLoss", LOSS + "gaussian_nll"),
        have("CTCLoss", LOSS + "ctc", "logits, not log-probabilities, and (batch, time, classes); lengths by keyword"),
        have("HingeEmbeddingLoss", LOSS + "hinge_embedding"),
        have("MarginRankingLoss", LOSS + "margin_ranking"),
        have("SoftMarginLoss", LOSS + "soft_margin"),
        have("MultiMarginLoss", LOSS + "multi_margin"),
        have("MultiLabelMarginLoss", LOSS + "multilabel_margin", "also takes multi-hot targets"),
        have("MultiLabelSoftMarginLoss", LOSS + "multilabel_soft_margin"),
        have("CosineEmbeddingLoss", LOSS + "cosine_embedding"),
        have("TripletMarginLoss", LOSS + "triplet_margin"),
        absent(
            "TripletMarginWithDistanceLoss",
            "with a distance d of one's own it is one line, max(0, d(a, p) - d(a, n) + margin)",
        ),
        have("CosineSimilarity", F + "cosine_similarity", "the last axis; PyTorch takes the second"),
        have("PairwiseDistance", F + "pairwise_distance"),
    ),
    (
        "They are functions of (prediction, target). Nothing is broadcast: shapes that differ are an error.",
        "`weight` weighs examples in every loss, and a mean divides by its sum; `class_weight` weighs classes.",
        "PyTorch's binary losses and its `huber_loss` divide a weighted mean by the number of elements.",
        "`size_average` and `reduce`, long deprecated, are not there.",
    ),
)

VISION = Section(
    "Space",
    (
        have("PixelShuffle", "px.nn.PixelShuffle", "1 to 3 spatial axes"),
        have("PixelUnshuffle", "px.nn.PixelUnshuffle", "1 to 3 spatial axes"),
        have("ChannelShuffle", F + "channel_shuffle"),
        have("Upsample", "px.nn.Upsample", "the mode comes first; `scale` for `scale_factor`"),
        have("UpsamplingNearest2d", 'px.nn.Upsample("nearest", scale=s)'),
        have("UpsamplingBilinear2d", 'px.nn.Upsample("bilinear", scale=s, align_corners=True)'),
    ),
)

DEVICES = Section(
    "Devices, and submodules",
    (
        have("DataParallel", "px.parallel.data_parallel", "`px.fit(devices=…)`"),
        have("parallel", "px.parallel.data_parallel", "and the other strategies of `px.parallel`"),
        have(
            "quantized quantizable",
            "px.compress.quantize",
            "layers keep their kind; products of integers with `inputs=`",
        ),
        have("qat intrinsic", "px.compress.prepare", "`px.fold_batch_norm` before"),
        have("attention", F + "dot_product_attention(implementation=None)", "the fastest form by itself"),
    ),
)


def pair(name: str, ours: str, note: str = "") -> Row:
    """An initialiser in place, and its deprecated double."""
    return have(f"{name}_ {name}", "px.nn.init." + ours, note)


INIT = Section(
    "torch.nn.init",
    (
        have("calculate_gain", "px.nn.init.calculate_gain"),
        pair("uniform", "uniform", "`low`, `high`"),
        pair("normal", "normal"),
        have(
            "trunc_normal_",
            "px.nn.init.truncated_normal",
            "`std` is that of the result; bounds count in units of the parent's",
        ),
        pair("constant", "constant"),
        have("zeros_", "px.nn.init.zeros"),
        have("ones_", "px.nn.init.ones"),
        pair("eye", "eye"),
        pair("dirac", "dirac"),
        pair("xavier_uniform", "glorot_uniform", "`xavier_uniform` is another name of it"),
        pair("xavier_normal", "glorot_normal", "`xavier_normal` is another name of it"),
        pair("kaiming_uniform", "kaiming_uniform", '`gain=calculate_gain("leaky_relu", a)` for `a` and `nonlinearity`'),
        pair("kaiming_normal", "kaiming_normal", "not truncated, as there"),
        pair("orthogonal", "orthogonal"),
        pair("sparse", "sparse", "(in, out): each input loses the share `sparsity` of its outputs"),
    ),
    (
        "They return an array for a key and a shape, `init(key, shape, dtype)`, and change nothing in place.",
        "Fans are read off our layouts, (in, out) and (*kernel, in / groups, out).",
        "The names without an underscore are PyTorch's deprecated doubles.",
    ),
)

UTILS = Section(
    "torch.nn.utils",
    (
        have("get_total_norm", "px.global_norm", "Euclidean alone; a shared array counts once"),
        have(
            "parameters_to_vector vector_to_parameters", "px.destructure", "one call gives the vector and its inverse"
        ),
        have(
            "clip_grad_norm clip_grad_norm_ clip_grads_with_norm_", "px.optim.ClipGlobalNorm", "in a `px.optim.chain`"
        ),
        have("clip_grad_value_", "px.optim.ClipGrad", "in a `px.optim.chain`"),
        have(
            "weight_norm parametrizations.weight_norm",
            "px.nn.WeightNorm",
            "wraps a layer; `axis=-1`, the outputs, for `dim=0`",
        ),
        have("spectral_norm parametrizations.spectral_norm", "px.nn.SpectralNorm", "wraps a layer; u and v are State"),
        have("remove_weight_norm remove_spectral_norm", "px.nn.remove_weight_norm", "reaches all wrappers in a model"),
        absent(
            "parametrizations.orthogonal",
            "a start is `px.nn.init.orthogonal`; keeping to it is a wrapper like `px.nn.WeightNorm`",
        ),
        absent(
            "parametrize.register_parametrization parametrize.remove_parametrizations parametrize.is_parametrized "
            "parametrize.cached parametrize.transfer_parametrizations_and_params "
            "parametrize.type_before_parametrizations parametrize.ParametrizationList",
            "a wrapper such as `px.nn.WeightNorm` computes a weight from others, in plain code",
        ),
        have("stateless.functional_call", "px.apply", "returns the new state beside the result"),
        absent("skip_init", "layers are also made from arrays, `px.Dense.of(weight, bias)`, and draw nothing then"),
        have(
            "fuse_conv_bn_eval fuse_conv_bn_weights fuse_linear_bn_eval fuse_linear_bn_weights",
            "px.fold_batch_norm",
            "of a whole model, by neighbours in chains and by named pairs",
        ),
        absent(
            "convert_conv2d_weight_memory_format convert_conv3d_weight_memory_format",
            "channels are last everywhere, and the compiler chooses layouts",
        ),
        absent(
            "rnn.PackedSequence rnn.PackedSequence_ rnn.pack_padded_sequence rnn.pad_packed_sequence "
            "rnn.pack_sequence rnn.unpack_sequence rnn.bind rnn.invert_permutation",
            "a batch of sequences is one padded array and its lengths",
        ),
        have("rnn.pad_sequence", "px.data.batch_sequences", "the batch comes first; returns the lengths too"),
        have("rnn.unpad_sequence", "px.data.unbatch_sequences"),
        have(
            "prune.l1_unstructured prune.random_unstructured prune.global_unstructured prune.identity "
            "prune.L1Unstructured prune.RandomUnstructured prune.Identity prune.PruningContainer",
            "px.compress.prune",
            'a copy of the model; `scope="layer"` for one by itself, a share of 0 for masks alone; again for more',
        ),
        have(
            "prune.custom_from_mask prune.CustomFromMask prune.BasePruningMethod",
            "px.compress.prune(by=scores)",
            "scores of your own, by path; or write to `layer.weight_mask`",
        ),
        have(
            "prune.ln_structured prune.random_structured prune.LnStructured prune.RandomStructured",
            "px.compress.shrink",
            "channels, neurons and heads are removed, and all that goes with them",
        ),
        have("prune.remove", "px.compress.remove_masks"),
        have("prune.is_pruned", "px.compress.sparsity", "tells how much is zero"),
    ),
)

CLASSES = (
    *(CONTAINERS, LINEAR, CONVOLUTIONS, POOLS, PADS, ACTIVATIONS, NORMS, DROPOUTS),
    *(SEQUENCES, LOSSES, VISION, DEVICES),
)
SOURCE = Source(
    "torch.nn",
    "Every public class of `torch.nn` of PyTorch 2.13, and the functions of `torch.nn.init` and `torch.nn.utils`.",
    (*CLASSES, INIT, UTILS),
)
