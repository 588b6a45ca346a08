"""Probability: predictions that say how sure they are, over NumPyro.

distributions/      px.probability.Normal, Gamma, Categorical, Mixture …: one face; nll, pinball, kl_divergence
heads/              NormalHead, MixtureDensityHead, OrdinalHead, CountHead, QuantileHead: layers that give them
bayesian/           BayesianLayer, bayesian, kl_to_prior: weights that are distributions, trained by a bound
inference/          nuts, svi, laplace, SWAG, sample_predictions; Ensemble, mixture: many models instead of one
gaussian_process/   GaussianProcessHead: a distribution over functions as the last layer
_checks             what layers and methods are given
_peers              NumPyro, imported where it is used
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.probability.bayesian._layer import BayesianLayer, bayesian
from phlox.probability.bayesian._variational import Variational, kl_to_prior
from phlox.probability.distributions._discrete import (
    Bernoulli,
    Categorical,
    NegativeBinomial,
    Ordinal,
    Poisson,
    ZeroInflatedPoisson,
)
from phlox.probability.distributions._distribution import Distribution
from phlox.probability.distributions._divergence import kl_divergence
from phlox.probability.distributions._likelihood import Quantiles, nll, pinball
from phlox.probability.distributions._named import Named
from phlox.probability.distributions._positive import (
    Beta,
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    LogNormal,
)
from phlox.probability.distributions._real import Laplace, Normal, StudentT, Uniform
from phlox.probability.distributions._several import Dirichlet, Independent, Mixture, MultivariateNormal
from phlox.probability.gaussian_process._expected import ExpectedNormal
from phlox.probability.gaussian_process._head import GaussianProcessHead
from phlox.probability.heads._continuous import MixtureDensityHead, NormalHead
from phlox.probability.heads._counted import CountHead, OrdinalHead
from phlox.probability.heads._quantile import QuantileHead
from phlox.probability.inference._drawing import sample_predictions
from phlox.probability.inference._ensemble import Ensemble, Predictive, each_member, mixture
from phlox.probability.inference._laplace import LaplacePosterior, laplace
from phlox.probability.inference._nuts import Draws, nuts
from phlox.probability.inference._svi import Fitted, svi
from phlox.probability.inference._swag import SWAG, WeightMoments

__all__ = [
    "SWAG",
    "BayesianLayer",
    "Bernoulli",
    "Beta",
    "Categorical",
    "CountHead",
    "Dirichlet",
    "Distribution",
    "Draws",
    "Ensemble",
    "ExpectedNormal",
    "Exponential",
    "Fitted",
    "Gamma",
    "GaussianProcessHead",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "InverseGamma",
    "Laplace",
    "LaplacePosterior",
    "LogNormal",
    "Mixture",
    "MixtureDensityHead",
    "MultivariateNormal",
    "Named",
    "NegativeBinomial",
    "Normal",
    "NormalHead",
    "Ordinal",
    "OrdinalHead",
    "Poisson",
    "Predictive",
    "QuantileHead",
    "Quantiles",
    "StudentT",
    "Uniform",
    "Variational",
    "WeightMoments",
    "ZeroInflatedPoisson",
    "bayesian",
    "each_member",
    "kl_divergence",
    "kl_to_prior",
    "laplace",
    "mixture",
    "nll",
    "nuts",
    "pinball",
    "sample_predictions",
    "svi",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
