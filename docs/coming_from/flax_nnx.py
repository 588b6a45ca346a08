"""Flax, NNX."""

import optax
from flax import nnx


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv1 = nnx.Conv(1, 8, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(8, 16, (3, 3), rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.dense = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv1(x)))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = nnx.relu(self.conv2(x)).mean(axis=(1, 2))
        return self.dense(self.dropout(x))


model = Net(nnx.Rngs(0))
opt = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)


@nnx.jit
def step(model, opt, x, y):
    def loss_fn(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    opt.update(model, grads)
    return loss


@nnx.jit
def predict(model, x):
    return nnx.view(model, deterministic=True, use_running_average=True)(x)


# --- weights ---


def to_phlox(model):
    return {
        "layers.0.weight": model.conv1.kernel[...],
        "layers.1.scale": model.norm.scale[...],
        "layers.1.bias": model.norm.bias[...],
        "layers.1.mean": model.norm.mean[...],
        "layers.1.var": model.norm.var[...],
        "layers.3.weight": model.conv2.kernel[...],
        "layers.3.bias": model.conv2.bias[...],
        "layers.7.weight": model.dense.kernel[...],
        "layers.7.bias": model.dense.bias[...],
    }
