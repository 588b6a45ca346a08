"""Transforms nested two deep: every ordered pair equals plain JAX by hand on the pure view, or says why it cannot."""

from contextlib import nullcontext
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from core._patterns.capturing import captured, pure_captured
from core._patterns.setups import arrays, double
from core._patterns.transforms import (
    COLLECTING,
    DIFFERENTIATING,
    NAMES,
    PURE,
    PX,
    Net,
    X,
    net,
    pure_vmap,
    scalar,
    sensible,
)
from kit import assert_close

Pair = tuple[str, str]
PAIRS = [(a, b) for a in NAMES for b in NAMES if sensible(a, b)]
CAPTURING = [(a, b) for a in NAMES for b in (*DIFFERENTIATING, "vmap", *COLLECTING) if sensible(a, b)]


EVERYDAY = {True: {"jit", "grad", "vmap", "scan", "cond", "remat"}, False: {"grad", "vmap", "scan"}}


def both(pairs: list[Pair]) -> Any:
    """Every pair line by line and compiled. The everyday ones run always, all of them in the long run."""

    def row(pair: Pair, compiled: bool) -> Any:
        name = f"{'-'.join(pair)}-{'jit' if compiled else 'eager'}"
        always = set(pair) <= EVERYDAY[compiled]
        return pytest.param(*pair, compiled, marks=[] if always else [pytest.mark.soak], id=name)

    return pytest.mark.parametrize(("outer", "inner", "compiled"), [row(p, c) for p in pairs for c in (False, True)])


def forward(model: Any, x: Any) -> Any:
    return model(x)


def by_hand(model: Net, train: bool) -> Any:
    return lambda params, state, x: px.apply(model, params, state, x, train=train)


def mode(*names: str) -> Any:
    """Where nothing is differentiated, a block that says to train, so that State moves everywhere."""
    return nullcontext() if set(names) & set(DIFFERENTIATING) else px.training(True)


Answer = tuple[np.ndarray, dict[str, np.ndarray]]


def answer(pure: Any, model: Net) -> Answer:
    """The result of a pure twin, and all arrays afterwards."""
    params, state = px.split(model)
    y, after = jax.jit(pure)(params, state, jnp.asarray(X))
    assert bool(jnp.isfinite(y).all())
    return np.asarray(y), arrays(px.merge(model, params, after))


def check(fn: Any, want: Answer, model: Net, compiled: bool) -> None:
    """A function of the model gives this result, and leaves these arrays."""
    y = (px.jit(fn) if compiled else fn)(model, jnp.asarray(X))
    assert_close(y, want[0], kind="grad", what="result")
    for path, value in arrays(model).items():
        if np.issubdtype(value.dtype, np.floating):
            assert_close(value, want[1][path], what=path)
        else:
            np.testing.assert_array_equal(value, want[1][path], err_msg=path)


@cache
def pair_by_hand(outer: str, inner: str) -> Answer:
    model = net(norm_infers="vmap" in (outer, inner))
    pure = PURE[inner](by_hand(model, True))
    # The inner stack draws from keys of its own, copies of the model's, which stay where they were.
    return answer(pure_vmap(pure, draws=inner != "stack") if outer == "vmap" else PURE[outer](pure), model)


@pytest.mark.sampled(3)
@both(PAIRS)
def test_a_pair_with_the_module_as_argument_built_inside_and_returned(outer: str, inner: str, compiled: bool):
    with double(), mode(outer, inner):
        model = net(norm_infers="vmap" in (outer, inner))
        check(PX[outer](PX[inner](forward)), pair_by_hand(outer, inner), model, compiled)


@cache
def captured_by_hand(outer: str, inner: str) -> Answer:
    collects = inner in COLLECTING
    model = net(norm_infers=outer == "vmap")
    pure = pure_captured(inner, by_hand(model, collects))
    return answer(pure_vmap(pure, draws=collects) if outer == "vmap" else PURE[outer](pure), model)


@pytest.mark.sampled(3)
@both(CAPTURING)
def test_a_pair_whose_inner_function_captures_the_module(outer: str, inner: str, compiled: bool):
    """Loops, conditions and remat carry what is written there; where only reading is allowed, the Module infers."""
    with double(), px.training(inner in COLLECTING):
        model = net(norm_infers=outer == "vmap")
        fn = PX[outer](lambda m, x: captured(inner, forward)(m, x))
        check(fn, captured_by_hand(outer, inner), model, compiled)


@pytest.mark.parametrize("outer", ["nothing", "jit", "remat", "cond", "grad"])
@pytest.mark.parametrize("inner", ["grad", "vjp"])
def test_what_leaves_a_differentiation_infers(outer: str, inner: str):
    seen: list[bool] = []

    def loss(m: Net, x: Any) -> Any:
        kept = px.copy(m)
        seen.extend([m.training, kept.norm.training])
        return scalar(m(x)), kept

    def differentiated(m: Net, x: Any) -> Any:
        if inner == "grad":
            return px.value_and_grad(loss, has_aux=True)(m, x)[0]
        value, _, kept = px.vjp(loss, m, x, has_aux=True)
        return value, kept

    run = {
        "nothing": differentiated,
        "jit": px.jit(differentiated),
        "remat": px.jit(px.remat(differentiated)),
        "cond": px.jit(lambda m, x: px.cond(x.sum() > 0, differentiated, differentiated, m, x)),
        "grad": lambda m, x: px.value_and_grad(differentiated, has_aux=True)(m, x)[0],
    }[outer]
    with double():
        model, x = net(), jnp.asarray(X)
        _, kept = run(model, x)
        assert set(seen) == {True}
        assert [m.training for m in px.modules(kept).values()] == [False] * 4
        assert [m.training for m in px.modules(model).values()] == [False] * 4
        assert_close(kept(x), kept.norm(kept.dense(x)), what="inference draws nothing")
