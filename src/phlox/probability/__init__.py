"""Probability: predictions that say how sure they are, densities that are learned, and what forecasts are worth.

distributions/      px.probability.Normal, Gamma, Categorical, Mixture …: one face; nll, pinball, kl_divergence
heads/              NormalHead, MixtureDensityHead, OrdinalHead, CountHead, QuantileHead: layers that give them
bayesian/           BayesianLayer, bayesian, kl_to_prior: weights that are distributions, trained by a bound
inference/          nuts, svi, laplace, SWAG, sample_predictions; Ensemble, mixture: many models instead of one
gaussian_process/   GaussianProcessHead: a distribution over functions as the last layer
scores/             px.probability.crps_normal, quantile_score, brier_score, ...: scoring rules
calibration/        TemperatureScaling, PlattScaling, IsotonicCalibration, reliability: honest probabilities
conformal/          ConformalRegressor, ConformalClassifier, ...: intervals and sets that hold what comes
flows/              Flow, Coupling, Autoregressive, Continuous, ...: densities by maps that can be undone
vae/                VAE, VectorQuantizer, VQVAE: data through hidden variables
_arguments          what is given, refused where it does not fit
_peers              NumPyro, imported where it is used
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.probability.bayesian._layer import BayesianLayer, bayesian
from phlox.probability.bayesian._variational import Variational, kl_to_prior
from phlox.probability.calibration._isotonic import IsotonicCalibration
from phlox.probability.calibration._platt import PlattScaling
from phlox.probability.calibration._reliability import Reliability, reliability
from phlox.probability.calibration._temperature import TemperatureScaling
from phlox.probability.conformal._classes import ConformalClassifier
from phlox.probability.conformal._detector import ConformalDetector
from phlox.probability.conformal._regression import ConformalQuantileRegressor, ConformalRegressor, Interval
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
from phlox.probability.flows._autoregressive import Autoregressive
from phlox.probability.flows._bijection import Bijection, Inverse
from phlox.probability.flows._continuous import Continuous, WithTrace
from phlox.probability.flows._coupling import Coupling
from phlox.probability.flows._elementwise import Affine, Elementwise, RationalQuadratic
from phlox.probability.flows._flow import Flow
from phlox.probability.flows._linear import ActNorm, LULinear, Permutation
from phlox.probability.flows._masked import MADE, MaskedDense
from phlox.probability.flows._normal import StandardNormal
from phlox.probability.flows._recipes import iaf, maf, real_nvp, spline_flow
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
from phlox.probability.scores._crps import crps_ensemble, crps_normal, crps_quantiles
from phlox.probability.scores._energy import energy_score
from phlox.probability.scores._intervals import interval_score, quantile_score
from phlox.probability.scores._probabilities import brier_score, log_score
from phlox.probability.vae._quantizer import VQVAE, Quantized, VectorQuantizer
from phlox.probability.vae._vae import VAE

__all__ = [
    "MADE",
    "SWAG",
    "VAE",
    "VQVAE",
    "ActNorm",
    "Affine",
    "Autoregressive",
    "BayesianLayer",
    "Bernoulli",
    "Beta",
    "Bijection",
    "Categorical",
    "ConformalClassifier",
    "ConformalDetector",
    "ConformalQuantileRegressor",
    "ConformalRegressor",
    "Continuous",
    "CountHead",
    "Coupling",
    "Dirichlet",
    "Distribution",
    "Draws",
    "Elementwise",
    "Ensemble",
    "ExpectedNormal",
    "Exponential",
    "Fitted",
    "Flow",
    "Gamma",
    "GaussianProcessHead",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "Interval",
    "Inverse",
    "InverseGamma",
    "IsotonicCalibration",
    "LULinear",
    "Laplace",
    "LaplacePosterior",
    "LogNormal",
    "MaskedDense",
    "Mixture",
    "MixtureDensityHead",
    "MultivariateNormal",
    "Named",
    "NegativeBinomial",
    "Normal",
    "NormalHead",
    "Ordinal",
    "OrdinalHead",
    "Permutation",
    "PlattScaling",
    "Poisson",
    "Predictive",
    "QuantileHead",
    "Quantiles",
    "Quantized",
    "RationalQuadratic",
    "Reliability",
    "StandardNormal",
    "StudentT",
    "TemperatureScaling",
    "Uniform",
    "Variational",
    "VectorQuantizer",
    "WeightMoments",
    "WithTrace",
    "ZeroInflatedPoisson",
    "bayesian",
    "brier_score",
    "crps_ensemble",
    "crps_normal",
    "crps_quantiles",
    "each_member",
    "energy_score",
    "iaf",
    "interval_score",
    "kl_divergence",
    "kl_to_prior",
    "laplace",
    "log_score",
    "maf",
    "mixture",
    "nll",
    "nuts",
    "pinball",
    "quantile_score",
    "real_nvp",
    "reliability",
    "sample_predictions",
    "spline_flow",
    "svi",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
