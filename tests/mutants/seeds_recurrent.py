"""Seeded bugs in recurrence and state-space layers: name, file, original, replaced, the tests that must catch it."""

_LAYERS = "tests/nn/test_recurrent.py::"
_PACKED = _LAYERS + "test_packed_sequences_in_both_directions_are_pytorchs"
_MODES = "tests/nn/test_recurrent_derivatives.py::test_all_modes_give_the_plain_loops_numbers[lstm-projected0]"
_SPACE = "tests/nn/test_state_space.py::"
_TORCH = "tests/nn/test_contract.py::test_value_and_gradients_are_pytorchs"
_CELLS = "nn/functional/recurrence/_cells.py"
_LOOP = "nn/functional/recurrence/_loop.py"
_FORM = "nn/functional/recurrence/_form.py"

MUTANTS = [
    (
        "LSTM exchanges its input and forget gates",
        _CELLS,
        "i, f, g, o = jnp.split(x + product(0, h), 4, -1)",
        "f, i, g, o = jnp.split(x + product(0, h), 4, -1)",
        (_PACKED + "[LSTM]",),
    ),
    (
        "LSTM's output passes through no activation",
        _CELLS,
        "h = jax.nn.sigmoid(o) * act(c)",
        "h = jax.nn.sigmoid(o) * c",
        (_PACKED + "[LSTM]",),
    ),
    (
        "GRU's update gate keeps the new for the old",
        _CELLS,
        "n = act(xn + r * hn)\n    return ((1 - z) * n + z * h,)",
        "n = act(xn + r * hn)\n    return ((1 - z) * h + z * n,)",
        (_PACKED + "[GRU]",),
    ),
    (
        "GRU's second bias stands outside the reset",
        _CELLS,
        "bias = jnp.concatenate([jnp.zeros(2 * size, given.dtype), given])",
        "bias = jnp.concatenate([given, jnp.zeros(2 * size, given.dtype)])",
        (_PACKED + "[GRU]",),
    ),
    (
        "GRU resets after the product where it should before",
        _CELLS,
        "n = act(xn + product(1, r * h))",
        "n = act(xn + r * product(1, h))",
        (_TORCH + "[GRU-before]",),
    ),
    (
        "the weights get no tangent",
        _LOOP,
        "tap = None\n    if d is not None:",
        "tap = None\n    if d is not None and bias is not None:",
        (_MODES,),
    ),
    (
        "a later product's tangent misses the earlier one",
        _LOOP,
        "d_v = slope(d_carry, d_x, d_products)[1][k]",
        "d_v = slope(d_carry, d_x, tuple(map(jnp.zeros_like, d_products)))[1][k]",
        (_MODES,),
    ),
    (
        "a padded step moves the state",
        _LOOP,
        "    if flags.real is None:\n        return new",
        "    if flags.real is None or len(new) == 1:\n        return new",
        (_LAYERS + "test_padding_of_any_content_changes_nothing[GRU]",),
    ),
    (
        "padded inputs enter the product",
        _FORM,
        "x = self.x if real is None else jnp.where(real[..., None], self.x, 0)",
        "x = self.x",
        (_LAYERS + "test_padding_of_any_content_changes_nothing[LSTM]",),
    ),
    (
        "truncation is off by one step",
        _FORM,
        "return (at % self.truncate == 0) & (at != 0)",
        "return (at % self.truncate == 1) & (at != 0)",
        (_LAYERS + "test_truncation_is_pytorchs_detach_at_the_borders",),
    ),
    (
        "lengths count one step too many",
        _FORM,
        "return jnp.arange(time)[None] < given[:, None]",
        "return jnp.arange(time)[None] <= given[:, None]",
        (_PACKED + "[RNN]",),
    ),
    (
        "the backward direction runs forward",
        "nn/recurrence/_recurrent.py",
        "lengths, mask, reverse=i > at)",
        "lengths, mask, reverse=False)",
        (_PACKED + "[RNN]",),
    ),
    (
        "dropout stands before the first layer too",
        "nn/recurrence/_recurrent.py",
        "if at and self.between is not None:",
        "if self.between is not None:",
        (_LAYERS + "test_dropout_stands_between_layers_and_nowhere_else",),
    ),
    (
        "the carried state does not move",
        "nn/recurrence/_recurrent.py",
        "self.carried = tuple(jax.lax.stop_gradient(end).astype(old.dtype) for end, old in kept)",
        "self.carried = tuple(jax.lax.stop_gradient(old).astype(end.dtype) for end, old in kept)",
        (_LAYERS + "test_a_carried_state_is_the_whole_sequence_in_parts",),
    ),
    (
        "the forget gate starts with the input gate's bias",
        "nn/recurrence/_cells.py",
        "self.bias.at[hidden_size : 2 * hidden_size].set(forget_bias)",
        "self.bias.at[:hidden_size].set(forget_bias)",
        (_LAYERS + "test_gates_start_orthogonal_by_glorot_and_remember",),
    ),
    (
        "affine maps are composed in the wrong order",
        "nn/functional/recurrence/_state_space.py",
        "return one[0] * two[0], two[0] * one[1] + two[1]",
        "return one[0] * two[0], one[0] * two[1] + one[1]",
        (_SPACE + "test_linear_recurrence_is_the_loop[False]",),
    ),
    (
        "the selective scan forgets the step in its input",
        "nn/functional/recurrence/_state_space.py",
        "(delta * x)[..., None] * b[:, :, None, :]\n",
        "x[..., None] * b[:, :, None, :]\n",
        (_SPACE + "test_selective_scan_is_the_loop_for_every_chunk",),
    ),
    (
        "the zero-order hold misses the division by the rate",
        "nn/functional/recurrence/_state_space.py",
        "return decay, (decay - 1) / rate",
        "return decay, decay - 1",
        (_SPACE + "test_s4d_is_scipys_discretisation_of_the_continuous_system",),
    ),
    (
        "linear attention sees later steps of its chunk",
        "nn/functional/recurrence/_state_space.py",
        "weights = jnp.where(jnp.tri(chunk, dtype=bool)[:, None],",
        "weights = jnp.where(jnp.tri(chunk, k=1, dtype=bool)[:, None],",
        (_SPACE + "test_linear_attention_is_the_matrix_of_weights[True]",),
    ),
    (
        "the convolution's window loses a step between calls",
        "nn/recurrence/_state_space.py",
        "return act(y.astype(u.dtype)), seen[:, steps:]",
        "return act(y.astype(u.dtype)), jnp.roll(seen, 1, 1)[:, steps:]",
        (_SPACE + "test_one_step_at_a_time_and_in_parts_is_the_parallel_form[Mamba]",),
    ),
]
