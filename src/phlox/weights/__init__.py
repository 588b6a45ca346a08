"""Weight files: a model's arrays on disk and back, whole or not at all.

_artifact                   px.save and px.load: arrays, and how the model is built
_describing _rebuilding     a live object as JSON, and back without its ``__init__``
_naming                     what names in a file may stand for
_safetensors _metadata      the arrays; the text and checksum beside them
_replacing _temporary       written whole or not at all; what a killed process left
_on_device _pages           arrays of files as arrays of JAX; memory for copies
_errors                     what can go wrong with a file
matching/                   arrays of another library, matched with a model's own
readers/                    px.weights.read: the arrays of files of other programs
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.weights._artifact import load, save
from phlox.weights._errors import CorruptFileError, FileError, MissingFileError, file_error, open_regular
from phlox.weights._metadata import read_metadata
from phlox.weights._naming import NotAllowedError
from phlox.weights._on_device import device_arrays, to_device
from phlox.weights._replacing import replacing
from phlox.weights._safetensors import load_safetensors, save_safetensors
from phlox.weights.matching._convert import Conversion, Match, convert
from phlox.weights.matching._names import Array, NameMap

# For the rooms above, and no user's business: not in __all__.
from phlox.weights.matching._placing import place as place
from phlox.weights.matching._slots import Slot as Slot
from phlox.weights.readers._arrays import Arrays, Spec
from phlox.weights.readers._read import read

__all__ = [
    "Array",
    "Arrays",
    "Conversion",
    "CorruptFileError",
    "FileError",
    "Match",
    "MissingFileError",
    "NameMap",
    "NotAllowedError",
    "Spec",
    "convert",
    "device_arrays",
    "file_error",
    "load",
    "load_safetensors",
    "open_regular",
    "read",
    "read_metadata",
    "replacing",
    "save",
    "save_safetensors",
    "to_device",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
