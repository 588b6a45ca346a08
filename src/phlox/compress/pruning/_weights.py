"""Which weights of a model are meant to be pruned, and masks put on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.compress._layers import check_model, check_own, computed_layers
from phlox.compress.layers._masked import MASKED, Masked
from phlox.core import (
    Module,
    RangeError,
    StructureError,
    Where,
    chosen_paths,
    copy,
    modules,
    plain_class,
    replaced,
)
from phlox.nn import parameter_kinds

M = TypeVar("M", bound=Module)
WHAT = "Dense, Conv, Embedding or recurrent cell"
AXES = {"embedding": -1}
"""By the kind of a weight, the axis that an output sums over, where it is not the last but one."""


@dataclass(frozen=True)
class Weight:
    """A weight that has a mask."""

    path: str
    layer: Masked
    name: str
    stacked: int
    """Axes in front of those of one layer."""
    axis: int
    """What an output sums over."""

    @property
    def value(self) -> np.ndarray:
        """What the layer computes with, float32 or wider."""
        value = getattr(self.layer, self.name)
        return np.asarray(value.astype(jnp.promote_types(value.dtype, jnp.float32)))

    @property
    def mask(self) -> np.ndarray:
        """False where a number is left out."""
        return np.asarray(self.layer.masks[self.name])

    def take(self, mask: np.ndarray) -> None:
        """Give the layer another mask, that lies where its weight does."""
        self.layer.mask({self.name: jnp.ones_like(vars(self.layer)[self.name], bool) & mask})


def with_masks(model: M, where: Where | None, skip: Where | None, speaker: str) -> M:
    """A copy of a model in which the layers that are meant have masks, which leave nothing out where there were none.

    Raises:
        RangeError: a choice that means no such layer.
        StructureError: no model, one without such layers, a weight that is tied, computed or not finite.
    """
    check_model(model, speaker)
    model = copy(model)
    computed, fresh = computed_layers(model), {}
    for path in chosen(model, where, skip, speaker):
        layer: Any = modules(model)[path]
        if isinstance(layer, Masked):
            continue
        kind = MASKED[plain_class(type(layer))]
        names = [name for name in kind.names if getattr(layer, name) is not None]
        for name in names:
            check_own(path, layer, name, computed, speaker)
        masks = {name: jnp.ones_like(getattr(layer, name), bool) for name in names}
        fresh[id(layer)] = kind.__new__(kind).hold(layer, masks)
    return replaced(model, fresh, speaker)


def chosen(model: Module, where: Where | None, skip: Where | None, speaker: str) -> list[str]:
    """The paths of layers that are meant, among those that can have masks or have some."""
    layers = modules(model)
    able = [path for path, one in layers.items() if plain_class(type(one)) in MASKED or isinstance(one, Masked)]
    if not able:
        fix = "pass a model that has some, before its weights are made integers"
        raise StructureError(f"a model with a {WHAT}", got=model._brief(), fix=fix, where=speaker)
    meant = able if where is None else chosen_paths(where, able, layers, WHAT, speaker)
    left = set() if skip is None else set(chosen_paths(skip, able, layers, WHAT, speaker, "skip"))
    if not (found := [path for path in meant if path not in left]):
        raise StructureError("a layer that skip= leaves", got="none", fix="skip fewer", where=speaker)
    return found


def weights_of(model: Module, paths: Iterable[str], speaker: str) -> list[Weight]:
    """The masked weights of the layers at these paths.

    Raises:
        StructureError: a weight that lies in parts over several processes.
    """
    layers, kinds = modules(model), parameter_kinds(model)
    found = []
    for path in paths:
        layer: Any = layers[path]
        for name in layer.masks:
            raw, at = vars(layer)[name], f"{path}.{name}".lstrip(".")
            if isinstance(raw, jax.Array) and not raw.is_fully_addressable:
                fix = "prune before the model is spread over processes"
                raise StructureError("weights that this process holds", got=at, fix=fix, where=speaker)
            kind = kinds[at]
            found.append(Weight(path, layer, name, kind.stacked, AXES.get(kind.kind, -2)))
    return found


def check_share(share: Any, what: str, speaker: str) -> float:
    """A share in [0, 1).

    Raises:
        RangeError: anything else.
    """
    if isinstance(share, bool) or not isinstance(share, (int, float, np.floating)) or not 0 <= share < 1:
        fix = "0.8 leaves a fifth of the numbers"
        raise RangeError(f"{what} in [0, 1)", got=repr(share)[:100], fix=fix, where=speaker)
    return float(share)
