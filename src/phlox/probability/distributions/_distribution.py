"""The face that all distributions have, over NumPyro's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, RangeError, ShapeError, describe, key_or_draw, paths
from phlox.probability import _peers
from phlox.probability.distributions._arguments import Rule, arranged, wide


class Distribution(Module):
    r"""A distribution of NumPyro's as a Module: $p(v)$ and what follows from it.

    Made of Python numbers it is fixed, as a prior is; made of arrays it can be learned, returned by a layer, or stand
    in a model. It computes in float32 at least and answers in the dtype that it is made of.

    Shapes:
        ``batch_shape`` is of distributions side by side, ``event_shape`` of one draw. A value is
        (..., *batch, *event): axes may stand before those of the distribution, and nothing else broadcasts.

    ``log_prob(value)`` and ``cdf(value)`` give (..., *batch); ``sample(key, shape)`` gives (*shape, *batch, *event),
    with a gradient where draws have one; ``quantile(p)`` of a number p; ``mean``, ``variance``, ``stddev`` and
    ``entropy()``; ``interval(mass)`` is the central interval that holds this share.

    Raises:
        RangeError: an argument out of range, where its values are known; what this distribution does not have.
        ShapeError: arguments that do not broadcast, or a value that would.
        MissingExtraError: where NumPyro is not installed, at the first number asked for.

    Source: Phan, Pradhan and Jankowiak, "Composable effects for flexible and accelerated probabilistic programming in
    NumPyro", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> normal = px.probability.Normal(0.0, 2.0)
    >>> normal, round(float(normal.log_prob(1.0)), 4)
    (Normal(0.0, 2.0), -1.7371)
    """

    _peer_name: ClassVar[str] = ""
    _rules: ClassVar[Mapping[str, Rule]] = {}

    def __init__(self, **arguments: Any):
        for name, value in arranged(type(self).__name__, self._rules, arguments).items():
            setattr(self, name, value)

    def _peer(self) -> Any:
        """NumPyro's own object."""
        made = getattr(_peers.distributions(), self._peer_name)
        return made(**{name: wide(getattr(self, name)) for name in self._rules})

    def _dtype(self, *values: Any) -> Any:
        """The dtype of answers: that of the arrays here, else of the value."""
        held = [a.dtype for a in paths(self).values() if jnp.issubdtype(a.dtype, jnp.floating)]
        if not held:
            held = [v.dtype for v in values if hasattr(v, "dtype") and jnp.issubdtype(v.dtype, jnp.floating)]
        return jnp.result_type(*held) if held else jnp.dtype(jnp.float32)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Distributions side by side."""
        return tuple(self._peer().batch_shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one draw."""
        return tuple(self._peer().event_shape)

    def log_prob(self, value: Any) -> jax.Array:
        """The log-density of values, or the log-probability of counts."""
        peer, value = self._peer(), jnp.asarray(value)
        _check_value(self, peer, value)
        log_prob: jax.Array = peer.log_prob(wide(value)).astype(self._dtype(value))
        return log_prob

    def sample(self, key: Any, shape: tuple[int, ...] = ()) -> jax.Array:
        """Independent draws; ``key`` is a key of JAX or an integer."""
        draw: jax.Array = self._peer().sample(key_or_draw(key), tuple(shape))
        return draw.astype(self._dtype()) if jnp.issubdtype(draw.dtype, jnp.floating) else draw

    @property
    def mean(self) -> jax.Array:
        """The expectation, (*batch, *event)."""
        return self._asked("mean")

    @property
    def variance(self) -> jax.Array:
        """The variance of each element, (*batch, *event)."""
        return self._asked("variance")

    @property
    def stddev(self) -> jax.Array:
        """The standard deviation of each element, (*batch, *event)."""
        return jnp.sqrt(self.variance)

    def entropy(self) -> jax.Array:
        """The entropy in nats, (*batch)."""
        return self._asked("entropy")

    def cdf(self, value: Any) -> jax.Array:
        """The probability of at most ``value``."""
        value = jnp.asarray(value)
        _check_value(self, self._peer(), value)
        return self._asked("cdf", wide(value))

    def quantile(self, p: Any) -> jax.Array:
        """The value that a share ``p`` in (0, 1) is below, (*batch)."""
        return self._asked("icdf", jnp.asarray(p))

    def interval(self, mass: float = 0.9) -> tuple[jax.Array, jax.Array]:
        """The lower and the upper end of the central interval that holds this share."""
        if not 0 < mass < 1:
            fix = "give a share, such as 0.9"
            raise RangeError("mass in (0, 1)", got=repr(mass), fix=fix, where=f"{type(self).__name__}.interval")
        return self.quantile((1 - mass) / 2), self.quantile((1 + mass) / 2)

    def _asked(self, name: str, *values: Any) -> jax.Array:
        """A number of NumPyro's object, in the dtype of this one."""
        peer = self._peer()
        try:
            answer = getattr(peer, name)
            answer = answer(*values) if callable(answer) else answer
        except (NotImplementedError, ImportError):  # some of NumPyro's would take TensorFlow Probability
            raise no_such(self, name) from None
        found: jax.Array = jnp.asarray(answer).astype(self._dtype(*values))
        return found

    def _brief(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={_short(getattr(self, n))}' for n in self._rules)})"


def no_such(distribution: Distribution, name: str) -> RangeError:
    """What to say where a distribution has no such number in closed form."""
    what = {"icdf": "quantile"}.get(name, name)
    where = f"{type(distribution).__name__}.{what}"
    return RangeError(
        "a distribution that has it in closed form", got="none", fix="estimate it from sample()", where=where
    )


def _check_value(distribution: Distribution, peer: Any, value: jax.Array) -> None:
    """A value of the distribution's own shape, behind axes of its own; a target never broadcasts against it."""
    own = (*peer.batch_shape, *peer.event_shape)
    if value.shape[max(0, value.ndim - len(own)) :] == own:
        return
    size = int(np.prod(own))
    fix = f"reshape it: value.reshape({own})" if value.size == size else f"give it the shape {own}, further axes before"
    expected = f"a value (..., {', '.join(map(str, own))})"
    raise ShapeError(expected, got=describe(value), fix=fix, where=f"{type(distribution).__name__}.log_prob")


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value) if isinstance(value, Module) else describe(value)
