"""Products, embeddings and distances against PyTorch, with ragged bags, ties, zeros and refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import against_torch, assert_close, oracle
from phlox.core._errors import DtypeError, RangeError, ShapeError
from phlox.nn.functional import _distance as distance
from phlox.nn.functional import _embedding as embedding
from phlox.nn.functional import _linear as linear

torch = oracle("torch")
F = torch.nn.functional
RNG = np.random.default_rng(0)


def normal(*shape, dtype="f"):
    return RNG.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("lead", [(), (4,), (2, 3), (2, 3, 4), (0,), (2, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_against_torch(lead, dtype):
    with jax.enable_x64(dtype == "float64"):
        x, w, b = normal(*lead, 7, dtype=dtype), normal(7, 5, dtype=dtype), normal(5, dtype=dtype)
        against_torch(linear.dense, lambda x, w, b: F.linear(x, w.T, b), x, w, b)
        against_torch(linear.dense, lambda x, w: F.linear(x, w.T), x, w)


def test_dense_multiplies_one_matrix_whatever_the_rank():
    """The compiled program holds a product of two matrices, not a contraction of higher rank."""
    jaxpr = jax.make_jaxpr(linear.dense)(jnp.ones((2, 3, 4, 7)), jnp.ones((7, 5)))
    (product,) = [e for e in jaxpr.eqns if e.primitive.name == "dot_general"]
    assert [v.aval.ndim for v in product.invars] == [2, 2]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_products_accumulate_in_float32(dtype):
    """20,000 terms that float16 or bfloat16 could not add; a float32 weight does not widen the answer."""
    x, w = jnp.asarray(RNG.uniform(size=(4, 20000)), dtype), jnp.asarray(RNG.uniform(0, 0.1, (20000, 3)), dtype)
    want = np.asarray(x, np.float64) @ np.asarray(w, np.float64)
    for f in (linear.dense, jax.jit(linear.dense)):
        y = f(x, w)
        assert y.dtype == dtype
        np.testing.assert_allclose(np.asarray(y, np.float64), want, rtol=float(jnp.finfo(dtype).eps))
    assert linear.dense(x, w.astype(jnp.float32), jnp.ones(3)).dtype == dtype


def test_dense_dtypes():
    assert linear.dense(jnp.ones((2, 3), jnp.int32), jnp.ones((3, 4))).dtype == jnp.float32
    z = normal(2, 3) + 1j * normal(2, 3)
    assert_close(linear.dense(z, normal(3, 4) * 0 + 2), (2 * z.sum(-1, keepdims=True)).repeat(4, -1))


@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
def test_bilinear_against_torch(lead):
    against_torch(
        linear.bilinear,
        lambda a, b, w, c: F.bilinear(a, b, w.permute(2, 0, 1).contiguous(), c),
        normal(*lead, 3), normal(*lead, 4), normal(3, 4, 5), normal(5),
    )  # fmt: skip
    against_torch(
        linear.bilinear,
        lambda a, b, w: F.bilinear(a, b, w.permute(2, 0, 1).contiguous()),
        normal(*lead, 3), normal(*lead, 4), normal(3, 4, 5),
    )  # fmt: skip


@pytest.mark.parametrize(("a", "b"), [((2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((1, 5, 2, 3), (6, 1, 3, 4))])
def test_batched_mul_against_torch(a, b):
    against_torch(linear.batched_mul, torch.matmul, normal(*a), normal(*b))


# --- embeddings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (6,), (3, 4), (0,)])
@pytest.mark.parametrize("padding", [None, 2, -1])
def test_embedding_against_torch(shape, padding):
    places = RNG.integers(0, 8, shape)
    against_torch(
        lambda t: embedding.embedding(places, t, padding_idx=padding),
        lambda t: F.embedding(torch.tensor(places), t, padding_idx=padding),
        normal(8, 3),
    )


def test_an_index_outside_the_table():
    table = jnp.ones((4, 2))
    for wrong in (4, -1):
        text = rf"embedding expects 0 <= index < 4, got {wrong}\n  fix: keep every index in the range, or enlarge it"
        with pytest.raises(RangeError, match=text):
            embedding.embedding(jnp.array([0, wrong]), table)
        y = jax.jit(embedding.embedding)(jnp.array([0, wrong]), table)
        assert y[0].tolist() == [1.0, 1.0]
        assert bool(jnp.all(jnp.isnan(y[1])))


PADDINGS = [None, 1, -1]
OFFSETS = [[0, 2, 5], [0, 0, 3, 3, 9], [0, 10], [0]]


@pytest.mark.parametrize("offsets", OFFSETS)
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_ragged_bags_against_torch(offsets, mode):
    places, offsets = RNG.integers(0, 6, 10), np.array(offsets)
    # the same bags by segment, in another order
    segments = np.searchsorted(offsets, np.arange(10), side="right") - 1
    mixed = RNG.permutation(10)
    bags = functools.partial(embedding.embedding_bag, mode=mode)

    def ours(t, i, s):
        by_offsets = [bags(places, t, offsets=offsets, padding_idx=padding) for padding in PADDINGS]
        segmented = functools.partial(bags, i, t, segment_ids=s, num_bags=len(offsets))
        return jnp.stack(by_offsets + [segmented(padding_idx=padding) for padding in PADDINGS])

    def theirs(t, *_):
        options = {"offsets": torch.tensor(offsets), "mode": mode}
        return torch.stack(
            [F.embedding_bag(torch.tensor(places), t, padding_idx=padding, **options) for padding in PADDINGS * 2]
        )

    against_torch(ours, theirs, normal(6, 3), places[mixed], segments[mixed])


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_one_size_against_torch(mode):
    places = RNG.integers(0, 6, (4, 5))
    theirs = lambda t: F.embedding_bag(torch.tensor(places), t, mode=mode)  # noqa: E731
    against_torch(lambda t: embedding.embedding_bag(places, t, mode=mode), theirs, normal(6, 3))


def test_weighted_bags_against_torch():
    places, offsets = RNG.integers(0, 6, 10), np.array([0, 3, 3, 7])
    against_torch(
        lambda t, w: embedding.embedding_bag(places, t, offsets=offsets, weights=w, mode="sum"),
        lambda t, w: F.embedding_bag(
            torch.tensor(places), t, torch.tensor(offsets), per_sample_weights=w, mode="sum"
        ),
        normal(6, 3), normal(10),
    )  # fmt: skip
    square = RNG.integers(0, 6, (2, 5))
    against_torch(
        lambda t, w: embedding.embedding_bag(square, t, weights=w, mode="sum"),
        lambda t, w: F.embedding_bag(torch.tensor(square), t, per_sample_weights=w, mode="sum"),
        normal(6, 3), normal(2, 5),
    )  # fmt: skip


def test_the_first_of_equal_rows_takes_the_gradient():
    table = np.array([[1.0, 5.0], [1.0, 2.0], [0.0, 5.0]], "f")
    places = np.array([[0, 1, 2], [2, 1, 0], [1, 1, 1]])
    theirs = lambda t: F.embedding_bag(torch.tensor(places), t, mode="max")  # noqa: E731
    against_torch(lambda t: embedding.embedding_bag(places, t, mode="max"), theirs, table)


def test_bags_of_half_precision_sum_in_float32():
    table = jnp.full((1, 2), 0.1, jnp.bfloat16)
    y = embedding.embedding_bag(jnp.zeros((1, 5000), int), table, mode="sum")
    assert y.dtype == jnp.bfloat16
    assert_close(y, np.full((1, 2), 5000 * float(table[0, 0])))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_no_indices_at_all_give_zeros(mode):
    y = embedding.embedding_bag(jnp.zeros(0, int), jnp.ones((3, 2)), offsets=jnp.array([0, 0]), mode=mode)
    np.testing.assert_array_equal(y, np.zeros((2, 2)))


# --- distances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cosine_similarity_against_torch(axis, dtype):
    with jax.enable_x64(dtype == "float64"):
        against_torch(
            lambda a, b: distance.cosine_similarity(a, b, axis),
            lambda a, b: F.cosine_similarity(a, b, axis),
            normal(3, 4, 5, dtype=dtype), normal(3, 4, 5, dtype=dtype),
        )  # fmt: skip


def test_cosine_similarity_broadcasts_and_survives_zeros():
    theirs = lambda a, b: F.cosine_similarity(a, b, -1)  # noqa: E731
    against_torch(distance.cosine_similarity, theirs, normal(3, 1, 5), normal(4, 5))
    zero = jnp.zeros(3)
    assert distance.cosine_similarity(zero, jnp.ones(3)) == 0.0
    grads = jax.grad(distance.cosine_similarity, (0, 1))(zero, zero)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in grads)
    big = distance.cosine_similarity(jnp.array([1e30, 0.0]), jnp.array([1e30, 1e30]))
    assert_close(big, np.array(np.sqrt(0.5)))


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, np.inf])
def test_distances_against_torch(p):
    a, b = normal(2, 6, 4), normal(2, 6, 4)
    against_torch(lambda a, b: distance.pairwise_distance(a, b, p), lambda a, b: F.pairwise_distance(a, b, p), a, b)
    against_torch(
        lambda a, b: distance.pairwise_distance(a, b, p, eps=0.1, keepdims=True),
        lambda a, b: F.pairwise_distance(a, b, p, 0.1, True),
        a, b,
    )  # fmt: skip
    against_torch(lambda a, b: distance.cdist(a, b, p), lambda a, b: torch.cdist(a, b, p), a, normal(2, 3, 4))
    against_torch(lambda a, b: distance.cdist(a, b, p), lambda a, b: torch.cdist(a, b, p), a, normal(1, 3, 4))


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, np.inf])
def test_pairs_of_one_set_against_torch(p):
    against_torch(lambda x: distance.pdist(x, p), lambda x: F.pdist(x, p), normal(6, 4))


def test_concatenate_joins_along_an_axis_and_refuses_the_rest():
    a, b = normal(2, 3, 4), normal(2, 3, 1)
    against_torch(linear.concatenate, lambda a, b: torch.cat([a, b], -1), a, b)
    against_torch(lambda a, b: linear.concatenate(a, b, axis=1), lambda a, b: torch.cat([a, b], 1), a, normal(2, 5, 4))
    for call, text in (
        (lambda: linear.concatenate(), "concatenate expects arrays with an axis -1, got none"),
        (lambda: linear.concatenate(a, b[0]), "arrays with an axis -1"),
        (lambda: linear.concatenate(a, b, axis=3), "arrays with an axis 3"),
        (lambda: linear.concatenate(a, b, axis=1), "sizes that differ along axis 1 alone"),
    ):
        with pytest.raises(ShapeError, match=text):
            call()


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, np.inf])
def test_equal_vectors_have_distance_and_gradient_zero(p):
    x = jnp.asarray(normal(5, 3))
    d = distance.cdist(x, x, p)
    np.testing.assert_array_equal(jnp.diagonal(d), np.zeros(5))
    grads = jax.grad(lambda a, b: jnp.trace(distance.cdist(a, b, p)), (0, 1))(x, x)
    for g in grads:
        np.testing.assert_array_equal(g, np.zeros((5, 3)))


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, np.inf])
def test_one_equal_feature_has_the_gradient_of_torch(p):
    a, b = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]], "f"), np.array([[1.0, 5.0, 1.0]], "f")
    against_torch(lambda a, b: distance.cdist(a, b, p), lambda a, b: torch.cdist(a, b, p), a, b)
    against_torch(
        lambda a, b: distance.pairwise_distance(a, b, p, eps=0.0),
        lambda a, b: F.pairwise_distance(a, b, p, 0.0),
        a, b,
    )  # fmt: skip


def test_cdist_keeps_the_digits_of_neighbours():
    a, b = jnp.array([[1000.0, 2000.0]]), jnp.array([[1000.0, 2000.0 + 2**-6]])
    assert distance.cdist(a, b)[0, 0] == 2**-6


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_distances_sum_in_float32(dtype):
    a, b = jnp.full((1, 5000), 6.0, dtype), jnp.zeros((1, 5000), dtype)
    for y in (distance.cdist(a, b)[0], distance.pairwise_distance(a, b)):
        assert y.dtype == dtype
        assert_close(y, np.full(1, 6 * np.sqrt(5000)))


@pytest.mark.parametrize(
    ("f", "arrays"),
    [
        (linear.dense, [(3, 2, 4), (4, 5), (5,)]),
        (linear.bilinear, [(3, 2), (3, 4), (2, 4, 5)]),
        (linear.batched_mul, [(3, 2, 4), (3, 4, 5)]),
        (distance.cosine_similarity, [(3, 4), (3, 4)]),
        (distance.pairwise_distance, [(3, 4), (3, 4)]),
        (distance.cdist, [(3, 4), (5, 4)]),
    ],
)
def test_jit_and_vmap_agree_with_eager(f, arrays):
    args = [normal(2, *shape) for shape in arrays]
    want = np.stack([f(*[a[i] for a in args]) for i in range(2)])
    assert_close(jax.jit(jax.vmap(f))(*args), want)


T, ONE = jnp.ones((3, 2)), jnp.array([0, 1])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: linear.dense(jnp.ones((2, 3)), jnp.ones((4, 5))), ShapeError,
         r"dense expects an input of shape \(\.\.\., 4\), got float32\[2, 3\]\n  fix: give the input 4 features"),
        (lambda: linear.dense(jnp.ones((2, 3)), jnp.ones(3)), ShapeError,
         r"dense expects a weight of shape \(in, out\), got float32\[3\]\n  fix: pass a matrix"),
        (lambda: linear.dense(jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.ones(3)), ShapeError,
         r"dense expects a bias of shape \(4,\), got float32\[3\]\n  fix: pass one number"),
        (lambda: linear.dense(jnp.array(1.0), jnp.ones((1, 1))), ShapeError, r"\(\.\.\., 1\), got float32\[\]"),
        (lambda: linear.bilinear(T, T, T), ShapeError, r"bilinear expects a weight of shape \(in1, in2, out\)"),
        (lambda: linear.bilinear(T, T, jnp.ones((2, 3, 1))), ShapeError,
         r"bilinear expects x2 of shape \(\.\.\., 3\), got float32\[3, 2\]\n  fix: match the last axis of x2"),
        (lambda: linear.bilinear(T, T[:1], jnp.ones((2, 2, 1))), ShapeError,
         r"the same leading axes, got float32\[3, 2\] and float32\[1, 2\]\n  fix: broadcast"),
        (lambda: linear.batched_mul(T, T), ShapeError,
         r"batched_mul expects \(\.\.\., n, k\) and \(\.\.\., k, m\), got float32\[3, 2\] and float32\[3, 2\]"),
        (lambda: linear.batched_mul(jnp.ones((2, 3, 3)), jnp.ones((4, 3, 3))), ShapeError,
         r"batched_mul expects batches that broadcast, got float32\[2, 3, 3\] and float32\[4, 3, 3\]"),
        (lambda: embedding.embedding(jnp.ones(2), T), DtypeError,
         r"embedding expects integer indices, got float32\[2\]\n  fix: convert them"),
        (lambda: embedding.embedding(ONE, jnp.ones(3)), ShapeError, r"a table of shape \(num, features\), got float32"),
        (lambda: embedding.embedding(ONE, T, padding_idx=3), RangeError, "-3 <= padding_idx < 3, got padding_idx=3"),
        (lambda: embedding.embedding_bag(ONE, T), ShapeError,
         r"indices \(bags, size\), or \(n,\) and one kind of bounds, got indices int32\[2\] with 0 kinds of bounds"),
        (lambda: embedding.embedding_bag(ONE[None], T, offsets=ONE), ShapeError, "with 1 kinds of bounds"),
        (lambda: embedding.embedding_bag(ONE, T, offsets=ONE, mode="min"), RangeError, "got 'min'"),
        (lambda: embedding.embedding_bag(ONE, T, offsets=ONE, weights=jnp.ones(2)), RangeError,
         'embedding_bag expects mode "sum" with weights, got \'mean\''),
        (lambda: embedding.embedding_bag(ONE, T, offsets=ONE, weights=jnp.ones(3), mode="sum"), ShapeError,
         r"weights of shape \(2,\), got float32\[3\]"),
        (lambda: embedding.embedding_bag(ONE, T, offsets=jnp.array([1, 2])), RangeError,
         r"offsets that rise from 0 to at most 2, got \[1, 2\]\n  fix: pass the start"),
        (lambda: embedding.embedding_bag(ONE, T, offsets=jnp.array([0, 2, 1])), RangeError, "offsets that rise"),
        (lambda: embedding.embedding_bag(ONE, T, offsets=jnp.array([0, 3])), RangeError, "offsets that rise"),
        (lambda: embedding.embedding_bag(ONE, T, segment_ids=ONE), ShapeError, r"got int32\[2\] with num_bags=None"),
        (lambda: embedding.embedding_bag(ONE, T, segment_ids=ONE, num_bags=1), RangeError, "0 <= segment < 1, got 1"),
        (lambda: embedding.embedding_bag(ONE + 2, T, offsets=ONE), RangeError, "0 <= index < 3, got 3"),
        (lambda: distance.cosine_similarity(jnp.ones(2), jnp.ones(3)), ShapeError,
         r"cosine_similarity expects shapes that broadcast, got float32\[2\] and float32\[3\]\n  fix: make"),
        (lambda: distance.pairwise_distance(T, T, 0.0), RangeError, "pairwise_distance expects p > 0, got p=0.0"),
        (lambda: distance.cdist(T, jnp.ones((3, 3))), ShapeError,
         r"cdist expects \(\.\.\., n, features\) and \(\.\.\., m, features\), got float32\[3, 2\] and float32\[3, 3\]"),
    ],
)  # fmt: skip
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()
