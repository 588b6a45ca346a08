"""Seeded bugs in numerics: sums in 16 bits, kinks and NaN of losses, metrics of one's own."""

_SUMS = "tests/nn/functional/test_sums_in_16_bits.py::test_gradients_are_those_of_float32_rounded_once"
_KINKS = "tests/losses/test_kinks.py::"
_TORCH = _KINKS + "test_values_and_gradients_are_torchs[float32-"
_OWN = "tests/metrics/test_own.py::"

MUTANTS = [
    (
        "the gradient of a copy is summed in 16 bits",
        "nn/functional/_numeric.py",
        "return copies(x, *rest), copy(widen(dx), *rest).astype(x.dtype)",
        "return copies(x, *rest), copy(dx, *rest)",
        (_SUMS + "[embedding-bfloat16]",),
    ),
    (
        "a convolution's bias is broadcast plainly",
        "nn/functional/space/_conv.py",
        "return y + (spread(bias, y.shape) if bias.dtype == y.dtype else beside(bias, y.ndim))",
        "return y + bias",
        (_SUMS + "[conv_transpose bias-bfloat16]",),
    ),
    (
        "gather sums in 16 bits",
        "nn/functional/_gather.py",
        'return copied(lambda v, *at: v.at[at].get(mode="fill"), x, *indices)',
        'return x.at[indices].get(mode="fill")',
        (_SUMS + "[gather-bfloat16]",),
    ),
    (
        "an exact prediction has a slope",
        "losses/_safe.py",
        "return x * jax.lax.stop_gradient(jnp.sign(x))",
        "return jnp.abs(x)",
        (_TORCH + "mae]",),
    ),
    (
        "huber's slope at infinity is that of the formula",
        "losses/_regression.py",
        "[jnp.clip(error, -delta, delta) * d_error]",
        "[jnp.sign(error) * (jnp.abs(error) - jnp.maximum(jnp.abs(error) - delta, 0)) * d_error]",
        (_TORCH + "huber]",),
    ),
    (
        "equal scores are not pushed",
        "losses/_safe.py",
        "jnp.where(x >= 0, 1, jnp.where(x < 0, 0, x)) * dx",
        "jnp.where(x > 0, 1, jnp.where(x <= 0, 0, x)) * dx",
        (_TORCH + "margin_ranking]",),
    ),
    (
        "a hinge at NaN has slope 0",
        "losses/_safe.py",
        "jnp.where(x > 0, 1, jnp.where(x <= 0, 0, x)) * dx",
        "jnp.where(x > 0, 1, 0) * dx",
        (_KINKS + "test_nan_does_not_vanish[hinge]",),
    ),
    (
        "an infinite logarithm meets a weight of 0",
        "losses/_safe.py",
        "return jnp.where((weight == 0) & jnp.isinf(log_p), 0, log_p)",
        "return log_p",
        (_KINKS + "test_where_torch_is_wrong_mathematics_decides[infinite logits that are right]",),
    ),
    (
        "a label listed twice counts once",
        "losses/_margin.py",
        "return jnp.sum(hot, axis=-2)",
        "return jnp.any(hot, axis=-2)",
        (_KINKS + "test_a_label_listed_twice_counts_twice",),
    ),
    (
        "vectors are squared as they are",
        "nn/functional/_distance.py",
        "scale = squarable(x, axes)",
        "scale = jnp.ones(())",
        (_KINKS + "test_where_torch_is_wrong_mathematics_decides[their similarity]",),
    ),
    (
        "a label without positives spoils the weighted mean",
        "metrics/_ranking.py",
        "jnp.sum(jnp.where(share == 0, 0, areas * share))",
        "jnp.sum(areas * share)",
        (_OWN + "test_average_precision_of_labels_of_which_one_has_no_positives",),
    ),
    (
        "an update of one's own is passed over",
        "metrics/_metric.py",
        "cls._own_update = True",
        "cls._own_update = False",
        (_OWN + "test_an_update_of_ones_own_is_what_a_collection_and_evaluate_call",),
    ),
    (
        "rows that do not sum to 1 look like probabilities",
        "losses/_probabilities.py",
        "return bool(np.all(np.abs(rows.sum(-1) - 1) <= off))",
        "return bool(np.any(np.abs(rows.sum(-1) - 1) <= off))",
        (_KINKS + "test_what_looks_like_probabilities",),
    ),
]
