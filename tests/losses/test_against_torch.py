"""Every loss that PyTorch has: values and gradients equal PyTorch's, in both precisions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import against_torch, oracle
from phlox import losses

torch = oracle("torch")
F = torch.nn.functional


def rng(seed=0):
    return np.random.default_rng(seed)


def normal(*shape, seed=0, scale=1.5):
    return rng(seed).normal(size=shape) * scale


def unit(*shape, seed=0):
    return rng(seed).uniform(0.02, 0.98, size=shape)


def signs(*shape, seed=0):
    return rng(seed).choice([-1.0, 1.0], size=shape)


def bits(*shape, seed=0):
    return rng(seed).integers(0, 2, size=shape)


def simplex(*shape, seed=0):
    e = np.exp(normal(*shape, seed=seed))
    return e / e.sum(-1, keepdims=True)


POS = np.array([0.5, 2.0, 3.0])
LABELS = np.array([0.7, 1.5, 0.2])
INDEX = np.array([0, 2, 1, 2, 0])

# name: (ours(*arrays, reduction=), torch's, arrays); float arrays are differentiated, all of them
CASES = {
    "mse": (losses.mse, F.mse_loss, [normal(5, 3), normal(5, 3, seed=1)]),
    "mae": (losses.mae, F.l1_loss, [normal(5, 3), normal(5, 3, seed=1)]),
    "huber": (
        lambda p, t, **k: losses.huber(p, t, delta=0.7, **k),
        lambda p, t, **k: F.huber_loss(p, t, delta=0.7, **k),
        [normal(5, 3), normal(5, 3, seed=1)],
    ),
    "smooth_l1": (
        lambda p, t, **k: losses.smooth_l1(p, t, beta=0.6, **k),
        lambda p, t, **k: F.smooth_l1_loss(p, t, beta=0.6, **k),
        [normal(5, 3), normal(5, 3, seed=1)],
    ),
    "smooth_l1 beta 0": (
        lambda p, t, **k: losses.smooth_l1(p, t, beta=0.0, **k),
        lambda p, t, **k: F.smooth_l1_loss(p, t, beta=0.0, **k),
        [normal(5, 3), normal(5, 3, seed=1)],
    ),
    "binary_cross_entropy": (losses.binary_cross_entropy, F.binary_cross_entropy, [unit(5, 3), unit(5, 3, seed=1)]),
    "binary_cross_entropy_with_logits": (
        losses.binary_cross_entropy_with_logits,
        F.binary_cross_entropy_with_logits,
        [normal(5, 3), unit(5, 3, seed=1)],
    ),
    "pos_weight": (
        lambda p, t, **k: losses.binary_cross_entropy_with_logits(p, t, pos_weight=POS, **k),
        lambda p, t, **k: F.binary_cross_entropy_with_logits(p, t, pos_weight=torch.tensor(POS, dtype=p.dtype), **k),
        [normal(5, 3), unit(5, 3, seed=1)],
    ),
    "multilabel_soft_margin": (
        losses.multilabel_soft_margin,
        F.multilabel_soft_margin_loss,
        [normal(5, 3), unit(5, 3, seed=1)],
    ),
    "multilabel_soft_margin class_weight": (
        lambda p, t, **k: losses.multilabel_soft_margin(p, t, class_weight=LABELS, **k),
        lambda p, t, **k: F.multilabel_soft_margin_loss(p, t, weight=torch.tensor(LABELS, dtype=p.dtype), **k),
        [normal(5, 3), unit(5, 3, seed=1)],
    ),
    "poisson": (
        losses.poisson,
        lambda p, t, **k: F.poisson_nll_loss(p, t, log_input=False, **k),
        [unit(5, 3) * 4, rng(1).poisson(2.0, (5, 3)).astype(float)],
    ),
    "poisson_with_log_rates": (
        losses.poisson_with_log_rates,
        F.poisson_nll_loss,
        [normal(5, 3), rng(1).poisson(2.0, (5, 3)).astype(float)],
    ),
    "gaussian_nll": (
        lambda p, t, v, **k: losses.gaussian_nll(p, t, v, **k),
        lambda p, t, v, **k: F.gaussian_nll_loss(p, t, v, **k),
        [normal(5, 3), normal(5, 3, seed=1), unit(5, 3, seed=2) * 2],
    ),
    "gaussian_nll full, variance below eps": (
        lambda p, t, v, **k: losses.gaussian_nll(p, t, v, full=True, eps=0.5, **k),
        lambda p, t, v, **k: F.gaussian_nll_loss(p, t, v, full=True, eps=0.5, **k),
        [normal(5, 3), normal(5, 3, seed=1), unit(5, 3, seed=2)],
    ),
    "soft_margin": (
        losses.soft_margin,
        lambda x, t, **k: F.soft_margin_loss(x, t.to(x.dtype), **k),
        [normal(5, 3), signs(5, 3).astype(int)],
    ),
    "hinge_embedding": (
        lambda d, t, **k: losses.hinge_embedding(d, t, margin=1.3, **k),
        lambda d, t, **k: F.hinge_embedding_loss(d, t, margin=1.3, **k),
        [unit(5, 3) * 3, signs(5, 3).astype(int)],
    ),
    "margin_ranking": (
        lambda a, b, t, **k: losses.margin_ranking(a, b, t, margin=0.4, **k),
        lambda a, b, t, **k: F.margin_ranking_loss(a, b, t, margin=0.4, **k),
        [normal(9), normal(9, seed=1), signs(9).astype(int)],
    ),
    "multi_margin": (losses.multi_margin, F.multi_margin_loss, [normal(5, 3), INDEX]),
    "multi_margin p=2": (
        lambda x, t, **k: losses.multi_margin(x, t, p=2, margin=0.6, class_weight=LABELS, **k),
        lambda x, t, **k: F.multi_margin_loss(x, t, 2, 0.6, weight=torch.tensor(LABELS, dtype=x.dtype), **k),
        [normal(5, 3), INDEX],
    ),
    "multilabel_margin": (
        losses.multilabel_margin,
        F.multilabel_margin_loss,
        [normal(4, 5), np.array([[3, 0, -1, 1, 2], [-1, 4, 4, 4, 4], [0, 1, 2, 3, 4], [2, 4, -1, -1, -1]])],
    ),
    "cosine_embedding": (
        lambda a, b, t, **k: losses.cosine_embedding(a, b, t, margin=0.1, **k),
        lambda a, b, t, **k: F.cosine_embedding_loss(a, b, t, margin=0.1, **k),
        [normal(9, 4), normal(9, 4, seed=1), signs(9).astype(int)],
    ),
    "triplet_margin": (losses.triplet_margin, F.triplet_margin_loss, [normal(7, 4, seed=s) for s in range(3)]),
    "triplet_margin swap p=1": (
        lambda a, p, n, **k: losses.triplet_margin(a, p, n, margin=2.0, p=1, swap=True, **k),
        lambda a, p, n, **k: F.triplet_margin_loss(a, p, n, margin=2.0, p=1, swap=True, **k),
        [normal(7, 4, seed=s) for s in range(3)],
    ),
    "triplet_margin p=3, eps": (
        lambda a, p, n, **k: losses.triplet_margin(a, p, n, p=3, eps=0.05, **k),
        lambda a, p, n, **k: F.triplet_margin_loss(a, p, n, p=3, eps=0.05, **k),
        [normal(7, 4, seed=s) for s in range(3)],
    ),
    "nll": (losses.nll, F.nll_loss, [np.log(simplex(5, 3)), INDEX]),
    "cosine": (
        losses.cosine,
        lambda a, b, reduction: reduce_torch(1 - F.cosine_similarity(a, b, dim=-1), reduction),
        [normal(5, 2, 4), normal(5, 2, 4, seed=1)],
    ),
}


def reduce_torch(loss, reduction):
    return {"none": lambda x: x, "sum": torch.sum, "mean": torch.mean}[reduction](loss)


def cast(arrays, dtype):
    return [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]


def differentiable(name, arrays):
    if name.startswith("poisson"):  # the gradient of a count is of no use
        return [0]
    return [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]


@pytest.mark.parametrize(("reduction", "dtype"), [("mean", "float32"), ("none", "float32"), ("none", "float64")])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name, reduction, dtype):
    ours, theirs, arrays = CASES[name]
    with jax.enable_x64(dtype == "float64"):
        against_torch(
            lambda *a: ours(*a, reduction=reduction),
            lambda *a: theirs(*a, reduction=reduction),
            *cast(arrays, dtype),
            grad=differentiable(name, arrays),
        )


WEIGHT = np.array([0.5, 2.0, 0.0, 1.0, 3.0], "float32")


@pytest.mark.parametrize(
    ("name", "reduction"),
    # PyTorch's huber_loss alone divides its weighted mean by the count
    [(n, r) for n in ("mse", "mae", "huber") for r in ("mean", "sum", "none") if (n, r) != ("huber", "mean")],
)
def test_sample_weights_are_a_weighted_mean(name, reduction):
    p, t, w = (a.astype("float32") for a in (normal(5, 3), normal(5, 3, seed=1), WEIGHT))
    theirs = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}[name]
    against_torch(
        lambda p, t, w: getattr(losses, name)(p, t, weight=w, reduction=reduction),
        lambda p, t, w: theirs(p, t, weight=w[:, None].expand(5, 3), reduction=reduction),
        *(p, t, w),
    )


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_weights_of_binary_cross_entropy(reduction):
    z, t, w = (a.astype("float32") for a in (normal(5, 3), unit(5, 3, seed=1), unit(5, 3, seed=2)))
    against_torch(
        lambda z, t: losses.binary_cross_entropy_with_logits(z, t, weight=w, reduction=reduction),
        lambda z, t: F.binary_cross_entropy_with_logits(z, t, weight=torch.tensor(w), reduction=reduction),
        *(z, t),
    )


def test_binary_cross_entropy_mean_with_weights_divides_by_the_weights_where_torch_divides_by_the_count():
    z, t, w = (a.astype("float32") for a in (normal(5, 3), unit(5, 3, seed=1), unit(5, 3, seed=2)))
    against_torch(
        lambda z, t: losses.binary_cross_entropy_with_logits(z, t, weight=w),
        lambda z, t: F.binary_cross_entropy_with_logits(z, t, weight=torch.tensor(w)) * (w.size / w.sum().item()),
        *(z, t),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_kl_divergence_is_torchs_with_logarithms_and_batchmean(reduction):
    p, t = simplex(5, 4).astype("float32"), simplex(5, 4, seed=1).astype("float32")
    theirs = {"mean": "batchmean", "sum": "sum"}[reduction]
    against_torch(
        lambda p, t: losses.kl_divergence(p, t, reduction=reduction),
        lambda p, t: F.kl_div(p.log(), t, reduction=theirs),
        *(p, t),
    )
    against_torch(
        lambda z, t: losses.kl_divergence_with_logits(z, t, reduction=reduction),
        lambda z, t: F.kl_div(F.log_softmax(z, -1), t, reduction=theirs),
        *(normal(5, 4).astype("float32"), t),
    )


@pytest.mark.parametrize("kind", ["info_nce", "nt_xent"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_contrastive_is_cross_entropy_over_similarities(kind, reduction):
    def theirs(a, b):
        a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
        n = len(a)
        if kind == "info_nce":
            return F.cross_entropy(a @ b.T / 0.2, torch.arange(n), reduction=reduction)
        z = torch.cat([a, b])
        sims = (z @ z.T / 0.2).masked_fill(torch.eye(2 * n, dtype=torch.bool), float("-inf"))
        partner = torch.cat([torch.arange(n) + n, torch.arange(n)])
        loss = F.cross_entropy(sims, partner, reduction="none").reshape(2, n).mean(0)
        return loss.mean() if reduction == "mean" else loss

    against_torch(
        lambda a, b: losses.contrastive(a, b, temperature=0.2, kind=kind, reduction=reduction),
        theirs,
        *(normal(6, 4).astype("float32"), normal(6, 4, seed=1).astype("float32")),
    )


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_clip_loss_is_cross_entropy_both_ways(reduction):
    def theirs(z):
        own = torch.arange(len(z))
        loss = (F.cross_entropy(z, own, reduction="none") + F.cross_entropy(z.T, own, reduction="none")) / 2
        return loss.mean() if reduction == "mean" else loss

    against_torch(lambda z: losses.clip_loss(z, reduction=reduction), theirs, normal(5, 5).astype("float32"))


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_siglip_loss_is_binary_cross_entropy_of_all_pairs(reduction):
    def theirs(z):
        loss = F.binary_cross_entropy_with_logits(z, torch.eye(len(z), dtype=z.dtype), reduction="none").sum(1)
        return loss.mean() if reduction == "mean" else loss

    against_torch(lambda z: losses.siglip_loss(z, reduction=reduction), theirs, normal(5, 5).astype("float32"))


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_dpo_loss_is_the_log_sigmoid_of_what_the_model_prefers_beyond_the_reference(smoothing, reduction):
    def theirs(chosen, rejected, reference_chosen, reference_rejected):
        h = 0.3 * ((chosen - rejected) - (reference_chosen - reference_rejected))
        loss = -(1 - smoothing) * F.logsigmoid(h) - smoothing * F.logsigmoid(-h)
        return loss.mean() if reduction == "mean" else loss

    against_torch(
        lambda *given: losses.dpo_loss(*given, beta=0.3, label_smoothing=smoothing, reduction=reduction),
        theirs,
        *(normal(5, seed=seed, scale=4).astype("float32") for seed in range(4)),
    )


def test_the_log_probability_of_a_text_is_that_of_its_tokens_that_count():
    targets = np.array([[0, 2, -100, 1], [-100, -100, 3, 0], [-100] * 4])

    def theirs(logits):
        said = torch.log_softmax(logits, -1)
        at = torch.tensor(targets)
        return (said.gather(-1, at.clamp(min=0)[..., None])[..., 0] * (at != -100)).sum(-1)

    logits = normal(3, 4, 5).astype("float32")
    against_torch(lambda z: losses.sequence_log_prob(z, targets), theirs, logits)
    assert losses.sequence_log_prob(jnp.asarray(logits, "bfloat16"), targets).dtype == jnp.float32


def test_multilabel_margin_reads_multi_hot_targets_as_lists_of_labels():
    x = normal(2, 4).astype("float32")
    hot = np.array([[True, False, False, True], [False, True, False, False]])
    listed = np.array([[3, 0, -1, -1], [1, -1, -1, -1]])
    for targets in (hot, hot.astype("float32")):
        against_torch(
            lambda x, targets=targets: losses.multilabel_margin(x, targets),
            lambda x: F.multilabel_margin_loss(x, torch.tensor(listed)),
            x,
        )


def test_binary_cross_entropy_at_wrong_certainty_has_torchs_finite_value_and_gradient():
    against_torch(
        losses.binary_cross_entropy,
        F.binary_cross_entropy,
        *(np.array([0.0, 1.0, 0.5], "float32"), np.array([1.0, 0.0, 1.0], "float32")),
        grad=[0],
    )


def test_second_derivative_of_binary_cross_entropy():
    p, t = np.array([0.2, 0.7]), np.array([1.0, 0.0])
    with jax.enable_x64(True):
        hessian = jax.hessian(lambda p: losses.binary_cross_entropy(p, t, reduction="sum"))(jnp.asarray(p))
        np.testing.assert_allclose(hessian, np.diag([1 / 0.2**2, 1 / 0.3**2]), rtol=1e-12)
