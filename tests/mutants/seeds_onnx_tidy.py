"""Seeded bugs in the tidying of graphs: name, file, original, replaced, the tests that must catch it."""

_AT = "interchange/onnx/tidy/"
_T = "tests/interchange/test_onnx_tidy.py::"

MUTANTS = [
    (
        "a reduction past a transpose keeps its axes",
        f"{_AT}_layout.py",
        "gone = sorted(order[a] for a in axes)",
        "gone = sorted(axes)",
        (f"{_T}test_transposes_cancel_across_a_block", f"{_T}test_transposes_move_past"),
    ),
    (
        "a pad past a transpose is turned the wrong way",
        f"{_AT}_layout.py",
        "counts = np.asarray([*(pads[i] for i in back), *(pads[rank + i] for i in back)])",
        "counts = np.asarray([*(pads[i] for i in order), *(pads[rank + i] for i in order)])",
        (f"{_T}test_transposes_move_past",),
    ),
    (
        "a constant past a transpose is turned the wrong way",
        f"{_AT}_layout.py",
        "_short(full.transpose(back))",
        "_short(full.transpose(order))",
        (f"{_T}test_transposes_cancel_across_a_block", f"{_T}test_transposes_move_past"),
    ),
    (
        "rows that see nothing are no longer zeros",
        f"{_AT}_softmax.py",
        "if found.guarded and not _is_finite_somewhere(found.x, found.axis):",
        "if False:",
        (f"{_T}test_rows_that_see_nothing_stay_zero",),
    ),
    (
        "a softmax of the sum along another axis",
        f"{_AT}_softmax.py",
        "summed.x is not powers.outputs[0] or summed.axes != (found.axis,)",
        "summed.x is not powers.outputs[0]",
        (f"{_T}test_softmax_is_recognised_along_one_axis_alone",),
    ),
    (
        "a gelu of other numbers",
        f"{_AT}_gelu.py",
        "return abs(a - b) < 1e-5 * abs(b)",
        "return abs(a - b) < 0.2 * abs(b)",
        (f"{_T}test_other_numbers_make_no_gelu",),
    ),
    (
        "a layer norm whose variance is of something else",
        f"{_AT}_norms.py",
        "    if _is_mean_square(value, c, axes):\n        return True\n",
        "    if made_by(value, 'ReduceMean', 'Sub') is not None:\n        return True\n",
        (f"{_T}test_what_only_looks_like_layer_norm_is_left",),
    ),
    (
        "epsilon of the batch norm is forgotten",
        f"{_AT}_batch_norm.py",
        "[x, scale, bias, mean, var], epsilon=spread[1])",
        "[x, scale, bias, mean, var])",
        (f"{_T}test_batch_norm_keeps_the_statistics_and_their_names",),
    ),
    (
        "an expand that makes the result goes too",
        f"{_AT}_clean.py",
        "if broadcast([*rest, sizes(source)]) == result:",
        "if True:",
        (f"{_T}test_expands_go_where_broadcasting_does_the_same",),
    ),
    (
        "casts go that round",
        f"{_AT}_clean.py",
        "if kind is None or WIDTHS.get(kind.name, 9) >= WIDTHS.get(between.name, 0):",
        "if kind is None:",
        (f"{_T}test_casts_go_where_they_lose_nothing",),
    ),
    (
        "a shared weight is turned, and there twice",
        f"{_AT}_fold.py",
        "if v is not None and alone(v) and v.const_value",
        "if v is not None and v.const_value",
        (f"{_T}test_a_shared_weight_stays_one",),
    ),
    (
        "rows are flattened across axes",
        f"{_AT}_linear.py",
        "if lead[-1] != rows[-1] or lead[-1] is None or not same_sizes((*lead[:-1], matrix[1]), wanted):",
        "if False:",
        (f"{_T}test_rows_need_not_be_flattened_for_a_product",),
    ),
]
