"""Probability: densities that are learned, and what a forecast of probabilities is worth.

scores/        px.probability.crps_normal, pinball, brier_score, ...: scoring rules
calibration/   TemperatureScaling, PlattScaling, IsotonicCalibration, reliability: honest probabilities
conformal/     ConformalRegressor, ConformalClassifier, ...: intervals and sets that hold what comes
flows/         Flow, Coupling, Autoregressive, Continuous, ...: densities by maps that can be undone
vae/           VAE, VectorQuantizer, VQVAE: data through hidden variables
_arguments     what is given, refused where it does not fit
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.probability.calibration._isotonic import IsotonicCalibration
from phlox.probability.calibration._platt import PlattScaling
from phlox.probability.calibration._reliability import Reliability, reliability
from phlox.probability.calibration._temperature import TemperatureScaling
from phlox.probability.conformal._classes import ConformalClassifier
from phlox.probability.conformal._detector import ConformalDetector
from phlox.probability.conformal._regression import ConformalQuantileRegressor, ConformalRegressor, Interval
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
from phlox.probability.scores._crps import crps_ensemble, crps_normal, crps_quantiles
from phlox.probability.scores._energy import energy_score
from phlox.probability.scores._intervals import interval_score, pinball
from phlox.probability.scores._probabilities import brier_score, log_score
from phlox.probability.vae._quantizer import VQVAE, Quantized, VectorQuantizer
from phlox.probability.vae._vae import VAE

__all__ = [
    "MADE",
    "VAE",
    "VQVAE",
    "ActNorm",
    "Affine",
    "Autoregressive",
    "Bijection",
    "ConformalClassifier",
    "ConformalDetector",
    "ConformalQuantileRegressor",
    "ConformalRegressor",
    "Continuous",
    "Coupling",
    "Elementwise",
    "Flow",
    "Interval",
    "Inverse",
    "IsotonicCalibration",
    "LULinear",
    "MaskedDense",
    "Permutation",
    "PlattScaling",
    "Quantized",
    "RationalQuadratic",
    "Reliability",
    "StandardNormal",
    "TemperatureScaling",
    "VectorQuantizer",
    "WithTrace",
    "brier_score",
    "crps_ensemble",
    "crps_normal",
    "crps_quantiles",
    "energy_score",
    "iaf",
    "interval_score",
    "log_score",
    "maf",
    "pinball",
    "real_nvp",
    "reliability",
    "spline_flow",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
