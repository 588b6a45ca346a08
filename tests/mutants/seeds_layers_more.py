"""Seeded bugs in the further layers, by family: name, file, original, replaced, the tests that must catch it."""

_POOLS = "tests/nn/functional/test_pool.py::"
_TORCH = "tests/nn/test_contract.py::test_value_and_gradients_are_pytorchs"
_NORM = "tests/nn/test_layers_norm.py::"
_NOISE = "tests/nn/test_layers_noise.py::"
_CONTAINERS = "tests/nn/test_layers_containers.py::"
_EMBEDDING = "tests/nn/test_layers_embedding.py::"
_SIZES = "tests/nn/test_layers_sizes.py::"
_SPACE = "tests/nn/test_layers_space.py::"

MUTANTS = [
    (
        "every one of equal largest elements takes the gradient of a pool",
        "nn/functional/space/_pool.py",
        "lax.broadcasted_iota(jnp.int32, x.shape, axis) == jnp.argmax(x, axis, keepdims=True)",
        "x == jnp.max(x, axis, keepdims=True)",
        (_POOLS + "test_max_pool_matches_torch", _POOLS + "test_adaptive_max_pool_matches_torch"),
    ),
    (
        "the padding of a mean pool counts always",
        "nn/functional/space/_pool.py",
        "given[axis], axis, count_include_pad, total)",
        "given[axis], axis, True, total)",
        (_POOLS + "test_mean_pool_matches_torch",),
    ),
    # normalisation
    (
        "InstanceNorm infers by the batch's own statistics",
        "nn/normalisation/_group_norm.py",
        "if self.track and not self.training:",
        "if self.track and self.training is None:",
        (_NORM + "test_instance_norm_moves_its_statistics_like_torch[0.1-time]",),
    ),
    (
        "InstanceNorm keeps biased variances",
        "nn/functional/_norm.py",
        "jnp.mean(var, 0) * (count / (count - 1))",
        "jnp.mean(var, 0)",
        (_NORM + "test_instance_norm_moves_its_statistics_like_torch[0.1-time]",),
    ),
    (
        "GroupNorm takes the channels of a group apart by stride",
        "nn/functional/_norm.py",
        "widen(array).reshape(*array.shape[:-1], groups, channels // groups)",
        "widen(array).reshape(*array.shape[:-1], channels // groups, groups)",
        (_NORM + "test_the_extremes_of_group_norm_are_layer_and_instance_norm",),
    ),
    (
        "RMSNorm subtracts the mean",
        "nn/functional/_norm.py",
        "power = jnp.mean(jnp.square(wide), axes, keepdims=True)",
        "power = jnp.var(wide, axes, keepdims=True)",
        (_NORM + "test_rms_norm_is_homogeneous_and_has_unit_power",),
    ),
    (
        "LocalResponseNorm looks one channel aside",
        "nn/functional/_rescale.py",
        "(size // 2, (size - 1) // 2)",
        "(size // 2 - 1, (size - 1) // 2 + 1)",
        (_TORCH + "[LocalResponseNorm]",),
    ),
    (
        "WeightNorm leaves the computed weight in the layer",
        "nn/normalisation/_reparametrize.py",
        "        attributes[name] = before",
        "        pass",
        (_NORM + "test_state_of_a_wrapped_layer_moves_and_its_direction_counts_as_unwritten",),
    ),
    (
        "WeightNorm starts at length one",
        "nn/normalisation/_reparametrize.py",
        "self.size = _lengths(weight, axis)",
        "self.size = jnp.ones_like(_lengths(weight, axis))",
        (_NORM + "test_wrapping_changes_nothing_and_unwrapping_neither",),
    ),
    (
        "SpectralNorm iterates in inference too",
        "nn/normalisation/_reparametrize.py",
        "steps = self.steps if self.training else 0",
        "steps = self.steps",
        (_NORM + "test_spectral_norm_moves_like_torch",),
    ),
    (
        "SpectralNorm exchanges u and v",
        "nn/normalisation/_reparametrize.py",
        "self.u, self.v = u.astype(self.u.dtype), v.astype(self.v.dtype)",
        "self.v, self.u = u.astype(self.u.dtype), v.astype(self.v.dtype)",
        (_NORM + "test_spectral_norm_moves_like_torch",),
    ),
    # dropouts
    (
        "AlphaDropout drops to zero",
        "nn/features/_noise.py",
        "return act(F.alpha_dropout(key, x, p, axis=axis))",
        "return act(F.dropout(key, x, p, axis=axis))",
        (_NOISE + "test_alpha_dropout_drops_a_share_of_p_and_keeps_mean_and_variance[0.5]",),
    ),
    (
        "VariationalDropout varies along its axis alone",
        "nn/features/_noise.py",
        "if a not in {s % x.ndim for s in shared}",
        "if a in {s % x.ndim for s in shared}",
        (_NOISE + "test_variational_dropout_has_one_mask_along_its_axis",),
    ),
    (
        "DropPath drops elements",
        "nn/features/_noise.py",
        "return act(F.drop_path(key, x, p))",
        "return act(F.dropout(key, x, p))",
        (_NOISE + "test_drop_path_zeroes_whole_examples_and_keeps_the_mean",),
    ),
    (
        "RReLU halves its lower bound",
        "nn/features/_activations.py",
        "F.rrelu(x, lower, upper, key=key)",
        "F.rrelu(x, lower / 2, upper, key=key)",
        (_NOISE + "test_rrelu_draws_its_slopes_uniformly",),
    ),
    # containers
    (
        "RepeatedLayer repeats one draw",
        "nn/containers/_repeated.py",
        "vmap(lambda k: _seeded(build, k))",
        "vmap(lambda k: _seeded(build, jax.random.key(0)))",
        (_CONTAINERS + "test_every_block_draws_its_own_weights_as_the_initialiser_says",),
    ),
    (
        "RepeatedLayer injects the running value",
        "nn/containers/_repeated.py",
        "block, h, *extra, **named), None",
        "block, h, *(h for _ in extra), **named), None",
        (_CONTAINERS + "test_injection_gives_every_block_the_first_input",),
    ),
    (
        "RepeatedLayer forgets remat",
        "nn/containers/_repeated.py",
        "if self.remat else _apply",
        "if self.remat is None else _apply",
        (_CONTAINERS + "test_remat_keeps_less_and_changes_no_number",),
    ),
    (
        "PairwiseFusion joins in the other order",
        "nn/containers/_branches.py",
        "layer(self.connection(ys[-1], x))",
        "layer(self.connection(x, ys[-1]))",
        (_CONTAINERS + "test_pairwise_fusion_by_hand",),
    ),
    (
        "Maxout takes the smallest",
        "nn/containers/_branches.py",
        "best = greater(best, y)",
        "best = -greater(-best, -y)",
        (_TORCH + "[Maxout]",),
    ),
    (
        "compact's state takes a gradient",
        "nn/containers/_compact.py",
        "state: dict[str, State]  # arrays",
        "state: dict[str, Any]  # arrays",
        (_CONTAINERS + "test_compact_holds_parameters_modules_and_state",),
    ),
    (
        "ReverseSequence moves the padding to the front",
        "nn/containers/_rearrange.py",
        "lengths[:, None] - 1 - steps, steps)",
        "x.shape[axis] - 1 - steps, steps)",
        (_CONTAINERS + "test_reverse_sequence_by_lengths_is_its_own_inverse",),
    ),
    # embeddings and products
    (
        "Embedding's padding row learns",
        "nn/features/_embedding.py",
        "self.weight, padding_idx=self.padding_idx)",
        "self.weight, padding_idx=None)",
        (_EMBEDDING + "test_the_padding_row_starts_at_zero_and_has_no_gradient",),
    ),
    (
        "EmbeddingBag shifts ragged bags by one",
        "nn/features/_embedding_bag.py",
        "np.cumsum([0, *[len(p) for p in parts]])[:-1]",
        "np.cumsum([0, *[len(p) for p in parts[1:]], 0])[:-1]",
        (_EMBEDDING + "test_ragged_bags_are_torchs",),
    ),
    (
        "Bilinear multiplies the first input by itself",
        "nn/features/_linear.py",
        "return act(F.bilinear(x, z, weight, bias))",
        "return act(F.bilinear(x, x if x.shape == z.shape else z, weight, None))",
        (_EMBEDDING + "test_bilinear_of_two_inputs_is_torchs",),
    ),
    (
        "Swish forgets its steepness",
        "nn/features/_activations.py",
        "jax.nn.sigmoid(beta.astype(wide.dtype) * wide)",
        "jax.nn.sigmoid(wide)",
        (_TORCH + "[Swish]",),
    ),
    # sizes
    (
        "autosize reads the second axis",
        "nn/_autosize.py",
        "return int(jnp.shape(x)[axis])",
        "return int(jnp.shape(x)[1])",
        (_SIZES + "test_autosize_gives_the_model_of_explicit_sizes_bit_by_bit",),
    ),
    (
        "summary counts a loop's body once",
        "nn/_flops.py",
        'times * eqn.params["length"] if kind == "scan" else times',
        "times",
        (_SIZES + "test_loops_count_as_often_as_they_run",),
    ),
    (
        "summary counts a multiplication and addition as one",
        "nn/_flops.py",
        "return 2 * math.prod(shape) * math.prod(operand.shape[a] for a in contracted)",
        "return math.prod(shape) * math.prod(operand.shape[a] for a in contracted)",
        (_SIZES + "test_a_summary_counts_by_hand",),
    ),
    # space
    (
        "ConvTranspose ignores its output padding",
        "nn/space/_conv_transpose.py",
        "output_padding=extra,",
        "output_padding=0,",
        (_TORCH + "[ConvTranspose1d]",),
    ),
    (
        "ConvTranspose exchanges stride and dilation",
        "nn/space/_conv_transpose.py",
        "stride=self.stride, padding=self.padding, output_padding",
        "stride=self.dilation, padding=self.padding, output_padding",
        (_SPACE + "test_conv_transpose_same_multiplies_space_by_the_stride",),
    ),
    (
        "MeanPool counts its padding always",
        "nn/space/_pool.py",
        "count_include_pad=self.count_include_pad",
        "count_include_pad=True",
        (_SPACE + "test_padding_is_never_the_largest_and_counts_as_asked",),
    ),
    (
        "Upsample never aligns corners",
        "nn/space/_resize.py",
        '"align_corners": self.align_corners}',
        '"align_corners": False}',
        (_SPACE + "test_upsampling_keeps_constants_and_with_aligned_corners_lines",),
    ),
    (
        "Fold forgets its stride",
        "nn/space/_fold.py",
        "return act(F.fold(x, output_size, window, **options))",
        "return act(F.fold(x, output_size, window, **{**options, 'stride': 1}))",
        (_SPACE + "test_fold_of_unfold_counts_how_many_windows_see_an_element",),
    ),
    (
        "SymmetricPad does not repeat the edge",
        "nn/space/_pad.py",
        "_function = staticmethod(F.pad_symmetric)",
        "_function = staticmethod(F.pad_reflect)",
        (_SPACE + "test_pads_are_numpys",),
    ),
]
