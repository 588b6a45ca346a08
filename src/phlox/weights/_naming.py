"""Names for classes and functions in a file, and what a file's names may stand for when it is read."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

import jax.numpy as jnp

from phlox.core import Module, PhloxError, RangeError, describe
from phlox.weights._errors import FileError

# Where Phlox's own things and well-known functions are public: a file holds these names, which outlive moved code.
_FACES = ("phlox", "phlox.nn", "phlox.nn.functional", "phlox.nn.init", "phlox.losses", "phlox.models", "phlox.adapt")
_FACES += ("phlox.compress",)
_OPERATORS = {"abs", "add", "and_", "floordiv", "getitem", "invert", "matmul", "mod", "mul", "neg", "or_", "pos", "pow"}
_OPERATORS |= {"sub", "truediv", "xor"}
_COMBINE = {"concatenate", "stack", "sum", "mean", "max", "min", "prod", "ravel", "squeeze", "expand_dims"}
_COMPILED = (type(jnp.tanh), jnp.ufunc)
_LONGEST = 500
_OURS = re.compile(r"phlox(\._?[a-z]\w*)*")  # and not __main__, which does something


class NotAllowedError(FileError):
    """A file that names a class or function that the reader has not allowed."""


def name_of(thing: Any) -> str | None:
    """``module:name`` under which a class or function is found again; None where there is no such name."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", getattr(thing, "__name__", None))
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    for face in (*_FACES, "jax.nn", "jax.numpy", "jax.lax", "operator"):
        if _found(face, name) is thing:
            return f"{face}:{name}"
    local_class = isinstance(thing, type) and "<locals>" in name  # the reader gives it in ``allow``
    return f"{module}:{name}" if local_class or _found(module, name) is thing else None


class Allowed:
    """What a reader lets a file name: classes and functions, and packages by their names."""

    packages: tuple[str, ...]
    things: list[Any]

    def __init__(self, allow: Iterable[Any], where: str):
        given = [allow] if isinstance(allow, (str, type)) or callable(allow) else list(allow)
        self.where = where
        self.packages = tuple(thing for thing in given if isinstance(thing, str))
        self.things = [thing for thing in given if not isinstance(thing, str)]
        for thing in self.things:
            if not callable(thing) or isinstance(thing, (Module, ModuleType)):
                raise RangeError(
                    "classes, functions, and names of packages to allow",
                    got=describe(thing),
                    fix="write allow=[MyModel, my_function, 'mypackage']",
                    where=where,
                )

    def module_class(self, name: str) -> type[Module]:
        """The Module class of this name: one of Phlox's, one that is allowed, or one in a module already imported."""
        found = self._phlox_class(name)
        if found is None:
            found = self._given(name)
        if found is None:
            found = _found(*_parted(name))
        if not (isinstance(found, type) and issubclass(found, Module)):
            raise self._refusal(name, "a class")
        return found

    def function(self, name: str) -> Any:
        """The function of this name: one that computes in Phlox, JAX or ``operator``, or one that is allowed."""
        found = _library_function(*_parted(name))
        if found is None:
            found = self._given(name)
        if found is None or not callable(found) or isinstance(found, Module):
            raise self._refusal(name, "a function")
        return found

    def record_class(self, name: str) -> type:
        """The dataclass, named tuple or enumeration of this name, which must be allowed by name."""
        found = self._phlox_class(name)
        if found is None:
            found = self._given(name)
        if not isinstance(found, type):
            raise self._refusal(name, "a class")
        return found

    def _phlox_class(self, name: str) -> Any:
        module, attribute = _parted(name)
        if module.partition(".")[0] != "phlox":
            return None
        if module not in sys.modules and _OURS.fullmatch(module):
            try:
                import_module(module)
            except ImportError as error:
                raise PhloxError(
                    f"{module}, where {attribute} is", got=f"no such part of Phlox ({error})",
                    fix="update Phlox, or install the extra that the message names", where=self.where,
                ) from error  # fmt: skip
        found = _found(module, attribute)
        return found if isinstance(found, type) else None

    def _given(self, name: str) -> Any:
        """What the reader gave by itself, or by the package it is in."""
        module, attribute = _parted(name)
        for thing in self.things:
            own = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
            if own == (module, attribute) or (own[1] == attribute and "__main__" in (module, own[0])):
                return thing
            if name_of(thing) == name:
                return thing
        if any(module == package or module.startswith(package + ".") for package in self.packages):
            import_module(module)
            return _found(module, attribute)
        return None

    def _refusal(self, name: str, what: str) -> NotAllowedError:
        short = name.rpartition(":")[2].rpartition(".")[2]
        return NotAllowedError(
            f"{what} that you imported or allowed",
            got=f"the name {name[:200]!r} in the file",
            fix=f"if you trust it, import it and pass allow=[{short[:80]}]",
            where=self.where,
        )


def _parted(name: str) -> tuple[str, str]:
    """Module and name within it; nothing for what is longer than a name can be."""
    module, _, attribute = name.partition(":")
    return (module, attribute) if len(name) <= _LONGEST else ("", "")


def _found(module: str, name: str) -> Any:
    """What stands under a name in a module that is imported; looks into dicts only, so that no code runs."""
    at: Any = sys.modules.get(module)
    for part in name.split("."):
        if not isinstance(at, type) and (at is None or at is not sys.modules.get(module)):
            return None
        at = vars(at).get(part)
    return at


def _library_function(module: str, name: str) -> Any:
    """A function that only computes, by its public name."""
    found = _found(module, name)
    if found is None or isinstance(found, (type, ModuleType)) or not callable(found):
        return None
    if module == "operator":
        return found if name in _OPERATORS else None
    if module == "jax.numpy":  # what is compiled is pure; among the rest are load and save
        return found if isinstance(found, _COMPILED) or name in _COMBINE else None
    if module in ("jax.nn", "jax.lax"):
        return found
    origin = getattr(found, "__module__", "")
    return found if module in _FACES and origin.startswith(("phlox.nn", "phlox.losses")) else None
