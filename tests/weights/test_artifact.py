"""One file with a model in it comes back as that model, in a process that never built it."""

import dataclasses
import enum
import functools
import operator
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import weights
from registry import CASES, built
from weights.models import Everything, Tied, contents

FIXTURES = Path(__file__).parent / "fixtures"
SOURCE = Path(px.__file__).parents[1]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def structure(model):
    """Everything about a model but the numbers in its arrays, as the key of compiled programs has it."""
    return jax.tree.structure(model), {p: type(m).__name__ for p, m in px.modules(model).items()}


def returned(model, path, **options):
    """The model after a journey through a file; equal in structure and in every bit."""
    px.save(model, path)
    again = px.load(path, **options)
    assert structure(again) == structure(model)
    assert contents(again) == contents(model)
    return again


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_every_layer_comes_back(path, case):
    returned(built(case), path, allow=["registry_layers"])


def test_a_fresh_process_needs_the_file_alone(path):
    with px.seed(3):
        model = px.Chain(
            px.Conv((3, 3), 1, 4, px.relu, padding="SAME"),
            px.BatchNorm(4),
            px.SkipConnection(px.Dropout(0.5), operator.add),
            px.flatten,
            px.Dense(36, 2, jax.nn.silu),
        )
    px.save(model, path)
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 1)).astype(np.float32)
    code = (
        "import sys, numpy as np, phlox as px; x = np.random.default_rng(0).normal(size=(2, 3, 3, 1));"
        "print(px.load(sys.argv[1])(x.astype(np.float32)).tolist())"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == str(model(x).tolist())


def test_models_of_other_rooms_load_in_a_process_that_has_not_been_there(path):
    """Blocks of px.models, an adapter, and integers: classes without public names, in rooms that come when used."""
    config = px.models.ResNetConfig(depths=(1,), hidden_sizes=(8,), embedding_size=4, classes=2)
    adapted = px.adapt.lora(px.models.create(config), rank=2, where="head")
    px.save(px.compress.quantize(adapted, where="**.conv"), path)
    code = "import sys, phlox as px; print(type(px.load(sys.argv[1])).__name__)"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", code, path], check=True, capture_output=True, text=True, env=environment
    )
    assert done.stdout == "ResNet\n"


def test_surgery_sharing_frozen_parts_and_modes_come_back(path):
    model = px.Chain(px.Dense(3, 3), px.BatchNorm(3), px.Dropout(0.5), px.Dense(3, 3))
    model[0] = px.Dense(3, 3, px.gelu)
    model.layers.append(model[0])
    model.layers.append(px.tanh)
    model.note = {"of": ("the", 1)}
    px.freeze(model[3])
    px.freeze(model, "layers.0.bias")
    px.testmode(model[1])
    px.trainmode(model[2])
    again = returned(model, path)
    assert again[4] is again[0]
    assert again[0].act is px.gelu
    assert list(px.split(again)[0]) == ["layers.0.weight", "layers.1.scale", "layers.1.bias"]
    assert (again[1].training, again[2].training, again[3].training) == (False, True, False)

    @px.jit
    def loss(m, x):
        return (m(x) ** 2).mean()

    x = jnp.ones((4, 3))
    assert loss(again, x) == loss(model, x)
    assert contents(again) == contents(model)  # dropout drew, and moved its key, alike


def test_an_equal_model_runs_the_same_program(path):
    traces = []

    @px.jit
    def run(model, x):
        traces.append(1)
        return model(x)

    model = px.Chain(px.Dense(2, 2, px.relu), px.BatchNorm(2))
    run(model, jnp.ones((1, 2)))
    px.save(model, path)
    run(px.load(path), jnp.ones((1, 2)))
    assert traces == [1]


def test_every_kind_of_array_comes_back(path):
    returned(Everything(1), path)
    assert px.load(path).turned.tolist() == Everything(1).turned.tolist()


def test_what_is_tied_stays_tied(path):
    again = returned(Tied(1), path)
    assert again.again["same"] is again.first


class Flavour(enum.Enum):
    SWEET = 1
    SOUR = 2


@dataclasses.dataclass(frozen=True)
class Settings:
    width: int
    flavour: Flavour


class Value(px.Module):
    def __init__(self, value):
        self.value = value


VALUES = [
    None,
    True,
    -(2**70),
    0.1,
    -0.0,
    float("nan"),
    float("-inf"),
    1 + 2j,
    complex("-0-infj"),
    "größer \u2028 ✓ \ud800",
    b"\x00\xff",
    [],
    (),
    {},
    [1, [2, (3, {"a": [None]})]],
    {1: "a", "b": (2,), None: 3, (1, 2): 4},
    {3, 1, 2},
    frozenset({"a"}),
    slice(1, None, -2),
    ...,
    range(1, 9, 3),
    np.dtype("float32"),
    jnp.dtype("bfloat16"),
    np.float16,
    jnp.bfloat16,
    jnp.float32,
    np.float32(0.1),
    np.int64(2**40),
    np.bool_(True),
    px.relu,
    jnp.tanh,
    jnp.add,
    jax.nn.relu,
    jax.nn.gelu,
    jax.lax.rsqrt,
    operator.mul,
    px.losses.mse,
    px.nn.functional.leaky_relu,
    functools.partial(px.nn.functional.leaky_relu, slope=0.3),
    [px.relu, slice(0, 3)],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: re.sub(" at 0x\\w+", "", repr(value)))
def test_every_kind_of_attribute_comes_back(path, value):
    again = returned(Value(value), path)
    assert type(again.value) is type(value)
    if not isinstance(value, functools.partial):
        assert repr(again.value) == repr(value)


class Acting(px.Module):
    def __init__(self):
        self.w, self.act = jnp.ones(2), self.scale

    def scale(self, x):
        return x * self.w

    def __call__(self, x):
        return self.act(x)


def test_a_method_of_its_own_comes_back_bound_to_the_model_that_was_read(path):
    model = Acting()
    model.w = model.w * 3
    again = returned(model, path, allow=[Acting])
    assert again.act.__self__ is again
    again.w = again.w * 2
    assert again(jnp.ones(2)).tolist() == [6.0, 6.0]


def test_what_a_partial_holds_comes_back_with_its_arrays(path):
    model = Value(functools.partial(px.Dense(2, 3, key=1), scale := jnp.arange(2.0)))
    again = returned(model, path)
    assert set(px.paths(again)) == {"value.func.weight", "value.func.bias", "value.args.0"}
    np.testing.assert_array_equal(again.value(), model.value.func(scale))


def test_records_of_the_users_own_come_back_where_they_are_allowed(path):
    settings = Settings(3, Flavour.SOUR)
    again = returned(Value({"settings": settings}), path, allow=[Settings, Flavour])
    assert again.value["settings"] == settings
    assert again.value["settings"].flavour is Flavour.SOUR
    with pytest.raises(weights.NotAllowedError, match="test_artifact:Settings' in the file"):
        px.load(path)


def test_a_class_made_inside_a_function_must_be_given(path):
    class Inside(px.Module):
        def __init__(self):
            self.weight = jnp.ones(2)

    assert returned(Inside(), path, allow=Inside).weight.tolist() == [1.0, 1.0]
    with pytest.raises(weights.NotAllowedError, match=r"Inside' in the file\n  fix: .*allow=\[Inside\]"):
        px.load(path)


def test_a_class_of_a_script_is_found_by_its_name_elsewhere(path):
    """The writer's ``__main__`` is not the reader's."""
    code = (
        "import sys, phlox as px, jax.numpy as jnp\n"
        "class Net(px.Module):\n"
        "    def __init__(self): self.w = jnp.ones(2)\n"
        "if sys.argv[1] == 'save': px.save(Net(), sys.argv[2])\n"
        "print(px.load(sys.argv[2]).w.tolist())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    script = path.with_name("script.py")
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script, "save", path], check=True, capture_output=True, text=True, env=environment
    )
    assert done.stdout == "[1.0, 1.0]\n"
    with pytest.raises(weights.NotAllowedError, match="__main__:Net"):
        px.load(path)

    class Net(px.Module):
        pass

    Net.__qualname__ = "Net"
    assert type(px.load(path, allow=[Net])) is Net


def test_a_package_is_imported_only_where_it_is_allowed(path, tmp_path, monkeypatch):
    package = tmp_path / "flowers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(
        "import phlox as px\ndef act(x): return x * 2\nclass Net(px.Module):\n    def __init__(self): self.act = act\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import flowers.nets  # type: ignore[import-not-found]

    px.save(flowers.nets.Net(), path)
    sys.modules.pop("flowers.nets")
    sys.modules.pop("flowers")
    for allow in ([], ["flower"], ["flowers.net"]):
        with pytest.raises(weights.NotAllowedError, match=r"flowers\.nets:Net"):
            px.load(path, allow=allow)
        assert "flowers" not in sys.modules
    assert px.load(path, allow="flowers").act(3) == 6
    with pytest.raises(
        weights.NotAllowedError, match=r"a function that you imported or allowed, got .*flowers\.nets:act"
    ):
        px.load(path)  # the class is in a module that is imported now; functions want more


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (lambda x: x, "<lambda>"),
        (object(), "object"),
        ({"deep": [print, Path("a")]}, "PosixPath"),
        (2**5000, "at value"),
    ],
)
def test_what_no_file_can_describe_is_refused_by_its_path(path, value, named):
    model = px.Chain(px.relu)
    model.layers.append(Value(value))
    with pytest.raises(px.StructureError) as caught:
        px.save(model, path)
    message = str(caught.value)
    assert message.startswith(f"px.save({str(path)!r}) expects ")
    assert named.replace("at value", "at layers.1.value") in message
    assert "\n  fix: " in message
    assert os.listdir(path.parent) == []


def test_arrays_alone_say_what_to_do(path):
    weights.save_safetensors(px.Dense(2, 3), path)
    with pytest.raises(weights.CorruptFileError, match=r"got arrays alone\n  fix: .*load_safetensors\(model, path\)"):
        px.load(path)


def test_the_file_fills_a_built_model_and_pytorch_reads_it(path):
    oracle("torch")
    model, other = px.Dense(2, 3, px.relu, key=1), px.Dense(2, 3, key=2)
    px.save(model, path, {"note": "mine"})
    assert weights.load_safetensors(other, path).complete
    assert contents(other) == contents(model)
    assert weights.read_metadata(path)["note"] == "mine"
    theirs = oracle("safetensors.torch").load_file(path)
    assert theirs["weight"].numpy().tolist() == model.weight.tolist()


def test_equal_models_give_equal_bytes(path):
    model = px.Chain(px.relu)
    model.kept = {"b", "a", "c"}
    px.save(model, path)
    code = (
        "import sys, phlox as px; model = px.Chain(px.relu); model.kept = {'c', 'b', 'a'}; px.save(model, sys.argv[1])"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONHASHSEED": "7"}
    again = path.with_name("again")
    subprocess.run([sys.executable, "-c", code, again], check=True, env=environment)
    assert again.read_bytes() == path.read_bytes()


def test_64_bit_arrays_are_not_narrowed(path):
    with jax.enable_x64(True):
        model = Value(jnp.full(2, 0.1, jnp.float64))
        again = returned(model, path)
        assert again.value.dtype == jnp.float64
    with pytest.raises(px.DtypeError, match=r"got float64\[2\] at value\n  fix: .*jax_enable_x64"):
        px.load(path)


class Renamed(px.Module):
    """Its attribute was once called ``old``."""

    def __init__(self):
        self.new = jnp.ones(2)

    def __setstate__(self, state):
        attributes = state["attributes"]
        if "old" in attributes:
            attributes = {"new": attributes["old"]}
        super().__setstate__({**state, "attributes": attributes})


def test_a_class_may_adapt_what_an_older_file_holds(path):
    older = Renamed()
    older.old = older.new * 3
    del older.new
    px.save(older, path)
    assert px.load(path).new.tolist() == [3.0, 3.0]


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Moments:
    second: jax.Array
    first: jax.Array


class Pair(NamedTuple):
    left: px.Module
    right: jax.Array


def test_registered_records_with_arrays_come_back(path):
    model = Value([Moments(jnp.ones(2), jnp.zeros(3)), Pair(px.Dense(2, 3), jnp.ones(1))])
    returned(model, path, allow=[Moments, Pair])


def test_a_part_met_deep_inside_first_has_its_shortest_path(path):
    inner = px.Dense(2, 2)
    model = Value((px.Chain(inner, px.tanh), inner))
    again = returned(model, path)
    assert again.value[0][0] is again.value[1]


def test_the_first_description_still_loads():
    """The file was written once and is kept; its arrays are known in closed form."""
    model = px.load(FIXTURES / "model-1.safetensors")
    assert isinstance(model, px.Chain)
    dense, norm, tied = model["dense"], model["norm"], model["again"]
    assert tied is dense
    assert (dense.act, model["combine"].combine) == (px.relu, operator.add)
    assert dense.weight.tolist() == [[0.0, 0.5], [1.0, 1.5]]
    assert (norm.mean.tolist(), norm.momentum, norm.scale.dtype) == ([3.0, 4.0], 0.25, jnp.bfloat16)
    assert jax.random.key_data(model["combine"].layer.key).tolist() == [7, 9]
    assert list(px.split(model)[0]) == ["layers.dense.weight", "layers.norm.scale", "layers.norm.bias"]
    assert model["combine"].layer.training
    assert model.note == {"of": ("the", 1, slice(0, None, 2)), 2: [None, 0.5, jnp.dtype("float16")]}
    assert model["combine"](dense(jnp.array([[1.0, -1.0]]))).shape == (1, 2)
