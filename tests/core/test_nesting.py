"""Transforms nested two deep: every ordered pair equals plain JAX by hand on the pure view, or says why it cannot."""

from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from core._patterns.setups import arrays, double
from core._patterns.transforms import (
    COLLECTING,
    DIFFERENTIATING,
    NAMES,
    PURE,
    PX,
    Net,
    X,
    captured,
    net,
    pure_captured,
    pure_vmap,
    sensible,
)
from kit import assert_close

PAIRS = [(a, b) for a in NAMES for b in NAMES if sensible(a, b)]
both = pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])


def forward(model: Any, x: Any) -> Any:
    return model(x)


def by_hand(model: Net, train: bool) -> Any:
    return lambda params, state, x: px.apply(model, params, state, x, train=train)


def mode(*names: str) -> Any:
    """Where nothing is differentiated, a block that says to train, so that State moves everywhere."""
    return nullcontext() if set(names) & set(DIFFERENTIATING) else px.training(True)


def check(fn: Any, pure: Any, model: Net, compiled: bool) -> None:
    """Compare a function of the model with its pure twin: the result, and all arrays afterwards."""
    x = jnp.asarray(X)
    params, state = px.split(model)
    want, after = jax.jit(pure)(params, state, x)
    want_arrays = arrays(px.merge(model, params, after))
    y = (px.jit(fn) if compiled else fn)(model, x)
    assert bool(jnp.isfinite(want).all())
    assert_close(y, want, kind="grad", what="result")
    for path, value in arrays(model).items():
        if np.issubdtype(value.dtype, np.floating):
            assert_close(value, want_arrays[path], what=path)
        else:
            np.testing.assert_array_equal(value, want_arrays[path], err_msg=path)


@both
@pytest.mark.parametrize(("outer", "inner"), PAIRS, ids=[f"{a}-{b}" for a, b in PAIRS])
def test_a_pair_with_the_module_as_argument_built_inside_and_returned(outer: str, inner: str, compiled: bool):
    with double(), mode(outer, inner):
        model = net(norm_infers="vmap" in (outer, inner))
        fn = PX[outer](PX[inner](forward))
        check(fn, PURE[outer](PURE[inner](by_hand(model, True))), model, compiled)


CAPTURING = [(a, b) for a in NAMES for b in (*DIFFERENTIATING, "vmap", *COLLECTING) if sensible(a, b)]


@both
@pytest.mark.parametrize(("outer", "inner"), CAPTURING, ids=[f"{a}-{b}" for a, b in CAPTURING])
def test_a_pair_whose_inner_function_captures_the_module(outer: str, inner: str, compiled: bool):
    collects = inner in COLLECTING
    with double(), px.training(collects):
        model = net(norm_infers=outer == "vmap")
        fn = PX[outer](lambda m, x: captured(inner, forward)(m, x))
        pure = pure_captured(inner, by_hand(model, collects))
        twin = pure_vmap(pure, draws=collects) if outer == "vmap" else PURE[outer](pure)
        check(fn, twin, model, compiled)
