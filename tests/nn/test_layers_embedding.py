"""Embeddings with padding, bags of any length, products of features: against PyTorch and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import against_torch, assert_close, oracle
from phlox import nn
from registry import normal

TABLE = normal(7, 3)


def test_the_padding_row_starts_at_zero_and_has_no_gradient():
    torch = oracle("torch")
    layer = px.Embedding(7, 3, padding_idx=-2, key=0)
    assert layer.padding_idx == 5
    assert (layer.weight[5] == 0).all()
    assert float(jnp.abs(layer.weight[4]).min()) > 0
    indices = np.array([[5, 1], [2, 5]])
    against_torch(
        lambda w: px.Embedding.of(w, padding_idx=5)(jnp.asarray(indices)),
        lambda w: torch.nn.functional.embedding(torch.tensor(indices), w, padding_idx=5),
        TABLE,
    )


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 2])
def test_ragged_bags_are_torchs(mode, padding):
    torch = oracle("torch")
    bags = [[1, 2, 2], [], [6], [2], [0, 3, 5, 1]]
    flat, offsets = np.array([i for b in bags for i in b]), np.array([0, 3, 3, 4, 5])

    def theirs(w):
        return torch.nn.functional.embedding_bag(
            torch.tensor(flat), w, torch.tensor(offsets), mode=mode, padding_idx=padding
        )

    layer = lambda w: nn.EmbeddingBag.of(w, mode=mode, padding_idx=padding)  # noqa: E731
    against_torch(lambda w: layer(w)(bags), theirs, TABLE)
    against_torch(lambda w: layer(w)(jnp.asarray(flat), jnp.asarray(offsets)), theirs, TABLE)
    against_torch(lambda w: layer(w)([jnp.asarray(b, jnp.int32) for b in bags]), theirs, TABLE)


def test_factors_weigh_a_sum():
    torch = oracle("torch")
    bags, factors = [[1, 2], [3]], [[0.5, -2.0], [4.0]]
    against_torch(
        lambda w: nn.EmbeddingBag.of(w, mode="sum")(bags, factors=factors),
        lambda w: torch.nn.functional.embedding_bag(
            torch.tensor([1, 2, 3]), w, torch.tensor([0, 2]), mode="sum", per_sample_weights=torch.tensor([0.5, -2, 4])
        ),
        TABLE,
    )
    matrix = jnp.array([[1, 2], [3, 3]])
    got = nn.EmbeddingBag.of(jnp.asarray(TABLE), mode="sum")(matrix, factors=jnp.array([[1.0, 2.0], [0.5, 0.5]]))
    assert_close(got, np.stack([TABLE[1] + 2 * TABLE[2], TABLE[3]]))


def test_the_order_inside_a_bag_does_not_matter_and_compiled_is_eager():
    layer = nn.EmbeddingBag(7, 3, key=0)
    run = px.jit(lambda m, i, o: m(i, o))
    one = layer([[1, 2, 5], [3]])
    assert_close(layer([[5, 1, 2], [3]]), one)
    assert_close(run(layer, jnp.array([1, 2, 5, 3]), jnp.array([0, 3])), one)
    assert nn.EmbeddingBag(7, 3)([]).shape == (0, 3)


def test_embedding_distribution_is_standard_normal():
    for layer in (px.Embedding(400, 50, padding_idx=0, key=0), nn.EmbeddingBag(400, 50, key=0)):
        weight = np.asarray(layer.weight)[1:]
        assert abs(weight.mean()) < 0.03
        assert abs(weight.std() - 1) < 0.03


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: px.Embedding(7, 3, padding_idx=7),
            px.RangeError,
            r"Embedding expects padding_idx from -7 to 6, got 7",
        ),
        (lambda: px.Embedding.of(jnp.ones(3)), px.ShapeError, r"Embedding.of expects weight \(num, dim\), got float32"),
        (lambda: nn.EmbeddingBag(7, 0), px.RangeError, r"EmbeddingBag expects dim to be a whole number of at least 1"),
        (lambda: nn.EmbeddingBag(7, 3, mode="min"), px.RangeError, r'EmbeddingBag expects mode "sum", "mean" or "max"'),
        (
            lambda: nn.EmbeddingBag(7, 3)([[7]]),
            px.RangeError,
            r"EmbeddingBag\(7, 3, mode='mean'\) expects 0 <= index < 7",
        ),
        (lambda: nn.EmbeddingBag(7, 3)([[0.5]]), px.DtypeError, r"mode='mean'\) expects integer indices, got float32"),
        (lambda: nn.EmbeddingBag(7, 3)([[[1]]]), px.ShapeError, r"expects bags that are lists of indices"),
        (lambda: nn.EmbeddingBag(7, 3)(jnp.array([1, 2])), px.ShapeError, r"expects indices \(bags, size\), or \(n,\)"),
        (lambda: nn.EmbeddingBag(7, 3)([[1]], jnp.array([0])), px.ShapeError, r"expects bags in a list, or offsets"),
        (
            lambda: nn.EmbeddingBag(7, 3)([[1]], factors=[[1.0]]),
            px.RangeError,
            r'expects mode "sum" with weights, got \'mean\'',
        ),
        (
            lambda: nn.EmbeddingBag(7, 3, mode="sum")([[1, 2]], factors=[[1.0]]),
            px.ShapeError,
            r"expects factors in bags of the sizes of the indices",
        ),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    assert "\n  fix: " in str(caught.value)


# --- products ------------------------------------------------------------------------------------------------------


def test_bilinear_of_two_inputs_is_torchs():
    torch = oracle("torch")
    against_torch(
        lambda x, z, w, b: nn.Bilinear.of(w, b, px.tanh)(x, z),
        lambda x, z, w, b: torch.tanh(torch.nn.functional.bilinear(x, z, w.permute(2, 0, 1), b)),
        normal(4, 2, 3),
        normal(4, 2, 5, seed=1),
        normal(3, 5, 2, seed=2),
        normal(2, seed=3),
    )


def test_bilinear_is_linear_in_each_input():
    layer = nn.Bilinear(3, 5, 2, bias=False, key=0)
    x, z = jnp.asarray(normal(4, 3)), jnp.asarray(normal(4, 5, seed=1))
    assert_close(layer(2 * x, -3 * z), -6 * layer(x, z), scale=3)
    with pytest.raises(
        px.ShapeError, match=r"Bilinear\(3 × 5 → 2\) expects a second input \(..., 5\), got float32\[4, 3\]"
    ):
        layer(x, x)
    with pytest.raises(px.ShapeError, match=r"Bilinear.of expects weight \(in1, in2, out\)"):
        nn.Bilinear.of(jnp.ones((3, 5)))


def test_scale_starts_as_the_identity():
    x = jnp.asarray(normal(4, 3))
    np.testing.assert_array_equal(nn.Scale(3)(x), x)
    layer = nn.Scale(3, bias=False, init=px.nn.init.constant(1e-4))
    assert_close(layer(x), 1e-4 * x)
    assert list(px.split(layer)[0]) == ["scale"]
    with pytest.raises(px.RangeError, match=r"Scale expects size to be a whole number of at least 1, got 0"):
        nn.Scale(0)
    with pytest.raises(px.ShapeError, match=r"Scale.of expects scale and bias of one shape"):
        nn.Scale.of(jnp.ones(3), jnp.ones(2))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_bags_sum_in_float32(dtype):
    table = jnp.asarray(np.full((2, 1), 1.0), dtype)
    bag = nn.EmbeddingBag.of(table, mode="sum")
    y = bag(jnp.zeros((1, 3000), jnp.int32))
    assert y.dtype == dtype
    assert abs(float(y[0, 0]) - 3000) < 3000 * float(jnp.finfo(dtype).eps)


def test_prelu_and_swish_learn():
    x = jnp.array([-2.0, 3.0])
    prelu, swish = nn.PReLU(init=0.1), nn.Swish(0.7)
    assert_close(px.grad(lambda m: m(x).sum())(prelu).slope, np.array([-2.0], np.float32), kind="grad")
    s = jax.nn.sigmoid(0.7 * x)
    assert_close(px.grad(lambda m: m(x).sum())(swish).beta, jnp.sum(x * x * s * (1 - s)), kind="grad")
    with pytest.raises(px.RangeError, match=r"PReLU expects channels to be a whole number of at least 1, got 0"):
        nn.PReLU(0)
