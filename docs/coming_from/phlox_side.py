"""Phlox."""

import phlox as px

px.seed(0)
model = px.Chain(
    px.Conv((3, 3), 1, 8, padding=1, bias=False),
    px.BatchNorm(8, px.relu),
    px.MaxPool((2, 2)),
    px.Conv((3, 3), 8, 16, px.relu, padding=1),
    px.GlobalMeanPool(),
    px.flatten,
    px.Dropout(0.5),
    px.Dense(16, 10),
)
opt = px.Optimizer(px.optim.Adam(1e-3), model)


@px.jit
def step(model, opt, x, y):
    def loss_fn(model):
        return px.losses.cross_entropy(model(x), y)

    loss, grads = px.value_and_grad(loss_fn)(model)  # trains: it is differentiated
    opt.update(model, grads)
    return loss


def predict(x):
    return model(x)  # infers: it is not
