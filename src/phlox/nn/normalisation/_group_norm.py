"""Normalisation of every example by itself: over groups of channels, or each channel over space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, RangeError, ShapeError, State, describe, harmonise, param_dtype
from phlox.nn import functional as F
from phlox.nn._autosize import sized
from phlox.nn._checks import check_act, check_positive, check_share, check_size
from phlox.nn._fused import fused
from phlox.nn._label import act_text
from phlox.nn.normalisation._norm import moved

Activation = Callable[[jax.Array], jax.Array]


@sized(channels=-1)
class GroupNorm(Module):
    r"""Normalise each example over groups of neighbouring channels and all space, then an activation.

    $y = σ(γ (x - μ) / \sqrt{v + ε} + β)$ with the mean μ and biased variance v of each example and group, in float32
    at least. One group normalises each example whole; as many groups as channels is ``InstanceNorm``.

    Shapes:
        x, y: (batch, *space, channels); scale, bias: (channels,).

    Arguments:
        channels: size of the last axis.
        groups: how many groups; divides the channels.
        act: σ, applied to the result.
        eps: ε, above 0, added to the variance.
        affine: whether γ and β are learned; they start at 1 and 0.
        bias: whether there is a β, where they are.

    Raises:
        RangeError: a size below 1, groups that do not divide the channels, an ε of 0 or less.
        ShapeError: an input of other channels, or without a batch axis.

    Source: Wu and He, "Group normalization", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.GroupNorm(4, 2, eps=1e-12)(jnp.array([[1.0, 3.0, 10.0, 30.0]])).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    scale: Param | None  # (channels,)
    bias: Param | None  # (channels,)
    _implied: ClassVar[dict[str, str]] = {"bias": "affine"}
    act: Activation
    eps: float

    def __init__(
        self,
        channels: int,
        groups: int,
        act: Activation = F.identity,
        *,
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
    ):
        self.channels: int = check_size("GroupNorm", "channels", channels)
        self.groups: int = check_size("GroupNorm", "groups", groups)
        if channels % groups:
            raise RangeError(
                f"groups that divide channels={channels}",
                got=f"groups={groups}",
                fix=f"choose a divisor of {channels}",
                where="GroupNorm",
            )
        self.act, self.eps = check_act("GroupNorm", act), check_positive("GroupNorm", "eps", eps)
        self.affine = affine
        self.scale = jnp.ones(channels, param_dtype()) if affine else None
        self.bias = jnp.zeros(channels, param_dtype()) if affine and bias else None

    def __call__(self, x: Any) -> jax.Array:
        x, scale, bias = harmonise(self, x, self.scale, self.bias)
        _check_channels(self, x, 2)
        return _group_norm(self.act, x, scale, bias, groups=self.groups, eps=self.eps)

    def _brief(self) -> str:
        return f"GroupNorm({self.channels}, {self.groups}{act_text(self.act)})"


@fused("groups", "eps")
def _group_norm(act: Any, x: Any, scale: Any, bias: Any, *, groups: int, eps: float) -> jax.Array:
    return act(F.group_norm(x, groups, scale, bias, eps=eps))


@sized(channels=-1)
class InstanceNorm(Module):
    r"""Normalise each channel of each example over space, then an activation.

    $y = σ(γ (x - μ) / \sqrt{v + ε} + β)$ with the mean μ and biased variance v of each example and channel. With
    ``track`` the running statistics move in training by $r \leftarrow (1 - m) r + m s$, where s is the mean over the
    batch of μ and of the unbiased variance, and inference uses them for μ and v.

    Shapes:
        x, y: (batch, *space, channels); scale, bias, mean, var: (channels,).

    Arguments:
        channels: size of the last axis.
        act: σ, applied to the result.
        momentum: m in [0, 1], the share of the new batch.
        eps: ε, above 0, added to the variance.
        affine: whether γ and β are learned; they start at 1 and 0.
        bias: whether there is a β, where they are.
        track: whether running statistics are kept.

    Raises:
        RangeError: a number outside its range.
        ShapeError: an input of other channels, without space, or of one position where its own statistics are used.

    Source: Ulyanov, Vedaldi and Lempitsky, "Instance normalization", 2016.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.InstanceNorm(1, eps=1e-12)(jnp.array([[[1.0], [3.0]]])).ravel().tolist()
    [-1.0, 1.0]
    """

    scale: Param | None  # (channels,)
    bias: Param | None  # (channels,)
    _implied: ClassVar[dict[str, str]] = {"bias": "affine"}
    mean: State | None  # (channels,) running mean, moved by the forward pass in training
    var: State | None  # (channels,) running unbiased variance
    eps: float
    affine: bool
    track: bool

    def __init__(
        self,
        channels: int,
        act: Activation = F.identity,
        *,
        momentum: float = 0.1,
        eps: float = 1e-5,
        affine: bool = False,
        bias: bool = True,
        track: bool = False,
    ):
        self.channels: int = check_size("InstanceNorm", "channels", channels)
        self.act: Activation = check_act("InstanceNorm", act)
        fix = "give the share of the new batch as a fraction, such as 0.1"
        self.momentum: float = check_share("InstanceNorm", "momentum", momentum, fix)
        self.eps, self.affine, self.track = check_positive("InstanceNorm", "eps", eps), affine, track
        self.scale = jnp.ones(channels, param_dtype()) if affine else None
        self.bias = jnp.zeros(channels, param_dtype()) if affine and bias else None
        wide = jnp.promote_types(param_dtype(), jnp.float32)
        self.mean = jnp.zeros(channels, wide) if track else None
        self.var = jnp.ones(channels, wide) if track else None

    def __call__(self, x: Any) -> jax.Array:
        x, scale, bias = harmonise(self, x, self.scale, self.bias)
        _check_channels(self, x, 3)
        if self.track and not self.training:
            return _by_running(self.act, x, self.mean, self.var, scale, bias, eps=self.eps)
        y, mean, var = _by_own(F.identity, x, scale, bias, self.mean, self.var, eps=self.eps, momentum=self.momentum)
        if self.track:
            self.mean, self.var = mean, var
        return self.act(y)

    def _brief(self) -> str:
        return f"InstanceNorm({self.channels}{act_text(self.act)})"


@fused("eps")
def _by_running(act: Any, x: Any, mean: Any, var: Any, scale: Any, bias: Any, *, eps: float) -> jax.Array:
    return act(F.batch_norm(x, mean, var, scale, bias, eps=eps))


@fused("eps", "momentum")
def _by_own(
    act: Any, x: Any, scale: Any, bias: Any, mean: Any, var: Any, *, eps: float, momentum: float
) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
    """The output, and the running statistics moved by the batch's."""
    y, batch_mean, batch_var = F.instance_norm_train(x, scale, bias, eps=eps)
    return act(y), moved(mean, batch_mean, momentum), moved(var, batch_var, momentum)


def _check_channels(layer: GroupNorm | InstanceNorm, x: jax.Array, rank: int) -> None:
    if x.ndim >= rank and x.shape[-1] == layer.channels:
        return
    axes = "(batch, ..., " if rank == 2 else "(batch, *space, "
    if x.ndim == rank - 1:
        fix = "add a batch axis: x[None]" if rank == 2 else "add the missing axis: batch, space and channels"
    elif x.ndim >= rank and x.shape[1] == layer.channels:
        fix = "channels are the last axis: jnp.moveaxis(x, 1, -1)"
    else:
        fix = f"give the layer before {layer.channels} channels, or make this one for {x.shape[-1] if x.ndim else 1}"
    raise ShapeError(f"{axes}{layer.channels})", got=describe(x), fix=fix)
