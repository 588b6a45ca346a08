"""MobileNetV3 beside a plain network in PyTorch, written from the paper's table with torchvision's names."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import compare, images
from kit import oracle

torch = oracle("torch")
nn = torch.nn

# Window, middle, out, squeeze-and-excitation, hard swish, stride: the last stages of the large one, narrower.
TABLE = [
    (3, 8, 8, False, False, 1),
    (3, 24, 12, False, False, 2),
    (5, 72, 16, True, True, 2),
    (5, 40, 16, True, True, 1),
]
CONFIG = px.models.MobileNetV3Config(
    stem_channels=8, kernel_sizes=(3, 3, 5, 5), expanded_channels=(8, 24, 72, 40), out_channels=(8, 12, 16, 16),
    squeeze_excite=(False, False, True, True), activations=("relu", "relu", "hardswish", "hardswish"),
    strides=(1, 2, 2, 1), top_channels=24, hidden_dim=20, classes=5, dropout_rate=0.0,
)  # fmt: skip


def conv_norm(channels, filters, kernel, act, stride=1, groups=1):
    conv = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(filters, eps=0.001, momentum=0.01), act)


class Excite(nn.Module):
    def __init__(self, channels, squeezed):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        gate = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).clamp(min=0))
        return x * ((gate + 3).clamp(0, 6) / 6)


class Block(nn.Module):
    def __init__(self, channels, kernel, middle, filters, excite, swish, stride):
        super().__init__()
        act = nn.Hardswish() if swish else nn.ReLU()
        layers = [] if middle == channels else [conv_norm(channels, middle, 1, act)]
        layers.append(conv_norm(middle, middle, kernel, act, stride, groups=middle))
        layers += [Excite(middle, {72: 24, 40: 16}[middle])] if excite else []  # a quarter, in eights, not too small
        self.block = nn.Sequential(*layers, conv_norm(middle, filters, 1, nn.Identity()))
        self.added = stride == 1 and channels == filters

    def forward(self, x):
        return self.block(x) + x if self.added else self.block(x)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        ins = [8, *(row[2] for row in TABLE)]
        blocks = [Block(channels, *row) for channels, row in zip(ins, TABLE, strict=False)]
        ends = conv_norm(3, 8, 3, nn.Hardswish(), 2), conv_norm(16, 24, 1, nn.Hardswish())
        self.features = nn.Sequential(ends[0], *blocks, ends[1])
        self.classifier = nn.Sequential(nn.Linear(24, 20), nn.Hardswish(), nn.Dropout(0.0), nn.Linear(20, 5))

    def forward(self, x, output_hidden_states=False):
        states = []
        for layer in self.features:
            x = layer(x)
            states.append(x)
        return SimpleNamespace(logits=self.classifier(x.mean((2, 3))), hidden_states=tuple(states[:-1]))


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    theirs = Plain().eval()
    with torch.no_grad():
        for name, x in [*theirs.named_parameters(), *theirs.named_buffers()]:
            if name.endswith("running_var"):
                x.uniform_(0.5, 2.0)
            elif x.ndim == 1:
                x.add_(0.5 * torch.randn(x.shape))
            elif ".fc2." in name:
                x.mul_(8)  # gates that differ, some of them shut
    ours = px.models.create(CONFIG, key=0)
    arrays = {name: x.numpy() for name, x in theirs.state_dict().items()}
    px.weights.convert(ours, arrays, px.models.names(ours, "torchvision"))
    return theirs, ours


def test_answers_learns_and_keeps_statistics_as_the_plain_one(pair):
    theirs, ours = pair
    compare(ours, theirs, images(2, 32, 24, 3), dtype="float64", oracle="plain PyTorch")


def test_in_float32(pair):
    theirs, ours = pair
    compare(ours, theirs, images(2, 32, 24, 3), dtype="float32", learn=False, oracle="plain PyTorch")


def test_written_and_read_again(pair, tmp_path):
    ours = pair[1]
    px.models.save(ours, tmp_path)
    again = px.models.load(tmp_path)
    assert again.config == CONFIG
    for path, array in px.state_dict(ours).items():
        if not jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(array, px.state_dict(again)[path])


def test_dropout_stands_before_the_head(pair):
    model = px.testmode(px.copy(pair[1]))
    model.dropout, model.head = px.trainmode(px.Dropout(0.75, key=0)), None
    features = jnp.asarray(images(40, 2, 2, 24))
    dropped, whole = px.jit(lambda m, x: (m.pool(x), m.hidden(x.mean((1, 2)))))(model, features)
    kept = np.asarray(dropped != 0)
    np.testing.assert_allclose(dropped, np.where(kept, 4 * whole, 0), rtol=1e-5)
    assert abs(kept[np.asarray(whole) != 0].mean() - 0.25) < 0.05


def test_parts_are_the_sizes_it_works_at(pair):
    assert [len(stage) for stage in pair[1].stages] == [1, 1, 2]
    assert pair[1].parts() == ("stem", "stages.0", "stages.1", "stages.2", "top", "hidden", "head")


def test_configs_that_no_network_has_are_refused():
    with pytest.raises(px.RangeError, match="one entry for each block"):
        px.models.MobileNetV3Config.from_dict({"strides": [1, 2]})


@pytest.mark.parametrize(("name", "count"), [("large", 5_483_032), ("small", 2_542_856)])
def test_sizes_are_the_published_ones(name, count):
    """As torchvision's documentation has them."""
    model = px.eval_shape(lambda: px.models.create(f"mobilenet_v3_{name}", key=0))
    assert sum(array.size for array in px.split(model)[0].values()) == count
