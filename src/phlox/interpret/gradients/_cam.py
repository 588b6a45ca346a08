"""Class activation maps: where a convolution's channels are active that speak for a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import ShapeError, answering, describe, jit
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import Asked, ask
from phlox.interpret.asking._baselines import Baselines, baselines_of
from phlox.interpret.asking._programs import gradients_of, scores_of
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._targets import Target
from phlox.interpret.asking._trees import folded, tiled, unfolded

Size = str | Sequence[int]


@answering
def grad_cam(
    model: Any,
    x: Any,
    *,
    layer: str,
    target: Target = None,
    relu: bool = True,
    size: Size = "input",
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Grad-CAM: $\mathrm{relu}(\sum_c w_c A_c)$, $w_c$ the mean over space of $\partial F / \partial A_c$.

    Shapes:
        x: a tree of (rows, …); the layer's output A: (rows, *space, channels); values: (rows, *size, 1).

    Arguments:
        model, x, target, forward, batch_size, progress: as of ``integrated_gradients``.
        layer: the path of the layer, as in ``px.capture``, often the last convolution.
        relu: whether what speaks against the score is left out.
        size: ``"input"``, ``"layer"`` or the sizes of space; maps are resized linearly.

    Raises:
        ShapeError: a layer without space; an input whose space has other axes, with ``size="input"``.
        RangeError: an option outside its range, a layer that is none.

    Source: Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Conv((3, 3), 1, 4, px.relu, padding=1, key=0), px.GlobalMeanPool(), px.flatten)
    >>> px.interpret.grad_cam(model, jnp.ones((2, 8, 8, 1)), layer="layers.0", target=1).values.shape
    (2, 8, 8, 1)
    """
    asked, maps = _asked("px.interpret.grad_cam", model, x, target, layer, forward)
    scores, found = gradients_of(asked, batch_size=batch_size, progress=progress)
    (slope,) = jax.tree.leaves(found)
    weights = slope.mean(_space(maps), keepdims=True)
    return _map(asked, (weights * maps).sum(-1, keepdims=True), relu, size, "grad_cam", scores, target, layer)


@answering
def grad_cam_plus_plus(
    model: Any,
    x: Any,
    *,
    layer: str,
    target: Target = None,
    relu: bool = True,
    size: Size = "input",
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Grad-CAM++: Grad-CAM with $w_c = \sum_{ij} α_{ij} \, g_{ij}^+$, $α = \frac{g^2}{2 g^2 + \sum A g^3}$.

    $g = \partial F / \partial A_c$, and the score is taken to be the exponent of a probability, as there.

    Shapes, arguments and errors: as of ``grad_cam``.

    Source: Chattopadhay et al., "Grad-CAM++: generalized gradient-based visual explanations for deep convolutional
    networks", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Conv((3, 3), 1, 4, px.relu, padding=1, key=0), px.GlobalMeanPool(), px.flatten)
    >>> px.interpret.grad_cam_plus_plus(model, jnp.ones((2, 8, 8, 1)), layer="layers.0", target=1).values.shape
    (2, 8, 8, 1)
    """
    asked, maps = _asked("px.interpret.grad_cam_plus_plus", model, x, target, layer, forward)
    scores, found = gradients_of(asked, batch_size=batch_size, progress=progress)
    (slope,) = jax.tree.leaves(found)
    space = _space(maps)
    below = 2 * slope**2 + (maps.sum(space, keepdims=True) * slope**3)
    alpha = jnp.where(below == 0, 0, slope**2 / jnp.where(below == 0, 1, below))
    weights = (alpha * jnp.maximum(slope, 0)).sum(space, keepdims=True)
    values = (weights * maps).sum(-1, keepdims=True)
    return _map(asked, values, relu, size, "grad_cam_plus_plus", scores, target, layer)


@answering
def score_cam(
    model: Any,
    x: Any,
    *,
    layer: str,
    target: Target = None,
    baselines: Baselines = None,
    relu: bool = True,
    size: Size = "input",
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Score-CAM: Grad-CAM with weights $\mathrm{softmax}_c (F(x \odot m_c) - F(x'))$, without gradients.

    $m_c$ is the channel's map, resized to the input and stretched to [0, 1]; $x'$ is a baseline, which is also seen
    where $m_c$ is 0.

    Shapes, arguments and errors: as of ``grad_cam``; x is one array (rows, *space, channels), and ``baselines`` as of
    ``feature_ablation``, but of one.

    Source: Wang et al., "Score-CAM: score-weighted visual explanations for convolutional neural networks", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Conv((3, 3), 1, 4, px.relu, padding=1, key=0), px.GlobalMeanPool(), px.flatten)
    >>> px.interpret.score_cam(model, jnp.ones((2, 8, 8, 1)), layer="layers.0", target=1).values.shape
    (2, 8, 8, 1)
    """
    where = "px.interpret.score_cam"
    inner, maps = _asked(where, model, x, target, layer, forward)
    asked = ask(model, x, target, where, forward=forward)
    image = _image(asked)
    if image.ndim != maps.ndim:
        raise _no_space(image, maps, where)
    base = baselines_of(baselines, asked.z, where)[0]
    masks = _stretched(_resized(maps, image.shape[1:-1]))

    def work(part: Asked, base: Any, masks: Any, numbers: Any, _: Any) -> Any:
        return _masked(part.question, part.z, part.context, base, masks, jnp.asarray(numbers))

    channels = maps.shape[-1]
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    seen = rounds(asked, channels, work, beside=(base, masks), each=(np.arange(channels),), stacked=True, **options)
    before = scores_of(asked, jax.tree.map(lambda b: jnp.broadcast_to(b, image.shape), base), progress=False)
    weights = jax.nn.softmax((seen - before).T)  # (rows, channels)
    values = jnp.einsum("r...c,rc->r...", maps, weights)[..., None]
    scores = scores_of(asked, progress=False)
    return _map(inner, values, relu, size, "score_cam", scores, target, layer)


@jit
def _masked(question: Question, z: Any, context: Context, base: Any, masks: Any, numbers: Any) -> Any:
    """(copies, rows) the scores where a channel's map lets the input through."""
    copies = numbers.shape[0]
    let = jnp.moveaxis(masks[..., numbers], -1, 0)[..., None]  # (copies, rows, *space, 1)
    seen = jax.tree.map(lambda v, b: b + let * (v - b), z, base)
    return unfolded(question(folded(seen), tiled(context, copies)), copies)


def _asked(where: str, model: Any, x: Any, target: Any, layer: str, forward: Any) -> tuple[Asked, Any]:
    """What is asked of a layer, and its output."""
    asked = ask(model, x, target, where, layer=layer, forward=forward)
    leaves = jax.tree.leaves(asked.z)
    if len(leaves) != 1 or leaves[0].ndim < 3:
        got = ", ".join(map(describe, leaves))
        fix = "choose a layer whose output still has axes of space"
        raise ShapeError("a layer whose output is (rows, *space, channels)", got=got, fix=fix, where=where)
    return asked, leaves[0]


def _image(asked: Asked) -> Any:
    leaves = jax.tree.leaves(asked.x)
    if len(leaves) != 1:
        fix = "pass the image alone, and what else the model needs by forward="
        raise ShapeError("an input of one array", got=f"{len(leaves)} arrays", fix=fix, where=asked.where)
    return leaves[0]


def _space(maps: Any) -> tuple[int, ...]:
    return tuple(range(1, maps.ndim - 1))


def _map(
    asked: Asked, values: Any, relu: bool, size: Size, method: str, scores: Any, target: Any, layer: str
) -> Attribution:
    values = jnp.maximum(values, 0) if relu else values
    if isinstance(size, str) and size == "input":
        image = _image(asked)
        if image.ndim != values.ndim:
            raise _no_space(image, values, asked.where)
        size = image.shape[1:-1]
    if not isinstance(size, str):
        values = _resized(values, tuple(size))
    elif size != "layer":
        fix = 'choose "input", "layer" or sizes, (224, 224)'
        raise ShapeError("a size", got=repr(size), fix=fix, where=asked.where)
    return Attribution(values, asked.x, method, scores, target=target, layer=layer)


def _no_space(image: Any, maps: Any, where: str) -> ShapeError:
    fix = 'pass size="layer", or choose another layer'
    return ShapeError(f"an input with {maps.ndim - 2} axes of space", got=describe(image), fix=fix, where=where)


def _resized(maps: Any, size: tuple[int, ...]) -> Any:
    if maps.shape[1:-1] == tuple(size):
        return maps
    return jax.image.resize(maps, (maps.shape[0], *size, maps.shape[-1]), "linear", antialias=False)


def _stretched(maps: Any) -> Any:
    """Each channel of each row from 0 to 1; one that is constant is 0."""
    low, high = (f(maps, _space(maps), keepdims=True) for f in (jnp.min, jnp.max))
    return jnp.where(high > low, (maps - low) / jnp.where(high > low, high - low, 1), 0)
