"""Losses: pure functions ``loss(prediction, target, *, reduction="mean", ...)``.

Each refuses arguments whose shapes differ, computes in float32 at least, and returns the dtype of its inputs.
A name says what it takes: ``binary_cross_entropy`` probabilities, ``binary_cross_entropy_with_logits`` logits.
``weight=`` holds one weight per example or per element, and the mean is then Σ weight·loss / Σ weight.

_regression                          differences: squared, absolute, robust
_cross_entropy _binary _focal        classes, yes or no, hard examples
_margin _embedding _overlap          margins; angles, pairs and contrasts; overlap of areas
_pairs                               scores of all pairs of a batch: CLIP's and SigLIP's
_preference                          which of two texts is preferred; the log-probability of a text
_boxes                               boxes that do not lie on one another
_likelihood _ctc                     counts, normal variables, divergences; labellings of sequences
_reduce _classes _safe _one_call _probabilities   what they share: reductions, targets, logarithms, one call
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.losses._binary import binary_cross_entropy, binary_cross_entropy_with_logits, multilabel_soft_margin
from phlox.losses._boxes import generalized_iou
from phlox.losses._cross_entropy import cross_entropy, label_smoothing, nll
from phlox.losses._ctc import ctc
from phlox.losses._embedding import contrastive, cosine, cosine_embedding, siamese_contrastive, triplet_margin
from phlox.losses._focal import binary_focal, binary_focal_with_logits, focal, focal_with_logits
from phlox.losses._likelihood import (
    gaussian_nll,
    kl_divergence,
    kl_divergence_with_logits,
    poisson,
    poisson_with_log_rates,
)
from phlox.losses._margin import (
    hinge,
    hinge_embedding,
    margin_ranking,
    multi_margin,
    multilabel_margin,
    soft_margin,
    squared_hinge,
)
from phlox.losses._overlap import dice, tversky
from phlox.losses._pairs import clip_loss, siglip_loss
from phlox.losses._preference import dpo_loss, sequence_log_prob
from phlox.losses._reduce import Reduction as Reduction  # with ``reduced``, for losses of the floors above
from phlox.losses._reduce import reduced as reduced
from phlox.losses._regression import huber, log_cosh, mae, mse, msle, smooth_l1

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "binary_focal",
    "binary_focal_with_logits",
    "clip_loss",
    "contrastive",
    "cosine",
    "cosine_embedding",
    "cross_entropy",
    "ctc",
    "dice",
    "dpo_loss",
    "focal",
    "focal_with_logits",
    "gaussian_nll",
    "generalized_iou",
    "hinge",
    "hinge_embedding",
    "huber",
    "kl_divergence",
    "kl_divergence_with_logits",
    "label_smoothing",
    "log_cosh",
    "mae",
    "margin_ranking",
    "mse",
    "msle",
    "multi_margin",
    "multilabel_margin",
    "multilabel_soft_margin",
    "nll",
    "poisson",
    "poisson_with_log_rates",
    "sequence_log_prob",
    "siamese_contrastive",
    "siglip_loss",
    "smooth_l1",
    "soft_margin",
    "squared_hinge",
    "triplet_margin",
    "tversky",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
