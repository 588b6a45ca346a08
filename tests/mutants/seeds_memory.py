"""Seeded bugs in px.memory and fit(memory=): name, file, original, replaced, the tests that must catch it."""

_MEMORY = "tests/loop/test_memory.py::"
_FIT = "tests/loop/test_memory_fit.py::"

MUTANTS = [
    (
        "memory that is used again for what is overwritten counts twice",
        "loop/preflight/_step.py",
        "max(0, needs.output_size_in_bytes - needs.alias_size_in_bytes)",
        "needs.output_size_in_bytes",
        (_MEMORY + "test_arguments_by_closed_form",),
    ),
    (
        "State counts as parameters",
        "loop/preflight/_step.py",
        "jnp.inexact) and not structure.is_state(i)",
        "jnp.inexact)",
        (_MEMORY + "test_arguments_by_closed_form",),
    ),
    (
        "what only the forward pass reads counts as kept",
        "loop/preflight/_kept.py",
        "if b.forward and b.read_backward]",
        "if b.forward]",
        (_MEMORY + "test_a_program_by_hand",),
    ),
    (
        "bodies of loops are not looked into",
        "loop/preflight/_kept.py",
        "for layer, size in inside.items()]",
        "for layer, size in ()]",
        (_MEMORY + "test_a_program_by_hand", _MEMORY + "test_a_step_inside_a_loop_is_seen_too"),
    ),
    (
        "activations add up though the first is dead before the next is made",
        "loop/preflight/_kept.py",
        "if b.made <= fullest < b.last:",
        "if True:",
        (_MEMORY + "test_what_is_dead_before_the_next_is_made_does_not_add_up",),
    ),
    (
        "padding of a convolution's input takes no memory",
        "loop/preflight/_workspace.py",
        "+= low + high",
        "+= 0",
        (_MEMORY + "test_the_workspace_of_a_convolution_by_hand",),
    ),
    (
        "gradients that are added up take no memory",
        "loop/preflight/_memory.py",
        "temporaries=part.temporaries + more",
        "temporaries=part.temporaries - more",
        (_MEMORY + "test_micro_batches_are_what_adding_up_gradients_needs",),
    ),
    (
        "the limit of a control group without what is used of it",
        "loop/preflight/_room.py",
        "left.append(most - used +",
        "left.append(most +",
        (_MEMORY + "test_control_groups",),
    ),
    (
        "only the innermost control group is asked",
        "loop/preflight/_room.py",
        "for group in (inner, *inner.parents):",
        "for group in (inner,):",
        (_MEMORY + "test_control_groups",),
    ),
    (
        "arrays that are on the device already count against the room",
        "loop/preflight/_step.py",
        "free + sum(there.values())",
        "free - sum(there.values())",
        (_MEMORY + "test_what_is_there_already_counts_as_room",),
    ),
    (
        "parts of a batch count alike whatever they weigh",
        "loop/preflight/_saving.py",
        "a + (report.weight * g).astype(a.dtype)",
        "a + g.astype(a.dtype)",
        (_FIT + "test_padding_and_weights_count_as_they_do_in_the_whole",),
    ),
    (
        "gradients of the parts are summed, not averaged",
        "loop/preflight/_saving.py",
        "(g / jnp.where(weight == 0, 1, weight)).astype(g.dtype)",
        "g",
        (_FIT + "test_parts_of_a_batch_give_its_loss_and_gradient",),
    ),
    (
        "nothing is computed again",
        "loop/preflight/_saving.py",
        "    return remat(call)(self, *args, **kwargs)",
        "    return call(self, *args, **kwargs)",
        (_FIT + "test_what_is_computed_again_is_what_was_named",),
    ),
    (
        "a batch is split though the forward pass moves State",
        "loop/preflight/_fit.py",
        "    if moved:\n",
        "    if False:\n",
        (_FIT + "test_whether_a_batch_may_be_split",),
    ),
    (
        "a batch is split though its examples are mixed",
        "loop/preflight/_fit.py",
        "    if not (float(apart) <= near",
        "    if False and not (float(apart) <= near",
        (_FIT + "test_whether_a_batch_may_be_split",),
    ),
    (
        "the block of a loop is not tried for remat",
        "loop/preflight/_search.py",
        " or any(_is_inside(p, k) for k in loops)",
        "",
        (_MEMORY + "test_a_loop_keeps_for_its_block",),
    ),
]
