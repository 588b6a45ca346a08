"""Equal blocks in a row as one compiled loop, so that compile time does not grow with depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    ShapeError,
    StructureError,
    check_policy,
    describe,
    harmonise,
    key_or_draw,
    paths,
    remat,
    scan,
    seed,
    tree_map,
    vmap,
)
from phlox.nn._checks import check_size

M = TypeVar("M", bound=Module)
Build = Callable[[], M]


class RepeatedLayer(Module, Generic[M]):
    r"""Equal blocks in a row, $h_{t+1} = f_t(h_t)$, compiled as one loop: compile time does not grow with depth.

    The blocks are one Module whose arrays are stacked along a new first axis; ``[t]`` gives a copy of one of them.
    State inside (statistics, dropout keys) moves for every block by itself. With ``share`` there is one block,
    applied again and again: a recurrence over depth.

    Shapes:
        x, y: what a block takes and returns, of one shape and dtype; parameters: (repeats, ...).

    Arguments:
        build: a function without arguments that makes one block; each block draws its own weights.
        repeats: how many blocks.
        inject: whether every block is called with the first input too, ``block(h, x)``.
        share: whether all rounds use the same block.
        remat: whether a block's intermediate values are computed again for the gradient rather than kept; or a policy
            of ``px.remat`` by name, such as ``"dots"``, of what to keep all the same.
        unroll: blocks per step of the compiled loop.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a number below 1, or a ``build`` that makes no Module.
        ShapeError: a block whose output has another shape or dtype than its input.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.nn.RepeatedLayer(lambda: px.Dense(4, 4, px.tanh), 12)
    >>> model(jnp.ones((2, 4))).shape, model.block.weight.shape, model[0].weight.shape
    ((2, 4), (12, 4, 4), (4, 4))
    """

    block: M  # every array (repeats, ...), or those of one block with share
    inject: bool
    share: bool
    remat: bool | str

    def __init__(
        self,
        build: Build[M],
        repeats: int,
        *,
        inject: bool = False,
        share: bool = False,
        remat: bool | str = False,
        unroll: int = 1,
        key: Any = None,
    ):
        self.repeats: int = check_size("RepeatedLayer", "repeats", repeats)
        self.unroll: int = check_size("RepeatedLayer", "unroll", unroll)
        self.inject, self.share, self.remat = inject, share, check_policy(remat, "RepeatedLayer")
        if isinstance(build, Module) or not callable(build):
            got = build._brief() if isinstance(build, Module) else describe(build)
            raise RangeError(
                "a function that makes one block", got=got, fix="write lambda: before it", where="RepeatedLayer"
            )
        key = key_or_draw(key)
        self.block = _seeded(build, key) if share else vmap(lambda k: _seeded(build, k))(jax.random.split(key, repeats))

    @classmethod
    def of(cls, blocks: Sequence[M], *, inject: bool = False, remat: bool | str = False, unroll: int = 1) -> Self:
        """A stack of given blocks of one structure; their arrays are copied into it."""
        if not blocks:
            raise RangeError("at least one block", got="none", fix="pass a list of blocks", where="RepeatedLayer.of")
        forms = [jax.tree.structure(b) for b in blocks]
        shapes = [[v.shape for v in paths(b).values()] for b in blocks]
        for t, (form, shape) in enumerate(zip(forms, shapes, strict=True)):
            if form != forms[0] or shape != shapes[0]:
                raise StructureError(
                    f"blocks like the first, {blocks[0]._brief()}",
                    got=f"{blocks[t]._brief()} at {t}",
                    fix="build all blocks with the same arguments",
                    where="RepeatedLayer.of",
                )
        self = cls.__new__(cls)
        self.repeats, self.unroll = len(blocks), check_size("RepeatedLayer", "unroll", unroll)
        self.inject, self.share, self.remat = inject, False, check_policy(remat, "RepeatedLayer.of")
        self.block = tree_map(lambda *parts: jnp.stack(parts), *blocks)
        return self

    def __call__(self, x: Any) -> Any:
        x = self._in_dtype_of_parameters(x)
        policy = self.remat if isinstance(self.remat, str) else None
        run = remat(_apply, policy=policy, prevent_cse=False) if self.remat else _apply
        extra = (x,) if self.inject else ()

        def body(h: Any, block: Module | None) -> tuple[Any, None]:
            y = run(self.block if block is None else block, h, *extra)
            _check_kept(h, y)
            return y, None

        blocks = None if self.share else self.block
        return scan(body, x, blocks, self.repeats, unroll=self.unroll)[0]

    def __getitem__(self, at: int) -> M:
        """A copy of block ``at``."""
        if not -self.repeats <= at < self.repeats:
            raise IndexError(f"block {at} of {self.repeats}")
        return tree_map(lambda v: v, self.block) if self.share else tree_map(lambda v: v[at], self.block)

    def __len__(self) -> int:
        return self.repeats

    def _in_dtype_of_parameters(self, x: Any) -> Any:
        """One array in the dtype that the blocks will return it in, so that no round changes it."""
        parameters = [v for v in paths(self.block).values() if jnp.issubdtype(v.dtype, jnp.inexact)]
        if not parameters or not hasattr(x, "dtype"):
            return x
        return harmonise(self, x, parameters[0])[0]

    def _brief(self) -> str:
        return f"RepeatedLayer({self.repeats} × {self.block._brief()})"


def _seeded(build: Build[M], key: Any) -> M:
    with seed(key):
        block = build()
    if not isinstance(block, Module):
        raise RangeError(
            "a build() that makes a Module", got=describe(block), fix="return the block", where="RepeatedLayer"
        )
    return block


def _apply(block: Module, *inputs: Any) -> Any:
    return block(*inputs)


def _check_kept(h: Any, y: Any) -> None:
    """Refuse a block that changes shape or dtype, eagerly as in a compiled loop."""
    before, after = (jax.tree.map(lambda v: (jnp.shape(v), jnp.result_type(v)), t) for t in (h, y))
    if before != after:
        raise ShapeError(
            f"blocks that return what they take, {jax.tree.map(describe, h)}",
            got=str(jax.tree.map(describe, y)),
            fix="give the block equal input and output sizes, and the input the parameters' dtype",
        )
