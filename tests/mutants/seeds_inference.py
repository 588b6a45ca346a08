"""Faults of what stands in one pass in inference, of weights in blocks, and of models made ready for it."""

_KERNELS = "tests/native/test_inference_kernels.py::"
_MODELS = "tests/nn/test_optimize_for_inference.py::"
_PACKED = "nn/functional/kernels/_inference.py"
_LAYERS = "nn/inference/_layers.py"
_HERE = "nn/inference/_optimize.py"
_KEPT = "loop/_prepared.py"
_PREDICT = "tests/loop/test_predict_prepared.py::"

MUTANTS = [
    (
        "inference: small weights are laid out whatever their activation",
        _HERE,
        "made.act not in _CHEAP",
        "made.act in _CHEAP",
        (_MODELS + "test_a_small_weight_is_laid_out_where_its_activation_costs_something",),
    ),
    (
        "inference: blocks are not turned",
        _PACKED,
        "full.reshape(full.shape[0] // pair, pair, -1, _BLOCK).transpose(2, 0, 3, 1)",
        "full.reshape(-1, full.shape[0] // pair, _BLOCK, pair)",
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
        "        or len(dtypes) > 1\n        or (blocks.ndim == 4) != (x.dtype == jnp.bfloat16)\n",
        "",
        (_KERNELS + "test_another_activation_comes_behind_the_kernel_and_blocks_of_another_dtype_are_not_taken",),
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
        "made.weight.dtype != dtype or made.weight.ndim != (2 if kind is Dense else len(made.kernel) + 2)",
        "made.weight.dtype != dtype",
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
        "inference: a convolution's blocks are not turned",
        _PACKED,
        "apart.transpose(k + 2, k, *range(k), k + 1, k + 3)",
        "apart.transpose(k, k + 2, *range(k), k + 1, k + 3)",
        (_KERNELS + "test_weights_in_any_blocks_are_pytorchs",),
    ),
    (
        "inference: an activation that no kernel knows is lost",
        _LAYERS,
        "return y if known else self.act(y)",
        "return y",
        (_KERNELS + "test_another_activation_comes_behind_the_kernel_and_blocks_of_another_dtype_are_not_taken",),
    ),
    (
        "inference: weights of groups lie in blocks",
        _LAYERS,
        'layer.groups != 1 or layer.padding_mode != "zeros"',
        'layer.padding_mode != "zeros"',
        (_KERNELS + "test_a_convolution_is_the_plain_one",),
    ),
    (
        "inference: bfloat16 goes out as it is inside",
        _LAYERS,
        "a.astype(jnp.float32) if a.dtype == jnp.bfloat16 else a",
        "a",
        (_MODELS + "test_in_bfloat16_it_takes_and_gives_float32",),
    ),
    (
        "predict: a copy is not made anew where weights are others",
        _KEPT,
        "return same and all(ref() is a for ref, a in zip(self.arrays, arrays, strict=True))",
        "return same",
        (_PREDICT + "test_it_follows_the_weights_and_what_else_is_changed",),
    ),
    (
        "predict: a copy is not made anew where the model has another form",
        _KEPT,
        "self.model() is model and self.form == form and",
        "self.model() is model and",
        (_PREDICT + "test_it_follows_the_weights_and_what_else_is_changed",),
    ),
    (
        "predict: a copy outlives the weights",
        _KEPT,
        "weakref.ref(a, forget) for a in arrays",
        "weakref.ref(a) for a in arrays",
        (_PREDICT + "test_it_goes_with_the_weights_and_with_the_model",),
    ),
    (
        "predict: what a call leaves behind is the copy's",
        _KEPT,
        "return all(type(at(model, path) if path else model).__module__.startswith(_CALM) for path in kept_by)",
        "return bool(kept_by) or True",
        (_PREDICT + "test_who_has_none",),
    ),
    (
        "predict: what trains whatever is said does not",
        _KEPT,
        "if any(part.training for part in modules(model).values()):",
        "if False:",
        (_PREDICT + "test_who_has_none",),
    ),
    (
        "predict: a copy that cannot be called is tried again",
        "loop/_evaluate.py",
        "            give_up(model)\n",
        "",
        (_PREDICT + "test_who_has_none",),
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
