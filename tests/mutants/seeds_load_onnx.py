"""Seeded bugs in the reader of ONNX files: name, file, original, replaced, the tests that must catch it."""

_AT = "interchange/onnx_reading/"
_OP = _AT + "operators/"
_T = "tests/interchange/test_load_onnx.py::"


def _case(module: str, name: str) -> tuple[str, ...]:
    return (f"{_T}test_cases_of_the_standard[{module}-{name}]",)


MUTANTS = [
    (
        "load_onnx: the odd place of a pad of equal sizes is at the front",
        _OP + "_convolutions.py",
        'return (small, large) if mode == "SAME_UPPER" else (large, small)',
        'return (large, small) if mode == "SAME_UPPER" else (large, small)',
        _case("conv", "test_conv_with_autopad_same"),
    ),
    (
        "load_onnx: groups of a transposed convolution are mixed up",
        _OP + "_convolutions.py",
        "w = jnp.moveaxis(w, 1, 2).reshape(-1, w.shape[1], *w.shape[3:])",
        "w = jnp.moveaxis(w, 0, 2).reshape(-1, w.shape[1], *w.shape[3:])",
        _case("convtranspose", "test_convtranspose_group_2"),
    ),
    (
        "load_onnx: a window that begins in the pad counts",
        _OP + "_pools.py",
        "count -= (count - 1) * s >= n + a",
        "count -= (count - 1) * s >= n + a + b + k",
        _case("averagepool", "test_averagepool_2d_ceil"),
    ),
    (
        "load_onnx: pads count as numbers of a mean",
        _OP + "_pools.py",
        'if not call.get("count_include_pad", 0):',
        'if call.get("count_include_pad", 0):',
        _case("averagepool", "test_averagepool_2d_ceil"),
    ),
    (
        "load_onnx: peepholes of the forget gate and the output gate are swapped",
        _OP + "_recurrent.py",
        "pi, po, pf = jnp.split(d.p, 3, -1)",
        "pi, pf, po = jnp.split(d.p, 3, -1)",
        _case("lstm", "test_lstm_with_peepholes"),
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
        "load_onnx: a cut backwards ends before the first element",
        _OP + "_moving.py",
        "if step < 0 and high < -length:",
        "if step < 0 and high < -2 * length - 10000:",
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
        """    axes = tuple(range(call.get("axis", -1) % x.ndim, x.ndim))
    full = wide(constant(x))
    mean""",
        """    axes = (call.get("axis", -1) % x.ndim,)
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
        "if len(proto.raw_data) != self._bytes(proto):",
        "if len(proto.raw_data) > self._bytes(proto):",
        (f"{_T}test_sizes_that_are_not_true_are_refused_before_anything_is_made",),
    ),
    (
        "load_onnx: an axis of statistics is trained",
        _AT + "_roles.py",
        '"BatchNormalization": (3, 4),',
        '"BatchNormalization": (3,),',
        (f"{_T}test_statistics_and_settings_are_not_trained",),
    ),
]
