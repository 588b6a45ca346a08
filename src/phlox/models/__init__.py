"""Ready architectures.

diffusion/    noise schedules, losses, samplers, and two networks: DiT and the U-Net
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.models import diffusion

__all__ = ["diffusion"]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
