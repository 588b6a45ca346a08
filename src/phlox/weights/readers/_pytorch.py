"""PyTorch's files, read by PyTorch, which makes tensors and plain containers of them and runs nothing."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np

from phlox.weights.readers._arrays import Arrays, Part, Spec
from phlox.weights.readers._refusing import (
    DAMAGE,
    FilePath,
    check_names,
    check_sizes,
    corrupt,
    damage,
    file_size,
    package,
)
from phlox.weights.readers._trees import flattened, in_words

# Kinds that torch does not hand to NumPy, by the words that hold them.
_BY_WORDS: dict[str, tuple[str, Any]] = {
    "bfloat16": ("int16", ml_dtypes.bfloat16),
    "float8_e4m3fn": ("uint8", ml_dtypes.float8_e4m3fn),
    "float8_e5m2": ("uint8", ml_dtypes.float8_e5m2),
    "float8_e4m3fnuz": ("uint8", ml_dtypes.float8_e4m3fnuz),
    "float8_e5m2fnuz": ("uint8", ml_dtypes.float8_e5m2fnuz),
    "float8_e8m0fnu": ("uint8", ml_dtypes.float8_e8m0fnu),
}
_SAVE = "save the tensors alone: torch.save(model.state_dict(), path), or with safetensors.torch.save_file"


def read_pytorch(path: FilePath, where: str) -> Arrays:
    """The tensors of a file, nested names joined by ``/``."""
    found, left_out = _tensors(path, where)
    specs = {name: Spec.of(array) for name, array in found.items()}
    part = Part(os.path.basename(path), lambda: _tensors(path, where)[0], specs, opened=found)
    return Arrays(path, "pytorch", [part], left_out=left_out)


def pytorch_shard(path: FilePath, names: Iterable[str], where: str) -> Part:
    """One file of several, which shall hold these names; it is opened at first use."""
    listed = list(names)
    file = os.path.basename(path)

    def load() -> dict[str, np.ndarray]:
        found, _ = _tensors(path, where)
        check_names(found, listed, file, where)
        return found

    package("torch", "pip install torch", where)
    return Part(file, load, names=listed)


def _tensors(path: FilePath, where: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """All tensors as arrays, and in words what is none."""
    torch = package("torch", "pip install torch, or convert the file to safetensors", where)
    size = file_size(path, where)
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _check_archive(path, size, where)
    try:
        tree = torch.load(os.fspath(path), map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # of many kinds, by the damage
        raise corrupt("a file of PyTorch, of tensors and plain containers alone", _told(error), where, _SAVE) from None
    leaves = flattened(tree, where)
    plain = {name: leaf for name, leaf in leaves.items() if _is_plain(torch, leaf)}
    check_sizes(sum(leaf.numel() * leaf.element_size() for leaf in plain.values()), size, where)
    left_out = [in_words(name, leaf) for name, leaf in leaves.items() if name not in plain]
    return {name: _array(torch, leaf) for name, leaf in plain.items()}, left_out


def _told(error: Exception) -> str:
    """What PyTorch found, short of its advice to run it all the same."""
    named = re.search(r"GLOBAL (\S+)|Unsupported (?:global|class): (\S+)", str(error))
    if named:
        return f"{named[1] or named[2]}, which would be run"
    return str(error).strip().partition("\n")[0].partition(" In PyTorch")[0]


def _check_archive(path: FilePath, size: int, where: str) -> None:
    """Refuse an archive that unpacks to more than it is: PyTorch stores its records as they are."""
    with damage("a whole file of PyTorch", where, *DAMAGE), zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > size:
        raise corrupt(f"records that fill {size} bytes at most", f"{unpacked} bytes of them", where)


def _is_plain(torch: Any, leaf: Any) -> bool:
    """Whether NumPy has such tensors: dense, of numbers."""
    if not isinstance(leaf, torch.Tensor) or leaf.layout != torch.strided or leaf.is_quantized:
        return False
    kind = str(leaf.dtype).removeprefix("torch.")
    return leaf.device.type == "cpu" and (kind in _BY_WORDS or kind in np.sctypeDict)


def tensor_as_array(tensor: Any) -> np.ndarray:
    """A tensor of PyTorch's as an array, from whatever device."""
    import torch

    return _array(torch, tensor.cpu())


def _array(torch: Any, tensor: Any) -> np.ndarray:
    """A tensor as an array that shares its memory, and is not to be written to."""
    tensor = tensor.detach().resolve_conj().resolve_neg()
    words, kind = _BY_WORDS.get(str(tensor.dtype).removeprefix("torch."), (None, None))
    array = tensor.numpy() if words is None else tensor.view(getattr(torch, words)).numpy().view(kind)
    array.flags.writeable = False
    return array
