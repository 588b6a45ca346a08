"""The errors of Phlox: each says where, what was expected, what came, and the likely fix."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


class PhloxError(Exception):
    """An error in four parts: ``where`` expects ``expected``, got ``got``; fix: ``fix``.

    Layers and functional forms raise it with their own name as ``where``. On its way out of a
    Module, ``where`` is replaced once by the path from the root and the layer as its user wrote it,
    so the same code gives the same message alone and deep inside a model.

    Arguments:
        expected: what the code needs, as a phrase that follows "expects".
        got: what it received (``describe(x)`` renders arrays).
        fix: the likely cure, one imperative sentence.
        where: the function or layer that speaks; a Module supplies the path.
        located: ``where`` is final, and a Module that the error passes does not replace it.
    """

    expected: str
    got: str | None
    fix: str | None
    where: str | None

    def __init__(
        self,
        expected: str,
        *,
        got: str | None = None,
        fix: str | None = None,
        where: str | None = None,
        located: bool = False,
    ):
        super().__init__(expected)
        self.expected, self.got, self.fix, self.where = expected, got, fix, where
        self.located = located

    def __str__(self) -> str:
        text = f"{self.where} expects {self.expected}" if self.where else f"expected {self.expected}"
        if self.got is not None:
            text += f", got {self.got}"
        if self.fix is not None:
            text += f"\n  fix: {self.fix}"
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.expected, self.got, self.fix, self.where)


def _rebuild(cls: type[PhloxError], expected: str, got: str | None, fix: str | None, where: str | None) -> PhloxError:
    return cls(expected, got=got, fix=fix, where=where)


class ShapeError(PhloxError, ValueError):
    """An array of the wrong rank or size."""


class DtypeError(PhloxError, TypeError):
    """An array of the wrong dtype, or a dtype that JAX has switched off."""


class RangeError(PhloxError, ValueError):
    """An argument outside its range, refused where it is given."""


class StateError(PhloxError, RuntimeError):
    """A write of State that would be lost, or would leave a tracer behind."""


class CaptureError(PhloxError, RuntimeError):
    """A Module read where its values would be frozen, or its gradient silently zero."""


class StructureError(PhloxError, RuntimeError):
    """A Module whose structure changed where it must not, or does not match another's."""


class ExportError(PhloxError, RuntimeError):
    """A model that a format cannot hold, or a file that computes something else."""


class LostBuffersError(PhloxError, RuntimeError):
    """A Module whose arrays were donated to a call that then failed."""


def lost_buffers(path: str, where: str) -> LostBuffersError:
    """The error of a model (``where``) whose array at ``path`` was given away."""
    return LostBuffersError(
        "arrays whose buffers are alive",
        got=f"{path}, given away to a compiled call, which then failed or knew nothing of this name for it",
        fix="rebuild or load the model, and give that call px.jit(..., donate=False)",
        where=where,
        located=True,
    )


class MissingExtraError(PhloxError, ImportError):
    """An optional dependency that is not installed."""


class OptionError(PhloxError, TypeError):
    """An argument that a function or class does not have, or lacks; often one of another library."""

    option = ""  # the name of the argument, where it is one too many


class UnknownNameError(PhloxError, AttributeError):
    """A name that is not there; often one of another library."""


def form(treedef: Any) -> str:
    """The form of a tree for an error message, an array as ``*``: ``{'a': *, 'b': (*, *)}``.

    >>> form(jax.tree.structure({"a": 1, "b": (2, 3)}))
    "{'a': *, 'b': (*, *)}"
    """
    return str(treedef).removeprefix("PyTreeDef(").removesuffix(")")


def shown(value: Any) -> str:
    """A static attribute for a message: functions and classes by their name, everything else by its repr.

    >>> shown(len), shown((3, 3))
    ('len', '(3, 3)')
    """
    return getattr(value, "__name__", None) or repr(value)


def describe(x: Any) -> str:
    """Render a value for an error message: ``float32[32, 64]`` for arrays, type and value else.

    >>> import numpy as np
    >>> describe(np.zeros((32, 64), "float32"))
    'float32[32, 64]'
    """
    if isinstance(x, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)):
        return f"{x.dtype}{list(x.shape)}"
    if isinstance(x, (bool, int, float, complex, str, type(None))):
        return repr(x)
    return type(x).__name__
