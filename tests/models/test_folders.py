"""Folders: what they may hold, and what is refused before anything is built."""

import dataclasses
import json
import os
import pickle
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import phlox as px
from phlox.models import Config, ResNetConfig
from phlox.models._timm import config_of_timm
from phlox.nn import functional as F

TINY = ResNetConfig(embedding_size=8, hidden_sizes=(8, 16), depths=(1, 1), layer_type="basic", classes=3)
DETR = px.models.DetrConfig(
    backbone_config=dataclasses.replace(TINY, classes=0), d_model=8, encoder_layers=1, decoder_layers=1, num_queries=3,
    encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=8, decoder_ffn_dim=8, classes=3,
)  # fmt: skip
DEIT = px.models.DeiTConfig(
    hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=32, classes=3
)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    px.models.save(px.models.create(TINY, key=0), folder)
    return folder


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "folder")


def rewrite(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def reshape(folder, change):
    arrays = load_file(folder / "model.safetensors")
    save_file(change(arrays), folder / "model.safetensors", {"format": "pt"})


def test_there_and_back_keeps_every_number(good):
    model, again = px.models.create(TINY, key=0), px.models.load(good)
    assert again.config == TINY
    for path, array in px.state_dict(model).items():
        assert (np.asarray(array) == np.asarray(px.state_dict(again)[path])).all(), path
    assert "BatchNorm" in repr(again)


def test_a_name_that_only_the_file_or_only_the_model_has(folder):
    reshape(folder, lambda arrays: {("odd" if n == "classifier.1.bias" else n): x for n, x in arrays.items()})
    with pytest.raises(px.StructureError, match=r"missing in the file:\n  classifier\.1\.bias for head\.bias\n"
                       r"unknown to the model:\n  odd"):  # fmt: skip
        px.models.load(folder)


def test_other_shapes_than_the_config_says(folder):
    rewrite(folder, hidden_sizes=[8, 32])
    with pytest.raises(px.StructureError, match=r"layer\.1\.convolution\.weight is \(16, 16, 3, 3\), the config says"):
        px.models.load(folder)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"model_type": "resnet9000"}, px.RangeError, "a model_type among"),
        ({"model_type": ["resnet"]}, px.RangeError, "a model_type among"),
        ({"hidden_sizes": [8, 10**12]}, px.RangeError, "hidden_sizes from 0 to"),
        ({"embedding_size": -5}, px.RangeError, "embedding_size from 0 to"),
        ({"embedding_size": -1}, px.RangeError, "embedding_size from 0 to"),
        ({"embedding_size": 10**400}, px.RangeError, "embedding_size from 0 to"),
        ({"depths": [10**6, 1]}, px.RangeError, "depths from 0 to"),
        ({"depths": [1] * 5000}, px.RangeError, "at most 4096 blocks"),
        ({"depths": "1,1"}, px.OptionError, "depths as"),
        ({"depths": [1, "1"]}, px.OptionError, "depths as"),
        ({"embedding_size": 8.5}, px.OptionError, "embedding_size as int"),
        ({"downsample_in_first_stage": 1}, px.OptionError, "as bool"),
        ({"hidden_act": "__import__('os').system('true')"}, px.RangeError, "an activation among relu"),
        ({"layer_type": "odd"}, px.RangeError, '"basic" or "bottleneck"'),
        ({"id2label": {"zero": "cat"}}, px.OptionError, "id2label by number"),
    ],
)  # fmt: skip
def test_configs_that_are_wrong(folder, changes, error, text):
    rewrite(folder, **changes)
    with pytest.raises(error, match=text):
        px.models.load(folder)


@pytest.mark.parametrize(
    ("config", "entries", "text"),
    [
        (px.models.ViTConfig, {"layer_norm_eps": float("nan")}, "layer_norm_eps as a finite number, got nan"),
        (px.models.ViTConfig, {"layer_norm_eps": 10**400}, "layer_norm_eps as a finite number, got inf"),
        (px.models.DetrConfig, {"giou_cost": float("inf")}, "giou_cost as a finite number, got inf"),
        (px.models.FTTransformerConfig, {"n_blocks": 5000, "n_cont_features": 1}, "n_blocks from 0 to 4096"),
        (px.models.EfficientNetConfig, {"num_block_repeats": [1] * 6 + [5000]}, "num_block_repeats from 0 to 4096"),
        (px.models.SwinConfig, {"depths": [2000] * 4}, "at most 4096 blocks in depths, got 8000"),
        (px.models.DetrConfig, {"encoder_layers": 5000}, "encoder_layers from 0 to 4096"),
    ],
)
def test_numbers_beyond_reason(config, entries, text):
    with pytest.raises(px.RangeError) as caught:
        config.from_dict(entries)
    assert text in str(caught.value)


def test_stages_and_sizes_that_do_not_go_up(folder):
    rewrite(folder, depths=[1, 1, 1])
    with pytest.raises(px.RangeError, match="as many depths as hidden_sizes"):
        px.models.load(folder)


@pytest.mark.parametrize("text", ["", "[1]", '{"model_type": ', "\x00\xff", "[" * 100_000])
def test_a_config_that_is_none(folder, text):
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(px.OptionError, match="JSON"):
        px.models.load(folder)


def test_what_is_not_known_is_said(folder):
    rewrite(folder, stochastic_stem=0.5)
    with pytest.warns(UserWarning, match="stochastic_stem"):
        px.models.load(folder)


def test_no_config_no_folder_no_weights(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    with pytest.raises(px.weights.FileError):
        px.models.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(px.weights.MissingFileError, match=r"config\.json"):
        px.models.load(folder)
    with pytest.raises(px.weights.MissingFileError, match="no such folder"):
        px.models.load(tmp_path / "nowhere")
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(px.weights.MissingFileError, match="a file"):
        px.models.load(file)


def test_a_pickle_under_another_name_is_never_run(folder):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(folder / "boom"),)

    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(px.weights.FileError):
        px.models.load(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises((px.weights.FileError, px.MissingExtraError)):
        px.models.load(folder)
    assert not (folder / "boom").exists()


def test_another_head(good):
    model = px.models.load(good, classes=7, key=1)
    assert model.head.weight.shape == (16, 7)
    assert model.config.classes == 7
    assert (np.asarray(model.stem.conv.weight) == np.asarray(px.models.load(good).stem.conv.weight)).all()
    same, other = px.models.load(good, classes=7, key=1), px.models.load(good, classes=7, key=2)
    assert (model.head.weight == same.head.weight).all()
    assert (model.head.weight != other.head.weight).any()
    assert px.models.load(good, classes=0).head is None


def test_a_trunk_alone_has_no_head_until_one_is_asked_for(folder):
    reshape(folder, lambda arrays: {n.removeprefix("resnet."): x for n, x in arrays.items() if "classifier" not in n})
    assert px.models.load(folder).head is None
    model = px.models.load(folder, classes=4, key=0)
    assert model.head.weight.shape == (16, 4)
    assert px.models.load(folder, classes=3, key=0).head.weight.shape == (16, 3)


@pytest.mark.parametrize(
    ("config", "base", "rest"),
    [(DETR, "model.", {"head.boxes.0.weight", "head.boxes.2.bias"}), (TINY, "resnet.", set()), (DEIT, "deit.", set())],
    ids=["detr", "resnet", "deit"],
)
def test_heads_of_more_than_classes(tmp_path, config, base, rest):
    """For no classes all of it goes; for others only what depends on them; over a trunk all of it is drawn."""
    model = px.models.create(config, key=0)
    px.models.save(model, tmp_path)
    trunk = {path for path in px.state_dict(model) if not path.startswith("head")}
    bare, other = px.models.load(tmp_path, classes=0), px.models.load(tmp_path, classes=5, key=0)
    assert bare.head is None
    assert set(px.state_dict(bare)) == trunk
    for path in {path for path in {*trunk, *rest} if not path.endswith(".key")}:
        assert (px.state_dict(other)[path] == px.state_dict(model)[path]).all(), path
    heads = lambda arrays: {n for n in arrays if not n.startswith(base)}  # noqa: E731
    reshape(tmp_path, lambda a: {n.removeprefix(base): x for n, x in a.items() if n not in heads(a)})
    assert set(px.state_dict(px.models.load(tmp_path))) == trunk
    fresh = px.models.load(tmp_path, classes=5, key=0)
    assert set(px.state_dict(fresh)) == set(px.state_dict(model))
    assert all(x.any() for path, x in px.state_dict(fresh).items() if path.startswith("head") and "weight" in path)
    assert fresh.config.classes == other.config.classes == 5


def test_dtypes(folder):
    model = px.models.load(folder, dtype="bfloat16")
    assert str(model.head.weight.dtype) == "bfloat16"
    assert str(model.stem.norm.mean.dtype) == "float32"
    reshape(folder, lambda arrays: {n: x.astype(np.float16) if x.ndim else x for n, x in arrays.items()})
    assert str(px.models.load(folder).head.weight.dtype) == "float16"
    assert str(px.models.load(folder, dtype=np.float32).head.weight.dtype) == "float32"


def test_a_dtype_that_no_model_has(good):
    for dtype in ("int8", 5, ["float32"], np.int32):
        with pytest.raises(px.RangeError, match="a dtype among float32"):
            px.models.load(good, dtype=dtype)


def test_timm_s_form(tmp_path):
    model = px.eval_shape(lambda: px.models.create("resnet18", classes=2, key=0))
    px.load_state_dict(model, {p: np.full(x.shape, i, "f") for i, (p, x) in enumerate(px.state_dict(model).items())})
    px.models.save(model, tmp_path, names="timm")
    entries = json.loads((tmp_path / "config.json").read_text())
    assert entries == {"architecture": "resnet18", "num_classes": 2, "num_features": 512}
    assert "layer3.1.bn2.running_var" in load_file(tmp_path / "model.safetensors")
    rewrite(tmp_path, architecture="resnet18.a1_in1k", pretrained_cfg={"tag": "a1_in1k"})
    again = px.models.load(tmp_path)
    assert again.config == model.config
    assert (again.stages[2][1].layers[1].norm.scale == model.stages[2][1].layers[1].norm.scale).all()


@pytest.mark.parametrize(
    ("entries", "error", "text"),
    [
        ({"model_args": {"output_stride": 8}}, px.RangeError, "dropout and global_pool='avg', got output_stride=8"),
        ({"model_args": {"global_pool": "max"}}, px.RangeError, "got global_pool='max'"),
        ({"model_args": {"img_size": [64, 64]}}, px.RangeError, "got img_size=[64, 64]"),
        ({"model_args": [8]}, px.OptionError, "model_args as an object"),
        ({"model_args": {"in_chans": "3"}}, px.OptionError, "num_channels as int, got '3'"),
        ({"num_classes": "7"}, px.OptionError, "num_labels as int, got '7'"),
        ({"num_classes": 1 << 40}, px.RangeError, "num_labels from 0 to"),
        ({"architecture": "vit_small_patch14_reg4_dinov2"}, px.RangeError, "are known by timm's names, got 'vit_small"),
    ],
)
def test_what_timm_built_otherwise_is_refused(entries, error, text):
    with pytest.raises(error) as caught:
        config_of_timm({"architecture": "resnet18", **entries}, "px.models.load")
    assert text in str(caught.value)


def test_what_timm_built_otherwise_and_phlox_too():
    arguments = {"in_chans": 1, "img_size": [64, 96], "global_pool": "token", "num_classes": 5, "attn_drop_rate": 0.1}
    tagged = {"architecture": "vit_tiny_patch16_224.augreg", "num_classes": 5}
    found = config_of_timm({**tagged, "model_args": arguments}, "")
    plain = config_of_timm({"architecture": "vit_tiny_patch16_224", "model_args": {"img_size": [224, 224]}}, "")
    assert (found.num_channels, found.image_size, found.classes) == (1, (64, 96), 5)
    assert plain == dataclasses.replace(found, num_channels=3, image_size=224, classes=1000)


def test_what_a_folder_cannot_say_is_refused_when_it_is_written(tmp_path):
    model = px.models.create(TINY, key=0)
    model.head = px.Dense(16, 5)
    with pytest.raises(px.StructureError, match=r"head\.weight: \(16, 5\), by the config \(16, 3\)"):
        px.models.save(model, tmp_path)
    model.head = px.Chain(px.Dense(16, 4), px.Dense(4, 3))
    with pytest.raises(px.StructureError):
        px.models.save(model, tmp_path)
    with pytest.raises(px.StructureError, match=r"a model of px\.models"):
        px.models.save(px.Dense(2, 2), tmp_path)
    with pytest.raises(px.StructureError, match="'transformers', 'timm'"):
        px.models.save(px.models.create(TINY), tmp_path, names="keras")
    with pytest.raises(px.StructureError, match="a config that timm has a name for"):
        px.models.save(px.models.create(TINY), tmp_path, names="timm")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: setattr(m, "shrink", F.identity), r"shrink: identity, by the config MaxPool"),
        (lambda m: setattr(m, "head", px.Dense(16, 3, F.sigmoid)), r"head\.act: sigmoid, by the config identity"),
        (lambda m: setattr(m.stem.norm, "eps", 0.1), r"stem\.norm\.eps: 0\.1, by the config 1e-05"),
        (lambda m: m.stages.append([]), r"stages: "),
    ],
    ids=["a layer without arrays", "an activation", "a number", "an empty stage"],
)
def test_another_function_of_the_same_arrays_is_refused(tmp_path, change, text):
    model = px.models.create(TINY, key=0)
    change(model)
    with pytest.raises(px.StructureError, match=text):
        px.models.save(model, tmp_path)
    assert not os.listdir(tmp_path)


def test_what_changes_no_function_is_written(good, tmp_path):
    model = px.testmode(px.bf16(px.models.load(good)))
    px.freeze(model, "stem")
    px.models.save(model, tmp_path)
    assert (px.models.load(tmp_path).head.weight == model.head.weight).all()


def test_configs_there_and_back():
    labelled = TINY.with_classes(2, ("cat", "dog"))
    assert ResNetConfig.from_dict(json.loads(json.dumps(labelled.to_dict()))) == labelled
    assert labelled.to_dict()["label2id"] == {"cat": 0, "dog": 1}
    assert ResNetConfig.from_dict({"num_labels": 12}).classes == 12
    assert labelled.with_classes(2) == labelled
    assert labelled.with_classes(3).labels == ()
    headless = labelled.with_classes(0)
    assert ResNetConfig.from_dict(headless.to_dict()) == headless
    with pytest.raises(px.RangeError, match=r"a model that there is, got \['resnet50'\]"):
        px.models.create(["resnet50"])
    with pytest.raises(px.RangeError, match="did you mean resnet50"):
        px.models.create("resnet5O")
    with pytest.raises(px.RangeError, match="did you mean swin_tiny_patch4_window7_224 or swin_small"):
        px.models.create("swin")
    with pytest.raises(px.RangeError, match="the config of a family"):
        px.models.create(Config())


def test_depth():
    model = px.models.create(TINY, key=0)
    grads = lambda: set(px.paths(px.eval_shape(px.grad(lambda m: m(np.ones((1, 32, 32, 3), "f")).sum()), model)))  # noqa: E731
    px.models.freeze_depth(model, 2)
    assert {path.partition(".")[0] + path.partition(".")[2][:1] for path in grads()} == {"stages1", "headw", "headb"}
    px.models.freeze_depth(model, 0)
    assert len(grads()) == len(px.split(model)[0])
    with pytest.raises(px.RangeError, match=r"stem, stages\.0, stages\.1, head"):
        px.models.freeze_depth(model, 5)
    before = px.state_dict(px.copy(model))
    opt = px.Optimizer(px.models.layer_decay(model, px.optim.Descent, 1.0, decay=0.5), model)
    opt.update(model, {path: np.ones(array.shape, "f") for path, array in px.split(model)[0].items()})
    moved = {path: float((before[path] - array).max()) for path, array in px.split(model)[0].items()}
    rates = {"head": 1.0, "stages.1": 0.5, "stages.0": 0.25, "stem": 0.125}
    for path, step in moved.items():
        assert abs(step - next(rate for part, rate in rates.items() if path.startswith(part))) < 1e-6, path
    assert px.models.unfreezing(model, every=2).schedule == {
        0: ("head",), 2: ("stages.1",), 4: ("stages.0",), 6: ("stem",),
    }  # fmt: skip
    with pytest.raises(px.RangeError, match="at least one epoch"):
        px.models.unfreezing(model, every=0)
    with pytest.raises(px.RangeError, match=r"\(0, 1\]"):
        px.models.layer_decay(model, px.optim.Descent, 1.0, decay=0.0)


def rates_of(model, decay=0.5):
    """At which rate each trained array learns."""
    px.Optimizer(rule := px.models.layer_decay(model, px.optim.Descent, 1.0, decay), model)
    return {choice: part.learning_rate for choice, part in rule.rows}


def test_depth_counts_parts_that_are_frozen_or_empty():
    """A frozen part has no rate, and does not change that of another; a head that is missing is a step too."""
    model = px.eval_shape(lambda: px.models.create(TINY))
    px.models.freeze_depth(model, 1)
    assert rates_of(model) == {"head": 1.0, "stages.1": 0.5, "stages.0": 0.25}
    model.head = None
    px.models.freeze_depth(model, 0)
    assert rates_of(model) == {"stages.1": 0.5, "stages.0": 0.25, "stem": 0.125}
    px.models.freeze_depth(model, -1)
    assert not px.split(model)[0]
    with pytest.raises(px.StructureError, match="a part that learns"):
        px.models.layer_decay(model, px.optim.Descent, 1.0)
    px.models.freeze_depth(model, -2)
    assert {path[:8] for path in px.split(model)[0]} == {"stages.1"}
    assert px.models.unfreezing(model).schedule == {0: ("stages.1",), 1: ("stages.0",), 2: ("stem",)}


def test_a_detr_whose_stem_never_learns_has_rates():
    found = rates_of(px.eval_shape(lambda: px.models.create(DETR)))
    assert found == {"head": 1.0, "decoder": 0.5, "encoder.0": 0.25, "project": 0.125, "backbone.stages.1": 0.0625}


def test_depths_and_rates_that_are_no_numbers():
    model = px.eval_shape(lambda: px.models.create(TINY))
    with pytest.raises(px.OptionError, match="depth as a whole number"):
        px.models.freeze_depth(model, 1.5)
    with pytest.raises(px.OptionError, match="every as a whole number"):
        px.models.unfreezing(model, every=True)
    with pytest.raises(px.OptionError, match="learning_rate as a number"):
        px.models.layer_decay(model, px.optim.Descent, lambda count: 1.0)
    with pytest.raises(px.OptionError, match="decay as a number"):
        px.models.layer_decay(model, px.optim.Descent, 1.0, "0.5")


def test_in_one_file_of_phlox(tmp_path):
    model = px.models.create(TINY, key=0)
    px.save(model, tmp_path / "model.phlox")
    again = px.load(tmp_path / "model.phlox")
    assert again.config == TINY
    assert (again.head.weight == model.head.weight).all()
