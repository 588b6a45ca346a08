"""How far a student is from its teacher: in its answers, in what layers give, in what they attend to."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import ShapeError, describe
from phlox.losses import kl_divergence_with_logits, mse


def softened(student: Any, teacher: Any, temperature: float, weight: Any = None) -> jax.Array:
    r"""$T^2 \, \mathrm{KL}(\mathrm{softmax}(t / T) \| \mathrm{softmax}(s / T))$, a mean over all places.

    Shapes:
        student, teacher: (..., classes) scores before softmax; weight: (...) or its leading axes.

    >>> import jax.numpy as jnp
    >>> float(softened(jnp.zeros((1, 2)), jnp.zeros((1, 2)), 4.0))
    0.0
    """
    wide = jnp.promote_types(student.dtype, jnp.float32)
    targets = jax.nn.softmax(teacher.astype(wide) / temperature, axis=-1)
    return temperature**2 * kl_divergence_with_logits(student.astype(wide) / temperature, targets, weight=weight)


def activation_map(x: Any) -> jax.Array:
    r"""Where in space a layer is active: $\sum_c x_c^2$, of length 1 for each example.

    Shapes:
        x: (batch, \*space, channels); result: (batch, places).

    >>> import jax.numpy as jnp
    >>> activation_map(jnp.array([[[3.0, 0.0], [0.0, 0.0]]])).tolist()
    [[1.0, 0.0]]
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    sums = jnp.sum(x**2, -1).reshape(x.shape[0], -1)
    length = jnp.sqrt(jnp.sum(sums**2, -1, keepdims=True) + jnp.finfo(sums.dtype).tiny)
    return sums / length


def attention_distance(student: Any, teacher: Any, weight: Any = None) -> jax.Array:
    """The mean square between two attentions: weights by head, or in the mean over heads where these differ."""
    if student.ndim == 4 and student.shape[1] != teacher.shape[1]:
        student, teacher = student.mean(1), teacher.mean(1)
    if student.shape != teacher.shape:
        fix = "compare layers that look at as many places"
        got = f"{describe(student)} and {describe(teacher)}"
        raise ShapeError("attention to the same places", got=got, fix=fix, where="px.compress.distil")
    return mse(student, teacher, weight=weight)
