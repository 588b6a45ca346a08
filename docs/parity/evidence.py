"""What each public name is tested against: the file of its test, the oracle, and the tolerance.

A tolerance is a dtype of the table in tests/kit.py, perhaps several times it (``float32×3``), ``exact``, or words.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"


@dataclass(frozen=True)
class Evidence:
    """Where a name is tested, by what truth, how closely."""

    file: str
    """Below tests/."""
    against: str
    tolerance: tuple[str, ...]
    case: str = ""
    """The row of the registry of layers that holds it, where the file is one of the registry's."""
    text: str = ""
    """What the file calls it by, where that is not its name."""


def several(prefix: str, names: str, file: str, against: str, *tolerance: str) -> dict[str, Evidence]:
    """The same evidence for several names."""
    return {prefix + name: Evidence(file, against, tolerance) for name in names.split()}


def twins(prefix: str, names: str) -> dict[str, Evidence]:
    """Layers with a twin in PyTorch in the registry of layers; ``Name:row`` where the row has another name."""
    files = {file.name: file.read_text("utf-8") for file in sorted(TESTS.glob("registry*.py"))}
    found = {}
    for name, _, row in (entry.partition(":") for entry in names.split()):
        here = [file for file, text in files.items() if f'"{row or name}"' in text]
        assert here, f"the registry of layers has no row {row or name}"
        found[prefix + name] = Evidence(here[0], "PyTorch", ("float32",), row or name)
    return found


F = "px.nn.functional."
ACTIVATIONS = "nn/functional/test_activations.py"
BOTH = ("float32", "float64")

FUNCTIONAL = {
    **several("px.", "identity relu sigmoid softmax tanh gelu", ACTIVATIONS, "PyTorch", *BOTH),
    **several(
        F,
        "silu mish softplus softsign log_sigmoid tanhshrink relu6 leaky_relu rrelu elu selu celu threshold hardtanh "
        "hardsigmoid hardswish hardshrink softshrink softmin log_softmax logsumexp",
        ACTIVATIONS,
        "PyTorch",
        *BOTH,
    ),
    **several(F, "lisht trelu", ACTIVATIONS, "formula on torch tensors", *BOTH),
    **several(F, "prelu glu", ACTIVATIONS, "PyTorch", "float32"),
    **several(F, "logcosh", ACTIVATIONS, "formula in NumPy", "1e-12"),
    **several(F, "gumbel_softmax", ACTIVATIONS, "SciPy: distribution of the draws", "statistics"),
    **several(F, "conv conv_transpose", "nn/functional/test_conv.py", "PyTorch; transposes of one another", "float64"),
    **several(F, "depthwise_conv", "nn/functional/test_conv.py", "grouped `conv`", "float64"),
    **several(
        F,
        "max_pool max_pool_with_indices max_unpool mean_pool lp_pool adaptive_max_pool adaptive_mean_pool",
        "nn/functional/test_pool.py",
        "PyTorch",
        "float64",
    ),
    **several(F, "fold unfold", "nn/functional/test_fold.py", "PyTorch; transposes of one another", "float64"),
    **several(F, "interpolate", "nn/functional/test_resize.py", "PyTorch", "float64"),
    **several(F, "pixel_shuffle pixel_unshuffle channel_shuffle", "nn/functional/test_resize.py", "PyTorch", "float64"),
    **several(F, "grid_sample affine_grid", "nn/functional/test_sample.py", "PyTorch", "float64"),
    **several(F, "imrotate", "nn/functional/test_sample.py", "SciPy", "float64"),
    **several(
        F,
        "pad_zeros pad_reflect pad_replicate pad_symmetric pad_circular pad_constant",
        "nn/functional/test_padding.py",
        "NumPy; PyTorch for gradients",
        "float64",
    ),
    **several(F, "gather scatter", "nn/functional/test_gather.py", "PyTorch", "float64"),
    **several(F, "one_hot", "nn/functional/test_onehot.py", "PyTorch", "exact"),
    **several(F, "from_one_hot", "nn/functional/test_onehot.py", "inverse of `one_hot`", "exact"),
    **several(F, "dense", "nn/functional/test_linear.py", "PyTorch", *BOTH),
    **several(F, "bilinear batched_mul pdist", "nn/functional/test_linear.py", "PyTorch", "float32"),
    **several(F, "embedding embedding_bag pairwise_distance", "nn/functional/test_linear.py", "PyTorch", "float32"),
    **several(F, "cosine_similarity", "nn/functional/test_linear.py", "PyTorch", *BOTH),
    **several(F, "batch_norm_train layer_norm rms_norm", "nn/functional/test_norm.py", "PyTorch", *BOTH),
    **several(
        F,
        "batch_norm group_norm instance_norm normalize local_response_norm",
        "nn/functional/test_norm.py",
        "PyTorch",
        "float32",
    ),
    **several(
        F,
        "dropout feature_alpha_dropout",
        "nn/functional/test_dropout.py",
        "closed form; SciPy: rate of the draws",
        "1e-5",
        "statistics",
    ),
    **several(
        F,
        "alpha_dropout",
        "nn/functional/test_dropout.py",
        "closed form, PyTorch; SciPy: rate of the draws",
        "float32",
        "statistics",
    ),
    **several(F, "stft hann_window hamming_window", "nn/functional/test_signal.py", "PyTorch, SciPy", "float64"),
    **several(F, "istft spectrogram", "nn/functional/test_signal.py", "PyTorch", "float64"),
    **several(F, "mel_filterbank", "nn/functional/test_signal.py", "formula in Python", "1e-10"),
    **several(F, "power_to_db db_to_power", "nn/functional/test_signal.py", "formula in NumPy", "float64"),
}

RECURRENT = "nn/test_recurrent.py"
LAYERS = {
    **twins("px.", "Dense Conv:Conv2d BatchNorm LayerNorm MaxPool MeanPool GlobalMeanPool Embedding"),
    **twins("px.", "Chain Parallel SkipConnection flatten"),
    **twins(
        "px.nn.",
        "GroupNorm InstanceNorm RMSNorm LocalResponseNorm WeightNorm RepeatedLayer compact Maxout PairwiseFusion "
        "Branch Bilinear Scale EmbeddingBag PReLU ConvTranspose:ConvTranspose2d DepthwiseConv LpPool "
        "AdaptiveMaxPool AdaptiveMeanPool GlobalMaxPool Upsample:Upsample-bilinear PixelShuffle PixelUnshuffle Unfold "
        "Fold ZeroPad ReflectPad ReplicatePad CircularPad ConstantPad Reshape Flatten SelectDim "
        "ReverseSequence WrappedFunction",
    ),
    **several("px.", "Dropout", "nn/test_layers.py", "closed form; rate of the draws", "1e-6", "statistics"),
    **several(
        "px.nn.",
        "AlphaDropout FeatureAlphaDropout",
        "nn/test_layers_noise.py",
        "closed form; SciPy: rate of the draws",
        "1e-5",
        "statistics",
    ),
    **several(
        "px.nn.",
        "VariationalDropout",
        "nn/test_layers_noise.py",
        "closed form; SciPy: rate of the draws",
        "1e-6",
        "statistics",
    ),
    **several("px.nn.", "RReLU", "nn/test_layers_noise.py", "SciPy: distribution of the draws", "statistics"),
    **several("px.nn.", "SpectralNorm", "nn/test_layers_norm.py", "PyTorch", "float32×3"),
    **several("px.nn.", "remove_weight_norm", "nn/test_layers_norm.py", "the wrapped layer's own output", "float32"),
    **several("px.", "fold_batch_norm", "nn/test_folding.py", "PyTorch", "1e-6"),
    **twins("px.nn.", "RNN Bidirectional"),
    **several("px.nn.", "LSTM GRU LSTMCell GRUCell", RECURRENT, "PyTorch, packed sequences too", "float64"),
    "px.nn.RNNCell": Evidence(RECURRENT, "PyTorch", ("float64",), text="Cell"),
    "px.nn.LSTMCell.initial_state": Evidence("nn/test_recurrence.py", "the whole sequence", ("float32",)),
    **several("px.nn.", "Recurrence", "nn/test_recurrence.py", "steps by hand", "float32"),
    **several("px.nn.", "StatefulRecurrentCell", "nn/test_recurrence.py", "the whole sequence", "float32"),
    **several("px.nn.", "autosize", "nn/test_layers_sizes.py", "the model of explicit sizes", "exact"),
    **several("px.nn.", "output_shape", "nn/test_layers_sizes.py", "the shape of the call", "exact"),
    **several("px.nn.", "summary", "nn/test_layers_sizes.py", "counts by hand; the compiler's FLOPs", "exact"),
}

TORCH_LOSSES = "losses/test_against_torch.py"
FORMS = "losses/test_closed_forms.py"
LOSSES = {
    **several(
        "px.losses.",
        "mse mae huber smooth_l1 binary_cross_entropy binary_cross_entropy_with_logits multilabel_soft_margin poisson "
        "poisson_with_log_rates gaussian_nll soft_margin hinge_embedding margin_ranking multi_margin "
        "multilabel_margin cosine_embedding triplet_margin",
        TORCH_LOSSES,
        "PyTorch",
        *BOTH,
    ),
    **several("px.losses.", "kl_divergence", TORCH_LOSSES, "PyTorch", "float32"),
    **several("px.losses.", "cross_entropy nll", "losses/test_cross_entropy.py", "PyTorch", "float32"),
    **several("px.losses.", "label_smoothing", "losses/test_cross_entropy.py", "PyTorch", "float32"),
    **several("px.losses.", "ctc", "losses/test_ctc.py", "PyTorch; the sum over all alignments", *BOTH),
    **several("px.losses.", "hinge dice tversky", FORMS, "scikit-learn, formula in NumPy", "float32"),
    **several("px.losses.", "msle", FORMS, "scikit-learn", "float32"),
    **several(
        "px.losses.",
        "squared_hinge binary_focal focal siamese_contrastive",
        FORMS,
        "formula in NumPy; gradient by differences",
        "float32",
    ),
}

INIT = {
    "px.nn.init.lecun_normal": Evidence("nn/test_init.py", "SciPy: distribution", ("statistics",), text="lecun"),
    **several(
        "px.nn.init.",
        "glorot_uniform glorot_normal kaiming_uniform kaiming_normal",
        "nn/test_init.py",
        "SciPy: distribution; PyTorch's draws",
        "statistics",
    ),
    **several(
        "px.nn.init.",
        "truncated_normal uniform normal",
        "nn/test_init.py",
        "SciPy: distribution",
        "statistics",
    ),
    **several("px.nn.init.", "orthogonal", "nn/test_init.py", "theorem: WᵀW = gain² I; uniform trace", "1e-5"),
    **several(
        "px.nn.init.",
        "sparse",
        "nn/test_init.py",
        "PyTorch: places of zeros; SciPy: distribution",
        "exact",
        "statistics",
    ),
    **several("px.nn.init.", "identity_init", "nn/test_init.py", "theorem: the convolution returns its input", "1e-6"),
    **several("px.nn.init.", "dirac", "nn/test_init.py", "PyTorch", "exact"),
    **several("px.nn.init.", "eye zeros ones constant", "nn/test_init.py", "NumPy", "exact"),
    **several("px.nn.init.", "calculate_gain", "nn/test_init.py", "PyTorch", "1e-15"),
    **several("px.nn.init.", "fans", "nn/test_init.py", "PyTorch", "exact"),
}

CORE = {
    **several("px.", "Module", "core/test_plain_jax.py", "plain JAX's answer", "float32"),
    **several("px.", "Param", "nn/test_layers_norm.py", "closed form", "float32"),
    **several("px.", "State", "core/test_transforms_more.py", "the values by hand", "float32"),
    **several("px.", "split", "core/test_random_models.py", "`px.merge`, its inverse", "exact"),
    **several("px.", "apply", "core/test_pure.py", "the call itself", "float32"),
    **several("px.", "state_dict load_state_dict", "core/test_random_models.py", "each other's inverse", "exact"),
    **several("px.", "copy", "core/test_random_models.py", "the model itself", "exact"),
    **several("px.", "map", "core/test_tree.py", "JAX: `jax.tree.map`", "exact"),
    **several("px.", "modules paths", "core/test_tree.py", "paths by hand", "exact"),
    **several("px.", "global_norm", "core/test_tree.py", "optax", "float32"),
    **several("px.", "freeze thaw", "core/test_freeze.py", "the gradient's paths; the compiled program", "exact"),
    **several("px.", "trainmode testmode", "core/test_mode.py", "the rule, by hand", "exact"),
    **several("px.", "grad", "core/test_patterns.py", "PyTorch by hand", "float64"),
    **several("px.", "value_and_grad", "core/test_pure.py", "plain JAX", "float32"),
    **several("px.", "jvp vjp jacobian hessian", "core/test_transforms_more.py", "PyTorch: `torch.func`", "float32"),
    **several("px.", "vmap", "core/test_transforms_more.py", "plain JAX", "float32"),
    **several("px.", "to devices", "core/test_convert.py", "JAX's own placement", "exact"),
    **several("px.", "f16 bf16 f32 f64", "core/test_convert.py", "NumPy's rounding", "exact"),
    **several("px.", "dtypes", "core/test_dtypes.py", "the dtype asked for", "exact"),
    **several("px.", "destructure", "core/test_destructure.py", "JAX: `ravel_pytree`", "exact"),
    **several("px.", "capture", "core/test_capture.py", "the layers called one by one", "float32"),
    **several("px.", "export", "interchange/test_onnx_target.py", "ONNX Runtime", "1e-5"),
}

RULES = "optim/test_rules.py"
SCHEDULES = "optim/test_schedules.py"
COMBINED = "optim/test_combined.py"
_SPLITS, _DATA = "data/test_splits.py", "data/test_observations.py"

DATA = {
    **several(
        "px.data.", "splitobs kfolds time_series_folds leave_p_out", _SPLITS, "scikit-learn; properties", "exact"
    ),
    **several("px.data.", "chunk", _SPLITS, "NumPy: `array_split`", "exact"),
    **several("px.data.", "shuffleobs oversample undersample", _SPLITS, "the rule, by hand", "exact"),
    **several("px.data.", "numobs getobs ObsView mapobs joinobs filterobs", _DATA, "the rule, by hand", "exact"),
    **several("px.data.", "groupobs group_indices batch unbatch", _DATA, "the rule, by hand", "exact"),
    **several("px.data.", "sliding_windows", _DATA, "NumPy: `sliding_window_view`", "exact"),
    **several("px.data.", "batch_sequences unbatch_sequences", _DATA, "PyTorch", "exact"),
    **several("px.data.", "Standardize Normalize", _DATA, "scikit-learn", "float32"),
}

OPTIM = {
    **several(
        "px.optim.",
        "Descent Momentum Nesterov Rprop ASGD Adam AdamW AMSGrad AdaMax NAdam RAdam AdaGrad AdaDelta RMSProp Adafactor "
        "WeightDecay",
        RULES,
        "PyTorch; steps by hand in NumPy",
        "float64",
    ),
    **several("px.optim.", "Lion", RULES, "steps by hand in NumPy; optax", "float64"),
    **several("px.optim.", "AdaBelief OAdam SignDecay ClipGrad", RULES, "steps by hand in NumPy", "float64"),
    **several("px.optim.", "Muon", RULES, "steps by hand in NumPy; PyTorch to its bfloat16", "float64"),
    **several("px.optim.", "Apollo", RULES, "steps by hand in NumPy", "float32"),
    **several("px.optim.", "ClipNorm ClipGlobalNorm", RULES, "PyTorch", "float32"),
    **several("px.optim.", "NormGrowthCap", RULES, "norms by hand", "1e-6"),
    **several("px.optim.", "Rule", "optim/test_every_rule.py", "values by hand", "exact"),
    **several("px.optim.", "chain AccumGrad", COMBINED, "steps by hand in NumPy", "float32"),
    **several("px.optim.", "MixedPrecision", COMBINED, "float32 steps in NumPy, rounded", "exact"),
    **several("px.optim.", "LBFGS", COMBINED, "SciPy: the minimum", "1e-5", "1e-8"),
    **several("px.optim.", "ReduceOnPlateau", COMBINED, "PyTorch", "1e-6"),
    **several(
        "px.optim.",
        "step_decay multi_step linear exponential polynomial cosine_annealing cosine_restarts one_cycle cyclic "
        "multiplicative product sequence",
        SCHEDULES,
        "PyTorch",
        "1e-9",
    ),
    **several(
        "px.optim.",
        "inverse triangle triangle_decay2 triangle_exp sine sine_decay2 sine_exp constant loop stretched shifted "
        "composed",
        SCHEDULES,
        "formula in NumPy",
        "1e-9",
    ),
    **several("px.optim.", "Stateful", SCHEDULES, "values by hand", "exact"),
    "px.optim.Schedule": Evidence(SCHEDULES, "equality and text by hand", ("exact",)),
    **several("px.", "Optimizer", RULES, "PyTorch; steps by hand in NumPy", "float64"),
    **several("px.Optimizer.", "update", RULES, "PyTorch; steps by hand in NumPy", "float64"),
    **several("px.Optimizer.", "adjust", "optim/test_optimizer.py", "steps by hand", "float32"),
}

ATTENTION_LAYERS = {
    **several("px.", "MultiHeadAttention", "nn/test_attention_layer.py", "PyTorch", "float32"),
    **several(
        "px.",
        "Transformer TransformerEncoderLayer TransformerDecoderLayer",
        "nn/test_transformer.py",
        "PyTorch",
        "float32",
    ),
    **several(
        "px.", "TransformerEncoder", "nn/test_transformer_llama.py", "PyTorch: Llama in transformers", "float32×5"
    ),
    **several("px.", "TransformerDecoder", "nn/test_transformer.py", "its own pass at once", "float32"),
    **several("px.", "SinusoidalEmbedding", "nn/test_attention_positions.py", "formula in NumPy", "1e-5"),
    **several(
        "px.", "RotaryEmbedding", "nn/test_attention_positions.py", "PyTorch: Llama in transformers", "float32×5"
    ),
    **several(F, "dot_product_attention", "nn/test_attention.py", "PyTorch", "float32", "float64"),
    **several(F, "causal_mask", "nn/test_attention.py", "NumPy", "exact"),
    **several(F, "apply_rotary rotary_angles", "nn/test_attention_positions.py", "complex products in NumPy", "1e-5"),
}

STOPPING, AVERAGING = "loop/test_callbacks_stopping.py", "loop/test_callbacks_averaging.py"
LOOP = {
    **several("px.", "train", "loop/test_train.py", "the loop by hand", "exact"),
    **several("px.", "EarlyStopping", STOPPING, "sequences by hand", "exact"),
    **several("px.", "ReduceOnPlateau", STOPPING, "PyTorch", "exact"),
    **several("px.", "AveragedModel SWA update_batch_norm", AVERAGING, "PyTorch", "1e-5"),
    **several("px.", "DataLoader", "data/test_loader.py", "PyTorch", "exact"),
    "px.parallel.data_parallel": Evidence("loop/test_devices.py", "one device", ("1e-4",)),
    "px.compress.quantize": Evidence("compress/test_integers.py", "PyTorch", ("float32",)),
    "px.compress.prepare": Evidence("compress/test_trained_rounded.py", "PyTorch", ("float32",)),
    "px.compress.prune": Evidence("compress/test_pruning.py", "PyTorch", ("exact",)),
    "px.compress.remove_masks": Evidence("compress/test_pruning.py", "the masked model", ("exact",)),
    "px.compress.sparsity": Evidence("compress/test_pruning.py", "by hand", ("exact",)),
    "px.compress.shrink": Evidence("compress/test_structure.py", "PyTorch, and the zeroed model", ("1e-6",)),
}

EVIDENCE: dict[str, Evidence] = {
    **FUNCTIONAL,
    **LAYERS,
    **ATTENTION_LAYERS,
    **LOSSES,
    **INIT,
    **CORE,
    **OPTIM,
    **DATA,
    **LOOP,
}
