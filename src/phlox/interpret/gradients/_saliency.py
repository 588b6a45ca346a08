"""Saliency, and input × gradient: the slopes of a score at the input."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from phlox.core import answering
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import ask
from phlox.interpret.asking._programs import gradients_of
from phlox.interpret.asking._question import Forward
from phlox.interpret.asking._targets import Target
from phlox.interpret.asking._trees import on_floating, or_zeros


@answering
def saliency(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    absolute: bool = True,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Saliency: $a_i = |\partial F(x) / \partial x_i|$.

    Shapes:
        x: a tree of (rows, …); values: the same.

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``.
        absolute: whether signs are taken away; False gives the gradient itself.

    Raises:
        ShapeError: rows or targets that do not fit.
        RangeError: an option outside its range, a layer that is none.
        DtypeError: integers, which have no slopes.

    Source: Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", 2014.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.interpret.saliency(lambda x: x[:, 0] - 2 * x[:, 1], jnp.array([[2.0, 3.0]])).values.tolist()
    [[1.0, 2.0]]
    """
    asked = ask(model, x, target, "px.interpret.saliency", layer=layer, neuron=neuron, forward=forward)
    scores, found = gradients_of(asked, batch_size=batch_size, progress=progress)
    values = on_floating(jnp.abs, found) if absolute else found
    return Attribution(values, asked.z, "saliency", scores, target=target, layer=layer)


@answering
def input_x_gradient(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Input × gradient: $a_i = x_i \, \partial F(x) / \partial x_i$.

    Shapes:
        x: a tree of (rows, …); values: the same.

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``.

    Raises:
        ShapeError: rows or targets that do not fit.
        RangeError: an option outside its range, a layer that is none.
        DtypeError: integers, which have no slopes.

    Source: Shrikumar et al., "Not just a black box: learning important features through propagating activation
    differences", 2016.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.interpret.input_x_gradient(lambda x: x[:, 0] - 2 * x[:, 1], jnp.array([[2.0, 3.0]])).values.tolist()
    [[2.0, -6.0]]
    """
    asked = ask(model, x, target, "px.interpret.input_x_gradient", layer=layer, neuron=neuron, forward=forward)
    scores, found = gradients_of(asked, batch_size=batch_size, progress=progress)
    values = or_zeros(lambda v, g: v * g, asked.z, found)
    return Attribution(values, asked.z, "input_x_gradient", scores, target=target, layer=layer)
