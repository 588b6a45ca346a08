"""Models of images and texts beside the hub's: scores, states of both towers, gradients; see hub.py for the rest."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

import phlox as px
from hub import BARS, agrees, first, gradients, in_dtype, in_files, note
from hub_text import _precise, in_double
from kit import oracle
from phlox.models._catalogue import family_of

torch = oracle("torch")


def compare(
    ours: Any,
    theirs: Any,
    x: np.ndarray,
    tokens: np.ndarray,
    *,
    dtype: str,
    loss: Any,
    mask: np.ndarray | None = None,
    learn: bool = True,
    **options: Any,
) -> None:
    """Scores, hidden states and the loss, without dropout; with ``learn``, its gradients of all weights.

    As many images as texts, whose loss ``loss`` makes of scores. Options are for theirs.
    """
    with in_dtype(dtype):
        ours = px.testmode((px.f64 if dtype == "float64" else px.f32)(px.copy(ours)))

        @px.jit
        def both(model: Any, x: Any, tokens: Any, mask: Any) -> tuple[Any, Any, Any, Any]:
            scores = model(x, tokens, mask=mask)
            states = model.text.hidden_states(tokens, mask=mask), model.vision.hidden_states(x)
            value, grads = px.value_and_grad(lambda m: loss(m(x, tokens, mask=mask)))(model) if learn else (None, None)
            return scores, states, loss(scores) if value is None else value, grads

        found, states, value, grads = both(
            ours, jnp.asarray(x, dtype), jnp.asarray(tokens), None if mask is None else jnp.asarray(mask)
        )
        with in_double(dtype == "float64"):
            out, named = _theirs(_precise(theirs, dtype), x, tokens, mask, dtype, learn, options)
        bars = BARS[dtype]
        seen = {"scores": agrees(found, out.logits_per_image.detach().numpy(), "scores", bars["value"])}
        agrees(found.T, out.logits_per_text.detach().numpy(), "scores by text", bars["value"])
        agrees(value, out.loss.item(), "loss", bars["value"])
        counts = np.ones(tokens.shape, bool) if mask is None else mask
        kept = counts[..., None], np.ones((1, 1, 1), bool)
        wanted = out.text_model_output.hidden_states, out.vision_model_output.hidden_states
        for keep, here, there in zip(kept, states, wanted, strict=True):
            assert len(here) == len(there)
            for i, (a, b) in enumerate(zip(here, there, strict=True)):
                agrees(np.where(keep, a, 0), np.where(keep, b.detach(), 0), f"hidden state {i}", bars["value"])
        if learn:
            family = family_of(ours.config, "compare")
            arrays = family.names_of(family.dialects(ours.config)[0], ours.config).to_theirs(grads)
            seen["gradients"] = gradients(arrays, named, bars["grad"])
        note(ours, "transformers", **{f"{what} {dtype}": number for what, number in seen.items()})


def _theirs(
    model: Any, x: np.ndarray, tokens: np.ndarray, mask: Any, dtype: str, learn: bool, options: dict[str, Any]
) -> tuple[Any, dict[str, np.ndarray]]:
    given = {} if mask is None else {"attention_mask": torch.tensor(mask).long()}
    out = model(
        input_ids=torch.tensor(tokens).long(), pixel_values=first(x).to(getattr(torch, dtype)), return_loss=True,
        output_hidden_states=True, **given, **options,
    )  # fmt: skip
    if not learn:
        return out, {}
    out.loss.backward()
    grads = {n: p.grad if p.grad is not None else torch.zeros(p.shape) for n, p in model.named_parameters()}
    return out, {n: g.numpy() for n, g in in_files(model, grads).items()}
