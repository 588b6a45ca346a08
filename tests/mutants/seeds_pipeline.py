"""Seeded bugs in pipelines: name, file, original, replaced, the tests that must catch it."""

_PIPELINE = "tests/parallel/test_pipeline.py::test_pipelines_beside_one_device"
_ROOM = "parallel/strategies/pipelining/"

MUTANTS = [
    (
        "stages that idle move the keys of dropout",
        _ROOM + "_stages.py",
        "jnp.where(works, new, old)",
        "jnp.where(works | True, new, old)",
        (_PIPELINE,),
    ),
    (
        "stages that idle compute on zeros",
        _ROOM + "_stages.py",
        "start = [v[0] for v in x]",
        "start = [jnp.zeros_like(v[0]) for v in x]",
        (_PIPELINE,),
    ),
    (
        "a micro-batch starts anew in each round",
        _ROOM + "_stages.py",
        "first = (self.at == 0) & (turn == 0)",
        "first = self.at == 0",
        (_PIPELINE,),
    ),
    (
        "masks of one micro-batch serve all",
        _ROOM + "_stages.py",
        "more = [v[part] if c else v for v, c",
        "more = [v[0] if c else v for v, c",
        (_PIPELINE,),
    ),
    (
        "rows come back in another order than they went in",
        _ROOM + "_arrays.py",
        "return v.swapaxes(0, 1).reshape(",
        "return v.reshape(",
        (_PIPELINE,),
    ),
    (
        "rounds in the order of micro-batches",
        _ROOM + "_timetable.py",
        "return turn * self.stages + rest % self.stages, rest // self.stages",
        "return turn * self.stages + rest // self.rounds, rest % self.rounds",
        (_PIPELINE,),
    ),
    (
        "interleaved blocks are cut by rounds",
        "parallel/strategies/_pipeline.py",
        'at = 1 if self.order == "interleaved" else 0',
        "at = 0",
        (_PIPELINE,),
    ),
    (
        "each tick keeps its own copy of a round's weights",
        _ROOM + "_stages.py",
        "policy = jax.checkpoint_policies.save_anything_except_these_names(WEIGHTS)",
        "policy = jax.checkpoint_policies.everything_saveable",
        (_PIPELINE,),
    ),
]
