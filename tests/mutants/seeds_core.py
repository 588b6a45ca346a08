"""Seeded bugs in the core: name, file, original, replaced, the tests that must catch it."""

_JIT = "tests/core/test_jit.py::"
_LOSS = "tests/core/test_no_silent_loss.py::"
_MODE = "tests/core/test_mode.py::"
_SHARING = "tests/core/test_sharing.py::"

MUTANTS = [
    (
        "stale plan: an attribute that changed is not seen",
        "core/module/_plan.py",
        "if meta.version != version:",
        "if meta.version < version:",
        (_JIT + "test_a_changed_attribute_is_seen[activation]",),
    ),
    (
        "stale plan: a list whose items changed is not seen",
        "core/module/_binding.py",
        "return self.container == self.expected",
        "return len(self.container) == len(self.expected)",
        (_JIT + "test_a_changed_attribute_is_seen[layer]",),
    ),
    (
        "a gradient's State is dropped: the first write is not written back",
        "core/transforms/_functionalize.py",
        "    for i, value in zip(which, values, strict=True):\n        holder, at = plan.slots[i]",
        "    for i, value in zip(which[1:], values[1:], strict=True):\n        holder, at = plan.slots[i]",
        ("tests/nn/test_contract.py::test_eager_equals_compiled_over_two_steps[BatchNorm]",),
    ),
    (
        "a compiled call skips its write-back",
        "core/transforms/_program.py",
        "self.slots.write(outcome.written)",
        "pass",
        (_JIT + "test_containers_of_modules_go_in_and_are_written_back",),
    ),
    (
        "donation without the alias check",
        "core/transforms/_program.py",
        "if donated and sum(map(getrefcount, donated)) > _baseline * len(donated):",
        "if donated and sum(map(getrefcount, donated)) > 10 * _baseline * len(donated):",
        ("tests/core/test_donation.py::test_aliases_survive",),
    ),
    (
        "nothing is donated",
        "core/transforms/_program.py",
        "donate_argnums=0)",
        "donate_argnums=())",
        ("tests/core/test_donation.py::test_overwritten_buffers_are_given_back_and_others_are_not",),
    ),
    (
        "two threads may step one model",
        "core/transforms/_program.py",
        "if _claims.setdefault(uid, token) is not token:",
        "if _claims.setdefault(uid, token) is None:",
        ("tests/core/test_threads.py::test_two_threads_stepping_one_model",),
    ),
    (
        "a program keeps the model it was traced with alive",
        "core/transforms/_program.py",
        "        del call.plan  #",
        "        pass  #",
        ("tests/core/test_memory.py::test_a_program_does_not_hold_the_model_it_was_traced_with",),
    ),
    (
        "mode inverted",
        "core/context/_mode.py",
        "    return meta.auto\n",
        "    return not meta.auto\n",
        (_MODE + "test_an_argument_of_a_differentiation_trains_and_infers_outside",),
    ),
    (
        "what is frozen trains",
        "core/context/_mode.py",
        "if meta.frozen is True:",
        "if meta.frozen is None:",
        (_MODE + "test_what_is_frozen_infers_and_its_statistics_stand_still",),
    ),
    (
        "px.training beats a pin",
        "core/context/_mode.py",
        "if meta.pinned is not None:",
        "if meta.pinned is not None and _answer.value is None:",
        (_MODE + "test_pins_beat_everything",),
    ),
    (
        "sharing untied: a part reached again is another part",
        "core/module/_plan.py",
        "found = self.index.get(id(module))",
        "found = None",
        (_SHARING + "test_one_gradient_with_every_use_summed",),
    ),
    (
        "copies of a shared gradient are not compared",
        "core/module/_tree.py",
        "        for other in others:\n            if not np.array_equal(",
        "        for other in others[1:]:\n            if not np.array_equal(",
        (_SHARING + "test_untied_gradients_that_differ_are_refused",),
    ),
    (
        "0.0 and -0.0 are one static value",
        "core/_static.py",
        "return kind, repr(value)",
        "return kind, value",
        ("tests/core/test_plain_jax.py::test_the_program_uses_its_own_statics",),
    ),
    (
        "State written on what plain JAX rebuilt is lost",
        "core/module/_module.py",
        "module._px.orphan = module._px.trace is not body_trace()",
        "module._px.orphan = False",
        (_LOSS + "test_state_on_what_plain_jax_rebuilt",),
    ),
    (
        "the original may be read inside its own gradient",
        "core/context/_scope.py",
        "if meta in scope.originals:",
        "if meta in ():",
        (_LOSS + "test_reading_the_original_inside_its_own_gradient",),
    ),
    (
        "State may change its dtype in a trace",
        "core/transforms/_functionalize.py",
        "if plan.structure.is_state(i) and was.dtype != now.dtype:",
        "if plan.structure.is_state(i) and was.shape != now.shape:",
        (_LOSS + "test_a_change_of_structure_inside_a_trace[jit-State's dtype]",),
    ),
    (
        "a key that a layer owns stays where it is",
        "core/context/_random.py",
        "setattr(module, name, kept)",
        "del kept",
        ("tests/nn/test_contract.py::test_draws_are_new_each_step_and_repeat_from_the_seed[Dropout]",),
    ),
]
