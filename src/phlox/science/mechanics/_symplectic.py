"""Maps of phase space that keep areas by how they are built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    Param,
    RangeError,
    ShapeError,
    check_function,
    check_size,
    describe,
    harmonise,
    key_or_draw,
    param_dtype,
    scan,
)
from phlox.nn.functional import tanh
from phlox.science.mechanics._energy import halves


class Shear(Module):
    r"""One half of phase space moved by a potential's slope in the other: $p' = p + K^\top (a\,\sigma(K q + b))\,h$.

    Its derivative is a shear by a symmetric matrix, so areas stay, and the same shear the other way undoes it.

    Shapes:
        q, p: (batch, n); weight K: (width, n); scale a, bias b: (width,); h: () or (batch, 1).

    Arguments:
        size: n, the positions.
        width: how many terms the potential has.
        act: σ, the slope of each of its terms.
        moves: ``"momenta"``, or ``"positions"``, where q and p change places in the formula.
        key: where K and a are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: sizes below 1, or another half.

    Source: Jin et al., "SympNets: intrinsic structure-preserving symplectic networks for identifying Hamiltonian
    systems", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> shear = px.science.Shear(1, 4, px.tanh)
    >>> q, p = shear(jnp.ones((1, 1)), jnp.ones((1, 1)))
    >>> float(q[0, 0]), p.shape
    (1.0, (1, 1))
    """

    weight: Param  # (width, size)
    scale: Param  # (width,)
    bias: Param  # (width,)
    act: Callable[..., Any]
    moves: str

    def __init__(self, size: int, width: int, act: Callable[..., Any], *, moves: str = "momenta", key: Any = None):
        size, width = check_size("Shear", "size", size), check_size("Shear", "width", width)
        if moves not in ("momenta", "positions"):
            raise RangeError("moves 'momenta' or 'positions'", got=repr(moves), fix="choose one of them", where="Shear")
        first, second = jax.random.split(key_or_draw(key))
        dtype = param_dtype()
        self.weight = jax.random.normal(first, (width, size), dtype) / jnp.sqrt(size).astype(dtype)
        self.scale = jax.random.normal(second, (width,), dtype) / width
        self.bias = jnp.zeros((width,), dtype)
        self.act, self.moves = check_function("Shear", "act", act, "as act(x)"), moves

    def __call__(self, q: Any, p: Any, h: Any = 1.0) -> tuple[jax.Array, jax.Array]:
        q, weight, scale, bias = harmonise(self, q, self.weight, self.scale, self.bias)
        (p, _) = harmonise(self, p, weight)
        for v in (q, p):
            if v.ndim != 2 or v.shape[1] != weight.shape[1]:
                fix = "give positions and momenta of this many numbers"
                raise ShapeError(f"(batch, {weight.shape[1]})", got=describe(v), fix=fix)
        still = q if self.moves == "momenta" else p
        change = (scale * self.act(still @ weight.T + bias)) @ weight * jnp.asarray(h, q.dtype)
        return (q, p + change) if self.moves == "momenta" else (q + change, p)

    def _brief(self) -> str:
        return f"Shear({self.weight.shape[1]}, {self.weight.shape[0]}, moves={self.moves!r})"


class SympNet(Module):
    r"""A step of motion as a chain of shears, in turn of momenta and of positions: $y(t + h) = s_d(\dots s_1(y(t)))$.

    Whatever its weights, its derivative J has $J^\top \Omega J = \Omega$, so it keeps areas of phase space, as motion
    by any energy does; ``inverse`` goes back exactly.

    Shapes:
        y, y': (batch, 2n), positions before momenta; h: () or (batch, 1).

    Arguments:
        size: n, the positions.
        width: terms of each shear's potential.
        depth: how many shears.
        act: the slope of each term.
        key: where weights are drawn from; by default the stream of ``px.seed``.

    Called with ``(y, h=1.0)``, the time of the step in the units in which it was trained; ``inverse`` takes the same.
    ``path(y0, steps)`` repeats it, (batch, 1 + steps, 2n).

    Raises:
        RangeError: sizes below 1.
        ShapeError: states of another form.

    Source: Jin et al., "SympNets: intrinsic structure-preserving symplectic networks for identifying Hamiltonian
    systems", 2020; its gradient modules.

    >>> import jax.numpy as jnp, phlox as px
    >>> net = px.science.SympNet(2, 8, 4)
    >>> px.eval_shape(lambda net, y: net.path(net.inverse(y), 5), net, jnp.ones((3, 4))).shape
    (3, 6, 4)
    """

    shears: list[Shear]

    def __init__(self, size: int, width: int, depth: int, *, act: Callable[..., Any] = tanh, key: Any = None):
        depth = check_size("SympNet", "depth", depth)
        keys = jax.random.split(key_or_draw(key), depth)
        moves = ("momenta", "positions")
        self.shears = [Shear(size, width, act, moves=moves[n % 2], key=keys[n]) for n in range(depth)]

    def __call__(self, y: Any, h: Any = 1.0) -> jax.Array:
        q, p = halves(y, "positions before momenta")
        for shear in self.shears:
            q, p = shear(q, p, h)
        return jnp.concatenate([q, p], -1)

    def inverse(self, y: Any, h: Any = 1.0) -> jax.Array:
        """The state a step before."""
        q, p = halves(y, "positions before momenta")
        for shear in reversed(self.shears):
            q, p = shear(q, p, -jnp.asarray(h))
        return jnp.concatenate([q, p], -1)

    def path(self, y0: Any, steps: int, h: Any = 1.0) -> jax.Array:
        """The first state and those after 1, 2, … steps."""
        y0 = jnp.asarray(y0)

        def step(y: Any, _: Any) -> tuple[Any, Any]:
            y = self(y, h)
            return y, y

        _, ys = scan(step, y0, length=check_size("SympNet", "steps", steps))
        return jnp.concatenate([y0[:, None], jnp.swapaxes(ys, 0, 1)], 1)

    def _brief(self) -> str:
        first = self.shears[0].weight.shape
        return f"SympNet({first[1]}, {first[0]}, {len(self.shears)})"
