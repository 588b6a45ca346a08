"""Modules that hold themselves, and models nested very deep: an error with the path, in time that is linear."""

import copy
import pickle
import sys

import jax
import jax.numpy as jnp
import pytest

import phlox as px

X = jnp.ones((1, 2))


class Node(px.Module):
    def __init__(self):
        self.parts = []
        self.w = jnp.ones(2)

    def __call__(self, x):
        return self.w * x


def cycle() -> Node:
    """a holds b, b holds c, c holds b."""
    a, b, c = Node(), Node(), Node()
    a.parts.append(b)
    b.parts.append({"next": c})
    c.parts.append(b)
    return a


USES = {
    "paths": px.paths,
    "copy": px.copy,
    "split": px.split,
    "map": lambda m: px.map(jnp.abs, m),
    "jax.tree.leaves": jax.tree.leaves,
    "jax.tree.map": lambda m: jax.tree.map(jnp.abs, m),
    "jax.jit": lambda m: jax.jit(lambda m: m(X))(m),
    "grad": px.grad(lambda m: m(X).sum()),
    "jit": px.jit(lambda m: m(X)),
    "freeze": px.freeze,
    "testmode": px.testmode,
    "summary": lambda m: px.summary(m, (1, 2)),
    "optimizer": lambda m: px.Optimizer(px.optim.Descent(0.1), m),
}


@pytest.mark.parametrize("use", USES)
def test_a_cycle_is_an_error_with_its_path(use):
    with pytest.raises(px.StructureError, match=r"holds itself.*at \.parts\[0\]\.next\.parts\[0\](.|\n)*argument"):
        USES[use](cycle())


def test_a_cycle_prints_copies_and_pickles():
    assert "holds itself among its own parts, at .parts[0]" in repr(cycle())
    for other in (copy.deepcopy(cycle()), pickle.loads(pickle.dumps(cycle()))):
        assert other.parts[0].parts[0]["next"].parts[0] is other.parts[0]
        with pytest.raises(px.StructureError, match="holds itself"):
            px.paths(other)


def test_a_cycle_is_seen_when_it_is_closed_after_a_first_look():
    a, b = Node(), Node()
    a.parts.append(b)
    assert len(px.paths(a)) == 2
    b.parent = [a]
    for look in (px.paths, jax.tree.leaves):
        with pytest.raises(px.StructureError, match=r"at \.parts\[0\]\.parent\[0\]|at \.parent\[0\]\.parts\[0\]"):
            look(a)


def test_a_module_cannot_be_its_own_attribute():
    node = Node()
    with pytest.raises(px.StructureError, match=r"node Node expects a tree of Modules, got .* at \.me\[1\]"):
        node.me = (1, node)
    loop: list = []
    loop.append(loop)
    with pytest.raises(px.StructureError, match=r"at \.loop\[0\]"):
        node.loop = loop
    assert "me" not in vars(node)


def test_sharing_is_no_cycle():
    shared, a, b = Node(), Node(), Node()
    a.parts += [shared, b]
    b.parts += [shared, shared]
    assert list(px.modules(a)) == ["", "parts.0", "parts.1"]


def test_deep_nesting_says_so_at_once(monkeypatch):
    from phlox.core.context import _trail

    model = px.Dense(2, 2, key=0)
    for _ in range(400 if sys.version_info < (3, 12) else 800):  # later versions count Python's own calls alone
        model = px.Chain(model)
    searched = []
    path_of = _trail.path_of
    monkeypatch.setattr(_trail, "path_of", lambda m: searched.append(m) or path_of(m))
    with pytest.raises(px.StructureError, match=r"recursion limit of \d+(.|\n)*side by side"):
        model(X)
    assert len(searched) < 10
    assert len(px.paths(px.copy(model))) == 2 == len(jax.tree.leaves(model))


def test_an_error_in_deep_nesting_looks_for_its_path_once(monkeypatch):
    from phlox.core.context import _trail

    model = px.Dense(3, 2, key=0)
    for _ in range(60):
        model = px.Chain(model)
    visits = []
    children = _trail._children
    monkeypatch.setattr(_trail, "_children", lambda m: visits.append(m) or children(m))
    with pytest.raises(px.ShapeError, match=r"model(\.layers\[0\]){60} Dense"):
        model(X)
    assert len(visits) < 60 * 8


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m: px.summary({"a": m}, (1, 2)), px.StructureError, "px.summary expects a Module, got dict"),
        (lambda m: px.summary("Dense", (1, 2)), px.StructureError, "px.summary expects a Module, got 'Dense'"),
        (lambda m: px.summary(m, "ab"), px.ShapeError, "got 'ab'"),
        (lambda m: px.summary(m, {"x": (1, 2)}), px.ShapeError, "got dict"),
        (lambda m: px.nn.output_shape(m, "ab"), px.ShapeError, "got 'ab'"),
    ],
)
def test_summary_of_something_else(call, error, text):
    with pytest.raises(error, match=text):
        call(px.Dense(2, 2, key=0))
