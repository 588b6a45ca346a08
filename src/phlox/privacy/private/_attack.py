"""A membership attack: whoever has a small loss is taken for one of the examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, check_size, jit, vmap
from phlox.loop import Objective, check_loss

_WHERE = "px.privacy.attack_membership"


@dataclass(frozen=True, eq=False)
class MembershipAttack:
    """How well members were told from others, by a threshold on the loss.

    Arguments:
        false_positives: (thresholds,) the share of others taken for members, rising from 0 to 1.
        true_positives: (thresholds,) the share of members found.
    """

    false_positives: np.ndarray[Any, Any]
    true_positives: np.ndarray[Any, Any]

    @property
    def advantage(self) -> float:
        """The largest difference of the two, 0 for guessing and 1 for knowing; the threshold is chosen afterwards."""
        return float((self.true_positives - self.false_positives).max())

    @property
    def auc(self) -> float:
        """The probability that a member has the smaller loss of a pair, a tie counting half."""
        return float(np.trapezoid(self.true_positives, self.false_positives))

    def __repr__(self) -> str:
        return f"MembershipAttack(advantage={self.advantage:.3f}, auc={self.auc:.3f})"


def attack_membership(
    model: Module, loss: Any, members: Any, others: Any, *, batch_size: int = 256
) -> MembershipAttack:
    """Guess who was among the examples that a model was trained on: who has a small loss.

    The advantage of a good attack on a private training lies below ``px.privacy.bound_advantage``. A small one proves
    nothing: a better attack may be there.

    Arguments:
        model: the trained model; it infers.
        loss: as of ``px.fit``; it sees each example as a batch of one.
        members: examples that it was trained on, a tuple of arrays as of ``px.fit``.
        others: examples of the same kind that it never saw.
        batch_size: examples at a time.

    Raises:
        RangeError: a loss that is none, a batch size below 1.

    Source: Yeom et al., "Privacy risk in machine learning: analyzing the connection to overfitting", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> model, x = px.Dense.of(jnp.ones((1, 1)), None), jnp.array([[0.0], [1.0], [2.0]])
    >>> px.privacy.attack_membership(model, px.losses.mse, (x, x), (x, x + 1))
    MembershipAttack(advantage=1.000, auc=1.000)
    """
    check_loss(loss, _WHERE)
    size = check_size(_WHERE, "batch_size", batch_size)
    objective = Objective(loss, None, _WHERE)
    ours, theirs = (losses_of(model, objective, data, size) for data in (members, others))
    thresholds = np.unique(np.concatenate([ours, theirs]))
    below = [np.searchsorted(np.sort(losses), thresholds, side="right") / len(losses) for losses in (theirs, ours)]
    return MembershipAttack(*(np.concatenate([[0.0], rates]) for rates in below))


def losses_of(model: Module, objective: Objective, data: Any, size: int) -> np.ndarray[Any, Any]:
    """(examples,) the loss of each example by itself."""

    def of_one(model: Module, example: Any) -> Any:
        return objective(model, jax.tree.map(lambda a: jnp.asarray(a)[None], example))[0]

    found, rows = [], len(jax.tree.leaves(data)[0])
    each = jit(vmap(of_one, in_axes=(None, 0)))
    for start in range(0, rows, size):
        part = jax.tree.map(lambda a, at=start: a[at : at + size], data)
        found.append(np.asarray(each(model, part)))
    return np.concatenate(found)
