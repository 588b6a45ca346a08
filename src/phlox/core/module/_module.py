"""The Module: an ordinary Python object that is also a JAX pytree."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeAlias, TypeVar, get_args

import jax

from phlox.core import _compat
from phlox.core._errors import StateError, StructureError
from phlox.core.context import _mode
from phlox.core.context._dtypes import adopt_numpy, cast_output
from phlox.core.context._outlives import may_be_reused, outside
from phlox.core.context._scope import (
    Meta,
    body_trace,
    check_read,
    check_write,
    held,
    here,
    on_guard,
    path_of,
    warn_once,
)
from phlox.core.context._setting import any_open, settle
from phlox.core.context._trail import locate, variable_of
from phlox.core.elsewhere._methods import METHODS
from phlox.core.elsewhere._options import answering_init, explained, of_this_library
from phlox.core.elsewhere._unknown import ForeignMethod
from phlox.core.module import _layout
from phlox.core.module._class_body import array_defaults
from phlox.core.module._layout import Anatomy, Item, Layout, OwnMethod, intern_layout, is_array, refuse_cycle, spec_of


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
M = TypeVar("M", bound="Module")


class Module:
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

    __slots__ = ("__dict__", "__weakref__", "_px")
    _px: Meta
    _roles: ClassVar[dict[str, str]] = {}  # by annotation
    _default_role: ClassVar[str | None] = None  # of attributes without one
    _veiled: ClassVar[bool] = False  # where its place in paths is empty
    _implied: ClassVar[dict[str, str]] = {}  # options that are not printed where another one is False
    _defaults: ClassVar[dict[str, Any]] = {}  # annotated arrays of the class body
    __orig_class__: Any = property()  # typing would note px.Chain[px.Dense] in the model, as a part of it

    if TYPE_CHECKING:
        __call__: Callable[..., Any]  # a subclass has its own

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        del args, kwargs
        self: Self = _unborn(cls)
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
            made.__call__ = _traced_call(call)
        elif not any("__call__" in c.__dict__ for c in cls.__mro__):
            elsewhere = next((n for n in ("forward", "call") if n in cls.__dict__), None)
            if elsewhere is not None:
                made.__call__ = _misnamed(cls.__name__, elsewhere)
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
        twin: Self = _unborn(type(self))
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
        from phlox.core.looking._display import render

        return render(self)

    def _repr_html_(self) -> str:
        from phlox.core.looking._display import render_html

        return render_html(self)

    def _brief(self) -> str:
        """The Module on one line, for errors and the printed tree; layers give constructor form."""
        return type(self).__name__

    def _meet(self, others: Sequence[Module]) -> None:
        """Called when a compiled function is about to see these Modules as they now are; may refuse."""

    def __dir__(self) -> list[str]:
        return [n for n in object.__dir__(self) if n in self.__dict__ or not _is_foreign(type(self), n)]

    @property
    def training(self) -> bool:
        """Whether this Module trains here: it is an argument of a px differentiation, or pinned so."""
        return _mode.trains(self)


_layout.set_module_class(Module)


def answer_foreign(cls: type[Module], methods: dict[str, str]) -> None:
    """Let a class say what to write for methods that other libraries have; ``hasattr`` stays False."""
    for name, fix in methods.items():
        setattr(cls, name, ForeignMethod(name, fix))


def _is_foreign(cls: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(cls, name, None), ForeignMethod)


answer_foreign(Module, METHODS)


def _unborn(cls: type) -> Any:
    """An instance without attributes; no ``__init__`` runs."""
    self = object.__new__(cls)
    object.__setattr__(self, "_px", Meta())
    return self


def _refuse_new_array(module: Module, name: str, old: Any) -> None:
    """Raise where a forward pass would make a part of the model, and so a parameter, out of what it computed."""
    if any(running is module for running in here.calls):
        was = "is new" if old is _MISSING else f"was {type(old).__name__}"
        raise StructureError(
            "a model whose structure stays as it was while it is called",
            got=f"an array for {path_of(module)}.{name}, which {was}, and would be a parameter from now on",
            fix=f"make it in __init__ with its shape, annotated {name}: px.State; to look at activations: px.capture",
        )


def touch(meta: Meta, name: str | None = None) -> None:
    """Note that a Module's structure changed, so that plans are made anew."""
    meta.version += 1
    if name is not None and meta.forced is not None and name in meta.forced:
        meta.forced = {k: v for k, v in meta.forced.items() if k != name}
    epoch[0] += 1


epoch = [0]  # moves with every change of structure anywhere: a quick test that nothing changed at all


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


def examine(module: Module) -> Anatomy:
    """The anatomy of a Module as it is now, from the cache where nothing changed."""
    meta = module._px
    anatomy = meta.anatomy
    if anatomy is not None and anatomy.version == meta.version and all(s.unchanged() for s in anatomy.snaps):
        return anatomy
    attributes = module.__dict__
    flags = (meta.frozen, meta.pinned, meta.auto)
    forced = meta.forced
    if forced is None:
        layout = intern_layout(type(module), tuple((n, spec_of(v, (n,), module)) for n, v in attributes.items()), flags)
        anatomy = Anatomy(attributes, layout, meta.version)
    else:
        anatomy = _examine_forced(module, forced, flags)
    if anatomy_changed(meta.anatomy, anatomy):
        touch(meta)
        anatomy.version = meta.version
    if meta.sound != epoch[0]:
        _refuse_cycles(module)
    meta.anatomy = anatomy
    return anatomy


def _refuse_cycles(root: Module) -> None:
    """Raise where a Module below ``root`` holds itself; each is walked once while no structure changes."""
    now, above = epoch[0], {id(root)}
    walk = [(root, ("",), _parts_of(root))]  # from the root down to where we are
    while walk:
        module, _, rest = walk[-1]
        step, part = next(rest, (None, None))
        if step is None or part is None:
            walk.pop()
            above.discard(id(module))
            module._px.sound = now
        elif id(part) in above:
            start = next(n for n, (m, _, _) in enumerate(walk) if m is part)
            refuse_cycle(part, tuple(s for _, way, _ in walk[start + 1 :] for s in way) + step)
        elif part._px.sound != now:
            above.add(id(part))
            walk.append((part, step, _parts_of(part)))


def _parts_of(module: Module) -> Iterator[tuple[Any, Any]]:
    """The Modules that a Module holds itself, with the ways to them."""
    stack = [((name,), value) for name, value in reversed(module.__dict__.items())]
    while stack:
        path, value = stack.pop()
        if isinstance(value, Module):
            yield path, value
        elif not _layout.is_plain(value) and not _layout.is_own_method(value, module):
            children = _layout.children_of(value) or []
            labels = _layout.labels_of(value, children) if children else ()
            stack += [((*path, label), child) for label, child in zip(labels, children, strict=True)][::-1]


def anatomy_changed(old: Anatomy | None, new: Anatomy) -> bool:
    """True where a container was changed in place, which no ``__setattr__`` could see."""
    return old is not None and old.version == new.version


def _examine_forced(module: Module, forced: dict[str, Any], flags: tuple[Any, ...]) -> Anatomy:
    """Examine a Module whose items were decided when it was rebuilt, whatever they hold now."""
    attributes, version = module.__dict__, module._px.version
    attrs = tuple((n, forced[n] if n in forced else spec_of(v, (n,), module)) for n, v in attributes.items())
    try:
        return Anatomy(attributes, intern_layout(type(module), attrs, flags), version)
    except _layout.StructureError:  # a container changed since: decide it by what it holds
        attrs = tuple((n, s if isinstance(s, Item) else spec_of(attributes[n], (n,), module)) for n, s in attrs)
        return Anatomy(attributes, intern_layout(type(module), attrs, flags), version)


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
    named = layout.heads if layout.cls._veiled else map(_layout.dotted, layout.paths)
    keys = [jax.tree_util.GetAttrKey(name) for name in named]
    return list(zip(keys, items, strict=True)), layout


def blank(layout: Layout) -> Any:
    """A Module of the layout's class and flags without attributes; no ``__init__`` runs."""
    module = _unborn(layout.cls)
    meta = module._px
    meta.frozen, meta.pinned, meta.auto = layout.frozen, layout.pinned, layout.auto
    meta.forced = layout.forced
    return module


def fill(module: Module, layout: Layout, items: Any) -> None:
    """Give a blank Module its attributes."""
    attributes = module.__dict__
    attributes.update(layout.make(iter(items), module))
    module._px.anatomy = Anatomy(attributes, layout, module._px.version)


def _unflatten(cls: type, layout: Layout, items: Any) -> Any:
    del cls
    module = blank(layout)
    module._px.orphan = module._px.trace is not body_trace()
    fill(module, layout, items)
    return module


# --- calling ---------------------------------------------------------------------------------------


def _traced_call(call: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``__call__``: errors get the path, and reads and writes that would be lost are refused."""

    @functools.wraps(call)
    def __call__(self: Module, *args: Any, **kwargs: Any) -> Any:
        calls = here.calls
        if calls and calls[-1] is self:  # super().__call__
            return call(self, *args, **kwargs)
        meta = self._px
        calls.append(self)
        try:
            before = None if meta.at_home() else _enter_away(self)
            y = call(self, *args, **kwargs)
            if before is not None:
                _leave_away(self, before)
            if here.taps is not None:
                y = here.taps(self, y)
            return y if len(calls) > 1 else cast_output(y)
        except Exception as error:
            told = _about_arguments(self, call, args, kwargs, error)
            better = locate(told)
            if better is not None:
                raise better from error
            if told is not error:
                raise told from None
            raise
        finally:
            calls.pop()

    return __call__


def _about_arguments(
    module: Module, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> Exception:
    """A TypeError of a call whose arguments do not fit, as one that says which do; any other error as it is."""
    if not isinstance(error, TypeError) or not of_this_library(type(module)):
        return error
    return explained(call, type(module).__name__, (module, *args), kwargs, error) or error


def _misnamed(name: str, elsewhere: str) -> Callable[..., Any]:
    """The ``__call__`` of a class whose forward pass has the name that another library gives it."""

    def __call__(self: Module, *args: Any, **kwargs: Any) -> Any:
        del self, args, kwargs
        got, fix = f"{elsewhere} alone", f"rename {elsewhere} to __call__"
        raise StructureError("__call__ for its forward pass", got=got, fix=fix, where=name, located=True)

    return __call__


def _enter_away(module: Module) -> list[Any] | None:
    """Checks for a Module called outside the place it was born in; returns what its containers hold."""
    if here.scope is not module._px.scope:
        check_read(module)
    _warn_frozen_capture(module)
    return held(module) if examine(module).snaps else None


def _leave_away(module: Module, before: list[Any]) -> None:
    """Refuse writes into lists and dicts, which pass by ``__setattr__``."""
    anatomy = examine(module)
    for path, old, new in zip(anatomy.layout.paths, before, anatomy.items(), strict=False):
        if old is not new and is_array(new):
            try:
                check_write(module, _layout.displayed(path).lstrip("."), before)
            except StateError:
                _restore(anatomy, before)  # no tracer stays behind
                raise


def _restore(anatomy: Anatomy, items: list[Any]) -> None:
    for (holder, at), item in zip(anatomy.slots, items, strict=True):
        holder[at] = item


def _warn_frozen_capture(module: Module) -> None:
    if not _frozen_here(module) or any(m is not module and _frozen_here(m) for m in here.calls):
        return  # the outermost that is captured speaks for its parts
    if not may_be_reused():
        return
    name, at = variable_of(module) or "model", outside()
    line = "" if at is None else f"{at.f_code.co_filename}:{at.f_lineno}"
    warn_once(
        f"capture {name} {type(module).__name__} {line}",
        f"{name} ({module._brief()}) is captured by a plain JAX transform that caches what it traces (jit, scan, "
        f"cond, checkpoint): later changes of its weights may not be seen. Pass it as an argument, or use the px "
        "transform of the same name.",
    )


def _frozen_here(module: Module) -> bool:
    """True for a Module from outside all traces whose weights become constants of one that plain JAX records."""
    meta = module._px
    if meta.constant or meta.orphan or meta.trace is not None:
        return False
    return _compat.records_inside(body_trace())


# --- the read guard --------------------------------------------------------------------------------


def _guarded_read(self: Module, name: str) -> Any:
    value = object.__getattribute__(self, name)
    if here.scope is None or name[:2] == "__" or name == "_px":
        return value
    if _holds_arrays(value) and not self._px.at_home():
        check_read(self)
    return value


def _holds_arrays(value: Any) -> bool:
    if isinstance(value, (list, tuple, dict)):
        return any(is_array(v) for v in jax.tree_util.tree_leaves(value, is_leaf=_is_module))
    return is_array(value)


def _is_module(x: Any) -> bool:
    return isinstance(x, Module)


def _guard_reads(on: bool) -> None:
    if on:
        Module.__getattribute__ = _guarded_read
    else:
        del Module.__getattribute__


on_guard(_guard_reads)
