"""Augmentations that mix two examples, and their labels with them."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, StructureError, describe
from phlox.data.augmentation._augment import Augmentation, whole_of, widened
from phlox.data.augmentation._geometry import in_box
from phlox.nn.functional import one_hot


class _Mixing(Augmentation):
    """Each example mixed with another one of the batch; a subclass says how in ``_pair``."""

    def __init__(self, alpha: float, classes: int | None, p: float, key: Any):
        where = type(self).__name__
        if isinstance(alpha, bool) or not 0 < alpha < float("inf"):
            fix = "give a number such as 0.2 or 1.0; larger ones mix more evenly"
            raise RangeError("alpha above 0", got=repr(alpha), fix=fix, where=where)
        self.alpha: float = float(alpha)
        self.classes: int | None = None if classes is None else whole_of(where, "classes", classes, least=2)
        super().__init__(p, key=key)

    def _check(self, x: Any, y: Any) -> None:
        super()._check(x, y)
        if y is None:
            fix = "call it as x, y = mix(x, y) where the loss is computed"
            raise StructureError("labels to mix", got="a batch alone", fix=fix)
        if jnp.shape(y)[:1] != x.shape[:1]:
            raise ShapeError(f"{len(x)} labels", got=describe(y), fix="give one label or row for each example")
        if self.classes is None and not jnp.issubdtype(jnp.result_type(y), jnp.floating):
            fix = "say how many classes there are: classes=10"
            raise StructureError("shares of classes (batch, classes)", got=f"labels {describe(y)}", fix=fix)

    def _changed(self, key: Any, x: Any, y: Any) -> tuple[Any, Any]:
        if self.classes is not None and not jnp.issubdtype(jnp.result_type(y), jnp.floating):
            y = one_hot(y, self.classes)
        return _mixed(self, key, x, jnp.asarray(y))

    def _pair(self, key: Any, x: jax.Array, other: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The mixture of two examples, and the share that the first has in it."""
        raise NotImplementedError

    def _brief(self) -> str:
        return f"{type(self).__name__}(alpha={self.alpha:g})"


@jax.jit
def _mixed(mixing: _Mixing, key: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    def one(key: Any, x: jax.Array, other: jax.Array, y: jax.Array, other_y: jax.Array) -> tuple[jax.Array, jax.Array]:
        chosen, drawn = jax.random.split(key)
        mixed, share = mixing._pair(drawn, widened(x), widened(other))
        do = jax.random.bernoulli(chosen, mixing.p)
        share = jnp.where(do, share, 1)
        label = share * widened(y) + (1 - share) * widened(other_y)
        return jnp.where(do, mixed.astype(x.dtype), x), label.astype(y.dtype)

    order, drawn = jax.random.split(key)
    partner = jax.random.permutation(order, len(x))
    return jax.vmap(one)(jax.random.split(drawn, len(x)), x, x[partner], y, y[partner])


class MixUp(_Mixing):
    r"""Each example averaged with another of the batch, $x = λ x_i + (1 - λ) x_j$, $y = λ y_i + (1 - λ) y_j$.

    λ is drawn from Beta(α, α) for each example; the others are the batch in a random order. In inference both stay.

    Shapes:
        x: (batch, ...) of floats; y: (batch,) whole numbers where ``classes`` is given, or floats (batch, ...);
        the result: x as it was, y (batch, classes) or as it was.

    Arguments:
        alpha: α, above 0.
        classes: how many there are, for labels that are whole numbers.
        p: probability that an example is mixed, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: an argument out of range. StructureError: no labels, or whole ones without ``classes``.
        ShapeError: not a label for each example. DtypeError: a batch of whole numbers.

    Source: Zhang et al., "mixup: beyond empirical risk minimization", 2018 (whose code draws one λ for a batch).

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> mix = px.data.MixUp(1.0, classes=2, key=0)
    >>> x, y = mix(jnp.array([[0.0], [1.0]]), jnp.array([0, 1]), key=jax.random.key(3))
    >>> bool(jnp.allclose(x[:, 0], y[:, 1])), y.sum(1).tolist()
    (True, [1.0, 1.0])
    """

    _floats: ClassVar[bool] = True

    def __init__(self, alpha: float = 0.2, *, classes: int | None = None, p: float = 1.0, key: Any = None):
        super().__init__(alpha, classes, p, key)

    def _pair(self, key: Any, x: jax.Array, other: jax.Array) -> tuple[jax.Array, jax.Array]:
        share = jax.random.beta(key, self.alpha, self.alpha, dtype=jnp.float32)
        return share * x + (1 - share) * other, share


class CutMix(_Mixing):
    r"""A rectangle of each image replaced by that of another, and labels shared by area, $y = λ y_i + (1 - λ) y_j$.

    The rectangle is $\sqrt{1 - λ_0}$ of the image high and wide, with $λ_0$ from Beta(α, α) and the centre at any
    pixel; λ is the share of the image that stays, after what lies outside is cut off. In inference both stay.

    Shapes:
        x: (batch, height, width, channels) of any dtype; y: as in ``MixUp``.

    Arguments:
        alpha: α, above 0; 1 makes $λ_0$ uniform.
        classes: how many there are, for labels that are whole numbers.
        p: probability that an example is mixed, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError, StructureError, ShapeError: as ``MixUp``.

    Source: Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable features", 2019.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> mix = px.data.CutMix(classes=2, key=0)
    >>> x, y = mix(jnp.zeros((2, 8, 8, 1)).at[1].set(1), jnp.array([0, 1]), key=jax.random.key(3))
    >>> bool(jnp.allclose(x.mean((1, 2, 3)), y[:, 1]))
    True
    """

    _axes: ClassVar[str] = "(batch, height, width, channels)"
    _ranks: ClassVar[tuple[int, ...]] = (4,)

    def __init__(self, alpha: float = 1.0, *, classes: int | None = None, p: float = 1.0, key: Any = None):
        super().__init__(alpha, classes, p, key)

    def _pair(self, key: Any, x: jax.Array, other: jax.Array) -> tuple[jax.Array, jax.Array]:
        size, place = jax.random.split(key)
        sides = jnp.array(x.shape[:2])
        cut = jnp.sqrt(1 - jax.random.beta(size, self.alpha, self.alpha, dtype=jnp.float32)) * sides
        half = cut.astype(jnp.int32) // 2
        centre = jax.random.randint(place, (2,), 0, sides)
        (top, left), (bottom, right) = centre - half, centre + half
        box = in_box(x.shape[0], x.shape[1], top, bottom, left, right)
        return jnp.where(box, other, x), 1 - jnp.mean(box, dtype=jnp.float32)
