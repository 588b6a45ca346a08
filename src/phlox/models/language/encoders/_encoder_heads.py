"""Heads of encoders: words, one class for a text, and scores for each token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, param_dtype
from phlox.models.language._config import TRUNK
from phlox.models.language.encoders._encoder import ANSWERING, FILLING, EncoderConfig, Init, dropped
from phlox.nn import Dense, Embedding, LayerNorm
from phlox.nn.init import normal


class WordHead(Module):
    r"""Scores of every word for each token, by the words' own vectors: $s = W N(a(x)) + b$, where a is a layer.

    Shapes:
        x: (batch, time, dim); s: (batch, time, words).

    Options of a call:
        words: the embedding, whose weight W is (words, dim).
    """

    bias: Param  # (words,)

    def __init__(self, dim: int, words: int, act: Callable[..., Any], *, eps: float, init: Init):
        self.dense: Dense = Dense(dim, dim, act, init=init)
        self.norm: LayerNorm = LayerNorm(dim, eps=eps)
        self.bias = jnp.zeros(words, param_dtype())

    def __call__(self, x: jax.Array, words: Embedding) -> jax.Array:
        scores = words.attend(self.norm(self.dense(x)))
        return scores + self.bias.astype(scores.dtype)


class LabelHead(Module):
    """Scores of classes (..., classes) of features (..., dim), some of which are dropped in training."""

    def __init__(self, dim: int, classes: int, *, dropout: float, init: Init):
        self.drop: Any = dropped(dropout)
        self.out: Dense = Dense(dim, classes, init=init)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(self.drop(x))


class SentenceHead(Module):
    """Scores of classes (batch, classes) of a text's first token (batch, time, dim), through one hidden layer.

    Arguments:
        dim, classes: features, and classes.
        act: of the hidden layer.
        dropout: probability of a feature to be zeroed behind it, in training.
        before: the same before it.
        init: initialiser of both weights.
    """

    tensor_rules: ClassVar[dict[str, Any]] = {"dense": "column", "out": "row"}

    def __init__(
        self, dim: int, classes: int, act: Callable[..., Any], *, dropout: float, before: float = 0.0, init: Init
    ):
        self.before: Any = dropped(before)
        self.dense: Dense = Dense(dim, dim, act, init=init)
        self.drop: Any = dropped(dropout)
        self.out: Dense = Dense(dim, classes, init=init)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(self.drop(self.dense(self.before(x[:, 0]))))


def token_head(
    config: EncoderConfig, dim: int, act: Callable[..., Any], *, eps: float, dropout: float, answers: float = 0.0
) -> WordHead | LabelHead | None:
    """The head for a config's task, where it scores tokens; None for the trunk.

    Arguments:
        dim: features.
        act, eps: of the head that fills masks.
        dropout, answers: of the heads that tell classes apart, and find answers.
    """
    draw = normal(std=config.initializer_range)
    if config.task == TRUNK:
        return None
    if config.task == FILLING:
        return WordHead(dim, config.vocab_size, act, eps=eps, init=draw)
    dropout = answers if config.task == ANSWERING else dropout
    return LabelHead(dim, config.classes, dropout=dropout, init=draw)
