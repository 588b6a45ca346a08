"""Seeded bugs in trainings over several devices: name, file, original, replaced, the tests that must catch it."""

_FIT = "tests/parallel/test_training.py::test_eight_devices_give_what_one_gives"
_PROGRAM = "tests/parallel/test_program.py::test_what_devices_hold_and_send"

MUTANTS = [
    (
        "gradients are averaged over the devices once more",
        "loop/steps/_step.py",
        "            self.placement.hold(grads)",
        "            write_arrays(grads, {path: g / self.placement.rows for path, g in paths(grads).items()})",
        (_FIT + "[check_groups]",),
    ),
    (
        "state of an optimiser lies whole",
        "parallel/_alike.py",
        "for what, whole in found if whole == shape",
        "for what, whole in found if whole != shape",
        (_FIT + "[check_lookahead]",),
    ),
    (
        "what is made anew between epochs stays on one device",
        "loop/_training.py",
        "  # what is trained may be another part now\n        self.settle()\n",
        "  # what is trained may be another part now\n        self.program or self.settle()\n",
        (_FIT + "[check_accumulate_and_average]",),
    ),
    (
        "an uneven batch is given whole to every device",
        "parallel/_placement.py",
        "if uneven is not None and strict:",
        "if uneven is not None and strict and not leaf.ndim:",
        (_FIT + "[check_refusals]",),
    ),
    (
        "a prediction refuses a batch that devices do not share evenly",
        "loop/_evaluate.py",
        "gathered(call(model, _over_devices(placement, x)))",
        "gathered(call(model, x if placement is None else placement.spread(x)))",
        (_FIT + "[check_uneven_batches_are_looked_at_whole]",),
    ),
    (
        "layers of a stack are cut apart",
        "parallel/strategies/_fsdp.py",
        "key=lambda at: (at >= place.stacked, shape[at], at)",
        "key=lambda at: (at < place.stacked, shape[at], at)",
        (_PROGRAM + "[check_a_table_of_devices]",),
    ),
    (
        "fsdp cuts what is small, and leaves what is large whole",
        "parallel/strategies/_fsdp.py",
        "if math.prod(shape[place.stacked :]) <= self.whole or parts == 1:",
        "if math.prod(shape[place.stacked :]) >= self.whole or parts == 1:",
        (_FIT + "[check_lookahead]",),
    ),
    (
        "results of layers are not held",
        "parallel/_results.py",
        "if not (self.batch or self.sequence) or not self.shape or",
        "if self.batch or not self.shape or",
        (_PROGRAM + "[check_fsdp_moves_weights_and_no_activations]",),
    ),
    (
        "a made model draws other numbers",
        "core/context/_random.py",
        "        here._stream.drawn = outside.drawn\n",
        "        here._stream.drawn = 0\n",
        (_PROGRAM + "[check_a_model_is_made_in_parts]",),
    ),
    (
        "a made model draws what the next one will draw too",
        "core/context/_random.py",
        "    outside.drawn = here._stream.drawn\n",
        "",
        (_PROGRAM + "[check_a_model_is_made_in_parts]",),
    ),
    (
        "a made model lies whole",
        "parallel/_shard.py",
        "        placement.hold(model, all_of_it=True)\n",
        "",
        (_PROGRAM + "[check_a_model_is_made_in_parts]",),
    ),
    (
        "a step by hand lets its arrays lie anywhere",
        "parallel/_placement.py",
        "            self.hold(*modules)\n            return result",
        "            return result",
        (_PROGRAM + "[check_a_step_leaves_arrays_where_they_lay]",),
    ),
    (
        "an axis of a mesh may have devices that compute the same",
        "parallel/_mesh.py",
        "if size > 1 and name not in axes]",
        "if size < 1 and name not in axes]",
        (_FIT + "[check_refusals]",),
    ),
    (
        "dots keeps nothing",
        "core/transforms/_remat.py",
        '"dots": all_of_them.dots_saveable,',
        '"dots": all_of_them.nothing_saveable,',
        ("tests/core/test_survivors.py::test_policies_of_remat_by_name",),
    ),
]
