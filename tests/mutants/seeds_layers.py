"""Seeded bugs in layers: name, file, original, replaced, the tests that must catch it."""

_TORCH = "tests/nn/test_contract.py::test_value_and_gradients_are_pytorchs"
_LAYERS = "tests/nn/test_layers.py::"
_BATCH_NORM = _LAYERS + "test_batch_norm_trains_like_torch_over_several_steps[0.6-rows]"

MUTANTS = [
    (
        "biased running variance",
        "nn/functional/_norm.py",
        "return y, mean, var * (count / (count - 1))",
        "return y, mean, var",
        (_BATCH_NORM,),
    ),
    (
        "running statistics keep the new batch's share of the old",
        "nn/normalisation/_norm.py",
        "(1 - momentum) * running + momentum * jax.lax.stop_gradient(batch)",
        "momentum * running + (1 - momentum) * jax.lax.stop_gradient(batch)",
        (_BATCH_NORM,),
    ),
    (
        "running mean and variance swapped",
        "nn/normalisation/_norm.py",
        "self.mean, self.var = mean, var",
        "self.var, self.mean = mean, var",
        (_BATCH_NORM,),
    ),
    (
        "dropout keeps p and drops 1 - p",
        "nn/functional/_dropout.py",
        "return jax.random.bernoulli(key, 1.0 - jnp.asarray(p), shape)",
        "return jax.random.bernoulli(key, jnp.asarray(p), shape)",
        (_LAYERS + "test_dropout_zeroes_a_share_of_p_and_keeps_the_mean[0.1]",),
    ),
    (
        "dropout does not enlarge what it keeps",
        "nn/functional/_dropout.py",
        "return jnp.where(kept, array * _gain(p).astype(array.dtype), 0.0)",
        "return jnp.where(kept, array, 0.0)",
        (_LAYERS + "test_dropout_zeroes_a_share_of_p_and_keeps_the_mean[0.1]",),
    ),
    (
        "dropout's mask varies along the other axes",
        "nn/functional/_dropout.py",
        "shape = tuple(size if i in varies else 1 for",
        "shape = tuple(1 if axis is not None and i in varies else size for",
        (_LAYERS + "test_dropout_shares_its_mask_along_the_other_axes",),
    ),
    (
        "Dense ignores its bias",
        "nn/features/_dense.py",
        "return act(F.dense(x, weight, bias))",
        "return act(F.dense(x, weight, None if bias is None else 0 * bias))",
        (_TORCH + "[Dense]",),
    ),
    (
        "Conv exchanges stride and dilation",
        "nn/space/_conv.py",
        "stride=self.stride, padding=self.padding, dilation=self.dilation,",
        "stride=self.dilation, padding=self.padding, dilation=self.stride,",
        (_LAYERS + "test_conv_of",),
    ),
    (
        "initial weights ten times too large",
        "nn/init/_random.py",
        "std = self.gain / math.sqrt(max(fan, 1))",
        "std = 10 * self.gain / math.sqrt(max(fan, 1))",
        (_LAYERS + "test_weights_start_uniform_by_glorot",),
    ),
    (
        "glorot by the inputs alone",
        "nn/init/_random.py",
        '"fan_avg": (fan_in + fan_out) / 2}',
        '"fan_avg": fan_in}',
        (_LAYERS + "test_weights_start_uniform_by_glorot",),
    ),
    (
        "a skip connection exchanges its operands",
        "nn/containers/_containers.py",
        "return self.combine(self.layer(x), x)",
        "return self.combine(x, self.layer(x))",
        (_LAYERS + "test_skip_connection_gives_result_then_input",),
    ),
]
