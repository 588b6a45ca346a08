"""U-Net beside a plain PyTorch module of the paper's layers, with the names of the widespread port."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import BARS, agrees, covered, first, gradients, images, in_dtype, note
from kit import oracle
from phlox.models._catalogue import family_of, variant

torch, safetensors = oracle("torch"), oracle("safetensors.torch")
nn = torch.nn


def double(channels, middle, filters, norm):
    layers = []
    for size, out in ((channels, middle), (middle, filters)):
        layers += [nn.Conv2d(size, out, 3, padding=1, bias=not norm)]
        layers += [nn.BatchNorm2d(out), nn.ReLU()] if norm else [nn.ReLU()]
    return nn.ModuleDict({"double_conv": nn.Sequential(*layers)})


class TorchUp(nn.Module):
    def __init__(self, channels, filters, config):
        super().__init__()
        if config.bilinear:
            self.up, middle = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), channels // 2
        else:
            self.up, middle = nn.ConvTranspose2d(channels, channels // 2, 2, stride=2), filters
        self.conv = double(channels, middle, filters, config.batch_norm)

    def forward(self, x, across):
        x = self.up(x)
        lack = [across.shape[axis] - x.shape[axis] for axis in (2, 3)]
        x = nn.functional.pad(x, (lack[1] // 2, lack[1] - lack[1] // 2, lack[0] // 2, lack[0] - lack[0] // 2))
        return self.conv["double_conv"](torch.cat([across, x], 1))


class TorchUNet(nn.Module):
    """Two convolutions at each size; the features double on the way down and halve on the way up."""

    def __init__(self, config):
        super().__init__()
        self.depth, self.p, w, norm = config.depth, config.dropout, config.width, config.batch_norm
        factor = 2 if config.bilinear else 1
        self.inc = double(config.num_channels, w, w, norm)
        for i in range(1, self.depth + 1):
            out = w * 2**i // (factor if i == self.depth else 1)
            conv = double(w * 2 ** (i - 1), out, out, norm)
            setattr(self, f"down{i}", nn.ModuleDict({"maxpool_conv": nn.Sequential(nn.MaxPool2d(2), conv)}))
        for i in range(1, self.depth + 1):
            size = w * 2 ** (self.depth - i + 1)
            setattr(self, f"up{i}", TorchUp(size, size // 2 // (factor if i < self.depth else 1), config))
        self.outc = nn.ModuleDict({"conv": nn.Conv2d(w, config.classes, 1)})

    def forward(self, x):
        states = [self.inc["double_conv"](x)]
        for i in range(1, self.depth + 1):
            pool, conv = getattr(self, f"down{i}")["maxpool_conv"]
            x = conv["double_conv"](pool(states[-1]))
            states.append(nn.functional.dropout(x, self.p, self.training) if i > self.depth - 2 else x)
        across = states[:-1]
        for i in range(1, self.depth + 1):
            states.append(getattr(self, f"up{i}")(states[-1], across.pop()))
        return self.outc["conv"](states[-1]), states


def pair_of(folder, **options):
    """A random model of theirs, with statistics and scales that hide nothing, and ours, loaded from its file."""
    config = px.models.UNetConfig(**options)
    torch.manual_seed(0)
    theirs = TorchUNet(config)
    with torch.no_grad():
        for name, x in [*theirs.named_parameters(), *theirs.named_buffers()]:
            if name.endswith("running_var"):
                x.uniform_(0.5, 2.0)
            elif x.ndim == 1 and x.is_floating_point():
                x.add_(0.3 * torch.randn(x.shape))
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    safetensors.save_file(theirs.state_dict(), folder / "model.safetensors", {"format": "pt"})
    return theirs, px.models.load(folder)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return pair_of(tmp_path_factory.mktemp("unet"), width=4, depth=2, num_channels=2, classes=3)


def compare(theirs, ours, x):
    """In float64: scores and all states; in training the gradients of all weights, and the statistics after it."""
    names = family_of(ours.config, "").names_of("milesial", ours.config)
    with in_dtype("float64"):
        ours, theirs = px.f64(px.copy(ours)), theirs.double().eval()
        weights = np.random.default_rng(1).normal(size=(*x.shape[:3], ours.config.classes))

        @px.jit
        def run(model, x):
            states = model.hidden_states(x)
            return model.head(states[-1]), states, px.grad(lambda m: (m(x) * weights).sum())(model)

        scores, states, grads = run(ours, jnp.asarray(x, "float64"))
        with torch.no_grad():
            want, want_states = theirs(first(x).double())
        (theirs.train()(first(x).double())[0] * first(weights)).sum().backward()
    seen = agrees(scores, last(want), "scores", BARS["float64"]["value"])
    assert len(states) == len(want_states)
    for i, (a, b) in enumerate(zip(states, want_states, strict=True)):
        agrees(a, last(b), f"state {i}", BARS["float64"]["value"])
    for name, array in names.to_theirs(ours).items():
        if name.endswith(("running_mean", "running_var")):
            agrees(array, theirs.state_dict()[name], name, BARS["float64"]["value"])
    worst = gradients(
        names.to_theirs(grads), {n: p.grad.numpy() for n, p in theirs.named_parameters()}, BARS["float64"]["grad"]
    )
    note(ours, "PyTorch", **{"scores float64": seen, "gradients float64": worst})


def last(x):
    return x.detach().permute(0, 2, 3, 1).numpy()


def test_answers_learns_and_keeps_statistics_as_in_pytorch_and_is_written_back(pair, tmp_path):
    theirs, ours = pair
    px.models.save(ours, tmp_path)
    there = safetensors.load_file(tmp_path / "model.safetensors")
    theirs.load_state_dict(there)  # every name, none over
    x = images(2, 12, 16, 2)
    with torch.no_grad():
        want, _ = theirs.float().eval()(first(x))
    agrees(px.jit(ours)(x), last(want), "scores", BARS["float32"]["value"])
    compare(theirs, ours, x)


@pytest.mark.parametrize(
    "options",
    [{"bilinear": True, "depth": 2, "width": 4}, {"batch_norm": False, "depth": 1, "width": 6}],
    ids=["interpolated", "as in 2015"],
)
def test_other_forms_on_pictures_of_odd_sizes(tmp_path, options):
    theirs, ours = pair_of(tmp_path, classes=2, **options)
    compare(theirs, ours, images(2, 11, 9, 3))


def test_dropout_stands_after_the_two_smallest_sizes(tmp_path):
    """At a rate of one nothing is left to chance: all that a dropout stands behind is gone."""
    theirs, ours = pair_of(tmp_path, width=2, depth=3, dropout=1.0, classes=2)
    x = images(2, 16, 16, 3)
    with torch.no_grad():
        want = theirs.train()(first(x))[0]
        theirs.p = 0.0
        still = theirs(first(x))[0]
    assert (want - still).abs().max() > 1e-2
    agrees(px.jit(px.trainmode(ours))(x), last(want), "scores", BARS["float32"]["value"])


def test_published_sizes():
    """The port's: 31,037,698 weights, or 17,262,977 for one class with interpolation."""
    for name, classes, count in (("unet", 2, 31_037_698), ("unet_bilinear", 1, 17_262_977)):
        config = variant(name, "").with_classes(classes)
        made = px.eval_shape(lambda config=config: px.models.UNet(config))
        covered(made)
        trained, _ = px.split(made)
        assert sum(x.size for x in jax.tree.leaves(trained)) == count


def test_pictures_that_are_too_small_and_sizes_that_cannot_be_are_refused(pair):
    with pytest.raises(px.ShapeError, match=r"of at least 4 pixels a side, got float32\[1, 3, 8, 2\]"):
        pair[1](jnp.ones((1, 3, 8, 2)))
    with pytest.raises(px.RangeError, match="an even width, so that it can be halved, got 5"):
        px.models.UNetConfig(width=5)
    with pytest.raises(px.RangeError, match="a depth from 1 to 16, got 0"):
        px.models.UNetConfig(depth=0)
