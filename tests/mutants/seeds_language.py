"""Faults of the engine of language models: slots, blocks, turns, prefixes, draws, penalties, ends."""

_SCHEDULER = "tests/serving/language/test_scheduler.py::"
_TOKENS = "tests/serving/language/test_tokens.py::"
_ENGINE = "tests/serving/language/test_engine.py::"
_CLIENTS = _SCHEDULER + "test_random_clients"
_HERE = "serving/language/"
_SLOTS = "nn/attention/_slot_cache.py"

MUTANTS = [
    (
        "language: a block of the first positions is read for all",
        _SLOTS,
        "part = jax.lax.dynamic_slice(held, (self.first, i * _BLOCK, 0, 0)",
        "part = jax.lax.dynamic_slice(held, (self.first, 0, 0, 0)",
        ("tests/nn/test_slot_cache.py::test_texts_in_slots_are_those_alone[plain]",),
    ),
    (
        "language: sums over blocks do not fade where a later one has a higher score",
        _SLOTS,
        "return higher, total * faded + weights.sum(-1), y * faded[..., None] + given",
        "return higher, total + weights.sum(-1), y + given",
        ("tests/nn/test_slot_cache.py::test_texts_in_slots_are_those_alone[plain]",),
    ),
    (
        "language: a window of a slot is one position too wide",
        _SLOTS,
        "seen & (to >= at[..., None] - window)",
        "seen & (to >= at[..., None] - window - 1)",
        ("tests/nn/test_slot_cache.py::test_texts_in_slots_are_those_alone[window]",),
    ),
    (
        "language: what does not count is written too",
        _SLOTS,
        "jnp.where(new < lengths[:, None], self.position[:, None] + new, length)",
        "jnp.where(new <= lengths[:, None], self.position[:, None] + new, length)",
        ("tests/nn/test_slot_cache.py::test_what_does_not_count_is_not_written",),
    ),
    (
        "language: a prefix of another adapter is taken",
        _HERE + "_prefixes.py",
        "if one.adapter == adapter and len(one.tokens)",
        "if len(one.tokens)",
        (_CLIENTS,),
    ),
    (
        "language: the last token of a prompt is not computed anew",
        _HERE + "_scheduler.py",
        "count = min(count, len(text.tokens) - 1)",
        "count = min(count, len(text.tokens))",
        (_SCHEDULER + "test_of_a_prompt_that_is_there_the_last_token_is_left",),
    ),
    (
        "language: what is kept goes over the slot that a prefix comes from",
        _HERE + "_scheduler.py",
        "if text is None and i != source]",
        "if text is None]",
        (_SCHEDULER + "test_what_is_kept_does_not_go_where_a_prefix_comes_from",),
    ),
    (
        "language: the oldest slot is the one of most use",
        _HERE + "_scheduler.py",
        "oldest = min([*free, target], key=self._used.__getitem__)",
        "oldest = max([*free, target], key=self._used.__getitem__)",
        (_SCHEDULER + "test_what_two_conversations_said_stays_while_there_is_room",),
    ),
    (
        "language: a client's only text may lose its slot",
        _HERE + "_scheduler.py",
        "if running[client] or running[most] < 2:",
        "if running[client] or running[most] < 1:",
        (_SCHEDULER + "test_who_has_two_slots_gives_the_later_to_who_has_none",),
    ),
    (
        "language: a text whose slot is taken away is forgotten",
        _HERE + "_scheduler.py",
        "self._queues.setdefault(most, deque()).appendleft(text)",
        "self._queues.setdefault(most, deque())",
        (_SCHEDULER + "test_who_has_two_slots_gives_the_later_to_who_has_none",),
    ),
    (
        "language: a text that moves down forgets what it had",
        _HERE + "_scheduler.py",
        "        self._enter(text, target, filled)\n\n    def _tidy",
        "        self._enter(text, target, filled + 1)\n\n    def _tidy",
        (_CLIENTS,),
    ),
    (
        "language: time without asking earns a turn",
        _HERE + "_turns.py",
        "max(self._had.pop(client, 0), least)",
        "max(self._had.pop(client, 0), 0)",
        (_SCHEDULER + "test_a_clients_turn",),
    ),
    (
        "language: long prompts go on before short ones begin",
        _HERE + "_scheduler.py",
        "key=lambda t: (t.fed_at, t.began)",
        "key=lambda t: (-t.fed_at, t.began)",
        (_SCHEDULER + "test_a_short_prompt_goes_before_the_rest_of_a_long_one",),
    ),
    (
        "language: the key of a draw is used again",
        _HERE + "_sampling.py",
        "jax.random.key_data(pairs[:, 0])",
        "jax.random.key_data(pairs[:, 1])",
        (_TOKENS + "test_penalties_and_bias_by_their_definition",),
    ),
    (
        "language: a top_p keeps one token fewer",
        _HERE + "_sampling.py",
        "edge = jnp.take_along_axis(rising, vocabulary - count, -1)",
        "edge = jnp.take_along_axis(rising, jnp.minimum(vocabulary - count + 1, vocabulary - 1), -1)",
        (_ENGINE + "test_cuts_are_those_of_the_functions",),
    ),
    (
        "language: of equal scores those of lower index stay",
        _HERE + "_sampling.py",
        "rank = jnp.cumsum(equal[:, ::-1], axis=-1)[:, ::-1]",
        "rank = jnp.cumsum(equal, axis=-1)",
        (_ENGINE + "test_cuts_are_those_of_the_functions",),
    ),
    (
        "language: presence is paid for each time",
        _HERE + "_writing.py",
        "if token not in self._new:",
        "if True:",
        (_TOKENS + "test_penalties_and_bias_by_their_definition",),
    ),
    (
        "language: a stop may begin in the prompt",
        _HERE + "_text.py",
        "self.written >= len(end) and self._ends_with(end)",
        "self._ends_with(end)",
        (_CLIENTS,),
    ),
    (
        "language: an error of one text's code ends the others",
        _HERE + "_engine.py",
        "                self._fail(text, error)\n        found = programs",
        "                raise error\n        found = programs",
        (_ENGINE + "test_an_error_ends_its_text_and_not_the_engine",),
    ),
    (
        "language: memory of half the slots is told",
        _HERE + "_memory.py",
        "return sum(2 * room * math.prod(heads)",
        "return sum(room * math.prod(heads)",
        (_ENGINE + "test_memory_is_told_before_it_is_taken_and_chooses_the_slots",),
    ),
]
