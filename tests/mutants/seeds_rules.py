"""Seeded bugs in what optimisers are given: name, file, original, replaced, the tests that must catch it."""

_OWN = "tests/optim/test_own_rules.py::"
_HABITS = "tests/optim/test_habits.py::"
_COMPLEX = "tests/optim/test_complex.py::"
_FINITE = "tests/optim/test_not_finite.py::"
_SEVERAL = "tests/optim/test_several_models.py::"
_OPTAX = "tests/optim/test_optax_rules.py::"
_PICKLE = "tests/test_pickling.py::"

MUTANTS = [
    (
        "a rule reads the numbers it was traced with",
        "optim/rules/_rule.py",
        "            return self._with({k: v for k, v in found.items() if k in self.numbers}), found",
        "            return self, found",
        (_OWN + "test_each_rule_steps_by_its_own_numbers[FromSelf]",),
    ),
    (
        "attributes that are no fields are not in a rule's key",
        "optim/rules/_rule.py",
        " | self.numbers | vars(self)\n",
        "\n",
        (_OWN + "test_each_rule_steps_by_its_own_numbers[Plain]",),
    ),
    (
        "gradients first are taken for a model",
        "optim/_optimizer.py",
        "        if not after or model is grads:\n",
        "        if True:\n",
        (_HABITS + "test_gradients_in_the_place_of_the_model_are_refused",),
    ),
    (
        "a pair of decays is told to be out of range only",
        "optim/rules/_habits.py",
        'if isinstance(value, (tuple, list)) and name == "b1":',
        'if isinstance(value, (tuple, list)) and name == "b2":',
        (_HABITS + "test_what_is_written_otherwise_is_refused_with_the_cure",),
    ),
    (
        "complex gradients are not conjugated",
        "optim/rules/_applied.py",
        "jnp.conj(g) if jnp.iscomplexobj(g) else g, grads)",
        "g, grads)",
        (_COMPLEX + "test_steps_are_torchs[Descent]",),
    ),
    (
        "the imaginary part takes the state of the real one",
        "optim/rules/_applied.py",
        "jax.lax.complex(v, other[k]) if jnp.iscomplexobj(slots.get(k)) else v",
        "jax.lax.complex(v, v) if jnp.iscomplexobj(slots.get(k)) else v",
        (_COMPLEX + "test_steps_are_torchs[Adam]",),
    ),
    (
        "Muon's gram matrix without the conjugate",
        "optim/rules/_matrix.py",
        "gram = x @ x.T.conj()",
        "gram = x @ x.T",
        (_COMPLEX + "test_rules_that_torch_has_not_go_down_too",),
    ),
    (
        "a NaN norm clips nothing",
        "optim/rules/_gradients.py",
        "jnp.where(norm <= most, 1, most / jnp.where(norm == 0, 1, norm))",
        "jnp.where(norm > most, most / jnp.where(norm == 0, 1, norm), 1)",
        (_FINITE + "test_one_bad_gradient_switches_no_clipping_off",),
    ),
    (
        "SAM takes a NaN norm for 1",
        "optim/rules/_combined.py",
        "state.numbers.rho / jnp.where(norm == 0, 1, norm)",
        "state.numbers.rho / jnp.where(norm > 0, norm, 1)",
        (_FINITE + "test_no_comparison_lets_nan_through",),
    ),
    (
        "squares of 16 bits in 16 bits",
        "optim/rules/_applied.py",
        "    return jnp.dtype(jnp.float32) if small else jnp.dtype(dtype)",
        "    return jnp.dtype(dtype)",
        (_FINITE + "test_squares_of_16_bits_are_float32[float16]",),
    ),
    (
        "the norm of a tree has no gradient at zero",
        "core/module/_tree.py",
        "    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))",
        "    return jnp.sqrt(square)",
        (_FINITE + "test_the_norm_of_a_float16_tree_and_its_gradient_at_zero",),
    ),
    (
        "what two models share has two states",
        "optim/_models.py",
        "            if first[_under(at, path)] == _under(at, path):\n",
        "            if first:\n",
        (_SEVERAL + "test_what_two_of_them_share_is_one",),
    ),
    (
        "a transformation gets what it does not take",
        "optim/_calling.py",
        "return {name: v for name, v in extra.items() if name != refused[1]}",
        "return None",
        (_OPTAX + "test_what_a_transformation_does_not_take_is_left_out_in_fit_too",),
    ),
    (
        "a pickled optimiser forgets its cohorts",
        "optim/_state.py",
        "Counts(node.updates, *next(given)) if _is_counts(node) else node",
        "node",
        (_PICKLE + "test_it_comes_back_as_it_was[Optimizer]",),
    ),
    (
        "a schedule comes back with its defaults",
        "optim/schedules/_schedule.py",
        "return Schedule, (self.make, self.arguments)",
        "return Schedule, (self.make, self.arguments[:2])",
        (_PICKLE + "test_schedules_are_equal_again_and_no_other",),
    ),
]
