"""Which reader a file wants: by its content, then by its name."""

from __future__ import annotations

import os
from pathlib import Path

from phlox.weights._errors import file_error
from phlox.weights.readers._arrays import Arrays
from phlox.weights.readers._flax import read_flax
from phlox.weights.readers._hdf5 import read_hdf5
from phlox.weights.readers._index import check_inside, read_index
from phlox.weights.readers._orbax import MARK, read_orbax
from phlox.weights.readers._pytorch import read_pytorch
from phlox.weights.readers._refusing import FilePath, corrupt, regular
from phlox.weights.readers._safetensors import read_safetensors
from phlox.weights.readers._zips import read_zip

_FORMATS = "safetensors, a file of PyTorch, Keras, Flax, HDF5 or NPZ, an index of shards, or a folder with one of these"
# What a folder of the hub, or of a library, may hold; the first that is there is read.
_IN_A_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "flax_model.msgpack",
)
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".th", "")
_OTHERS = (".npz", ".npy", ".msgpack", ".h5", ".hdf5", ".keras", ".jld2", ".json")
_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # PyTorch's number, with which its older files begin
_HDF5 = b"\x89HDF\r\n\x1a\n"
_OFFSETS = (0, 512, 1024, 2048)  # where HDF5 may begin; JLD2 puts its own line before it


def read(path: str | os.PathLike[str]) -> Arrays:
    """The arrays of a file of weights, whoever wrote it, by the names that they have in it; nothing in it is run.

    Read are safetensors, PyTorch's files (by PyTorch, with ``weights_only=True``), Keras' ``.keras`` and ``.h5``,
    Flax's msgpack, Orbax's folders, NPZ, plain HDF5, and the index of several safetensors or PyTorch files. The content
    of a file decides, then its name. Names and sizes are checked before the first array is made; values are read when
    they are asked for.

    Arguments:
        path: a file; or a folder, of Orbax or with ``model.safetensors``, its index, or the like.

    Returns:
        A mapping from names to read-only NumPy arrays. A nested name is joined by ``/``: ``"state_dict/weight"``. The
        axes are the file's own, as is the dtype; nothing is turned or converted.

    Raises:
        MissingFileError: it, or a file that it names, is not there. FileError: it cannot be read.
        CorruptFileError: it is damaged, of no known format, or made to harm.
        MissingExtraError: the format takes a package that is not installed.

    >>> import tempfile, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.weights.save_safetensors(px.Dense(2, 3), folder + "/dense.safetensors")
    ...     with px.weights.read(folder + "/dense.safetensors") as arrays:
    ...         print(arrays.shapes(), arrays["bias"])
    {'bias': (3,), 'weight': (2, 3)} [0. 0. 0.]
    """
    where = f"read({os.fspath(path)!r})"
    if os.path.isdir(path):
        return _read_folder(Path(path), where)
    if os.fspath(path).endswith(".index.json"):
        return read_index(path, where)
    return _read_file(path, where)


def _read_folder(folder: Path, where: str) -> Arrays:
    if (folder / MARK).is_file():
        return read_orbax(folder, where)
    if (folder / "default" / MARK).is_file():  # as a manager of Orbax lays it out
        return read_orbax(folder / "default", where)
    for name in _IN_A_FOLDER:
        if os.path.lexists(folder / name):
            return read(check_inside(folder, name, where))
    try:
        found = sorted(os.listdir(folder))
    except OSError as error:
        raise file_error(error, folder, where) from error
    fix = "name one of its files, or the folder of one step"
    shown = ", ".join(found[:12]) + f" and {len(found) - 12} more" * (len(found) > 12)
    raise corrupt(f"a checkpoint of Orbax, or one of {', '.join(_IN_A_FOLDER)}", shown or "an empty folder", where, fix)


def _read_file(path: FilePath, where: str) -> Arrays:
    """A file by what it begins with."""
    with regular(path, where) as file:
        size = os.fstat(file.fileno()).st_size
        begin = file.read(_OFFSETS[-1] + len(_HDF5))
    suffix = Path(os.fspath(path).lower().removesuffix(".tar")).suffix  # model_best.pth.tar is no archive of tar
    if suffix == ".safetensors":  # a name that promises that there is no code; nothing else may stand below it
        return read_safetensors(path, where)
    if begin.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return read_zip(path, where)
    if any(begin[at : at + len(_HDF5)] == _HDF5 for at in _OFFSETS):
        return read_hdf5(path, where)
    if begin[8:9] == b"{" and int.from_bytes(begin[:8], "little") <= size - 8:
        return read_safetensors(path, where)
    if len(begin) > 1 and begin[0] == 0x80 and 2 <= begin[1] <= 5:  # a pickle, which PyTorch alone may open
        if suffix not in _PICKLES and (suffix in _OTHERS or not begin.startswith(_TORCH)):
            fix = "do not use this file: its name hides what it is"
            raise corrupt(f"{suffix[1:]} in a file of that name", "a pickle, which may hold code", where, fix)
        return read_pytorch(path, where)
    if begin and (0x81 <= begin[0] <= 0x8F or begin[0] in (0xDE, 0xDF)):
        return read_flax(path, where)
    if suffix in (".pt", ".pth", ".msgpack", ".h5", ".npz", ".keras"):
        raise corrupt(f"a whole {suffix} file", f"{begin[:8]!r} at its beginning", where)
    raise corrupt(
        _FORMATS, f"{begin[:8]!r} at its beginning", where, "convert it to safetensors, or name the right file"
    )
