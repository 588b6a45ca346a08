"""What can be looked at while code runs line by line under a gradient: the table of docs/debugging.md, row by row."""

import copy
import doctest
import io
import math
import pdb  # noqa: T100
import pickle
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "debugging.md").read_text("utf-8")
SHOWN = PAGE.partition("<!-- table: begin -->")[2].partition("<!-- table: end -->")[0]
ROWS = re.findall(r"^\| `(.+)` \| (\w+) \| (\w+) \|$", SHOWN, re.MULTILINE)
ASKED_FOR = [
    "print(", "repr(", "1 if s > 2", "[s > 2", ".item()", "float(", "np.asarray(", ".tolist()", ":.3f}", "plt.plot("
]  # fmt: skip


def build() -> tuple[px.Module, jax.Array]:
    model = px.Chain(px.Dense.of(jnp.eye(2), None, px.relu), px.Dense.of(jnp.ones((2, 1)), None))
    return model, jnp.array([[1.0, -2.0], [3.0, 4.0]])


def in_gradient(look: Any) -> Any:
    """What ``look(s, a)`` gives on a traced scalar and a traced array in the middle of a gradient, or the error."""
    model, x = build()
    found: list[Any] = []

    def loss_fn(model: px.Module) -> jax.Array:
        a = model[0](x)
        s = model[1](a).mean()
        assert isinstance(s, jax.core.Tracer)
        assert isinstance(a, jax.core.Tracer)
        found.append(tried(look, s, a))
        return s

    grads = px.grad(loss_fn)(model)
    np.testing.assert_array_equal(grads[1].weight, [[2.0], [2.0]])  # ∂mean/∂w = mean of the hidden units [1 0; 3 4]
    assert not any(isinstance(v, jax.core.Tracer) for v in px.state_dict(model).values())
    return found[0]


def tried(look: Any, *values: Any) -> Any:
    try:
        return look(*values)
    except Exception as error:
        return error


def run(code: str, s: Any, a: Any) -> Any:
    """Evaluate a row of the table; ``print`` gives what it prints."""
    space = {"s": s, "a": a, "np": np, "jnp": jnp, "math": math, "copy": copy, "pickle": pickle, "print": printed}
    if "plt" in code:
        matplotlib = oracle("matplotlib")
        matplotlib.use("agg")
        space["plt"] = oracle("matplotlib.figure").Figure().subplots()
    return eval(code, space)


def printed(value: Any) -> str:
    out = io.StringIO()
    print(value, file=out)
    return out.getvalue()


def comparable(result: Any) -> Any:
    """Text by the numbers in it, plots by their points, everything else by value."""
    if isinstance(result, str):
        return [float(n) for n in re.findall(r"-?\d+\.\d*", result)]
    if type(result).__module__.startswith("matplotlib"):
        return result.get_xydata().tolist() if hasattr(result, "get_xydata") else None
    if isinstance(result, (list, tuple)):
        return [comparable(r) for r in result]
    if isinstance(result, bytes):
        return comparable(pickle.loads(result))
    if isinstance(result, jax.Array):
        return np.asarray(px.value(result)).tolist()
    return result.tolist() if isinstance(result, np.ndarray) else result


@pytest.mark.parametrize(("code", "traced", "value"), ROWS, ids=[code for code, _, _ in ROWS])
def test_a_row_of_the_table_says_what_happens(code: str, traced: str, value: str):
    plain = run(code, jnp.asarray(4.0), jnp.array([[1.0, 0.0], [3.0, 4.0]]))
    for column, found in (
        (traced, in_gradient(lambda s, a: comparable(run(code, s, a)))),
        (value, in_gradient(lambda s, a: comparable(run(code, px.value(s), px.value(a))))),
    ):
        if column == "works":
            assert found == comparable(plain)
        else:
            assert type(found).__name__ == column


def test_the_table_has_the_rows_that_people_ask_for():
    codes = [code for code, _, _ in ROWS]
    assert len(codes) == len(set(codes)) == SHOWN.count("\n| `")
    assert all(any(part in code for code in codes) for part in ASKED_FOR)


def test_traced_numbers_inside_a_tracer_are_printed():
    assert re.search(r"primal=4\.", in_gradient(lambda s, a: repr(s)))


def test_value_is_the_array_itself_on_trees_and_modules():
    model, x = build()
    seen: list[Any] = []

    def loss_fn(model: px.Module) -> jax.Array:
        y = model(x)
        seen.append(px.value({"y": (y, 3), "name": "net"}))
        seen.append(px.value(model))
        return y.sum()

    px.grad(loss_fn)(model)
    tree, looked_at = seen
    np.testing.assert_array_equal(tree["y"][0], [[1.0], [7.0]])
    assert not isinstance(tree["y"][0], jax.core.Tracer)
    assert (tree["y"][1], tree["name"]) == (3, "net")
    assert looked_at is not model
    for path, array in px.state_dict(looked_at).items():
        assert array is px.state_dict(model)[path]


def test_value_under_nested_gradients_is_concrete_too():
    seen: list[float] = []

    def inner(w: jax.Array) -> jax.Array:
        seen.append(px.value(w**2).item())
        return w**3

    second = px.grad(lambda w: px.grad(inner)(w))(jnp.asarray(2.0))
    assert (float(second), seen) == (12.0, [4.0])


def test_value_has_no_gradient():
    grad = px.grad(lambda w: w * px.value(w))(jnp.asarray(3.0))
    assert float(grad) == 3.0


@pytest.mark.parametrize("transform", [px.jit, px.vmap], ids=["jit", "vmap"])
def test_value_says_where_there_is_none(transform: Any):
    with pytest.raises(px.StructureError, match="inside a compiled or mapped function"):
        transform(lambda x: px.value(x))(jnp.ones(3))


# --- a debugger -----------------------------------------------------------------------------------


def session(program: str, commands: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
    """Run a program whose ``breakpoint()`` reads these commands; what the debugger wrote, and the variables."""
    out = io.StringIO()
    debugger = pdb.Pdb(stdin=io.StringIO("\n".join(commands) + "\n"), stdout=out, nosigint=True, readrc=False)
    debugger.use_rawinput = False
    monkeypatch.setattr(sys, "breakpointhook", lambda: debugger.set_trace(sys._getframe(1)))
    before, space = sys.gettrace(), {"__name__": "__main__"}
    try:
        exec(compile(program, "<program>", "exec"), space)
    finally:
        sys.settrace(before)
    return out.getvalue(), space


def test_the_debugger_session_of_the_docs(monkeypatch: pytest.MonkeyPatch):
    program = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    shown = re.search(r"```text\n(\(Pdb\).*?)```", PAGE, re.DOTALL)
    assert program
    assert shown
    steps = [part.partition("\n") for part in shown[1].split("(Pdb) ")[1:]]
    commands = [command for command, _, _ in steps]
    text, space = session(program[1], commands, monkeypatch)
    replies = text.split("(Pdb) ")[1:]
    for (command, _, answer), reply in zip(steps, replies, strict=True):
        if command.startswith("p "):
            assert reply == answer, command
    assert sum(command.startswith("p ") for command in commands) >= 5
    np.testing.assert_array_equal(space["grads"][1].weight, [[22.0], [28.0]])  # the session changed nothing


def test_stepping_goes_into_a_users_own_module(monkeypatch: pytest.MonkeyPatch):
    program = """
import jax.numpy as jnp, phlox as px

class Double(px.Module):
    def __init__(self):
        self.factor = jnp.asarray(2.0)

    def __call__(self, x):
        breakpoint()
        y = x * self.factor
        return y

model = px.Chain(Double())
grads = px.grad(lambda model: model(jnp.asarray(3.0)))(model)
"""
    commands = ["next", "next", "p y.item()", "up", "p type(self).__name__", "down", "p self.training", "continue"]
    text, space = session(program, commands, monkeypatch)
    replies = text.split("(Pdb) ")[1:]
    assert replies[2] == "6.0\n"
    assert replies[6] == "True\n"
    assert float(space["grads"][0].factor) == 3.0


def test_an_exception_under_a_gradient_is_debugged_where_it_was_raised():
    model, x = build()

    def loss_fn(model: px.Module) -> jax.Array:
        hidden = model[0](x)
        if hidden.max() > 3:
            raise ArithmeticError("too large")
        return hidden.sum()

    with pytest.raises(ArithmeticError, match="too large") as caught:
        px.grad(loss_fn)(model)
    hidden = caught.traceback[-1].frame.f_locals["hidden"]  # what pdb.post_mortem shows
    assert comparable(repr(hidden)) == [1.0, 0.0, 3.0, 4.0]
    np.testing.assert_array_equal(px.value(hidden), [[1.0, 0.0], [3.0, 4.0]])
    with pytest.raises(jax.errors.UnexpectedTracerError):  # the gradient is over
        hidden.max()


# --- the rest of the page -------------------------------------------------------------------------


def test_the_examples_of_the_page_run():
    examples = runpy.run_path(str(ROOT / "scripts" / "docs.py"))["run_examples"]
    result: doctest.TestResults = examples(ROOT / "docs" / "debugging.md")
    assert result.failed == 0
    assert result.attempted >= 25
