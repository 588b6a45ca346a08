"""A chat's messages, as templates read them."""

from __future__ import annotations

import json
from typing import Any

from phlox.serving.openai._fields import Fields, refused

_ROLES = ("system", "developer", "user", "assistant", "tool")


def read_messages(fields: Fields) -> list[dict[str, Any]]:
    """The messages of a request.

    Raises:
        InvalidRequestError: none, or one of another form.
    """
    found = [_message(message) for message in fields.objects("messages")]
    if not found:
        fix = 'send [{"role": "user", "content": "Hello"}]'
        raise refused(fields.name("messages"), "a message at least", got="none", fix=fix)
    return found


def _message(told: Fields) -> dict[str, Any]:
    role = told.one_of("role", _ROLES, None)
    if role is None:
        raise refused(told.name("role"), f"one of {', '.join(_ROLES)}", got="none", fix="say who speaks")
    made: dict[str, Any] = {"role": "system" if role == "developer" else role, "content": _content(told)}
    told.ignore("refusal", "annotations")
    told.refuse("audio", "text", "leave it out")
    told.refuse("function_call", "tool_calls", "send tool_calls in its place")
    if (name := told.text("name")) is not None:
        made["name"] = name
    if role == "assistant":
        calls = [_call(one) for one in told.objects("tool_calls")]
        made |= {"tool_calls": calls} if calls else {}
        if (thought := told.text("reasoning_content")) is not None:
            made["reasoning_content"] = thought
    if role == "tool":
        made["tool_call_id"] = told.needed("tool_call_id")
    if made["content"] is None and "tool_calls" not in made:
        raise refused(told.name("content"), "text", got="none", fix="send a string")
    told.refuse_others()
    return made


def _content(told: Fields) -> str | None:
    """The text of a message, whose parts may stand in a list."""
    content = told.take("content")
    if content is None or isinstance(content, str):
        return content
    parts = told.objects("content")
    return "".join(map(_part, parts))


def _part(told: Fields) -> str:
    kind = told.text("type")
    if kind != "text":
        fix = "send parts of text alone"
        raise refused(told.name("type"), "'text'", got=kind, fix=fix, reason="unsupported_content")
    found = told.text("text", "")
    told.refuse_others()
    return found


def _call(told: Fields) -> dict[str, Any]:
    """A call that the assistant has made: templates read its arguments as a table."""
    told.one_of("type", ("function",), "function")
    function = told.inner("function")
    if function is None:
        raise refused(told.name("function"), "a name and arguments", got="none", fix="send what was answered")
    arguments = function.text("arguments", "{}")
    try:
        read = json.loads(arguments)
    except (ValueError, RecursionError):
        read = arguments
    made = {"name": function.needed("name"), "arguments": read}
    function.refuse_others()
    made_call = {"id": told.needed("id"), "type": "function", "function": made}
    told.ignore("index")
    told.refuse_others()
    return made_call
