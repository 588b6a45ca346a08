"""Weight files: a model's arrays on disk and back, whole or not at all."""

from phlox.weights._errors import CorruptFileError, FileError, file_error
from phlox.weights._metadata import read_metadata
from phlox.weights._replacing import replacing
from phlox.weights._safetensors import load_safetensors, save_safetensors

__all__ = [
    "CorruptFileError",
    "FileError",
    "file_error",
    "load_safetensors",
    "read_metadata",
    "replacing",
    "save_safetensors",
]
