"""The deep operator network: a function known by numbers, asked at points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, ShapeError, check_function, check_size, describe, param_dtype
from phlox.science.equations._fields import named


class DeepONet(Module):
    r"""An operator by two networks, one of the function and one of the point: $G(u)(x)_o = \sum_k b_{ok}(u)\,
    t_{ok}(x) + c_o$.

    Shapes:
        u: (batch, ...), numbers that tell a function, such as its values at fixed sensors; x: (points, dims), the
        same for all, or (batch, points, dims); y: (batch, points, outputs). The branch takes u and gives
        (batch, outputs · width); the trunk takes x and gives (..., points, outputs · width); bias c: (outputs,).

    Arguments:
        branch: b, a Module or function.
        trunk: t, another.
        outputs: numbers at each point; both networks give as many groups of features.
        bias: whether to add c, which starts at zero.

    Called with ``(u, x)``.

    Raises:
        RangeError: networks that cannot be called, or outputs below 1.
        ShapeError: networks whose features differ, or do not fall into as many groups.

    Source: Lu et al., "Learning nonlinear operators via DeepONet", 2021; several outputs: Lu et al., "A comprehensive
    and fair comparison of two neural operators", 2022.

    >>> import phlox as px
    >>> net = px.science.DeepONet(px.Dense(20, 8), px.Dense(2, 8, px.tanh))
    >>> px.nn.output_shape(net, [(5, 20), (100, 2)])
    (5, 100, 1)
    """

    branch: Callable[..., Any]
    trunk: Callable[..., Any]
    outputs: int
    bias: Param | None  # (outputs,)

    def __init__(self, branch: Callable[..., Any], trunk: Callable[..., Any], *, outputs: int = 1, bias: bool = True):
        self.branch = check_function("DeepONet", "branch", branch, "as branch(u)")
        self.trunk = check_function("DeepONet", "trunk", trunk, "as trunk(x)")
        self.outputs = check_size("DeepONet", "outputs", outputs)
        self.bias = jnp.zeros(self.outputs, param_dtype()) if bias else None

    def __call__(self, u: Any, x: Any) -> jax.Array:
        b, t = self.branch(u), self.trunk(x)
        self._check(b, t)
        shape = self.outputs, b.shape[1] // self.outputs
        b, t = b.reshape(*b.shape[:1], *shape), t.reshape(*t.shape[:-1], *shape)
        y = jnp.einsum("bok,pok->bpo" if t.ndim == 3 else "bok,bpok->bpo", b, t)
        return y if self.bias is None else y + self.bias.astype(y.dtype)

    def _check(self, b: Any, t: Any) -> None:
        """Raise unless both give features that fit."""
        fits = jnp.ndim(b) == 2 and jnp.ndim(t) in (2, 3) and b.shape[1] == t.shape[-1]
        if not fits or b.shape[1] % self.outputs or (t.ndim == 3 and t.shape[0] != b.shape[0]):
            what = "a branch that gives (batch, n) and a trunk that gives (points, n) or (batch, points, n), n a "
            fix = "give the last layers of both as many features, and x the batch of u where it has one"
            raise ShapeError(f"{what}multiple of {self.outputs}", got=f"{describe(b)} and {describe(t)}", fix=fix)

    def _brief(self) -> str:
        return f"DeepONet({named(self.branch)}, {named(self.trunk)})"
