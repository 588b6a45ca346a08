"""Models: ready architectures, their weights, and what stands before them.

preprocessing/     images as a model wants them, by its config
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.models.preprocessing._preprocessor import ImagePreprocessor
from phlox.models.preprocessing._resize import resize

__all__ = ["ImagePreprocessor", "resize"]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
