"""Fine-tuning by depth: what is frozen, at which rate a part learns, when it thaws; from one table of parts.

The table is ``model.parts()``, from the input to the output; the last part is the head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from phlox.core import RangeError, StructureError, describe, freeze, paths, thaw
from phlox.loop import GradualUnfreezing
from phlox.models._model import Model
from phlox.optim import Rule, groups


def freeze_depth(model: Model, depth: int) -> None:
    """Freeze the first parts of a model, and thaw the rest: what is near the input stays, what is near the head learns.

    Arguments:
        model: one of ``px.models``.
        depth: how many parts from the input are frozen; negative to count from the head, -1 for all but the head.

    Raises:
        RangeError: more parts than the model has.

    >>> import jax, phlox as px
    >>> model = px.models.create("resnet18", classes=2)
    >>> px.models.freeze_depth(model, -1)
    >>> grads = px.grad(lambda m: m.head(jax.numpy.ones((1, 512))).sum())(model)
    >>> list(px.paths(grads))
    ['head.weight', 'head.bias']
    """
    parts = _parts(model, "px.models.freeze_depth")
    if not -len(parts) <= depth <= len(parts):
        raise RangeError(
            f"a depth up to {len(parts)}: {', '.join(parts)}", got=str(depth), fix="choose one in this range",
            where="px.models.freeze_depth",
        )  # fmt: skip
    cut = depth % len(parts) if depth < 0 else depth
    if parts[:cut]:
        freeze(model, *parts[:cut])
    if parts[cut:]:
        thaw(model, *parts[cut:])


def layer_decay(model: Model, rule: Callable[[float], Rule], learning_rate: float, decay: float = 0.75) -> Rule:
    """A rule for each part, slower towards the input: the part k steps from the head learns at rate · decayᵏ.

    Arguments:
        model: one of ``px.models``.
        rule: makes a rule for a rate, such as ``px.optim.AdamW``.
        learning_rate: of the head.
        decay: by how much each part before it is slower, in (0, 1].

    Raises:
        RangeError: a decay outside (0, 1].

    Source: Howard and Ruder, "Universal language model fine-tuning for text classification", 2018 (discriminative
    rates); Clark et al., "ELECTRA", 2020.

    >>> import phlox as px
    >>> model = px.models.create("resnet18", classes=2)
    >>> opt = px.Optimizer(px.models.layer_decay(model, px.optim.AdamW, 1e-3), model)
    """
    if not 0 < decay <= 1:
        raise RangeError("a decay in (0, 1]", got=str(decay), fix="0.75 is usual", where="px.models.layer_decay")
    parts = _parts(model, "px.models.layer_decay")
    return groups({part: rule(learning_rate * decay**k) for k, part in enumerate(reversed(parts))})


def unfreezing(model: Model, *, every: int = 1) -> GradualUnfreezing:
    """A callback that trains the head first, and thaws one part more after every so many epochs, from the head down.

    Arguments:
        model: one of ``px.models``.
        every: epochs between two parts.

    Raises:
        RangeError: fewer than one epoch.

    Source: Howard and Ruder, "Universal language model fine-tuning for text classification", 2018.

    >>> import phlox as px
    >>> px.models.unfreezing(px.models.create("resnet18", classes=2), every=2).schedule
    {0: ('head',), 2: ('stages.3',), 4: ('stages.2',), 6: ('stages.1',), 8: ('stages.0',), 10: ('stem',)}
    """
    if every < 1:
        raise RangeError("at least one epoch", got=str(every), fix="every=1", where="px.models.unfreezing")
    return GradualUnfreezing(
        {k * every: part for k, part in enumerate(reversed(_parts(model, "px.models.unfreezing")))}
    )


def _parts(model: Any, where: str) -> tuple[str, ...]:
    """The parts that hold weights.

    Raises:
        StructureError: no model of ``px.models``.
    """
    if not isinstance(model, Model):
        raise StructureError("a model of px.models", got=describe(model), fix="px.freeze takes paths", where=where)
    held = list(paths(model))
    return tuple(part for part in model.parts() if any(p == part or p.startswith(part + ".") for p in held))
