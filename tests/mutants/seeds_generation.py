"""Faults of px.generate and of the cache of a window: positions, scores of beams, what a draft may change."""

_TESTS = "tests/models/test_generation.py::"
_RING = "tests/nn/test_ring_cache.py::"
_MANY = "tests/nn/test_attention_layer.py::test_many_tokens_at_once_read_a_cache_only_where_it_holds_something"
_ROOM = "models/generation/"
_CACHE = "nn/attention/_ring_cache.py"

MUTANTS = [
    (
        "generation: beams are compared without their lengths",
        _ROOM + "_beams.py",
        "totals / beams.count.astype(jnp.float32) ** rule.length_penalty, _NEVER",
        "totals, _NEVER",
        (_TESTS + "test_beams",),
    ),
    (
        "generation: a beam that has ended goes on",
        _ROOM + "_beams.py",
        "jax.lax.top_k(totals + stops * _NEVER, count)",
        "jax.lax.top_k(totals, count)",
        (_TESTS + "test_beams",),
    ),
    (
        "generation: caches stay where their beams were",
        _ROOM + "_beams.py",
        "(jnp.arange(batch)[:, None] * count + parent).reshape(-1)",
        "jnp.arange(batch * count)",
        (_TESTS + "test_beams",),
    ),
    (
        "generation: the scores of a padded place follow a prompt",
        _ROOM + "_stepping.py",
        "cache=cache), lengths - 1))",
        "cache=cache), lengths * 0 + tokens.shape[1] - 1))",
        (_TESTS + "test_the_likeliest_tokens_up_to_a_stop",),
    ),
    (
        "generation: a penalty rewards what is below 0",
        _ROOM + "_choosing.py",
        "jnp.where(scores > 0, scores / penalty, scores * penalty)",
        "scores / penalty",
        (_TESTS + "test_a_penalty_of_scores_of_either_sign",),
    ),
    (
        "generation: a text that has ended grows on",
        _ROOM + "_choosing.py",
        "progress.lengths = progress.lengths + going",
        "progress.lengths = progress.lengths + 1",
        (_TESTS + "test_the_likeliest_tokens_up_to_a_stop",),
    ),
    (
        "generation: a temperature multiplies",
        _ROOM + "_choosing.py",
        "scores = scores / settings.temperature",
        "scores = scores * settings.temperature",
        (_TESTS + "test_draws_have_the_distribution_that_the_settings_say",),
    ),
    (
        "generation: one key for all texts",
        _ROOM + "_choosing.py",
        "jax.vmap(jax.random.categorical)(keys, scores)",
        "jax.vmap(lambda one: jax.random.categorical(keys[0], one))(scores)",
        (_TESTS + "test_draws_have_the_distribution_that_the_settings_say",),
    ),
    (
        "generation: guesses are taken as they come",
        _ROOM + "_speculative.py",
        "* hoped < right",
        "* right < hoped",
        (_TESTS + "test_a_draft_keeps_the_distribution",),
    ),
    (
        "generation: after a guess that fell the large model draws from all it gives",
        _ROOM + "_speculative.py",
        "beyond = jax.nn.softmax(best, axis=-1) - jnp.take_along_axis(given, place, 1)[:, 0]",
        "beyond = jax.nn.softmax(best, axis=-1)",
        (_TESTS + "test_a_draft_keeps_the_distribution",),
    ),
    (
        "generation: a cache forgets one token too many",
        _ROOM + "_generate.py",
        "jnp.where(going, held + count + 1, held)",
        "jnp.where(going, held + count, held)",
        (_TESTS + "test_a_draft_changes_no_greedy_token",),
    ),
    (
        "generation: what pads is remembered too",
        _ROOM + "_recalling.py",
        '{} if cache.mask is None else {"memory_mask": cache.mask}',
        "{}",
        (_TESTS + "test_families",),
    ),
    (
        "generation: prompts are as wide as their bucket, whatever the model has places for",
        _ROOM + "_prompts.py",
        "found if most is None else max(size, min(found, most))",
        "found",
        (_TESTS + "test_families", _TESTS + "test_one_step_is_compiled_for_a_bucket_of_lengths"),
    ),
    (
        "ring cache: a query sees one key too many",
        _CACHE,
        "there > ours[..., None] - slots",
        "there >= ours[..., None] - slots",
        (_RING + "test_pieces_are_as_the_whole",),
    ),
    (
        "ring cache: padding is kept",
        _CACHE,
        "jnp.where(counts & (new >= moved[:, None] - slots), ours % slots, slots)",
        "jnp.where(new >= moved[:, None] - slots, ours % slots, slots)",
        (_RING + "test_examples_of_unequal_length",),
    ),
    (
        "ring cache: the first of a long text are kept",
        _CACHE,
        "counts & (new >= moved[:, None] - slots)",
        "counts & (new < slots)",
        (_RING + "test_pieces_are_as_the_whole",),
    ),
    (
        "generation: a prompt behind another one forgets it",
        "nn/attention/_attention.py",
        "cond((start == 0).all(), first,",
        "cond((start >= 0).all(), first,",
        (_MANY,),
    ),
    (
        "generation: what does not count in a first prompt is read",
        "nn/attention/_attention.py",
        "(jnp.where(counts[..., None, None], x.astype(held), 0) for x in (k, v))",
        "(x.astype(held) for x in (k, v))",
        (_MANY,),
    ),
]
