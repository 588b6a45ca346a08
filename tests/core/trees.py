"""Random models for the core's tests: trees of Modules with everything an attribute may hold."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import phlox as px
from phlox.core import advance

# A recipe is data: what hypothesis draws, prints and shrinks. ``grow`` makes the model it describes.
ARRAYS = ("vector", "scalar", "matrix", "complex", "int", "bool", "pair")
STATICS = (1, True, 1.0, 0.0, -0.0, float("nan"), "text", None, (2, 3), slice(0, 2), px.tanh)

leaves = st.one_of(
    st.tuples(st.just("array"), st.sampled_from(ARRAYS), st.integers(0, 99)),
    st.tuples(st.just("static"), st.integers(0, len(STATICS) - 1)),
    st.tuples(st.just("shared"), st.integers(0, 5)),  # a part made earlier, by number
)


def _extend(inner: Any) -> Any:
    return st.one_of(
        st.tuples(st.just("list"), st.lists(inner, max_size=3)),
        st.tuples(st.just("tuple"), st.lists(inner, max_size=3)),
        st.tuples(st.just("dict"), st.lists(inner, max_size=3)),
        st.tuples(st.just("node"), _flags, st.lists(inner, max_size=3)),
    )


_flags = st.fixed_dictionaries(
    {
        "moves": st.booleans(),
        "draws": st.booleans(),
        "counts": st.booleans(),
        "frozen": st.sampled_from([False, False, False, True, "partly"]),
        "pinned": st.sampled_from([None, None, None, True, False]),
    }
)
recipes = st.tuples(
    st.just("node"), _flags, st.lists(st.recursive(leaves, _extend, max_leaves=6), min_size=1, max_size=4)
)


class Node(px.Module):
    """Adds up something of everything it holds; in training it moves its State and draws."""

    mean: px.State
    key: px.State
    counts: px.State

    def __call__(self, x: Any) -> jax.Array:
        y = x
        if self.training and hasattr(self, "mean"):
            self.mean = 0.9 * self.mean + 0.1 * x
            y = y - self.mean
        if self.training and hasattr(self, "key"):
            y = y + jax.random.normal(advance(self), x.shape)
        if self.training and hasattr(self, "counts"):
            self.counts["seen"][0] = self.counts["seen"][0] + 1
            self.counts["both"] = (self.counts["both"][0] * 2, self.counts["both"][1])
            y = y * (1 + 0.1 * self.counts["both"][0])
        for name, value in self.__dict__.items():
            if name not in Node._roles:
                y = _taken_in(y, value)
        return y


class Other(Node):
    """A class of its own, so that equal attributes do not make equal structure."""


def _taken_in(y: jax.Array, value: Any) -> jax.Array:
    if isinstance(value, px.Module):
        return y + 0.5 * jnp.tanh(value(y))
    if isinstance(value, (list, tuple)):
        for v in value:
            y = _taken_in(y, v)
    elif isinstance(value, dict):
        for k, v in value.items():
            y = _taken_in(y, v) * (1 + 0.01 * len(k))
    elif isinstance(value, jax.Array) and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        parts = [jnp.real(value), jnp.imag(value)] if jnp.iscomplexobj(value) else [value]
        for part in parts:
            y = y + jnp.sin(jnp.sum(part.astype(jnp.float32)) + y)
    elif callable(value):
        y = value(y)
    elif isinstance(value, float) and value == value:
        y = y * (1 + value)
    return y


class _Grower:
    """Makes models from recipes; parts that are done may be shared by what follows."""

    def __init__(self) -> None:
        self.done: list[Node] = []

    def value(self, recipe: Any) -> Any:
        kind = recipe[0]
        if kind == "array":
            return array(recipe[1], recipe[2])
        if kind == "static":
            return STATICS[recipe[1]]
        if kind == "shared":
            return self.done[recipe[1] % len(self.done)] if self.done else None
        if kind == "list":
            return [self.value(r) for r in recipe[1]]
        if kind == "tuple":
            return tuple(self.value(r) for r in recipe[1])
        if kind == "dict":
            return {"kk"[: i + 1] + str(i): self.value(r) for i, r in enumerate(recipe[1])}
        return self.node(recipe[1], recipe[2])

    def node(self, flags: dict[str, Any], attributes: list[Any]) -> Node:
        node = (Other if flags["moves"] and flags["draws"] else Node)()
        if flags["moves"]:
            node.mean = jnp.full(2, 0.25)
        if flags["draws"]:
            node.key = jax.random.key(len(self.done))
        if flags["counts"]:
            node.counts = {"seen": [jnp.zeros((), jnp.int32)], "both": (jnp.full((), 0.5), "static")}
        for i, recipe in enumerate(attributes):
            setattr(node, f"a{i}", self.value(recipe))
        if flags["frozen"] is True:
            px.freeze(node)
        elif flags["frozen"] and px.paths(node):
            px.freeze(node, next(iter(px.paths(node))))
        if flags["pinned"] is not None:
            (px.trainmode if flags["pinned"] else px.testmode)(node)
        self.done.append(node)
        return node


def array(kind: str, seed: int) -> jax.Array:
    """An array of one of the kinds that an attribute may hold."""
    values = np.random.default_rng(seed).normal(size=(2, 3)).astype(np.float32)
    made: dict[str, Any] = {
        "vector": values[0],
        "scalar": values[0, 0],
        "matrix": values,
        "complex": values[0] + 1j * values[1],
        "int": (values[0] * 5).astype(np.int32),
        "bool": values[0] > 0,
        "pair": values[:, 0].astype(np.float16),
    }
    return jnp.asarray(made[kind])


def grow(recipe: Any) -> Node:
    """The model that a recipe describes; the same recipe grows equal models."""
    return _Grower().value(recipe)


def words(x: Any) -> np.ndarray:
    """An array as NumPy, random keys as their words."""
    return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)


def same(a: Any, b: Any) -> None:
    """Bitwise equal arrays under equal paths."""
    assert list(a) == list(b)
    for path in a:
        assert a[path].dtype == b[path].dtype, path
        np.testing.assert_array_equal(words(a[path]), words(b[path]), err_msg=path)
