"""Encoder-decoder models beside the hub's: tokens on both sides, masks, gradients, one step at a time; see hub.py."""

from __future__ import annotations

import copy
from typing import Any

import jax.numpy as jnp
import numpy as np

import phlox as px
from hub import BARS, agrees, gradients, in_dtype, in_files, note
from hub_text import in_double
from hub_text import step_by_step as steps
from kit import oracle
from phlox.models._catalogue import family_of

torch = oracle("torch")


def compare(
    ours: Any,
    theirs: Any,
    x: np.ndarray,
    y: np.ndarray,
    *,
    dtype: str,
    mask: np.ndarray,
    decoder_mask: np.ndarray,
    learn: bool = True,
) -> None:
    """Scores and hidden states of both sides where the masks count; with ``learn``, gradients, without dropout."""
    with in_dtype(dtype):
        ours = px.testmode((px.f64 if dtype == "float64" else px.f32)(px.copy(ours)))
        weights = np.random.default_rng(1).normal(size=(*y.shape, ours.config.vocab_size))
        weights = weights.astype(dtype) * decoder_mask[..., None]
        given = {"mask": mask, "decoder_mask": decoder_mask}

        @px.jit
        def both(model: Any, x: Any, y: Any) -> Any:
            states = model.hidden_states(x, mask=mask), model.hidden_states(x, y, **given)
            if not learn:
                return model(x, y, **given), states, None
            grads = px.grad(lambda m: (m.scores(m.hidden_states(x, y, **given)[-1]) * weights).sum())(model)
            return model.scores(states[1][-1]), states, grads

        scores, (reading, writing), grads = both(ours, jnp.asarray(x), jnp.asarray(y))
        with in_double(dtype == "float64"):
            theirs = copy.deepcopy(theirs).to(getattr(torch, dtype)).eval()
            out = theirs(
                torch.tensor(x).long(), torch.tensor(mask).long(), torch.tensor(y).long(),
                torch.tensor(decoder_mask).long(), output_hidden_states=True,
            )  # fmt: skip
            (out.logits * torch.tensor(weights)).sum().backward()
        sides = {
            "read": (mask, reading, out.encoder_hidden_states),
            "written": (decoder_mask, writing, out.decoder_hidden_states),
            "scores": (decoder_mask, [scores], [out.logits]),
        }
        found = {}
        for what, (counts, here, there) in sides.items():
            for i, (a, b) in enumerate(zip(here, there, strict=True)):
                a, b = np.asarray(a)[counts], b.detach().numpy()[counts]
                found[what] = agrees(a, b, f"{what} {i}", BARS[dtype]["value"])
        seen = {"scores": found["scores"]}
        if learn:
            named = {n: p.grad for n, p in theirs.named_parameters()}
            named = {n: g.numpy() for n, g in in_files(theirs, named).items()}
            names = family_of(ours.config, "compare").names_of("transformers", ours.config)
            seen["gradients"] = gradients(names.to_theirs(grads), named, BARS[dtype]["grad"])
        note(ours, "transformers", **{f"{what} {dtype}": value for what, value in seen.items()})


class _Writing(px.Module):
    """A model that has read: through a cache it takes keys and values of the memory, else the memory itself."""

    def __init__(self, model: Any, memory: Any, kept: Any, mask: Any):
        self.model, self.memory, self.kept, self.mask = model, memory, kept, mask

    def init_cache(self, batch: int, length: int) -> Any:
        return self.model.init_cache(batch, length)

    def __call__(self, y: Any, *, lengths: Any = None, cache: Any = None) -> Any:
        memory = self.memory if cache is None else self.kept
        return self.model.decode(y, memory, self.mask, lengths=lengths, cache=cache)


def step_by_step(model: Any, x: np.ndarray, mask: np.ndarray, y: np.ndarray, **options: Any) -> float:
    """How far scores through a cache, from a memory that is kept, are from those of the whole: as in hub_text.py."""
    with in_dtype("float64"):
        model = px.testmode(px.f64(px.copy(model)))

        @px.jit
        def read(model: Any, x: Any) -> Any:
            memory = model.encoder(x, mask=mask)
            return memory, model.remember(memory)

        memory, kept = read(model, jnp.asarray(x))
        return steps(_Writing(model, memory, kept, jnp.asarray(mask)), y, **options)
