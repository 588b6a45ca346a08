"""Optimisers: named rules, schedules, and the object that applies them in place.

_optimizer          px.Optimizer: a rule's state for one model, changed in place
rules/              what is subtracted from an array, given its gradient
schedules/          numbers that are functions of the step
_state _packing     state cut down, put together, carried; many small arrays as one
_spread             state of a model that is spread over devices
_apart              its arrays as files have them, each by itself
_adjusting          the numbers that opt.adjust sets
_models             several models under one optimiser
_calling            transformations of optax
_plateau            the rate lowered when a number stops improving
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name

# For the rooms above, and no user's business: not in __all__.
from phlox.optim._apart import apart as apart
from phlox.optim._apart import joined as joined
from phlox.optim._optimizer import Optimizer
from phlox.optim._plateau import ReduceOnPlateau
from phlox.optim.rules._adam import AdaBelief, Adam, AdaMax, AdamW, AMSGrad, NAdam, OAdam, RAdam
from phlox.optim.rules._adaptive import AdaDelta, Adafactor, AdaGrad, RMSProp

# For the rooms above, and no user's business: not in __all__.
from phlox.optim.rules._blocks import cut_of_scales as cut_of_scales
from phlox.optim.rules._choice import is_matrix, of_kind
from phlox.optim.rules._combined import SAM, AccumGrad, Lookahead, MixedPrecision, chain
from phlox.optim.rules._descent import ASGD, Descent, Lion, Momentum, Nesterov, Rprop
from phlox.optim.rules._eight_bit import EightBit
from phlox.optim.rules._gradients import ClipGlobalNorm, ClipGrad, ClipNorm, NormGrowthCap, SignDecay, WeightDecay
from phlox.optim.rules._gradients import share_of as share_of
from phlox.optim.rules._groups import groups
from phlox.optim.rules._lbfgs import LBFGS
from phlox.optim.rules._matrix import Apollo, Muon
from phlox.optim.rules._rule import Rule
from phlox.optim.schedules._composed import composed, loop, product, sequence, shifted, stretched, warmup
from phlox.optim.schedules._cycles import cyclic, sine, sine_decay2, sine_exp, triangle, triangle_decay2, triangle_exp
from phlox.optim.schedules._decays import (
    constant,
    cosine_annealing,
    cosine_restarts,
    exponential,
    inverse,
    linear,
    multi_step,
    multiplicative,
    one_cycle,
    polynomial,
    step_decay,
)
from phlox.optim.schedules._schedule import Schedule, Stateful, plot_schedule

__all__ = [
    "ASGD",
    "LBFGS",
    "SAM",
    "AMSGrad",
    "AccumGrad",
    "AdaBelief",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adafactor",
    "Adam",
    "AdamW",
    "Apollo",
    "ClipGlobalNorm",
    "ClipGrad",
    "ClipNorm",
    "Descent",
    "EightBit",
    "Lion",
    "Lookahead",
    "MixedPrecision",
    "Momentum",
    "Muon",
    "NAdam",
    "Nesterov",
    "NormGrowthCap",
    "OAdam",
    "Optimizer",
    "RAdam",
    "RMSProp",
    "ReduceOnPlateau",
    "Rprop",
    "Rule",
    "Schedule",
    "SignDecay",
    "Stateful",
    "WeightDecay",
    "chain",
    "composed",
    "constant",
    "cosine_annealing",
    "cosine_restarts",
    "cyclic",
    "exponential",
    "groups",
    "inverse",
    "is_matrix",
    "linear",
    "loop",
    "multi_step",
    "multiplicative",
    "of_kind",
    "one_cycle",
    "plot_schedule",
    "polynomial",
    "product",
    "sequence",
    "shifted",
    "sine",
    "sine_decay2",
    "sine_exp",
    "step_decay",
    "stretched",
    "triangle",
    "triangle_decay2",
    "triangle_exp",
    "warmup",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
