"""CTC against PyTorch, against a sum over all alignments, and at its edges."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import against_torch, assert_close, oracle
from phlox import losses

torch = oracle("torch")

LOGITS = np.random.default_rng(0).normal(size=(4, 9, 5)).astype("float32") * 2
FRAMES = np.array([9, 6, 7, 4])
# repeats need a blank between them; what lies beyond a length is padding of any kind
TARGETS = np.array([[1, 1, 2, 3], [3, 3, 3, -7], [4, 0, 99, 0], [0, 0, 0, 0]])
LABELS = np.array([4, 3, 1, 0])


def torch_ctc(z, targets, frames, labels, **options):
    log_probs = torch.log_softmax(z, -1).transpose(0, 1)
    return torch.nn.functional.ctc_loss(
        log_probs, torch.tensor(targets), torch.tensor(frames), torch.tensor(labels), **options
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_values_and_gradients(reduction, dtype):
    with jax.enable_x64(dtype == "float64"):
        against_torch(
            lambda z: losses.ctc(z, TARGETS, logit_lengths=FRAMES, target_lengths=LABELS, reduction=reduction),
            lambda z: torch_ctc(z, TARGETS, FRAMES, LABELS, reduction=reduction),
            LOGITS.astype(dtype),
        )


def test_another_blank_and_no_lengths():
    targets = np.array([[0, 0, 4], [1, 2, 1], [2, 0, 0], [1, 4, 0]])
    against_torch(
        lambda z: losses.ctc(z, targets, blank=3),
        lambda z: torch_ctc(z, targets, np.full(4, 9), np.full(4, 3), blank=3),
        LOGITS,
    )


@pytest.mark.parametrize("target", [(1,), (1, 2), (1, 1), (2, 1, 2), ()])
def test_it_is_the_sum_over_all_alignments(target):
    log_p = np.asarray(jax.nn.log_softmax(LOGITS[:1, :5, :3]))[0].astype("float64")
    total = 0.0
    for path in itertools.product(range(3), repeat=5):
        merged = [c for c, _ in itertools.groupby(path)]
        if tuple(c for c in merged if c != 0) == target:
            total += np.exp(sum(log_p[t, c] for t, c in enumerate(path)))
    got = losses.ctc(LOGITS[:1, :5, :3], np.array([target], int).reshape(1, -1), reduction="sum")
    assert_close(got, np.float32(-np.log(total)))


def test_too_few_frames():
    targets, frames, labels = np.array([[1, 1, 2], [1, 2, 3]]), np.array([3, 3]), np.array([3, 3])
    options = {"logit_lengths": frames, "target_lengths": labels, "reduction": "none"}
    np.testing.assert_array_equal(np.isinf(losses.ctc(LOGITS[:2], targets, **options)), [True, False])
    against_torch(
        lambda z: losses.ctc(z, targets, zero_infinity=True, **options),
        lambda z: torch_ctc(z, targets, frames, labels, reduction="none", zero_infinity=True),
        LOGITS[:2],
    )


def test_no_frames_at_all():
    got = losses.ctc(LOGITS[:2], TARGETS[:2], logit_lengths=[0, 0], target_lengths=[0, 1], reduction="none")
    np.testing.assert_array_equal(got, [0.0, np.inf])


def test_padding_frames_have_no_gradient():
    grad = jax.grad(lambda z: losses.ctc(z, TARGETS, logit_lengths=FRAMES, target_lengths=LABELS))(jnp.asarray(LOGITS))
    for row, n in zip(grad, FRAMES, strict=True):
        assert not np.any(row[n:])
        assert np.all(np.any(row[:n], axis=-1))


def test_extreme_logits():
    """Six frames all say 2 where the label is 1: each costs 2e4, and 21 alignments are equally likely."""
    z = jnp.full((1, 6, 3), -1e4).at[:, :, 2].set(1e4)
    value, grad = jax.value_and_grad(lambda z: losses.ctc(z, jnp.array([[1]])))(z)
    assert_close(value, np.float32(6 * 2e4 - np.log(21)))
    assert_close(grad[0, :, 2], np.ones(6), kind="grad")
    assert_close(jnp.sum(grad, axis=-1), np.zeros((1, 6)), kind="grad")


def test_long_sequences_keep_the_gradient_exact_in_float32():
    z = np.random.default_rng(3).normal(size=(2, 600, 5)).astype("float32") * 4
    targets = np.random.default_rng(4).integers(1, 5, size=(2, 60))
    grad = jax.grad(lambda z: losses.ctc(z, targets, reduction="sum"))(jnp.asarray(z))
    wide = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    torch_ctc(wide, targets, [600, 600], [60, 60], reduction="sum").backward()
    assert_close(grad, wide.grad, kind="grad")


def test_a_class_ruled_out_by_minus_infinity():
    z = jnp.asarray(LOGITS).at[0, :, 4].set(-jnp.inf)
    value, grad = jax.value_and_grad(losses.ctc)(z, TARGETS, logit_lengths=FRAMES, target_lengths=LABELS)
    assert np.isfinite(value)
    assert np.isfinite(grad).all()
    wanted = z.at[2, :, 4].set(-jnp.inf)  # the only label of the third target
    assert losses.ctc(wanted, TARGETS, logit_lengths=FRAMES, target_lengths=LABELS) == np.inf


def test_half_precision_keeps_dtype_and_accumulates_wide():
    for dtype in ("bfloat16", "float16"):
        z = jnp.asarray(LOGITS, dtype)
        got = losses.ctc(z, TARGETS, logit_lengths=FRAMES, target_lengths=LABELS)
        assert got.dtype == z.dtype
        want = losses.ctc(z.astype("float32"), TARGETS, logit_lengths=FRAMES, target_lengths=LABELS)
        assert got == want.astype(dtype)


def test_compiled_and_mapped():
    def one(z, t, n, m):
        return losses.ctc(z[None], t[None], logit_lengths=n[None], target_lengths=m[None], reduction="sum")

    mapped = jax.jit(jax.vmap(one))(LOGITS, TARGETS, FRAMES, LABELS)
    want = losses.ctc(LOGITS, TARGETS, logit_lengths=FRAMES, target_lengths=LABELS, reduction="none")
    assert_close(mapped, want)


def test_a_label_out_of_range_in_a_trace_is_nan():
    bad = TARGETS.copy()
    bad[1, 0] = 5
    bad[2, 0] = 0
    run = jax.jit(lambda t: losses.ctc(LOGITS, t, logit_lengths=FRAMES, target_lengths=LABELS, reduction="none"))
    np.testing.assert_array_equal(np.isnan(run(bad)), [False, True, True, False])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"logits": LOGITS[0]}, r"ctc expects logits of shape \(batch, time, classes\), got float32\[9, 5\]"),
        ({"targets": TARGETS[:3]}, r"ctc expects targets of shape \(batch=4, labels\), got int.*\[3, 4\]\n  fix: pad"),
        ({"targets": TARGETS * 1.0}, r"ctc expects integer targets, got float32\[4, 4\]"),
        ({"blank": 5}, r"ctc expects blank in 0 … 4, got 5"),
        ({"logit_lengths": FRAMES + 1}, r"ctc expects logit_lengths in 0 … 9, got int64\[4\] with 10"),
        ({"logit_lengths": FRAMES[:, None]}, r"ctc expects logit_lengths of shape \(4,\), got int.*\[4, 1\]"),
        ({"target_lengths": LABELS - 1}, r"ctc expects target_lengths in 0 … 4, got int64\[4\] with -1"),
        ({"target_lengths": LABELS * 0.5}, r"ctc expects integer target_lengths, got float32\[4\]"),
        ({"target_lengths": None}, r"ctc expects labels in 0 … 4 other than blank=0, got int64\[4, 4\] with -7"),
        ({"blank": 1}, r"ctc expects labels in 0 … 4 other than blank=1, got int64\[4, 4\] with 1"),
        ({"logits": LOGITS.astype(int)}, r"ctc expects a floating logits, got int32"),
    ],
)
def test_refusals(change, text):
    arguments = {"logits": LOGITS, "targets": TARGETS, "logit_lengths": FRAMES, "target_lengths": LABELS, **change}
    with pytest.raises((ValueError, TypeError), match=text):
        losses.ctc(arguments.pop("logits"), arguments.pop("targets"), **arguments)
