"""Faults of quantised models in files: which numbers are integers, how they lie, what is rounded, what is beside."""

_ONNX = "tests/interchange/test_onnx_quantized.py::"
_FORMS = _ONNX + "test_a_file_has_the_integers_and_gives_what_the_model_gives"
_LANGUAGE = "tests/compress/test_language.py::"
_SENSITIVITY = "tests/compress/test_sensitivity.py::"
_MODELS = "tests/compress/test_quantized_models.py::"
_RULE = "interchange/onnx/rules/_quantized.py"
_WHOLE = "compress/layers/_whole.py"

MUTANTS = [
    (
        "quantised files: neighbours in a byte are exchanged",
        _RULE,
        "pair = np.stack([both & 15, both >> 4], axis)",
        "pair = np.stack([both >> 4, both & 15], axis)",
        (_FORMS + "[maps-groups]",),
    ),
    (
        "quantised files: four bits lie the other way round in a byte of the file",
        "interchange/onnx/_proto.py",
        "(low | high << 4)",
        "(high | low << 4)",
        (_FORMS + "[maps-groups]",),
    ),
    (
        "quantised files: zeros of weights are left out",
        _RULE,
        'graph.op("DequantizeLinear", codes, scale, *zero, dtype=scale.dtype, **along)',
        'graph.op("DequantizeLinear", codes, scale, dtype=scale.dtype, **along)',
        (_FORMS + "[convolutions-zeros]",),
    ),
    (
        "quantised files: what was rounded comes back without its zero",
        _RULE,
        'graph.op("DequantizeLinear", codes, scale, *zero, dtype=x.dtype, **along)',
        'graph.op("DequantizeLinear", codes, scale, dtype=x.dtype, **along)',
        (_FORMS + "[maps-static]",),
    ),
    (
        "quantised files: all tokens share a scale",
        _WHOLE,
        "scale = jnp.abs(wide).max(tuple(range(1, x.ndim))) / INPUT.most",
        "scale = jnp.broadcast_to(jnp.abs(wide).max() / INPUT.most, x.shape[:1])",
        (_ONNX + "test_tokens_have_scales_of_their_own_at_any_length",),
    ),
    (
        "quantised files: factors are forgotten where nothing is rounded",
        "compress/layers/_linear.py",
        "x = x if self.factors is None else x * self.factors.astype(x.dtype)",
        "x = x if self.inputs is None or self.factors is None else x * self.factors.astype(x.dtype)",
        (_ONNX + "test_factors_go_with_what_comes_in",),
    ),
    (
        "quantised files: gradients stop at rounding",
        _WHOLE,
        "return jnp.where((x >= low) & (x <= high), g, 0), None",
        "return 0 * g, None",
        (_ONNX + "test_a_gradient_of_what_comes_in_is_written_too",),
    ),
    (
        "quantised files: scales keep their place where a weight is turned",
        "interchange/onnx/tidy/_quantized.py",
        '{"axis": order.index(axis)}',
        '{"axis": axis}',
        (_FORMS + "[convolutions-zeros]",),
    ),
    (
        "quantised files: weights are turned by who runs the file",
        "interchange/onnx/tidy/_quantized.py",
        '    "Transpose": (turned_before,),\n',
        "",
        (_ONNX + "test_transposes_of_weights_are_not_left_to_who_runs_the_file",),
    ),
    (
        "quantised files: what rounds may differ as little as what does not",
        "interchange/_proving.py",
        "rounded = [jnp.bfloat16] if _rounds(program) else []",
        "rounded = []",
        (_ONNX + "test_what_rounds_may_go_to_either_neighbour_and_what_does_not_may_not",),
    ),
    (
        "quantised files: the file beside is that of the smaller model",
        "interchange/_beside.py",
        "target.write(self.programs, Path(place))",
        "target.write(smaller, Path(place))",
        (_ONNX + "test_the_report_has_the_file_beside_that_of_floats[int8-0.3]",),
    ),
    (
        "quantised files: rows are alike whatever they say",
        "interchange/_beside.py",
        "(ours.argmax(-1) == theirs.argmax(-1))",
        "(ours.argmax(-1) == ours.argmax(-1))",
        (_ONNX + "test_the_report_has_the_file_beside_that_of_floats[groups-0.2]",),
    ),
    (
        "quantize: GPTQ's bias makes up in the wrong direction",
        "compress/calibration/_gptq.py",
        "return (layer.bias + lost.reshape(-1))",
        "return (layer.bias - lost.reshape(-1))",
        (_LANGUAGE + "test_a_bias_makes_up_for_the_mean_and_rows_for_what_is_about_it[True]",),
    ),
    (
        "quantize: GPTQ's rows make up for the mean too",
        "compress/calibration/_gptq.py",
        "about = gram - sums[:, :, None] * sums[:, None] / float(seen.count)",
        "about = gram + 0 * sums[:, :, None]",
        (_LANGUAGE + "test_a_bias_makes_up_for_the_mean_and_rows_for_what_is_about_it[True]",),
    ),
    (
        "quantize: a share goes to those that lose most in all",
        "compress/calibration/_sensitivity.py",
        "-self.errors[path] / self.sizes[path]",
        "-self.errors[path]",
        (_SENSITIVITY + "test_a_share_of_all_numbers_goes_to_those_that_lose_most_for_each",),
    ),
    (
        "quantize: the biases of a copy are not tried",
        "compress/calibration/_sensitivity.py",
        '("weight", "bias") if getattr',
        '("weight",) if getattr',
        (_SENSITIVITY + "test_errors_of_a_copy_are_those_of_its_layers_one_at_a_time",),
    ),
    (
        "quantize: another kind of float8 is stored",
        "compress/_scheme.py",
        '{"e4m3": jnp.float8_e4m3fn, "e5m2": jnp.float8_e5m2}',
        '{"e4m3": jnp.float8_e5m2, "e5m2": jnp.float8_e5m2}',
        (_MODELS + "test_floats_of_8_bits_keep_so_many_digits_of_every_number",),
    ),
]
