"""Flux and the packages whose names it brings along: NNlib, Optimisers, MLUtils and others."""

from __future__ import annotations

from parity.optimisers import OPTIMISERS
from parity.rows import Section, Source, absent, have
from parity.schedulers import SCHEDULES

F = "px.nn.functional."
LOSS = "px.losses."
INIT = "px.nn.init."

LAYERS = Section(
    "Layers",
    (
        have("Chain", "px.Chain", "`px.Chain(name=layer)` too; index, slice, name"),
        have("Parallel", "px.Parallel"),
        have("PairwiseFusion", "px.nn.PairwiseFusion"),
        have("SkipConnection", "px.SkipConnection", "the connection takes (layer(x), x), as there"),
        have("Maxout", "px.nn.Maxout"),
        have("Dense", "px.Dense", "weight (in, out); `px.Dense.of(weight, bias, act)` from arrays"),
        have("Bilinear", "px.nn.Bilinear", "weight (in1, in2, out)"),
        have("Scale", "px.nn.Scale"),
        have("Embedding", "px.Embedding", "weight (num, dim), indices from 0; `padding_idx=` too"),
        have("EmbeddingBag", "px.nn.EmbeddingBag"),
        have("Conv CrossCor", "px.Conv", "both: it does not flip its kernel, as `CrossCor` does not"),
        have("ConvTranspose", "px.nn.ConvTranspose", "the kernel is not flipped; `output_padding` for `outpad`"),
        have("DepthwiseConv", "px.nn.DepthwiseConv", "takes channels and a multiplier"),
        have("SamePad", 'px.Conv(kernel, in, out, padding="SAME")', 'also "VALID" and "CAUSAL"'),
        have("MaxPool", "px.MaxPool"),
        have("MeanPool", "px.MeanPool"),
        have("AdaptiveMaxPool", "px.nn.AdaptiveMaxPool"),
        have("AdaptiveMeanPool", "px.nn.AdaptiveMeanPool"),
        have("GlobalMaxPool", "px.nn.GlobalMaxPool", "space is kept, as axes of size 1"),
        have("GlobalMeanPool", "px.GlobalMeanPool", "space is kept, as axes of size 1"),
        have("Upsample", "px.nn.Upsample", "modes are text; corners are not aligned unless asked, NNlib aligns them"),
        have("PixelShuffle", "px.nn.PixelShuffle"),
        have("flatten", "px.flatten"),
        have("BatchNorm", "px.BatchNorm", "`track` for `track_stats`"),
        have("InstanceNorm", "px.nn.InstanceNorm", "`track` for `track_stats`"),
        have("GroupNorm", "px.nn.GroupNorm"),
        have("LayerNorm", "px.LayerNorm"),
        have("WeightNorm", "px.nn.WeightNorm"),
        have("remove_weight_norms", "px.nn.remove_weight_norm"),
        have("Dropout", "px.Dropout", "`axis` for `dims`; owns its key"),
        have("AlphaDropout", "px.nn.AlphaDropout"),
        have(
            "MultiHeadAttention",
            "px.MultiHeadAttention",
            "(batch, time, dim); `key_dim`, `value_dim`, `head_dim` for the nested sizes; weights on demand",
        ),
        have("RNNCell", "px.nn.RNNCell"),
        have("LSTMCell", "px.nn.LSTMCell"),
        have("GRUCell", "px.nn.GRUCell", "the reset gate acts after the product; it has a bias there too"),
        have("GRUv3Cell", "px.nn.GRUCell(in, hidden, reset_after=False)"),
        have("RNN", "px.nn.RNN", "stacked by `num_layers`, `bidirectional`, with `lengths`"),
        have("LSTM", "px.nn.LSTM", "stacked by `num_layers`, `bidirectional`, with `lengths`"),
        have("GRU", "px.nn.GRU", "the reset gate acts after the product; it has a bias there too"),
        have("GRUv3", "px.nn.GRU(in, hidden, reset_after=False)"),
        have("Recurrence", "px.nn.Recurrence", "any function or module called as `cell(x, state)`"),
        have("initialstates", "px.nn.LSTMCell.initial_state", "every cell has it; a state of None means it"),
    ),
    (
        "Batches come first and channels last, (batch, height, width, channels) for (width, height, channels, batch).",
        "The weight of Dense is (in, out) for (out, in). Indices count from 0.",
        "A `Conv` of Flux flips its kernel: flip the spatial axes of weights that come from there.",
        "Sizes are two arguments, `px.Dense(784, 128)`, for `Dense(784 => 128)`; options come by keyword.",
        "There is no `active`: `px.trainmode`, `px.testmode` and `px.automode` say what it said.",
    ),
)

ACTIVATIONS = Section(
    "Activations (NNlib)",
    (
        *(have(n, f"px.{n}") for n in ("relu", "tanh", "softmax")),
        have("sigmoid σ", "px.sigmoid"),
        have(
            "gelu gelu_tanh gelu_sigmoid gelu_erf",
            "px.gelu(x, approximate)",
            'exact by default; Flux\'s default is `"tanh"`',
        ),
        *(
            have(n, F + n)
            for n in (
                *("celu", "elu", "lisht", "logcosh", "mish", "relu6", "rrelu", "selu", "softplus", "softshrink"),
                *("softsign", "tanhshrink", "hardswish", "hardtanh", "glu", "logsumexp"),
            )
        ),
        have("hardsigmoid hardσ", F + "hardsigmoid"),
        have("leakyrelu", F + "leaky_relu"),
        have("logsigmoid logσ", F + "log_sigmoid"),
        have("logsoftmax", F + "log_softmax"),
        have("swish", F + "silu", "`swish` is another name of it; `px.nn.Swish` learns its steepness"),
        have("trelu thresholdrelu", F + "trelu"),
        absent("sigmoid_fast tanh_fast", "the compiler already has fast ones"),
        absent(
            "softmax! logsoftmax! ∇softmax ∇softmax! ∇logsoftmax ∇logsoftmax!",
            "arrays do not change in place, and gradients are `px.grad`'s",
        ),
    ),
    ("They take whole arrays: no dots. The features are the last axis, so softmax is along `axis=-1` for `dims=1`.",),
)

FUNCTIONS = Section(
    "Functions (NNlib)",
    (
        have("conv", F + "conv", "does not flip; `padding` for `pad`"),
        have("depthwiseconv", F + "depthwise_conv", "does not flip"),
        absent("conv_bias_act conv_bias_act! bias_act!", "the compiler fuses a bias and an activation"),
        absent("ConvDims DenseConvDims DepthwiseConvDims PoolDims", "options are arguments of the functions"),
        absent(
            "conv! depthwiseconv! ∇conv_data ∇conv_data! ∇conv_filter ∇conv_filter! ∇depthwiseconv_data "
            "∇depthwiseconv_data! ∇depthwiseconv_filter ∇depthwiseconv_filter!",
            "arrays do not change in place, and gradients are `px.grad`'s",
        ),
        have("maxpool", F + "max_pool"),
        have("meanpool", F + "mean_pool"),
        have("lpnormpool", F + "lp_pool"),
        absent(
            "maxpool! meanpool! lpnormpool! ∇maxpool ∇maxpool! ∇meanpool ∇meanpool! ∇lpnormpool ∇lpnormpool!",
            "arrays do not change in place, and gradients are `px.grad`'s",
        ),
        have("fold", F + "fold"),
        have("unfold", F + "unfold"),
        have("pad_constant", F + "pad_constant"),
        have("pad_zeros", F + "pad_zeros"),
        have("pad_reflect", F + "pad_reflect"),
        have("pad_symmetric", F + "pad_symmetric"),
        have("pad_circular", F + "pad_circular"),
        have("pad_repeat", F + "pad_replicate"),
        have(
            "upsample_nearest upsample_linear upsample_bilinear upsample_trilinear",
            F + "interpolate(x, mode=…)",
            "corners are not aligned unless asked",
        ),
        absent(
            "∇upsample_nearest ∇upsample_linear ∇upsample_bilinear ∇upsample_trilinear", "gradients are `px.grad`'s"
        ),
        have("pixel_shuffle", F + "pixel_shuffle"),
        have("grid_sample", F + "grid_sample"),
        have("imrotate", F + "imrotate"),
        absent("∇grid_sample ∇imrotate", "gradients are `px.grad`'s"),
        have("gather", F + "gather", "along the first axis; indices from 0"),
        have("scatter", F + "scatter", 'the operation is text, `"+"`, `"max"`, …; `segment_sum` and its like too'),
        absent("gather! scatter!", "arrays do not change in place"),
        have("batched_mul ⊠", F + "batched_mul", "the batch comes first"),
        absent(
            "batched_mul! batched_vec batched_transpose batched_adjoint", "`jnp.matmul` and `jnp.swapaxes` take batches"
        ),
        have("dropout", F + "dropout", "the key comes first"),
        absent("dropout!", "arrays do not change in place"),
        have("batchnorm", F + "batch_norm_train", "`batch_norm` by given statistics"),
        have("instancenorm", F + "instance_norm"),
        have("groupnorm", F + "group_norm"),
        have("layernorm", F + "layer_norm"),
        have("ctc_loss", LOSS + "ctc", "a batch at a time, (batch, time, classes); the blank is class 0, not the last"),
        have("dot_product_attention", F + "dot_product_attention", "(batch, time, heads, size); y alone"),
        have(
            "dot_product_attention_scores",
            F + "dot_product_attention(return_weights=True)",
            "gives (y, weights)",
        ),
        have("make_causal_mask", F + "causal_mask", "takes lengths, and (queries, keys) for (keys, queries)"),
        have("stft", F + "stft", "(frames, frequencies)"),
        have("istft", F + "istft"),
        have("hann_window", F + "hann_window"),
        have("hamming_window", F + "hamming_window"),
        have("spectrogram", F + "spectrogram"),
        have("melscale_filterbanks", F + "mel_filterbank"),
        have("power_to_db", F + "power_to_db"),
        have("db_to_power", F + "db_to_power"),
        absent("within_gradient", "a module asks itself: `self.training` is the mode that the gradient sets"),
    ),
)

LOSSES = Section(
    "Losses",
    (
        have("mae", LOSS + "mae"),
        have("mse", LOSS + "mse"),
        have("msle", LOSS + "msle", "`eps=1.0`, as in scikit-learn; Flux's is the machine epsilon"),
        have("huber_loss", LOSS + "huber"),
        have("label_smoothing", LOSS + "label_smoothing", "classes are the last axis; `axis=None` for binary targets"),
        have("crossentropy", LOSS + "nll(jnp.log(p), targets)", "of probabilities; prefer logits"),
        have("logitcrossentropy", LOSS + "cross_entropy", "also takes class indices"),
        have("binarycrossentropy", LOSS + "binary_cross_entropy"),
        have("logitbinarycrossentropy", LOSS + "binary_cross_entropy_with_logits"),
        have("kldivergence", LOSS + "kl_divergence"),
        have("poisson_loss", LOSS + "poisson"),
        have("hinge_loss", LOSS + "hinge"),
        have("squared_hinge_loss", LOSS + "squared_hinge"),
        have("dice_coeff_loss", LOSS + "dice", "sums run over each example; `axis=` over everything gives Flux's"),
        have("tversky_loss", LOSS + "tversky", "as `dice`; false alarms and misses have a weight each"),
        have("binary_focal_loss", LOSS + "binary_focal"),
        have("focal_loss", LOSS + "focal"),
        have("siamese_contrastive_loss", LOSS + "siamese_contrastive"),
    ),
    (
        '`agg` is `reduction`: "mean", "sum" or "none"; `weight` weighs examples.',
        "Classes are the last axis. Shapes that differ are an error.",
    ),
)

INITIALISERS = Section(
    "Initialisers",
    (
        *(
            have(n, INIT + n)
            for n in (
                "glorot_uniform",
                "glorot_normal",
                "kaiming_uniform",
                "kaiming_normal",
                "lecun_normal",
                "orthogonal",
            )
        ),
        have("truncated_normal", INIT + "truncated_normal", "bounds count in units of the parent's deviation"),
        have("sparse_init", INIT + "sparse"),
        have("identity_init", INIT + "identity_init"),
        have("nfan", INIT + "fans"),
        have("ones32", INIT + "ones"),
        have("zeros32", INIT + "zeros"),
        have("rand32", INIT + "uniform"),
        have("randn32", INIT + "normal"),
        absent("create_bias", "a bias is an array or None"),
    ),
    ("They take a key, a shape and a dtype. Fans are read off our layouts.",),
)

TRAINING = Section(
    "Gradients and training",
    (
        have("gradient", "px.grad", "returns a function; the first argument is the model"),
        have("withgradient", "px.value_and_grad"),
        have("pullback", "px.vjp"),
        have("jacobian", "px.jacobian"),
        absent("withjacobian", "`px.jacobian` and the call, which the compiler merges"),
        have("hessian", "px.hessian"),
        absent("diaghessian", "it is `jnp.diagonal` of `px.hessian`, which costs the same here"),
        have("trainmode!", "px.trainmode"),
        have("testmode!", "px.testmode", "`px.automode` is `testmode!(m, :auto)`"),
        have("train!", "px.train", "one pass; `px.fit` is the whole training"),
        have("early_stopping patience", "px.EarlyStopping", "a callback of `px.fit`"),
        have(
            "plateau", "px.ReduceOnPlateau", "a callback of `px.fit`; `px.optim.ReduceOnPlateau` in a loop of your own"
        ),
        absent("throttle", "a callback says by `steps_until` when it wants control again"),
    ),
)

TOOLS = Section(
    "Tools",
    (
        have("outputsize", "px.nn.output_shape"),
        have("@autosize", "px.nn.autosize", "`px.nn.AUTO` for `_`"),
        absent("@layer @functor", "a subclass of `px.Module` needs no declaration"),
        have("modules", "px.modules", "a dict from path to module"),
        have("activations", "px.capture", "by path"),
        have("state", "px.state_dict", "flat, by path"),
        have("loadmodel!", "px.load_state_dict", "checks everything before it writes anything"),
        have("f16", "px.f16", "normalisation keeps float32 statistics"),
        have("f32", "px.f32"),
        have("f64", "px.f64", "an error while JAX has float64 off"),
        have(
            "cpu gpu cpu_device gpu_device xla_device",
            "px.to",
            '`px.to(model, "cpu")`; a new model starts on JAX\'s default device',
        ),
        have("get_device get_device_type supported_gpu_backends", "px.devices"),
        absent(
            "gpu_backend! reset_gpu_device! default_device_rng", "JAX chooses devices and owns their random numbers"
        ),
        absent(
            "CPUDevice CUDADevice AMDGPUDevice MetalDevice oneAPIDevice XLADevice", "devices are JAX's: `jax.devices`"
        ),
        have("DeviceIterator", "px.DataLoader", "puts batches on the device ahead"),
        have(
            "MPIBackend NCCLBackend DistributedUtils", "px.parallel.data_parallel", "after `px.parallel.initialize()`"
        ),
        have("fmap", "px.map", "keeps sharing"),
        have(
            "fmap_with_path fleaves", "px.paths", "a dict from path to array; `jax.tree_util.tree_map_with_path` maps"
        ),
        absent("fmapstructure children isleaf AbstractWalk functor", "`jax.tree` walks any module"),
    ),
)

ONE_HOT = Section(
    "OneHotArrays",
    (
        have("onehot onehotbatch", F + "one_hot", "classes are the last axis; `default=` too"),
        have("onecold", F + "from_one_hot"),
        absent(
            "OneHotArray OneHotVector OneHotMatrix OneHotLike", "indices are the compact form, and losses take them"
        ),
    ),
)

DATA = Section(
    "Data (MLUtils)",
    (
        have(
            "DataLoader eachobs BatchView batchsize", "px.DataLoader", "in the order of the data unless `shuffle=True`"
        ),
        have("numobs", "px.data.numobs", "observations are the first axis; a list holds one in each item"),
        have("getobs", "px.data.getobs"),
        absent("getobs!", "arrays do not change in place"),
        have("obsview ObsView", "px.data.ObsView"),
        absent("ObsDim", "observations are the first axis"),
        absent("randobs", "it is the beginning of `px.data.shuffleobs(data, seed=0)`"),
        have("splitobs", "px.data.splitobs", "`seed=` shuffles; `stratify=` and `groups=` too"),
        have("kfolds", "px.data.kfolds", "pairs of data; `seed=`, `stratify=` and `groups=` too"),
        have(
            "leavepout",
            "px.data.leave_p_out",
            "every choice of p, as in scikit-learn; Flux's is `kfolds(data, n // p)`",
        ),
        have("timeseries_kfolds", "px.data.time_series_folds"),
        have("slidingwindow", "px.data.sliding_windows"),
        have("mapobs", "px.data.mapobs"),
        have("filterobs", "px.data.filterobs"),
        have("groupobs", "px.data.groupobs"),
        have("joinobs", "px.data.joinobs"),
        have("shuffleobs", "px.data.shuffleobs", "the seed is not optional"),
        have("oversample", "px.data.oversample", "`seed=` shuffles"),
        have("undersample", "px.data.undersample", "`seed=` shuffles"),
        have("batch", "px.data.batch", "the batch comes first"),
        have("unbatch", "px.data.unbatch"),
        have(
            "batchseq batch_sequence rpad_constant", "px.data.batch_sequences", "(batch, time, ...), with the lengths"
        ),
        have("group_indices", "px.data.group_indices"),
        absent("group_counts", "it is NumPy's `unique` with `return_counts=True`"),
        have("chunk", "px.data.chunk"),
        absent("stack unstack unsqueeze", "`jnp.stack`, `jnp.unstack` and `jnp.expand_dims`"),
        absent("topk", "JAX has it: `jax.lax.top_k`"),
        absent("batched_searchsortedfirst batched_searchsortedlast", "JAX has it: `jax.vmap` of `jnp.searchsorted`"),
        have("normalise", "px.data.Standardize", "fits to training data, keeps the statistics, and has an inverse"),
        have("rescale", "px.data.Normalize", "fits to training data, keeps the ranges, and has an inverse"),
        absent(
            "fill_like zeros_like ones_like rand_like randn_like trues_like falses_like",
            "`jnp.zeros_like` and its like, and `jax.random`",
        ),
        absent("Datasets load_iris make_sin make_spiral make_poly make_moons", "scikit-learn has them and many more"),
    ),
)

SOURCE = Source(
    "Flux",
    "Flux 0.16 with what it re-exports or leans on: NNlib, Optimisers, ParameterSchedulers, MLUtils, OneHotArrays, "
    "Functors and MLDataDevices. A name of two packages stands once.",
    (
        *(LAYERS, ACTIVATIONS, FUNCTIONS, LOSSES, INITIALISERS, OPTIMISERS, SCHEDULES, TRAINING, TOOLS, ONE_HOT),
        DATA,
    ),
)
