"""Random tiny language models with tokenizers, and an engine that writes one text after the other by px.generate."""

from __future__ import annotations

import asyncio
import functools
import threading
from types import SimpleNamespace

import jax

import phlox as px
from phlox.serving.language._asked import Asked, Piece
from texts import byte_pairs

TEMPLATE = (
    "{% if reasoning_effort or mood %}{{ reasoning_effort or mood }}!{% endif %}"
    "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}"
    "{% for m in messages %}<|{{ m.role[0] }}|>{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }} {{ c.function.arguments.a }}</tool_call>"
    "{% endfor %}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|a|>{% endif %}"
)
SPECIAL = ("<|s|>", "<|u|>", "<|a|>", "<|t|>", "<|end|>")


@functools.cache
def tokenizer(template: str | None = TEMPLATE):
    options = {} if template is None else {"chat_template": template}
    return px.data.text.Tokenizer(
        byte_pairs(), eos_token="<|endoftext|>", pad_token="<|endoftext|>", extra_special_tokens=SPECIAL, **options
    )


@functools.cache
def llama(seed: int = 0):
    config = px.models.LlamaConfig(
        vocab_size=len(tokenizer()) + 3, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.4, max_position_embeddings=512,
        eos_token_id=None,
    )  # fmt: skip
    return px.jit(lambda key: px.models.create(config, key=key))(jax.random.key(seed))


@functools.cache
def gpt2(seed: int = 1):
    config = px.models.GPT2Config(
        vocab_size=len(tokenizer()), n_embd=32, n_layer=1, n_head=4, n_positions=256, initializer_range=0.4,
        eos_token_id=None, bos_token_id=None,
    )  # fmt: skip
    return px.jit(lambda key: px.models.create(config, key=key))(jax.random.key(seed))


class Scripted:
    """An engine that writes what it is told to: texts one after the other, each ended by the end of texts.

    Arguments:
        texts: what is written, or tokens; the last one again and again.
    """

    adapters = ()

    def __init__(self, *texts):
        self.texts = list(texts)
        self.asked: list[Asked] = []
        self.running: list[Script] = []
        self.refuses: Exception | None = None
        self.closed = False

    def submit(self, asked: Asked):
        if self.refuses is not None:
            raise self.refuses
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        self.asked.append(asked)
        self.running.append(Script(self.pieces(text, asked)))
        return self.running[-1]

    def pieces(self, text, asked):
        tok = tokenizer()
        tokens = [*tok.encode(text, special=False), tok.eos_id] if isinstance(text, str) else list(text)
        for n, token in enumerate(tokens):
            ends = (token,) in asked.stop
            last = n + 1 == asked.max_new
            best = tuple((m, -0.5 - m) for m in range(asked.logprobs)) if asked.logprobs else ()
            logprob = None if asked.logprobs is None else -0.25 * (n + 1)
            yield Piece(token, logprob, best, "stop" if ends else "length" if last else None)
            if ends or last:
                return

    def start(self):
        return self

    def statistics(self):
        return SimpleNamespace(slots=1, running=0, waiting=0, reused=0, preempted=0, cancelled=0, refused=0)

    def close(self):
        self.closed = True


class Script:
    """A text that is written; ``holds`` lets its next piece wait until it is set."""

    def __init__(self, pieces):
        self.left = list(pieces)
        self.cancelled = threading.Event()
        self.free = threading.Event()
        self.free.set()
        self.hold_after = len(self.left)
        self.read = 0

    def __iter__(self):
        return iter(self.left)

    async def __aiter__(self):
        for piece in self.left:
            while self.read >= self.hold_after and not self.free.is_set():
                await asyncio.sleep(0.002)
            self.read += 1
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def cancel(self):
        self.cancelled.set()


def language(*texts, template=TEMPLATE, **options):
    """A model that writes these texts, as it is served."""
    served = px.serving.LanguageModel(llama(), tokenizer(template), slots=1, room=512, **options)
    served.engine = Scripted(*texts)
    return served
