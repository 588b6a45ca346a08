"""Faults of what stands in one pass in inference, of weights in blocks, and of models made ready for it."""

_KERNELS = "tests/native/test_inference_kernels.py::"
_MODELS = "tests/nn/test_optimize_for_inference.py::"
_PACKED = "nn/functional/kernels/_inference.py"
_LAYERS = "nn/inference/_layers.py"
_HERE = "nn/inference/_optimize.py"

MUTANTS = [
    (
        "inference: blocks are not turned",
        _PACKED,
        "full.reshape(full.shape[0], -1, _BLOCK).swapaxes(0, 1)",
        "full.reshape(-1, full.shape[0], _BLOCK)",
        (_KERNELS + "test_a_map_is_pytorchs",),
    ),
    (
        "inference: gelu is the one by tanh",
        _PACKED,
        '"gelu": 2',
        '"gelu": 3',
        (_KERNELS + "test_a_map_is_pytorchs",),
    ),
    (
        "inference: every partial is gelu by tanh",
        _PACKED,
        'act.keywords == {"approximate": "tanh"} and not act.args',
        "not act.args",
        (_KERNELS + "test_activations_that_kernels_know",),
    ),
    (
        "inference: an activation of somebody else's by its name alone",
        _PACKED,
        "if ours else None",
        "if True else None",
        (_KERNELS + "test_activations_that_kernels_know",),
    ),
    (
        "inference: the residual is added behind the activation",
        _PACKED,
        "(act(y + residual[0] if residual else y),)",
        "(act(y) + residual[0] if residual else act(y),)",
        (_KERNELS + "test_derivatives_are_those_of_the_plain_form",),
    ),
    (
        "inference: half precision is taken for float32",
        _PACKED,
        'or not in_use(x, blocks, bias) or {a.dtype for a in (x, blocks, bias)} != {jnp.dtype("float32")}',
        "or not in_use(x, blocks, bias)",
        (_KERNELS + "test_half_precision_and_other_activations_take_the_plain_form",),
    ),
    (
        "inference: a residual where the norm is not folded is lost",
        _LAYERS,
        "return act(layer(x) + residual)",
        "return act(layer(x))",
        ("tests/models/test_resnet.py::test_in_float32",),
    ),
    (
        "inference: the layer's own activation behind a residual",
        _LAYERS,
        "act = self.act if act is None else act",
        "act = self.act",
        (_KERNELS + "test_a_convolution_is_the_plain_one",),
    ),
    (
        "inference: tied weights are copied",
        _HERE,
        'kind not in kinds or "weight" in dict(ties_of(type(layer))) or',
        "kind not in kinds or",
        (_MODELS + "test_what_is_tied_quantised_stacked_or_half_stays",),
    ),
    (
        "inference: stacked layers are taken for one",
        _HERE,
        "made.weight.dtype != jnp.float32 or made.weight.ndim != (2 if kind is Dense else len(made.kernel) + 2)",
        "made.weight.dtype != jnp.float32",
        (_MODELS + "test_what_is_tied_quantised_stacked_or_half_stays",),
    ),
    (
        "inference: the model itself is changed",
        _HERE,
        "model = testmode(copy(model))",
        "model = testmode(model)",
        (_MODELS + "test_nothing_of_a_norm_or_a_dropout_is_left_in_a_chain",),
    ),
    (
        "inference: norms of declared pairs stay",
        _HERE,
        "fold_batch_norm(model, *foldable(model))",
        "fold_batch_norm(model)",
        (_MODELS + "test_a_model_gives_what_it_gave",),
    ),
    (
        "relu: NaN is 0",
        "nn/functional/_bounds.py",
        "return jnp.where(x <= bound, jnp.asarray(bound, x.dtype), x)",
        "return jnp.where(x > bound, x, jnp.asarray(bound, x.dtype))",
        ("tests/nn/test_nan_stays.py::test_of_a_row_and_of_no_other",),
    ),
    (
        "maxima: NaN is lost where XLA loses it",
        "nn/functional/_bounds.py",
        "return jnp.where(jnp.isnan(x).any(axis), jnp.asarray(jnp.nan, x.dtype), top)",
        "return top",
        ("tests/nn/test_nan_stays.py::test_of_a_row_and_of_no_other",),
    ),
    (
        "maxima: of two arrays NaN of the first is lost",
        "nn/functional/_bounds.py",
        "return jnp.where((a > b) | jnp.isnan(a), a, b)",
        "return jnp.where(a > b, a, b)",
        ("tests/nn/test_nan_stays.py::test_of_a_row_and_of_no_other",),
    ),
]
