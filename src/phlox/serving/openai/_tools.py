"""What a model may call, and the form in which it writes that it does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from phlox.serving.openai._fields import Fields, refused

Style = Literal["tagged", "plain"]
"""How a call stands in a text: ``<tool_call>{"name", "arguments"}</tool_call>``, as Hermes and Qwen have it, or
``{"name", "parameters"}`` alone, as Llama 3 has it."""

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MOST = 128
_BLANKS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Blanks in a call that is forced: as templates write calls, which is what models have seen."""


@dataclass(frozen=True)
class Tools:
    """Functions that may be called.

    Arguments:
        declared: each as the request has it, which is what templates read.
        choice: ``"none"``, ``"auto"``, ``"required"``, or the name of the one that must be called.
    """

    declared: tuple[Mapping[str, Any], ...] = ()
    choice: str = "none"

    @property
    def shown(self) -> list[Mapping[str, Any]] | None:
        """What the template is told of."""
        return list(self.declared) if self.declared and self.choice != "none" else None

    @property
    def names(self) -> list[str]:
        """The functions' names."""
        return [one["function"]["name"] for one in self.declared]

    @property
    def forced(self) -> bool:
        """Whether the text must be a call."""
        return self.choice not in ("none", "auto")

    def grammar(self, style: Style) -> str:
        """A grammar whose texts are one call of a function that may be called now, as the model writes it."""
        schemas = [_called(one["function"], style) for one in self.declared if self._may_be(one["function"]["name"])]
        schema = {**(schemas[0] if len(schemas) == 1 else {"anyOf": schemas}), "x-guidance": _BLANKS}
        call = f"call: %json {json.dumps(schema)}\n"
        return f'start: "{OPEN}\\n" call "\\n{CLOSE}"\n{call}' if style == "tagged" else f"start: call\n{call}"

    def _may_be(self, name: str) -> bool:
        return self.choice in ("required", name)


def _called(function: Mapping[str, Any], style: Style) -> dict[str, Any]:
    """The schema of a call."""
    parameters = function.get("parameters") or {"type": "object", "properties": {}, "additionalProperties": False}
    key = "arguments" if style == "tagged" else "parameters"
    defined = {name: parameters[name] for name in ("$defs", "definitions") if name in parameters}
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, key: parameters},
        "required": ["name", key],
        "additionalProperties": False,
        **defined,
    }


def style_of(template: str) -> Style:
    """The form of calls that a chat template has."""
    return "tagged" if OPEN in template else "plain"


def read_tools(fields: Fields) -> Tools:
    """The functions of a request.

    Raises:
        InvalidRequestError: no function, or a choice that is none of them.
    """
    declared = tuple(_tool(one) for one in fields.objects("tools"))
    fields.refuse("functions", "tools", "send tools in its place", [])
    fields.refuse("function_call", "tool_choice", "send tool_choice in its place", "none", "auto")
    parallel = fields.flag("parallel_tool_calls", True)
    names = [one["function"]["name"] for one in declared]
    if len(set(names)) < len(names) or len(names) > _MOST:
        fix = "name each by a name of its own"
        raise refused("tools", f"at most {_MOST} functions of different names", got=", ".join(names), fix=fix)
    choice = _choice(fields, names)
    if not parallel and choice == "auto":
        fix = "leave it out, or force a call by tool_choice: one is made then"
        raise refused("parallel_tool_calls", "true beside tool_choice auto", got="false", fix=fix)
    return Tools(declared, choice)


def _tool(told: Fields) -> Mapping[str, Any]:
    whole = told.whole_content()
    told.one_of("type", ("function",), "function")
    function = told.inner("function")
    if function is None:
        fix = 'send {"type": "function", "function": {"name": …, "parameters": …}}'
        raise refused(told.name("function"), "a function", got="none", fix=fix)
    name = function.needed("name")
    if not _NAME.fullmatch(name):
        fix = "use letters, digits, _, - and ., at most 64 of them"
        raise refused(function.name("name"), "a name", got=name, fix=fix)
    function.text("description")
    function.inner("parameters")
    function.flag("strict")
    function.refuse_others()
    return whole


def _choice(fields: Fields, names: Sequence[str]) -> str:
    told = fields.take("tool_choice")
    if told is None:
        return "auto" if names else "none"
    if isinstance(told, dict):
        chosen = told.get("function")
        told = chosen.get("name") if isinstance(chosen, dict) else None
        if told in names:
            return str(told)
    elif told in ("none", "auto") or (told == "required" and names):
        return told if names else "none"
    expected = f"none, auto, required, or a function among {', '.join(names) or 'none'}"
    fix = 'send {"type": "function", "function": {"name": …}} with one of the tools'
    raise refused("tool_choice", expected, got=fields.take("tool_choice"), fix=fix)
