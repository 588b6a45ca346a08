"""Tensor parallelism: what is cut in every family of models, what is refused, and rules of a user's own."""

import dataclasses
import functools
import math
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import ClassVar

import jax.numpy as jnp
import pytest

import phlox as px
from phlox.models._catalogue import FAMILIES, family_of_type
from phlox.parallel import Placement, fsdp, tensor_parallel, tensor_rules
from phlox.parallel._strategy import Place

LARGE = 1 << 14
WHOLE = {  # large, and not cut: what it is
    "*embed.positions*": "places of a text: few beside its words",
    "*positions": "places of an image's patches: few",
    "*decoder.positions.weight": "places of a text",
    "*depthwise*": "a convolution of each channel by itself, in front of a norm over them all",
    "*decoder.queries": "what asks for objects",
    "encoder.places.weight": "waves, no weights",
    "*.router.weight": "what sends tokens to experts",
}
OTHERS = {  # numbers of heads that two devices share, where the first of a family has others
    "vit": {"num_attention_heads": 4},
    "deit": {"num_attention_heads": 4},
    "gemma3_text": {"num_key_value_heads": 2},
    "ft_transformer": {"n_cont_features": 3, "attention_n_heads": 8},
}
DEPTHS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "n_blocks", "n_layer", "n_layers", "num_layers")


def shallow(config):
    """The same with one block, or one in each stage."""
    one: dict = {name: 1 for name in DEPTHS if isinstance(getattr(config, name, None), int)}
    for name in ("depths", "num_block_repeats"):
        one |= {name: (1,) * len(getattr(config, name))} if hasattr(config, name) else {}
    towers = {name: shallow(getattr(config, name)) for name in ("text_config", "vision_config", "backbone_config")
              if dataclasses.is_dataclass(getattr(config, name, None))}  # fmt: skip
    return dataclasses.replace(config, **one, **towers)


@functools.cache
def made(kind):
    """A model of a family by its shapes alone, as wide as its first variant is."""
    family, others = family_of_type(kind, "tests"), OTHERS.get(kind, {})
    found = next(iter(family.variants.values()), None)
    config = shallow(family.config(**others) if found is None else dataclasses.replace(found, **others))
    return px.eval_shape(lambda: family.model(config))


def cuts(model, parts=2, **options):
    """How a model is cut, on a mesh of as many devices as there are in name only."""
    strategy = tensor_parallel(parts, **options)
    strategy.check(model, {"tensor": parts})
    fake = Placement(strategy, SimpleNamespace(shape={"tensor": parts}))
    return {path: tuple(cut) for path, cut in fake.cuts(model).items()}


@pytest.mark.parametrize("kind", [family.config.model_type for family in FAMILIES])
def test_large_matrices_of_every_family_are_cut(kind):
    model = made(kind)
    found = cuts(model)
    large = {path: v.shape for path, v in px.paths(model).items() if v.ndim > 1 and math.prod(v.shape) >= LARGE}
    whole = {path: shape for path, shape in large.items() if not any(found[path])}
    odd = {path for path, shape in whole.items() if "embed" in path and shape[0] % 2}  # numbers of words
    assert not [path for path in whole.keys() - odd if not any(fnmatchcase(path, pattern) for pattern in WHOLE)]


def language(**options):
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    config = px.models.LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, **options)
    return px.eval_shape(lambda: px.models.create(config))


def test_pairs_are_cut_by_outputs_then_by_inputs():
    found = cuts(language())
    column, row = (None, "tensor"), ("tensor", None)
    block = {path.removeprefix("blocks.0."): cut for path, cut in found.items() if path.startswith("blocks.0.")}
    assert block == {
        "attention.q_proj.weight": column, "attention.k_proj.weight": column, "attention.v_proj.weight": column,
        "attention.out_proj.weight": row, "mlp.gate.weight": column, "mlp.up.weight": column, "mlp.down.weight": row,
        "norm1.scale": (), "norm2.scale": (),
    }  # fmt: skip
    assert found["embed.weight"] == row
    assert found["head.weight"] == column


def test_keys_and_values_of_fewer_heads_than_devices_stay_whole():
    found = cuts(language(), parts=4)
    assert found["blocks.0.attention.q_proj.weight"] == (None, "tensor")
    assert found["blocks.0.attention.k_proj.weight"] == ()
    assert found["blocks.0.attention.out_proj.weight"] == ("tensor", None)


def test_maps_in_a_row_take_turns_and_stacked_axes_stay_in_front():
    row = lambda: px.Chain(px.Dense(4, 8, px.relu), px.Dropout(0.1), px.Dense(8, 8), px.Dense(8, 6))  # noqa: E731
    found = cuts(px.eval_shape(row))
    assert [found[f"layers.{i}.weight"] for i in (0, 2, 3)] == [(None, "tensor"), ("tensor", None), (None, "tensor")]
    assert [found[f"layers.{i}.bias"] for i in (0, 2, 3)] == [("tensor",), (), ("tensor",)]
    stacked = px.eval_shape(lambda: px.nn.RepeatedLayer(lambda: px.nn.GatedMLP(4, 8), 3))
    assert cuts(stacked)["block.down.weight"] == (None, "tensor", None)


def test_convolutions_of_a_residual_block_take_turns_each_channel_by_itself_goes_along():
    found = cuts(made("mobilenet_v3"))
    stem = next(path for path in found if "expand.conv" in path).partition("expand")[0]
    assert found[f"{stem}expand.conv.weight"] == (None, None, None, "tensor")
    assert found[f"{stem}depthwise.conv.weight"] == (None, None, None, "tensor")
    assert found[f"{stem}project.conv.weight"] == (None, None, "tensor", None)


def test_words_are_cut_where_devices_share_them():
    assert cuts(px.eval_shape(lambda: px.Embedding(34, 8)))["weight"] == ("tensor", None)
    assert cuts(px.eval_shape(lambda: px.Embedding(33, 8)))["weight"] == ()


class Own(px.Module):
    tensor_rules: ClassVar = {"up": "column", "down": "row", "table": ("tensor", None)}

    def __init__(self):
        self.up, self.down, self.beside = px.Dense(4, 8), px.Dense(8, 4), px.Dense(4, 4)
        self.table = jnp.ones((6, 4))


def test_a_class_says_how_its_own_parts_are_cut_and_a_pattern_beats_it():
    found = cuts(px.eval_shape(Own))
    assert found["down.weight"] == found["table"] == ("tensor", None)
    assert found["beside.weight"] == (None, "tensor")
    rules = {"down.*": "column", "table": (None, "tensor"), "*": None}
    found = cuts(px.eval_shape(Own), rules=rules)
    assert found["down.weight"] == found["table"] == (None, "tensor")
    assert found["up.weight"] == found["beside.weight"] == ()
    assert "Own" in str(tensor_rules())


class Around(px.Module):
    tensor_rules: ClassVar = {"inner": "row"}

    def __init__(self):
        self.inner = Own()


def test_the_innermost_layer_has_the_last_word():
    found = cuts(px.eval_shape(Around))
    assert found["inner.up.weight"] == (None, "tensor")
    assert found["inner.beside.weight"] == ("tensor", None)


def test_what_another_strategy_cut_stays_as_it_is():
    model = px.eval_shape(lambda: px.nn.MixtureOfExperts(4, 4, lambda: px.nn.GatedMLP(4, 8)))
    place = Place(
        "up.weight", (4, 4, 8), None, ((model, "experts"), (model.experts, "up"), (model.experts.up, "weight"))
    )
    strategy = tensor_parallel(2, rules={"up.*": ("tensor", None, "tensor")})
    assert strategy.cut(place, ("expert", None, None), {"tensor": 2}) == ("expert", None, "tensor")


def test_with_fsdp_an_array_is_cut_twice():
    strategy = fsdp(2, whole=8) * tensor_parallel(2)
    fake = Placement(strategy, SimpleNamespace(shape={"fsdp": 2, "tensor": 2}))
    found = fake.cuts(px.eval_shape(lambda: px.nn.GatedMLP(4, 8)))
    assert tuple(found["gate.weight"]) == ("fsdp", "tensor")
    assert tuple(found["down.weight"]) == ("tensor", "fsdp")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: tensor_parallel(0), "tensor_parallel expects a number of devices, or -1 for all that are left, got 0"),
        (lambda: px.models.create("resnet18", parallel="tensor"), "parallel= expects a strategy of px.parallel, got"),
        (lambda: tensor_parallel(2, rules={"*": "columns"}), "expects how something is cut, got 'columns'"),
        (lambda: tensor_parallel(2, rules={"*": (None, "model")}), "expects how something is cut, got (None, 'model')"),
        (lambda: cuts(language(), rules={"*.fc1.*": "row"}), "expects a pattern of paths, got one that no array has"),
        (
            lambda: cuts(px.Dense(4, 3), rules={"weight": (None, "tensor")}),
            "expects axes that 2 devices share evenly, got weight (4, 3)",
        ),
        (lambda: cuts(language(), parts=3), "tensor_parallel(3) expects heads that 3 devices share evenly, got 4 at"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_so_is_refused(make, text):
    with pytest.raises(px.RangeError) as error:
        make()
    assert text in str(error.value)


def test_attention_is_left_whole_where_that_is_asked_for():
    found = cuts(language(), parts=8, rules={"*.attention.*": None})
    assert not any(found["blocks.0.attention.q_proj.weight"])
    assert any(found["blocks.0.mlp.up.weight"])


def test_another_name_of_the_axis_is_what_arrays_are_cut_along():
    strategy = tensor_parallel(2, axis="model", rules={"layers.1.weight": ("model", None)})
    fake = Placement(strategy, SimpleNamespace(shape={"model": 2}))
    found = fake.cuts(px.eval_shape(lambda: px.Chain(px.Dense(4, 8), px.Dense(8, 4))))
    assert tuple(found["layers.0.weight"]) == (None, "model")
    assert tuple(found["layers.1.weight"]) == ("model", None)
