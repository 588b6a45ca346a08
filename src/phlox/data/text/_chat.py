"""Chats as the text that a model was trained on, by the template that comes with it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from phlox.core import MissingExtraError, PhloxError, StructureError, describe

Messages = Sequence[Mapping[str, Any]]
_WHERE = "ChatTemplate"
_FAILURES = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


class ChatTemplateError(PhloxError, ValueError):
    """A chat template that refuses its messages, cannot be read, or does what it must not."""


class ChatTemplate:
    """A chat as a text, by a template of jinja2 as models have it.

    The template runs in a sandbox: it reads messages and writes text, and reaches nothing of Python. Loops and strings
    are bounded, so that one that comes with somebody's weights neither hangs nor fills the memory.

    Arguments:
        text: the template.
        variables: what it reads beside the messages, such as ``bos_token="<s>"``.

    Raises:
        ChatTemplateError: it is no template. MissingExtraError: without the extra ``text``.

    >>> import phlox as px
    >>> text = "{% for m in messages %}<{{ m.role }}> {{ m.content }}\\n{% endfor %}"
    >>> text += "{% if add_generation_prompt %}<bot>{% endif %}"
    >>> px.data.text.ChatTemplate(text).render([{"role": "user", "content": "Hello"}])
    '<user> Hello\\n<bot>'
    """

    text: str
    variables: dict[str, Any]

    def __init__(self, text: str, **variables: Any):
        self.text, self.variables = text, variables
        _compiled(text)

    def render(
        self,
        messages: Messages,
        generate: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> str:
        """The text of a chat.

        Arguments:
            messages: ``{"role": "user", "content": "…"}`` and so on; entries that are None are left out.
            generate: end with what an answer begins with.
            tools: what the model may call, each as a JSON schema.
            variables: what the template reads beside, before those of the template.

        Raises:
            ChatTemplateError: the template refuses the messages, or does what it must not.
            StructureError: no messages.
        """
        return self._rendered(messages, generate, tools, variables, None)

    def render_spans(
        self,
        messages: Messages,
        generate: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> tuple[str, list[tuple[int, int]]]:
        """The text of a chat, and where in it stands what the assistant wrote, in characters.

        Raises:
            ChatTemplateError: also where the template does not tell, for want of ``{% generation %}``.
        """
        if not re.search(r"\{%[-+]?\s*generation\s*[-+]?%\}", self.text):
            fix = "put {% generation %} … {% endgeneration %} around what the assistant writes"
            raise ChatTemplateError("a template that tells what the assistant wrote", got="none", fix=fix, where=_WHERE)
        name = secrets.token_hex(8)  # so that no message can hold it
        marks = f"\x02{name}\x02", f"\x03{name}\x03"
        return _taken_out(self._rendered(messages, generate, tools, variables, marks), marks)

    def _rendered(
        self, messages: Any, generate: bool, tools: Any, variables: dict[str, Any], marks: tuple[str, str] | None
    ) -> str:
        known = {"documents": None, **self.variables, **variables}
        context = {name: _plain(value) for name, value in known.items()}
        context |= {"messages": _checked(messages), "tools": _checked_tools(tools), "add_generation_prompt": generate}
        template, sandbox = _compiled(self.text), _sandbox()
        try:
            with sandbox.running(marks):
                return template.render(context)
        except (sandbox.TemplateError, *_FAILURES) as error:
            raise _failure(error) from error

    def __repr__(self) -> str:
        return f"ChatTemplate({len(self.text)} characters)"


def _sandbox() -> Any:
    try:
        from phlox.data.text import _sandbox
    except ImportError as error:
        raise MissingExtraError(
            "jinja2 for chat templates", got="it is not installed", fix='pip install "phlox[text]"', where=_WHERE
        ) from error
    return _sandbox


@lru_cache(maxsize=32)
def _compiled(text: str) -> Any:
    sandbox = _sandbox()
    try:
        return sandbox.Environment().compiled(text)
    except (sandbox.TemplateError, *_FAILURES) as error:
        raise _failure(error) from error


def _failure(error: BaseException) -> ChatTemplateError:
    sandbox = _sandbox()
    line = getattr(error, "lineno", None)
    got = f"{error or type(error).__name__}{'' if line is None else f' (line {line})'}"
    if isinstance(error, sandbox.RefusedError):
        return ChatTemplateError("messages that it takes", got=got, fix="change the messages as it says", where=_WHERE)
    if isinstance(error, sandbox.SpentError):
        fix = "do not use this template; a chat of ordinary length never takes so much"
        return ChatTemplateError("a template that comes to an end", got=got, fix=fix, where=_WHERE)
    if isinstance(error, sandbox.SecurityError):
        fix = "do not use this template: none needs this"
        return ChatTemplateError("a template that reads messages and writes text", got=got, fix=fix, where=_WHERE)
    if line is not None:
        fix = "look at that line; filters and tags are those of jinja2"
        return ChatTemplateError("a template of jinja2", got=got, fix=fix, where=_WHERE)
    fix = "give messages with the entries that the template reads, often role and content"
    return ChatTemplateError("messages that the template can read", got=f"{type(error).__name__}: {got}", fix=fix,
                             where=_WHERE)  # fmt: skip


def _taken_out(text: str, marks: tuple[str, str]) -> tuple[str, list[tuple[int, int]]]:
    """The text without its marks, and what stood between them."""
    parts = re.split("|".join(map(re.escape, marks)), text)
    kinds = re.findall("|".join(map(re.escape, marks)), text)
    spans, place, began = [], 0, 0
    for part, kind in zip(parts, kinds, strict=False):
        place += len(part)
        if kind == marks[0]:
            began = place
        else:
            spans.append((began, place))
    return "".join(parts), spans


# --- what a template sees ---------------------------------------------------------------------------


def _checked(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, (list, tuple)) or not messages or not all(isinstance(m, Mapping) for m in messages):
        got = describe(messages) if not isinstance(messages, (list, tuple)) else f"{len(messages)} of something else"
        fix = 'give a list such as [{"role": "user", "content": "Hello"}]'
        raise StructureError("messages, each a dict", got=got, fix=fix, where=_WHERE)
    return [{key: _plain(value) for key, value in message.items() if value is not None} for message in messages]


def _checked_tools(tools: Any) -> Any:
    if tools is None:
        return None
    if not isinstance(tools, (list, tuple)) or not all(isinstance(tool, Mapping) for tool in tools):
        got = ", ".join(describe(tool) for tool in tools) if isinstance(tools, (list, tuple)) else describe(tools)
        fix = 'give {"type": "function", "function": {"name": …, "description": …, "parameters": …}}'
        raise StructureError("tools, each as a JSON schema", got=got, fix=fix, where=_WHERE)
    return _plain(tools)


def _plain(value: Any) -> Any:
    """What JSON has of a value; anything else, such as an image, as its type's name: it has methods that do things."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):  # an enumeration, say, that has methods of its own
        return str.__str__(value)
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _plain(value.item()) if isinstance(value, np.generic) else f"<{type(value).__name__}>"
