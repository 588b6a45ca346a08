"""Autoregressive maps: each feature moved by what those before it say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from phlox.core import check_size, scan
from phlox.nn.functional import relu
from phlox.probability.flows._bijection import Bijection, Moved, check_features, checked
from phlox.probability.flows._elementwise import Elementwise, check_elementwise
from phlox.probability.flows._masked import MADE


class Autoregressive(Bijection):
    r"""A map that moves each feature by what those before it say, $z_i = g(x_i; n_i(x_1, \dots, x_{i - 1}))$.

    The map takes one pass, its inverse one for each feature; ``Inverse`` of it is the other way round. It begins as
    the identity.

    Shapes:
        x, z: (..., features); context: (..., context).

    Arguments:
        features: how many numbers an example has.
        transform: g, ``Affine()`` or ``RationalQuadratic()``, or another ``Elementwise``; by default ``Affine()``.
        order: the features from the first to the last; by default as they come.
        hidden: widths of the network's hidden layers.
        act: their activation.
        context: how many numbers are given with each example; 0 for none.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: sizes below 1, or an order that does not name each feature once.
        ShapeError: inputs or a context of other sizes.

    Source: Papamakarios, Pavlakou and Murray, "Masked autoregressive flow for density estimation", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> z, stretch = px.probability.Autoregressive(3, hidden=(16,))(jnp.ones((5, 3)))
    >>> z.shape, stretch.shape
    ((5, 3), (5,))
    """

    features: int
    transform: Elementwise
    context: int
    conditioner: MADE

    def __init__(
        self,
        features: int,
        transform: Elementwise | None = None,
        *,
        order: Sequence[int] | None = None,
        hidden: Sequence[int] = (64, 64),
        act: Callable[..., Any] = relu,
        context: int = 0,
        key: Any = None,
    ):
        self.features = check_features("Autoregressive", features)
        self.transform = check_elementwise("Autoregressive", transform)
        self.context = check_size("Autoregressive", "context", context, least=0)
        self.conditioner = MADE(
            self.features,
            self.transform.parameters,
            hidden=hidden,
            act=act,
            context=self.context,
            order=order,
            key=key,
        )

    def __call__(self, x: Any, context: Any = None) -> Moved:
        x, context = checked(self, x, context, self.features, self.context)
        raw = self.conditioner(x, context)
        z, log_slopes = self.transform(x.astype(raw.dtype), raw)
        return z, log_slopes.sum(-1)

    def inverse(self, z: Any, context: Any = None) -> Moved:
        """The x that the map takes to z, and the logarithm of how the inverse stretches space."""
        z, context = checked(self, z, context, self.features, self.context)
        z = z.astype(jnp.promote_types(z.dtype, self.conditioner.layers[-1].bias.dtype))

        def further(x: Any, _: Any) -> tuple[Any, Any]:
            """One feature more is right after each pass, as what it depends on was."""
            return self.transform.inverse(z, self.conditioner(x, context))[0], None

        x, _ = scan(further, jnp.zeros_like(z), length=self.features - 1)
        x, log_slopes = self.transform.inverse(z, self.conditioner(x, context))
        return x, log_slopes.sum(-1)

    def _brief(self) -> str:
        return f"Autoregressive({self.features}, {self.transform._brief()})"
