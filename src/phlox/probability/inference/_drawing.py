"""Predictions that are drawn: dropout and Bayesian layers at work outside training."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    check_size,
    copy,
    is_key,
    jit,
    key_or_draw,
    modules,
    paths,
    testmode,
    trainmode,
    vmap,
    write_arrays,
)


def sample_predictions(model: Module, x: Any, samples: int = 100, *, key: Any = None) -> Any:
    r"""What a model gives several times, each with draws of its own: $y_i = f(x; z_i)$.

    Layers that own a random key (Dropout and its kin, ``BayesianLayer``) draw as in training; all others infer, so that
    statistics of BatchNorm stand still. The model stays as it is.

    Shapes:
        x: what the model takes; the result has an axis (samples, ...) in front, of arrays or distributions.

    Arguments:
        model: has layers that draw.
        x: its input.
        samples: how many, side by side in one compiled call.
        key: where the draws start; by default the stream of ``px.seed``.

    Raises:
        RangeError: a model without layers that draw.

    Source: Gal and Ghahramani, "Dropout as a Bayesian approximation", 2016.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(3, 64, px.relu), px.Dropout(0.2), px.Dense(64, 1))
    >>> outputs = px.probability.sample_predictions(model, jnp.ones((8, 3)), 20, key=0)
    >>> outputs.shape, bool((outputs.std(0) > 0).all())
    ((20, 8, 1), True)
    """
    samples = check_size("sample_predictions", "samples", samples)
    drawing = copy(model)
    for part in modules(drawing).values():  # from above to below: what a part says holds for all in it that say nothing
        (trainmode if _draws(part) else testmode)(part)
    held = {path: value for path, value in paths(drawing).items() if is_key(value)}
    if not any(_draws(part) for part in modules(drawing).values()):
        fix = "put in a px.Dropout, or model = px.probability.bayesian(model)"
        raise RangeError("a model with layers that draw", got=model._brief(), fix=fix, where="sample_predictions")
    fresh = jax.random.split(key_or_draw(key), len(held))
    write_arrays(drawing, {path: _like(value, own) for (path, value), own in zip(held.items(), fresh, strict=True)})
    return _many(drawing, x, jnp.arange(samples))


@jit
def _many(model: Module, x: Any, which: Any) -> Any:
    return vmap(lambda model, x, _: model(x), in_axes=(None, None, 0))(model, x, which)


def _draws(part: Module) -> bool:
    """Whether a part owns a random key itself."""
    return any(is_key(value) for value in vars(part).values())


def _like(held: Any, key: Any) -> Any:
    """A key in the form of the one that is held: several where layers are stacked."""
    return jax.random.split(key, held.shape) if held.shape else key
