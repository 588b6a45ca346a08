"""Faults of moments in 8 bits: values, codes, blocks, what is kept so, and where it lies."""

_CODES = "tests/optim/test_eight_bit_codes.py::"
_RULE = "tests/optim/test_eight_bit.py::"
_DEVICES = "tests/parallel/test_training.py::test_eight_devices_give_what_one_gives"
_BLOCKS, _EIGHT = "optim/rules/_blocks.py", "optim/rules/_eight_bit.py"

MUTANTS = [
    (
        "8 bits: decades begin at 0",
        _BLOCKS,
        "np.linspace(0.1, 1, n + 1)",
        "np.linspace(0.0, 1, n + 1)",
        (_CODES + "test_values_are_the_published_ones[signed]",),
    ),
    (
        "8 bits: without a sign a decade has no more parts",
        _BLOCKS,
        '2**d * (1 if sign == "signed" else 2)',
        "2**d * 1",
        (_CODES + "test_values_are_the_published_ones[unsigned]",),
    ),
    (
        "8 bits: decades end where their values do",
        _BLOCKS,
        "(up[first] + up[first - 1]) / 2, first, parts",
        "up[first], first, parts",
        (_CODES + "test_codes_are_those_of_the_nearest_value[signed]",),
    ),
    (
        "8 bits: codes are rounded, not cut off",
        _BLOCKS,
        "jnp.floor(size * density - parts * np.float32(1 / 9))",
        "jnp.round(size * density - parts * np.float32(1 / 9))",
        (_CODES + "test_codes_are_those_of_the_nearest_value[unsigned]",),
    ),
    (
        "8 bits: squares may become 0",
        _BLOCKS,
        "jnp.where(share > 0, code, 0.0).astype(jnp.uint8)",
        "jnp.where(share > up[1] / 2, code, 0.0).astype(jnp.uint8)",
        (_RULE + "test_a_step_that_vanished_does_not_grow",),
    ),
    (
        "8 bits: signs are dropped",
        _BLOCKS,
        "jnp.where(share < 0, -code, code).astype(jnp.int32)",
        "code.astype(jnp.int32)",
        (_RULE + "test_steps_of_adam_by_hand",),
    ),
    (
        "8 bits: one scale for all",
        _BLOCKS,
        "    return padded.reshape(split).max(tuple(range(1, len(split), 2)))\n",
        "    found = padded.reshape(split).max(tuple(range(1, len(split), 2)))\n    return 0 * found + found.max()\n",
        (_CODES + "test_a_number_far_away_changes_its_own_block_alone[(50, 37)]",),
    ),
    (
        "8 bits: a block goes over layers of a stack",
        _EIGHT,
        "_blocks.sides_of(value.shape, stacked, self.block)",
        "_blocks.sides_of(value.shape, 0, self.block)",
        (_RULE + "test_one_layer_of_a_stack_counts",),
    ),
    (
        "8 bits: a stack counts as a whole",
        _EIGHT,
        "prod(value.shape[stacked:]) < self.least",
        "prod(value.shape) < self.least",
        (_RULE + "test_one_layer_of_a_stack_counts",),
    ),
    (
        "8 bits: means that are subtracted too",
        "optim/rules/_adaptive.py",
        '"squares": not self.centred',
        '"squares": True',
        (_RULE + "test_what_is_kept_so[centred]",),
    ),
    (
        "8 bits: vectors of small arrays in blocks",
        _EIGHT,
        "self.rule.by_component and self.least > MOST",
        "self.rule.by_component",
        (_RULE + "test_small_arrays_are_as_ever_and_share_vectors",),
    ),
    (
        "8 bits: scales lie whole",
        _BLOCKS,
        "names if n % count == 0 and count % devices == 0 else None",
        "None",
        (_DEVICES + "[check_eight_bit_by_hand]",),
    ),
    (
        "8 bits: codes lie whole",
        "parallel/_alike.py",
        'path.removesuffix("/codes")',
        "path",
        (_DEVICES + "[check_eight_bit_by_hand]",),
    ),
]
