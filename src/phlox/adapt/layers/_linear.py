"""Dense and Conv with adapters."""

from __future__ import annotations

from typing import Any

import jax

from phlox.adapt._arithmetic import Change, changed, changed_weight, product
from phlox.adapt.layers._adapted import Adapted
from phlox.adapt.layers._changes import change_of
from phlox.core import ShapeError, describe, harmonise
from phlox.nn import functional as F
from phlox.nn import fused

Scales = tuple[float, ...]


class AdaptedLinear(Adapted):
    """What Dense and Conv with adapters have in common; both are maps with a bias and an activation behind."""

    def __call__(self, x: Any) -> jax.Array:
        layer = self.layer
        used = self.computing
        if not used and self.merged is None:
            return layer(x)
        arrays = self.merged or {"weight": layer.weight, "bias": layer.bias}
        x, weight, bias = harmonise(layer, x, arrays["weight"], arrays.get("bias"))
        self._check(x)
        return self._run(x, weight, bias, *change_of(used, x))

    def _run(self, x: Any, weight: Any, bias: Any, change: Change, scales: Scales) -> jax.Array:
        raise NotImplementedError

    def _check(self, x: jax.Array) -> None:
        raise NotImplementedError

    @property
    def bias(self) -> jax.Array | None:
        """The bias that the layer computes with."""
        return self.current_arrays().get("bias")

    def changed_arrays(self) -> dict[str, jax.Array]:
        """Weight and bias with the adapters in use."""
        change, scales = change_of(self.used)
        found = {"weight": _weight(F.identity, self.layer.weight, change, scales=scales)}
        return found if self.layer.bias is None else found | {"bias": product(self.layer.bias, change.outs)}


class AdaptedDense(AdaptedLinear):
    r"""A Dense with adapters: $y = σ(((x \circ l_i)(W + ΔW) + b) \circ l_o)$.

    Shapes:
        x: (..., in); y: (..., out).
    """

    def _run(self, x: Any, weight: Any, bias: Any, change: Change, scales: Scales) -> jax.Array:
        return _dense(self.layer.act, x, weight, bias, change, scales=scales)

    def _check(self, x: jax.Array) -> None:
        size = self.layer.in_size
        if x.ndim < 1 or x.shape[-1] != size:
            fix = f"give the layer before {size} outputs"
            raise ShapeError(f"(..., {size})", got=describe(x), fix=fix)


class AdaptedConv(AdaptedLinear):
    """A Conv with adapters: A looks through the same windows, and B mixes what it finds.

    Shapes:
        x: (batch, *space, in); y: (batch, *space', out).
    """

    def _run(self, x: Any, weight: Any, bias: Any, change: Change, scales: Scales) -> jax.Array:
        layer = self.layer
        return _conv(
            layer.act, x, weight, bias, change, scales=scales, stride=layer.stride, padding=layer.padding,
            dilation=layer.dilation, padding_mode=layer.padding_mode,
        )  # fmt: skip

    def _check(self, x: jax.Array) -> None:
        layer = self.layer
        if x.ndim != len(layer.kernel) + 2 or x.shape[-1] != layer.in_channels:
            fix = "add a batch axis, or move the channels to the last axis"
            raise ShapeError(f"(batch, *space, {layer.in_channels})", got=describe(x), fix=fix)


@fused("scales")
def _dense(act: Any, x: Any, weight: Any, bias: Any, change: Change, *, scales: Scales) -> jax.Array:
    return act(changed(F.dense, x, weight, bias, change, scales))


@fused("scales", "stride", "padding", "dilation", "padding_mode")
def _conv(
    act: Any, x: Any, weight: Any, bias: Any, change: Change, *, scales: Scales, **options: Any
) -> jax.Array:  # the layer's own options, static
    return act(changed(lambda x, weight: F.conv(x, weight, None, **options), x, weight, bias, change, scales))


@fused("scales")
def _weight(act: Any, weight: Any, change: Change, *, scales: Scales) -> jax.Array:
    return act(changed_weight(weight, change, scales))
