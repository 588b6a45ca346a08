"""Printing, against the text that a user wants to read; the numbers in it are counted by hand."""

import doctest
import os
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px


def text(golden: str) -> str:
    return dedent(golden).strip("\n")


class Block(px.Module):
    def __init__(self, width):
        self.norm = px.LayerNorm(width)
        self.mlp = px.Dense(width, width, px.gelu)


class Net(px.Module):
    """Lists, dicts, tuples, arrays of its own, functions, settings."""

    pos: px.Param
    mean: px.State

    def __init__(self, width, depth=2, *, kind="plain", act=px.relu):
        self.width, self.depth, self.kind, self.act = width, depth, kind, act
        self.blocks = [Block(width) for _ in range(depth)]
        self.heads = {"a": px.Dense(width, 1), "b": px.Dense(width, 2), "c": px.tanh}
        self.pos = jnp.ones((5, width))
        self.mean = jnp.zeros(3)
        self.pair = (px.Dense(1, 1), jnp.ones(2))
        self.seen = {"not": "shown"}


SHARED = px.Dense(4, 4)
CASES = {
    "one layer": (lambda: px.Dense(2, 3), "Dense(2, 3)  # 9 parameters"),
    "one parameter": (lambda: px.Dense(1, 1, bias=False), "Dense(1, 1, bias=False)  # 1 parameter"),
    "state": (lambda: px.BatchNorm(4, px.relu), "BatchNorm(4, relu)  # 8 parameters + 8 state"),
    "defaults are left out": (lambda: px.nn.ReverseSequence(1), "ReverseSequence()"),
    "but not a rate that has its place": (lambda: px.Dropout(0.5), "Dropout(0.5)  # 1 state"),
    "nothing inside": (px.Chain, "Chain()"),
    "functions only": (lambda: px.Chain(px.flatten, px.relu, lambda x: x), "Chain(\n  flatten,\n  relu,\n  lambda,\n)"),
    "a convolutional net": (
        lambda: px.Chain(px.Conv((3, 3), 1, 8, px.relu), px.MaxPool((2, 2)), px.flatten, px.Dense(8, 10)),
        """
        Chain(
          Conv((3, 3), 1, 8, relu),  # 80 parameters
          MaxPool((2, 2)),
          flatten,
          Dense(8, 10),              # 90 parameters
        )  # total: 170 parameters in 4 arrays, 680 bytes
        """,
    ),
    "named": (
        lambda: px.Chain(encoder=px.Dense(2, 3), decoder=px.Dense(3, 2)),
        """
        Chain(
          encoder=Dense(2, 3),  # 9 parameters
          decoder=Dense(3, 2),  # 8 parameters
        )  # total: 17 parameters in 4 arrays, 68 bytes
        """,
    ),
    "repeats": (
        lambda: px.Chain(*[px.Chain(px.Dense(4, 4), px.LayerNorm(4)) for _ in range(3)], px.Dense(4, 1)),
        """
        Chain(
          3 × Chain(       # 84 parameters (3 × 28)
            Dense(4, 4),   # 20 parameters
            LayerNorm(4),  # 8 parameters
          ),
          Dense(4, 1),     # 5 parameters
        )  # total: 89 parameters in 14 arrays, 356 bytes
        """,
    ),
    "shared": (
        lambda: px.Chain(SHARED, px.relu, SHARED, SHARED),
        """
        Chain(
          Dense(4, 4),      # 20 parameters
          relu,
          2 × Dense(4, 4),  # shared with layers[0]
        )  # total: 20 parameters in 2 arrays, 80 bytes
        """,
    ),
    "a shared part with parts": (
        lambda: (lambda part: px.Parallel(jnp.add, part, part))(px.Chain(px.Dense(2, 2))),
        """
        Parallel(
          combine=add,
          Chain(          # 6 parameters
            Dense(2, 2),  # 6 parameters
          ),
          Chain(…),       # shared with layers[0]
        )  # total: 6 parameters in 2 arrays, 24 bytes
        """,
    ),
    "a class of the user's": (
        lambda: Net(8, 3, kind="odd"),
        """
        Net(
          width=8, depth=3, kind='odd',
          blocks[0:3]=3 × Block(    # 264 parameters (3 × 88)
            norm=LayerNorm(8),      # 16 parameters
            mlp=Dense(8, 8, gelu),  # 72 parameters
          ),
          heads.a=Dense(8, 1),      # 9 parameters
          heads.b=Dense(8, 2),      # 18 parameters
          heads.c=tanh,
          pos=float32[5, 8],        # 40 parameters
          mean=float32[3],          # 3 state
          pair[0]=Dense(1, 1),      # 2 parameters
          pair[1]=float32[2],       # 2 parameters
        )  # total: 335 parameters in 20 arrays + 3 state in 1 array, 1.3 KiB
        """,
    ),
    "half precision": (
        lambda: px.bf16(px.Chain(px.Dense(2, 3), px.BatchNorm(3))),
        """
        Chain(
          Dense(2, 3),   # 9 parameters, bfloat16
          BatchNorm(3),  # 6 parameters + 6 state, bfloat16
        )  # total: 15 parameters in 4 arrays + 6 state in 2 arrays, 54 bytes
        """,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_printed_tree(case):
    make, golden = CASES[case]
    with px.seed(0):
        assert repr(make()) == text(golden)


def test_the_constructor_form_builds_the_model_again():
    with px.seed(0):
        model = px.Chain(px.Conv((3, 3), 1, 8, px.relu, stride=2), px.BatchNorm(8), px.flatten, px.Dropout(0.2))
    names = {n: getattr(px, n) for n in ("Chain", "Conv", "BatchNorm", "Dropout", "flatten", "relu")}
    with px.seed(0):
        again = eval(repr(model), names)
    assert repr(again) == repr(model)
    assert jax.tree.structure(again) == jax.tree.structure(model)


def test_lists_of_other_things_are_told_apart():
    class Odd(px.Module):
        def __init__(self):
            self.ws = [jnp.ones(3), jnp.ones(3), jnp.zeros(3)]
            self.named = {"x y": px.Dense(1, 1), "z": px.Dense(1, 1)}
            self.nest = [{"a": px.Dense(1, 1), "b": px.Dense(1, 1)}, {"a": px.Dense(1, 1)}]
            self.functions = [px.relu]

    assert repr(Odd()) == text("""
        Odd(
          ws[0:2]=2 × float32[3],    # 6 parameters (2 × 3)
          ws[2]=float32[3],          # 3 parameters, all zero
          named['x y']=Dense(1, 1),  # 2 parameters
          named.z=Dense(1, 1),       # 2 parameters
          nest[0].a=Dense(1, 1),     # 2 parameters
          nest[0].b=Dense(1, 1),     # 2 parameters
          nest[1].a=Dense(1, 1),     # 2 parameters
        )  # total: 19 parameters in 13 arrays, 76 bytes
    """)


def test_a_long_or_broken_argument_does_not_spoil_the_line():
    class Broken:
        def __repr__(self):
            raise ValueError("no text")

    class Odd(px.Module):
        def __init__(self, name, broken, lines):
            self.name, self.broken, self.lines = name, broken, lines

    shown = repr(Odd("x" * 500, Broken(), [(1, "a\nb"), {"k": px.relu}]))
    assert shown == f"Odd('{'x' * 70}…, Broken, [(1, 'a\\nb'), {{'k': relu}}])"


# --- flags -----------------------------------------------------------------------------------------------


def dense(weight=1.0, bias=1.0) -> px.Dense:
    return px.Dense.of(jnp.asarray([[1.0, weight]]), jnp.asarray([bias, 1.0]))


@pytest.mark.parametrize(
    ("layer", "flag"),
    [
        (lambda: dense(), ""),
        (lambda: dense(weight=jnp.nan), "NaN in weight"),
        (lambda: dense(weight=jnp.nan, bias=jnp.nan), "NaN in weight and bias"),
        (lambda: dense(bias=-jnp.inf), "Inf in bias"),
        (lambda: dense(weight=jnp.nan, bias=jnp.inf), "NaN in weight, Inf in bias"),
        (lambda: px.map(lambda w: w.at[0].set(jnp.nan), dense(bias=jnp.inf)), "NaN in weight and bias"),
        (lambda: px.map(jnp.zeros_like, dense()), "all zero"),
        (lambda: px.map(lambda w: -jnp.zeros_like(w), dense()), "all zero"),
        (lambda: px.bf16(dense(bias=jnp.nan)), "bfloat16, NaN in bias"),
        (lambda: px.f16(px.map(jnp.zeros_like, dense())), "float16, all zero"),
        (lambda: px.map(lambda w: w.astype(complex), dense()), "complex64"),
        (lambda: px.map(lambda w: w * 1j, dense()), "complex64"),
        (lambda: px.map(lambda w: w * 0j, dense()), "complex64, all zero"),
        (lambda: px.map(lambda w: w + complex(0, jnp.inf), dense()), "complex64, Inf in weight and bias"),
        (lambda: px.freeze(dense(), "weight"), "weight frozen"),
        (lambda: px.freeze(dense()), "frozen"),
        (lambda: px.testmode(dense()), "testmode"),
        (lambda: px.trainmode(px.freeze(dense())), "trainmode, frozen"),
    ],
)  # fmt: skip
def test_flags(layer, flag):
    with np.errstate(all="ignore"):
        assert repr(layer()) == "Dense(1, 2)  # 4 parameters" + (f", {flag}" if flag else "")


def test_inf_beside_nan():
    layer = px.Dense.of(jnp.asarray([[jnp.nan, -jnp.inf]]), None)
    assert repr(layer) == "Dense(1, 2, bias=False)  # 2 parameters, NaN in weight, Inf in weight"


def test_what_is_no_neighbour_is_not_grouped():
    class Odd(px.Module):
        def __init__(self):
            self.parts = {0: dense(), 2: dense(), 3: dense()}

    assert repr(Odd()).splitlines()[1:3] == [
        "  parts[0]=Dense(1, 2),        # 4 parameters",
        "  parts[2:4]=2 × Dense(1, 2),  # 8 parameters (2 × 4)",
    ]


def test_a_bias_of_zeros_is_as_it_should_be():
    with px.seed(0):
        assert "zero" not in repr(px.Chain(px.Dense(3, 2), px.BatchNorm(2)))


def test_state_that_is_not_finite_is_told():
    norm = px.BatchNorm(2)
    norm.var = norm.var.at[0].set(jnp.inf)
    assert repr(norm) == "BatchNorm(2)  # 4 parameters + 4 state, Inf in var"


def test_what_holds_for_a_whole_part_is_said_once():
    model = px.Chain(px.Chain(dense(), px.Dense.of(jnp.ones((2, 1)), None)), dense())
    px.freeze(model[0])
    px.testmode(model[0])
    assert repr(model) == text("""
        Chain(
          Chain(                      # 6 parameters, testmode, frozen
            Dense(1, 2),              # 4 parameters
            Dense(2, 1, bias=False),  # 2 parameters
          ),
          Dense(1, 2),                # 4 parameters
        )  # total: 10 parameters (6 frozen) in 5 arrays, 40 bytes
    """)
    px.freeze(model)
    assert "10 parameters (all frozen) in 5 arrays" in repr(model)


def test_lost_buffers():
    model = px.Chain(dense(), dense())
    model[0].bias.delete()
    assert repr(model) == text("""
        Chain(
          Dense(1, 2),  # 4 parameters, lost its buffers
          Dense(1, 2),  # 4 parameters
        )  # total: 8 parameters in 4 arrays, 32 bytes
    """)


# --- where values are not there ------------------------------------------------------------------------------


def printed_in(transform, model, x):
    found = []

    def body(model, x):
        found.append((repr(model), model._repr_html_()))
        return model(x).sum()

    transform(body)(model, x)
    return found[-1]


@pytest.mark.parametrize(
    "transform",
    [
        px.jit,
        jax.jit,
        px.grad,
        lambda f: px.vmap(f, in_axes=(None, 0)),
        lambda f: jax.vmap(f, in_axes=(None, 0)),
        lambda f: px.jit(px.grad(f)),
        px.remat,
        lambda f: lambda m, x: px.eval_shape(f, m, x),
        lambda f: lambda m, x: px.jvp(lambda x: f(m, x), (x,), (x,)),
    ],
)
def test_under_a_transform_it_prints_as_outside(transform):
    model, x = px.Chain(dense(), px.relu), jnp.ones((2, 1))
    outside = repr(model)
    inside, html = printed_in(transform, model, x)
    assert inside == outside
    assert "4 parameters" in html


def test_an_eager_gradient_shows_what_is_wrong_with_the_values():
    inside, _ = printed_in(px.grad, dense(weight=jnp.nan), jnp.ones((1, 1)))
    assert inside == "Dense(1, 2)  # 4 parameters, NaN in weight"


def test_shapes_in_place_of_arrays():
    model = px.eval_shape(lambda: px.Chain(px.Dense(10**6, 10**6)))
    assert repr(model) == text("""
        Chain(
          Dense(1000000, 1000000),  # 1_000_001_000_000 parameters
        )  # total: 1_000_001_000_000 parameters in 2 arrays, 3.6 TiB
    """)


def test_a_gradient_and_a_tree_of_other_things():
    model = px.Chain(dense(), px.BatchNorm(2))
    grads = px.grad(lambda m: m(jnp.ones((4, 1))).sum())(model)
    assert "BatchNorm(2),  # 4 parameters" in repr(grads)
    assert repr(jax.tree.map(lambda _: "spec", model)).startswith("Chain(")


def test_a_module_that_holds_itself_prints():
    class Loop(px.Module):
        pass

    loop = Loop()
    loop.inner = []
    loop.inner.append(loop)
    assert repr(loop) == "Loop(…)  # one that holds itself among its own parts, at .inner[0]"
    assert "holds itself" in loop._repr_html_()


def test_sharded_arrays_in_another_process():
    code = """
        import jax, numpy as np, phlox as px
        mesh = jax.make_mesh((4,), ("x",))
        spec = jax.NamedSharding(mesh, jax.P("x"))
        with px.seed(0):
            model = px.to(px.Dense(8, 4), spec)
        assert len(model.weight.devices()) == 4
        print(repr(model))
        bad = np.ones((8, 4), np.float32)
        bad[7, 0] = np.nan
        model.weight = jax.device_put(bad, spec)
        print(repr(model))
    """
    options = "import jax; jax.config.update('jax_num_cpu_devices', 4)\n"
    env = {**os.environ, "PYTHONPATH": str(Path(px.__file__).resolve().parents[1])}
    command = [sys.executable, "-c", options + dedent(code)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [
        "Dense(8, 4)  # 36 parameters",
        "Dense(8, 4)  # 36 parameters, NaN in weight",
    ], done.stderr


# --- large models ----------------------------------------------------------------------------------------------


def test_a_large_model_prints_without_being_read(monkeypatch):
    from phlox.core.looking import _health

    model = px.Chain(dense(weight=jnp.nan), dense())
    monkeypatch.setattr(_health, "LIMIT", 31)
    assert repr(model) == text("""
        Chain(
          2 × Dense(1, 2),  # 8 parameters (2 × 4)
        )  # total: 8 parameters in 4 arrays, 32 bytes, too large to look for NaN
    """)
    monkeypatch.setattr(_health, "LIMIT", 32)
    assert "NaN in weight" in repr(model)


def test_printing_compiles_nothing_and_leaves_no_view_behind():
    model = px.Chain(px.Dense.of(jnp.ones((7, 13)), jnp.ones(13)), px.Dense.of(jnp.ones((13, 11)), None))
    compiled = []

    def listen(event, *_, **__):
        if "compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        repr(model)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled == []
    before = model[0].weight
    pointer = before.unsafe_buffer_pointer()
    del before

    @px.jit
    def step(model):
        model.layers[0].weight = model.layers[0].weight * 2.0

    step(model)
    assert model[0].weight.unsafe_buffer_pointer() == pointer  # donated: nobody holds a view of it


def test_thousands_of_layers_print_in_a_moment():
    model = px.Chain(*[px.Chain(px.Dense.of(jnp.ones((2, 2 + i % 3)), None), px.relu) for i in range(1000)])
    start = time.perf_counter()
    shown = repr(model)
    assert time.perf_counter() - start < 10.0
    assert shown.count("\n") == 4 * 1000 + 1


def test_a_value_without_shape_or_of_no_size():
    class Empty(px.Module):
        def __init__(self):
            self.nothing = jnp.zeros((0, 3))
            self.part = px.relu

    assert repr(Empty()) == "Empty()"
    assert repr(px.Dense.of(jnp.zeros((0, 2)), None)) == "Dense(0, 2, bias=False)"


def test_a_model_that_holds_its_optimiser():
    class Trainer(px.Module):
        def __init__(self):
            self.model = px.Dense(1, 1)
            self.opt = px.Optimizer(px.optim.Descent(0.1), self.model)

    shown = " ".join(repr(Trainer()).split())
    assert shown.startswith("Trainer( model=Dense(1, 1), # 2 parameters opt=Optimizer( # 1 state rule=Descent(")
    assert shown.endswith(") # total: 2 parameters in 2 arrays + 1 state in 1 array, 12 bytes")
    assert repr(px.Optimizer(px.optim.Descent(0.1), px.Dense(1, 1))).startswith("Optimizer(Descent(")


def test_the_page_about_printing_shows_what_is_printed():
    page = Path(__file__).resolve().parents[2] / "docs" / "printing.md"
    found = doctest.testfile(str(page), module_relative=False)
    assert found.failed == 0
    assert found.attempted >= 9
