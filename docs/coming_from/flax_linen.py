"""Flax, Linen."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (3, 3), use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = nn.relu(nn.Conv(16, (3, 3))(x)).mean(axis=(1, 2))
        return nn.Dense(10)(nn.Dropout(0.5, deterministic=not train)(x))


model = Net()
variables = jax.jit(model.init, static_argnames="train")(jax.random.key(0), jnp.ones((1, 8, 8, 1)), train=False)
adam = optax.adam(1e-3)
opt_state = adam.init(variables["params"])


@jax.jit
def step(variables, opt_state, key, x, y):
    def loss_fn(params):
        logits, updates = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), updates

    (loss, updates), grads = jax.value_and_grad(loss_fn, has_aux=True)(variables["params"])
    steps, opt_state = adam.update(grads, opt_state)
    params = optax.apply_updates(variables["params"], steps)
    return {"params": params, **updates}, opt_state, loss


@jax.jit
def predict(variables, x):
    return model.apply(variables, x, train=False)


# --- weights ---


def to_phlox(variables):
    params, stats = variables["params"], variables["batch_stats"]
    return {
        "layers.0.weight": params["Conv_0"]["kernel"],
        "layers.1.scale": params["BatchNorm_0"]["scale"],
        "layers.1.bias": params["BatchNorm_0"]["bias"],
        "layers.1.mean": stats["BatchNorm_0"]["mean"],
        "layers.1.var": stats["BatchNorm_0"]["var"],
        "layers.3.weight": params["Conv_1"]["kernel"],
        "layers.3.bias": params["Conv_1"]["bias"],
        "layers.7.weight": params["Dense_0"]["kernel"],
        "layers.7.bias": params["Dense_0"]["bias"],
    }
