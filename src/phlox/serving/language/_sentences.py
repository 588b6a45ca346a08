"""A model of sentences as it is served: texts to vectors, in the batches of all models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.core import OptionError, describe, eval_shape, jit
from phlox.data.text import Tokenizer
from phlox.models import SentenceEncoder
from phlox.serving.engine._servable import DEFAULT, TEXT, Arrays, Servable
from phlox.weights import BundleArray, Example, Signature

TOKENS = "tokens"
_LENGTHS = (16, 32, 64, 128, 256, 512)


class Sentences(Servable):
    """A model of sentences: ``/v1/embeddings`` of OpenAI's protocol, and texts to vectors for the others.

    Texts are filled up to one of a few lengths, so that few programs are compiled; what fills up does not count.

    Arguments:
        encoder: the model with its pooling.
        tokenizer: the model's.

    Raises:
        OptionError: something else.

    Source: Reimers and Gurevych, "Sentence-BERT", 2019.
    """

    encoder: SentenceEncoder
    tokenizer: Tokenizer
    longest: int
    """Tokens that a text may have, special ones included."""
    size: int
    """Of a vector."""
    vocabulary: int
    made: int
    """When it was made, in seconds since 1970."""
    runtime: str = "sentence encoder"

    def __init__(self, encoder: SentenceEncoder, tokenizer: Tokenizer):
        if not isinstance(encoder, SentenceEncoder) or not isinstance(tokenizer, Tokenizer):
            fix = "pass px.models.sentence_encoder(folder) and px.data.text.Tokenizer.load(folder)"
            got = f"{describe(encoder)} and {describe(tokenizer)}"
            raise OptionError("a sentence encoder and a tokenizer", got=got, fix=fix, where="Sentences")
        self.encoder, self.tokenizer, self.made = encoder, tokenizer, int(time.time())
        config = encoder.model.config
        self.vocabulary = config.vocab_size
        self.size = eval_shape(encoder, jnp.zeros((1, 1), "int32")).shape[-1]
        told = (encoder.longest, getattr(config, "max_position_embeddings", None), tokenizer.max_length)
        self.longest = min((n for n in told if n is not None), default=_LENGTHS[-1])
        self._compiled = jit(_vectors)
        vector = BundleArray("embedding", ("batch", self.size), "float32")
        text = BundleArray("text", ("batch",), TEXT)
        rows = (BundleArray("tokens", ("batch", "time"), "int32"), BundleArray("mask", ("batch", "time"), "bool"))
        super().__init__(signatures={DEFAULT: Signature((text,), (vector,)), TOKENS: Signature(rows, (vector,))})

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, special ones included, not cut."""
        return self.tokenizer.encode(text)

    def cut(self, text: str, most: int) -> list[int]:
        """The tokens of a text, cut to so many, special ones included."""
        return self.tokenizer(text, length=most, side="right").tokens[0].tolist()

    def rows(self, texts: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
        """Texts as inputs of one length, the next of a few."""
        most = max(len(tokens) for tokens in texts)
        length = next((n for n in _LENGTHS if most <= n <= self.longest), max(most, self.longest))
        tokens = np.full((len(texts), length), self.tokenizer.pad_id or 0, np.int32)
        mask = np.zeros(tokens.shape, bool)
        for row, text in enumerate(texts):
            tokens[row, : len(text)], mask[row, : len(text)] = text, True
        return {"tokens": tokens, "mask": mask}

    def preprocess(self, signature: str, inputs: Arrays) -> Arrays:
        if signature == TOKENS:
            return inputs
        texts = [x.decode() if isinstance(x, bytes) else str(x) for x in inputs["text"]]
        return self.rows([self.cut(text, self.longest) for text in texts])

    def predict(self, signature: str, inputs: Arrays) -> Arrays:
        return {"embedding": np.asarray(self._compiled(self.encoder, inputs["tokens"], inputs["mask"]))}

    def examples(self, signature: str) -> Sequence[Example]:
        if signature == DEFAULT:
            return ()  # its programs are those of the other
        rows = self.rows([self.encode(text)[: self.longest] for text in ("one sentence", "another one that is longer")])
        return [Example(rows, {})]

    def forget(self) -> None:
        self.forgets += 1
        self._compiled = jit(_vectors)


def _vectors(encoder: Any, tokens: Any, mask: Any) -> Any:
    return encoder(tokens, mask=mask).astype("float32")
