"""The Module: an ordinary Python object that is also a JAX pytree."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeAlias, get_args

import jax

from phlox.core._errors import StructureError
from phlox.core.context import _mode
from phlox.core.context._dtypes import adopt_numpy
from phlox.core.context._here import Node, body_trace, here
from phlox.core.context._scope import check_read, check_write
from phlox.core.context._setting import any_open, settle
from phlox.core.context._trail import path_of
from phlox.core.elsewhere._methods import METHODS
from phlox.core.elsewhere._options import answering_init, of_this_library
from phlox.core.elsewhere._unknown import ForeignMethod
from phlox.core.looking._display import render, render_html
from phlox.core.module._anatomy import blank, examine, fill, touch, unborn
from phlox.core.module._arrays import dotted, is_array
from phlox.core.module._call import misnamed, traced_call
from phlox.core.module._class_body import array_defaults
from phlox.core.module._layout import Layout
from phlox.core.module._spec import OwnMethod, spec_of


class Role:
    """What an annotated array is for; ``px.Param`` and ``px.State`` carry one."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"px.{self.name}"


Param: TypeAlias = Annotated[jax.Array, Role("Param")]
"""Annotation of a trainable array: ``weight: px.Param  # (in, out)``."""

State: TypeAlias = Annotated[jax.Array, Role("State")]
"""Annotation of an array that the forward pass moves and no gradient reaches: ``mean: px.State``."""

_MISSING = object()


class Module(Node):
    """The base of layers and models: attributes hold arrays, calling it runs its ``__call__``.

    A subclass sets attributes in ``__init__`` and computes in ``__call__``; nothing is declared or
    registered. Every floating or complex array is trainable unless its class annotates it as
    ``px.State``. Arrays and Modules may sit in lists, tuples, dicts and registered pytrees at any depth.
    A Module is a JAX pytree: arrays are its leaves, everything else is static and compared by value.

    Raises:
        StructureError: an attribute holds an array inside a container that JAX cannot see into.
        StateError: a write that would be lost, or would leave a tracer behind.

    >>> import jax.numpy as jnp, phlox as px
    >>> class Scale(px.Module):
    ...     def __init__(self, width):
    ...         self.weight = jnp.full(width, 2.0)
    ...     def __call__(self, x):
    ...         return x * self.weight
    >>> px.jit(lambda model, x: model(x))(Scale(3), jnp.arange(3.0)).tolist()
    [0.0, 2.0, 4.0]
    """

    __slots__ = ()
    _defaults: ClassVar[dict[str, Any]] = {}  # annotated arrays of the class body
    __orig_class__: Any = property()  # typing would note px.Chain[px.Dense] in the model, as a part of it

    if TYPE_CHECKING:
        __call__: Callable[..., Any]  # a subclass has its own

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        del args, kwargs
        self: Self = unborn(cls)
        for name, value in cls._defaults.items():
            self.__dict__[name] = adopt_numpy(value, f"{cls.__name__}.{name}")
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._roles = dict(cls._roles)
        for name, annotation in inspect.get_annotations(cls).items():
            role = _role_in(annotation)
            if role is not None:
                cls._roles[name] = role
        cls._defaults = {**cls._defaults, **array_defaults(cls)}
        made: Any = cls  # assigned to cls, these would be methods of every Module to a type checker
        call = cls.__dict__.get("__call__")
        if call is not None:
            made.__call__ = traced_call(call)
        elif not any("__call__" in c.__dict__ for c in cls.__mro__):
            elsewhere = next((n for n in ("forward", "call") if n in cls.__dict__), None)
            if elsewhere is not None:
                made.__call__ = misnamed(cls.__name__, elsewhere)
        init: Any = cls.__dict__.get("__init__")
        if init is not None and of_this_library(cls):
            made.__init__ = answering_init(cls, init)
        jax.tree_util.register_pytree_with_keys(
            cls, _flatten_with_keys, functools.partial(_unflatten, cls), flatten_func=_flatten
        )

    def __setattr__(self, name: str, value: Any) -> None:
        attributes = self.__dict__
        old = attributes.get(name, _MISSING)
        meta = self._px
        if is_array(old) and is_array(value):
            if not meta.at_home():
                check_write(self, name)
            attributes[name] = adopt_numpy(value, f"{type(self).__name__}.{name}")
            return
        if is_array(value) or is_array(old) or isinstance(value, Module):
            if is_array(value) and here.calls and not getattr(old, "_veiled", False):
                _refuse_new_array(self, name, old)
            if not meta.at_home():
                check_write(self, name)
            value = adopt_numpy(value, f"{type(self).__name__}.{name}")
        if not is_array(value):
            spec_of(value, (name,), self)  # refuses what JAX cannot see into, before anything changes
        object.__setattr__(self, name, value)
        touch(meta, name)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        touch(self._px, name)

    def __copy__(self) -> Self:
        """What ``copy.copy`` gives: lists and parts are shared, as with any object; its own methods are its own."""
        twin: Self = unborn(type(self))
        twin.__setstate__(self.__getstate__())
        for name, spec in examine(self).layout.attrs:
            if isinstance(spec, OwnMethod):
                twin.__dict__[name] = spec.make(iter(()), twin)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {"attributes": self.__dict__.copy(), "frozen": self._px.frozen, "pinned": self._px.pinned}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["attributes"])
        self._px.frozen, self._px.pinned = state["frozen"], state["pinned"]

    def __repr__(self) -> str:
        return render(self)

    def _repr_html_(self) -> str:
        return render_html(self)

    def _meet(self, others: Sequence[Module]) -> None:
        """Called when a compiled function is about to see these Modules as they now are; may refuse."""

    def __dir__(self) -> list[str]:
        return [n for n in object.__dir__(self) if n in self.__dict__ or not _is_foreign(type(self), n)]

    @property
    def training(self) -> bool:
        """Whether this Module trains here: it is an argument of a px differentiation, or pinned so."""
        return _mode.trains(self)


def answer_foreign(cls: type[Module], methods: dict[str, str]) -> None:
    """Let a class say what to write for methods that other libraries have; ``hasattr`` stays False."""
    for name, fix in methods.items():
        setattr(cls, name, ForeignMethod(name, fix))


def _is_foreign(cls: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(cls, name, None), ForeignMethod)


answer_foreign(Module, METHODS)


def _refuse_new_array(module: Module, name: str, old: Any) -> None:
    """Raise where a forward pass would make a part of the model, and so a parameter, out of what it computed."""
    if any(running is module for running in here.calls):
        was = "is new" if old is _MISSING else f"was {type(old).__name__}"
        raise StructureError(
            "a model whose structure stays as it was while it is called",
            got=f"an array for {path_of(module)}.{name}, which {was}, and would be a parameter from now on",
            fix=f"make it in __init__ with its shape, annotated {name}: px.State; to look at activations: px.capture",
        )


def _role_in(annotation: Any) -> str | None:
    """``Param`` or ``State`` where an annotation names one, also as text and inside unions and lists."""
    if isinstance(annotation, str):
        found = re.findall(r"\b(State|Param)\b", annotation)
        return found[0] if found else None
    for part in (annotation, *getattr(annotation, "__metadata__", ())):
        if isinstance(part, Role):
            return part.name
    return next((r for part in get_args(annotation) if (r := _role_in(part)) is not None), None)


# --- taking apart ----------------------------------------------------------------------------------


def _flatten(module: Module) -> tuple[Sequence[Any], Layout]:
    if any_open:
        settle()
    if here.scope is not None and not module._px.at_home():
        check_read(module)
    anatomy = examine(module)
    layout = anatomy.layout
    return (anatomy.items() if layout.take is None else layout.take(module.__dict__)), layout


def _flatten_with_keys(module: Module) -> tuple[list[tuple[Any, Any]], Layout]:
    items, layout = _flatten(module)
    named = layout.heads if layout.cls._veiled else map(dotted, layout.paths)
    keys = [jax.tree_util.GetAttrKey(name) for name in named]
    return list(zip(keys, items, strict=True)), layout


def _unflatten(cls: type, layout: Layout, items: Any) -> Any:
    del cls
    module = blank(layout)
    module._px.orphan = module._px.trace is not body_trace()
    fill(module, layout, items)
    return module
