"""The Gaussian-process head beside scikit-learn's exact process, and its bound beside the exact evidence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle

oracle("numpyro")
P = px.probability


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


RNG = np.random.default_rng(0)
X = np.sort(RNG.uniform(-2, 2, (12, 2)), 0)
Y = np.sin(2 * X[:, :1]) + 0.3 * RNG.normal(size=(12, 1))
NEW = RNG.uniform(-3, 3, (5, 2))
LENGTH, AMPLITUDE, NOISE = 0.8, 1.3, 0.3


def exact(kernel):
    """A head with a point at each example, and the q(v) that is the posterior there."""
    with px.dtypes(param="float64"):
        head = P.GaussianProcessHead(
            2, 1, 12, kernel=kernel, lengthscale=LENGTH, amplitude=AMPLITUDE, noise=NOISE, points=X, jitter=1e-9
        )
    own = peer(kernel)(X) / AMPLITUDE**2 + 1e-9 * np.eye(12)
    lower = np.linalg.cholesky(own)
    precision = np.eye(12) + AMPLITUDE**2 * lower.T @ lower / NOISE**2  # y = a L v + noise
    covariance = np.linalg.inv(precision)
    head.mean = jnp.asarray((covariance @ (AMPLITUDE * lower.T @ Y) / NOISE**2).T)
    head.root = jnp.asarray(np.linalg.cholesky(covariance))[None]
    return head


def peer(kernel):
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern

    made = {"rbf": RBF(LENGTH), "matern52": Matern(LENGTH, nu=2.5), "matern32": Matern(LENGTH, nu=1.5)}
    return ConstantKernel(AMPLITUDE**2) * made[kernel]


@pytest.mark.parametrize(
    "kernel", ["rbf", *(pytest.param(name, marks=pytest.mark.soak) for name in ("matern52", "matern32"))]
)
def test_it_predicts_as_the_exact_process_and_its_bound_is_the_evidence(kernel):
    from sklearn.gaussian_process import GaussianProcessRegressor

    head = exact(kernel)
    theirs = GaussianProcessRegressor(peer(kernel), alpha=NOISE**2, optimizer=None).fit(X, Y[:, 0])
    mean, deviation = theirs.predict(NEW, return_std=True)

    def bound(head):
        return P.nll(head(jnp.asarray(X)), jnp.asarray(Y), reduction="sum") + P.kl_to_prior(head)

    def both(head, x):
        ours = head(x)
        return px.value_and_grad(bound)(head), ours.mean, ours.variance

    both = px.jit(both)
    (value, grads), ours, variance = both(head, jnp.asarray(NEW))
    np.testing.assert_allclose(ours[:, 0], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance[:, 0], deviation**2 + NOISE**2, rtol=1e-5)
    evidence = theirs.log_marginal_likelihood_value_
    np.testing.assert_allclose(-value, evidence, rtol=1e-5)
    assert float(jnp.abs(grads.mean).max()) < 1e-3, "the posterior is where the bound is largest"
    worse = px.copy(head)
    worse.root = 1.5 * head.root
    assert float(-both(worse, jnp.asarray(NEW))[0][0]) < evidence - 1.0


def test_several_outputs_are_processes_side_by_side_and_the_divergence_is_that_of_pytorch():
    torch = oracle("torch")
    head = px.f64(P.GaussianProcessHead(2, 3, 6, key=0))
    head.mean = jnp.asarray(RNG.normal(size=(3, 6)))
    head.root = jnp.asarray(np.tril(RNG.normal(size=(3, 6, 6))) + np.triu(np.full((6, 6), 9.0), 1))  # above: not read
    root = torch.tensor(np.tril(np.array(head.root)))
    root = root * torch.sign(torch.diagonal(root, dim1=-2, dim2=-1))[:, None, :]  # R R^T is the same
    q = torch.distributions.MultivariateNormal(torch.tensor(np.array(head.mean)), scale_tril=root)
    p = torch.distributions.MultivariateNormal(
        torch.zeros(3, 6, dtype=torch.float64), torch.eye(6, dtype=torch.float64)
    )
    assert_close(head.kl_to_prior(), torch.distributions.kl_divergence(q, p).sum().item(), scale=1e4)
    say = px.jit(lambda head, x: (head(x).mean, head(x).variance))
    mean, variance = say(head, jnp.asarray(NEW))
    for out in range(3):
        one = px.copy(head)
        for name in ("mean", "root", "raw_amplitude", "raw_noise"):
            setattr(one, name, getattr(head, name)[out : out + 1])
        one.out_size = 1
        own_mean, own_variance = say(one, jnp.asarray(NEW))
        assert_close(variance[:, out : out + 1], own_variance)
        assert_close(mean[:, out : out + 1], own_mean)


@pytest.mark.soak
def test_a_network_with_such_a_head_trains_in_fit_and_is_unsure_far_away():
    x = RNG.uniform(-1, 1, (256, 1)).astype("float32")
    y = (np.sin(4 * x) + 0.1 * RNG.normal(size=x.shape)).astype("float32")
    with px.seed(0):
        model = px.Chain(px.Dense(1, 1), P.GaussianProcessHead(1, 1, 16, lengthscale=0.5))

    def negative_elbo(model, x, y):
        return P.nll(model(x), y) + P.kl_to_prior(model) / 256

    px.fit(model, (x, y), loss=negative_elbo, optimizer=px.optim.Adam(0.02), steps=400, batch_size=64, progress=False)
    near, far = model(jnp.float32([[0.2]])), model(jnp.float32([[40.0]]))
    assert abs(float(near.mean[0, 0]) - np.sin(0.8)) < 0.1
    assert float(near.stddev[0, 0]) < 0.2
    assert abs(float(far.mean[0, 0])) < 1e-3
    amplitude, noise = (jax.nn.softplus(a) for a in (model.layers[1].raw_amplitude, model.layers[1].raw_noise))
    np.testing.assert_allclose(far.variance[0, 0], (amplitude**2 + noise**2)[0], rtol=1e-3)


def test_an_expected_normal_is_the_expectation_it_says():
    y = P.ExpectedNormal(0.3, 0.7, 0.5)
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    f = 0.3 + 0.7 * nodes
    expected = weights / weights.sum() @ (-((1.1 - f) ** 2) / 2 / 0.25 - np.log(0.5 * np.sqrt(2 * np.pi)))
    np.testing.assert_allclose(y.log_prob(1.1), expected, rtol=1e-10)
    np.testing.assert_allclose(y.variance, 0.49 + 0.25, rtol=1e-6)
    for make, told in (
        (lambda: P.GaussianProcessHead(2, 1, kernel="cubic"), 'kernel among "rbf"'),
        (lambda: P.GaussianProcessHead(2, 1, 4, points=np.zeros((3, 2))), r"points \(4, 2\), got"),
        (lambda: P.GaussianProcessHead(2, 1, 4)(jnp.ones((3, 5), jnp.float32)), r"\(batch, 2\), got"),
    ):
        with pytest.raises(px.PhloxError, match=told):
            make()
