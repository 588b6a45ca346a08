"""SmoothGrad and VarGrad: mean and spread of slopes around an input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, answering, jit, key_or_draw
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import Asked, ask
from phlox.interpret.asking._programs import gradients_of, slopes
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._targets import Target
from phlox.interpret.asking._trees import along, folded, is_floating, tiled, unfolded


@answering
def smooth_grad(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    samples: int = 32,
    noise: float | None = None,
    squared: bool = False,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
    key: Any = None,
) -> Attribution:
    r"""SmoothGrad: $a_i = \mathbb{E}_{ε \sim N(0, σ^2)} [\partial F(x + ε) / \partial x_i]$, the mean over draws.

    Shapes:
        x: a tree of (rows, …); values, errors: the same.

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``.
        samples: how many draws.
        noise: σ, in the units of the input; None is 0.15 of each row's span.
        squared: whether slopes are squared before the mean.
        key: where noise is drawn from; by default the stream of ``px.seed``.

    Returns:
        An ``Attribution`` with standard errors.

    Raises:
        ShapeError: rows or targets that do not fit.
        RangeError: samples below 2, noise below 0; an option outside its range.
        DtypeError: integers, which have no slopes.

    Source: Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> found = px.interpret.smooth_grad(lambda x: x[:, 0] - 2 * x[:, 1], jnp.array([[2.0, 3.0]]), key=0)
    >>> found.values.tolist()
    [[1.0, -2.0]]
    """
    where = "px.interpret.smooth_grad"
    asked = ask(model, x, target, where, layer=layer, neuron=neuron, forward=forward)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    scores, center, (mean, spread) = _moments(asked, samples, noise, squared, key, options)
    values = jax.tree.map(lambda c, m: (c * c if squared else c) + m, center, mean)
    errors = jax.tree.map(lambda s: jnp.sqrt(s / (samples - 1)), spread)
    return Attribution(values, asked.z, "smooth_grad", scores, target=target, layer=layer, errors=errors)


@answering
def var_grad(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    samples: int = 32,
    noise: float | None = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
    key: Any = None,
) -> Attribution:
    r"""VarGrad: $a_i = \mathrm{Var}_{ε \sim N(0, σ^2)} [\partial F(x + ε) / \partial x_i]$, the mean square over draws.

    Shapes:
        x: a tree of (rows, …); values: the same.

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``.
        samples, noise, key: as of ``smooth_grad``.

    Raises:
        ShapeError: rows or targets that do not fit.
        RangeError: samples below 2, noise below 0; an option outside its range.
        DtypeError: integers, which have no slopes.

    Source: Adebayo et al., "Local explanation methods for deep neural networks lack sensitivity to parameter values",
    2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> found = px.interpret.var_grad(lambda x: x[:, 0] - 2 * x[:, 1], jnp.array([[2.0, 3.0]]), key=0)
    >>> found.values.tolist()
    [[0.0, 0.0]]
    """
    where = "px.interpret.var_grad"
    asked = ask(model, x, target, where, layer=layer, neuron=neuron, forward=forward)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    scores, _, (_, values) = _moments(asked, samples, noise, False, key, options)
    return Attribution(values, asked.z, "var_grad", scores, target=target, layer=layer)


def _moments(asked: Asked, samples: Any, noise: Any, squared: bool, key: Any, options: dict[str, Any]) -> Any:
    """Scores and slopes at the input; mean and variance of what slopes, or their squares, are more under noise."""
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 2:
        raise RangeError("samples of 2 or more", got=repr(samples), fix="32 do for a picture", where=asked.where)
    if noise is not None and not noise >= 0:
        raise RangeError("noise of 0 or more", got=repr(noise), fix="leave it out", where=asked.where)
    widths = jax.tree.map(lambda v: _width(v, noise), asked.z)
    scores, center = gradients_of(asked, batch_size=options["batch_size"], progress=False)
    keys = np.asarray(jax.random.key_data(jax.random.split(key_or_draw(key), samples)))

    of = "squares" if squared else "slopes"

    def work(part: Asked, center: Any, widths: Any, rows: Any, keys: Any, counts: Any) -> Any:
        return _noisy(part.question, part.z, part.context, center, widths, rows, keys, counts, of)

    beside = (center, widths, jnp.arange(asked.rows))
    first, second = rounds(asked, samples, work, beside=beside, each=(keys,), **options)
    mean = jax.tree.map(lambda s: s / samples, first)
    return scores, center, (mean, jax.tree.map(lambda s, m: jnp.maximum(s / samples - m * m, 0), second, mean))


def _width(v: Any, noise: Any) -> Any:
    """(rows, 1, …) σ for each row; 0 where there are no gradients."""
    shape = (v.shape[0], *[1] * (v.ndim - 1))
    if not is_floating(v):
        return jnp.zeros(shape)
    if noise is not None:
        return jnp.full(shape, noise, v.dtype)
    axes = tuple(range(1, v.ndim))
    return 0.15 * (jnp.max(v, axes, keepdims=True) - jnp.min(v, axes, keepdims=True))


@jit
def _noisy(
    question: Question, z: Any, context: Context, center: Any, widths: Any, rows: Any, keys: Any, counts: Any,
    of: str,
) -> Any:  # fmt: skip
    """The sums over draws of how much larger slopes are than those at the input, and of the squares of that."""
    copies = keys.shape[0]
    leaves, form = jax.tree.flatten(z)
    drawn = [draws(keys, rows, v, i) if is_floating(v) else None for i, v in enumerate(leaves)]
    moved = [
        jnp.broadcast_to(v, (copies, *v.shape)) if e is None else v + w * e
        for v, e, w in zip(leaves, drawn, jax.tree.leaves(widths), strict=True)
    ]
    _, found = slopes(question, folded(form.unflatten(moved)), tiled(context, copies))

    def more(g: Any, c: Any) -> Any:
        far = g * g - c * c if of == "squares" else g - c
        return along(counts.astype(far.dtype), far) * far, along(counts.astype(far.dtype), far) * far * far

    pairs = jax.tree.map(more, unfolded(found, copies), center)
    sums = [[p.sum(0) for p in pair] for pair in jax.tree.leaves(pairs, is_leaf=lambda p: type(p) is tuple)]
    return form.unflatten([a for a, _ in sums]), form.unflatten([b for _, b in sums])


def draws(keys: Any, rows: Any, v: Any, leaf: int) -> Any:
    """(copies, rows, …) standard normal numbers: for a key and a row always the same, whatever is beside it."""

    def draw(key: Any, row: Any) -> Any:
        one = jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(key), row), leaf)
        return jax.random.normal(one, v.shape[1:], v.dtype)

    return jax.vmap(lambda key: jax.vmap(lambda row: draw(key, row))(rows))(keys)
