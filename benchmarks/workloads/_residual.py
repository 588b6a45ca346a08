"""Residual networks in every framework, from one description: convolutions with batch norm, and shortcuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Unit(NamedTuple):
    """A convolution without bias, and a batch norm."""

    kernel: int
    size: int
    out: int
    stride: int = 1


@dataclass(frozen=True)
class Block:
    """Units with relu between them, added to the input, or to a unit of it where shapes differ; then relu."""

    units: tuple[Unit, ...]

    @property
    def shortcut(self) -> Unit | None:
        size, out, stride = self.units[0].size, self.units[-1].out, max(u.stride for u in self.units)
        return None if size == out and stride == 1 else Unit(1, size, out, stride)


@dataclass(frozen=True)
class Plan:
    """A stem, perhaps with a pool of 3 at stride 2, blocks, the mean over space, and a dense layer."""

    side: int
    stem: Unit
    pool: bool
    blocks: tuple[Block, ...]
    classes: int

    @property
    def width(self) -> int:
        return self.blocks[-1].units[-1].out


def models(plan: Plan) -> Mapping[str, Callable[..., Any]]:
    return {
        "phlox": lambda: _phlox(plan),
        "jax": lambda net, x: _plain(plan, net, x),
        "flax": lambda rngs: _flax(plan, rngs),
        "equinox": lambda key: _equinox(plan, key),
        "keras": lambda: _keras(plan),
        "torch": lambda: _torch(plan),
    }


def _phlox(plan: Plan) -> Any:
    import phlox as px

    def unit(u: Unit, act: Any = px.identity) -> Any:
        conv = px.Conv((u.kernel, u.kernel), u.size, u.out, stride=u.stride, padding=u.kernel // 2, bias=False)
        return px.Chain(conv, px.BatchNorm(u.out, act))

    class Residual(px.Module):
        def __init__(self, block: Block):
            *inner, end = block.units
            self.body = px.Chain(*[unit(u, px.relu) for u in inner], unit(end))
            self.shortcut = unit(block.shortcut) if block.shortcut else px.identity

        def __call__(self, x: Any) -> Any:
            return px.relu(self.body(x) + self.shortcut(x))

    pool = [px.MaxPool((3, 3), stride=2, padding=1)] if plan.pool else []
    head = [px.GlobalMeanPool(), px.flatten, px.Dense(plan.width, plan.classes)]
    return px.Chain(unit(plan.stem, px.relu), *pool, *map(Residual, plan.blocks), *head)


def _plain(plan: Plan, net: Any, x: Any) -> Any:
    import jax

    from workloads._plain_jax import max_pool

    def unit(name: str, x: Any, u: Unit) -> Any:
        return net.batch_norm(name, net.conv(name, x, u.kernel, u.out, u.stride, u.kernel // 2, bias=False))

    x = jax.nn.relu(unit("stem", x, plan.stem))
    x = max_pool(x, 3, 2, 1) if plan.pool else x
    for b, block in enumerate(plan.blocks):
        y = x
        for i, u in enumerate(block.units):
            y = unit(f"{b}/{i}", jax.nn.relu(y) if i else y, u)
        x = jax.nn.relu(y + (unit(f"{b}/shortcut", x, block.shortcut) if block.shortcut else x))
    return net.dense("head", x.mean((1, 2)), plan.classes)


def _flax(plan: Plan, rngs: Any) -> Any:
    from flax import nnx

    def unit(u: Unit) -> list[Any]:
        conv = nnx.Conv(u.size, u.out, (u.kernel, u.kernel), u.stride, padding=u.kernel // 2, use_bias=False, rngs=rngs)
        return [conv, nnx.BatchNorm(u.out, rngs=rngs)]

    class Residual(nnx.Module):
        def __init__(self, block: Block):
            *inner, end = block.units
            self.body = nnx.Sequential(*[m for u in inner for m in (*unit(u), nnx.relu)], *unit(end))
            self.shortcut = nnx.Sequential(*(unit(block.shortcut) if block.shortcut else []))

        def __call__(self, x: Any) -> Any:
            return nnx.relu(self.body(x) + (self.shortcut(x) if len(self.shortcut.layers) else x))

    pool = [lambda x: nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))] if plan.pool else []
    head = [lambda x: x.mean((1, 2)), nnx.Linear(plan.width, plan.classes, rngs=rngs)]
    return nnx.Sequential(*unit(plan.stem), nnx.relu, *pool, *map(Residual, plan.blocks), *head)


def _equinox(plan: Plan, key: Any) -> Any:
    import equinox as eqx
    import jax

    keys = iter(jax.random.split(key, 1000))
    relu = eqx.nn.Lambda(jax.nn.relu)

    def unit(u: Unit) -> list[Any]:
        conv = eqx.nn.Conv2d(u.size, u.out, u.kernel, u.stride, u.kernel // 2, use_bias=False, key=next(keys))
        return [conv, eqx.nn.BatchNorm(u.out, "batch", mode="batch")]

    class Residual(eqx.nn.StatefulLayer):
        body: eqx.nn.Sequential
        shortcut: eqx.nn.Sequential

        def __init__(self, block: Block):
            *inner, end = block.units
            self.body = eqx.nn.Sequential([*[m for u in inner for m in (*unit(u), relu)], *unit(end)])
            self.shortcut = eqx.nn.Sequential(unit(block.shortcut) if block.shortcut else [eqx.nn.Identity()])

        def __call__(self, x: Any, state: Any, *, key: Any = None) -> Any:
            y, state = self.body(x, state)
            x, state = self.shortcut(x, state) if self.shortcut.is_stateful() else (x, state)
            return jax.nn.relu(y + x), state

    def build() -> Any:
        pool = [eqx.nn.MaxPool2d(3, 2, 1)] if plan.pool else []
        head = [eqx.nn.Lambda(lambda x: x.mean((1, 2))), eqx.nn.Linear(plan.width, plan.classes, key=next(keys))]
        return eqx.nn.Sequential([*unit(plan.stem), relu, *pool, *map(Residual, plan.blocks), *head])

    return eqx.nn.make_with_state(build)()


def _keras(plan: Plan) -> Any:
    import keras
    from keras import layers

    def unit(x: Any, u: Unit) -> Any:
        x = layers.Conv2D(u.out, u.kernel, u.stride, padding="same", use_bias=False)(x)
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)

    start = keras.Input((plan.side, plan.side, 3))
    x = layers.ReLU()(unit(start, plan.stem))
    x = layers.MaxPooling2D(3, 2, padding="same")(x) if plan.pool else x
    for block in plan.blocks:
        y = x
        for i, u in enumerate(block.units):
            y = unit(layers.ReLU()(y) if i else y, u)
        x = layers.ReLU()(layers.Add()([y, unit(x, block.shortcut) if block.shortcut else x]))
    return keras.Model(start, layers.Dense(plan.classes)(layers.GlobalAveragePooling2D()(x)))


def _torch(plan: Plan) -> Any:
    from torch import nn

    def unit(u: Unit) -> list[Any]:
        return [nn.Conv2d(u.size, u.out, u.kernel, u.stride, u.kernel // 2, bias=False), nn.BatchNorm2d(u.out)]

    class Residual(nn.Module):
        def __init__(self, block: Block):
            super().__init__()
            *inner, end = block.units
            self.body = nn.Sequential(*[m for u in inner for m in (*unit(u), nn.ReLU(inplace=True))], *unit(end))
            self.shortcut = nn.Sequential(*(unit(block.shortcut) if block.shortcut else []))
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Any) -> Any:
            return self.relu(self.body(x) + self.shortcut(x))

    pool = [nn.MaxPool2d(3, 2, 1)] if plan.pool else []
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(plan.width, plan.classes)]
    return nn.Sequential(*unit(plan.stem), nn.ReLU(inplace=True), *pool, *map(Residual, plan.blocks), *head)
