"""Images resized against Pillow, and preprocessors against transformers' processors and torchvision's arithmetic."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from PIL import Image
from sklearn.datasets import load_sample_images

import phlox as px
from kit import assert_close, oracle
from phlox.models.preprocessing._types import TYPES

RNG = np.random.default_rng(0)
CHINA, FLOWER = load_sample_images().images  # (427, 640, 3)
PICTURES = {  # the temple's roof, the dahlia; one upright, with odd edges
    "china": np.ascontiguousarray(CHINA[100:250, 200:420]),
    "flower": np.ascontiguousarray(FLOWER[60:260, 220:470]),
    "upright": np.ascontiguousarray(CHINA[:181, 500:589]),
}
SMALL = CHINA[200:264, 300:371]
METHODS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
ImagePreprocessor = px.models.ImagePreprocessor


def by_pillow(image, size, method):
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling[method.upper()]))


# --- resize -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_resize_is_pillows_to_the_last_bit(method):
    for size in ((30, 40), (17, 71), (64, 33), (100, 150), (1, 1)):
        want = by_pillow(SMALL, size, method)
        np.testing.assert_array_equal(np.asarray(px.models.resize(SMALL, size, method)), want, err_msg=f"{size}")


@pytest.mark.parametrize("method", METHODS)
def test_random_sizes_of_hard_edges_are_pillows(method):
    """Black and white pixels overshoot, so that what is clipped, and which axis is first, shows."""
    from phlox.models.preprocessing._resize import resized

    for _ in range(60):
        height, width, *size = (int(n) for n in RNG.integers(1, 60, 4))
        image = RNG.integers(0, 2, (height, width, 3), dtype=np.uint8) * 255
        got = resized(image, tuple(size), method, True)
        np.testing.assert_array_equal(got, by_pillow(image, tuple(size), method), err_msg=f"{image.shape} to {size}")


def test_tall_images_shrink_in_height_first():
    image = RNG.integers(0, 2, (64, 20, 3), dtype=np.uint8) * 255
    np.testing.assert_array_equal(np.asarray(px.models.resize(image, (9, 15))), by_pillow(image, (9, 15), "bilinear"))


def test_compiled_batched_and_eager_are_one():
    batch = np.stack([SMALL, SMALL[::-1], SMALL[:, ::-1]])
    want = np.stack([by_pillow(image, (20, 30), "bicubic") for image in batch])
    got = jax.jit(lambda x: px.models.resize(x, (20, 30), "bicubic"))(batch)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(got), want)
    np.testing.assert_array_equal(np.asarray(px.models.resize(batch, (20, 30), "bicubic")), want)


def test_a_batch_of_none_is_resized_to_none():
    none = np.zeros((0, 8, 9, 3), np.uint8)
    for images in (none, jnp.asarray(none)):
        y = px.models.resize(images, (4, 5))
        assert (y.shape, y.dtype) == ((0, 4, 5, 3), np.uint8)
    assert ImagePreprocessor(size=(4, 5))(none).shape == (0, 4, 5, 3)


def test_floats_are_not_rounded():
    """Pillow's mode F, one channel at a time."""
    x = (RNG.random((23, 40, 2)) * 2 - 1).astype(np.float32)
    for method in ("bilinear", "bicubic", "lanczos", "hamming"):
        planes = [Image.fromarray(x[..., c]).resize((55, 11), Image.Resampling[method.upper()]) for c in (0, 1)]
        assert_close(px.models.resize(x, (11, 55), method), np.stack(planes, -1), what=method)


def test_antialias_is_torchs():
    torch = oracle("torch")
    x = RNG.random((2, 16, 21, 3)).astype(np.float32)
    planes = torch.from_numpy(x).permute(0, 3, 1, 2)
    for method, antialias in (("bilinear", True), ("bicubic", True), ("bilinear", False)):
        want = torch.nn.functional.interpolate(planes, (7, 30), mode=method, antialias=antialias, align_corners=False)
        got = px.models.resize(x, (7, 30), method, antialias=antialias)
        assert_close(got, want.permute(0, 2, 3, 1).numpy(), what=f"{method} {antialias}")


def test_float_dtypes_stay():
    x = RNG.random((8, 8, 1))
    torch = oracle("torch")
    planes = torch.from_numpy(x).permute(2, 0, 1)[None]
    want = torch.nn.functional.interpolate(planes, (3, 5), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    with jax.enable_x64(True):
        assert_close(px.models.resize(x, (3, 5)), want)
    half = px.models.resize(x.astype(jnp.bfloat16), (3, 5))
    assert half.dtype == jnp.bfloat16
    assert_close(half, want.astype(np.float32))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((SMALL, 224), px.OptionError, "resize expects size=(height, width), got 224\n  fix: give both, in this order"),
        ((SMALL, (0, 5)), px.RangeError, "resize expects sizes from 1 to 32768, got (0, 5)"),
        ((SMALL, (10**9, 5)), px.RangeError, "resize expects sizes from 1 to 32768, got (1000000000, 5)"),
        ((SMALL, (5, 5), "cubic"), px.RangeError, "resize expects method among nearest, box, bilinear, hamming, bic"),
        ((SMALL[..., 0, 0], (5, 5)), px.ShapeError, "(..., height, width, channels) with pixels, got uint8[64]"),
        ((SMALL.astype(np.int32), (5, 5)), px.DtypeError, "images of uint8 or floats, got int32[64, 71, 3]"),
        ((np.zeros((1, 30000, 1), np.uint8), (1, 2)), px.RangeError, "one step, got 30000 pixels to 2"),
    ],
)
def test_resize_refuses(arguments, error, text):
    with pytest.raises(error) as caught:
        px.models.resize(*arguments)
    assert text in str(caught.value)


# --- processors of transformers ---------------------------------------------------------------------

OTHERS = {"resample": 1, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.8, 0.7], "rescale_factor": 1 / 127.5}
# Smaller than by default where that takes long: test_a_config_comes_back compares the defaults themselves.
SIZES = {"Segformer": 192, "Blip": 160, "EfficientNet": 150, "MobileViT": {"shortest_edge": 140}}
SIZES |= {key: {"shortest_edge": 170, "longest_edge": 250} for key in ("Detr", "ConditionalDetr", "DeformableDetr")}


def small(name):
    size = SIZES.get(name.removesuffix("ImageProcessor"))
    return {"image_processor_type": name} | ({"size": size} if size else {})


CONFIGS = [
    *map(small, TYPES),
    *[{**small(name), **OTHERS} for name in ("ViTImageProcessor", "EfficientNetImageProcessor")],
    *[
        {"image_processor_type": f"{name}ImageProcessor", **entries}
        for name, entries in [
            ("Bit", {"size": {"shortest_edge": 256}, "resample": 3}),
            ("Bit", {"do_resize": False, "crop_size": {"height": 100, "width": 231}}),
            ("Bit", {"size": {"shortest_edge": 200, "longest_edge": 250}, "do_center_crop": False}),
            ("Bit", {"do_normalize": False}),
            ("Bit", {"do_rescale": False, "do_normalize": False, "resample": 0}),
            ("Bit", {"do_pad": True, "pad_size": {"height": 230, "width": 310}}),
            ("CLIP", {"size": 112, "crop_size": 112}),
            ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.95}),
            ("ConvNext", {"size": 224}),
            ("Detr", {"size": 150}),
            ("Detr", {"size": 100, "max_size": 120}),
            ("Detr", {"size": {"height": 200, "width": 301}, "do_pad": False}),
            ("EfficientNet", {"rescale_offset": True, "rescale_factor": 1 / 127.5, "include_top": False}),
            ("EfficientNet", {"do_normalize": False, "do_center_crop": True}),
            ("Levit", {"size": {"height": 100, "width": 120}, "do_center_crop": False}),
            ("MobileViT", {"do_flip_channel_order": False, "size": 150, "crop_size": 99}),
            ("Segformer", {"size": 128, "do_reduce_labels": True}),
            ("Siglip", {"size": 200}),
            ("ViT", {"size": [100, 120]}),
            ("ViT", {"default_to_square": False, "size": 90}),
        ]
    ],
]


def processor(config):
    """The processor of transformers in its Pillow form."""
    transformers = oracle("transformers")
    entries = {name: value for name, value in config.items() if name != "image_processor_type"}
    return getattr(transformers, config["image_processor_type"] + "Pil")(**entries)


def label(config):
    name, *entries = config.items()
    return " ".join([name[1].removesuffix("ImageProcessor"), *(f"{k}={v}" for k, v in entries)])


@pytest.mark.parametrize("config", CONFIGS, ids=label)
def test_a_processor_is_transformers(config):
    """Not one of 255 levels differs in any pixel; the normalised values differ by roundings of float32."""
    theirs, ours = processor(config), ImagePreprocessor.from_config(config)
    level = (ours.rescale or 1.0) / max(ours.std or (1.0,)) ** (2 if ours.std_twice else 1)
    for name, picture in PICTURES.items():
        answer = theirs(images=picture, return_tensors="np", input_data_format="channels_last")
        y, mask = ours.with_mask(picture)
        want = answer["pixel_values"].transpose(0, 2, 3, 1)
        assert y.dtype == np.float32, name
        assert int((np.abs(np.asarray(y) - want) > level / 100).sum()) == 0, name
        assert_close(y, want, what=name)
        np.testing.assert_array_equal(np.asarray(mask), answer.get("pixel_mask", np.asarray(mask)))


@pytest.mark.parametrize(
    "config", [*({"image_processor_type": name} for name in TYPES), *CONFIGS[len(TYPES) :]], ids=label
)
def test_a_config_comes_back(config):
    """As the same object here and in transformers, from the short form and from all that transformers writes."""
    ours = ImagePreprocessor.from_config(config)
    written = ours.to_config()
    assert ImagePreprocessor.from_config(written) == ours
    assert ImagePreprocessor.from_config(json.loads(processor(config).to_json_string())) == ours
    assert ImagePreprocessor.from_config(json.loads(processor(written).to_json_string())) == ours


def test_pictures_of_different_sizes_are_padded_to_the_largest():
    config = {"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 90, "longest_edge": 130}}
    pictures = list(PICTURES.values())
    answer = processor(config)(images=pictures, return_tensors="np", input_data_format="channels_last")
    y, mask = ImagePreprocessor.from_config(config).with_mask(pictures)
    assert_close(y, answer["pixel_values"].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(np.asarray(mask), answer["pixel_mask"])
    assert 0 < mask.sum() < mask.size


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "CMYK"])
def test_pillows_images_become_rgb_as_there(mode):
    config = {"image_processor_type": "CLIPImageProcessor", "size": 32, "crop_size": 32}
    image = Image.fromarray(SMALL).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(FLOWER[:64, :71, 0]))
    want = processor(config)(images=image, return_tensors="np")["pixel_values"].transpose(0, 2, 3, 1)
    assert_close(ImagePreprocessor.from_config(config)(image), want)


@pytest.mark.parametrize("channels", [1, 4])
def test_arrays_become_rgb_as_there(channels):
    config = {"image_processor_type": "CLIPImageProcessor", "size": 32, "crop_size": 32}
    x = np.concatenate([SMALL, FLOWER[:64, :71, :1]], -1)[..., -channels:]
    want = processor(config)(images=x, return_tensors="np", input_data_format="channels_last")["pixel_values"]
    assert_close(ImagePreprocessor.from_config(config)(x), want.transpose(0, 2, 3, 1))


def test_older_names_and_other_backends_are_the_same_type():
    want = ImagePreprocessor.from_config({"image_processor_type": "DeiTImageProcessor"})
    for config in (
        {"image_processor_type": "DeiTImageProcessor", "size": {"height": 256, "width": 256}},
        {"feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "crop_size": 224, "resample": 3},
        {"image_processor_type": "DeiTImageProcessorFast", "device": None, "crop_size": None, "unheard_of": None},
    ):
        assert ImagePreprocessor.from_config(config) == want
    assert want.size == (256, 256)
    assert want.crop == (224, 224)
    assert want.output_size(427, 640) == (224, 224)


PUBLISHED = {  # as the folders of OpenAI's and Google's models have them
    "CLIP": {
        "crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3, "size": 224,
        "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    },
    "SigLIP": {
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        "image_processor_type": "SiglipImageProcessor", "processor_class": "SiglipProcessor", "resample": 3,
        "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224},
    },
    "SigLIP 2": {
        "do_convert_rgb": None, "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3,
        "image_processor_type": "SiglipImageProcessorFast", "image_std": [0.5] * 3, "resample": 2,
        "processor_class": "SiglipProcessor", "rescale_factor": 1 / 255, "size": {"height": 256, "width": 256},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_of_clip_and_siglip(name):
    config = PUBLISHED[name]
    kind = "CLIPImageProcessor" if name == "CLIP" else "SiglipImageProcessor"
    names = ("feature_extractor_type", "image_processor_type", "processor_class")
    there = processor({"image_processor_type": kind} | {k: v for k, v in config.items() if k not in names})
    ours = ImagePreprocessor.from_config(config)
    for picture in (PICTURES["china"], Image.fromarray(PICTURES["upright"]).convert("RGB")):
        answer = there(images=picture, return_tensors="np")["pixel_values"].transpose(0, 2, 3, 1)
        assert_close(ours(picture), answer)


# --- timm -------------------------------------------------------------------------------------------


def torchvision_resize(image, size, method):
    """``Resize(size)``: the shorter edge, with the longer one's fraction cut off; or both."""
    if isinstance(size, int):
        width, height = image.size
        long = int(size * max(width, height) / min(width, height))
        size = (size, long) if height <= width else (long, size)
    return image.resize(size[::-1], Image.Resampling[method.upper()])


def torchvision_crop(image, size, fill=(0, 0, 0)):
    """``CenterCrop(size)``: what is missing is added around, less before; halves are rounded to even."""
    width, height = image.size
    pad = [max(size[0] - height, 0), max(size[1] - width, 0)]
    canvas = Image.new("RGB", (width + pad[1], height + pad[0]), fill)
    canvas.paste(image, (pad[1] // 2, pad[0] // 2))
    top, left = round((canvas.height - size[0]) / 2.0), round((canvas.width - size[1]) / 2.0)
    return canvas.crop((left, top, left + size[1], top + size[0]))


def by_timm(picture, *, input_size, interpolation="bicubic", crop_pct=0.875, crop_mode="center", mean, std):
    """timm's transform for evaluation, composed of Pillow's own calls."""
    crop, image = tuple(input_size[1:]), Image.fromarray(picture)
    scaled = tuple(math.floor(n / crop_pct) for n in crop)
    ratios = [n / s for n, s in zip(picture.shape[:2], scaled, strict=True)]
    if crop_mode == "squash":
        image = torchvision_crop(torchvision_resize(image, scaled, interpolation), crop)
    elif crop_mode == "border":
        size = tuple(round(n / max(ratios)) for n in picture.shape[:2])
        fill = tuple(round(255 * v) for v in mean)
        image = torchvision_crop(torchvision_resize(image, size, interpolation), crop, fill)
    elif scaled[0] == scaled[1]:
        image = torchvision_crop(torchvision_resize(image, scaled[0], interpolation), crop)
    else:
        size = tuple(round(n / min(ratios)) for n in picture.shape[:2])
        image = torchvision_crop(torchvision_resize(image, size, interpolation), crop)
    return (np.asarray(image, np.float64) / 255 - mean) / std


TIMM = [
    {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center"},
    {"input_size": [3, 99, 99], "interpolation": "bilinear", "crop_pct": 0.875},
    {"input_size": [3, 125, 125], "interpolation": "bicubic", "crop_pct": 0.95, "crop_mode": "squash"},
    {"input_size": [3, 224, 224], "interpolation": "lanczos", "crop_pct": 1.0, "crop_mode": "border"},
    {"input_size": [3, 128, 255], "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center"},
    {"input_size": [3, 97, 64], "crop_pct": 1.05, "crop_mode": "squash"},
]


@pytest.mark.parametrize("config", TIMM, ids=lambda c: f"{c.get('crop_mode')} {c['input_size'][1:]}")
def test_a_config_of_timm(config):
    config = {**config, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    ours = ImagePreprocessor.from_config({"architecture": "resnet", "pretrained_cfg": {**config, "num_classes": 9}})
    assert ImagePreprocessor.from_config(ours.to_config()) == ours
    for name, picture in PICTURES.items():
        want = by_timm(picture, **config)
        got = np.asarray(ours(picture)[0])
        assert got.shape == want.shape == (*config["input_size"][1:], 3)
        assert int((np.abs(got - want) > 0.01).sum()) == 0, name  # one of 255 is 0.017
        assert_close(got, want, what=name)


# --- files ------------------------------------------------------------------------------------------


def test_a_folder_holds_its_config(tmp_path):
    want = ImagePreprocessor.from_config({"image_processor_type": "ViTImageProcessor"})
    processor({"image_processor_type": "ViTImageProcessor"}).save_pretrained(tmp_path)
    (file,) = tmp_path.iterdir()
    assert ImagePreprocessor.from_config(tmp_path) == ImagePreprocessor.from_config(str(file)) == want
    file.rename(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": TIMM[0]}))
    assert ImagePreprocessor.from_config(tmp_path).size == 248
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": want.to_config()}))
    assert ImagePreprocessor.from_config(tmp_path) == want


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100000, '{"a": 1}' + " " * 2**20, b"\xff\xfe\x00"])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "preprocessor_config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(px.weights.CorruptFileError, match="to be a JSON object of 1 MiB at most"):
        ImagePreprocessor.from_config(tmp_path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(px.weights.MissingFileError, match=r"preprocessor_config\.json to exist"):
        ImagePreprocessor.from_config(tmp_path)


VIT = {"image_processor_type": "ViTImageProcessor"}
CFG = {"input_size": [3, 8, 8]}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "image_processor_type among BeitImageProcessor, BitImageProcessor"),
        ({"image_processor_type": "SamImageProcessor"}, "got 'SamImageProcessor'\n  fix: write an ImagePreprocessor"),
        ({**VIT, "crop_pct": 0.9}, "entries that are known here, got ['crop_pct']"),
        ({**CFG, "crop_border_pixels": 3}, "of timm with entries that are known here, got ['crop_border_pixels']"),
        ({**VIT, "size": {"longest_edge": 9}}, "the config's size of height and width, or of the shortest edge, got"),
        ({**VIT, "size": 10**9}, "size of whole pixels from 1 to 32768, got 1000000000"),
        ({**VIT, "size": "224"}, "size of whole pixels from 1 to 32768, got '224'"),
        ({**VIT, "size": {"height": True, "width": 3}}, "size of whole pixels from 1 to 32768, got True"),
        ({**VIT, "resample": 9}, "the config's resample among 0, 1, 2, 3, 4, 5, got 9"),
        ({**VIT, "do_resize": 1}, "the config's do_resize of true or false, got 1"),
        ({**VIT, "rescale_factor": 10**400}, "the config's rescale_factor from 1e-06 to 1e+06"),
        ({**VIT, "image_mean": [10**400] * 3}, "the config's image_mean of numbers up to 1e+06"),
        ({**VIT, "image_mean": [float("nan")] * 3}, "the config's image_mean of numbers up to 1e+06, got nan"),
        ({**VIT, "image_std": [0.0] * 3}, "std above 0, got (0.0, 0.0, 0.0)"),
        ({**VIT, "image_std": [0.5] * 2}, "the config's image_std for each channel, one or three, got [0.5, 0.5]"),
        ({"image_processor_type": "BeitImageProcessor", "do_pad": True}, "BeitImageProcessor without do_pad, got True"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": 10**400}, "from 1 to 32768, got"),
        ({"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 9}}, "the config's size of height"),
        ({**CFG, "interpolation": "random"}, "interpolation among nearest, bilinear, bicubic, box, hamming, lanczos"),
        ({**CFG, "input_size": [3, 8, 10**9]}, "the config's input_size of whole pixels from 1 to 32768"),
        ({**CFG, "crop_pct": 0}, "the config's crop_pct from 1e-06 to 1e+06, got 0"),
        ({**CFG, "crop_mode": "border", "mean": [-1, 0, 0]}, "the config's mean from 0 to 1 beside a border"),
    ],
)
def test_a_config_that_cannot_be_is_refused(config, text):
    with pytest.raises(px.RangeError) as caught:
        ImagePreprocessor.from_config(config)
    assert text in str(caught.value)
    assert "\n  fix: " in str(caught.value)


def test_one_mean_is_written_so_that_transformers_takes_it_for_all_channels():
    ours = ImagePreprocessor(size=(30, 40), mean=(0.4,), std=(0.3,))
    written = ours.to_config()
    want = processor(written)(images=SMALL, return_tensors="np", input_data_format="channels_last")["pixel_values"]
    assert_close(ours(SMALL), want.transpose(0, 2, 3, 1))
    assert ImagePreprocessor.from_config(written) == ours


def test_a_grey_border_of_timm_comes_back():
    config = {"input_size": [1, 8, 8], "crop_mode": "border", "crop_pct": 1.0, "mean": [0.4], "std": [0.5]}
    ours = ImagePreprocessor.from_config(config)
    assert ours.to_config() == {**config, "interpolation": "bicubic"}
    assert ImagePreprocessor.from_config(ours.to_config()) == ours


def test_what_no_config_says_is_not_written():
    with pytest.raises(px.RangeError, match=r"to_config expects steps .* got fit='cover'"):
        ImagePreprocessor(size=(8, 9), fit="cover").to_config()
    with pytest.raises(px.RangeError, match=r"dataclasses\.asdict"):
        ImagePreprocessor(size=8, antialias=False).to_config()


# --- as a function ----------------------------------------------------------------------------------

PRE = ImagePreprocessor(size=20, crop=(16, 16), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def test_it_is_exported_with_its_model_for_any_batch():
    model = px.Chain(px.Conv((3, 3), 3, 2, key=jax.random.key(0)), px.GlobalMeanPool(), px.flatten)
    (batch,) = export.symbolic_shape("batch")
    exported = export.export(jax.jit(lambda x: model(PRE(x))))(jax.ShapeDtypeStruct((batch, *SMALL.shape), np.uint8))
    x = np.stack([SMALL, SMALL[::-1], FLOWER[:64, :71]])
    assert_close(exported.call(x), model(PRE(x)))


def test_compiled_is_eager():
    """A batch, one image of it, a list and Pillow's own image: one answer; under px.jit and vmap too."""
    x = np.stack([SMALL, SMALL[:, ::-1]])
    want = np.asarray(PRE(x))
    for got in (px.jit(PRE)(x), PRE(jnp.asarray(x)), PRE(list(x)), jax.vmap(PRE)(jnp.asarray(x))[:, 0]):
        assert_close(got, want)
    assert_close(PRE(Image.fromarray(SMALL)), want[:1])
    assert_close(PRE(SMALL), want[:1])


def test_it_is_compared_by_value():
    same = dataclasses.replace(PRE, mean=[0.4, 0.5, 0.6], size=np.int64(20))
    assert same == PRE
    assert hash(same) == hash(PRE)
    assert dataclasses.replace(PRE, size=21) != PRE
    assert ImagePreprocessor(**dataclasses.asdict(PRE)) == PRE


def test_a_hand_worked_image():
    """Two grey pixels, reversed channels, an offset, a deviation taken twice, and a fill for each channel."""
    pre = ImagePreprocessor(
        crop=(1, 3),
        order="bgr",
        rescale=0.5,
        offset=-1.0,
        mean=(1, 2, 3),
        std=(2, 2, 4),
        std_twice=True,
        fill=(2, 4, 6),
    )
    y = pre(np.array([[[10, 20, 30], [40, 50, 60]]], np.uint8))
    left, right, fill = (14 - 1, 9 - 2, 4 - 3), (29 - 1, 24 - 2, 19 - 3), (2 - 1, 1 - 2, 0 - 3)
    np.testing.assert_allclose(np.asarray(y[0, 0]), np.array([fill, left, right]) / np.array([4, 4, 16]))


def test_one_value_of_a_list_fills_all_channels():
    """A border around grey too, whose config of timm has one mean."""
    pre = ImagePreprocessor(crop=(4, 4), fill=(7,), rescale=None)
    assert pre == ImagePreprocessor(crop=(4, 4), fill=7, rescale=None)
    want = np.pad(np.full((2, 2, 3), 255.0), ((1, 1), (1, 1), (0, 0)), constant_values=7)
    np.testing.assert_array_equal(pre(np.full((2, 2, 3), 255, np.uint8))[0], want)
    config = {"input_size": [1, 8, 8], "crop_mode": "border", "crop_pct": 1.0, "mean": [0.4], "std": [0.5]}
    y = np.asarray(ImagePreprocessor.from_config(config)(np.full((4, 8, 1), 255, np.uint8)))
    np.testing.assert_allclose(y[0, :, 0, 0], [0, 0, 1.2, 1.2, 1.2, 1.2, 0, 0], atol=1e-6)


WIDE = Image.fromarray(np.array([[0, 1000, 30000, 65535]], np.uint16))
RGB = ImagePreprocessor(convert_rgb=True)


@pytest.mark.parametrize(
    ("pre", "images", "error", "text"),
    [
        (
            PRE,
            SMALL / np.float32(255),
            px.DtypeError,
            "uint8 images with values from 0 to 255, got float32[64, 71, 3]",
        ),
        (PRE, SMALL / np.float32(255), px.DtypeError, "fix: (images * 255).round().astype"),
        (PRE, SMALL.astype(np.int32), px.DtypeError, 'fix: images.astype("uint8"), if they are from 0 to 255'),
        (PRE, SMALL[..., 0], px.ShapeError, "got uint8[64, 71]\n  fix: grey images need an axis, images[..., None]"),
        (PRE, SMALL[None, None], px.ShapeError, "(height, width, channels), with or without a batch"),
        (PRE, SMALL[:0], px.ShapeError, "got uint8[0, 71, 3]"),
        (PRE, SMALL[..., :1], px.ShapeError, "images of 3 channels, which stand last, got uint8[1, 64, 71, 1]"),
        (PRE, SMALL.transpose(2, 0, 1), px.ShapeError, "fix: channels are last here: np.moveaxis(images, -3, -1)"),
        (PRE, np.zeros((8, 8, 4), np.uint8), px.ShapeError, "got uint8[1, 8, 8, 4]\n  fix: convert the images first"),
        (PRE, Image.fromarray(SMALL).convert("P"), px.DtypeError, 'got mode P\n  fix: image.convert("RGB") first'),
        (PRE, WIDE, px.DtypeError, "images of 8 bits a channel, got mode I;16"),
        (RGB, WIDE, px.DtypeError, "got mode I;16\n  fix: scale its values to 8 bits first"),
        (RGB, WIDE.convert("I"), px.DtypeError, "images of 8 bits a channel, got mode I\n"),
        (RGB, WIDE.convert("I").convert("F"), px.DtypeError, "images of 8 bits a channel, got mode F\n"),
        (PRE, [], px.ShapeError, "at least one image, got none"),
        (PRE, np.zeros((1, 9000, 3), np.uint8), px.ShapeError, "edges of 1 to 32768 pixels, got uint8[1, 1, 9000, 3]"),
        (
            ImagePreprocessor(size=9, longest=10),
            np.zeros((1, 300, 3), np.uint8),
            px.ShapeError,
            "which would become 0 by 10",
        ),
        (
            ImagePreprocessor(),
            [SMALL, SMALL[1:]],
            px.ShapeError,
            "images that come out in one size, got [(63, 71), ",
        ),
        (ImagePreprocessor(pad=(9, 99)), SMALL, px.ShapeError, "images of (9, 99) at most, got (64, 71)"),
    ],
)
def test_images_that_cannot_be_are_refused(pre, images, error, text):
    with pytest.raises(error) as caught:
        pre(images)
    assert str(caught.value).startswith("ImagePreprocessor expects ")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"method": "cubic"}, "method among nearest, box"),
        ({"size": (1, 2, 3)}, "size as (height, width), got (1, 2, 3)"),
        ({"crop": 224}, "crop as (height, width), got 224\n  fix: give two numbers, in this order"),
        ({"size": 224.0}, "size of whole pixels from 1 to 32768, got 224.0"),
        ({"mean": (0.5,)}, "mean and std both or neither, of one length"),
        ({"longest": 9, "size": (2, 2)}, "longest only with an edge as size, got (2, 2)"),
        ({"fit": "cover", "size": 9}, "fit='cover' only with size=(height, width), got 9"),
        ({"fill": 256}, "fill from 0 to 255, got 256"),
        ({"fill": (1, 2)}, "fill as one value or three, got (1, 2)"),
        ({"std_twice": True}, "std_twice only with std, got None"),
        ({"antialias": 1}, "antialias of True or False, got 1"),
    ],
)
def test_fields_that_cannot_be_are_refused(fields, text):
    with pytest.raises(px.RangeError) as caught:
        ImagePreprocessor(**fields)
    assert str(caught.value).startswith("ImagePreprocessor expects ")
    assert text in str(caught.value)
