"""Faults of OpenAI's protocol: texts on their way, tokens, calls, schemas, limits, who leaves; and of text streams."""

_TEXT = "tests/serving/openai/test_text.py::"
_PROTOCOL = "tests/serving/openai/test_protocol.py::"
_MODELS = "tests/serving/openai/test_models.py::"
_STREAM = "tests/data/test_text_stream.py::"
_HERE = "serving/openai/"

MUTANTS = [
    (
        "openai: vectors of an adapter are the model's",
        "serving/openai/_embeddings.py",
        "model.engine.embed(text, entry.adapter)",
        "model.engine.embed(text)",
        ("tests/serving/openai/test_models.py::test_vectors_of_a_language_model_are_means_of_its_last_features",),
    ),
    (
        "openai: vectors of language models take all the time that they need",
        "serving/openai/_embeddings.py",
        "asyncio.timeout(asked.seconds(asked.repository.limits.seconds))",
        "asyncio.timeout(60)",
        ("tests/serving/openai/test_models.py::test_vectors_of_a_language_model_are_means_of_its_last_features",),
    ),
    (
        "openai: half a character is shown",
        "data/text/_streaming.py",
        "whole = text if len(self._held) > _LONGEST_WAIT else text.rstrip(_UNFINISHED)",
        "whole = text",
        (_STREAM + "test_characters_of_several_tokens_come_whole",),
    ),
    (
        "openai: a text forgets the token before when only special ones came",
        "data/text/_streaming.py",
        "            self._context = [*self._context, *self._held]\n",
        "            self._context = self._held\n",
        (_STREAM + "test_special_tokens_between_give_nothing_and_lose_no_blank",),
    ),
    (
        "openai: a byte of a byte-level vocabulary is its character's number",
        "data/text/_bytes.py",
        "lambda piece: bytes(table[c] for c in piece)",
        "lambda piece: piece.encode()",
        (_STREAM + "test_bytes_of_tokens_together_are_the_text",),
    ),
    (
        "openai: what may become a string that ends the text does not wait",
        _HERE + "_stopping.py",
        "waits = max(beginning(self._held, stop) for stop in self._stops)",
        "waits = 0",
        (_TEXT + "test_a_string_ends_a_text_however_it_is_cut",),
    ),
    (
        "openai: the first string of the list ends the text, not the first that is complete",
        _HERE + "_stopping.py",
        "end, _, self.found = min(ends)",
        "end, _, self.found = ends[0]",
        (_TEXT + "test_a_string_ends_a_text_however_it_is_cut",),
    ),
    (
        "openai: the beginning of a string is at most half of it",
        _HERE + "_stopping.py",
        "most = min(len(mark) - 1, len(text))",
        "most = min(len(mark) // 2, len(text))",
        (_TEXT + "test_a_string_ends_a_text_however_it_is_cut",),
    ),
    (
        "openai: tokens of the string that ended a text are told",
        _HERE + "_writing.py",
        "if cut and self._waiting[0].start >= self._shown:",
        "if cut and self._waiting[0].start > self._fed:",
        (_TEXT + "test_tokens_of_a_string_that_ends_the_text_are_none_of_it",),
    ),
    (
        "openai: the token that ends a text is a part of it",
        _HERE + "_writing.py",
        "            if not by_token:\n",
        "            if True:\n",
        (_TEXT + "test_tokens_come_with_the_text_that_they_are_made_of",
         _TEXT + "test_an_end_that_is_no_special_token_is_no_text_and_time_that_is_over_an_error"),
    ),
    (
        "openai: what waited is lost when a text is cut off",
        _HERE + "_writing.py",
        "            out += self._stops.rest()\n",
        "            self._stops.rest()\n",
        (_TEXT + "test_a_text_that_is_cut_off_gives_what_waited",),
    ),
    (
        "openai: a text goes on when a string has ended it",
        _HERE + "_writing.py",
        "        finally:\n            self.cancel()\n",
        "        finally:\n            pass\n",
        (_TEXT + "test_a_text_that_a_string_ends_is_written_no_further",),
    ),
    (
        "openai: all choices draw by one seed",
        _HERE + "_options.py",
        "min(self.seed + choice, _LAST_SEED)",
        "self.seed",
        (_PROTOCOL + "test_options_are_the_engines",),
    ),
    (
        "openai: cuts beside a temperature of 0 reach the engine",
        _HERE + "_options.py",
        "top_p=self.top_p if drawn else None",
        "top_p=self.top_p",
        (_PROTOCOL + "test_options_are_the_engines",),
    ),
    (
        "openai: room is not counted from the prompt",
        _HERE + "_options.py",
        "room, wanted = language.longest - len(prompt), options.max_new",
        "room, wanted = language.longest, options.max_new",
        (_PROTOCOL + "test_options_are_the_engines",),
    ),
    (
        "openai: fields that nobody reads are passed over",
        _HERE + "_fields.py",
        "        if left:\n",
        "        if left and self._path:\n",
        (_PROTOCOL + "test_what_is_refused_says_which_field_and_why",),
    ),
    (
        "openai: a call of a function that there is not is a call",
        _HERE + "_calling.py",
        'if not isinstance(value, dict) or value.get("name") not in names:',
        'if not isinstance(value, dict) or "name" not in value:',
        (_TEXT + "test_calls_are_found_however_their_text_is_cut",),
    ),
    (
        "openai: calls in parts all have the first place",
        _HERE + "_chat.py",
        "first = self._called[number] - len(calls)",
        "first = 0",
        (_PROTOCOL + "test_tools_are_shown_called_and_answered",),
    ),
    (
        "openai: tools are shown where none may be called",
        _HERE + "_tools.py",
        'return list(self.declared) if self.declared and self.choice != "none" else None',
        "return list(self.declared) if self.declared else None",
        (_PROTOCOL + "test_tools_are_shown_called_and_answered",),
    ),
    (
        "openai: choices share one matcher of a grammar",
        _HERE + "_grammar.py",
        "return Grammar(self._matcher.deep_copy(), self._vocabulary, self._ends)",
        "return Grammar(self._matcher, self._vocabulary, self._ends)",
        (_MODELS + "test_answers_in_json_are_what_the_schema_allows",),
    ),
    (
        "openai: a text may end where the schema has more",
        _HERE + "_grammar.py",
        "found[self._ends] = self._matcher.is_accepting()",
        "found[self._ends] = True",
        (_MODELS + "test_answers_in_json_are_what_the_schema_allows",
         _MODELS + "test_calls_that_are_forced_are_calls"),
    ),
    (
        "openai: an adapter is the model itself",
        _HERE + "_finding.py",
        "yield Entry(adapter, version, adapter)",
        "yield Entry(adapter, version)",
        (_MODELS + "test_an_adapter_is_a_model_of_its_own",),
    ),
    (
        "openai: what fills a text up counts in its vector",
        "serving/language/_sentences.py",
        "tokens[row, : len(text)], mask[row, : len(text)] = text, True",
        "tokens[row, : len(text)], mask[row] = text, True",
        (_MODELS + "test_vectors_are_the_encoders",),
    ),
    (
        "openai: generation_config.json ends no text",
        "serving/language/_opening.py",
        "return LanguageModel(model, tokenizer, ends=_ends(path), **how.engine())",
        "return LanguageModel(model, tokenizer, **how.engine())",
        (_MODELS + "test_completions_are_those_of_generate_also_side_by_side",),
    ),
    (
        "openai: each text of a request counts as one client's first",
        "serving/http/_spending.py",
        "if self._requests is not None and running + texts > self._requests:",
        "if self._requests is not None and running + 1 > self._requests:",
        (_PROTOCOL + "test_keys_and_what_each_client_may_take",),
    ),
    (
        "openai: tokens come back at once",
        "serving/http/_spending.py",
        "return min(self._tokens, left + (self._clock() - then) * self._tokens / _MINUTE)",
        "return min(self._tokens, left + (self._clock() - then) * self._tokens * _MINUTE)",
        (_PROTOCOL + "test_keys_and_what_each_client_may_take",
         "tests/serving/openai/test_limits.py::test_tokens_come_back_evenly_and_debts_are_paid"),
    ),
    (
        "openai: whoever has a key is the same client",
        "serving/_keys.py",
        'return f"key {found[0]}" if len(self._keys) > 1 else ""',
        'return ""',
        (_PROTOCOL + "test_keys_and_what_each_client_may_take",),
    ),
    (
        "openai: the first part of a text is not told",
        _HERE + "_events.py",
        """            for choice in opening:
                yield self._part(choice)
            try:
""",
        """            async for _ in _followed(asked, self.order, writings):
                break
            for choice in opening:
                yield self._part(choice)
            try:
""",
        (_PROTOCOL + "test_an_answer_whole_and_in_parts",),
    ),
]  # fmt: skip
