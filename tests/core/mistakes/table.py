"""What a row of the table of mistakes is, and how it is run: line by line and compiled, as its user would write it."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px

Ways = Literal["both", "as written", "line by line", "compiled"]

IMPORTS = """
import dataclasses, operator, threading
from collections import deque
import jax, jax.numpy as jnp, numpy as np, optax
import phlox as px
"""


@dataclass(frozen=True)
class Mistake:
    """A mistake, the whole text it gives, and why it is one."""

    code: str
    """Its short name."""
    why: str
    """What is wrong with it, for the catalogue."""
    do: str
    """The statements that go wrong. ``both`` runs them in a function of the objects that they name, as it stands
    and under ``px.jit``; ``as written`` runs them at the top level, where they say themselves what is compiled."""
    text: str
    """The error: its class, its text, and its notes. A line indented by 8 goes on with the one before."""
    given: str = ""
    """What was there before; it runs once, at the top level."""
    ways: Ways = "both"
    keeps: bool = True
    """Whether every array of the models is as it was afterwards."""

    def __post_init__(self) -> None:
        for name in ("do", "text", "given"):
            object.__setattr__(self, name, textwrap.dedent(getattr(self, name)).strip("\n"))
        object.__setattr__(self, "text", re.sub(r"\n {8}(?=\S)", " ", self.text))
        object.__setattr__(self, "why", " ".join(self.why.split()))

    def __repr__(self) -> str:
        return self.code

    @property
    def runs(self) -> tuple[str, ...]:
        """The ways this mistake is made."""
        return ("line by line", "compiled") if self.ways == "both" else (self.ways,)


@dataclass
class Failure:
    """What a mistake gave, and the objects it was made with."""

    error: BaseException
    space: dict[str, Any]
    before: dict[str, Any]

    @property
    def text(self) -> str:
        """The error as a traceback's last lines show it, without what JAX says about its own frames."""
        notes = [n for n in getattr(self.error, "__notes__", []) if "JAX has removed its internal frames" not in n]
        return "\n".join([f"{type(self.error).__name__}: {self.error}", *notes])


def make(mistake: Mistake, way: str) -> Failure | None:
    """Make a mistake in one of its ways; None where nothing was raised."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(IMPORTS, space)
    with warnings.catch_warnings(), px.seed(0):
        warnings.simplefilter("ignore")
        exec(compile(mistake.given, "<given>", "exec"), space)
        # Copies: a reference to the arrays themselves would keep them from being donated.
        before = {path: jnp.copy(x) for path, x in arrays(space).items() if not x.is_deleted()}
        source = mistake.do
        if way != "as written":
            names = ", ".join(n for n, v in space.items() if _holds_arrays(v) and re.search(rf"\b{n}\b", mistake.do))
            exec(f"def step({names}):\n" + textwrap.indent(_returning(mistake.do), "    "), space)
            source = f"step({names})" if way == "line by line" else f"px.jit(step)({names})"
        try:
            exec(compile(source, "<mistake>", "exec"), space)
        except Exception as error:
            return Failure(error, space, before)
    return None


def _returning(statements: str) -> str:
    """The body of a function: what it ends in is returned, so that no compiler finds it useless."""
    tree = ast.parse(statements)
    if isinstance(tree.body[-1], ast.Expr):
        tree.body[-1] = ast.Return(tree.body[-1].value)
    return ast.unparse(tree)


def _holds_arrays(value: Any) -> bool:
    if isinstance(value, (px.Module, jax.Array, np.ndarray)):
        return True
    return type(value) in (list, tuple, dict) and bool(list(_walk("", value, set())))


def arrays(space: dict[str, Any]) -> dict[str, Any]:
    """Every array that the variables of a program reach, by path, in registered containers or not."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for name, value in space.items():
        if not name.startswith("__") and not isinstance(value, type):
            found.update(_walk(name, value, seen))
    return found


def _walk(path: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (jax.Array, np.ndarray)):
        yield path, value
        return
    parts: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        parts = list(enumerate(value))
    elif isinstance(value, px.Module) or hasattr(value, "__dataclass_fields__"):
        parts = list(vars(value).items())
    if parts and id(value) not in seen:
        seen.add(id(value))
        for step, part in parts:
            yield from _walk(f"{path}.{step}", part, seen)


def unchanged(a: Any, b: Any) -> bool:
    """Equal dtypes, shapes and values, random keys by their words."""
    if a.dtype != b.dtype:
        return False
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=a.dtype.kind in "fc")


__all__ = ["Failure", "Mistake", "arrays", "make", "unchanged"]
