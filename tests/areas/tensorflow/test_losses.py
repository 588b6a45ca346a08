"""Losses whose formulas leave room for mistakes, against a second library beside PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf

import phlox as px
from kit import assert_close

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(5, 4)).astype("float32")


def compare(ours, theirs, x):
    """Value and gradient with respect to x."""
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        want = theirs(variable)
    value, grad = jax.value_and_grad(ours)(jnp.asarray(x))
    assert_close(value, want.numpy(), what="value")
    assert_close(grad, tape.gradient(want, variable).numpy(), kind="grad", what="gradient")


def test_ctc():
    x = RNG.normal(size=(2, 7, 4)).astype("float32")
    targets, lengths = np.array([[1, 2, 2], [3, 1, 0]]), np.array([3, 2])
    compare(
        lambda x: px.losses.ctc(x, jnp.asarray(targets), target_lengths=jnp.asarray(lengths), reduction="sum"),
        lambda x: tf.reduce_sum(
            tf.nn.ctc_loss(targets, x, lengths, np.array([7, 7]), logits_time_major=False, blank_index=0)
        ),
        x,
    )


def test_cross_entropy_with_integers_and_with_chances():
    labels, chances = RNG.integers(0, 4, 5), RNG.dirichlet(np.ones(4), 5).astype("float32")
    compare(
        lambda x: px.losses.cross_entropy(x, jnp.asarray(labels)),
        lambda x: tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, x)),
        LOGITS,
    )
    compare(
        lambda x: px.losses.cross_entropy(x, jnp.asarray(chances)),
        lambda x: tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(chances, x)),
        LOGITS,
    )


def test_binary_cross_entropy_of_large_logits():
    x = np.array([-200.0, -3.0, 0.0, 4.0, 200.0], "float32")
    y = np.array([1.0, 0.0, 0.5, 1.0, 0.0], "float32")
    compare(
        lambda x: px.losses.binary_cross_entropy_with_logits(x, jnp.asarray(y)),
        lambda x: tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(y, x)),
        x,
    )
