"""Lux, with LuxCore, LuxLib and WeightInitializers; what it re-exports of NNlib stands in Flux's table."""

from __future__ import annotations

from parity.rows import Section, Source, absent, have

F = "px.nn.functional."
LOSS = "px.losses."
INIT = "px.nn.init."

LAYERS = Section(
    "Layers",
    (
        have("Chain", "px.Chain"),
        have("Parallel", "px.Parallel"),
        have("BranchLayer", "px.nn.Branch"),
        have("PairwiseFusion", "px.nn.PairwiseFusion"),
        have("SkipConnection", "px.SkipConnection"),
        have("Maxout", "px.nn.Maxout"),
        have(
            "RepeatedLayer",
            "px.nn.RepeatedLayer",
            "takes a function that makes a block; `share=True` is Lux's, one block",
        ),
        absent("AlternatePrecision", "`px.dtypes(compute=…)` sets the precision of a block, `px.bf16` of a layer"),
        have("Dense", "px.Dense", "weight (in, out)"),
        have("Bilinear", "px.nn.Bilinear", "weight (in1, in2, out)"),
        have("Scale", "px.nn.Scale"),
        have("Embedding", "px.Embedding", "indices from 0"),
        have("SinusoidalPositionalEmbedding", "px.SinusoidalEmbedding", "added to its input; waves as in the paper"),
        have("RotaryPositionalEmbedding", "px.RotaryEmbedding", "no table of fixed length; also stretched forms"),
        have("apply_rotary_embedding", F + "apply_rotary", "(batch, time, heads, size)"),
        have("compute_rotary_embedding_params", F + "rotary_angles", "from `px.nn.functional.rotary_frequencies`"),
        have("MultiHeadAttention", "px.MultiHeadAttention", "weights on demand"),
        have("Conv", "px.Conv"),
        have("ConvTranspose", "px.nn.ConvTranspose"),
        have("SamePad", 'px.Conv(kernel, in, out, padding="SAME")'),
        have("MaxPool", "px.MaxPool"),
        have("MeanPool", "px.MeanPool"),
        have("LPPool", "px.nn.LpPool"),
        have("AdaptiveMaxPool", "px.nn.AdaptiveMaxPool"),
        have("AdaptiveMeanPool", "px.nn.AdaptiveMeanPool"),
        have("GlobalMaxPool", "px.nn.GlobalMaxPool"),
        have("GlobalMeanPool", "px.GlobalMeanPool"),
        absent("AdaptiveLPPool GlobalLPPool", "one line gives them: `jnp.linalg.norm` over space"),
        have("Upsample", "px.nn.Upsample"),
        have("PixelShuffle", "px.nn.PixelShuffle"),
        have("BatchNorm", "px.BatchNorm"),
        have("GroupNorm", "px.nn.GroupNorm"),
        have("InstanceNorm", "px.nn.InstanceNorm"),
        have("LayerNorm", "px.LayerNorm", "normalises the last axes alone"),
        have("RMSNorm", "px.nn.RMSNorm"),
        have("WeightNorm", "px.nn.WeightNorm"),
        have("Dropout", "px.Dropout"),
        have("AlphaDropout", "px.nn.AlphaDropout"),
        have("VariationalHiddenDropout", "px.nn.VariationalDropout", "one mask along an axis; it is new at each call"),
        have("NoOpLayer", "px.identity"),
        have("ReshapeLayer", "px.nn.Reshape"),
        have("FlattenLayer", "px.nn.Flatten"),
        have("SelectDim", "px.nn.SelectDim"),
        have("WrappedFunction", "px.nn.WrappedFunction", "functions are layers without it, too"),
        have("ReverseSequence", "px.nn.ReverseSequence", "lengths may be given"),
        have("RNNCell", "px.nn.RNNCell", "`learn_state` for `train_state`"),
        have("LSTMCell", "px.nn.LSTMCell", "`learn_state` for `train_state` and `train_memory`"),
        have("GRUCell", "px.nn.GRUCell", "`learn_state` for `train_state`"),
        have("Recurrence", "px.nn.Recurrence", "`remat` for a checkpointed recurrence"),
        have("StatefulRecurrentCell", "px.nn.StatefulRecurrentCell", "begins with a state that is given"),
        have("BidirectionalRNN", "px.nn.Bidirectional", "`combine` for `merge_mode`"),
        absent("TimeLastIndex BatchLastIndex", "there is one layout: batch, then time, then features"),
    ),
    ("As for Flux: batches first, channels last; Lux flips the kernel of `Conv` unless `cross_correlation=true`.",),
)

MODEL = Section(
    "Models, parameters and state",
    (
        have("AbstractLuxLayer AbstractLuxContainerLayer AbstractLuxWrapperLayer", "px.Module"),
        have("setup initialparameters initialstates", "px.split", "`params, state = px.split(model)`"),
        have("apply", "px.apply", "`y, state = px.apply(model, params, state, x, train=True)`"),
        absent("StatefulLuxLayer", "a model holds its state; `px.split` is the pure view"),
        have("@compact CompactLuxLayer", "px.nn.compact"),
        absent("@init_fn", "what a part holds is computed before it is given to `px.nn.compact`"),
        have("@non_trainable", "px.State", "or `state=` of `px.nn.compact`"),
        have("parameterlength statelength", "px.nn.summary", "`.parameters`, `.state`; the printed model counts too"),
        have("outputsize", "px.nn.output_shape"),
        absent("update_state", "state is an attribute: assign it"),
        have("trainmode", "px.trainmode"),
        have("testmode", "px.testmode"),
        have("replicate", "px.copy"),
        absent("preserves_state_type", "the core checks that State keeps its shape and dtype"),
        have("freeze", "px.freeze"),
        have("unfreeze", "px.thaw"),
        have("layer_map", "px.modules", "a loop over paths and modules"),
        absent("share_parameters", "a module that stands in two places is shared"),
        absent("@debug_mode Experimental", "errors name the layer by path; `px.watch_nonfinite` finds NaN and where"),
        have("match_eltype", "px.dtypes", '`on_mismatch="warn"`, "error", "convert" or "promote"'),
        absent("LuxOps set_dispatch_doctor_preferences!", "it is about Julia's dispatch"),
    ),
    ("A model owns its parameters and state. The pure form of Lux is one call away, and lossless both ways.",),
)

DERIVATIVES = Section(
    "Derivatives and training",
    (
        have("jacobian_vector_product", "px.jvp"),
        have("vector_jacobian_product", "px.vjp"),
        have("batched_jacobian", "px.vmap", "of `px.jacobian`"),
        absent("AutoEnzyme AutoForwardDiff AutoMooncake AutoReverseDiff AutoTracker AutoZygote", "there is one: JAX's"),
        have(
            "Training TrainState single_train_step!", "px.Optimizer", "a step is `px.jit` of a function; `px.fit` loops"
        ),
    ),
)

LOSSES = Section(
    "Losses",
    (
        have("BinaryCrossEntropyLoss", LOSS + "binary_cross_entropy", "`…_with_logits` for `logits=Val(true)`"),
        have("BinaryFocalLoss", LOSS + "binary_focal"),
        have("CrossEntropyLoss", LOSS + "cross_entropy", "takes logits, which is `logits=Val(true)` there"),
        have("DiceCoeffLoss", LOSS + "dice"),
        have("FocalLoss", LOSS + "focal"),
        have("HingeLoss", LOSS + "hinge"),
        have("HuberLoss", LOSS + "huber"),
        have("KLDivergenceLoss", LOSS + "kl_divergence"),
        have("L1Loss MAELoss", LOSS + "mae"),
        have("L2Loss MSELoss", LOSS + "mse"),
        have("MSLELoss", LOSS + "msle"),
        have("PoissonLoss", LOSS + "poisson"),
        have("SiameseContrastiveLoss", LOSS + "siamese_contrastive"),
        have("SquaredHingeLoss", LOSS + "squared_hinge"),
        absent("GenericLossFunction", "a loss is a function; `jnp.mean` of another is one line"),
    ),
    ("They are functions, not objects that make them; `reduction` is `agg`.",),
)

LIBRARY = Section(
    "LuxLib and WeightInitializers",
    (
        have("batchnorm", F + "batch_norm_train", "`batch_norm` by given statistics"),
        have("groupnorm", F + "group_norm"),
        have("instancenorm", F + "instance_norm"),
        have("layernorm", F + "layer_norm"),
        have("dropout", F + "dropout", "the key comes first; it returns no new one"),
        have("alpha_dropout", F + "alpha_dropout"),
        have("batched_matmul", F + "batched_mul"),
        absent(
            "bias_activation bias_activation!! fast_activation fast_activation!! fused_conv_bias_activation "
            "fused_dense_bias_activation",
            "the compiler fuses a bias and an activation",
        ),
        *(
            have(n, INIT + n)
            for n in (
                "glorot_uniform",
                "glorot_normal",
                "kaiming_uniform",
                "kaiming_normal",
                "truncated_normal",
                "orthogonal",
            )
        ),
        have("sparse_init", INIT + "sparse"),
        have("identity_init", INIT + "identity_init"),
        have("zeros16 zeros32 zeros64 zerosC32 zerosC64", INIT + "zeros", "the dtype is an argument"),
        have("ones16 ones32 ones64 onesC32 onesC64", INIT + "ones", "the dtype is an argument"),
        have("rand16 rand32 rand64", INIT + "uniform", "the dtype is an argument"),
        absent(
            "randC32 randC64", "a uniform complex number has no agreed meaning; `px.nn.init.normal` draws complex ones"
        ),
        absent("zerosC16 onesC16 randC16 randnC16", "JAX has no complex numbers of two half-precision ones"),
        have("randn16 randn32 randn64 randnC32 randnC64", INIT + "normal", "the dtype is an argument"),
    ),
)

ELSEWHERE = Section(
    "Precision, devices, other libraries",
    (
        have("f16", "px.f16"),
        have("bf16", "px.bf16"),
        have("f32", "px.f32"),
        have("f64", "px.f64"),
        have("cpu_device gpu_device xla_device reactant_device", "px.to"),
        have(
            "MPIBackend NCCLBackend DistributedUtils", "px.parallel.data_parallel", "after `px.parallel.initialize()`"
        ),
        have("Serialization", "px.export", "StableHLO, ONNX, and SavedModel for TensorFlow"),
        absent("FromFluxAdaptor FluxLayer ToSimpleChainsAdaptor SimpleChainsLayer", "they join libraries of Julia"),
    ),
)

SOURCE = Source(
    "Lux",
    "Lux 1 with LuxCore, LuxLib and WeightInitializers. What Lux re-exports of NNlib stands above, under Flux.",
    (LAYERS, MODEL, DERIVATIVES, LOSSES, LIBRARY, ELSEWHERE),
)
