"""DiT and the U-Net against diffusers', with its weights; and what training needs of them."""

import re

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from kit import assert_close, oracle
from phlox.models import diffusion
from phlox.models.diffusion import _dit, _unet

torch = oracle("torch")
diffusers = oracle("diffusers")

PARTS = {"weight": ("scale", "weight"), "bias": ("bias",)}


def named(names, path):
    """Our name for a module of theirs, by a map of names."""
    for theirs, ours in names.items():
        found = re.fullmatch(re.escape(theirs).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{j\}", r"(?P<j>\d+)"), path)
        if found:
            return ours.format(**found.groupdict())
    return None


def copied(build, theirs, names):
    """A network with every weight of theirs in the place that the map says, and what had none there."""
    ours = px.eval_shape(build)  # drawn weights would cost more than all the rest
    state, left = px.state_dict(ours), []
    new = {n: jax.random.key(0) for n, x in state.items() if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)}
    for path, tensor in theirs.state_dict().items():
        module, _, part = path.rpartition(".")
        place = named(names, module)
        if place is None:
            left.append(path)
            continue
        name = next(f"{place}.{p}" for p in PARTS[part] if f"{place}.{p}" in state)
        array = tensor.numpy()
        if part == "weight" and array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif part == "weight" and ".table." not in name:
            array = array.T
        new[name] = jnp.asarray(array)
    assert new.keys() == state.keys()
    for name, array in new.items():
        assert array.shape == state[name].shape, name
        ours = px.set_at(ours, name, array)
    return ours, left


def randomised(module, std):
    """Weights at random, where many would be zero."""
    generator = torch.Generator().manual_seed(0)
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=generator) * std
    return module.eval()


def channels_first(x):
    return torch.tensor(np.moveaxis(x, -1, 1))


def compare(ours, theirs, x, labels=None, *, grad, scale=1.0):
    """Outputs, and the gradient of the input."""
    given = channels_first(x).requires_grad_()
    told = {} if labels is None else {"class_labels": torch.tensor(labels)}
    want = theirs(given, torch.tensor(T), **told).sample
    w = np.random.default_rng(1).normal(size=np.moveaxis(want.detach().numpy(), 1, -1).shape).astype("float32")
    (want * channels_first(w)).sum().backward()
    want = np.moveaxis(want.detach().numpy(), 1, -1)
    assert want.std() > 0.1

    @px.jit
    def run(model, x):
        call = lambda x: model(x, jnp.asarray(T), *([] if labels is None else [jnp.asarray(labels)]))  # noqa: E731
        if not grad:
            return call(x), None
        y, pull = jax.vjp(call, x)
        return y, pull(jnp.asarray(w))[0]

    y, slope = run(ours, jnp.asarray(x))
    assert_close(y, want, scale=scale)
    if grad:
        assert_close(slope, np.moveaxis(given.grad.numpy(), 1, -1), kind="grad", scale=scale)


X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
T, LABELS = np.array([1, 7]), np.array([1, 5])  # their waves of times are rounded: 700 would cost three digits


def test_dit():
    theirs = randomised(
        diffusers.DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=8, in_channels=3, out_channels=6, num_layers=2, sample_size=8,
            patch_size=2, num_embeds_ada_norm=5, norm_eps=1e-5,
        ),
        0.2,
    )  # fmt: skip
    for block in theirs.transformer_blocks:  # which hold one embedding, copied
        block.norm1.emb = theirs.transformer_blocks[0].norm1.emb
    config = diffusion.DiTConfig(
        size=8, channels=3, out_channels=6, dim=16, depth=2, heads=2, classes=5, freq_shift=1, mlp_eps=1e-5
    )
    ours, left = copied(lambda: diffusion.DiT(config), theirs, _dit.NAMES)
    assert all(".norm1.emb." in path or path == "pos_embed.pos_embed" for path in left), left
    compare(ours, theirs, X, LABELS, grad=True, scale=3)  # two blocks, and their rounded waves


def unet(levels, **options):
    attention = options.pop("attention")
    down = [f"{'Attn' if a else ''}DownBlock2D" for a in attention]
    up = [f"{'Attn' if a else ''}UpBlock2D" for a in attention[::-1]]
    return randomised(
        diffusers.UNet2DModel(
            block_out_channels=levels, layers_per_block=1, norm_num_groups=2, down_block_types=down, up_block_types=up,
            attn_norm_num_groups=2, **options,
        ),
        0.3,
    )  # fmt: skip


def test_unet_of_ddpm():
    levels, attention = (4, 8, 12), (False, True, False)
    theirs = unet(
        levels, attention=attention, attention_head_dim=None, freq_shift=1, flip_sin_to_cos=False, downsample_padding=0
    )
    config = diffusion.UNetConfig(
        channels=levels, blocks=1, attention=attention, groups=2, freq_shift=1, cos_first=False, symmetric=False
    )
    ours, left = copied(lambda: diffusion.UNet(config), theirs, _unet.NAMES)
    assert left == []
    compare(ours, theirs, X, grad=False, scale=10)  # eleven blocks, each a sum of 4 to 180 products


def test_unet_of_adm():
    levels, attention = (4, 8), (False, True)
    options = {"resnet_time_scale_shift": "scale_shift", "num_class_embeds": 6}
    theirs = unet(levels, attention=attention, attention_head_dim=4, **options)
    config = diffusion.UNetConfig(
        channels=levels, blocks=1, attention=attention, head_dim=4, groups=2, scale_shift=True, classes=6,
        label_dropout=0.0,
    )  # fmt: skip
    ours, left = copied(lambda: diffusion.UNet(config), theirs, _unet.NAMES)
    assert left == []
    compare(ours, theirs, X, LABELS, grad=True, scale=10)
