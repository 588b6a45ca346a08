"""Models of speech beside the hub's: scores, hidden states and gradients, for any way of calling; see hub.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

import phlox as px
from hub import BARS, agrees, gradients, in_dtype, in_files, note
from hub_text import _precise, in_double
from kit import oracle
from phlox.models._catalogue import family_of

torch = oracle("torch")


def recordings(*shape: int, seed: int = 0) -> np.ndarray:
    """Random waves (batch, samples), or frames (batch, frames, mels)."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def compare(
    ours: Any,
    theirs: Any,
    x: np.ndarray,
    run: Callable[[Any, Any], tuple[Any, Sequence[Any]]],
    there: Callable[[Any, torch.Tensor], tuple[torch.Tensor, Sequence[torch.Tensor]]],
    *,
    dtype: str,
    learn: bool = True,
    still: Sequence[str] = (),
    keep: Callable[[Any], Any] = lambda x: True,
) -> None:
    """Scores and hidden states, without dropout; with ``learn``, gradients of all weights.

    Arguments:
        run: scores and states of ours, of the model and x. there: those of theirs.
        still: names there of arrays that do not learn.
        keep: what counts of an array of scores or states, True or False, of its shape or one that is spread over it.
    """
    with in_dtype(dtype):
        ours = px.testmode((px.f64 if dtype == "float64" else px.f32)(px.copy(ours)))
        bars, weights = BARS[dtype], np.random.default_rng(1).normal(size=512)

        def weigh(scores: Any) -> np.ndarray:
            spread = weights[np.arange(int(np.prod(scores.shape))) % 512].reshape(scores.shape)
            return np.where(keep(scores), spread, 0)

        @px.jit
        def both(model: Any, x: Any) -> tuple[Any, Any, Any]:
            scores, states = run(model, x)
            loss = lambda m: (run(m, x)[0] * jnp.asarray(weigh(scores), scores.dtype)).sum()  # noqa: E731
            return scores, states, px.grad(loss)(model) if learn else None

        scores, states, grads = both(ours, jnp.asarray(x, dtype))
        with in_double(dtype == "float64"):
            model = _precise(theirs, dtype)
            want, want_states = there(model, torch.tensor(x).to(getattr(torch, dtype)))
            if learn:
                (want * torch.tensor(weigh(want)).to(want.dtype)).sum().backward()
        seen = {"scores": _agrees(scores, want, "scores", bars["value"], keep)}
        assert len(states) == len(want_states)
        for i, (a, b) in enumerate(zip(states, want_states, strict=True)):
            _agrees(a, b, f"hidden state {i}", bars["value"], keep)
        if learn:
            seen["gradients"] = gradients(_ours(ours, grads), _named(model, still), bars["grad"])
        note(ours, "transformers", **{f"{what} {dtype}": value for what, value in seen.items()})


def _agrees(ours: Any, theirs: torch.Tensor, what: str, bar: float, keep: Any) -> float:
    want = theirs.detach().numpy()
    return agrees(np.where(keep(ours), ours, 0), np.where(keep(want), want, 0), what, bar)


def _ours(model: Any, grads: Any) -> dict[str, Any]:
    family = family_of(model.config, "compare")
    return family.names_of(family.dialects(model.config)[0], model.config).to_theirs(grads)


def _named(model: Any, still: Sequence[str]) -> dict[str, np.ndarray]:
    learning = {n: p for n, p in model.named_parameters() if n not in still}
    grads = {n: torch.zeros(p.shape) if p.grad is None else p.grad for n, p in learning.items()}
    return {n: g.numpy() for n, g in in_files(model, grads).items()}
