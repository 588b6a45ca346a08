"""The contract that every loss keeps: reductions, weights, dtypes, transforms, refusals, extremes."""

from __future__ import annotations

import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import assert_close
from phlox import losses
from phlox.core._errors import ShapeError

RNG = np.random.default_rng(0)
X, Y, Z = (RNG.normal(size=(4, 6)).astype("float32") for _ in range(3))
P, Q = (RNG.uniform(0.05, 0.95, size=(4, 6)).astype("float32") for _ in range(2))
BITS = RNG.integers(0, 2, size=(4, 6))
SIGNS = 2 * BITS - 1
INDEX = np.array([0, 5, 2, 2])
SIMPLEX = P / P.sum(-1, keepdims=True)
SOFT = Q / Q.sum(-1, keepdims=True)
BOXES = np.concatenate([P[:, :2], P[:, :2] + Q[:, :2]], axis=-1)
LOGITS = RNG.normal(size=(4, 7, 6)).astype("float32")

# name: (arguments, the shape of the loss without a reduction); the first argument is the prediction
CASES = {
    "binary_cross_entropy": ((P, Q), (4, 6)),
    "binary_cross_entropy_with_logits": ((X, Q), (4, 6)),
    "binary_focal": ((P, BITS), (4, 6)),
    "binary_focal_with_logits": ((X, BITS), (4, 6)),
    "clip_loss": ((X[:, :4],), (4,)),
    "contrastive": ((X, Y), (4,)),
    "cosine": ((X, Y), (4,)),
    "cosine_embedding": ((X, Y, SIGNS[:, 0]), (4,)),
    "cross_entropy": ((X, INDEX), (4,)),
    "ctc": ((LOGITS, np.maximum(BITS[:, :2], 1) + INDEX[:, None] // 2), (4,)),
    "dice": ((P, BITS), (4,)),
    "dpo_loss": ((X, Y, Z, P), (4, 6)),
    "focal": ((SIMPLEX, INDEX), (4,)),
    "focal_with_logits": ((X, INDEX), (4,)),
    "gaussian_nll": ((X, Y, P), (4, 6)),
    "generalized_iou": ((BOXES, BOXES[::-1]), (4,)),
    "hinge": ((X, SIGNS), (4, 6)),
    "hinge_embedding": ((X, SIGNS), (4, 6)),
    "huber": ((X, Y), (4, 6)),
    "kl_divergence": ((SIMPLEX, SOFT), (4,)),
    "kl_divergence_with_logits": ((X, SOFT), (4,)),
    "log_cosh": ((X, Y), (4, 6)),
    "mae": ((X, Y), (4, 6)),
    "margin_ranking": ((X, Y, SIGNS), (4, 6)),
    "mse": ((X, Y), (4, 6)),
    "msle": ((P, Q), (4, 6)),
    "multi_margin": ((X, INDEX), (4,)),
    "multilabel_margin": ((X, BITS.astype(bool)), (4,)),
    "multilabel_soft_margin": ((X, BITS), (4,)),
    "nll": ((np.log(SIMPLEX), INDEX), (4,)),
    "poisson": ((P, BITS), (4, 6)),
    "poisson_with_log_rates": ((X, BITS), (4, 6)),
    "siamese_contrastive": ((P, BITS), (4, 6)),
    "siglip_loss": ((X[:, :4],), (4,)),
    "smooth_l1": ((X, Y), (4, 6)),
    "soft_margin": ((X, SIGNS), (4, 6)),
    "squared_hinge": ((X, SIGNS), (4, 6)),
    "triplet_margin": ((X, Y, Z), (4,)),
    "tversky": ((P, BITS), (4,)),
}
every_loss = pytest.mark.parametrize("name", CASES)


def test_every_public_loss_is_held_to_the_contract():
    assert set(CASES) == set(losses.__all__) - {"label_smoothing", "sequence_log_prob"}


@every_loss
def test_reductions_and_weights(name):
    loss, (arguments, shape) = getattr(losses, name), CASES[name]
    each = loss(*arguments, reduction="none")
    assert each.shape == shape
    # CTC's mean is that of the losses per label (2 each here)
    per = np.asarray(each, "float64") / (2 if name == "ctc" else 1)
    assert_close(loss(*arguments), np.float32(per.mean()))
    assert_close(loss(*arguments, reduction="sum"), np.float32(np.asarray(each, "float64").sum()), scale=3)
    weight = np.array([0.5, 0.0, 2.0, 1.0], "float32")
    spread = np.broadcast_to(weight.reshape((4,) + (1,) * (len(shape) - 1)), shape)
    assert_close(loss(*arguments, weight=weight), np.float32(np.average(per, weights=spread)))
    assert_close(loss(*arguments, weight=weight, reduction="none"), np.asarray(each) * spread)
    assert loss(*arguments, weight=np.zeros(4)) == 0  # a batch where nothing counts


@every_loss
def test_eager_equals_compiled_and_mapped(name):
    loss, (arguments, _) = getattr(losses, name), CASES[name]
    value, grad = jax.value_and_grad(loss)(jnp.asarray(arguments[0]), *arguments[1:])
    compiled = jax.jit(jax.value_and_grad(loss))(*arguments)
    assert_close(compiled[0], value)
    assert_close(compiled[1], grad, kind="grad")
    stacked = [jnp.stack([a, a[::-1]]) for a in arguments]
    mapped = jax.vmap(lambda *a: loss(*a, reduction="none"))(*stacked)
    turned = [a[::-1] for a in arguments]
    assert_close(mapped, np.stack([loss(*arguments, reduction="none"), loss(*turned, reduction="none")]))


@every_loss
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_float32_result_rounded_once(name, dtype):
    loss, (arguments, _) = getattr(losses, name), CASES[name]
    half = [jnp.asarray(a, dtype) if a.dtype == np.float32 else a for a in arguments]
    wide = [a.astype("float32") if a.dtype == dtype else a for a in half]
    value, grad = jax.value_and_grad(loss)(*half)
    want, want_grad = jax.value_and_grad(loss)(*wide)
    assert value.dtype == grad.dtype == dtype
    assert value == want.astype(dtype)
    assert_close(grad, want_grad, kind="grad")


@every_loss
def test_float64_and_mixed_dtypes(name):
    loss, (arguments, _) = getattr(losses, name), CASES[name]
    want = loss(*arguments)
    with jax.enable_x64(True):
        wide = [a.astype("float64") if a.dtype == np.float32 else a for a in arguments]
        got = loss(*wide)
        assert got.dtype == jnp.float64
        assert_close(want, got)
        half = loss(jnp.asarray(arguments[0], "bfloat16"), *arguments[1:])
    floating = any(a.dtype == np.float32 for a in arguments[1:])
    assert half.dtype == ("float32" if floating else "bfloat16")


@every_loss
def test_it_pickles(name):
    loss = getattr(losses, name)
    assert pickle.loads(pickle.dumps(loss)) is loss


ELEMENTWISE = sorted(n for n, (a, s) in CASES.items() if len(a) == 2 and a[0].shape == a[1].shape)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_shapes_that_do_not_match_are_refused(name):
    loss, ((p, t), _) = getattr(losses, name), CASES[name]
    for a, b in ((p[:3, 0], t[:3, :1]), (p[:3, :1], t[:3, 0]), (p[:3], t[0]), (p[:, :3], t[:, :2]), (p, t[0, 0])):
        got = re.escape(f"float32{list(a.shape)} and ") + r"\w+" + re.escape(str(list(b.shape)))
        with pytest.raises(ShapeError, match=rf"^{name} expects \w+ and \w+ of one shape, got {got}"):
            loss(a, b)


@every_loss
def test_other_refusals(name):
    loss, (arguments, shape) = getattr(losses, name), CASES[name]
    with pytest.raises(ValueError, match=rf'^{name} expects reduction "mean", "sum" or "none", got \'batch\''):
        loss(*arguments, reduction="batch")
    beginning = re.escape(f"{name} expects weight of the loss's leading axes, a beginning of {shape}, got float32[6]")
    with pytest.raises(ValueError, match="^" + beginning):
        loss(*arguments, weight=jnp.ones(6))
    with pytest.raises(
        TypeError, match=rf"^{name} expects a floating \w+, got int32.*\n  fix: pass the prediction first"
    ):
        loss(arguments[0].astype("int32"), *arguments[1:])
    at = min(1, len(arguments) - 1)
    turned = [a.astype("complex64") if i == at else a for i, a in enumerate(arguments)]
    with pytest.raises(TypeError, match=rf"^{name} expects a \w+ \w+, got complex64"):
        loss(*turned)


@pytest.mark.parametrize("name", ["cosine_embedding", "gaussian_nll", "margin_ranking", "triplet_margin"])
def test_three_arguments_of_unlike_shapes_are_refused(name):
    loss, ((a, b, c), _) = getattr(losses, name), CASES[name]
    with pytest.raises(ValueError, match=rf"^{name} expects \w+ and \w+ of one shape, got .*\[4, 6\] and \w+\[4, 1\]"):
        loss(a, b[:, :1], c)
    with pytest.raises(ValueError, match=rf"^{name} expects .*\[4, 1\]"):
        loss(a, b, c[:, None] if c.ndim == 1 else c[:, :1])


CLASSES = r"expects integer targets \[4\] (or one-hot targets \[4, 6\] )?beside \w+ float32\[4, 6\]"


@pytest.mark.parametrize("name", ["cross_entropy", "nll", "focal", "focal_with_logits", "multi_margin"])
def test_class_targets_that_do_not_fit_are_refused(name):
    loss, ((x, t), _) = getattr(losses, name), CASES[name]
    for bad in (t[:, None], t[:3], np.eye(5)[t % 5], t[None]):
        with pytest.raises(
            ValueError, match=rf"^{name} {CLASSES}.*, got \w+{re.escape(str(list(bad.shape)))}\n  fix: put"
        ):
            loss(x, bad)
    with pytest.raises(TypeError, match=rf"^{name} expects integer classes, got float32\[4\]"):
        loss(x, t.astype("float32"))
    with pytest.raises(ValueError, match=rf"^{name} expects targets in 0 … 5.*, got int\d+\[4\] with 6"):
        loss(x, t + 1)
    with pytest.raises(ValueError, match=rf"^{name} expects class_weight of shape \(6,\), got float32\[4\]"):
        loss(x, t, class_weight=jnp.ones(4))
    assert np.isnan(jax.jit(loss)(x, t + 1))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: losses.cross_entropy(X, INDEX, label_smoothing=1.5), r"label_smoothing within \[0, 1\], got 1.5"),
        (lambda: losses.cross_entropy(X, SOFT, ignore_index=0), "ignore_index only beside integer targets, got"),
        (lambda: losses.label_smoothing(SOFT, -0.1), r"smoothing within \[0, 1\], got -0.1"),
        (lambda: losses.label_smoothing(SOFT, 0.1, axis=2), "axis among the 2 axes of targets, got 2"),
        (lambda: losses.huber(X, Y, delta=0.0), "delta above 0, got 0.0"),
        (lambda: losses.smooth_l1(X, Y, beta=-1.0), "beta of at least 0, got -1.0"),
        (lambda: losses.msle(X, Y, eps=0), "eps above 0, got 0"),
        (lambda: losses.msle(P, P - 2), r"targets above -eps = -1.0, got float32\[4, 6\] with -1"),
        (lambda: losses.poisson(P, BITS, eps=-1.0), "eps of at least 0"),
        (lambda: losses.poisson(X, BITS), r"rates of at least 0, got float32\[4, 6\] with -"),
        (lambda: losses.poisson(P, SIGNS), r"counts of at least 0, got int64\[4, 6\] with -1"),
        (lambda: losses.gaussian_nll(X, Y, P, eps=0.0), "eps above 0"),
        (lambda: losses.gaussian_nll(X, Y, Z), "variance of at least 0, got float32"),
        (
            lambda: losses.kl_divergence(X, SOFT),
            "probabilities of at least 0, .*\n  fix: use kl_divergence_with_logits",
        ),
        (lambda: losses.kl_divergence(SOFT, X), "target probabilities of at least 0"),
        (
            lambda: losses.binary_cross_entropy(X, Q),
            r"within \[0, 1\], .*\n  fix: use binary_cross_entropy_with_logits",
        ),
        (
            lambda: losses.binary_cross_entropy_with_logits(X, SIGNS),
            r"targets within \[0, 1\], got int64\[4, 6\] with -1",
        ),
        (
            lambda: losses.binary_cross_entropy_with_logits(X, Q, pos_weight=jnp.ones(4)),
            r"pos_weight of the trailing axes, an ending of \(4, 6\), got float32\[4\]",
        ),
        (lambda: losses.multilabel_soft_margin(X, SIGNS), r"targets within \[0, 1\]"),
        (lambda: losses.hinge(X, BITS), r"targets of -1 or 1, got int64\[4, 6\] with 0\n  fix: map 0 and 1 to signs"),
        (lambda: losses.squared_hinge(X, BITS), "targets of -1 or 1"),
        (lambda: losses.soft_margin(X, BITS), "targets of -1 or 1"),
        (lambda: losses.hinge_embedding(X, BITS), "targets of -1 or 1"),
        (lambda: losses.margin_ranking(X, Y, BITS), "targets of -1 or 1"),
        (lambda: losses.cosine_embedding(X, Y, BITS[:, 0]), "targets of -1 or 1"),
        (lambda: losses.cosine_embedding(X, Y, SIGNS[:, 0], margin=1.1), r"margin within \[-1, 1\], got 1.1"),
        (lambda: losses.multi_margin(X, INDEX, p=3), "p of 1 or 2, got 3"),
        (lambda: losses.multilabel_margin(X, BITS + 5), r"labels in 0 … 5, ended by -1, got int\d+\[4, 6\] with 6"),
        (lambda: losses.multilabel_margin(X, Q), "multi-hot targets of 0 or 1"),
        (lambda: losses.dice(P[0], BITS[0]), r"prediction of shape \(batch, ...\), got float32\[6\]"),
        (lambda: losses.dice(X, BITS), r"a prediction within \[0, 1\], .*\n  fix: pass logits through sigmoid"),
        (lambda: losses.dice(P, BITS, smooth=-1.0), "smooth of at least 0"),
        (lambda: losses.dice(P, BITS, axis=2), "axis among the 2 axes of the prediction, got 2"),
        (lambda: losses.tversky(P, BITS, alpha=-0.1), "alpha of at least 0"),
        (lambda: losses.generalized_iou(X, Y), r"boxes \(..., 4\), got float32\[4, 6\]"),
        (lambda: losses.focal(X, INDEX), r"probabilities within \[0, 1\], .*\n  fix: use focal_with_logits"),
        (lambda: losses.binary_focal(P, BITS, gamma=-1.0), "gamma of at least 0"),
        (lambda: losses.binary_focal_with_logits(X, BITS, alpha=2), r"alpha within \[0, 1\], got 2"),
        (lambda: losses.triplet_margin(X, Y, Z, margin=0.0), "margin above 0"),
        (lambda: losses.triplet_margin(X, Y, Z, p=0.5), "p of at least 1, got 0.5"),
        (lambda: losses.siamese_contrastive(P, BITS, margin=-1), "margin of at least 0, got -1"),
        (lambda: losses.siamese_contrastive(P, SIGNS), r"targets within \[0, 1\]"),
        (lambda: losses.contrastive(X, Y, temperature=0.0), "temperature above 0"),
        (lambda: losses.contrastive(X, Y, kind="clip"), 'kind "nt_xent" or "info_nce", got \'clip\''),
        (lambda: losses.contrastive(X[0], Y[0]), r"vectors of shape \(batch, features\), got float32\[6\]"),
        (lambda: losses.clip_loss(X), r"logits of shape \(batch, batch\), got float32\[4, 6\]"),
        (lambda: losses.siglip_loss(X[0]), r"logits of shape \(batch, batch\), got float32\[6\]"),
        (lambda: losses.dpo_loss(X, Y, Z, P, beta=0.0), "beta above 0, got 0.0"),
        (lambda: losses.dpo_loss(X, Y, Z, P, label_smoothing=0.5), r"label_smoothing within \[0, 0.5\), got 0.5"),
        (lambda: losses.dpo_loss(X, Y, Z, P[:, :1]), r"chosen and reference_rejected of one shape, got .*\[4, 1\]"),
        (lambda: losses.sequence_log_prob(LOGITS, INDEX), r"targets \[4, 7\] beside logits .*, got int64\[4\]"),
        (lambda: losses.sequence_log_prob(X[0], INDEX[0]), r"\(..., time, classes\), got int"),
        (lambda: losses.mse(X[:0], Y[:0]), "at least one element to take a mean over, got float32"),
        (lambda: losses.cosine(X[0, 0], Y[0, 0]), r"prediction of shape \(..., features\), got float32\[\]"),
    ],
)
def test_ranges(call, text):
    with pytest.raises(ValueError, match=text):
        call()


BIG = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]], "float32")
EDGE = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]], "float32")
HOT = np.array([[0, 1, 1], [0, 1, 0], [1, 1, 0]])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "name", sorted(set(CASES) - {"ctc", "poisson_with_log_rates", "nll", "msle", "generalized_iou"})
)
def test_extreme_predictions_give_finite_values_and_gradients(name, dtype):
    """Predictions of ±1e4, and probabilities of exactly 0 and 1; e^1e4 of a log rate has no float32."""
    loss, (arguments, _) = getattr(losses, name), CASES[name]
    bounded = arguments[0] is P or arguments[0] is SIMPLEX
    p = jnp.asarray(EDGE if bounded else BIG, dtype)
    second = arguments[1] if len(arguments) > 1 else None
    targets = (
        np.array([1, 0, 2]) if second is INDEX else HOT * 2 - 1 if second is SIGNS else EDGE if second is SOFT else HOT
    )
    if name in ("cosine_embedding", "margin_ranking", "gaussian_nll", "triplet_margin"):
        third = {"cosine_embedding": np.array([1, -1, 1]), "margin_ranking": HOT * 2 - 1}
        rest = (jnp.asarray(BIG[::-1], dtype), third.get(name, jnp.asarray(HOT, dtype)))
    elif name == "dpo_loss":
        rest = tuple(jnp.asarray(x, dtype) for x in (BIG[::-1], HOT, EDGE))
    elif second is None:
        rest = ()
    elif name == "contrastive":
        rest = (jnp.asarray(BIG[::-1], dtype),)
    elif name == "multilabel_margin":
        rest = (HOT.astype(bool),)
    else:
        rest = (targets,)
    value, grad = jax.value_and_grad(loss)(p, *rest)
    assert np.isfinite(value.astype("float32"))
    assert np.isfinite(grad.astype("float32")).all()


def test_right_answers_at_extreme_logits_cost_nothing_and_wrong_ones_the_distance():
    z = jnp.array([1e4, -1e4, 1e4, -1e4])
    t = jnp.array([1, 0, 0, 1])
    for loss in (losses.binary_cross_entropy_with_logits, losses.binary_focal_with_logits):
        np.testing.assert_array_equal(loss(z, t, reduction="none"), [0, 0, 1e4, 1e4])
        grad = jax.grad(lambda z, loss=loss: loss(z, t, reduction="sum"))(z)
        np.testing.assert_array_equal(grad, [0, 0, 1, -1])
    small = losses.binary_cross_entropy_with_logits(jnp.array([-20.0]), jnp.array([0]))
    np.testing.assert_allclose(small, np.exp(-20.0), rtol=1e-6)
