"""Seeded bugs in sequences and experts over devices: name, file, original, replaced, the tests that must catch it."""

_CONTEXT = "tests/parallel/test_context.py::test_cut_sequences_give_what_whole_ones_give"
_EXPERTS = "tests/parallel/test_experts.py::test_experts_on_many_devices_give_what_those_on_one_give"

MUTANTS = [
    (
        "a device's second piece of a sequence is its neighbour's",
        "parallel/ring/_layout.py",
        "ends = jnp.stack([device, 2 * self.devices - 1 - device]) * half",
        "ends = jnp.stack([device, 2 * self.devices - 2 - device]) * half",
        (_CONTEXT + "[check_causal_with_groups_dropout_and_a_soft_cap]",),
    ),
    (
        "gradients of keys stay where the round ends",
        "parallel/ring/_ring.py",
        "dkv = self._shifted(sums.dkv, -self._last)",
        "dkv = self._shifted(sums.dkv, 0)",
        (_CONTEXT + "[check_masks_by_row_and_positions_that_move_scores]",),
    ),
    (
        "the sum of powers is not scaled to a new highest score",
        "parallel/ring/_tile.py",
        "top, sums.total * shrink + jnp.sum(powers, -1))",
        "top, sums.total + jnp.sum(powers, -1))",
        (_CONTEXT + "[check_window_lengths_and_a_learned_bias]",),
    ),
    (
        "each device draws as if its queries were the first",
        "parallel/ring/_draws.py",
        "(key, at.query + jnp.arange(tile[0]))",
        "(key, at.row + jnp.arange(tile[0]))",
        (_CONTEXT + "[check_causal_with_groups_dropout_and_a_soft_cap]",),
    ),
    (
        "the gradient of a bias that all queries share is that of a device's own",
        "parallel/ring/_ring.py",
        "if bias is not None and not self.rows_cut[1]:",
        "if bias is not None and self.rows_cut[1]:",
        (_CONTEXT + "[check_cross_attention_to_keys_that_lie_whole]",),
    ),
    (
        "a window is a device shorter",
        "parallel/strategies/_context_parallel.py",
        "(-ahead, back + ahead + 1)",
        "(-ahead, back + ahead)",
        (_CONTEXT + "[check_a_window_sends_keys_no_further]",),
    ),
    (
        "room at an expert is counted on each device alone",
        "parallel/experts/_places.py",
        "place = before[lax.axis_index(plan.batch)] + rank",
        "place = rank",
        (_EXPERTS + "[check_tokens_are_sent_within_groups]",),
    ),
    (
        "gathered tokens come back with the weights of the first device's experts",
        "parallel/experts/_exchange.py",
        "held_here(plan, place), first + _experts(plan))",
        "held_here(plan, place), _experts(plan) + 0 * first)",
        (_EXPERTS + "[check_tokens_that_do_not_fit_their_slots_are_gathered]",),
    ),
    (
        "tokens beyond a device's slots are dropped",
        "parallel/strategies/_expert_parallel.py",
        "return jax.lax.cond(at.fits, exchange, gather, *arrays, at)",
        "return exchange(*arrays, at)",
        (_EXPERTS + "[check_tokens_that_do_not_fit_their_slots_are_gathered]",),
    ),
    (
        "experts within repeated blocks are cut along the blocks",
        "parallel/strategies/_expert_parallel.py",
        'stacked += isinstance(module, RepeatedLayer) and name == "block" and not module.share',
        "stacked += 0",
        (_EXPERTS + "[check_experts_of_repeated_blocks_are_cut]",),
    ),
]
