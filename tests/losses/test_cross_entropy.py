"""Cross entropy: every combination of targets, weights, smoothing and ignored places, against PyTorch."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import against_torch, assert_close, oracle
from phlox import losses

torch = oracle("torch")
F = torch.nn.functional

LOGITS = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32") * 2
INDEX = np.random.default_rng(1).integers(0, 4, size=(3, 5))
PROBS = np.random.default_rng(2).dirichlet(np.ones(4), size=(3, 5)).astype("float32")
CLASS_WEIGHT = np.array([0.3, 1.0, 2.5, 0.8], "float32")


def channels_second(logits):
    return logits.movedim(-1, 1)


@pytest.mark.parametrize(
    ("reduction", "weighted", "smoothing", "ignore"),
    list(itertools.product(["mean", "sum", "none"], [False, True], [0.0, 0.2], [-100, 2])),
)
def test_integer_targets(reduction, weighted, smoothing, ignore):
    index = INDEX.copy()
    index[0, 1] = index[2, 3] = ignore
    against_torch(
        lambda z: losses.cross_entropy(
            z,
            index,
            reduction=reduction,
            label_smoothing=smoothing,
            class_weight=CLASS_WEIGHT if weighted else None,
            ignore_index=ignore,
        ),
        lambda z: F.cross_entropy(
            channels_second(z),
            torch.tensor(index),
            reduction=reduction,
            label_smoothing=smoothing,
            weight=torch.tensor(CLASS_WEIGHT) if weighted else None,
            ignore_index=ignore,
        ),
        LOGITS,
    )


@pytest.mark.parametrize(
    ("reduction", "weighted", "smoothing"), list(itertools.product(["mean", "sum", "none"], [False, True], [0.0, 0.2]))
)
def test_probability_targets(reduction, weighted, smoothing):
    def theirs(z, t):
        loss = F.cross_entropy(
            channels_second(z),
            channels_second(t),
            reduction="none",
            label_smoothing=smoothing,
            weight=torch.tensor(CLASS_WEIGHT) if weighted else None,
        )
        # PyTorch's own mean over (batch, classes, positions) also divides by the number of positions
        return {"none": loss, "sum": loss.sum(), "mean": loss.mean()}[reduction]

    against_torch(
        lambda z, t: losses.cross_entropy(
            z,
            t,
            reduction=reduction,
            label_smoothing=smoothing,
            class_weight=CLASS_WEIGHT if weighted else None,
        ),
        theirs,
        *(LOGITS, PROBS),
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_probability_mean_is_torchs(weighted):
    against_torch(
        lambda z, t: losses.cross_entropy(z, t, class_weight=CLASS_WEIGHT if weighted else None),
        lambda z, t: F.cross_entropy(z, t, weight=torch.tensor(CLASS_WEIGHT) if weighted else None),
        *(LOGITS[0], PROBS[0]),
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_nll(weighted):
    index = INDEX.copy()
    index[1, 1] = -100
    log_probs = np.log(PROBS)
    against_torch(
        lambda z: losses.nll(z, index, class_weight=CLASS_WEIGHT if weighted else None),
        lambda z: F.nll_loss(
            channels_second(z), torch.tensor(index), weight=torch.tensor(CLASS_WEIGHT) if weighted else None
        ),
        log_probs,
    )


def test_one_hot_targets_equal_integer_targets():
    for dtype in (bool, int, "float32"):
        hot = np.eye(4)[INDEX].astype(dtype)
        assert_close(losses.cross_entropy(LOGITS, hot), losses.cross_entropy(LOGITS, INDEX))


def test_sample_weights_repeat_examples():
    """A weight of k is the example k times, in the mean and the sum, beside class weights and ignored targets."""
    index = INDEX.copy()
    index[:, 0] = -100
    times = np.array([2, 0, 3])
    for reduction in ("mean", "sum"):
        got = losses.cross_entropy(LOGITS, index, weight=times, class_weight=CLASS_WEIGHT, reduction=reduction)
        rows = np.repeat(np.arange(3), times)
        want = F.cross_entropy(
            channels_second(torch.tensor(LOGITS[rows])),
            torch.tensor(index[rows]),
            weight=torch.tensor(CLASS_WEIGHT),
            reduction=reduction,
        )
        assert_close(got, want)


def test_a_batch_where_nothing_counts_gives_zero_and_a_zero_gradient():
    ignored = np.full((3, 5), -100)
    value, grad = jax.value_and_grad(losses.cross_entropy)(jnp.asarray(LOGITS), ignored)
    assert value == 0
    assert_close(grad, np.zeros_like(LOGITS))


def test_ignore_index_none_ignores_nothing():
    with pytest.raises(ValueError, match=r"targets in 0 … 3, got int32\[2\] with -100"):
        losses.cross_entropy(LOGITS[0, :2], np.array([1, -100]), ignore_index=None)


def test_single_example_without_batch_axis():
    against_torch(
        lambda z: losses.cross_entropy(z, np.int32(2)),
        lambda z: F.cross_entropy(z, torch.tensor(2)),
        LOGITS[0, 0],
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_extreme_logits(dtype):
    big = float(jnp.asarray(1e4, dtype))
    z = jnp.array([[big, -big, 0.0], [-big, big, big], [-big, -big, -big]], dtype)
    loss = losses.cross_entropy(z.astype("float32"), jnp.array([1, 0, 2]), reduction="none")
    np.testing.assert_allclose(loss, [2 * big, 2 * big + np.log(2), np.log(3)], rtol=1e-6)
    grad = jax.grad(lambda z: losses.cross_entropy(z, jnp.array([1, 0, 2])))(z)
    assert grad.dtype == z.dtype
    assert_close(grad, np.array([[1, -1, 0], [-1, 0.5, 0.5], [1 / 3, 1 / 3, -2 / 3]]) / 3, kind="grad")


def test_a_class_ruled_out_by_minus_infinity():
    z = jnp.array([[0.0, -jnp.inf, 0.0]])
    for target in (jnp.array([0]), jnp.array([[1.0, 0.0, 0.0]])):
        value, grad = jax.value_and_grad(losses.cross_entropy)(z, target)
        assert_close(value, np.float32(np.log(2)))
        assert_close(grad, np.array([[-0.5, 0.0, 0.5]]), kind="grad")


def test_half_precision_accumulates_in_float32():
    """The mean over 4096 examples of 300 classes in bfloat16 is as good as its inputs."""
    z = jnp.asarray(np.random.default_rng(0).normal(size=(4096, 300)), "bfloat16")
    index = np.random.default_rng(1).integers(0, 300, 4096)
    want = F.cross_entropy(torch.tensor(np.asarray(z, "float32")), torch.tensor(index))
    got = losses.cross_entropy(z, index)
    assert got.dtype == jnp.bfloat16
    assert got == jnp.asarray(np.asarray(want), "bfloat16")


def test_a_class_out_of_range_is_an_error_eagerly_and_nan_in_a_trace():
    with pytest.raises(ValueError, match=r"cross_entropy expects targets in 0 … 3 or ignore_index=-100, got .* with 4"):
        losses.cross_entropy(LOGITS[0], np.array([0, 1, 4, 2, 3]))
    for bad in (4, -1):
        loss = jax.jit(lambda z, t: losses.cross_entropy(z, t, reduction="none"))(LOGITS[0, :2], np.array([1, bad]))
        np.testing.assert_array_equal(np.isnan(loss), [False, True])


def test_label_smoothing_helper_feeds_the_same_loss():
    smooth = losses.label_smoothing(jnp.eye(4)[INDEX], 0.3)
    want = F.cross_entropy(channels_second(torch.tensor(LOGITS)), torch.tensor(INDEX), label_smoothing=0.3)
    assert_close(losses.cross_entropy(LOGITS, smooth), want)
    assert_close(losses.label_smoothing(jnp.eye(4)[INDEX].T, 0.3, axis=0), np.asarray(smooth).T)
    assert_close(losses.label_smoothing(jnp.array([0.0, 1.0]), 0.3, axis=None), np.array([0.15, 0.85]))
    assert losses.label_smoothing(jnp.zeros((2, 4), "bfloat16"), 0.1).dtype == jnp.bfloat16


def test_a_traced_smoothing_works():
    against_torch(
        lambda z: jax.jit(lambda z, s: losses.cross_entropy(z, INDEX, label_smoothing=s))(z, 0.2),
        lambda z: F.cross_entropy(channels_second(z), torch.tensor(INDEX), label_smoothing=0.2),
        LOGITS,
    )


def test_a_common_offset_costs_no_digits():
    """Multiples of 1/8 near 2**16 lose nothing in the sum, so only the loss could."""
    z = np.round(8 * np.random.default_rng(0).normal(size=(50, 7))) / 8
    y = np.arange(50) % 7
    here = losses.cross_entropy(jnp.asarray(z, jnp.float32), y, reduction="none")
    there = losses.cross_entropy(jnp.asarray(z + 2.0**16, jnp.float32), y, reduction="none")
    np.testing.assert_array_equal(here, there)
