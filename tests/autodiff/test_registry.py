"""The readable reverse mode against JAX's own, on layers and losses, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from autodiff.layers import in_float64, weighted_loss, wide
from losses.test_contract import CASES as LOSSES
from registry import CASES

# One layer for each family of operations; the others are for the long run.
SAMPLE = {"Conv2d", "LSTM", "EmbeddingBag-max"}


def long_run(name, sample):
    return pytest.param(name, marks=() if str(name) in sample else pytest.mark.soak, id=str(name))


def close(ours, theirs):
    ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", [long_run(c, SAMPLE) for c in CASES])
def test_layers_have_the_gradients_of_jax(case):
    with jax.enable_x64(True):
        model, xs, which = in_float64(case)
        twin = px.copy(model)
        program = px.autodiff.backward(weighted_loss, model, *xs, argnums=which)
        value, grads = program(model, *xs)
        value2, grads2 = px.jit(px.value_and_grad(weighted_loss, which))(twin, *xs)
        close([value, px.paths(grads[0]), grads[1:]], [value2, px.paths(grads2[0]), grads2[1:]])
        states = [
            {k: v for k, v in px.split(m)[1].items() if jnp.issubdtype(v.dtype, jnp.inexact)} for m in (model, twin)
        ]
        assert all(np.allclose(states[0][k], states[1][k], rtol=1e-10) for k in states[1])


@pytest.mark.parametrize("name", [long_run(n, {"cross_entropy", "ctc"}) for n in LOSSES])
def test_losses_have_the_gradients_of_jax(name):
    arguments, _ = LOSSES[name]
    with jax.enable_x64(True):
        loss = getattr(px.losses, name)
        xs = list(map(wide, arguments))
        value, grad = px.autodiff.backward(loss, *xs)(*xs)
        value2, grad2 = px.jit(px.value_and_grad(loss))(*xs)
        close([value, grad], [value2, grad2])
