"""Training with rounded weights: gradients by hand and beside PyTorch's, ranges that follow the data, the integers."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle

torch = oracle("torch")
RNG = np.random.default_rng(0)


def normal(*shape, shift=0.0):
    return (RNG.normal(size=shape) + shift).astype("f")


def test_a_gradient_by_hand():
    # s = 1 / 127: 0.5 is 63.5 steps and goes to the even 64, -1 is -127 steps; y = 3 * 64 / 127 - 2
    model = px.compress.prepare(px.Chain(px.Dense.of(jnp.array([[0.5], [-1.0]]), jnp.array([0.0]))))
    x = jnp.array([3.0, 2.0])
    assert_close(model(x), np.array([192 / 127 - 2], "f"))
    grads = px.grad(lambda m: (m(x) ** 2).sum())(model)
    y = 192 / 127 - 2
    assert_close(vars(grads[0])["weight"], np.array([[2 * y * 3], [2 * y * 2]], "f"), kind="grad")
    assert_close(grads[0].bias, np.array([2 * y], "f"), kind="grad")
    assert vars(model[0])["weight"].tolist() == [[0.5], [-1.0]]


@pytest.mark.parametrize("symmetric", [True, False])
def test_values_and_gradients_of_a_weight_are_those_of_pytorch(symmetric):
    weight, x = normal(6, 4, shift=0.5), normal(5, 6)
    model = px.compress.prepare(px.Chain(px.Dense.of(jnp.asarray(weight), None, px.tanh)), symmetric=symmetric)
    small = px.compress.convert(model)[0]
    scale = torch.tensor(np.asarray(small.scale)[0])
    zero = torch.zeros(4).int() if symmetric else torch.tensor(np.asarray(small.zero)[0]).int()
    w = torch.tensor(weight, requires_grad=True)
    y = torch.tanh(torch.tensor(x) @ torch.fake_quantize_per_channel_affine(w, scale, zero, 1, -128, 127))
    y.square().sum().backward()
    assert_close(model(x), y.detach().numpy())
    ours = px.grad(lambda m: (m(x) ** 2).sum())(model)
    assert_close(vars(ours[0])["weight"], w.grad.numpy(), kind="grad")


def test_values_and_gradients_of_what_comes_in_are_those_of_pytorch_also_beyond_the_range():
    model = px.compress.prepare(px.Chain(px.Dense(6, 4, px.tanh, key=0)), inputs="static")
    x = normal(50, 6, shift=0.5)
    with px.training(True):
        model(x)
    layer = px.compress.convert(model)[0]
    more = 2 * x[:9]
    seen = torch.tensor(more, requires_grad=True)
    rounded = torch.fake_quantize_per_tensor_affine(seen, float(layer.input_scale), int(layer.input_zero), -128, 127)
    y = torch.tanh(rounded @ torch.tensor(np.asarray(layer.weight)) + torch.tensor(np.asarray(layer.bias)))
    y.square().sum().backward()
    assert (seen.grad == 0).any()
    assert_close(model(more), y.detach().numpy(), scale=4)
    assert_close(px.grad(lambda x: (model(x) ** 2).sum())(jnp.asarray(more)), seen.grad.numpy(), kind="grad", scale=4)


def test_the_range_of_what_comes_in_follows_it_in_training_alone():
    model = px.compress.prepare(px.Chain(px.Dense(3, 2, key=0)), inputs="static")
    batches = [normal(4, 3, shift=i) for i in range(3)]
    low, high = batches[0].min(), batches[0].max()
    for batch in batches:
        px.value_and_grad(lambda m, x: m(x).sum())(model, batch)
        if batch is not batches[0]:
            low, high = 0.99 * low + 0.01 * batch.min(), 0.99 * high + 0.01 * batch.max()
    assert_close(model[0].input_low, np.float32(low))
    assert_close(model[0].input_high, np.float32(high))
    model(100 * batches[0])
    assert_close(model[0].input_high, np.float32(high))


@pytest.mark.soak
@pytest.mark.parametrize("inputs", [None, "dynamic", "static"])
def test_the_integers_compute_as_the_model_that_was_trained(inputs):
    model = px.Chain(
        px.Conv((3, 3), 1, 4, px.relu, padding=1, key=0), px.DepthwiseConv((3, 3), 4, key=1),
        px.ConvTranspose((2, 2), 4, 2, key=2), px.flatten, px.Dense(32, 3, key=3),
    )  # fmt: skip
    model = px.compress.prepare(model, inputs=inputs)
    x = normal(8, 5, 5, 1, shift=0.3)
    history = px.fit(
        model, [(x, np.arange(8) % 3)], loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), epochs=8,
        progress=False,
    )  # fmt: skip
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    small = px.compress.convert(model)
    assert [layer.inputs for layer in small if hasattr(layer, "inputs")] == [inputs, inputs, None, inputs]
    np.testing.assert_allclose(small(x), model(x), rtol=1e-4, atol=2e-4)  # a rounding may fall to the other side
    assert sum(a.nbytes for a in px.paths(small).values()) < sum(a.nbytes for a in px.paths(model).values())


def test_vectors_of_an_embedding_train_rounded():
    model = px.compress.prepare(px.Chain(px.Embedding(5, 4, key=0)), 4, group=2)
    x = jnp.array([1, 3])
    grads = px.grad(lambda m: m(x).sum())(model)
    assert vars(grads[0])["weight"].sum(1).tolist() == [0, 4, 0, 4, 0]
    small = px.compress.convert(model)
    assert_close(small(x), np.asarray(model(x)))
    assert np.array_equal(small[0].codes, px.compress.quantize(px.Embedding(5, 4, key=0), 4, group=2).codes)


@pytest.mark.soak
def test_training_with_four_bits_reaches_what_rounding_afterwards_loses():
    draws = np.random.default_rng(3)
    x = draws.normal(size=(256, 8)).astype("f")
    y = np.sin(x @ draws.normal(size=(8, 1))).astype("f")

    def trained(model, epochs):
        px.fit(
            model, (x, y), loss=px.losses.mse, optimizer=px.optim.Adam(5e-3), epochs=epochs, batch_size=64,
            progress=False, seed=0,
        )  # fmt: skip
        return model

    def loss(model):
        return float(px.losses.mse(model(x), y))

    plain = trained(px.Chain(px.Dense(8, 24, px.tanh, key=0), px.Dense(24, 1, key=1)), 60)
    during = px.compress.convert(trained(px.compress.prepare(plain, 4), 20))
    after = px.compress.quantize(trained(plain, 20), 4)
    assert loss(during) < 0.9 * loss(after)


def test_prepared_models_travel_and_are_printed(tmp_path):
    model = px.compress.prepare(px.Chain(px.Dense(3, 2, key=0)), inputs="static")
    px.save(model, tmp_path / "model.safetensors")
    again = px.load(tmp_path / "model.safetensors")
    x = normal(4, 3)
    assert np.array_equal(again(x), model(x))
    assert list(px.paths(again)) == list(px.paths(model))
    assert "layers.0.weight" in px.split(model)[0]
    assert "RoundedDense" in repr(model)


def test_what_is_refused():
    model = px.Chain(px.Dense(3, 2))
    cases = [
        (lambda: px.compress.prepare(model, inputs="measured"), "px.compress.prepare expects inputs of None"),
        (lambda: px.compress.prepare(model, 5), "px.compress.prepare expects bits of 8 or 4, got 5"),
        (lambda: px.compress.prepare(model, group=2, inputs="dynamic"), "expects one symmetric scale for an output"),
        (lambda: px.compress.convert(model), "px.compress.convert expects a prepared model"),
        (
            lambda: px.compress.convert(px.compress.prepare(model, inputs="static")),
            "px.compress.convert expects a range of what comes into layers.0, got nan to nan",
        ),
    ]
    for call, text in cases:
        with pytest.raises(px.PhloxError) as error:
            call()
        assert text in str(error.value)
        assert "fix: " in str(error.value)
