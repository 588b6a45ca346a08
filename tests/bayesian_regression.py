"""Bayesian linear regression, whose posterior and evidence are known: what every method is held against."""

import numpy as np
from scipy import stats

NOISE, PRIOR = 0.5, 1.5


def data(examples=40, features=2, seed=0):
    """Inputs that are correlated, (examples, features), and targets (examples, 1)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, features))
    x[:, 1] += 0.8 * x[:, 0]
    y = x @ rng.normal(size=(features, 1)) + NOISE * rng.normal(size=(examples, 1))
    return x.astype("float32"), y.astype("float32")


def posterior(x, y):
    """Mean (features,) and covariance of the weights."""
    x = np.asarray(x, float)
    covariance = np.linalg.inv(x.T @ x / NOISE**2 + np.eye(x.shape[1]) / PRIOR**2)
    return (covariance @ x.T @ y)[:, 0] / NOISE**2, covariance


def log_evidence(x, y, prior=PRIOR):
    """log p(y)."""
    x = np.asarray(x, float)
    covariance = NOISE**2 * np.eye(len(y)) + prior**2 * x @ x.T
    return stats.multivariate_normal(np.zeros(len(y)), covariance).logpdf(np.asarray(y, float)[:, 0])


def gap(covariance):
    """By how much the best independent normal distributions miss the evidence: KL(q ‖ p)."""
    return 0.5 * (np.log(np.diag(np.linalg.inv(covariance))).sum() + np.linalg.slogdet(covariance)[1])
