"""Seeded bugs in pipelines: name, file, original, replaced, the tests that must catch it."""

_ONE = "tests/parallel/test_pipeline.py::test_pipelines_beside_one_device"
_DRAWS = (_ONE + "[check_draws_depend_on_the_block_and_the_micro_batch_alone]",)
_ROUNDS = (_ONE + "[check_interleaved_blocks_train_as_on_one_device]",)
_KEPT = (_ONE + "[check_what_a_stage_keeps]",)
_MOVED = (_ONE + "[check_activations_move_and_blocks_stay]",)
_ROOM = "parallel/strategies/pipelining/"

MUTANTS = [
    (
        "stages that idle move the keys of dropout",
        _ROOM + "_stages.py",
        "jnp.where(works, new, old)",
        "jnp.where(works | True, new, old)",
        _DRAWS,
    ),
    (
        "stages that idle compute on zeros",
        _ROOM + "_stages.py",
        "start = [v[0] for v in x]",
        "start = [jnp.zeros_like(v[0]) for v in x]",
        _ROUNDS,
    ),
    (
        "a micro-batch starts anew in each round",
        _ROOM + "_stages.py",
        "first = (self.at == 0) & (turn == 0)",
        "first = self.at == 0",
        _ROUNDS,
    ),
    (
        "what blocks read is that of the first micro-batch",
        _ROOM + "_stages.py",
        "more = [v[part] if c else v for v, c",
        "more = [v[0] if c else v for v, c",
        _DRAWS,
    ),
    (
        "rows come back in another order than they went in",
        _ROOM + "_arrays.py",
        "return v.swapaxes(0, 1).reshape(",
        "return v.reshape(",
        _DRAWS,
    ),
    (
        "a round takes micro-batches in another order",
        _ROOM + "_timetable.py",
        "return turn * self.stages + rest % self.stages, rest // self.stages",
        "return turn * self.stages + rest // self.rounds, rest % self.rounds",
        ("tests/parallel/test_pipeline.py::test_a_timetable_runs_every_block_of_a_micro_batch_in_its_order",),
    ),
    (
        "interleaved blocks are cut by rounds",
        "parallel/strategies/_pipeline.py",
        'at = 1 if self.order == "interleaved" else 0',
        "at = 0",
        _ROUNDS,
    ),
    (
        "each tick keeps its own copy of weights",
        _ROOM + "_stages.py",
        "primitive.name not in LIGHT",
        "primitive.name not in ()",
        _KEPT,
    ),
    (
        "kernels gather what the partitioner has cut",
        "core/_compat.py",
        "size > 1 and name not in context.manual_axes",
        "size > 1 and name in ()",
        _MOVED,
    ),
    (
        "keys lie cut along stages after a step",
        _ROOM + "_stages.py",
        "jax.lax.with_sharding_constraint(blocks.keys, NamedSharding(self.way.mesh, whole))",
        "blocks.keys",
        _ROUNDS,
    ),
]
