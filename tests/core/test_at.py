"""Parts by path: every path that px.paths and px.modules print leads to what they say; replacing is assignment."""

from collections import namedtuple

import jax
import jax.numpy as jnp
import pytest

import phlox as px
from phlox.core.module._arrays import displayed

Pair = namedtuple("Pair", ["first", "second"])


class Model(px.Module):
    def __init__(self):
        self.encoder = px.Chain(px.Dense(2, 3), px.Chain(px.Dense(3, 3), px.relu))
        self.heads = {"a": px.Dense(3, 1), "b.c": px.Dense(3, 1)}
        self.more = {7: [jnp.ones(2), px.Scale(2)]}
        self.pair = Pair(px.Dense(3, 1), (jnp.zeros(1), px.Dense(1, 1)))
        self.tied = self.heads["a"]
        self.width = 3

    def __call__(self, x):
        return self.heads["a"](self.encoder(x)) + self.tied(self.encoder(x))


@pytest.fixture
def model():
    with px.seed(0):
        return Model()


def test_every_printed_path_leads_to_its_array_and_module(model):
    arrays, parts = px.paths(model), px.modules(model)
    assert len(arrays) > 12
    assert {"heads.b.c.weight", "more.7.0", "pair.second.0", "pair.first.bias"} <= set(arrays)
    for path, array in arrays.items():
        assert px.at(model, path) is array, path
    for path, part in parts.items():
        assert px.at(model, path) is part, path
    assert px.at(model, "width") == 3
    assert px.at(model, "") is model
    assert px.at(model, "encoder.layers") is model.encoder.layers


def test_what_errors_print_is_read_too(model):
    for path in (
        ("encoder", "layers", 1, "layers", 0),
        ("heads", "a"),
        ("more", 7, 1),
        ("heads", "b.c"),
        ("pair", "first"),
    ):
        assert px.at(model, displayed(path)) is px.at(model, ".".join(map(str, path)))
    assert px.at([model], "[0].heads['a'].weight") is px.at({"m": model}, "m.heads.a.weight")


def test_shared_parts_are_one_by_every_path(model):
    assert px.at(model, "tied") is px.at(model, "heads.a")
    new = px.Dense(3, 1)
    assert px.set_at(model, "tied", new) is model
    assert model.tied is new
    assert model.heads["a"] is not new


@pytest.mark.parametrize(
    "path",
    ["width", "encoder", "encoder.layers.0", "encoder.layers.1.layers.0", "heads.a", "heads.b.c", "more.7.1",
     "pair", "pair.first", "pair.second.1", "tied"],
)  # fmt: skip
def test_a_part_is_replaced_and_nothing_else(model, path):
    before = px.modules(model) | px.paths(model)
    new = px.Dense(4, 4, key=1)
    px.set_at(model, path, new)
    assert px.at(model, path) is new
    assert type(model.pair) is (Pair if path != "pair" else px.Dense)
    shares = {"tied": "heads.a", "heads.a": "tied"}.get(path, path)
    for known, part in before.items():
        if (
            not any(known == p or known.startswith(f"{p}.") or p.startswith(f"{known}.") for p in (path, shares))
            and known
        ):
            assert px.at(model, known) is part, known
    if path not in ("pair", "encoder"):
        assert jax.tree.structure(model) is not None
        assert px.at(px.copy(model), path).weight is new.weight


def test_an_array_is_replaced_and_compiled_code_sees_it(model):
    step = px.jit(lambda m, x: m(x))
    x = jnp.ones((1, 2))
    before = step(model, x)
    px.set_at(model, "heads.a.bias", jnp.full(1, 10.0))
    assert jnp.allclose(step(model, x), before + 20.0)
    px.set_at(model, "encoder.layers.1.layers.1", px.tanh)
    assert jnp.allclose(step(model, x), model(x))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("encoder.layers.9", (r"px.at expects the path of a part of Model, got 'encoder.layers.9', of which"
         r" 'encoder.layers' is the last there\n  fix: write 'encoder.layers.\d")),
        ("encoder.layers.0.weigth", r"'encoder.layers.0' is the last there\n  fix: write 'encoder.layers.0.weight'"),
        ("nonsense", r"got 'nonsense'\n  fix: choose among what is there: encoder, heads, more, pair, tied, width"),
        ("heads.z", r"'heads' is the last there\n  fix: .*(a, b.c|'heads)"),
        ("width.0", r"'width' is the last there\n  fix: end the path there"),
        ("encoder.*", r"fix: give one path; px.freeze and px.thaw take patterns"),
    ],
)  # fmt: skip
def test_a_path_that_ends_early_names_what_is_there(model, path, text):
    with pytest.raises(px.StructureError, match=text):
        px.at(model, path)
    with pytest.raises(px.StructureError, match=text.replace("px.at", "px.set_at")):
        px.set_at(model, path, 1)


def test_the_root_cannot_be_replaced(model):
    for root in (model, (model,)):
        with pytest.raises(px.StructureError, match=r"px.set_at expects the path of a part that can be assigned"):
            px.set_at(root, "" if root is model else "0", px.Dense(1, 1))


def test_writes_are_held_to_the_rules(model):
    @jax.jit
    def step(model, x):
        px.set_at(model, "heads.a.bias", x)
        return x

    with pytest.raises(px.StateError):
        step(model, jnp.ones(1))
