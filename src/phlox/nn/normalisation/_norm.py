"""Normalisation by batch statistics and over features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, ShapeError, State, describe, harmonise, param_dtype
from phlox.nn import functional as F
from phlox.nn._autosize import sized
from phlox.nn._checks import check_act, check_positive, check_share, check_size
from phlox.nn._fused import fused
from phlox.nn.functional._norm import normalise_batch

Activation = Callable[[jax.Array], jax.Array]


@sized(channels=-1)
class BatchNorm(Module):
    r"""Normalise each channel over the batch and all space, then an activation.

    $y = σ(γ (x - μ) / \sqrt{v + ε} + β)$. In training μ and v are the batch's mean and biased variance, and the
    running statistics move by $r \leftarrow (1 - m) r + m s$ with the unbiased variance; in inference they are μ and v.

    Shapes:
        x, y: (batch, *space, channels); scale, bias, mean, var: (channels,).

    Arguments:
        channels: size of the last axis.
        act: σ, applied to the result.
        momentum: m in [0, 1], the share of the new batch; with None the statistics are the mean over all batches
            so far, m = 1 / (batches so far), which ``count`` counts.
        eps: ε, above 0, added to the variance.
        affine: whether γ and β are learned; they start at 1 and 0.
        bias: whether there is a β, where they are.
        track: whether running statistics are kept; without them the batch's own serve in inference too.

    Raises:
        RangeError: a number outside its range.
        ShapeError: an input of other channels, or in training a batch with one value per channel.

    Source: Ioffe and Szegedy, "Batch normalization", 2015.

    >>> import jax.numpy as jnp, phlox as px
    >>> norm = px.trainmode(px.BatchNorm(1, eps=1e-12))
    >>> norm(jnp.array([[1.0], [3.0]])).ravel().tolist(), norm.mean.tolist()
    ([-1.0, 1.0], [0.20000000298023224])
    """

    scale: Param | None  # (channels,)
    bias: Param | None  # (channels,)
    mean: State | None  # (channels,) running mean, moved by the forward pass in training
    var: State | None  # (channels,) running unbiased variance
    count: State | None = None  # () batches so far, where momentum is None
    _implied: ClassVar[dict[str, str]] = {"bias": "affine"}
    affine: bool
    track: bool

    def __init__(
        self,
        channels: int,
        act: Activation = F.identity,
        *,
        momentum: float | None = 0.1,
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        track: bool = True,
    ):
        self.channels: int = check_size("BatchNorm", "channels", channels)
        self.act: Activation = check_act("BatchNorm", act)
        fix = "give the share of the new batch, such as 0.1 (where others have 0.9 as the share of the old)"
        self.momentum: float | None = None if momentum is None else check_share("BatchNorm", "momentum", momentum, fix)
        self.eps: float = check_positive("BatchNorm", "eps", eps)
        self.affine, self.track = affine, track
        self.scale = jnp.ones(channels, param_dtype()) if affine else None
        self.bias = jnp.zeros(channels, param_dtype()) if affine and bias else None
        wide = jnp.promote_types(param_dtype(), jnp.float32)
        self.mean = jnp.zeros(channels, wide) if track else None
        self.var = jnp.ones(channels, wide) if track else None
        if track and momentum is None:
            self.count = jnp.zeros((), jnp.int32)

    def __call__(self, x: Any) -> jax.Array:
        x, scale, bias = harmonise(self, x, self.scale, self.bias)
        if x.ndim < 2 or x.shape[-1] != self.channels:
            raise ShapeError(f"(batch, ..., {self.channels})", got=describe(x), fix=_channels_cure(self, x))
        if not (self.training or not self.track):
            return _infer(self.act, x, self.mean, self.var, scale, bias, eps=self.eps)
        relu = self.act is F.relu  # which the kernel for a CPU does in its last pass
        count = self.count if self.momentum is None else None
        y, mean, var, count = _train(
            F.identity, x, scale, bias, self.mean, self.var, count, eps=self.eps, momentum=self.momentum, relu=relu
        )
        if self.training and self.track:
            self.mean, self.var = mean, var
            if count is not None:
                self.count = count
        return y if relu else self.act(y)

    def _brief(self) -> str:
        act = "" if self.act is F.identity else f", {getattr(self.act, '__name__', self.act)}"
        return f"BatchNorm({self.channels}{act})"


@fused("eps")
def _infer(act: Any, x: Any, mean: Any, var: Any, scale: Any, bias: Any, *, eps: float) -> jax.Array:
    return act(F.batch_norm(x, mean, var, scale, bias, eps=eps))


@fused("eps", "momentum", "relu")
def _train(
    act: Any, x: Any, scale: Any, bias: Any, mean: Any, var: Any, count: Any, *, eps: float, momentum: float | None,
    relu: bool,
) -> tuple[jax.Array, jax.Array | None, jax.Array | None, jax.Array | None]:  # fmt: skip
    """The output, and the running statistics moved by the batch's."""
    y, batch_mean, batch_var = normalise_batch(x, scale, bias, eps, relu=relu)
    count = None if count is None else count + 1
    share: Any = 1 / count.astype(mean.dtype) if count is not None else momentum
    return act(y), moved(mean, batch_mean, share), moved(var, batch_var, share), count


def moved(running: Any, batch: jax.Array, momentum: Any) -> jax.Array | None:
    """Running statistics moved towards a batch's, in their own dtype; None stays None."""
    if running is None:
        return None
    return ((1 - momentum) * running + momentum * jax.lax.stop_gradient(batch)).astype(running.dtype)


@sized(size=-1)
class LayerNorm(Module):
    r"""Normalise over the features of each position, then an activation.

    $y = σ(γ (x - μ) / \sqrt{v + ε} + β)$ with the mean μ and biased variance v over the last axes, in float32 at least.

    Shapes:
        x, y: (..., *size); scale, bias: (*size).

    Arguments:
        size: size of the last axis, or sizes of the last axes.
        act: σ, applied to the result.
        eps: ε, above 0, added to the variance.
        affine: whether γ and β are learned; they start at 1 and 0.
        bias: whether there is a β, where they are.

    Raises:
        RangeError: a size below 1 or an ε of 0 or less.
        ShapeError: an input whose last axes are others.

    Source: Ba, Kiros and Hinton, "Layer normalization", 2016.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.LayerNorm(2, eps=1e-12)(jnp.array([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """

    scale: Param | None  # (*size)
    bias: Param | None  # (*size)
    _implied: ClassVar[dict[str, str]] = {"bias": "affine"}
    act: Activation
    eps: float

    def __init__(
        self,
        size: int | Sequence[int],
        act: Activation = F.identity,
        *,
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
    ):
        sizes = (size,) if isinstance(size, int) else tuple(size)
        self.size: tuple[int, ...] = tuple(check_size("LayerNorm", "size", s) for s in sizes)
        self.act, self.eps = check_act("LayerNorm", act), check_positive("LayerNorm", "eps", eps)
        self.affine = affine
        self.scale = jnp.ones(self.size, param_dtype()) if affine else None
        self.bias = jnp.zeros(self.size, param_dtype()) if affine and bias else None

    def __call__(self, x: Any) -> jax.Array:
        x, scale, bias = harmonise(self, x, self.scale, self.bias)
        if x.shape[-len(self.size) :] != self.size:
            raise ShapeError(
                f"(..., {', '.join(map(str, self.size))})", got=describe(x), fix="give it the sizes of the last axes"
            )
        return _layer_norm(self.act, x, scale, bias, size=self.size, eps=self.eps)

    def _brief(self) -> str:
        act = "" if self.act is F.identity else f", {getattr(self.act, '__name__', self.act)}"
        return f"LayerNorm({', '.join(map(str, self.size))}{act})"


@fused("size", "eps")
def _layer_norm(act: Any, x: Any, scale: Any, bias: Any, *, size: Any, eps: float) -> jax.Array:
    return act(F.layer_norm(x, size, scale, bias, eps=eps))


def _channels_cure(layer: BatchNorm, x: jax.Array) -> str:
    if x.ndim < 2:
        return "add a batch axis: x[None]"
    if x.shape[1] == layer.channels:
        return "move the channels to the last axis: jnp.moveaxis(x, 1, -1)"
    return f"make this one BatchNorm({x.shape[-1]}, …), or give the layer before {layer.channels} channels"
