"""Fine-tuning by depth: what is frozen, at which rate a part learns, when it thaws; from one table of parts.

The table is ``model.parts()``, from the input to the output; the last part is the head.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

from phlox.core import OptionError, RangeError, StructureError, describe, freeze, paths, split, thaw
from phlox.loop import GradualUnfreezing
from phlox.models._model import Model
from phlox.optim import Rule, groups


def freeze_depth(model: Model, depth: int) -> None:
    """Freeze the first parts of a model, and thaw the rest: what is near the input stays, what is near the head learns.

    Arguments:
        model: one of ``px.models``.
        depth: how many parts from the input are frozen; negative to count from the head, -1 for all but the head, also
            where there is none.

    Raises:
        OptionError: no whole number. RangeError: more parts than the model has.

    >>> import jax, phlox as px
    >>> model = px.models.create("resnet18", classes=2)
    >>> px.models.freeze_depth(model, -1)
    >>> grads = px.grad(lambda m: m.head(jax.numpy.ones((1, 512))).sum())(model)
    >>> list(px.paths(grads))
    ['head.weight', 'head.bias']
    """
    where = "px.models.freeze_depth"
    parts, held = _parts(model, where), _held(model, where)
    _check_whole(depth, "depth", where)
    if not -len(parts) <= depth <= len(parts):
        raise RangeError(
            f"a depth up to {len(parts)}: {', '.join(parts)}", got=str(depth), fix="choose one in this range",
            where=where,
        )  # fmt: skip
    cut = depth % len(parts) if depth < 0 else depth
    if still := [part for part in parts[:cut] if part in held]:
        freeze(model, *still)
    if learning := [part for part in parts[cut:] if part in held]:
        thaw(model, *learning)


def layer_decay(model: Model, rule: Callable[[float], Rule], learning_rate: float, decay: float = 0.75) -> Rule:
    """A rule for each part, slower towards the input: the part k steps from the head learns at rate · decayᵏ.

    Parts that are frozen now get no rule: make another after they are thawed.

    Arguments:
        model: one of ``px.models``.
        rule: makes a rule for a rate, such as ``px.optim.AdamW``.
        learning_rate: of the head, a number.
        decay: by how much each part before it is slower, in (0, 1].

    Raises:
        OptionError: a rate or a decay that is no number. RangeError: a decay outside (0, 1].
        StructureError: nothing of the model learns.

    Source: Howard and Ruder, "Universal language model fine-tuning for text classification", 2018 (discriminative
    rates); Clark et al., "ELECTRA", 2020.

    >>> import phlox as px
    >>> model = px.models.create("resnet18", classes=2)
    >>> opt = px.Optimizer(px.models.layer_decay(model, px.optim.AdamW, 1e-3), model)
    """
    where = "px.models.layer_decay"
    for name, value in (("learning_rate", learning_rate), ("decay", decay)):
        if not isinstance(value, Real):
            fix = "give a number; opt.adjust changes the rate of a part later"
            raise OptionError(f"{name} as a number", got=describe(value), fix=fix, where=where)
    if not 0 < decay <= 1:
        raise RangeError("a decay in (0, 1]", got=str(decay), fix="0.75 is usual", where=where)
    parts, learning = _parts(model, where), tuple(split(model)[0])
    rates = {part: learning_rate * decay**k for k, part in enumerate(reversed(parts)) if _holds(learning, part)}
    if not rates:
        raise StructureError("a part that learns", got="a frozen model", fix="px.thaw it first", where=where)
    return groups({part: rule(rate) for part, rate in rates.items()})


def unfreezing(model: Model, *, every: int = 1) -> GradualUnfreezing:
    """A callback that trains the head first, and thaws one part more after every so many epochs, from the head down.

    Arguments:
        model: one of ``px.models``.
        every: epochs between two parts.

    Raises:
        OptionError: no whole number. RangeError: fewer than one epoch.

    Source: Howard and Ruder, "Universal language model fine-tuning for text classification", 2018.

    >>> import phlox as px
    >>> px.models.unfreezing(px.models.create("resnet18", classes=2), every=2).schedule
    {0: ('head',), 2: ('stages.3',), 4: ('stages.2',), 6: ('stages.1',), 8: ('stages.0',), 10: ('stem',)}
    """
    where = "px.models.unfreezing"
    _check_whole(every, "every", where)
    if every < 1:
        raise RangeError("at least one epoch", got=str(every), fix="every=1", where=where)
    return GradualUnfreezing({k * every: part for k, part in enumerate(reversed(_held(model, where)))})


def _parts(model: Any, where: str) -> tuple[str, ...]:
    """All parts, also an empty head.

    Raises:
        StructureError: no model of ``px.models``.
    """
    if not isinstance(model, Model):
        raise StructureError("a model of px.models", got=describe(model), fix="px.freeze takes paths", where=where)
    return model.parts()


def _held(model: Any, where: str) -> tuple[str, ...]:
    """The parts that hold weights."""
    parts, arrays = _parts(model, where), tuple(paths(model))
    return tuple(part for part in parts if _holds(arrays, part))


def _holds(arrays: tuple[str, ...], part: str) -> bool:
    return any(path == part or path.startswith(part + ".") for path in arrays)


def _check_whole(value: Any, name: str, where: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise OptionError(f"{name} as a whole number", got=describe(value), fix="give an int", where=where)
