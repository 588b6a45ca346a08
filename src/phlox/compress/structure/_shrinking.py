"""px.compress.shrink, remove_units and units: channels, neurons and heads removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.compress._layers import check_model
from phlox.compress.pruning._pruning import check_scope
from phlox.compress.pruning._selecting import count_of, without_lowest
from phlox.compress.pruning._weights import check_share
from phlox.compress.structure._removing import check_same, without, zeroed
from phlox.compress.structure._tracing import Structure
from phlox.compress.structure._units import Units, by_array, names_of, units_of
from phlox.core import (
    Module,
    RangeError,
    ShapeError,
    StructureError,
    Where,
    answering,
    chosen_paths,
    describe,
    key_or_draw,
    modules,
    state_dict,
)

M = TypeVar("M", bound=Module)
_SHRINK, _REMOVE = "px.compress.shrink", "px.compress.remove_units"
_WHAT = "layer whose outputs can be removed"


def units(model: Module, *inputs: Any) -> list[Units]:
    """The channels, neurons and heads that can be removed from a model, in families of those that are alike.

    The model's program is read: what a sum, a norm, a convolution by groups or heads bring together goes together. What
    reaches the results, or an operation that looks at all features at once, as the mean of a LayerNorm does, stays.

    Arguments:
        model: a model.
        inputs: what it is called with; only shapes and dtypes count.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Conv((3, 3), 1, 6), px.BatchNorm(6, px.relu), px.flatten, px.Dense(54, 2))
    >>> px.compress.units(model, jnp.ones((1, 5, 5, 1)))
    [Units(layers.0: 6 of 32 numbers)]
    """
    check_model(model, "px.compress.units")
    return units_of(model, inputs)[0]


@answering
def shrink(
    model: M,
    share: float,
    *inputs: Any,
    by: str | Mapping[str, Any] = "magnitude",
    scope: str = "layer",
    where: Where | None = None,
    skip: Where | None = None,
    key: Any = None,
) -> M:
    r"""A copy of a model without a share of its channels, neurons and heads: its arrays are smaller.

    What goes together goes together: a channel of a convolution with its norm, with what the next layer made of it, and
    with the channel of every layer whose results are added to its; a head with its queries, keys and values, and with
    the heads that share them. The result computes what the model does where all weights of these parts are zero, which
    is tried on the inputs. ``px.compress.units`` tells what can be removed.

    Arguments:
        model: a model whose layers, or ``px.models``, take their sizes from their arrays.
        share: of the units of each family, in [0, 1), to the nearest whole number; one of a family always stays.
        inputs: what the model is called with, such as some of its data.
        by: which go: ``"magnitude"``, those whose weights have the smallest mean square; ``"random"``; or those of the
            lowest scores, given for each family by the path of its first layer.
        scope: ``"layer"``, the same share of each family, or ``"global"``, where the units of all are compared.
        where: the families whose units are outputs of these layers, or lie within these parts: a path or pattern,
            several, or a predicate (path, layer); None for all.
        skip: which of them are left as they are.
        key: what ``"random"`` draws from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a share outside [0, 1), another option outside its range, a choice that means no such layer.
        ShapeError: scores of another shape.
        StructureError: a model without such units, or one that does not compute the same with smaller arrays.

    Source: Li et al., "Pruning filters for efficient ConvNets", 2017; Michel, Levy and Neubig, "Are sixteen heads
    really better than one?", 2019; Fang et al., "DepGraph: towards any structural pruning", 2023, for what goes
    together.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(4, 8, px.relu), px.Dense(8, 3))
    >>> small = px.compress.shrink(model, 0.75, jnp.ones((1, 4)))
    >>> small[0].weight.shape, small[1].weight.shape
    ((4, 2), (2, 3))
    """
    check_share(share, "a share", _SHRINK)
    check_scope(scope, _SHRINK)
    check_model(model, _SHRINK)
    found, structure = units_of(model, inputs)
    if not found:
        fix = "pass one with layers between others, that is called with these inputs"
        raise StructureError("a model of which something can be removed", got=model._brief(), fix=fix, where=_SHRINK)
    families = _chosen(model, found, structure, where, skip)
    scores = [np.asarray(one, np.float32) for one in _scores(model, families, by, key)]
    return _cut(model, families, _going(scores, share, scope), inputs, _SHRINK)


def remove_units(model: M, gone: Mapping[str, Sequence[int]], *inputs: Any) -> M:
    """A copy of a model without the units that are named, as ``px.compress.shrink`` makes it.

    Arguments:
        model: as of ``px.compress.shrink``.
        gone: which units go, by the path of a layer whose outputs they are: ``{"layers.0": [3, 5]}``; heads by that of
            the map of their queries.
        inputs: what the model is called with.

    Raises:
        RangeError: a layer whose outputs cannot be removed, a unit that there is not, all of a family.
        StructureError: a model that does not compute the same with smaller arrays.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(4, 8, px.relu), px.Dense(8, 3))
    >>> px.compress.remove_units(model, {"layers.0": [0, 7]}, jnp.ones((1, 4)))[1].weight.shape
    (6, 3)
    """
    check_model(model, _REMOVE)
    families, structure = units_of(model, inputs)
    lost: dict[int, set[int]] = {}
    for path, indices in gone.items():
        at = next((i for i, family in enumerate(families) if path in family.layers), None)
        if at is None:
            raise _stays(model, path, families, structure, _REMOVE)
        wrong = [i for i in indices if isinstance(i, bool) or not isinstance(i, (int, np.integer))]
        count = families[at].count
        wrong += [i for i in indices if i not in wrong and not 0 <= i < count]
        if wrong:
            fix = "px.compress.units(model, x) tells how many there are"
            raise RangeError(f"units of {path} from 0 to {count - 1}", got=repr(wrong[0]), fix=fix, where=_REMOVE)
        lost.setdefault(at, set()).update(int(i) for i in indices)
    for at, indices in lost.items():
        if len(indices) == families[at].count:
            fix = "remove the layer, or leave one"
            got = f"all {families[at].count}"
            raise RangeError(f"a unit of {families[at].layers[0]} that stays", got=got, fix=fix, where=_REMOVE)
    going = [np.isin(np.arange(family.count), [*lost.get(i, ())]) for i, family in enumerate(families)]
    return _cut(model, families, going, inputs, _REMOVE)


def _cut(model: M, families: Sequence[Units], going: Sequence[np.ndarray], inputs: Sequence[Any], speaker: str) -> M:
    """The model without these units, tried on the inputs."""
    sets = [family.sets[i] for family, gone in zip(families, going, strict=True) for i in np.flatnonzero(gone)]
    gone = by_array(sets)
    small = without(model, gone)
    if gone:
        check_same(small, zeroed(model, gone), inputs, speaker)
    return small


def _chosen(
    model: Module, families: list[Units], structure: Structure, where: Where | None, skip: Where | None
) -> list[Units]:
    """The families that are meant, but for those to be left."""
    names = {name: None for family in families for name in names_of(family, model)}

    def meant(choice: Where, option: str) -> list[Units]:
        for path in [choice] if isinstance(choice, str) else []:
            if path not in names and path in modules(model):
                raise _stays(model, path, families, structure, _SHRINK)
        paths = set(chosen_paths(choice, names, modules(model), _WHAT, _SHRINK, option))
        return [family for family in families if paths.intersection(names_of(family, model))]

    kept = families if where is None else meant(where, "where")
    left = [] if skip is None else meant(skip, "skip")
    if not (found := [family for family in kept if family not in left]):
        raise StructureError("a family that skip= leaves", got="none", fix="skip fewer", where=_SHRINK)
    return found


def _stays(model: Module, path: str, families: list[Units], structure: Structure, speaker: str) -> RangeError:
    """An error about a layer whose outputs cannot be removed."""
    arrays = state_dict(model)
    axis = arrays[f"{path}.weight"].ndim - 1 if f"{path}.weight" in arrays else 0
    why = structure.held.get(f"{path}.weight {axis}")
    got = repr(path) if why is None else f"{path!r}, whose outputs stay: {why}"
    fix = (
        f"choose among {', '.join(family.layers[0] for family in families[:6])}" if families else "choose another model"
    )
    return RangeError(f"a {_WHAT}", got=got, fix=fix, where=speaker)


def _scores(model: Module, families: Sequence[Units], by: Any, key: Any) -> list[Any]:
    """What each unit is worth."""
    if isinstance(by, Mapping):
        return [_given(family, by) for family in families]
    if by == "magnitude":
        arrays = state_dict(model)
        return [_sizes_of(family, arrays) for family in families]
    if by == "random":
        keys = jax.random.split(key_or_draw(key), len(families))
        return [jax.random.uniform(k, (family.count,)) for k, family in zip(keys, families, strict=True)]
    fix = 'by="magnitude" is usual'
    expected = 'by="magnitude", by="random", or scores by path'
    raise RangeError(expected, got=repr(by)[:100], fix=fix, where=_SHRINK)


def _sizes_of(family: Units, arrays: Mapping[str, Any]) -> np.ndarray:
    """The mean square of each unit's weights in the layers whose outputs it is."""
    makers = [path for path in arrays if path.rpartition(".")[0] in family.layers and arrays[path].ndim > 1]
    squares, count = np.zeros(family.count), 0
    for path in makers:
        array = arrays[path]
        by_output = np.asarray(jnp.square(array.astype(jnp.float32)).sum(tuple(range(array.ndim - 1))))
        places = [[i.at for i in one if i.path == path and i.axis == array.ndim - 1] for one in family.sets]
        if places[0]:
            squares += by_output[np.asarray(places)].sum(1)
            count += len(places[0]) * (array.size // array.shape[-1])
    return squares / count


def _given(family: Units, scores: Mapping[str, Any]) -> np.ndarray:
    """The scores that a user gave for a family."""
    path = family.layers[0]
    if path not in scores:
        fix = f'give them, or leave it out: skip="{path}"'
        raise RangeError("scores for each family that is meant", got=f"none for {path}", fix=fix, where=_SHRINK)
    given = np.asarray(jnp.asarray(scores[path]).astype(jnp.float32))
    if given.shape != (family.count,) or np.isnan(given).any():
        kind: Callable[..., Exception] = RangeError if given.shape == (family.count,) else ShapeError
        got = "NaN" if given.shape == (family.count,) else describe(scores[path])
        raise kind(f"scores ({family.count},) for {path}", got=got, fix="give a number for each unit", where=_SHRINK)
    return given


def _going(scores: Sequence[np.ndarray], share: float, scope: str) -> list[np.ndarray]:
    """Which units go, of the lowest scores; the best of a family never."""
    able = []
    for one in scores:
        kept = one.copy()
        kept[int(np.argmax(one))] = np.inf
        able.append(kept)
    if scope == "layer":
        return [~without_lowest([one], min(count_of(share, one.size), one.size - 1))[0] for one in able]
    total = sum(one.size for one in able)
    return [~mask for mask in without_lowest(able, min(count_of(share, total), total - len(able)))]
