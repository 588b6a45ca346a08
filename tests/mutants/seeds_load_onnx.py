"""Seeded bugs in the reader of ONNX files: name, file, original, replaced, the tests that must catch it."""

_AT = "interchange/onnx_reading/"
_OP = _AT + "operators/"
_T = "tests/interchange/test_load_onnx.py::"
_M = "tests/interchange/test_load_onnx_microsoft.py::"


def _case(module: str, name: str) -> tuple[str, ...]:
    return (f"{_T}test_cases_of_the_standard[{module}-{name}]",)


MUTANTS = [
    (
        "load_onnx: boxes whose corners are the other way round cover nothing",
        _OP + "_boxes.py",
        "np.concatenate([np.minimum(first, second), np.maximum(first, second)], -1)",
        "np.concatenate([first, second], -1)",
        (f"{_T}test_how_many_boxes_stay_is_not_known_in_a_transform",),
    ),
    (
        "load_onnx: the odd place of a pad of equal sizes is at the front",
        _OP + "_convolutions.py",
        'return (small, large) if mode == "SAME_UPPER" else (large, small)',
        'return (large, small) if mode == "SAME_UPPER" else (large, small)',
        (f"{_T}test_pools_count_what_is_in_their_windows",),
    ),
    (
        "load_onnx: the odd place is cut at the front of a transposed convolution",
        _OP + "_convolutions.py",
        'return halves if mode == "SAME_UPPER" else [(b, a) for a, b in halves]',
        'return halves if mode == "SAME_LOWER" else [(b, a) for a, b in halves]',
        _case("convtranspose", "test_convtranspose_autopad_same"),
    ),
    (
        "load_onnx: a window that begins in the pad counts",
        _OP + "_pools.py",
        "count -= (count - 1) * s >= n + a",
        "count -= (count - 1) * s >= n + a + b + k",
        (f"{_T}test_pools_count_what_is_in_their_windows",),
    ),
    (
        "load_onnx: pads count as numbers of a mean",
        _OP + "_pools.py",
        '(low, high) if call.get("count_include_pad", 0) else (0, 0)',
        '(0, 0) if call.get("count_include_pad", 0) else (low, high)',
        (f"{_T}test_pools_count_what_is_in_their_windows",),
    ),
    (
        "load_onnx: peepholes of the forget gate and the output gate are swapped",
        _OP + "_recurrent.py",
        "pi, po, pf = jnp.split(d.p, 3, -1)",
        "pi, pf, po = jnp.split(d.p, 3, -1)",
        (f"{_T}test_peepholes_are_those_of_their_gates",),
    ),
    (
        "load_onnx: the update gate keeps what is new",
        _OP + "_recurrent.py",
        "return ((1 - z) * new + z * h,)",
        "return (z * new + (1 - z) * h,)",
        _case("gru", "test_gru_batchwise"),
    ),
    (
        "load_onnx: the last of equals comes first",
        _OP + "_indexing.py",
        'stable=True, descending=bool(call.get("largest", 1))',
        "stable=True, descending=True",
        _case("topk", "test_top_k_smallest"),
    ),
    (
        "load_onnx: a cut backwards goes forwards",
        _OP + "_moving.py",
        "high >= _FAR else high, step)",
        "high >= _FAR else high, abs(step))",
        _case("slice", "test_slice_neg_steps"),
    ),
    (
        "load_onnx: an exclusive sum has its own number in it",
        _OP + "_reductions.py",
        'if call.get("exclusive", 0):',
        'if call.get("exclusive", 1) == 2:',
        _case("cumsum", "test_cumsum_1d_reverse_exclusive"),
    ),
    (
        "load_onnx: a layer's norm is over one axis alone",
        _OP + "_norms.py",
        """    axes = tuple(range(call.axis(call.get("axis", -1), x.ndim), x.ndim))
    full = wide(constant(x))
    mean""",
        """    axes = (call.axis(call.get("axis", -1), x.ndim),)
    full = wide(constant(x))
    mean""",
        _case("layernormalization", "test_layer_normalization_4d_axis1"),
    ),
    (
        "load_onnx: a cubic kernel with another coefficient",
        _OP + "_images.py",
        'call.get("cubic_coeff_a", -0.75)',
        'call.get("cubic_coeff_a", -0.5)',
        _case("resize", "test_resize_upsample_scales_cubic_asymmetric"),
    ),
    (
        "load_onnx: the zero of a kernel is forgotten",
        _OP + "_quantised.py",
        "_whole(w, zw, [-1] + [1] * (w.ndim - 1))",
        "_whole(w, 0 * constant(zw), [-1] + [1] * (w.ndim - 1))",
        _case("qlinearconv", "test_qlinearconv"),
    ),
    (
        "load_onnx: softmax of old versions is along one axis",
        _OP + "_activations.py",
        "if call.version >= 13 or call.node.domain:",
        "if call.version >= 1 or call.node.domain:",
        (f"{_T}test_softmax_of_old_versions_is_along_all_axes_from_one_on",),
    ),
    (
        "load_onnx: a loop runs its flag once too often",
        _OP + "_control.py",
        "return jax.lax.while_loop(lambda s: (s[0] < limit) & s[1], step, start)[2:]",
        "return jax.lax.while_loop(lambda s: s[0] < limit, step, start)[2:]",
        (f"{_T}test_a_loop_that_numbers_end_is_one_under_a_transform_too",),
    ),
    (
        "load_onnx: files outside the folder are read",
        _AT + "_tensors.py",
        "path = (folder / location).resolve()",
        "path = folder / location",
        (f"{_T}test_weights_in_a_file_beside_it",),
    ),
    (
        "load_onnx: sizes are believed",
        _AT + "_tensors.py",
        "start + size > path.stat().st_size:",
        "start > path.stat().st_size:",
        (f"{_T}test_weights_in_a_file_beside_it",),
    ),
    (
        "load_onnx: an axis of statistics is trained",
        _AT + "_roles.py",
        '"BatchNormalization": (3, 4),',
        '"BatchNormalization": (3,),',
        (f"{_T}test_statistics_and_settings_are_not_trained",),
    ),
    (
        "load_onnx: kernels of transposed convolutions are turned like the others",
        _AT + "_layout.py",
        "((0, 1) if transposed else (1, 0))",
        "((1, 0) if transposed else (1, 0))",
        (f"{_T}test_kernels_have_the_order_of_the_house",),
    ),
    (
        "load_onnx: a transpose that is only said is said the other way round",
        _OP + "_shapes.py",
        "[turn.index(a) for a in order_of(x)]",
        "[turn[a] for a in order_of(x)]",
        (f"{_T}test_what_was_exported_comes_back[conv-space]",),
    ),
    (
        "load_onnx: a number for each channel stands beside the last axis of the file",
        _AT + "_layout.py",
        "return x if x.ndim == rank else plain(x).reshape((1,) * (rank - x.ndim) + x.shape)",
        "return x if x.ndim == rank else plain(x).reshape(x.shape + (1,) * (rank - x.ndim))",
        (f"{_T}test_numbers_beside_channels_that_lie_last",),
    ),
    (
        "load_onnx: scales behind a concatenation are trained",
        _AT + "_roles.py",
        '"program" if name in sizes else _role',
        '"program" if name in fixed else _role',
        (f"{_T}test_what_sizes_are_computed_from_is_no_weight",),
    ),
    (
        "load_onnx: weights of two branches have one name",
        _AT + "_lifting.py",
        "        while found in taken:",
        "        while not found:",
        (f"{_T}test_weights_of_branches_and_loops_have_names_and_gradients",),
    ),
    (
        "load_onnx: the other branch is taken",
        _OP + "_control.py",
        "*map(branch, branches)",
        "*map(branch, branches[::-1])",
        (f"{_T}test_weights_of_branches_and_loops_have_names_and_gradients",),
    ),
    (
        "load_onnx: a long loop has a step too few",
        _OP + "_control.py",
        "jnp.arange(count, dtype=canonical(np.int64))",
        "jnp.arange(count - 1, dtype=canonical(np.int64))",
        (f"{_T}test_a_long_loop_of_known_length_stacks_and_has_gradients",),
    ),
    (
        "load_onnx: pads that are an attribute are not seen",
        _OP + "_moving.py",
        'call.axes(pads, "pads") or []',
        'call.axes(pads, "pad") or [0] * (2 * x.ndim)',
        (f"{_T}test_old_versions_have_their_own_forms",),
    ),
    (
        "load_onnx: four bits are read from the high end",
        _OP + "microsoft/_quantised.py",
        "np.arange(0, 8, bits, dtype=np.uint8)",
        "np.arange(8 - bits, -1, -bits).astype(np.uint8)",
        (f"{_M}test_beside_onnxruntime[MatMulNBits]",),
    ),
    (
        "load_onnx: a length is one more than there is",
        _OP + "microsoft/_attention.py",
        "inside = at < mask[:batch, None]",
        "inside = at <= mask[:batch, None]",
        (f"{_M}test_beside_onnxruntime[Attention]",),
    ),
    (
        "load_onnx: a query with a memory sees what comes after it",
        _OP + "microsoft/_attention.py",
        "columns <= rows + k.shape[2] - q.shape[2]",
        "columns <= rows + k.shape[2]",
        (f"{_M}test_beside_onnxruntime[Attention, causal]",),
    ),
    (
        "load_onnx: one of the scales is left out",
        _OP + "microsoft/_quantised.py",
        "(constant(sa) * constant(sb) * np.float32(call.get",
        "(constant(sa) * constant(sa) * np.float32(call.get",
        (f"{_M}test_beside_onnxruntime[QGemm]",),
    ),
]
