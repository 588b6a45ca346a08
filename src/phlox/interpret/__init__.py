"""Interpretation: what a model looked at, what each part of an input did for its answer, and how far to believe it.

_attribution   what a method found, shown and drawn
asking/        a model as a function of what is explained
gradients/     attributions from slopes
rewriting/     attributions that go back by rules other than the gradient's
perturbing/    attributions from scores without parts of the input
attending/     attention through the layers of a transformer
learning/      concepts, and the examples that something was learned from
measuring/     how far an attribution is to be believed
picturing/     images, text and tables
probing/       answers to changed data, and decisions by slice
exploring/     px.interpret.explore: a page on which a person probes a model
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.interpret._attribution import Attribution
from phlox.interpret.attending._rollout import attention_flow, attention_rollout
from phlox.interpret.exploring._explorer import Explorer, explore
from phlox.interpret.gradients._cam import grad_cam, grad_cam_plus_plus, score_cam
from phlox.interpret.gradients._conductance import conductance, internal_influence
from phlox.interpret.gradients._expected import expected_gradients
from phlox.interpret.gradients._integrated import integrated_gradients
from phlox.interpret.gradients._saliency import input_x_gradient, saliency
from phlox.interpret.gradients._smoothing import smooth_grad, var_grad
from phlox.interpret.learning._concepts import Concepts, tcav
from phlox.interpret.learning._influence import influence
from phlox.interpret.learning._tracin import tracin
from phlox.interpret.measuring._curves import Curves, curves
from phlox.interpret.measuring._infidelity import infidelity
from phlox.interpret.measuring._sanity import Sanity, sanity_check
from phlox.interpret.measuring._sensitivity import sensitivity
from phlox.interpret.perturbing._ablation import feature_ablation, feature_permutation
from phlox.interpret.perturbing._kernel_shap import kernel_shap
from phlox.interpret.perturbing._lime import lime
from phlox.interpret.perturbing._occlusion import occlusion
from phlox.interpret.perturbing._shapley import shapley_sampling, shapley_values
from phlox.interpret.probing._counterfactual import Counterfactual, nearest_counterfactual
from phlox.interpret.probing._dependence import Dependence, partial_dependence
from phlox.interpret.probing._rates import Fairness, fairness
from phlox.interpret.probing._thresholds import choose_thresholds
from phlox.interpret.rewriting._backprop import deconvolution, guided_backprop
from phlox.interpret.rewriting._deep_lift import deep_lift, deep_lift_shap
from phlox.interpret.rewriting._relevance import lrp
from phlox.interpret.rewriting._relevance_rules import AlphaBeta, Epsilon, Gamma

__all__ = [
    "AlphaBeta",
    "Attribution",
    "Concepts",
    "Counterfactual",
    "Curves",
    "Dependence",
    "Epsilon",
    "Explorer",
    "Fairness",
    "Gamma",
    "Sanity",
    "attention_flow",
    "attention_rollout",
    "choose_thresholds",
    "conductance",
    "curves",
    "deconvolution",
    "deep_lift",
    "deep_lift_shap",
    "expected_gradients",
    "explore",
    "fairness",
    "feature_ablation",
    "feature_permutation",
    "grad_cam",
    "grad_cam_plus_plus",
    "guided_backprop",
    "infidelity",
    "influence",
    "input_x_gradient",
    "integrated_gradients",
    "internal_influence",
    "kernel_shap",
    "lime",
    "lrp",
    "nearest_counterfactual",
    "occlusion",
    "partial_dependence",
    "saliency",
    "sanity_check",
    "score_cam",
    "sensitivity",
    "shapley_sampling",
    "shapley_values",
    "smooth_grad",
    "tcav",
    "tracin",
    "var_grad",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
