"""Models of text beside the hub's: tokens, masks on both sides, gradients, and caches; see hub.py for the rest."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import BARS, agrees, gradients, in_dtype, in_files, note
from kit import oracle
from phlox.models._catalogue import family_of, variant

torch = oracle("torch")


def tokens(batch: int, time: int, vocabulary: int, seed: int = 0) -> np.ndarray:
    """Random tokens (batch, time), none of them 0 or 1, which often pad."""
    return np.random.default_rng(seed).integers(2, vocabulary, (batch, time)).astype(np.int32)


def padded(lengths: list[int], time: int, side: str = "right") -> np.ndarray:
    """True (batch, time) where a token counts, with what pads on one side."""
    counts = np.arange(time)[None] < np.array(lengths)[:, None]
    return counts if side == "right" else counts[:, ::-1].copy()


def compare(
    ours: Any,
    theirs: Any,
    x: np.ndarray,
    *,
    dtype: str,
    mask: np.ndarray | None = None,
    learn: bool = True,
    given: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    oracle: str = "transformers",
) -> None:
    """Scores and hidden states where the mask counts; with ``learn``, gradients of all weights, without dropout.

    Arguments:
        given: further options of ours, NumPy arrays. options: of theirs, arrays too.
    """
    with in_dtype(dtype):
        ours = px.testmode((px.f64 if dtype == "float64" else px.f32)(px.copy(ours)))
        bars, counts = BARS[dtype], np.ones(x.shape, bool) if mask is None else mask
        weights = np.random.default_rng(1).normal(size=512)
        called = {k: jnp.asarray(v) for k, v in (given or {}).items()} | ({} if mask is None else {"mask": mask})

        def weigh(scores: Any, keep: Any) -> Any:
            return weights[np.arange(int(np.prod(scores.shape))) % 512].reshape(scores.shape) * keep

        @px.jit
        def both(model: Any, x: Any) -> tuple[Any, Any, Any]:
            scores, states = model(x, **called), model.hidden_states(x, **called)
            keep = jnp.asarray(weigh(scores, _like(counts, scores)), scores.dtype)
            loss = lambda m: (jnp.where(_like(counts, scores), m(x, **called), 0) * keep).sum()  # noqa: E731
            return scores, states, px.grad(loss)(model) if learn else None

        scores, states, grads = both(ours, jnp.asarray(x))
        with in_double(dtype == "float64"):
            want, named = _theirs(_precise(theirs, dtype), x, mask, options or {}, counts, weigh, learn)
        keep = _like(counts, scores)
        seen = {"scores": agrees(np.where(keep, scores, 0), np.where(keep, want[0], 0), "scores", bars["value"])}
        assert len(states) == len(want[1])
        for i, (a, b) in enumerate(zip(states, want[1], strict=True)):
            keep = _like(counts, a)
            agrees(np.where(keep, a, 0), np.where(keep, b, 0), f"hidden state {i}", bars["value"])
        if learn:
            family = family_of(ours.config, "compare")
            names = family.names_of(family.dialects(ours.config)[0], ours.config)
            seen["gradients"] = gradients(names.to_theirs(grads), named, bars["grad"])
        note(ours, oracle, **{f"{what} {dtype}": value for what, value in seen.items()})


@contextmanager
def in_double(wanted: bool) -> Iterator[None]:
    """Their code asks for float32 by name, in norms and positions, whatever the model has: here it gets float64."""
    with pytest.MonkeyPatch.context() as patch:
        if wanted:
            for name in ("float", "float32"):
                patch.setattr(torch, name, torch.float64)
            patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        yield


def _precise(theirs: Any, dtype: str) -> Any:
    """A copy of theirs in a dtype, with the frequencies of rotary positions computed anew in it."""
    theirs = copy.deepcopy(theirs).to(getattr(torch, dtype)).eval()
    for path, layer in list(theirs.named_modules()):
        if any(name.endswith("inv_freq") for name, _ in layer.named_buffers(recurse=False)):
            theirs.set_submodule(path, type(layer)(config=layer.config))
    return theirs


def _theirs(
    model: Any, x: Any, mask: Any, options: dict[str, Any], counts: np.ndarray, weigh: Any, learn: bool
) -> tuple[tuple[Any, Any], dict[str, np.ndarray]]:
    given = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    if mask is not None:
        given["attention_mask"] = torch.tensor(mask).long()
    out = model(torch.tensor(x).long(), output_hidden_states=True, **given)
    if "start_logits" in out:
        scores = torch.stack([out.start_logits, out.end_logits], dim=-1)
    else:
        scores = out.logits if "logits" in out else out.last_hidden_state
    found = scores.detach().numpy(), [state.detach().numpy() for state in out.hidden_states]
    if not learn:
        return found, {}
    keep = torch.tensor(_like(counts, scores))
    (
        torch.where(keep, scores, 0) * torch.tensor(weigh(scores, _like(counts, scores))).to(scores.dtype)
    ).sum().backward()
    grads = {n: p.grad if p.grad is not None else torch.zeros(p.shape) for n, p in model.named_parameters()}
    return found, {n: g.numpy() for n, g in in_files(model, grads).items()}


def _like(counts: np.ndarray, scores: Any) -> np.ndarray:
    """What counts of scores (batch, time, ...); all of scores (batch, classes)."""
    if len(scores.shape) < 3 or tuple(scores.shape[:2]) != counts.shape:
        return np.ones((1,) * len(scores.shape), bool)
    return counts.reshape(*counts.shape, *(1,) * (len(scores.shape) - 2))


def step_by_step(model: Any, x: np.ndarray, *, lengths: list[int], chunks: list[int], dtype: str = "float64") -> float:
    """How far scores through a cache are from those of the whole text; texts (batch, time) of unequal lengths.

    The prompt, of ``lengths`` tokens padded on the right, goes in first; what follows in ``chunks``.
    """
    with in_dtype(dtype):
        model = px.testmode((px.f64 if dtype == "float64" else px.f32)(px.copy(model)))
        batch, time = x.shape
        longest = max(lengths)
        run = px.jit(lambda model, x, cache, lengths: model(x, lengths=lengths, cache=cache))
        whole = np.asarray(px.jit(lambda model, x: model(x))(model, jnp.asarray(x)))
        cache = model.init_cache(batch, time + max(chunks) + longest)
        prompt = np.where(np.arange(longest)[None] < np.array(lengths)[:, None], x[:, :longest], 0)
        seen = np.asarray(run(model, jnp.asarray(prompt), cache, jnp.array(lengths)))
        worst = max(float(np.abs(seen[i, :n] - whole[i, :n]).max()) for i, n in enumerate(lengths))
        at = np.array(lengths)
        for chunk in chunks:
            part = np.stack([x[i, n : n + chunk] for i, n in enumerate(at)])
            seen = np.asarray(run(model, jnp.asarray(part), cache, jnp.full(batch, chunk)))
            worst = max(worst, *(float(np.abs(seen[i] - whole[i, n : n + chunk]).max()) for i, n in enumerate(at)))
            at = at + chunk
        return worst / float(np.abs(whole).max())


def count_of_weights(name: str) -> int:
    """How many weights a variant with equal blocks has, from its first two."""
    config: Any = variant(name, "count_of_weights")
    some = [replace(config, num_hidden_layers=n) for n in (1, 2)]
    models = [px.eval_shape(lambda config=config: px.models.create(config)) for config in some]
    one, two = (sum(x.size for x in px.paths(model).values()) for model in models)
    return one + (config.num_hidden_layers - 1) * (two - one)
