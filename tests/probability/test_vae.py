"""Autoencoders against the closed evidence of a linear model, SciPy's densities, and codes found by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import probability as P

stats = oracle("scipy.stats")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


WEIGHT = np.array([[1.0, 0.5, 0.0, -1.0], [0.5, 0.0, 2.0, 0.5]])  # its rows are orthogonal, so q can be exact
NOISE = 0.7


def linear(seen=1.0):
    """x = z W + 0.7 ε, and the q that is its posterior, or half of it."""
    precision = 1 + (WEIGHT**2).sum(1) / NOISE**2
    mean = WEIGHT.T / NOISE**2 / precision
    encoder = px.Dense.of(
        jnp.asarray(np.concatenate([seen * mean, 0 * mean], 1)), jnp.asarray(np.append([0, 0], -np.log(precision)))
    )
    return P.VAE(encoder, px.Dense.of(jnp.asarray(WEIGHT), None), 2, noise=NOISE, key=0)


def test_the_bound_of_the_true_posterior_is_the_evidence_and_that_of_another_is_below():
    assert WEIGHT[0] @ WEIGHT[1] == 0
    x = RNG.normal(size=(5, 4))
    evidence = stats.multivariate_normal(cov=WEIGHT.T @ WEIGHT + NOISE**2 * np.eye(4)).logpdf(x)
    exact, half = linear(), linear(0.5)
    draw = px.jit(lambda vae, x: (vae.log_prob(x, draws=3), vae.bound(x), vae.log_prob(x, draws=500)))
    few, one, many = zip(*(draw(exact, x) for _ in range(60)), strict=True)
    np.testing.assert_allclose(few[0], evidence, rtol=1e-10)
    np.testing.assert_allclose(np.mean(one, 0), evidence, atol=0.8)
    few, one, many = zip(*(draw(half, x) for _ in range(20)), strict=True)
    assert np.all(np.mean(one, 0) < evidence - 0.05)
    np.testing.assert_allclose(np.mean(many, 0), evidence, atol=0.2)
    np.testing.assert_allclose(linear().loss(x), -linear().bound(x).mean(), rtol=1e-12)


def test_the_divergence_is_weighed_and_keys_move_on():
    x = RNG.normal(size=(3, 4))
    mean, log_variance = linear().encode(x)
    divergence = 0.5 * (np.square(mean) + np.exp(log_variance) - 1 - log_variance).sum(-1).mean()
    heavy = linear()
    heavy.beta = 5.0
    np.testing.assert_allclose(heavy.loss(x) - linear().loss(x), 4 * divergence, rtol=1e-10)
    vae = linear()
    assert float(vae.loss(x)) != float(vae.loss(x))


def test_a_model_sees_the_mean_in_inference_and_a_draw_in_training():
    x, vae = RNG.normal(size=(3, 4)), linear()
    np.testing.assert_allclose(vae(x), vae.encode(x)[0] @ WEIGHT, rtol=1e-12)
    drawn = np.asarray(px.trainmode(vae)(x))
    assert np.abs(drawn - np.asarray(vae.encode(x)[0] @ WEIGHT)).max() > 1e-3


def test_images_of_zeros_and_ones_have_the_density_of_bernoulli_variables_given_a_context():
    class Beside(px.Module):
        def __init__(self, layer):
            self.layer = layer

        def __call__(self, x, context):
            return self.layer(jnp.concatenate([x, context], -1))

    encoder, decoder = Beside(px.f64(px.Dense(6, 4, key=0))), Beside(px.f64(px.Dense(4, 4, key=1)))
    vae = P.VAE(encoder, decoder, 2, likelihood="bernoulli", key=0)
    x, context, z = RNG.uniform(size=(3, 4)).round(), RNG.normal(size=(3, 2)), RNG.normal(size=(3, 2))
    wanted = stats.bernoulli(jax.nn.sigmoid(vae.decode(z, context))).logpmf(x).sum(-1)
    np.testing.assert_allclose(vae._seen(x, z, context), wanted, rtol=1e-10)
    assert np.abs(np.asarray(vae._seen(x, z, 0 * context)) - wanted).min() > 1e-3
    drawn = np.asarray(vae.sample(3, 3, context))
    assert drawn.shape == (3, 4)
    assert 0 < drawn.min() < drawn.max() < 1
    with pytest.raises(px.RangeError, match=r"data in \[0, 1\], got float64\[3, 4\] with 2.0"):
        vae.loss(x + 2, context)


@pytest.mark.soak
def test_training_raises_the_bound_of_a_linear_model_to_the_evidence():
    z = RNG.normal(size=(512, 2))
    x = z @ WEIGHT + NOISE * RNG.normal(size=(512, 4))
    spread = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    rest = spread[2:].mean()  # probabilistic principal components: the best linear model, in closed form
    best = -0.5 * (4 * np.log(2 * np.pi) + np.log(spread[:2]).sum() + 2 * np.log(rest) + 4)
    vae = px.f64(P.VAE(px.Dense(4, 4, key=0), px.Dense(2, 4, key=1), 2, noise=float(np.sqrt(rest)), key=0))
    x = x - x.mean(0)
    px.fit(vae, x, loss=lambda model, x: model.loss(x), optimizer=px.optim.Adam(0.02), epochs=60, batch_size=64)
    found = float(np.mean([vae.bound(x).mean() for _ in range(20)]))
    assert best - 0.1 < found < best + 0.02


# --- codes -------------------------------------------------------------------------------------------


def test_codes_are_the_nearest_and_gradients_go_through_to_the_vectors():
    quantizer = px.f64(P.VectorQuantizer(5, 3, key=0))
    x = jnp.asarray(RNG.normal(size=(2, 4, 3)))
    ask = px.jit(lambda q, x: (q(x), px.grad(lambda x: (q(x).values ** 2).sum() + q(x).loss)(x)))
    found, slope = ask(quantizer, x)
    apart = np.square(np.asarray(x)[..., None, :] - np.asarray(quantizer.codebook)).sum(-1)
    np.testing.assert_array_equal(found.codes, apart.argmin(-1))
    np.testing.assert_allclose(found.values, quantizer.lookup(found.codes), rtol=1e-12)
    np.testing.assert_allclose(found.loss, 0.25 * apart.min(-1).mean() / 3, rtol=1e-10)
    pulled = 0.25 * 2 * (x - found.values) / x.size
    np.testing.assert_allclose(slope, 2 * found.values + pulled, rtol=1e-10)


def test_codes_follow_the_mean_of_their_vectors_in_training_alone():
    quantizer = px.f64(P.VectorQuantizer(2, 1, decay=0.75, eps=1e-9))
    quantizer.codebook, quantizer.sums = jnp.array([[0.0], [10.0]]), jnp.array([[0.0], [10.0]])
    x = jnp.array([[1.0], [3.0], [9.0]])
    before = quantizer.codebook
    quantizer(x)
    assert quantizer.codebook is before
    px.trainmode(quantizer)(x)
    np.testing.assert_allclose(quantizer.counts, [0.75 + 0.5, 0.75 + 0.25])
    np.testing.assert_allclose(quantizer.codebook, [[0.25 * 4 / 1.25], [(7.5 + 0.25 * 9) / 1.0]], rtol=1e-8)


@pytest.mark.soak
def test_an_autoencoder_of_codes_learns_its_codes_and_reads_them_back():
    centres = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0], [0.0, -3.0]])
    x = centres[RNG.integers(0, 4, 256)] + 0.1 * RNG.normal(size=(256, 2))
    vae = px.f64(P.VQVAE(px.Dense(2, 2, key=0), px.Dense(2, 2, key=1), P.VectorQuantizer(8, 2, decay=0.8, key=2)))
    px.fit(vae, x, loss=lambda model, x: model.loss(x), optimizer=px.optim.Adam(0.02), epochs=30, batch_size=32)
    assert float(jnp.mean((vae(x) - x) ** 2)) < 0.1, "9 without codes"
    np.testing.assert_allclose(vae.decode(vae.encode(x)), vae(x), atol=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: P.VAE(px.Dense, px.Dense(1, 1), 1), px.RangeError, "encoder that can be called"),
        (lambda: P.VAE(px.Dense(4, 3), px.Dense(2, 4), 2)(np.ones((1, 4), "f4")), px.ShapeError, r"gives \(batch, 4\)"),
        (
            lambda: P.VAE(px.Dense(4, 4), px.Dense(2, 3), 2).loss(np.ones((1, 4), "f4")),
            px.ShapeError,
            r"a decoder that gives \(1, 4\), got float32\[1, 3\]",
        ),
        (lambda: P.VAE(px.Dense(4, 4), px.Dense(2, 3), 2, beta=0), px.RangeError, "beta above 0, got 0"),
        (lambda: P.VectorQuantizer(2, 3)(jnp.ones((4, 2), "f4")), px.ShapeError, r"\(\.\.\., 3\), got float32\[4, 2\]"),
        (lambda: P.VectorQuantizer(2, 3).lookup([2]), px.RangeError, "codes from 0 to 1, got .* with 2"),
        (lambda: P.VQVAE(px.Dense(2, 2), px.Dense(2, 2), None), px.RangeError, "quantizer as a VectorQuantizer"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, told):
    with pytest.raises(error, match=told):
        call()
