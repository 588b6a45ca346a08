"""Rules that see a weight as a matrix: Muon and Apollo."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, describe
from phlox.nn import KINDS
from phlox.optim.rules._adam import Adam, AdamW, abs2
from phlox.optim.rules._choice import chosen, is_matrix, kind_of
from phlox.optim.rules._descent import POSITIVE, RATE, UNIT
from phlox.optim.rules._numbers import Number
from phlox.optim.rules._rule import Ranges, Rule, Slots

_A = {k: f"a{'n' if k[0] in 'eo' else ''} {k}" for k in KINDS} | {"other": "no weight", "scale": "the scale of a norm"}
_NEWTON_SCHULZ = (3.4445, -4.775, 2.0315)


@dataclass(frozen=True, eq=False)
class Muon(Rule):
    r"""Momentum whose step is made orthogonal: every direction of a matrix moves equally far.

    $v \leftarrow μv + (1-μ)g$; u is v, or $μv + (1-μ)g$ once more with ``nesterov``;
    $w \leftarrow w - η(s\,\mathrm{orth}(u) + λw)$. orth brings all singular values near 1 by steps
    $X \leftarrow aX + (bA + cA^2)X,\; A = XX^H$, of Newton and Schulz, in float32 at least; PyTorch takes them in
    bfloat16. s is $\sqrt{\max(1, \text{out}/\text{in})}$ for a weight (in, out), or with ``match_adam``
    $0.2\sqrt{\max(\text{in}, \text{out})}$. optax averages the momentum otherwise.

    The kernel of a convolution, and any weight of more axes, is seen as the matrix (all others, last), as the author's
    own code does; parameters that a ``RepeatedLayer`` stacked are taken one by one. Biases, norms and what else is no
    matrix have no such step. Give them, and embeddings, another rule:
    ``px.optim.groups([(px.optim.of_kind("matrix", "kernel"), Muon()), ("*", AdamW())])``.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        momentum: μ in [0, 1).
        weight_decay: λ ≥ 0.
        nesterov: look ahead along v.
        steps: how many of Newton and Schulz.
        eps: the least norm that u is divided by.
        match_adam: scale steps to the size of AdamW's.

    Raises:
        RangeError: a number outside its range.
        ShapeError: from ``px.Optimizer``, an array that is no matrix and no kernel.

    Source: Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024.

    >>> import phlox as px
    >>> px.optim.Muon(0.02).momentum
    0.95
    """

    learning_rate: Number = 1e-3
    momentum: Number = 0.95
    weight_decay: Number = 0.1
    nesterov: bool = True
    steps: int = 5
    eps: float = 1e-7
    match_adam: bool = False
    ranges: ClassVar[Ranges] = {**RATE, "momentum": UNIT, "weight_decay": POSITIVE, "eps": POSITIVE}
    in_8_bits: ClassVar[Mapping[str, str]] = {"velocity": "signed"}

    def check_paths(self, paths: tuple[str, ...], arrays: list[jax.Array]) -> None:
        """All must be matrices, or weights that can be seen as such."""
        for path, array in zip(paths, arrays, strict=True):
            kind = kind_of(path, array)
            if kind.rank < 2 or not is_matrix(path, array):
                raise ShapeError(
                    f"a matrix or a kernel at {path}",
                    got=f"{describe(array)}, {_A[kind.kind]}{' of each layer' if kind.stacked else ''}",
                    fix='give it another rule: px.optim.groups([(px.optim.of_kind("matrix", "kernel"), '
                    'px.optim.Muon()), ("*", px.optim.AdamW())])',
                    where="Muon",
                )

    def start(self, w: jax.Array) -> Slots:
        """The velocity."""
        return {"velocity": jnp.zeros_like(w)}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        v = n.momentum * slots["velocity"] + (1 - n.momentum) * g
        u = n.momentum * v + (1 - n.momentum) * g if self.nesterov else v
        ins, outs = _as_matrix(w).shape
        scale = 0.2 * math.sqrt(max(ins, outs)) if self.match_adam else math.sqrt(max(1.0, outs / ins))
        straight = _orthogonal(_as_matrix(u), self.steps, self.eps).astype(g.dtype).reshape(w.shape)
        direction = scale * straight + n.weight_decay * w
        return n.learning_rate * direction, {"velocity": v}


def _orthogonal(u: jax.Array, steps: int, eps: float) -> jax.Array:
    """U Vᵀ of the singular value decomposition of u, roughly."""
    a, b, c = _NEWTON_SCHULZ
    x = u.astype(jnp.promote_types(u.dtype, jnp.float32))
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / jnp.maximum(jnp.sqrt(jnp.sum(abs2(x))), eps)
    for _ in range(steps):
        gram = x @ x.T.conj()
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


@dataclass(frozen=True, eq=False)
class Apollo(AdamW):
    r"""Apollo: Adam's scaling, learnt in a random space of few dimensions.

    $R = Pg$ with P of shape (rank, short axis), drawn anew every ``every`` updates; $\hat R$ is Adam's direction for
    R; column j of g is scaled by $s_j = \|\hat R_{:j}\| / (\|R_{:j}\| + ε)$, and $w \leftarrow w - η(g s + λw)$.
    The moments need rank / short axis of Adam's memory. Arrays of more axes are seen as (all others, last); arrays of
    one axis have AdamW. Flux decays by λ without η.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: ε, outside the root.
        weight_decay: λ ≥ 0.
        mask: which arrays decay, by path pattern or predicate; all by default.
        rank: the dimensions of the random space; by default the root of the long axis, rounded up.
        every: how many updates one P serves.
        seed: what P is drawn from, together with the array's path.

    Raises:
        RangeError: a number outside its range.

    Source: Zhu et al., "APOLLO: SGD-like memory, AdamW-level performance", 2024.

    >>> import phlox as px
    >>> px.optim.Apollo(1e-3, rank=4).every
    100
    """

    rank: int | None = None
    every: int = 100
    seed: int = 0
    ranges: ClassVar[Ranges] = {**AdamW.ranges}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, number in (("rank", self.rank), ("every", self.every)):
            if number is not None and number < 1:
                raise RangeError(f"{name} of at least 1", got=repr(number), fix=f"choose {name} ≥ 1", where="Apollo")

    def start(self, w: jax.Array) -> Slots:
        """The moments, in the random space."""
        if w.ndim < 2:
            return super().start(w)
        short, long = sorted(_as_matrix(w).shape)
        return super().start(jnp.zeros((self._rank(short, long), long), w.dtype))

    def _rank(self, short: int, long: int) -> int:
        return min(self.rank or math.ceil(math.sqrt(long)), short)

    def corrections(self, n: Any, t: jax.Array) -> dict[str, jax.Array]:
        """What the moments are short of, and which P it is."""
        return {**super().corrections(n, t), "draw": t.astype(jnp.int32) // self.every}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        if g.ndim < 2:
            return super().step(g, w, slots, n)
        matrix = _as_matrix(g)
        flip = matrix.shape[0] > matrix.shape[1]
        matrix = matrix.T if flip else matrix
        reduced = self.projection(n.path, n.draw, matrix.shape).astype(g.dtype) @ matrix
        direction, after = Adam.step(self, reduced, reduced, slots, n)
        norm = lambda x: jnp.sqrt(jnp.sum(abs2(x), axis=0))  # noqa: E731
        scaled = matrix * (norm(direction) / (norm(reduced) + n.eps))
        step = (scaled.T if flip else scaled).reshape(w.shape)
        if chosen(self.mask, n.path, w):
            step = step + n.learning_rate * n.weight_decay * w
        return step, after

    def projection(self, path: str, draw: Any, shape: tuple[int, ...]) -> jax.Array:
        """P for an array at a path, of a matrix's (short, long) shape: normal numbers of variance 1/rank."""
        short, long = shape
        rank = self._rank(short, long)
        key = jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(path.encode()))
        key = jax.random.fold_in(key, draw)
        return jax.random.normal(key, (rank, short)) / math.sqrt(rank)


def _as_matrix(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])
