"""Embeddings: vectors of texts."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from phlox.serving.http._answers import Answer, answer_arrays
from phlox.serving.http._asked import Asked
from phlox.serving.language._sentences import TOKENS, Sentences
from phlox.serving.openai._completions import check_tokens
from phlox.serving.openai._fields import Fields, refused
from phlox.serving.openai._finding import find_sentences, read_fields

_MOST_TEXTS = 2048


async def embeddings(asked: Asked) -> Answer:
    """A vector for each text."""
    fields = await read_fields(asked)
    entry, sentences = find_sentences(asked, fields)
    with entry.version.used(), asked.clients.asking(asked.client):
        form = fields.one_of("encoding_format", ("float", "base64"), "float")
        dimensions = fields.whole("dimensions", 1, 1 << 20, sentences.size)
        cut = _cut(fields, sentences)
        texts = await entry.version.in_thread(_texts, fields, sentences, cut)
        fields.ignore("user")
        fields.refuse_others()
        if dimensions != sentences.size:
            fix = "leave it out"
            raise refused("dimensions", f"the model's {sentences.size}", got=dimensions, fix=fix)
        found = await asked.answer(entry.version, TOKENS, sentences.rows(texts))
    count = sum(map(len, texts))
    asked.clients.spend(asked.client, count)
    asked.scope["phlox.metrics"].wrote(entry.version.name, entry.version.number, count, 0)
    data = [
        {"object": "embedding", "index": n, "embedding": _written(vector, form)}
        for n, vector in enumerate(found["embedding"])
    ]
    usage = {"prompt_tokens": count, "total_tokens": count}
    return answer_arrays({"object": "list", "data": data, "model": entry.name, "usage": usage})


def _written(vector: np.ndarray, form: str) -> Any:
    """A vector as numbers, or as the bytes of its float32, the least first."""
    return vector if form == "float" else base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _cut(fields: Fields, sentences: Sentences) -> int | None:
    """To how many tokens longer texts are cut; None refuses them. -1 says as many as the model takes."""
    told = fields.whole("truncate_prompt_tokens", -1, sentences.longest)
    if told == 0:
        raise refused("truncate_prompt_tokens", "-1, or a number above 0", got=0, fix="-1 cuts to what the model takes")
    return sentences.longest if told == -1 else told


def _texts(fields: Fields, sentences: Sentences, cut: int | None) -> list[list[int]]:
    """The texts as tokens."""
    told = fields.take("input")
    if isinstance(told, str) or (isinstance(told, list) and told and all(isinstance(x, int) for x in told)):
        told = [told]
    if not isinstance(told, list) or not 0 < len(told) <= _MOST_TEXTS:
        fix = "send a string, a list of strings, or tokens"
        raise refused("input", f"a text, or at most {_MOST_TEXTS}", got=told, fix=fix)
    return [_text(one, sentences, cut) for one in told]


def _text(told: Any, sentences: Sentences, cut: int | None) -> list[int]:
    if isinstance(told, str):
        tokens = sentences.encode(told) if cut is None else sentences.cut(told, cut)
    else:
        tokens = check_tokens(told, sentences.vocabulary, "input")[:cut]
    if len(tokens) > sentences.longest:
        expected = f"texts of at most {sentences.longest} tokens"
        fix = "send shorter ones, or truncate_prompt_tokens: -1, which cuts them"
        raise refused("input", expected, got=f"{len(tokens)}", fix=fix, reason="context_length_exceeded")
    if not tokens:
        raise refused("input", "texts of a token at least", got="an empty one", fix="leave it out")
    return tokens
