"""Losses at zero, equality, infinity, the largest float and NaN: values and gradients, against PyTorch or mathematics.

Where ``torch`` is False the expected numbers stand here: PyTorch gives another answer, and the row says why.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import oracle
from phlox import losses
from phlox.losses._probabilities import looks_like_probabilities
from phlox.nn import functional as F

torch = oracle("torch")
TF = torch.nn.functional
INF, NAN, TOP, TINY = np.inf, np.nan, float(np.finfo("f").max), float(np.finfo("f").tiny)

P = [0, 1, -1, 0.5, INF, -INF, TOP, -TOP, 3, TINY]
T = [0, 1, -1, -0.5, 0, 0, 0, 0, 3, 0]
LOGITS = [[0, 0, 0], [-INF, 0, 1], [TOP, -TOP, 0], [TOP, TOP, TOP], [-INF, -INF, 0]]
AT = [0, 1, 0, 1, 2]
SIGNS = [1, -1, 1, -1, 1]
LISTS = [[3, 0, -1, 1], [-1, 0, 1, 2], [0, 1, 2, 3], [3, 3, -1, 1], [0, 0, 0, 0]]
SCORES = [[0.1, 0.2, 0.4, 0.8], [0, 0, 0, 0], [0, 0, 0, 0], [0.1, 0.2, 0.4, 0.8], [1, 0, 0, 1]]
VECTORS = [[0, 0], [1, 0], [1, 1], [2, 1]], [[0, 0], [1, 0], [-1, -1], [2, 3]]


def signs(x):
    return torch.tensor(x, dtype=torch.float32)


# name: ours, PyTorch's, what both are differentiated by
TORCH = {
    "mse": (losses.mse, TF.mse_loss, (P, T)),
    "mae": (losses.mae, TF.l1_loss, (P, T)),
    "huber": (losses.huber, TF.huber_loss, (P, T)),
    "huber 0.5": (
        lambda *a, **k: losses.huber(*a, delta=0.5, **k),
        lambda *a, **k: TF.huber_loss(*a, delta=0.5, **k),
        (P, T),
    ),
    "smooth_l1": (losses.smooth_l1, TF.smooth_l1_loss, (P, T)),
    "smooth_l1 of 0": (
        lambda *a, **k: losses.smooth_l1(*a, beta=0, **k),
        lambda *a, **k: TF.smooth_l1_loss(*a, beta=0, **k),
        (P, T),
    ),
    "cross_entropy": (
        lambda z, **k: losses.cross_entropy(z, np.array(AT), **k),
        lambda z, **k: TF.cross_entropy(z, torch.tensor(AT), **k),
        (LOGITS,),
    ),
    "binary with logits": (
        lambda z, **k: losses.binary_cross_entropy_with_logits(z, np.array([1, 0, 1, 0, 0.3], "f"), **k),
        lambda z, **k: TF.binary_cross_entropy_with_logits(z, signs([1, 0, 1, 0, 0.3]), **k),
        ([0, INF, TOP, -TOP, 88],),
    ),
    "hinge_embedding": (
        lambda d, **k: losses.hinge_embedding(d, np.array(SIGNS), **k),
        lambda d, **k: TF.hinge_embedding_loss(d, signs(SIGNS), **k),
        ([0, 1, INF, 2, 1],),
    ),
    "margin_ranking": (
        lambda a, b, **k: losses.margin_ranking(a, b, np.array(SIGNS), **k),
        lambda a, b, **k: TF.margin_ranking_loss(a, b, signs(SIGNS), **k),
        ([0, 0, 1, INF, 3], [0, 0, 0, 0, 4]),
    ),
    "multi_margin": (
        lambda x, **k: losses.multi_margin(x, np.array([0, 1, 2]), **k),
        lambda x, **k: TF.multi_margin_loss(x, torch.tensor([0, 1, 2]), **k),
        ([[1, 0, 0], [0, 1, 3], [0, 0, 0]],),
    ),
    "multilabel_margin": (
        lambda x, **k: losses.multilabel_margin(x, np.array(LISTS), **k),
        lambda x, **k: TF.multilabel_margin_loss(x, torch.tensor(LISTS), **k),
        (SCORES,),
    ),
    "gaussian_nll": (losses.gaussian_nll, TF.gaussian_nll_loss, ([0, 1, 0], [0, 1, 1], [1, 1, TOP])),
    **{
        f"triplet_margin {p}": (
            lambda a, b, p=p, **k: losses.triplet_margin(a, b, np.ones((4, 2), "f"), p=p, eps=0.0, **k),
            lambda a, b, p=p, **k: TF.triplet_margin_loss(a, b, torch.ones(4, 2), p=p, eps=0.0, **k),
            VECTORS,
        )
        for p in (1.0, 1.5, 2.0, 3.0)
    },
    **{
        f"cdist {p}": (
            lambda a, b, p=p, **k: F.cdist(a, b, p),
            lambda a, b, p=p, **k: torch.cdist(a, b, p, compute_mode="donot_use_mm_for_euclid_dist"),
            VECTORS,
        )
        for p in (1.0, 2.0, 3.0)
    },
    "pairwise_distance": (
        lambda a, b, **k: F.pairwise_distance(a, b, eps=0.0),
        lambda a, b, **k: TF.pairwise_distance(a, b, eps=0.0),
        VECTORS,
    ),
    "cosine_similarity": (
        lambda a, b, **k: F.cosine_similarity(a, b),
        lambda a, b, **k: TF.cosine_similarity(a, b),
        VECTORS,
    ),
}


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.soak)])
def test_values_and_gradients_are_torchs(name, dtype):
    ours, theirs, given = TORCH[name]
    with jax.enable_x64(dtype == "float64"):
        arrays = [np.asarray(a, dtype) for a in given]
        value, back = jax.vjp(lambda *a: ours(*a, reduction="none"), *map(jnp.asarray, arrays))
        grads = back(jnp.ones_like(value))
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    want = theirs(*tensors, reduction="none")
    want.backward(torch.ones_like(want))
    np.testing.assert_allclose(value, want.detach().numpy(), rtol=1e-5, atol=1e-6)
    for got, tensor in zip(grads, tensors, strict=True):
        np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=1e-5, atol=1e-6)


ONE_HOT = np.eye(2, dtype="f")

# ours, argument, value, gradient
MATHEMATICS = {
    # PyTorch: 0 · log 0 is NaN where a logit is infinite and right
    "infinite logits that are right": (
        lambda z: losses.binary_cross_entropy_with_logits(z, np.array([1, 0]), reduction="none"),
        [INF, -INF],
        [0, 0],
        [0, 0],
    ),
    "the same, over labels": (
        lambda z: losses.multilabel_soft_margin(z, np.array([[1], [0]]), reduction="none"),
        [[INF], [-INF]],
        [0, 0],
        [[0], [0]],
    ),
    # PyTorch has no focal loss
    **{
        f"the same, focal {gamma}": (
            lambda z, gamma=gamma: losses.binary_focal_with_logits(z, np.array([1, 0]), gamma=gamma, reduction="none"),
            [INF, -INF],
            [0, 0],
            [0, 0],
        )
        for gamma in (0.0, 0.5, 2.0)
    },
    **{
        f"a class ruled out, focal {kind}": (
            lambda z, t=t: losses.focal_with_logits(z, t, reduction="none"),
            [[-INF, 0]],
            [0],
            [[0, 0]],
        )
        for kind, t in {"by class": np.array([1]), "by probability": ONE_HOT[1:]}.items()
    },
    # PyTorch: NaN, 0 · -inf
    "a class ruled out, by probability": (
        lambda z: losses.cross_entropy(z, ONE_HOT[1:], reduction="none"),
        [[-INF, 0]],
        [0],
        [[0, 0]],
    ),
    # PyTorch: the slope of -log p at p = 1 is -1, where its product of the two terms gives 0
    "certain and right": (
        lambda p: losses.binary_cross_entropy(p, np.array([1, 0]), reduction="none"),
        [1.0, 0.0],
        [0, 0],
        [-1, 1],
    ),
    # PyTorch: infinity, where log(1 + exp(x)) is x
    "far on the wrong side": (lambda p: losses.soft_margin(p, np.array([-1]), reduction="none"), [TOP], [TOP], [1]),
    # PyTorch: 0, and NaN for cosine_embedding; lengths beyond the largest float
    "the largest vectors": (
        lambda a: losses.cosine(a, np.full((1, 2), TOP, "f"), reduction="none"),
        [[TOP, TOP]],
        [0],
        [[0, 0]],
    ),
    "their similarity": (lambda a: F.cosine_similarity(a, np.full((1, 2), TOP, "f")), [[TOP, TOP]], [1], [[0, 0]]),
    # PyTorch: 1e6, the slope of a cosine that eps alone holds at 0
    "a zero vector beside an unlike one": (
        lambda a: losses.cosine_embedding(a, np.ones((1, 2), "f"), np.array([-1]), reduction="none"),
        [[0.0, 0.0]],
        [0],
        [[0, 0]],
    ),
    # PyTorch's cdist gives each of equal maxima the whole slope, which is no subgradient of their maximum
    "equal maxima": (lambda a: F.cdist(a, np.zeros((1, 2), "f"), INF)[:, 0], [[1.0, 1.0]], [1], [[0.5, 0.5]]),
    "equal, by the largest": (
        lambda a: F.pairwise_distance(a, np.ones((1, 2), "f"), INF, eps=0.0),
        [[1.0, 1.0]],
        [0],
        [[0, 0]],
    ),
    "no mask and none found": (
        lambda p: losses.dice(p, np.zeros((1, 2)), smooth=0.0, reduction="none"),
        [[0.0, 0.0]],
        [0],
        [[0, 0]],
    ),
    "log_cosh": (
        lambda p: losses.log_cosh(p, np.zeros(4, "f"), reduction="none"),
        [0, INF, -INF, TOP],
        [0, INF, INF, TOP],
        [0, 1, -1, 1],
    ),
    "poisson at rate 0": (lambda p: losses.poisson(p, np.zeros(1, "f"), eps=0.0, reduction="none"), [0.0], [0], [1]),
    "hinge": (
        lambda p: losses.hinge(p, np.array([1, 1, 1, -1]), reduction="none"),
        [1, INF, 0, TOP],
        [0, 0, 1, TOP],
        [0, 0, -1, 1],
    ),
    "lisht": (F.lisht, [0, TOP, -TOP], [0, TOP, TOP], [0, 1, -1]),
    "hardswish": (F.hardswish, [-TOP, TOP, -INF], [0, TOP, 0], [0, 1, 0]),  # PyTorch: infinity and NaN
}


@pytest.mark.parametrize("name", MATHEMATICS)
def test_where_torch_is_wrong_mathematics_decides(name):
    ours, x, want, slope = MATHEMATICS[name]
    value, back = jax.vjp(ours, jnp.asarray(x, "float32"))
    np.testing.assert_allclose(value, np.array(want, "f"), rtol=1e-6, atol=3e-7)
    np.testing.assert_allclose(back(jnp.ones_like(value))[0], np.array(slope, "f"), rtol=1e-6, atol=3e-7)


def test_the_second_derivative_of_huber_is_that_of_the_parabola():
    second = jax.vmap(jax.grad(jax.grad(lambda e: losses.huber(e, jnp.zeros(()), reduction="sum"))))
    assert second(jnp.array([0.0, 0.5, -2.0, 3.0])).tolist() == [1, 1, 0, 0]
    by_delta = jax.grad(
        lambda d: losses.huber(jnp.array([0.5, 3.0, jnp.inf])[:2], jnp.zeros(2), delta=d, reduction="sum")
    )
    assert float(by_delta(jnp.float32(1))) == 2  # |e| - delta, beyond it


def test_a_label_listed_twice_counts_twice():
    scores, targets = jnp.array([[0.1, 0.2, 0.4, 0.8]]), jnp.array([[3, 3, -1, 1]])
    np.testing.assert_allclose(losses.multilabel_margin(scores, targets), 0.65, rtol=1e-6)  # by hand, and PyTorch


NOT_A_NUMBER = {
    "mae": lambda x: losses.mae(x, np.zeros(3, "f")),
    "smooth_l1 of 0": lambda x: losses.smooth_l1(x, np.zeros(3, "f"), beta=0),
    "huber": lambda x: losses.huber(x, np.zeros(3, "f")),
    "hinge": lambda x: losses.hinge(x, np.ones(3)),
    "squared_hinge": lambda x: losses.squared_hinge(x, np.ones(3)),
    "hinge_embedding": lambda x: losses.hinge_embedding(x, -np.ones(3)),
    "margin_ranking": lambda x: losses.margin_ranking(x, np.zeros(3, "f"), np.ones(3)),
    "multi_margin": lambda x: losses.multi_margin(x[None], np.array([0])),
    "multilabel_margin": lambda x: losses.multilabel_margin(x[None], np.array([[True, False, False]])),
    "binary with logits": lambda x: losses.binary_cross_entropy_with_logits(x, np.array([1, 0, 1])),
    "focal_with_logits": lambda x: losses.focal_with_logits(x[None], np.array([0])),
    "cross_entropy": lambda x: losses.cross_entropy(x[None], np.array([0])),
    "cosine": lambda x: losses.cosine(x, np.ones(3, "f")),
    "pairwise 1": lambda x: F.pairwise_distance(x, np.ones(3, "f"), 1.0),
    "triplet": lambda x: losses.triplet_margin(x, x, np.ones(3, "f")),
}


@pytest.mark.parametrize("name", NOT_A_NUMBER)
def test_nan_does_not_vanish(name):
    """A prediction that is NaN makes the loss NaN, and its own gradient."""
    value, grad = jax.value_and_grad(NOT_A_NUMBER[name])(jnp.array([0.5, NAN, 2.0]))
    assert np.isnan(value)
    assert np.isnan(grad[1])


def test_what_looks_like_probabilities():
    softmax = np.exp(LOOKS) / np.exp(LOOKS).sum(-1, keepdims=True)
    assert looks_like_probabilities(softmax)
    assert looks_like_probabilities(jnp.asarray(softmax, "bfloat16"))
    one_hot = np.eye(5, dtype="f")
    no = {
        "logits": LOOKS,
        "one row": softmax[:1],
        "all equal, as zeros before training": np.full((4, 5), 0.2, "f"),
        "one row off": np.vstack([softmax[:3], LOOKS[:1]]),
        "one row twice as large": softmax * np.array([[1], [1], [1], [2]], "f"),
        "not a number": softmax * NAN,
        "one class": np.ones((4, 1), "f"),
        "one hot, as memorised rows are": one_hot,
        "no rows": softmax[:0],
        "integers": one_hot.astype(int),
    }
    assert [name for name, x in no.items() if looks_like_probabilities(x)] == []
    assert jax.jit(lambda x: x + looks_like_probabilities(x))(jnp.zeros(())) == 0  # unknown in a trace


LOOKS = np.random.default_rng(0).normal(size=(4, 5)).astype("f")
