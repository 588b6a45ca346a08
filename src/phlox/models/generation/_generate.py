"""px.generate: prompts in, tokens out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, describe, key_or_draw
from phlox.models.generation import _beams, _speculative
from phlox.models.generation._choosing import Progress, choose, step
from phlox.models.generation._prompts import Prompts, bucket, prompts_of
from phlox.models.generation._recalling import read, writes_from_memory
from phlox.models.generation._settings import WHERE, Settings, check_count, check_ranking, checked, stops_of
from phlox.models.generation._stepping import prefill
from phlox.models.language._config import LABELLING, TRUNK, WRITING

Stream = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Generated:
    """Texts that a model wrote.

    Arguments:
        tokens: (batch, time), the new ones; what pads stands behind the end of a text.
        lengths: (batch,), how many of them there are, with the one that ended the text.
        log_probs: (batch,), the sum of their log-probabilities by the model; of a beam search, what ranked the texts.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    log_probs: np.ndarray

    def texts(self) -> list[list[int]]:
        """The new tokens of each text, without what pads."""
        return [row[:n].tolist() for row, n in zip(self.tokens, self.lengths, strict=True)]


def generate(
    model: Any,
    tokens: Any,
    *,
    max_new: int = 64,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    adjust: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] | None = None,
    stop: Any = None,
    pad: int | None = None,
    lengths: Any = None,
    mask: Any = None,
    begin: Any = None,
    beams: int = 1,
    length_penalty: float = 1.0,
    early_stopping: bool = False,
    draft: Any = None,
    guesses: int = 4,
    key: Any = None,
    stream: Stream | None = None,
) -> Generated:
    r"""Write on from prompts, a token at a time, with keys and values kept from one to the next.

    The likeliest token is taken; with a temperature T one is drawn by $\mathrm{softmax}(s / T)$, of the likely ones.
    Prompts and caches have one of a few lengths, so that few programs are compiled: a prefill for each of them, and one
    step.

    Shapes:
        tokens: (batch, time), or a list of lists of ids; lengths: (batch,); mask: (batch, time).

    Arguments:
        model: a decoder or encoder-decoder of ``px.models``, or another with ``features``, ``scores`` and
            ``init_cache`` as decoders have them.
        tokens: prompts, at least one token each. Of an encoder-decoder model what is read: tokens, or frames of sound
            (batch, frames, bands).
        max_new: how many tokens to write at most.
        temperature: T; 0 takes the likeliest.
        top_k, top_p, min_p: which tokens can be drawn, as in ``px.nn.functional.keep_top_k`` and so on, in this order.
        repetition_penalty: what scores of tokens that the text has are divided by, or multiplied with below 0.
        adjust: a function (scores, tokens, lengths) → scores that is part of the compiled step: scores of the next
            token (batch, vocabulary), the text so far (batch, length), and how many of its tokens count (batch,).
        stop: tokens, or sequences of tokens, that end a text and are its last; the ends of the config by default.
        pad: what stands behind the end of a text; the config's by default, else 0.
        lengths: how many tokens of each prompt count, from the left.
        mask: in place of it, True where a token counts, padded on either side.
        begin: of encoder-decoder models, the token or tokens that every text, or each of them, begins with; the
            config's by default.
        beams: texts that are searched side by side for the one of the highest rank: its log-probability divided by its
            new tokens to the power of ``length_penalty``.
        early_stopping: whether a search ends as soon as as many texts have ended as there are beams.
        draft: a small model of the same vocabulary whose guesses, ``guesses`` at a time, the model judges at once.
        key: where tokens are drawn from; by default the stream of ``px.seed``. A text's draws depend on no other's.
        stream: a function that gets each new token (batch,) when it is there; -1 where a text has ended.

    Raises:
        RangeError: a number out of its range, options that go not together, a text longer than the model's positions.
        ShapeError, DtypeError: prompts, lengths or a mask of another form.

    Source: Holtzman et al., 2019 (``top_p``); Keskar et al., "CTRL", 2019 (``repetition_penalty``); Leviathan et al.,
    2023 (``draft``).

    >>> import phlox as px
    >>> config = px.models.LlamaConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4
    ... )
    >>> with px.seed(0):
    ...     model = px.models.create(config)
    >>> written = px.generate(model, [[1, 2, 3], [4]], max_new=5)
    >>> written.tokens.shape, written.lengths.tolist()
    ((2, 5), [5, 5])
    """
    _check_writes(model, "model")
    if draft is not None:
        _check_draft(model, draft)
    config = getattr(model, "config", None)
    pads = getattr(config, "pad_token_id", None) if pad is None else pad
    settings = checked(
        Settings(temperature, top_k, top_p, min_p, repetition_penalty, adjust, stops_of(stop, config), pads or 0)
    )
    check_count("max_new", max_new)
    check_count("beams", beams)
    check_count("guesses", guesses)
    check_count("pad", pads or 0, 0)
    check_ranking(length_penalty, early_stopping)
    _check_together(model, settings, begin, beams, draft, stream)
    if writes_from_memory(model):
        model, prompts = read(model, tokens, lengths, mask, begin)
    else:
        prompts = prompts_of(tokens, lengths, mask, model.config.vocab_size)
    spare = guesses + 1 if draft is not None else 0
    room = _room([model] if draft is None else [model, draft], prompts, max_new, spare)
    if beams > 1:
        return _searched(model, prompts, room, max_new, beams, settings, _beams.Rule(length_penalty, early_stopping))
    drawing = key_or_draw(key) if not settings.greedy else jax.random.key(0)
    if draft is not None:
        return _guessed(model, draft, prompts, room, max_new, guesses, settings, drawing)
    return _written(model, prompts, room, max_new, settings, drawing, stream)


@dataclass(frozen=True)
class _Room:
    """Sizes of the arrays: of prompts, and of the cache."""

    prompts: int
    cache: int


def _room(models: list[Any], prompts: Prompts, max_new: int, spare: int) -> _Room:
    """Sizes from a few, so that few programs are compiled.

    Raises:
        RangeError: a text that the model has no positions for.
    """
    longest = int(prompts.lengths.max())
    most = min((one.longest for one in models if getattr(one, "longest", None) is not None), default=None)
    if most is not None and longest + max_new + spare > most:
        fix = f"pass max_new={max(most - longest - spare, 0)} at most, or shorter prompts"
        new = f"{longest} and {max_new} new" + (f", and {spare} for guesses" if spare else "")
        raise RangeError(f"texts of at most {most} tokens", got=new, fix=fix, where=WHERE)
    wide = bucket(longest, most)
    return _Room(wide, bucket(max(wide, longest + max_new + spare)))


def _check_writes(model: Any, what: str) -> None:
    """Refuse what scores no next token.

    Raises:
        RangeError: a model without a cache, or with a head for another task.
    """
    task = getattr(getattr(model, "config", None), "task", None)
    if not hasattr(model, "init_cache") or task == TRUNK or task in LABELLING:
        got = describe(model) if task is None else f"{type(model).__name__} for {task!r}"
        fix = f"load a decoder with task={WRITING!r}"
        raise RangeError(f"a {what} that scores the next token", got=got, fix=fix, where=WHERE)


def _check_draft(model: Any, draft: Any) -> None:
    _check_writes(draft, "draft")
    ours, theirs = model.config.vocab_size, draft.config.vocab_size
    if ours != theirs:
        expected, got = f"a draft of {ours} tokens, as the model has", str(theirs)
        raise RangeError(expected, got=got, fix="take a small model of the same family", where=WHERE)


def _check_together(model: Any, settings: Settings, begin: Any, beams: int, draft: Any, stream: Any) -> None:
    pairs = [
        ("beams", beams > 1, "a temperature", not settings.greedy),
        ("beams", beams > 1, "a draft", draft is not None),
        ("beams", beams > 1, "a stream", stream is not None),
        ("a draft", draft is not None, "an encoder", writes_from_memory(model)),
        ("begin", begin is not None, "a decoder alone", not writes_from_memory(model)),
        ("a draft", draft is not None, "a stream", stream is not None),
        ("a draft", draft is not None, "a repetition_penalty", settings.repetition_penalty != 1),
        ("a draft", draft is not None, "adjust", settings.adjust is not None),
    ]
    for one, has_one, other, has_other in pairs:
        if has_one and has_other:
            fix = "leave one of them out"
            raise RangeError(f"{one} without {other}", got="both", fix=fix, where=WHERE)


def _begun(model: Any, prompts: Prompts, room: _Room, **options: Any) -> tuple[Any, jax.Array, np.ndarray]:
    """A cache that holds the prompts, the scores of what follows, and the prompts in the room of whole texts."""
    batch, time = prompts.tokens.shape
    time = min(time, room.prompts)
    texts = np.zeros((batch, room.cache), np.int32)
    texts[:, :time] = prompts.tokens[:, :time]
    cache = model.init_cache(batch, room.cache, **options)
    scores = prefill(model, cache, jnp.asarray(texts[:, : room.prompts]), jnp.asarray(prompts.lengths))
    return cache, scores, texts


def _written(
    model: Any, prompts: Prompts, room: _Room, max_new: int, settings: Settings, key: Any, stream: Stream | None
) -> Generated:
    cache, scores, texts = _begun(model, prompts, room)
    progress = Progress(scores, jnp.asarray(texts), jnp.asarray(prompts.lengths), key, settings)
    for i in range(max_new):
        before = progress.done if stream else None
        token = step(model, cache, progress, settings) if i < max_new - 1 else choose(progress, settings)
        if stream is not None:
            stream(np.where(np.asarray(before), -1, np.asarray(token)))
        if settings.stops and bool(progress.done.all()):
            break
    return _result(progress.tokens, progress.lengths, prompts.lengths, progress.log_probs, settings.pad)


def _result(tokens: Any, lengths: Any, before: np.ndarray, log_probs: Any, pad: int) -> Generated:
    """The new tokens alone, those of each text from the left."""
    tokens, new = np.asarray(tokens), np.asarray(lengths) - before
    at = np.minimum(before[:, None] + np.arange(new.max(initial=0))[None], tokens.shape[1] - 1)
    counts = np.arange(at.shape[1])[None] < new[:, None]
    return Generated(np.where(counts, np.take_along_axis(tokens, at, 1), pad), new, np.asarray(log_probs))


def _searched(
    model: Any, prompts: Prompts, room: _Room, max_new: int, count: int, settings: Settings, rule: _beams.Rule
) -> Generated:
    cache, scores, texts = _begun(model, prompts, room)
    beams = _beams.Beams(jnp.asarray(texts), jnp.asarray(prompts.lengths), count, settings)
    cache, scores = _beams.spread(cache, scores, count)
    for i in range(max_new):
        cache, scores = _beams.extend(model, cache, beams, scores, jnp.asarray(i == max_new - 1), settings, rule)
        if bool(beams.done):
            break
    return _result(beams.ended[:, 0], beams.ends[:, 0], prompts.lengths, beams.ranks[:, 0], settings.pad)


def _guessed(
    model: Any, draft: Any, prompts: Prompts, room: _Room, max_new: int, guesses: int, settings: Settings, key: Any
) -> Generated:
    """Texts by guessing and judging: in a round each grows by the guesses that stand, and one."""
    cache, scores, _ = _begun(model, prompts, room, whole=True)
    small, _, _ = _begun(draft, prompts, room, whole=True)
    texts = _speculative.Texts(len(prompts.lengths), max_new, settings)
    rounds = jax.vmap(jax.random.split, (0, None), 1)(jax.random.split(key, len(prompts.lengths)), max_new + 1)
    token, said = _speculative.first(scores, rounds[0], settings)
    texts.add(np.asarray(token)[:, None], np.asarray(said)[:, None], np.zeros(len(texts.done), int))
    held = jnp.asarray(prompts.lengths)
    for keys in rounds[1:]:
        if texts.done.all():
            break
        drawn = jax.vmap(jax.random.split, (0, None), 1)(keys, guesses + 2)
        tried, hopes = _speculative.guessed(draft, small, token, drawn[:-1], settings)
        count, following, said = _speculative.judge(model, cache, token, tried, hopes, drawn[-1], settings)
        new = np.concatenate([np.asarray(tried), np.zeros((len(texts.done), 1), np.int32)], axis=1)
        new[np.arange(len(new)), np.asarray(count)] = np.asarray(following)
        going = jnp.asarray(~texts.done)
        texts.add(new, np.asarray(said), np.asarray(count))
        held = jnp.where(going, held + count + 1, held)  # a text that has ended stays where it is
        token = jnp.where(going, following, token)
        _speculative.forget(cache, held)
        _speculative.forget(small, held)
    return Generated(*texts.arrays())
