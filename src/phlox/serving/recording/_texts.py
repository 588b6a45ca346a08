"""The columns of a request for text: prompts or messages, what was written, how many tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

_PROMPTS = ("prompt", "input")


def columns_of(body: bytes, answer: bytes) -> dict[str, np.ndarray]:
    """Inputs and outputs of OpenAI's protocol, by column; what does not fit it is left out.

    >>> body = b'{"messages": [{"role": "user", "content": "Hello"}], "temperature": 0.5, "user": "ada"}'
    >>> answer = b'{"choices": [{"message": {"content": "Hi"}}], "usage": {"completion_tokens": 1}}'
    >>> for name, column in columns_of(body, answer).items():
    ...     print(name, column.tolist())
    inputs.roles ['user']
    inputs.contents ['Hello']
    inputs.temperature 0.5
    inputs.user ['ada']
    outputs.text ['Hi']
    outputs.completion_tokens 1
    """
    return {**dict(_inputs(_object(body))), **dict(_outputs(answer))}


def _inputs(told: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    for name in _PROMPTS:
        if name in told:
            prompts = told[name] if isinstance(told[name], list) else [told[name]]
            yield f"inputs.{name}", _texts(map(_plain, prompts))
    if isinstance(messages := told.get("messages"), list):
        read = [one for one in messages if isinstance(one, dict)]
        yield "inputs.roles", _texts(str(one.get("role", "")) for one in read)
        yield "inputs.contents", _texts(_content(one.get("content")) for one in read)
    for name, value in told.items():
        if isinstance(value, bool | int | float):
            yield f"inputs.{name}", np.asarray(value)
        elif name == "user" and isinstance(value, str):
            yield "inputs.user", _texts([value])


def _outputs(answer: bytes) -> Iterator[tuple[str, np.ndarray]]:
    parts = list(_events(answer)) if answer.startswith(b"data:") else [_object(answer)]
    texts, calls, ends = dict[int, str](), dict[int, str](), dict[int, str]()
    for part in parts:
        for choice in part.get("choices") or () if isinstance(part.get("choices"), list) else ():
            at, said = choice.get("index", 0), choice.get("message") or choice.get("delta") or choice
            texts[at] = texts.get(at, "") + str(said.get("text") or said.get("content") or "")
            if said.get("tool_calls"):
                calls[at] = calls.get(at, "") + json.dumps(said["tool_calls"])
            if choice.get("finish_reason"):
                ends[at] = str(choice["finish_reason"])
    for name, found in (("text", texts), ("calls", calls), ("finish", ends)):
        if found:
            yield f"outputs.{name}", _texts(found[at] for at in sorted(found))
    for part in parts:
        for name, value in (part.get("usage") or {}).items():
            if isinstance(value, int):
                yield f"outputs.{name}", np.asarray(value)


def _events(answer: bytes) -> Iterator[Mapping[str, Any]]:
    """What an answer in parts says, part by part."""
    for line in answer.splitlines():
        if line.startswith(b"data: {"):
            yield _object(line[len(b"data: ") :])


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _content(value: Any) -> str:
    """What a message says; of one in parts its texts, and the kinds of the others."""
    if not isinstance(value, list):
        return _plain(value)
    parts = (part if isinstance(part, dict) else {} for part in value)
    return "\n".join(str(part.get("text", f"[{part.get('type', 'part')}]")) for part in parts)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _texts(values: Iterable[str]) -> np.ndarray:
    found = list(values)
    made = np.empty(len(found), object)
    made[:] = found
    return made
