"""Equinox."""

import equinox as eqx
import jax
import optax
from equinox import nn


class Net(eqx.Module):
    conv1: nn.Conv2d
    norm: nn.BatchNorm
    pool: nn.MaxPool2d
    conv2: nn.Conv2d
    dropout: nn.Dropout
    dense: nn.Linear

    def __init__(self, key):
        k1, k2, k3 = jax.random.split(key, 3)
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, use_bias=False, key=k1)
        self.norm = nn.BatchNorm(8, axis_name="batch", momentum=0.9, mode="batch")
        self.pool = nn.MaxPool2d(2, stride=2)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1, key=k2)
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(16, 10, key=k3)

    def __call__(self, x, state, key=None):  # one image, (height, width, channel)
        x, state = self.norm(self.conv1(x.transpose(2, 0, 1)), state)
        x = self.pool(jax.nn.relu(x))
        x = jax.nn.relu(self.conv2(x)).mean(axis=(1, 2))
        return self.dense(self.dropout(x, key=key)), state


model, state = nn.make_with_state(Net)(jax.random.key(0))
adam = optax.adam(1e-3)
opt_state = adam.init(eqx.filter(model, eqx.is_inexact_array))


@eqx.filter_jit
def step(model, state, opt_state, key, x, y):
    def loss_fn(model):
        keys = jax.random.split(key, len(x))
        batched = jax.vmap(model, axis_name="batch", in_axes=(0, None, 0), out_axes=(0, None))
        logits, new = batched(x, state, keys)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new

    (loss, new), grads = eqx.filter_value_and_grad(loss_fn, has_aux=True)(model)
    steps, opt_state = adam.update(grads, opt_state)
    return eqx.apply_updates(model, steps), new, opt_state, loss


@eqx.filter_jit
def predict(model, state, x):
    model = nn.inference_mode(model)
    return jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)[0]


# --- weights ---


def to_phlox(model, state):
    mean, var = state.get(model.norm.batch_state_index)
    counted = 1 - 0.9 ** state.get(model.norm.batch_counter)  # what its inference divides by
    return {
        "layers.0.weight": model.conv1.weight.transpose(2, 3, 1, 0),  # (out, in, h, w) -> (h, w, in, out)
        "layers.1.scale": model.norm.weight,
        "layers.1.bias": model.norm.bias,
        "layers.1.mean": mean / counted,  # after one step at least
        "layers.1.var": var / counted,
        "layers.3.weight": model.conv2.weight.transpose(2, 3, 1, 0),
        "layers.3.bias": model.conv2.bias[:, 0, 0],  # (out, 1, 1) -> (out,)
        "layers.7.weight": model.dense.weight.T,  # (out, in) -> (in, out)
        "layers.7.bias": model.dense.bias,
    }
