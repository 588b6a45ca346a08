"""Weight files: a model's arrays on disk and back, whole or not at all.

_artifact                   px.save and px.load: arrays, and how the model is built
_describing _rebuilding     a live object as JSON, and back without its ``__init__``
_naming                     what names in a file may stand for
_safetensors _metadata      the arrays; the text and checksum beside them
_writing _whole             array by array; those that several processes hold, brought together
_replacing _temporary       written whole or not at all; what a killed process left
_on_device _pages           arrays of files as arrays of JAX; memory for copies
_errors                     what can go wrong with a file
bundle/                     a folder that travels: files of a model for other programs, hashed, with examples
matching/                   arrays of another library, matched with a model's own
readers/                    px.weights.read: the arrays of files of other programs
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.weights._artifact import load, save
from phlox.weights._errors import CorruptFileError, FileError, MissingFileError, file_error, open_regular
from phlox.weights._metadata import read_metadata

# For the rooms above, and no user's business: not in __all__.
from phlox.weights._naming import Allowed as Allowed
from phlox.weights._naming import NotAllowedError
from phlox.weights._naming import name_of as name_of
from phlox.weights._on_device import device_arrays, to_device
from phlox.weights._replacing import replacing
from phlox.weights._safetensors import load_safetensors, save_safetensors
from phlox.weights._safetensors import read_file as read_file
from phlox.weights._safetensors import write_file as write_file
from phlox.weights._whole import is_cut as is_cut
from phlox.weights._whole import whole as whole
from phlox.weights._writing import write_by_one as write_by_one
from phlox.weights.bundle._bundle import CARD as CARD
from phlox.weights.bundle._bundle import EXAMPLES as EXAMPLES
from phlox.weights.bundle._bundle import MANIFEST as MANIFEST
from phlox.weights.bundle._bundle import MODEL as MODEL
from phlox.weights.bundle._bundle import STATISTICS as STATISTICS
from phlox.weights.bundle._bundle import Bundle, BundleArray, Signature, Written
from phlox.weights.bundle._encoders import Encoder
from phlox.weights.bundle._encoders import is_text as is_text
from phlox.weights.bundle._examples import Example, read_examples
from phlox.weights.bundle._examples import write_examples as write_examples
from phlox.weights.bundle._reading import read_bundle
from phlox.weights.bundle._writing import Draft, writing_bundle
from phlox.weights.matching._convert import Conversion, Match, convert
from phlox.weights.matching._names import Array, NameMap
from phlox.weights.matching._placing import place as place
from phlox.weights.matching._slots import Slot as Slot
from phlox.weights.readers._arrays import Arrays, Spec
from phlox.weights.readers._read import read

__all__ = [
    "Array",
    "Arrays",
    "Bundle",
    "BundleArray",
    "Conversion",
    "CorruptFileError",
    "Draft",
    "Encoder",
    "Example",
    "FileError",
    "Match",
    "MissingFileError",
    "NameMap",
    "NotAllowedError",
    "Signature",
    "Spec",
    "Written",
    "convert",
    "device_arrays",
    "file_error",
    "load",
    "load_safetensors",
    "open_regular",
    "read",
    "read_bundle",
    "read_examples",
    "read_metadata",
    "replacing",
    "save",
    "save_safetensors",
    "to_device",
    "writing_bundle",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
