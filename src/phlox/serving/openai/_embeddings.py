"""Embeddings: vectors of texts."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from typing import Any

import numpy as np

from phlox.serving._errors import DeadlineError
from phlox.serving.http._answers import Answer, answer_arrays
from phlox.serving.http._asked import Asked
from phlox.serving.language._model import LanguageModel
from phlox.serving.language._sentences import TOKENS, Sentences
from phlox.serving.openai._completions import check_tokens
from phlox.serving.openai._fields import Fields, refused
from phlox.serving.openai._finding import Entry, find_vectors, read_fields

_MOST_TEXTS = 2048
Model = Sentences | LanguageModel


async def embeddings(asked: Asked) -> Answer:
    """A vector for each text."""
    fields = await read_fields(asked)
    entry, model = find_vectors(asked, fields)
    with entry.version.used(), asked.clients.asking(asked.client):
        form = fields.one_of("encoding_format", ("float", "base64"), "float")
        dimensions = fields.whole("dimensions", 1, 1 << 20, model.size)
        cut = _cut(fields, model)
        texts = await entry.version.in_thread(_texts, fields, model, cut)
        fields.ignore("user")
        fields.refuse_others()
        if dimensions != model.size:
            raise refused("dimensions", f"the model's {model.size}", got=dimensions, fix="leave it out")
        found = await _vectors(asked, entry, model, texts)
    count = sum(map(len, texts))
    asked.clients.spend(asked.client, count)
    asked.scope["phlox.metrics"].wrote(entry.version.name, entry.version.number, count, 0)
    data = [{"object": "embedding", "index": n, "embedding": _written(vector, form)} for n, vector in enumerate(found)]
    usage = {"prompt_tokens": count, "total_tokens": count}
    return answer_arrays({"object": "list", "data": data, "model": entry.name, "usage": usage})


async def _vectors(asked: Asked, entry: Entry, model: Model, texts: list[list[int]]) -> Iterable[np.ndarray]:
    """A vector for each text; of a language model one after the other, and what it writes goes on in between.

    Raises:
        DeadlineError: the time is over.
    """
    if isinstance(model, Sentences):
        return (await asked.answer(entry.version, TOKENS, model.rows(texts)))["embedding"]
    found = list[np.ndarray]()
    try:
        async with asyncio.timeout(asked.seconds(asked.repository.limits.seconds)):
            for text in texts:
                found.append(await asyncio.wrap_future(model.engine.embed(text, entry.adapter)))
    except TimeoutError as error:
        fix = "send fewer texts, or ask for more time with X-Request-Timeout"
        got = f"{len(found)} by then"
        raise DeadlineError(f"{len(texts)} vectors in their time", got=got, fix=fix, where="engine") from error
    return found


def _written(vector: np.ndarray, form: str) -> Any:
    """A vector as numbers, or as the bytes of its float32, the least first."""
    return vector if form == "float" else base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _cut(fields: Fields, model: Model) -> int | None:
    """To how many tokens longer texts are cut; None refuses them. -1 says as many as the model takes."""
    told = fields.whole("truncate_prompt_tokens", -1, model.longest)
    if told == 0:
        raise refused("truncate_prompt_tokens", "-1, or a number above 0", got=0, fix="-1 cuts to what the model takes")
    return model.longest if told == -1 else told


def _texts(fields: Fields, model: Model, cut: int | None) -> list[list[int]]:
    """The texts as tokens."""
    told = fields.take("input")
    if isinstance(told, str) or (isinstance(told, list) and told and all(isinstance(x, int) for x in told)):
        told = [told]
    if not isinstance(told, list) or not 0 < len(told) <= _MOST_TEXTS:
        fix = "send a string, a list of strings, or tokens"
        raise refused("input", f"a text, or at most {_MOST_TEXTS}", got=told, fix=fix)
    return [_text(one, model, cut) for one in told]


def _text(told: Any, model: Model, cut: int | None) -> list[int]:
    if isinstance(told, str):
        tokens = model.encode(told) if cut is None else model.cut(told, cut)
    else:
        tokens = check_tokens(told, model.vocabulary, "input")[:cut]
    if len(tokens) > model.longest:
        expected = f"texts of at most {model.longest} tokens"
        fix = "send shorter ones, or truncate_prompt_tokens: -1, which cuts them"
        raise refused("input", expected, got=f"{len(tokens)}", fix=fix, reason="context_length_exceeded")
    if not tokens:
        raise refused("input", "texts of a token at least", got="an empty one", fix="leave it out")
    return tokens
