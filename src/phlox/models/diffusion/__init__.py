"""Diffusion: data turned into noise by a known rule, and back by a network that learned to.

A model is any function or Module ``model(x, t)``, or ``model(x, t, condition)``: noisy data (batch, ...) and times
(batch,), integers of a schedule or floats of a flow. Losses and samplers take it as it is.

_checks             data, noise and times that cannot be
_schedules          how much noise there is at each step
_predictions        what a network predicts, and what follows from it
_guidance           conditions, and guidance without a classifier
_losses             what a network is trained by
_ddpm _flow         samplers: by steps of a schedule; along a flow
_time               times and labels as vectors
_dit _unet          two networks
_unet_blocks        what the second is made of
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.models.diffusion._ddpm import ddim, ddpm
from phlox.models.diffusion._dit import DiT, DiTConfig
from phlox.models.diffusion._flow import flow_matching
from phlox.models.diffusion._losses import ddpm_loss, flow_matching_loss
from phlox.models.diffusion._schedules import NoiseSchedule
from phlox.models.diffusion._time import LabelEmbedding, TimeEmbedding, timestep_embedding
from phlox.models.diffusion._unet import UNet, UNetConfig

__all__ = [
    "DiT",
    "DiTConfig",
    "LabelEmbedding",
    "NoiseSchedule",
    "TimeEmbedding",
    "UNet",
    "UNetConfig",
    "ddim",
    "ddpm",
    "ddpm_loss",
    "flow_matching",
    "flow_matching_loss",
    "timestep_embedding",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
