"""A U-Net of widths 32–64–128 that tells the class of every pixel, on 8 images of 64×64."""

from __future__ import annotations

from typing import Any

from workloads._workload import Workload, noise

WIDTHS, CLASSES = (32, 64, 128), 10


def phlox() -> Any:
    import phlox as px

    def pair(size: int, out: int) -> Any:
        conv = lambda size: px.Conv((3, 3), size, out, px.relu, padding="SAME")  # noqa: E731
        return px.Chain(conv(size), conv(out))

    def level(size: int, width: int, *rest: int) -> Any:
        """Two convolutions; then, with levels below, those at half the size beside them, and two more."""
        if not rest:
            return pair(size, width)
        below = px.Chain(px.MaxPool((2, 2)), level(width, *rest), px.ConvTranspose((2, 2), rest[0], width, stride=2))
        return px.Chain(pair(size, width), px.SkipConnection(below, px.concatenate), pair(2 * width, width))

    return px.Chain(level(3, *WIDTHS), px.Conv((1, 1), WIDTHS[0], CLASSES))


def plain(net: Any, x: Any) -> Any:
    import jax
    import jax.numpy as jnp

    from workloads._plain_jax import max_pool

    def pair(name: str, x: Any, out: int) -> Any:
        for i in range(2):
            x = jax.nn.relu(net.conv(f"{name}{i}", x, 3, out))
        return x

    def level(x: Any, width: int, *rest: int) -> Any:
        x = pair(f"{width}/down", x, width)
        if not rest:
            return x
        up = net.up(f"{width}/up", level(max_pool(x, 2), *rest), width)
        return pair(f"{width}/after", jnp.concatenate([up, x], -1), width)

    return net.conv("end", level(x, *WIDTHS), 1, CLASSES)


def flax(rngs: Any) -> Any:
    import jax.numpy as jnp
    from flax import nnx

    def pair(size: int, out: int) -> Any:
        convs = [nnx.Conv(n, out, (3, 3), rngs=rngs) for n in (size, out)]
        return nnx.Sequential(convs[0], nnx.relu, convs[1], nnx.relu)

    class Level(nnx.Module):
        def __init__(self, size: int, width: int, *rest: int):
            self.first = pair(size, width)
            self.below = Level(width, *rest) if rest else None
            self.up = nnx.ConvTranspose(rest[0], width, (2, 2), (2, 2), rngs=rngs) if rest else None
            self.then = pair(2 * width, width) if rest else None

        def __call__(self, x: Any) -> Any:
            x = self.first(x)
            if self.below is None or self.up is None or self.then is None:
                return x
            below = self.up(self.below(nnx.max_pool(x, (2, 2), (2, 2))))
            return self.then(jnp.concatenate([below, x], -1))

    return nnx.Sequential(Level(3, *WIDTHS), nnx.Conv(WIDTHS[0], CLASSES, (1, 1), rngs=rngs))


def equinox(key: Any) -> Any:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    keys, relu = iter(jax.random.split(key, 100)), eqx.nn.Lambda(jax.nn.relu)

    def pair(size: int, out: int) -> Any:
        convs = [eqx.nn.Conv2d(n, out, 3, padding=1, key=next(keys)) for n in (size, out)]
        return eqx.nn.Sequential([convs[0], relu, convs[1], relu])

    class Level(eqx.Module):
        first: Any
        below: Any
        up: Any
        then: Any

        def __init__(self, size: int, width: int, *rest: int):
            self.first = pair(size, width)
            self.below = Level(width, *rest) if rest else None
            self.up = eqx.nn.ConvTranspose2d(rest[0], width, 2, 2, key=next(keys)) if rest else None
            self.then = pair(2 * width, width) if rest else None

        def __call__(self, x: Any, *, key: Any = None) -> Any:
            x = self.first(x)
            if self.below is None:
                return x
            below = self.up(self.below(eqx.nn.MaxPool2d(2, 2)(x)))
            return self.then(jnp.concatenate([below, x]))

    return eqx.nn.Sequential([Level(3, *WIDTHS), eqx.nn.Conv2d(WIDTHS[0], CLASSES, 1, key=next(keys))]), None


def keras() -> Any:
    from keras import Input, Model, layers

    def pair(x: Any, out: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(out, 3, padding="same", activation="relu")(x)
        return x

    def level(x: Any, width: int, *rest: int) -> Any:
        x = pair(x, width)
        if not rest:
            return x
        below = layers.Conv2DTranspose(width, 2, 2)(level(layers.MaxPooling2D()(x), *rest))
        return pair(layers.Concatenate()([below, x]), width)

    start = Input((64, 64, 3))
    return Model(start, layers.Conv2D(CLASSES, 1)(level(start, *WIDTHS)))


def torch() -> Any:
    import torch
    from torch import nn

    def pair(size: int, out: int) -> Any:
        conv = lambda size: (nn.Conv2d(size, out, 3, padding=1), nn.ReLU(inplace=True))  # noqa: E731
        return nn.Sequential(*conv(size), *conv(out))

    class Level(nn.Module):
        def __init__(self, size: int, width: int, *rest: int):
            super().__init__()
            self.first = pair(size, width)
            self.pool = nn.MaxPool2d(2)
            self.below = Level(width, *rest) if rest else None
            self.up = nn.ConvTranspose2d(rest[0], width, 2, 2) if rest else None
            self.then = pair(2 * width, width) if rest else None

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            if self.below is None or self.up is None or self.then is None:
                return x
            return self.then(torch.cat([self.up(self.below(self.pool(x))), x], 1))

    return nn.Sequential(Level(3, *WIDTHS), nn.Conv2d(WIDTHS[0], CLASSES, 1))


MODELS = {"phlox": phlox, "jax": plain, "flax": flax, "equinox": equinox, "keras": keras, "torch": torch}
WORKLOADS = [
    Workload(
        "unet",
        "U-Net 32–64–128, 8 images 64×64",
        noise(8, 64, 64, 3, classes=CLASSES, labels=(8, 64, 64)),
        MODELS,
        bar=1.0,
        steps=2,
        batches=2,
        space=2,
    )
]
