"""Augmentation: batches changed at random on the device, each example by draws of its own; and several in a row."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import (
    DtypeError,
    Module,
    RangeError,
    ShapeError,
    State,
    StructureError,
    advance,
    describe,
    harmonise,
    key_or_draw,
)


class Augmentation(Module):
    """The base of augmentations: what changes each example of a batch at random.

    ``augment(x)`` acts in training and leaves x in inference, as ``px.Dropout`` does: the first layer of a model
    augments what it learns from and nothing else. It owns a random key as State and advances it. ``augment(x, key=k)``
    is a pure function of key and batch, which always acts and advances nothing: the same key moves an image and its
    segmentation mask alike. With labels, ``augment(x, y)`` gives the pair.

    A subclass says in ``example(key, x)`` what becomes of one example.

    Shapes:
        x: (batch, ...); y: (batch, ...), as it came unless the method mixes labels.

    Arguments:
        p: probability that an example is changed, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: p outside [0, 1]. ShapeError, DtypeError: a batch that the method is not for.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> class Negative(px.data.Augmentation):
    ...     def example(self, key, x):
    ...         return 1 - x
    >>> negative = Negative(p=0.5, key=0)
    >>> x = jnp.zeros((99, 1, 1, 1))
    >>> negative(x).max().item(), sorted(set(negative(x, key=jax.random.key(1)).ravel().tolist()))
    (0.0, [0.0, 1.0])
    """

    key: State  # () typed random key

    _axes: ClassVar[str] = "(batch, ...)"
    _ranks: ClassVar[tuple[int, ...]] = ()  # how many axes a batch may have; () is any number
    _floats: ClassVar[bool] = False  # whether it is arithmetic, which whole numbers would round

    def __init__(self, p: float = 1.0, *, key: Any = None):
        self.p: float = share_of(type(self).__name__, "p", p)
        self.key = key_or_draw(key)

    def __call__(self, x: Any, y: Any = None, *, key: Any = None) -> Any:
        (x,) = harmonise(self, x)
        self._check(x, y)
        if key is not None or self.training:
            x, y = self._changed(advance(self) if key is None else key_or_draw(key), x, y)
        else:
            x = self._still(x)
        return x if y is None else (x, y)

    def _check(self, x: Any, y: Any) -> None:
        """Refuse a batch that the method is not for."""
        del y
        if x.ndim == 0 or (self._ranks and x.ndim not in self._ranks):
            raise ShapeError(self._axes, got=describe(x), fix="lay it out so, or add a batch axis: x[None]")
        if self._floats:
            check_floats(x)

    def _changed(self, key: Any, x: Any, y: Any) -> tuple[Any, Any]:
        """The batch after the draws of a key."""
        return _each_example(self, key, x), y

    def _still(self, x: Any) -> Any:
        """The batch in inference."""
        return x

    def example(self, key: Any, x: Any) -> Any:
        """One example after the draws of a key."""
        raise NotImplementedError

    def _brief(self) -> str:
        return type(self).__name__ if self.p == 1 else f"{type(self).__name__}(p={self.p:g})"


class ImageAugmentation(Augmentation):
    """The base of augmentations of images."""

    _axes: ClassVar[str] = "(batch, height, width, channels)"
    _ranks: ClassVar[tuple[int, ...]] = (4,)
    _colors: ClassVar[bool] = False  # whether it is for grey and RGB images only

    def _check(self, x: Any, y: Any) -> None:
        super()._check(x, y)
        if self._colors and x.shape[-1] not in (1, 3):
            fix = "give grey or RGB images, channels last"
            raise ShapeError("1 or 3 channels, last", got=describe(x), fix=fix)


@jax.jit
def _each_example(augmentation: Augmentation, key: Any, x: jax.Array) -> jax.Array:
    def one(key: Any, x: jax.Array) -> jax.Array:
        chosen, drawn = jax.random.split(key)
        changed = augmentation.example(drawn, widened(x)).astype(x.dtype)
        return changed if augmentation.p == 1 else jnp.where(jax.random.bernoulli(chosen, augmentation.p), changed, x)

    return jax.vmap(one)(jax.random.split(key, len(x)), x)


class Augment(Module):
    """Augmentations one after the other, each with a key of its own; labels go along.

    Shapes:
        x, y: as the steps take them.

    Arguments:
        steps: augmentations, the first to act first.

    Raises:
        StructureError: a step that is no augmentation.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> augment = px.data.Augment(px.data.RandomCrop(4, padding=1, key=0), px.data.RandomFlip(key=1))
    >>> x, y = augment(jnp.ones((2, 4, 4, 1)), jnp.array([3, 5]), key=jax.random.key(0))
    >>> x.shape, y.tolist()
    ((2, 4, 4, 1), [3, 5])
    """

    def __init__(self, *steps: Augmentation | Augment):
        for step in steps:
            if not isinstance(step, (Augmentation, Augment)):
                fix = "derive it from px.data.Augmentation, or use px.Chain"
                raise StructureError("augmentations", got=describe(step), fix=fix, where="Augment")
        self.steps: list[Augmentation | Augment] = list(steps)

    def __call__(self, x: Any, y: Any = None, *, key: Any = None) -> Any:
        keys = [None] * len(self.steps) if key is None else jax.random.split(key_or_draw(key), len(self.steps))
        for step, drawn in zip(self.steps, keys, strict=True):
            x, y = (step(x, key=drawn), None) if y is None else step(x, y, key=drawn)
        return x if y is None else (x, y)


# --- arguments and draws ----------------------------------------------------------------------------


def share_of(where: str, name: str, value: float) -> float:
    """A fraction in [0, 1]."""
    if isinstance(value, bool) or not 0 <= value <= 1:
        raise RangeError(f"{name} in [0, 1]", got=repr(value), fix="give a fraction, such as 0.5", where=where)
    return float(value)


def range_of(
    where: str, name: str, value: Any, *, around: float = 0.0, least: float = -float("inf"), most: float = float("inf")
) -> tuple[float, float]:
    """The ends of a range: a number n is ``around`` ± n, not below ``least``; a pair is the ends themselves."""
    pair: tuple[Any, ...] = tuple(value) if isinstance(value, (tuple, list)) else ()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        pair = max(least, around - value), around + value
    if not _is_range(pair) or not least <= pair[0] <= pair[1] <= most:
        ends = f"in [{least:g}, {most:g}]" if least > -float("inf") or most < float("inf") else "in order"
        fix = f"give a number n of at least 0 for {around:g} ± n, or a pair (low, high)"
        raise RangeError(f"{name} as a range {ends}", got=repr(value), fix=fix, where=where)
    return float(pair[0]), float(pair[1])


def _is_range(ends: tuple[Any, ...]) -> bool:
    return len(ends) == 2 and all(isinstance(end, (int, float)) and math.isfinite(end) for end in ends)


def whole_of(where: str, name: str, value: int, *, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        expected, fix = f"{name} to be a whole number of at least {least}", f"give {name} a value of {least} or more"
        raise RangeError(expected, got=repr(value), fix=fix, where=where)
    return value


def one_of(where: str, name: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of several words."""
    if value not in choices:
        expected = f"{name} to be one of " + ", ".join(f'"{c}"' for c in choices)
        raise RangeError(expected, got=repr(value), fix="choose one of them", where=where)
    return value


def uniform(key: Any, ends: tuple[float, float]) -> jax.Array:
    """A number of a range."""
    return jax.random.uniform(key, (), jnp.float32, *ends)


def check_floats(x: jax.Array) -> None:
    """Refuse whole numbers, which arithmetic would round."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise DtypeError("floats, colours in [0, 1]", got=describe(x), fix="divide by the largest number: x / 255")


def widened(x: jax.Array) -> jax.Array:
    """Floats of 16 bits as those of 32, which the arithmetic is done in."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)) if jnp.issubdtype(x.dtype, jnp.floating) else x
