"""What a run was made of, in short: so that a resumed one can say what is not as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from phlox.core import Module, describe, is_key, modules
from phlox.loop._warning import warn
from phlox.loop.batches._feed import Feed
from phlox.loop.callbacks._names import in_text

_ROWS = 5  # of each array: looked at as they are
_LONG = 200  # characters of an attribute
_SETTINGS = ("loss", "loss_weights", "precision", "accumulate", "clip", "class_weight", "batch_size", "limit_batches")


def made_of(
    model: Module, rule: Any, settings: Mapping[str, Any], data: Mapping[str, tuple[Any, Feed | None]]
) -> dict[str, Any]:
    """What decides a training beside the arrays, as texts by name; JSON-able.

    Arguments:
        model: its layers with what of them is no array, such as the rate of a Dropout.
        rule: of the optimiser.
        settings: of ``fit``.
        data: training and validation data by name, as they were given, and what goes through them.
    """
    found: dict[str, Any] = {name: in_text(settings.get(name)) for name in _SETTINGS}
    found["optimizer"] = f"{in_text(rule)} (its state, learning rate too, is that of the checkpoint)"
    found |= {name: told for name, (given, feed) in data.items() for told in [_data(given, feed)] if told}
    return found | {f"model{'.' if path else ''}{path}": _layer(m) for path, m in modules(model).items()}


def warn_of_changes(ours: Mapping[str, Any], theirs: Mapping[str, Any] | None) -> None:
    """Warn, once, of what is not as it was when a checkpoint was made."""
    if not ours or not theirs:
        return
    both = [name for name in theirs if name in ours and ours[name] != theirs[name]]
    if both:
        changed = "; ".join(f"{name} was {theirs[name]}, is {ours[name]}" for name in both)
        warn(f"px.fit(resume=…) goes on with something else than it was saved with: {changed}")


def _layer(module: Module) -> str:
    """A Module by its class and its attributes that are neither arrays nor Modules."""
    static = {name: value for name, value in vars(module).items() if not _holds_items(value)}
    return f"{type(module).__name__}({', '.join(f'{name}={in_text(v)[:_LONG]}' for name, v in static.items())})"


def _holds_items(value: Any) -> bool:
    leaves = jax.tree.leaves(value, is_leaf=lambda v: isinstance(v, Module))
    return any(isinstance(leaf, (Module, jax.Array, np.ndarray)) for leaf in leaves)


def _data(given: Any, feed: Feed | None) -> str:
    """Shapes, dtypes and a digest of a few rows; empty where that would cost more than a look."""
    if isinstance(given, list):
        return " and ".join([f"{len(given)} batches", *filter(None, map(_arrays, given[:1] + given[-1:]))])
    if feed is not None and getattr(given, "stackable", False) and len(given):
        return f"{given!r} of {_arrays(feed.unpadded())}"
    return _arrays(given)


def _arrays(tree: Any) -> str:
    if not isinstance(tree, (tuple, Mapping, np.ndarray, jax.Array)):
        return ""
    leaves = jax.tree.leaves(tree)
    if not leaves or not all(isinstance(leaf, (np.ndarray, jax.Array)) and not is_key(leaf) for leaf in leaves):
        return ""
    return ", ".join(f"{describe(leaf)} {_digest(leaf)}" for leaf in leaves)


def _digest(array: Any) -> str:
    """Of some rows, first, last and between."""
    if not array.ndim or array.dtype.kind == "O":
        return ""
    rows = np.unique(np.linspace(0, len(array) - 1, _ROWS).astype(int)) if len(array) else []
    picked = np.stack([np.asarray(array[int(n)]) for n in rows]) if len(rows) else np.zeros(0)
    return "#" + hashlib.sha256(np.ascontiguousarray(picked).tobytes()).hexdigest()[:8]
