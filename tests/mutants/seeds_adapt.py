"""Faults of adapters: scales, norms, places of factors and prefixes, what is in use, what is merged, files."""

_ROOM = "adapt/"
_FORMS = "tests/adapt/test_adapters.py::"
_MODELS = "tests/adapt/test_adapted_models.py::"
_PEFT = "tests/adapt/test_peft.py::"

MUTANTS = [
    (
        "adapt: the scale of a LoRA is α alone",
        _ROOM + "layers/_changes.py",
        "return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)",
        "return self.alpha / (math.sqrt(self.rank) if self.rslora else 1)",
        (_FORMS + "test_lora_adds_a_product_before_the_activation",),
    ),
    (
        "adapt: rslora divides by the rank",
        _ROOM + "layers/_changes.py",
        "math.sqrt(self.rank) if self.rslora",
        "self.rank if self.rslora",
        (_FORMS + "test_lora_adds_a_product_before_the_activation",),
    ),
    (
        "adapt: the change stands behind the activation",
        _ROOM + "layers/_linear.py",
        "return act(changed(F.dense, x, weight, bias, change, scales))",
        "y = F.dense(x, weight, bias)\n    return act(y) - y + changed(F.dense, x, weight, bias, change, scales)",
        (_FORMS + "test_lora_adds_a_product_before_the_activation",),
    ),
    (
        "adapt: the lengths of a DoRA's columns forget how W and A B lie",
        _ROOM + "_arithmetic.py",
        "+ 2 * scale * jnp.sum((tall.T @ flat) * b, 0)",
        "+ scale * jnp.sum((tall.T @ flat) * b, 0)",
        (_FORMS + "test_dora_sets_the_lengths_of_columns",),
    ),
    (
        "adapt: the lengths of a DoRA are those of rows",
        _ROOM + "_arithmetic.py",
        "square = jnp.sum(flat * flat, 0)",
        "square = jnp.mean(jnp.sum(flat * flat, 1))",
        (_FORMS + "test_dora_sets_the_lengths_of_columns",),
    ),
    (
        "adapt: the norm of a DoRA has a gradient",
        _ROOM + "_arithmetic.py",
        "lengths = jax.lax.stop_gradient(column_lengths(weight, low.a, low.b, scale))",
        "lengths = column_lengths(weight, low.a, low.b, scale)",
        (_PEFT + "test_gradients",),
    ),
    (
        "adapt: IA³ scales no bias",
        _ROOM + "_arithmetic.py",
        "return product(total if bias is None else total + bias.astype(total.dtype), change.outs)",
        "return product(total, change.outs) + (0 if bias is None else bias.astype(total.dtype))",
        (_FORMS + "test_ia3_scales_outputs_or_inputs",),
    ),
    (
        "adapt: IA³ takes outputs for inputs",
        _ROOM + "layers/_changes.py",
        "ins = [one.factors for one in factors if one.feedforward]",
        "ins = [one.factors for one in factors if not one.feedforward]",
        (_FORMS + "test_ia3_scales_outputs_or_inputs",),
    ),
    (
        "adapt: merging forgets factors of inputs",
        _ROOM + "_arithmetic.py",
        "total = total * factors[:, None]",
        "total = total * 1",
        (_FORMS + "test_ia3_scales_outputs_or_inputs",),
    ),
    (
        "adapt: a text begins at 0 behind a prefix",
        "models/language/decoders/_gpt2.py",
        "start = self._before if cache is None",
        "start = 0 if cache is None",
        (_PEFT + "test_theirs_here_and_back[gpt2-prefix]",),
    ),
    (
        "adapt: a mask is of a text's last keys",
        _ROOM + "layers/_prefix.py",
        "return jnp.concatenate([seen((*mask.shape[:-1], prefix), mask.dtype), mask], axis=-1)",
        "return jnp.concatenate([mask, seen((*mask.shape[:-1], prefix), mask.dtype)], axis=-1)",
        (_PEFT + "test_theirs_here_and_back[llama-prefix]",),
    ),
    (
        "adapt: a draft's guesses are forgotten with the prefix",
        "models/generation/_speculative.py",
        "held.position = held.first + lengths",
        "held.position = lengths",
        (_MODELS + "test_generating_behind_a_prefix_is_what_a_whole_pass_gives",),
    ),
    (
        "adapt: what rests computes too",
        _ROOM + "layers/_adapted.py",
        "for name, adapter in self.adapters.items() if name in self.active]",
        "for name, adapter in self.adapters.items() if self.active]",
        (_FORMS + "test_several_add_up_and_none_is_the_bare_model",),
    ),
    (
        "adapt: what rests trains",
        _ROOM + "_attaching.py",
        "(thaw if name in wrapper.active and wrapper.merged is None else freeze)(part)",
        "(thaw if wrapper.merged is None else freeze)(part)",
        (_FORMS + "test_several_add_up_and_none_is_the_bare_model",),
    ),
    (
        "adapt: merging writes into the layer, so that twice adds twice",
        _ROOM + "_merging.py",
        "        wrapper.merged = arrays[path]\n",
        "        wrapper.merged = arrays[path]\n        wrapper.plain()\n",
        (_FORMS + "test_merged_computes_the_same_once_and_gives_every_bit_back",),
    ),
    (
        "adapt: what the model held goes on training",
        _ROOM + "_attaching.py",
        "    freeze(model)\n",
        "",
        (_FORMS + "test_what_the_model_held_is_frozen_and_a_head_can_learn_beside",),
    ),
    (
        "adapt: A of a file is read as its transpose lies",
        _ROOM + "peft/_arrays.py",
        "return a.reshape(a.shape[0], -1).T",
        "return a.reshape(-1, a.shape[0])",
        (_PEFT + "test_theirs_here_and_back[gpt2-lora]",),
    ),
    (
        "adapt: fused layers of different A share the first ranks",
        _ROOM + "peft/_arrays.py",
        "row += 0 if shared else part.rank",
        "row += 0",
        (_PEFT + "test_layers_that_are_fused_there_are_written_as_one_of_their_ranks_together",),
    ),
    (
        "adapt: the α of several ranks is that of one",
        _ROOM + "peft/_arrays.py",
        "part.scale * (math.sqrt(rank) if part.rslora else rank)",
        "part.alpha",
        (_PEFT + "test_layers_that_are_fused_there_are_written_as_one_of_their_ranks_together",),
    ),
    (
        "adapt: an adapter is loaded beside other base weights",
        _ROOM + "peft/_loading.py",
        "if base.shape != weight.shape or not np.array_equal(base, weight):",
        "if False:",
        (_PEFT + "test_an_adapter_for_another_model_is_refused_and_nothing_changes",),
    ),
]
