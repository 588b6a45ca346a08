"""Phlox models as programs of TensorFlow: plain JAX takes them, so jax2tf does, and a SavedModel gives the numbers."""

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
from jax.experimental import jax2tf

import phlox as px
from kit import assert_close

X = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")


def image_model():
    return px.Chain(
        px.Conv((3, 3), 3, 8, px.relu, padding=1), px.BatchNorm(8), px.MaxPool((2, 2)), px.Dropout(0.5),
        px.flatten, px.Dense(8 * 16, 5),
    )  # fmt: skip


def series_model():
    return px.Chain(px.LSTM(3, 6), px.LayerNorm(6), px.Dense(6, 2))


def attention_model():
    return px.TransformerEncoderLayer(12, 3, 24)


MODELS = {
    "image": (image_model, X),
    "series": (series_model, X[:, 0]),
    "attention": (attention_model, np.random.default_rng(1).normal(size=(4, 7, 12)).astype("float32")),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_gives_the_numbers_at_any_batch_size(name, tmp_path):
    build, x = MODELS[name]
    with px.seed(0):
        model = build()
    shape = ("batch", *x.shape[1:])
    converted = jax2tf.convert(
        lambda x: model(x), polymorphic_shapes=[f"({', '.join(map(str, shape))})"], with_gradient=False
    )
    module = tf.Module()
    module.f = tf.function(
        converted, autograph=False, input_signature=[tf.TensorSpec((None, *x.shape[1:]), tf.float32)]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    for size in (4, 1):
        assert_close(jnp.asarray(loaded.f(x[:size]).numpy()), model(x[:size]), kind="grad")  # other kernels, other sums


def test_its_gradient_in_tensorflow_is_ours():
    with px.seed(0):
        model = px.Chain(px.Dense(3, 5, px.tanh), px.Dense(5, 1))
    params, state = px.split(model)
    pure = lambda params, x: px.apply(model, params, state, x)[0].sum()  # noqa: E731
    variables = {path: tf.Variable(np.asarray(value)) for path, value in params.items()}
    with tf.GradientTape() as tape:
        loss = jax2tf.convert(pure)(variables, tf.constant(X[0, 0]))
    theirs = tape.gradient(loss, variables)
    ours = px.paths(px.grad(lambda m: m(X[0, 0]).sum())(model))
    assert set(ours) == set(theirs)
    for path, value in ours.items():
        assert_close(value, theirs[path].numpy(), kind="grad", what=path)
