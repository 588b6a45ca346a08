"""Chats: what a model answers, by the template that it was trained with."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from phlox.data.text import ChatTemplateError
from phlox.serving.http._answers import Answer, Streamed
from phlox.serving.http._asked import Asked
from phlox.serving.language._model import LanguageModel
from phlox.serving.openai._calling import Call, CallReader
from phlox.serving.openai._events import Answering, Order, Whole
from phlox.serving.openai._fields import Fields, refused
from phlox.serving.openai._finding import Entry, find_language, read_fields
from phlox.serving.openai._grammar import Grammar, grammars_of
from phlox.serving.openai._messages import read_messages
from phlox.serving.openai._options import MOST_BEST, Options, read_max_new, read_options, room_for
from phlox.serving.openai._telling import of_chat
from phlox.serving.openai._tools import Tools, read_tools, style_of
from phlox.serving.openai._writing import Said, Token


async def chat_completions(asked: Asked) -> Answer | Streamed:
    """What a model answers in a chat."""
    fields = await read_fields(asked)
    entry = find_language(asked, fields)
    with entry.version.used():
        language = entry.language
        _check_template(language, entry.name)
        messages, tools, schema = read_messages(fields), read_tools(fields), _schema(fields)
        variables = _variables(fields)
        max_new = read_max_new(fields, "max_completion_tokens", "max_tokens")
        options = read_options(fields, language.vocabulary, best=_best(fields), max_new=max_new)
        _refuse(fields, tools, schema)
        prompt = await entry.version.in_thread(_prompt, language, messages, tools, variables)
        grammar = await entry.version.in_thread(_grammar, language, tools, schema)
        order = _order(asked, entry, prompt, options, grammar)
    form = _Form(language, options, tools)
    answering = Answering("chat.completion.chunk" if options.stream else "chat.completion", "chatcmpl", order)
    return answering.parts(asked, form.opening(), form.part) if options.stream else await answering.whole(asked, form)


class _Form:
    """Choices as this address has them."""

    def __init__(self, language: LanguageModel, options: Options, tools: Tools):
        self._tokenizer, self._best, self._n = language.tokenizer, options.best, options.n
        reads = tools.choice != "none"
        self._readers = [CallReader(tools.names) if reads else None for _ in range(options.n)]
        self._called = [0] * options.n

    def __call__(self, number: int, whole: Whole) -> Mapping[str, Any]:
        text, calls = self._read(number, whole.text, over=True)
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
        if calls:
            message["tool_calls"] = calls
        finish = self._finish(number, whole.finish)
        told = self._told(whole.tokens)
        return {
            "index": number, "message": message, "logprobs": told, "finish_reason": finish, "stop_reason": whole.stop,
        }  # fmt: skip

    def opening(self) -> Iterator[Mapping[str, Any]]:
        """Who speaks, before there is a token."""
        for number in range(self._n):
            delta = {"role": "assistant", "content": ""}
            yield {"index": number, "delta": delta, "logprobs": None, "finish_reason": None}

    def part(self, number: int, said: Said) -> Iterator[Mapping[str, Any]]:
        """More of an answer."""
        text, calls = self._read(number, said.text, over=said.finish is not None)
        first = self._called[number] - len(calls)
        told = [{"index": first + n, **call} for n, call in enumerate(calls)]
        delta: dict[str, Any] = {**({"content": text} if text else {}), **({"tool_calls": told} if told else {})}
        if delta or said.tokens:
            tokens = self._told(said.tokens)
            yield {"index": number, "delta": delta, "logprobs": tokens, "finish_reason": None}
        if said.finish is not None:
            finish = self._finish(number, said.finish)
            yield {
                "index": number, "delta": {}, "logprobs": None, "finish_reason": finish, "stop_reason": said.stop,
            }  # fmt: skip

    def _read(self, number: int, text: str, *, over: bool) -> tuple[str, list[dict[str, Any]]]:
        """What of a text is content, and what are calls."""
        reader = self._readers[number]
        if reader is None:
            return text, []
        said, found = reader.add(text)
        if over:
            more, calls = reader.rest()
            said, found = said + more, found + calls
        self._called[number] += len(found)
        return said, [_call(call) for call in found]

    def _finish(self, number: int, finish: str) -> str:
        return "tool_calls" if self._called[number] and finish == "stop" else finish

    def _told(self, tokens: Any) -> Mapping[str, Any] | None:
        found: list[Token] = list(tokens)
        return None if self._best is None else of_chat(self._tokenizer, found, self._best)


def _call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}


def _check_template(language: LanguageModel, name: str) -> None:
    if not language.has_template:
        fix = "ask /v1/completions, or put a chat_template into the folder"
        raise refused("model", "a model with a chat template", got=name, fix=fix)


def _prompt(language: LanguageModel, messages: Any, tools: Tools, variables: Mapping[str, Any]) -> list[int]:
    """The tokens of a chat; the template writes special ones itself."""
    tokenizer = language.tokenizer
    try:
        text = tokenizer.chat(messages, tools=tools.shown, **variables)
    except ChatTemplateError as error:
        got, fix = (error.got or "others")[:200], error.fix or "change them"
        raise refused("messages", error.expected, got=got, fix=fix) from error
    return tokenizer.encode(text, special=False)


def _variables(fields: Fields) -> dict[str, Any]:
    """What the template reads beside: how much is to be thought, and whatever else it knows."""
    told, effort = fields.inner("chat_template_kwargs"), fields.text("reasoning_effort")
    found = {} if told is None else told.whole_content()
    odd = [name for name in found if name in _OWN]
    if odd:
        raise refused(
            f"chat_template_kwargs.{odd[0]}", "variables of the template's own", got=odd[0], fix="leave it out"
        )
    return found if effort is None else {"reasoning_effort": effort, **found}


_OWN = ("messages", "tools", "generate", "template", "add_generation_prompt", "self")


def _grammar(language: LanguageModel, tools: Tools, schema: Mapping[str, Any] | None) -> Grammar | None:
    """What the answer is held to."""
    if tools.forced:
        style = style_of(language.tokenizer.template(tools=True).text)
        return grammars_of(language).of_lark(tools.grammar(style), "tools")
    return None if schema is None else grammars_of(language).of_schema(schema, "response_format")


def _order(asked: Asked, entry: Entry, prompt: list[int], options: Options, grammar: Grammar | None) -> Order:
    language, seconds = entry.language, asked.seconds(asked.repository.limits.writing)
    room = room_for(language, prompt, options, "messages", None)
    texts = [
        options.asked(
            prompt, room, choice, ends=language.ends, client=asked.client, seconds=seconds, adapter=entry.adapter,
            constraint=None if grammar is None else grammar.copy(),
        )
        for choice in range(options.n)
    ]  # fmt: skip
    stops = (*options.stop, language.turn) if language.turn else options.stop
    return Order(entry, texts, [len(prompt)], stops, False, options.usage)


def _best(fields: Fields) -> int | None:
    """How many of the likeliest tokens are told."""
    wanted, most = fields.flag("logprobs"), fields.whole("top_logprobs", 0, MOST_BEST)
    if most is not None and not wanted:
        raise refused("top_logprobs", "logprobs beside it", got="none", fix="send logprobs: true, or leave it out")
    return (most or 0) if wanted else None


def _schema(fields: Fields) -> Mapping[str, Any] | None:
    """The schema of an answer in JSON; None for any text."""
    told = fields.inner("response_format")
    if told is None:
        return None
    kind = told.one_of("type", ("text", "json_object", "json_schema"), None)
    if kind is None:
        raise refused(told.name("type"), "text, json_object or json_schema", got="none", fix="choose one of these")
    found: Mapping[str, Any] | None = None if kind == "text" else {"type": "object"}
    if kind == "json_schema":
        inner = told.inner("json_schema")
        schema = None if inner is None else inner.inner("schema")
        if inner is None or schema is None:
            fix = 'send {"type": "json_schema", "json_schema": {"name": …, "schema": {…}}}'
            raise refused(told.name("json_schema"), "a name and a schema", got="none", fix=fix)
        inner.ignore("name", "description", "strict")
        inner.refuse_others()
        found = schema.whole_content()
    told.refuse_others()
    return found


def _refuse(fields: Fields, tools: Tools, schema: Any) -> None:
    """Refuse what goes not together, and what nobody has read."""
    if tools.forced and schema is not None:
        fix = "leave one of them out"
        raise refused("response_format", "no call that is forced beside it", got="both", fix=fix)
    fields.refuse("modalities", "text alone", "leave it out", ["text"])
    fields.refuse("audio", "text alone", "leave it out")
    fields.refuse("prediction", "no guess of the answer", "leave it out")
    fields.refuse("web_search_options", "no search", "leave it out")
    fields.refuse_others()
