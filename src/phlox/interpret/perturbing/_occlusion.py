"""Occlusion: how far a score falls when a window that slides over the input hides what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, answering, jit
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import Asked, ask
from phlox.interpret.asking._baselines import Baselines, baselines_of
from phlox.interpret.asking._programs import scores_of
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._targets import Target
from phlox.interpret.asking._trees import folded, tiled, unfolded

_WHERE = "px.interpret.occlusion"


@answering
def occlusion(
    model: Any,
    x: Any,
    *,
    window: Sequence[int],
    stride: int | Sequence[int] | None = None,
    target: Target = None,
    baselines: Baselines = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Occlusion: $a_i$ is the mean of $F(x) - F(x_{\setminus w})$ over the windows w that hide number i.

    Shapes:
        x: (rows, …), one array; values: the same.

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``; x may be
            integers.
        window: the window's size on each axis of a row; axes left out at the end, such as channels, are hidden whole.
        stride: how far it moves at a time, one for all axes or one for each; None is the window's size. At the end of
            an axis less of the window is left.
        baselines: what hides: as of ``feature_ablation``.

    Raises:
        RangeError: windows or strides that are empty, or larger than the row.
        ShapeError: several arrays; rows, targets or baselines that do not fit.

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014.

    >>> import jax.numpy as jnp, phlox as px
    >>> found = px.interpret.occlusion(lambda x: x.sum(1), jnp.array([[1.0, 2.0, 3.0]]), window=(2,), stride=1)
    >>> found.values[0].tolist()
    [3.0, 4.0, 5.0]
    """
    asked = ask(model, x, target, _WHERE, layer=layer, neuron=neuron, forward=forward, gradients=False)
    if len(jax.tree.leaves(asked.z)) != 1:
        fix = "group features of several arrays by px.interpret.feature_ablation(feature_mask=)"
        raise ShapeError("one array", got=f"{len(jax.tree.leaves(asked.z))}", fix=fix, where=_WHERE)
    (row,) = (v.shape[1:] for v in jax.tree.leaves(asked.z))
    sizes, strides = _window(window, stride, row)
    counts = [-(-max(n - w, 0) // s) + 1 for n, w, s in zip(row, sizes, strides, strict=True)]
    starts = np.indices(counts).reshape(len(row), -1).T * np.asarray(strides)
    scores = scores_of(asked, batch_size=batch_size, progress=False)

    def work(part: Asked, base: Any, scores: Any, starts: Any, counts: Any) -> Any:
        return _hidden(part.question, part.z, part.context, base, scores, starts, jnp.asarray(sizes), counts)

    found = []
    for base in baselines_of(baselines, asked.z, _WHERE, integers=True):
        total, times = rounds(
            asked, len(starts), work, beside=(base, scores), each=(starts,), batch_size=batch_size, progress=progress
        )
        found.append(jax.tree.map(lambda a, n: a / jnp.maximum(n, 1), total, times))
    values = jax.tree.map(lambda *xs: sum(xs[1:], xs[0]) / len(xs), *found)
    return Attribution(values, asked.z, "occlusion", scores, target=target, layer=layer)


def _window(window: Any, stride: Any, row: tuple[int, ...]) -> tuple[list[int], list[int]]:
    sizes = [*window, *row[len(window) :]] if isinstance(window, Sequence) else []
    steps = [*stride] if isinstance(stride, Sequence) else sizes if stride is None else [stride] * len(window)
    steps = [*steps, *sizes[len(steps) :]]
    fits = len(sizes) == len(row) and all(isinstance(w, int) and 1 <= w <= n for w, n in zip(sizes, row, strict=True))
    if not fits or len(steps) != len(row) or not all(isinstance(s, int) and s >= 1 for s in steps):
        got = f"window={window!r}, stride={stride!r}"
        fix = "give a size for each axis of a row, from the first"
        raise RangeError(f"a window and strides for rows of shape {row}", got=got, fix=fix, where=_WHERE)
    return sizes, steps


@jit
def _hidden(
    question: Question, z: Any, context: Context, base: Any, scores: Any, starts: Any, sizes: Any, counts: Any
) -> Any:
    """For each number, what scores lose by windows that hide it, summed, and by how many windows."""
    copies = starts.shape[0]
    (row,) = (v.shape[1:] for v in jax.tree.leaves(z))
    places = jnp.stack(jnp.meshgrid(*(jnp.arange(n) for n in row), indexing="ij"))  # (axes, *row)
    first = starts.reshape(copies, -1, *[1] * len(row))
    inside = jnp.all((places >= first) & (places < first + sizes.reshape(-1, *[1] * len(row))), 1)
    mixed = jax.tree.map(lambda v, b: jnp.where(inside[:, None], b[None], v[None]), z, base)
    lost = scores - unfolded(question(folded(mixed), tiled(context, copies)), copies)  # (copies, rows)
    hides = inside * counts.reshape(-1, *[1] * len(row))
    total = jnp.einsum("kr,k...->r...", lost, hides.astype(lost.dtype))
    times = jnp.broadcast_to(hides.sum(0), total.shape)
    return jax.tree.map(lambda _: total, z), jax.tree.map(lambda _: times, z)
