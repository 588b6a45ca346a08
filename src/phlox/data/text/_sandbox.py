"""Where chat templates run: jinja2's sandbox, and bounds on what a template may take.

A template comes with the weights, from strangers. jinja2 keeps it from Python; here it also pays, from one budget, for
each turn of a loop and each character it makes, before it makes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from typing import Any, cast

from jinja2 import nodes, pass_context, pass_environment
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import make_attrgetter
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

BUDGET = 50_000_000  # characters
_TURN = 500  # what a turn of a loop, or a call of a macro, costs beside
_ITEM = 50  # what a number, or a list for itself, costs where it is written
_WIDEST = 10_000  # columns to fill up to
_LONGEST_RANGE = 100_000  # jinja2's own
_BITS = 4_096  # of whole numbers

_WIDE_METHODS = ("center", "ljust", "rjust", "zfill", "expandtabs")
_WIDE_FILTERS = ("batch", "center", "indent", "round", "slice", "tojson")
_DEEP_FILTERS = ("dictsort", "groupby", "join", "max", "min", "sort", "string", "tojson", "unique")
_NO_FILTERS = ("pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr")
_NO_METHODS = ("translate", "format_map", "striptags")
_WIDE_PERCENT = re.compile(r"%[^a-zA-Z%]*(\*|\d{5})")
_WIDE_BRACES = re.compile(r"\{[^{}]*:[^{}]*(\{|\d{5})")


class SpentError(SecurityError):
    """The budget is spent."""


class RefusedError(TemplateError):
    """What a template says to its user by ``raise_exception``."""


class _Render:
    """One run of a template: what it may still spend, and the marks around what the assistant wrote."""

    def __init__(self, marks: tuple[str, str] | None):
        self.left, self.marks = BUDGET, marks


_RUNNING: ContextVar[_Render | None] = ContextVar("phlox_chat_template", default=None)


@contextmanager
def running(marks: tuple[str, str] | None) -> Iterator[None]:
    """A budget of its own for one run."""
    token = _RUNNING.set(_Render(marks))
    try:
        yield
    finally:
        _RUNNING.reset(token)


def _spend(count: int) -> None:
    run = _RUNNING.get()
    if run is None:  # while it is compiled
        return
    run.left -= count
    if run.left < 0:
        raise SpentError(f"it takes more than {BUDGET:,} characters or {BUDGET // _TURN:,} turns of loops")


def _spend_on(value: Any) -> Any:
    """Pay for the length of a value."""
    _spend(len(value) + 1 if isinstance(value, Sized) else 1)
    return value


def _spend_on_all(value: Any) -> int:
    """Pay for a value with all that is in it, as often as it would be written; what that was."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        _spend(_ITEM)
        return _ITEM + sum(map(_spend_on_all, value))
    size = len(value) + 1 if isinstance(value, str) else _ITEM
    _spend(size)
    return size


def _spend_on_compared(value: Any) -> Any:
    """Pay for what a comparison may go through: all that is in a list, or the entries of a dict."""
    if isinstance(value, (list, tuple, Mapping)):
        _spend_on_all(value)
    return value


def _depths(value: Any, depth: int = 1) -> int:
    """The depths of a value and of all that is in it, added up."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return depth + sum(_depths(item, depth + 1) for item in inner)


def _check_width(values: Any) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > _WIDEST:
            raise SpentError(f"it fills up to {value:,} columns")


def _check_format(text: str, values: Any, wide: re.Pattern[str], sign: str) -> None:
    if wide.search(text):
        raise SpentError("it formats with a width that is large or computed")
    size = _spend_on_all(list(values))
    _spend(text.count(sign) * size)


def _check_text_call(name: str, text: str, args: tuple[Any, ...], values: list[Any]) -> None:
    """Pay for what a method of a string, or the filter of the same name, is about to make."""
    if name in _WIDE_METHODS or name in _WIDE_FILTERS:
        _check_width(values)
    if name == "indent":
        _spend((text.count("\n") + 1) * sum(len(v) if isinstance(v, str) else _WIDEST // 100 for v in values[:1]))
    if name == "replace" and len(args) > 1:
        _spend(text.count(str(args[0])) * len(str(args[1])))
    if name == "format":
        _check_format(text, values, _WIDE_BRACES, "{")
    if name == "join" and args and isinstance(args[0], Sized):
        _spend(len(args[0]) * len(text) + _spend_on_all(list(args[0])))  # type: ignore[call-overload]


# --- the environment --------------------------------------------------------------------------------


class _Metered(NodeTransformer):
    """Puts payments into each loop and macro, and beside whatever copies, compares or writes much at once."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  (jinja2 calls it so)
        self.generic_visit(node)
        node.iter = _call("spend_on", [cast(nodes.Expr, node.iter)], node.lineno)
        return self._paid(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802  (jinja2 calls it so)
        self.generic_visit(node)
        return self._paid(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802  (jinja2 calls it so)
        self.generic_visit(node)
        return self._paid(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802  (jinja2 calls it so)
        self.generic_visit(node)
        return _call("concat_paid", node.nodes, node.lineno)

    def visit_Output(self, node: nodes.Output) -> Any:  # noqa: N802  (jinja2 calls it so)
        self.generic_visit(node)
        size = sum(len(part.data) for part in node.nodes if isinstance(part, nodes.TemplateData))
        paid = _call("spend", [nodes.Const(size, lineno=node.lineno)], node.lineno)
        return [nodes.ExprStmt(paid, lineno=node.lineno), node]

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802  (jinja2 calls it so)
        self.generic_visit(node)
        return _call("spend_on", [node], node.lineno) if isinstance(node.arg, nodes.Slice) else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802  (jinja2 calls it so)
        self.generic_visit(node)
        for operand in node.ops:
            name = "spend_on_members" if operand.op in ("in", "notin") else "spend_on_compared"
            operand.expr = _call(name, [operand.expr], node.lineno)
        return node

    def _paid(self, node: Any) -> nodes.Node:
        node.body.insert(0, nodes.ExprStmt(_call("spend_turn", [], node.lineno), lineno=node.lineno))
        return node


def _call(name: str, args: list[nodes.Expr], line: int) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name, lineno=line), args, [], None, None, lineno=line)


class _Generation(Extension):
    """``{% generation %} … {% endgeneration %}``: what the assistant wrote, between marks."""

    tags = {"generation"}  # noqa: RUF012  (jinja2's own way)

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("marked"), [], [], body).set_lineno(line)

    def marked(self, caller: Any) -> str:
        """The text of the block, between marks."""
        run = _RUNNING.get()
        return caller() if run is None or run.marks is None else f"{run.marks[0]}{caller()}{run.marks[1]}"


class Environment(ImmutableSandboxedEnvironment):
    """jinja2's sandbox as chat templates expect it, with a budget."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=_written,
            extensions=[_Generation, loopcontrols],
        )
        for name in _NO_FILTERS:
            del self.filters[name]
        self.filters |= {"tojson": _tojson, "sum": _sum}
        for name, function in self.filters.items():
            self.filters[name] = _paid_filter(name, function)
        for name, function in self.tests.items():
            self.tests[name] = _paid_test(function)
        del self.globals["lipsum"]
        self.globals |= {
            "raise_exception": _raise,
            "strftime_now": _now,
            "range": _range,
            "dict": lambda *args, **kwargs: dict(*args, **kwargs),
        }

    def compiled(self, text: str) -> Any:
        """A template of its text, with its payments."""
        return self.from_string(_Metered().visit(self.parse(text)))

    def spend_on(self, value: Any) -> Any:
        """Pay for what a loop goes through."""
        return _spend_on(value)

    def spend(self, count: int) -> None:
        """Pay for what the template writes of its own."""
        _spend(count)

    def spend_on_members(self, value: Any) -> Any:
        """Pay for what ``in`` goes through; a dict finds a key at once."""
        return value if isinstance(value, Mapping) else _spend_on_compared(value)

    def spend_on_compared(self, value: Any) -> Any:
        """Pay for what ``==`` goes through."""
        return _spend_on_compared(value)

    def spend_turn(self) -> None:
        """Pay for one turn."""
        _spend(_TURN)

    def concat_paid(self, *values: Any) -> str:
        """The values as one string."""
        for value in values:
            _spend_on_all(value)
        return "".join(map(str, values))

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        """Refuse what jinja2 would hand out as undefined."""
        raise SecurityError(f"it reads {attribute!r} of a {type(obj).__name__}")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operation whose result may be large, paid before it is made."""
        if isinstance(left, str) and operator == "%":
            _check_format(left, right if isinstance(right, tuple) else (right,), _WIDE_PERCENT, "%")
        elif operator in ("*", "**"):
            _check_product(operator, left, right)
        return _spend_on(super().call_binop(context, operator, left, right))

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A call of what the template may call, paid."""
        inner = getattr(function, "__wrapped__", function)  # jinja2 wraps the methods that format
        text, name = getattr(inner, "__self__", None), getattr(inner, "__name__", "")
        if isinstance(text, str):
            if name in _NO_METHODS:
                raise SecurityError(f"it calls {name!r} of a string")
            _check_text_call(name, text, args, [*args, *kwargs.values()])
        if isinstance(text, (list, tuple)):  # index and count go through it
            _spend_on_all(text)
        return _spend_on(super().call(context, function, *args, **kwargs))


def _check_product(operator: str, left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        if bits > _BITS:
            raise SpentError("it computes a number of thousands of digits")
    for sized, count in ((left, right), (right, left)):
        if isinstance(sized, Sized) and isinstance(count, int):
            _spend(len(sized) * max(count, 0))


def _paid_filter(name: str, function: Any) -> Any:
    @wraps(function)  # with it goes what jinja2 marks filters by, that take the environment first
    def paid(*args: Any, **kwargs: Any) -> Any:
        given = args[1:] if hasattr(function, "jinja_pass_arg") else args
        if given:
            value, more = given[0], given[1:]
            _spend_on(value)
            if name in _DEEP_FILTERS:
                _spend_on_all(value if isinstance(value, (Mapping, list, tuple)) else [])
            if name == "join" and isinstance(value, Sized):
                _spend(len(value) * len(str([*more[:1], *kwargs.values(), ""][0])))
            elif name == "format" and isinstance(value, str):
                _check_format(value, [*more, *kwargs.values()], _WIDE_PERCENT, "%")
            else:
                _check_text_call(name, value if isinstance(value, str) else "", more, [*more, *kwargs.values()])
        return _spend_on(function(*args, **kwargs))

    return paid


def _paid_test(function: Any) -> Any:
    @wraps(function)
    def paid(*args: Any, **kwargs: Any) -> Any:
        for value in [*args[1:], *kwargs.values()]:
            _spend_on_compared(value)
        return function(*args, **kwargs)

    return paid


@pass_context  # so that nothing is written, and thereby computed, while the template is compiled: nobody pays then
def _written(context: Any, value: Any) -> Any:
    """What ``{{ value }}`` writes, paid."""
    _spend_on_all(value)
    return value


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    wide = indent if isinstance(indent, int) else len(indent or "")
    _spend(_depths(value) * (wide + sum(map(len, separators or ()))))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@pass_environment
def _sum(environment: Any, values: Any, attribute: Any = None, start: Any = 0) -> Any:
    """jinja2's own, but each list is paid that is made on the way."""
    total = start
    for value in values if attribute is None else map(make_attrgetter(environment, attribute), values):
        total = _spend_on(total + value)
    return total


def _raise(message: Any) -> None:
    raise RefusedError(str(message))


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _range(*args: int) -> range:
    found = range(*args)
    if len(found) > _LONGEST_RANGE:
        raise SpentError(f"it counts to {len(found):,}")
    return found
