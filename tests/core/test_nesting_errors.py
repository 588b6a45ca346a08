"""Transforms nested two deep, where the inner one may not do what it does: the error, and an unharmed model."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from core._patterns.capturing import along, captured
from core._patterns.setups import double
from core._patterns.transforms import COLLECTING, DIFFERENTIATING, NAMES, PX, Net, X, net

both = pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])


def pairs(outers: Any, inners: Any) -> Any:
    found = [(a, b) for a in outers for b in inners]
    return pytest.mark.parametrize(("outer", "inner"), found, ids=[f"{a}-{b}" for a, b in found])


def refused(model: Net, fn: Callable[[Any, Any], Any], compiled: bool, kind: type[px.PhloxError], text: str) -> None:
    """The call raises with this text (a pattern) and leaves every array of the model the very object it was."""
    before = px.state_dict(model)
    x = jnp.asarray(X)
    want = model(x)
    with pytest.raises(kind) as error:
        (px.jit(fn) if compiled else fn)(model, x)
    assert re.search(text, str(error.value)), str(error.value)
    now = px.state_dict(model)
    assert not [path for path, v in now.items() if isinstance(v, jax.core.Tracer)]
    assert [path for path in before if now.get(path) is not before[path]] == []
    assert list(now) == list(before)
    np.testing.assert_array_equal(model(x), want)  # and it works on


def training(outer: str) -> Any:
    """A differentiation trains its arguments by itself; elsewhere a block says so."""
    return nullcontext() if outer in DIFFERENTIATING else px.training(True)


@pytest.mark.sampled(3)
@both
@pairs(NAMES, (*DIFFERENTIATING, "vmap"))
def test_a_captured_module_whose_state_would_be_written(outer: str, inner: str, compiled: bool):
    with double(), training(outer):
        text = (
            rf"norm BatchNorm\(2, tanh\) expects to be an argument of the px\.{inner} function that writes its State, "
            r"got a write to \w+\.norm\.mean, captured from outside\n  fix: pass (\w+) as an argument"
        )
        model = net()
        fn = PX[outer](lambda m, x: captured(inner, lambda m, x: m(x))(m, x))
        with px.training(None):  # the check that the model works on is made in inference
            refused(model, in_mode(outer, fn), compiled, px.StateError, text)


def in_mode(outer: str, fn: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def run(m: Any, x: Any) -> Any:
        with training(outer):
            return fn(m, x)

    return run


@both
@pairs(NAMES, ("jit",))
def test_a_captured_module_that_a_compiled_function_reads(outer: str, inner: str, compiled: bool):
    text = (
        r"Dense\(2 → 2\) expects to be an argument of the px\.jit function that reads it, got a read from outside, "
        r"which would freeze its weights into the compiled code\n  fix: pass (\w+) as an argument, or capture "
        r"px\.constant\(\1\) if it is meant"
    )
    with double():
        refused(
            net(),
            PX[outer](lambda m, x: captured(inner, lambda m, x: m.dense(x))(m, x)),
            compiled,
            px.CaptureError,
            text,
        )


@both
@pairs(NAMES, DIFFERENTIATING)
def test_the_original_of_what_an_inner_function_differentiates(outer: str, inner: str, compiled: bool):
    def fn(m: Any, x: Any) -> Any:
        return PX[inner](lambda own, x: m(x))(m, x)  # reads m, not its own argument

    text = (
        rf"expects to be read through the argument of the px\.{inner} function, got a read of the original, whose "
        r"gradient would be silently zero\n  fix: inside the function use its own argument in place of \w+"
    )
    with double():
        refused(net(), PX[outer](fn), compiled, px.CaptureError, text)


@both
@pairs(DIFFERENTIATING, (*COLLECTING, "vmap"))
def test_the_original_of_what_the_outer_function_differentiates(outer: str, inner: str, compiled: bool):
    def fn(m: Any, x: Any) -> Any:
        return PX[outer](lambda own, x: captured(inner, lambda own, x: m(x))(own, x))(m, x)

    text = (
        rf"expects to be read through the argument of the px\.{outer} function, got a read of the original, whose "
        r"gradient would be silently zero"
    )
    with double():
        refused(net(), fn, compiled, px.CaptureError, text)


BATCHED = (
    r"px\.vmap expects State that is one for all examples to be written with one value, "
    r"got a value for \w+\.norm\.mean that differs between examples\n  fix: reduce it"
)


@pytest.mark.sampled(3)
@both
@pairs(("vmap",), [n for n in NAMES if n not in ("vmap", "stack")])
def test_a_batched_write_to_the_state_of_one_model_from_an_inner_function(outer: str, inner: str, compiled: bool):
    with double():
        fn = in_mode(inner, PX[outer](PX[inner](lambda m, x: m(x))))
        refused(net(), fn, compiled, px.StateError, BATCHED)


@pytest.mark.sampled(3)
@both
@pairs(NAMES, ("vmap",))
def test_a_batched_write_to_the_state_of_one_model_inside_an_outer_function(outer: str, inner: str, compiled: bool):
    with double():
        fn = in_mode(outer, PX[outer](PX[inner](lambda m, x: m(x))))
        refused(net(), fn, compiled, px.StateError, BATCHED)


@pytest.mark.parametrize("name", ["grad", "vjp", "jacobian"])
def test_reverse_mode_through_a_loop_without_end_is_what_jax_says_compiled_and_works_line_by_line(name: str):
    def loop(m: Any, x: Any) -> Any:
        return px.while_loop(lambda c: c[1] < 2, lambda c: (m.dense(c[0]), c[1] + 1), (x, 0))[0]

    with double():
        model, x = net(), jnp.asarray(X)
        want = along(f"jax.{name}", lambda x: model.dense(model.dense(x)), x)
        got = along(f"px.{name}", lambda x: loop(model, x), x)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
        with pytest.raises(ValueError, match=r"Reverse-mode .* does not work for lax\.while_loop"):
            px.jit(lambda m, x: along(f"px.{name}", lambda x: loop(m, x), x))(model, x)
