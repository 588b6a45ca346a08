"""Seeded bugs in matching weights and in the room of models: name, file, original, replaced, the tests."""

_CONVERT = "tests/weights/test_convert.py::"
_RECURRENT = "tests/weights/test_convert_recurrent.py::"
_FOLDERS = "tests/models/test_folders.py::"
_RESNET = "tests/models/test_resnet.py::"

MUTANTS = [
    (
        "kernels of PyTorch keep in before out",
        "weights/matching/_layouts.py",
        "return (axes - 1, axes - 2, *range(axes - 2))",
        "return (axes - 2, axes - 1, *range(axes - 2))",
        (_CONVERT + "test_the_same_names_in_pytorch_s_layout",),
    ),
    (
        "transposed convolutions of Flax are not turned round",
        "weights/matching/_layouts.py",
        '{"Embedding.weight": ("embedding",), "weight": ("kernel",)}, {}, (ConvTranspose,), separator',
        '{"Embedding.weight": ("embedding",), "weight": ("kernel",)}, {}, (), separator',
        (_CONVERT + "test_flax_answers_alike",),
    ),
    (
        "Flux's kernels have the height first",
        "weights/matching/_layouts.py",
        "return (*reversed(range(axes - 2)), axes - 2, axes - 1)",
        "return (*range(axes - 2), axes - 2, axes - 1)",
        (_CONVERT + "test_flux_convolves_and_keeps_width_first",),
    ),
    (
        "every part of a fused array is the first",
        "weights/matching/_slots.py",
        "part = slice(self.start, self.start + self.shape_there[self.along])",
        "part = slice(0, self.shape_there[self.along])",
        (_CONVERT + "test_a_map_reads_both_ways_fused_stacked_and_odd_arrays",),
    ),
    (
        "of two names as close, one is taken",
        "weights/matching/_guess.py",
        "return ranked[0][1] if ranked[0][0] > ranked[1][0] else None",
        "return ranked[0][1]",
        (_CONVERT + "test_what_nobody_can_tell_is_refused_with_the_candidates_and_nothing_is_written",),
    ),
    (
        "two layouts that fit alike are no question",
        "weights/matching/_convert.py",
        "return any(form != forms[0] for form in forms)",
        "return False",
        (_CONVERT + "test_square_weights_of_the_same_names_need_to_be_told_the_layout",),
    ),
    (
        "Keras' gates stay where they are",
        "weights/matching/_recurrent.py",
        "order = (1, 0, 2) if",
        "order = (0, 1, 2) if",
        (_RECURRENT + "test_layers_of_keras[GRU]",),
    ),
    (
        "the bias behind the reset gate is added before it",
        "weights/matching/_recurrent.py",
        "outer, inner = first[2 * hidden :], state[2 * hidden :]",
        "outer, inner = (first + state)[2 * hidden :], 0 * state[2 * hidden :]",
        (_RECURRENT + "test_layers_of_pytorch[GRU]",),
    ),
    (
        "backward cells come after all forward ones",
        "weights/matching/_recurrent.py",
        'int(layer["layer"]) * (1 + both) + bool(layer["reverse"])',
        'int(layer["layer"]) + 2 * bool(layer["reverse"])',
        (_RECURRENT + "test_layers_of_pytorch[LSTM]",),
    ),
    (
        "a fused array may be longer than its parts",
        "weights/matching/_slots.py",
        "return tuple(shape) == self.expected",
        "return tuple(shape) == self.expected or (self.whole > 0 and shape[self.along] > self.whole)",
        (_CONVERT + "test_a_map_reads_both_ways_fused_stacked_and_odd_arrays",),
    ),
    (
        "a stack there is not looked at whole",
        "weights/matching/_slots.py",
        "return one if self.apart else (*self.stacked, *one)",
        "return one",
        (_CONVERT + "test_stacks_from_layers_apart_or_stacked_there_too",),
    ),
    (
        "transposed convolutions of Flux keep in before out",
        "weights/matching/_layouts.py",
        "return (*reversed(range(axes - 2)), axes - 1, axes - 2)",
        "return (*reversed(range(axes - 2)), axes - 2, axes - 1)",
        (_CONVERT + "test_transposed_convolutions_of_flux_are_the_adjoint_of_its_convolutions",),
    ),
    (
        "counts of batches are not written",
        "weights/matching/_names.py",
        "{**written(slots, values), **self._counts(slots, model)}",
        "written(slots, values)",
        (
            _CONVERT + "test_a_map_reads_both_ways_fused_stacked_and_odd_arrays",
            _RESNET + "test_written_here_and_loaded_there",
        ),
    ),
    (
        "another head is read from the file",
        "models/_loading.py",
        "return found.family.heads if config.classes != found.config.classes else ()",
        "return ()",
        (_FOLDERS + "test_another_head",),
    ),
    (
        "a trunk alone is asked for its head",
        "models/_loading.py",
        "config.without_head() if trunk and task is None and classes is None else config",
        "config",
        (_FOLDERS + "test_a_trunk_alone_has_no_head_until_one_is_asked_for",),
    ),
    (
        "the head learns more slowly too",
        "models/_depth.py",
        "learning_rate * decay**k for",
        "learning_rate * decay ** (k + 1) for",
        (_FOLDERS + "test_depth",),
    ),
    (
        "unknown entries of a config go by in silence",
        "models/_config.py",
        "        _warn_of_unknown(cls, entries, hints)\n",
        "",
        (_FOLDERS + "test_what_is_not_known_is_said",),
    ),
    (
        "the stride of a bottleneck stands at the first convolution",
        "models/vision/_resnet.py",
        "early, late = (stride, 1) if config.downsample_in_bottleneck else (1, stride)",
        "early, late = (stride, 1)",
        (_RESNET + "test_bottlenecks_answer_learn_and_keep_statistics_as_the_hub_s",),
    ),
    (
        "the first stage halves the size whatever the config says",
        "models/vision/_resnet.py",
        "stride = 2 if i or config.downsample_in_first_stage else 1",
        "stride = 2",
        (_RESNET + "test_bottlenecks_answer_learn_and_keep_statistics_as_the_hub_s",),
    ),
    (
        "no activation after the sum of a residual block",
        "models/vision/_resnet.py",
        "x if self.shortcut is None else self.shortcut(x), self.act)",
        "x if self.shortcut is None else self.shortcut(x))",
        (_RESNET + "test_in_float32",),
    ),
]
