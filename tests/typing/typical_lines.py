"""A user's typical lines, with the types that an editor shows for them; at the end mistakes that it finds.

Only checked, never run. Behind each mistake stands what the message must name.
"""

from __future__ import annotations

import operator
from typing import Any, assert_type

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px


class Net(px.Module):
    weight: px.Param
    mean: px.State

    def __init__(self, width: int) -> None:
        self.weight = jnp.ones(width)
        self.mean = jnp.zeros(width)
        self.mlp = px.Chain(px.Dense(width, 4 * width, px.gelu), px.Dropout(0.1), px.Dense(4 * width, width))

    def __call__(self, x: jax.Array, *, scale: float = 1.0) -> jax.Array:
        return x + scale * self.weight * self.mlp(x)

    @px.jit
    def compiled(self, x: jax.Array) -> jax.Array:
        return self(x)


def layers(x: jax.Array) -> None:
    assert_type(px.Dense(2, 3, px.relu, bias=False), px.Dense)
    assert_type(px.Dense(2, 3)(x), jax.Array)
    assert_type(px.Dense(2, 3).weight, jax.Array)
    assert_type(px.Dense(2, 3).out_size, int)
    assert_type(px.Dense.of(x, None), px.Dense)
    assert_type(px.Conv((3, 3), 1, 8, px.relu).kernel, tuple[int, ...])
    assert_type(px.LSTMCell(3, 4)(x), tuple[jax.Array, tuple[jax.Array, jax.Array]])
    assert_type(px.MultiHeadAttention(8, 2).q_proj, px.Dense)
    assert_type(px.nn.WeightNorm(px.Dense(2, 3)).layer, px.Dense)
    assert_type(px.nn.Recurrence(px.GRUCell(2, 3)).cell, px.GRUCell)
    assert_type(px.SkipConnection(px.Dense(2, 2), operator.add).layer, px.Dense)
    assert_type(px.nn.functional.conv(x, x), jax.Array)
    assert_type(px.losses.cross_entropy(x, x), jax.Array)


def containers(x: jax.Array) -> None:
    chain = px.Chain(px.Dense(2, 3, px.relu), px.Dropout(0.1), px.Dense(3, 1))
    assert_type(chain, px.Chain[px.Dense, px.Dropout, px.Dense])
    assert_type(chain[0], px.Dense)
    assert_type(chain[1], px.Dropout)
    assert_type(chain[-1].weight, jax.Array)
    assert_type(chain[1:], px.Chain[*tuple[Any, ...]])
    assert_type(chain[len(chain) - 1], Any)
    assert_type(px.Chain(first=px.Dense(2, 3), second=px.relu)["first"], Any)
    assert_type(px.Chain(*[px.Dense(2, 2) for _ in range(3)])(x), Any)
    assert_type(px.nn.RepeatedLayer(lambda: px.Dense(4, 4), 12)[0], px.Dense)
    assert_type(px.autosize((32, 28), lambda: px.Chain(px.Dense(px.AUTO, 3))), px.Chain[px.Dense])


def models(x: jax.Array) -> None:
    model = Net(4)
    assert_type(model, Net)
    assert_type(model(x, scale=2.0), jax.Array)
    assert_type(model.compiled(x), jax.Array)
    assert_type(model.mean, jax.Array)
    assert_type(model.training, bool)
    assert_type(px.copy(model), Net)
    assert_type(px.copy([model, model]), list[Net])
    assert_type(px.freeze(model, "mlp.*", model.mlp[0]), Net)
    assert_type(px.thaw(model), Net)
    assert_type(px.constant(px.bf16(model)), Net)
    assert_type(px.testmode(px.to(model, px.devices()[0])), Net)
    assert_type(px.tie(model, "mlp.layers.0.bias", to="mlp.layers.2.bias"), Net)
    assert_type(px.map(lambda w: w / 2, model), Net)
    assert_type(px.stop_gradient(model), Net)
    assert_type(px.eval_shape(lambda: Net(10**6)), Net)
    params, state = px.split(model)
    assert_type(px.merge(model, params, state), Net)
    assert_type(px.global_norm(model), jax.Array)
    assert_type(px.value(x), jax.Array)
    with px.seed(0), px.training(False):
        px.summary(model, x)


def loss_of(model: Net, x: jax.Array, y: jax.Array) -> jax.Array:
    return px.losses.mse(model(x), y)


def loss_and_more(model: Net, x: jax.Array) -> tuple[jax.Array, str]:
    return model(x).sum(), "more"


def gradients(model: Net, x: jax.Array) -> None:
    loss, grads = px.value_and_grad(loss_of)(model, x, y=x)
    assert_type(loss, jax.Array)
    assert_type(grads, Any)
    assert_type(px.value_and_grad(lambda m: loss_of(m, x, x))(model), tuple[jax.Array, Any])
    assert_type(px.value_and_grad(loss_and_more, has_aux=True)(model, x), tuple[tuple[jax.Array, str], Any])
    assert_type(px.grad(loss_and_more, has_aux=True)(model, x), tuple[Any, str])
    value, pullback = px.vjp(jnp.sin, x)
    assert_type(pullback(value), tuple[Any, ...])
    assert_type(px.vmap(loss_of, in_axes=(None, 0, 0))(model, x, x), jax.Array)
    assert_type(px.remat(model)(x), jax.Array)
    assert_type(px.vmap(lambda key: px.Dense(2, 3, key=key))(jax.random.split(jax.random.key(0))), px.Dense)


@px.custom_vjp
def clipped(x: jax.Array, bound: float = 1.0) -> jax.Array:
    return x


clipped.defvjp(lambda x, bound: (x, bound), lambda bound, g: (jnp.clip(g, -bound, bound), None))


def loops(model: Net, x: jax.Array) -> None:
    assert_type(clipped(x), jax.Array)
    last, ys = px.scan(lambda c, x: (c + x, c * x), 0.0, x)
    assert_type(last, Any)
    assert_type(ys, Any)
    px.while_loop(lambda n: n < 100, lambda n: n * 2, 3)
    px.cond(x.sum() > 0, lambda m: m(x), lambda m: m(-x), model)


@px.jit
def step(model: Net, opt: px.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
    loss, grads = px.value_and_grad(lambda m: loss_of(m, x, y))(model)
    opt.update(model, grads)
    return loss


@px.jit(static_argnames="train", donate=False)
def predicted(model: Net, x: jax.Array, train: bool = False) -> tuple[jax.Array, int]:
    return model(x), 1


def training(model: Net, x: jax.Array) -> None:
    opt = px.Optimizer(px.optim.Adam(px.optim.cosine_annealing(1e-3, 100)), model)
    assert_type(step(model, opt, x, y=x), jax.Array)
    assert_type(step.retraces(), str)
    assert_type(predicted(model, x, train=True), tuple[jax.Array, int])
    assert_type(px.jit(model)(x, scale=2.0), jax.Array)
    loader = px.DataLoader((np.ones((8, 4)), np.ones(8)), 4, shuffle=True)
    for a, b in loader:
        step(model, opt, a, b)
    for _, mask in loader.masked():
        assert_type(mask, jax.Array)
    history = px.fit(
        model, loader, loss=px.losses.mse, optimizer=opt, metrics=px.metrics.MeanSquaredError(),
        callbacks=[px.EarlyStopping(), px.EMA(0.99)],
    )  # fmt: skip
    assert_type(history, px.History)
    assert_type(history.epochs, list[dict[str, Any]])
    assert_type(px.evaluate(model, loader, loss=px.losses.mse), dict[str, float])
    px.save(model, "model.phlox")


def mistakes(model: Net, opt: px.Optimizer, x: jax.Array) -> None:
    px.Dense(2)  # wanted: out_size
    px.Dense(2, 3, activation=px.relu)  # wanted: activation
    px.Dense("two", 3)  # wanted: int
    print(px.Dropout(0.1).rate)  # wanted: rate
    px.Dens(2, 3)  # wanted: Dens
    px.losses.crossentropy(x, x)  # wanted: crossentropy
    print(model.wieght)  # wanted: wieght
    model("x")  # wanted: Array
    model(x, sclae=2.0)  # wanted: sclae
    print(px.copy(model).wieght)  # wanted: wieght
    print(px.Chain(px.Dense(2, 3), px.Dropout(0.1))[0].rate)  # wanted: rate
    print(px.nn.RepeatedLayer(lambda: px.Dense(4, 4), 2)[0].rate)  # wanted: rate
    step(model, opt, x)  # wanted: y
    step(model, opt, x, "y")  # wanted: Array
    predicted(model, x, trian=True)  # wanted: trian
    model.compiled()  # wanted: x
    px.value_and_grad(loss_of)(model, x)  # wanted: argument
    px.vmap(loss_of)(model, x, x, x)  # wanted: argument
    px.remat(model)(x, sclae=2.0)  # wanted: sclae
    clipped("x")  # wanted: Array
    px.fit(model, (x, x), optimiser=opt)  # wanted: optimiser
    px.jit(model, donate_argnums=0)  # wanted: "jit"
    px.DataLoader((x, x), batchsize=32)  # wanted: batchsize
