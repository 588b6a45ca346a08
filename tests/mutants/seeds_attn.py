"""Seeded bugs in masks, lengths and under JAX's switches: name, file, original, replaced, the tests that catch it."""

_MASKS = "tests/nn/test_masks.py::"
_REFUSED = _MASKS + "test_what_would_mean_something_else_is_refused"
_SWITCHES = "tests/nn/test_jax_switches.py::"

MUTANTS = [
    (
        "a mask of integers is added to the scores",
        "nn/functional/attention/_checks.py",
        'if name == "mask" and x.dtype != jnp.bool_ and not jnp.issubdtype(x.dtype, jnp.floating):',
        'if name == "mask" and jnp.issubdtype(x.dtype, jnp.complexfloating):',
        (_REFUSED + "[integers in a layer]",),
    ),
    (
        "lengths may be longer than time",
        "nn/functional/attention/_checks.py",
        "if known.size and (known.min() < 0 or known.max() > most):",
        "if known.size and known.min() < 0:",
        (_REFUSED + "[lengths too long]",),
    ),
    (
        "a cache of any number of examples",
        "nn/attention/_attention.py",
        "held != (batch, held[1], *sizes[2:])",
        "held[2:] != sizes[2:]",
        (_REFUSED + "[a cache of another batch]",),
    ),
    (
        "layer normalisation's missing scale is of the default dtype",
        "nn/functional/kernels/_layer_norm.py",
        "scale = jnp.ones(x.shape[-1], x.dtype) if scale is None else scale",
        "scale = jnp.ones(x.shape[-1]) if scale is None else scale",
        (_SWITCHES + "test_float32_stays_float32_in_64_bit_mode[LayerNorm-plain]",),
    ),
    (
        "heads of an empty batch are worked out by division",
        "nn/attention/_attention.py",
        "y.reshape(*y.shape[:2], self.heads * self.head_dim)",
        "y.reshape(*y.shape[:2], -1)",
        (_SWITCHES + "test_an_empty_batch_gives_an_empty_result[MultiHeadAttention-grouped]",),
    ),
    (
        "a kernel under disable_jit calls itself",
        "nn/functional/kernels/_kernels.py",
        "if _compat.jit_is_disabled():",
        "if False:",
        (_SWITCHES + "test_line_by_line_gives_the_same[LayerNorm]",),
    ),
    (
        "a bias is left to JAX's promotion of ranks",
        "nn/functional/_linear.py",
        "(beside(b, y.ndim) if rows is None else rows)",
        "(b if rows is None else rows)",
        (_SWITCHES + "test_layers_promote_no_rank_silently[Dense]",),
    ),
    (
        "symbolic sizes are compared",
        "nn/functional/attention/_attention.py",
        "return isinstance(scores, int) and scores > WHOLE",
        "return scores > WHOLE",
        (_SWITCHES + "test_attention_exports_with_symbolic_time[True]",),
    ),
]
