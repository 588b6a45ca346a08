"""Interpretation: what a model looked at, what each part of an input did for its answer, and how far to believe it.

_attribution   what a method found, shown and drawn
asking/        a model as a function of what is explained
gradients/     attributions from slopes
perturbing/    attributions from scores without parts of the input
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.interpret._attribution import Attribution
from phlox.interpret.gradients._cam import grad_cam, grad_cam_plus_plus, score_cam
from phlox.interpret.gradients._conductance import conductance, internal_influence
from phlox.interpret.gradients._expected import expected_gradients
from phlox.interpret.gradients._integrated import integrated_gradients
from phlox.interpret.gradients._saliency import input_x_gradient, saliency
from phlox.interpret.gradients._smoothing import smooth_grad, var_grad
from phlox.interpret.perturbing._ablation import feature_ablation, feature_permutation
from phlox.interpret.perturbing._kernel_shap import kernel_shap
from phlox.interpret.perturbing._lime import lime
from phlox.interpret.perturbing._occlusion import occlusion
from phlox.interpret.perturbing._shapley import shapley_sampling, shapley_values

__all__ = [
    "Attribution",
    "conductance",
    "expected_gradients",
    "feature_ablation",
    "feature_permutation",
    "grad_cam",
    "grad_cam_plus_plus",
    "input_x_gradient",
    "integrated_gradients",
    "internal_influence",
    "kernel_shap",
    "lime",
    "occlusion",
    "saliency",
    "score_cam",
    "shapley_sampling",
    "shapley_values",
    "smooth_grad",
    "var_grad",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
