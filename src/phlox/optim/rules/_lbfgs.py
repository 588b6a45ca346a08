"""L-BFGS with a line search, over optax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError
from phlox.optim.rules._combined import needed
from phlox.optim.rules._rule import Rule, transformation

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True, eq=False)
class LBFGS(Rule):
    r"""L-BFGS: $w \leftarrow w - α H g$, H the inverse Hessian as the last steps tell it, α by a line search.

    α fulfils the strong Wolfe conditions (a zoom search), so the rule needs the loss as well as its gradient, for one
    batch that stays: ``opt.update(model, grads, value=loss, value_fn=loss_fn)`` with ``loss_fn(model)``. Do it inside
    ``px.jit``: line by line, every search is compiled anew. In ``loss_fn`` the model is in training mode, and what it
    writes to State there is dropped. The transformations are optax's ``scale_by_lbfgs`` and
    ``scale_by_zoom_linesearch``.

    Arguments:
        memory: how many steps H remembers.
        search_steps: the most evaluations of the loss in one search.

    Raises:
        RangeError: fewer than 1.
        StructureError: from ``update``, a missing ``value`` or ``value_fn``.

    Source: Nocedal and Wright, "Numerical optimization", 2006, algorithms 7.4, 3.5 and 3.6.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.ones((1, 1)), None)
    >>> loss_fn = lambda model: (model(jnp.ones((1, 1))) - 3.0).sum() ** 2
    >>> opt = px.Optimizer(px.optim.LBFGS(), model)
    >>> @px.jit
    ... def step(model, opt):
    ...     value, grads = px.value_and_grad(loss_fn)(model)
    ...     opt.update(model, grads, value=value, value_fn=loss_fn)
    >>> for _ in range(3):
    ...     step(model, opt)
    >>> round(float(model.weight[0, 0]), 4)
    3.0
    """

    memory: int = 10
    search_steps: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("memory", "search_steps"):
            if getattr(self, name) < 1:
                got = repr(getattr(self, name))
                raise RangeError(f"{name} of at least 1", got=got, fix=f"choose {name} ≥ 1", where="LBFGS")

    def part(self) -> optax.GradientTransformationExtraArgs:
        """Optax's transformations, as steps to subtract."""
        import optax

        search = optax.scale_by_zoom_linesearch(self.search_steps, initial_guess_strategy="one")
        whole = optax.chain(optax.scale_by_lbfgs(self.memory), optax.scale(-1.0), search)

        def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> Any:
            value, given = needed(extra, "value", "LBFGS"), needed(extra, "value_fn", "LBFGS")
            up, w = _apart(grads), _apart(params)
            value_fn = lambda w: given(_together(w, params))  # noqa: E731
            steps, state = whole.update(up, state, w, value=value, grad=up, value_fn=value_fn)
            return jax.tree.map(jnp.negative, _together(steps, params)), state

        return transformation(lambda params: whole.init(_apart(params)), update)

    def reads(self, state: Any) -> list[tuple[str, dict[str, Any]]]:
        """The step size that the last search found."""
        return [("", {"learning_rate": state[2].learning_rate})]


def _apart(arrays: Any) -> Any:
    """Complex arrays as real ones with an axis of two, in which inner products are what a search needs."""
    pair = lambda x: jnp.stack([jnp.real(x), jnp.imag(x)], -1) if jnp.iscomplexobj(x) else x  # noqa: E731
    return jax.tree.map(pair, arrays)


def _together(arrays: Any, like: Any) -> Any:
    """The way back."""
    whole = lambda x, w: jax.lax.complex(x[..., 0], x[..., 1]) if jnp.iscomplexobj(w) else x  # noqa: E731
    return jax.tree.map(whole, arrays, like)
