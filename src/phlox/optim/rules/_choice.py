"""Which arrays a rule means: by path, by pattern or by predicate."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

from phlox.core import Choice, RangeError, StructureError, describe, means
from phlox.nn import KINDS, ParameterKind, kind_by_name


class _Here(threading.local):
    kinds: Mapping[str, ParameterKind] = {}


_here = _Here()


@contextmanager
def known_kinds(kinds: Mapping[str, ParameterKind]) -> Iterator[None]:
    """Within the block, what ``px.parameter_kinds`` said of the arrays that rules meet, by path."""
    before, _here.kinds = _here.kinds, kinds
    try:
        yield
    finally:
        _here.kinds = before


def kind_of(path: str, array: Any) -> ParameterKind:
    """What an array is: by its layer in an optimiser, which knows the model; by its name and axes elsewhere."""
    known = _here.kinds.get(path)
    if known is not None and known.rank <= array.ndim:
        return known._replace(stacked=array.ndim - known.rank)
    return ParameterKind(kind_by_name(path.rpartition(".")[2], array.ndim), array.ndim, 0)


def is_matrix(path: str, array: Any) -> bool:
    """True for weights: matrices, kernels and embeddings, and neither biases nor the scales of normalisation.

    A choice for masks and groups. In an optimiser ``px.parameter_kinds`` of its model decides, so that the biases in a
    ``RepeatedLayer`` are biases; called elsewhere, the array's name and axes do.

    >>> import phlox as px
    >>> rule = px.optim.AdamW(1e-3, weight_decay=0.1, mask=px.optim.is_matrix)
    >>> px.optim.is_matrix("layers.0.bias", px.Dense(2, 3).bias)
    False
    """
    return kind_of(path, array).kind in ("matrix", "kernel", "embedding")


@dataclass(frozen=True)
class OfKind:
    """A choice of what an array is; what ``px.optim.of_kind`` makes."""

    kinds: tuple[str, ...]

    def __call__(self, path: str, array: Any) -> bool:
        return kind_of(path, array).kind in self.kinds

    @property
    def __name__(self) -> str:
        return " or ".join(self.kinds)

    def __repr__(self) -> str:
        return f"of_kind({', '.join(map(repr, self.kinds))})"


def of_kind(*kinds: str) -> OfKind:
    """A choice for masks and groups by what ``px.parameter_kinds`` says: ``of_kind("matrix", "kernel")``.

    Arguments:
        kinds: of ``"matrix"``, ``"kernel"``, ``"bias"``, ``"scale"``, ``"embedding"`` and ``"other"``.

    Raises:
        RangeError: no kind, or one that there is not.

    >>> import phlox as px
    >>> px.optim.groups([(px.optim.of_kind("embedding"), px.optim.Descent(0.1)), ("*", px.optim.Adam())]).labels
    ['embedding', '*']
    """
    wrong = [k for k in kinds if k not in KINDS]
    if wrong or not kinds:
        raise RangeError(
            f"kinds among {', '.join(KINDS)}",
            got=repr(wrong[0]) if wrong else "none",
            fix="choose among these",
            where="px.optim.of_kind",
        )
    return OfKind(kinds)


def chosen(choice: Choice | None, path: str, array: Any) -> bool:
    """True where a choice means this array; None means every one."""
    return choice is None or means(choice, path, _one_of(path, array))


def _one_of(path: str, array: Any) -> Any:
    """What a predicate is asked about: of a stacked parameter one, so that its axes are those of its layer."""
    kind = kind_of(path, array)
    return jax.ShapeDtypeStruct(array.shape[kind.stacked :], array.dtype) if kind.stacked else array


def check_choice(choice: Any, where: str) -> None:
    """Refuse what is no choice."""
    parts = choice if isinstance(choice, tuple) else (choice,)
    if choice is not None and not all(isinstance(p, str) or callable(p) for p in parts):
        raise StructureError(
            "a path pattern, several in a tuple, or a predicate (path, array) -> bool",
            got=describe(choice),
            fix='name the arrays as "trunk.*", as ("*.weight", "head"), or by px.optim.is_matrix',
            where=where,
        )


def check_matches(choice: Choice | None, paths: tuple[str, ...], arrays: list[Any], where: str) -> None:
    """Refuse a choice that means no array, which is a slip of the pen."""
    for part in choice if isinstance(choice, tuple) else (choice,):
        if paths and not any(chosen(part, p, a) for p, a in zip(paths, arrays, strict=True)):
            raise StructureError(
                "a choice that matches a trained array",
                got=repr(part),
                fix=f"choose among the paths: {', '.join(paths[:3])}{' …' if len(paths) > 3 else ''}",
                where=where,
            )
