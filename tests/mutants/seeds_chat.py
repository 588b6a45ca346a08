"""Faults of phlox chat, of losses on preferences, and of what is put into a slot of a cache."""

_CHAT, _TORCH = "tests/cli/test_chat.py::", "tests/losses/test_against_torch.py::"
_DPO = _TORCH + "test_dpo_loss_is_the_log_sigmoid_of_what_the_model_prefers_beyond_the_reference"
_TALK = _CHAT + "test_answers_are_those_of_generate_on_all_that_was_said"
_CONVERSATION, _PIECES, _LOSSES = "cli/_conversation.py", "cli/_pieces.py", "losses/_preference.py"

MUTANTS = [
    (
        "chat: the line comes before what was said",
        _CONVERSATION,
        'for role, text in [*said, ("user", line)]',
        'for role, text in [("user", line), *said]',
        (_TALK,),
    ),
    (
        "chat: the newest turn is forgotten",
        _CONVERSATION,
        "kept.pop(0)",
        "kept.pop()",
        (_CHAT + "test_the_oldest_turns_are_forgotten_where_there_are_no_places",),
    ),
    (
        "chat: the end of a plain text is read too",
        _CONVERSATION,
        "return tokens[:-1] if over else tokens",
        "return tokens",
        (_CHAT + "test_without_a_template_a_text_is_gone_on_with",),
    ),
    (
        "chat: what ends an answer is part of it",
        _PIECES,
        "return self._text(max((len(end) for end in self.ends if self._ends_with(end)), default=0))",
        "return self._text(0)",
        (_TALK,),
    ),
    (
        "chat: halves of characters are shown",
        _PIECES,
        ".rstrip(_UNFINISHED)",
        "",
        (_CHAT + "test_characters_appear_whole_and_none_is_lost",),
    ),
    (
        "chat: the beginning of an end is shown",
        _PIECES,
        "for n in range(1, len(end) + 1)",
        "for n in [len(end)]",
        (_CHAT + "test_the_beginning_of_an_end_waits_until_it_is_one",),
    ),
    (
        "chat: an answer that was stopped is forgotten",
        "cli/_chat.py",
        "self.conversation.add(line, pieces.text)",
        "self.conversation.turns and self.conversation.add(line, pieces.text)",
        (_CHAT + "test_a_person_stops_an_answer_and_talks_on",),
    ),
    (
        "chat: all answers are drawn by one key",
        "cli/_chat.py",
        "jax.random.fold_in(jax.random.key(self.seed), turn)",
        "jax.random.key(self.seed)",
        (_CHAT + "test_draws_are_those_of_generate_by_the_seed_and_the_turn",),
    ),
    (
        "dpo_loss: the rejected text is preferred",
        _LOSSES,
        "jax.nn.softplus(-h) + smoothing * jax.nn.softplus(h)",
        "jax.nn.softplus(h) + smoothing * jax.nn.softplus(-h)",
        (_DPO,),
    ),
    (
        "dpo_loss: without beta",
        _LOSSES,
        "h = beta * (",
        "h = (",
        (_DPO,),
    ),
    (
        "dpo_loss: the references are swapped",
        _LOSSES,
        "(good - good_before) - (bad - bad_before)",
        "(good - bad_before) - (bad - good_before)",
        (_DPO,),
    ),
    (
        "sequence_log_prob: a mean",
        _LOSSES,
        "-jnp.sum(cross_entropy(",
        "-jnp.mean(cross_entropy(",
        (_TORCH + "test_the_log_probability_of_a_text_is_that_of_its_tokens_that_count",),
    ),
    (
        "generation: a text comes into a slot without its memory",
        "models/generation/_stepping.py",
        "for path, array in paths(many).items()",
        'for path, array in paths(many).items() if "memory" not in path',
        ("tests/models/test_generation.py::test_a_text_comes_with_its_memory_into_a_slot",),
    ),
]
