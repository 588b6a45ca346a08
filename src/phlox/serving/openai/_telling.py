"""Log-probabilities of tokens, as completions and as chats have them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from phlox.serving.openai._writing import Token

_LEAST = -9999.0  # what the protocol writes for minus infinity


def of_completion(tokenizer: Any, tokens: Iterable[Token], best: int, offset: int = 0) -> dict[str, Any]:
    """Four lists: tokens, their log-probabilities, the likeliest, and where in the text each begins.

    Arguments:
        best: how many of the likeliest are told.
        offset: where the text begins in what is answered.
    """
    told: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for token in tokens:
        piece = token.piece
        told["tokens"].append(token_text(tokenizer, piece.token))
        told["token_logprobs"].append(_finite(piece.logprob))
        told["top_logprobs"].append({token_text(tokenizer, n): _finite(p) for n, p in piece.best[:best]})
        told["text_offset"].append(offset + token.start)
    return told


def of_chat(tokenizer: Any, tokens: Iterable[Token], best: int) -> dict[str, Any]:
    """A list of tokens, each with its bytes, and with the likeliest in its place."""

    def one(number: int, logprob: float | None) -> dict[str, Any]:
        [found] = tokenizer.token_bytes([number])
        return {"token": token_text(tokenizer, number), "logprob": _finite(logprob), "bytes": list(found)}

    content = [
        {**one(t.piece.token, t.piece.logprob), "top_logprobs": [one(*pair) for pair in t.piece.best[:best]]}
        for t in tokens
    ]
    return {"content": content, "refusal": None}


def token_text(tokenizer: Any, number: int) -> str:
    """The text of a token; of one that is a part of a character, its bytes written out."""
    [found] = tokenizer.token_bytes([number])
    try:
        return found.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in found)


def _finite(logprob: float | None) -> float:
    return _LEAST if logprob is None or not math.isfinite(logprob) else max(float(logprob), _LEAST)
