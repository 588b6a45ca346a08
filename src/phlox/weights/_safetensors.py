"""A model's arrays in a safetensors file, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from phlox.core import (
    DtypeError,
    LoadReport,
    LostBuffersError,
    Module,
    StateError,
    StructureError,
    describe,
    is_key,
    load_state_dict,
    state_dict,
)
from phlox.weights._errors import CorruptFileError, file_error, open_regular
from phlox.weights._metadata import DTYPES, check_digest, check_format, key_kinds, opened, own_metadata
from phlox.weights._whole import whole
from phlox.weights._writing import write_by_one

_KNOWN = {np.dtype(kind) for kind in DTYPES.values()}


def save_safetensors(model: Module, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write all arrays of a model, State included, to a safetensors file; it appears whole or not at all.

    The file is a flat dict by path, as ``px.state_dict`` gives it: what is shared is stored once, a random key as its
    words. It carries a format version and a SHA-256 checksum of everything in it. A failed save (a full disk, Ctrl-C)
    leaves nothing behind, and an older file of that name as it was. The same model gives the same bytes.

    A model that lies in parts over several processes is saved by all of them together: process 0 writes, and no process
    ever holds more than one array of it whole.

    Arguments:
        model: the model.
        path: the file to write or replace; its folder must exist.
        metadata: text to store beside the arrays; ``read_metadata`` reads it.

    Raises:
        FileError: the file cannot be written.
        DtypeError: an array of a dtype that the format has no name for, such as complex128 or int4.
        RangeError: metadata that is no text, or takes a name of Phlox's own.

    Source: https://huggingface.co/docs/safetensors

    >>> import tempfile, phlox as px
    >>> a, b = px.Dense(2, 3), px.Dense(2, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.weights.save_safetensors(a, folder + "/dense.safetensors")
    ...     report = px.weights.load_safetensors(b, folder + "/dense.safetensors")
    >>> bool((a.weight == b.weight).all()), report.loaded
    (True, ['weight', 'bias'])
    """
    where = f"save_safetensors({os.fspath(path)!r})"
    write_file(arrays_of(model, where), path, metadata, {}, where)


def load_safetensors(model: Module, path: str | os.PathLike[str], strict: bool = True) -> LoadReport:
    """Fill a model, in place, from a safetensors file; all is checked before the first array is written.

    Files of other programs load too where paths, shapes and dtypes agree; they carry no checksum to verify.

    Arguments:
        model: the model to fill, built as the file's was.
        path: the file.
        strict: refuse anything missing, unexpected or mismatched; else load what fits, and report the rest.

    Raises:
        FileError: the file cannot be read.
        CorruptFileError: the file is cut short, damaged, of another kind, or of a later Phlox.
        StructureError: with ``strict``, the file is of another model.

    >>> import tempfile, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.weights.save_safetensors(px.Dense(2, 3), folder + "/a.safetensors")
    ...     print(px.weights.load_safetensors(px.Dense(2, 3, bias=False), folder + "/a.safetensors", strict=False))
    loaded 1 arrays
      unexpected: bias
    """
    where = f"load_safetensors({os.fspath(path)!r})"
    arrays_of(model, where)
    arrays, _ = read_file(path, where)
    try:
        return load_state_dict(model, arrays, strict=strict)
    except StructureError as error:
        raise StructureError(error.expected, got=_shortened(error.got or ""), fix=error.fix, where=where) from None


def write_file(
    values: Mapping[str, Any],
    path: str | os.PathLike[str],
    user: Mapping[str, str] | None,
    own: Mapping[str, str],
    where: str,
) -> None:
    """Write arrays by name, the user's text and entries of Phlox's own to a file, whole or not at all."""
    kinds = {name: str(jax.random.key_impl(x)) for name, x in values.items() if is_key(x)}
    words = {name: jax.random.key_data(x) if name in kinds else x for name, x in values.items()}
    forms = {name: _form(name, x, where) for name, x in words.items()}
    arrays = ((name, np.asarray(whole(words[name]))) for name in sorted(words))
    write_by_one(path, forms, arrays, own_metadata(user, kinds, where, own), where, words.values())


def read_file(path: str | os.PathLike[str], where: str) -> tuple[dict[str, Any], dict[str, str]]:
    """All arrays by name, random keys as such, and all text of a file that was found whole."""
    with opened(path, where) as file:
        metadata = dict(file.metadata() or {})
    check_format(metadata, where)
    arrays: dict[str, Any] = _read(path, where)
    check_digest(arrays, metadata, where)
    try:
        for name, kind in key_kinds(metadata).items():
            arrays[name] = jax.random.wrap_key_data(jnp.asarray(arrays[name]), impl=kind)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptFileError(
            "random keys as their words", got=str(error)[:200], fix="load an older file", where=where
        ) from error
    return arrays, metadata


def arrays_of(model: Module, where: str) -> dict[str, Any]:
    """All arrays by path, alive and known."""
    if not isinstance(model, Module):
        raise StructureError("a Module", got=describe(model), fix="pass the model first, then the path", where=where)
    values = state_dict(model)
    for name, x in values.items():
        if isinstance(x, Tracer):
            raise StateError(
                "a model whose arrays have values",
                got=f"{name} inside a function that is being traced",
                fix="save and load outside px.jit and the other transforms",
                where=where,
            )
    return values


def _form(name: str, x: Any, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an array that is alive and that the format has a name for."""
    if isinstance(x, jax.Array) and x.is_deleted():
        raise LostBuffersError(
            f"a model whose arrays are alive, which {name} is not",
            got="an array that was donated to a compiled call that failed",
            fix="rebuild or load the model",
            where=where,
        )
    dtype = np.dtype(x.dtype)
    if dtype not in _KNOWN:
        raise DtypeError(
            f"arrays of {', '.join(sorted(kind.name for kind in _KNOWN))}",
            got=f"{describe(x)} at {name}",
            fix="convert it, for a complex128 into its real and imaginary part",
            where=where,
        )
    return tuple(x.shape), dtype


def _read(path: str | os.PathLike[str], where: str) -> dict[str, np.ndarray]:
    """All arrays of a file whose header was found good, each read once into memory of its own."""
    arrays: dict[str, np.ndarray] = {}
    try:
        with open_regular(path) as file:
            size = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(size))
            header.pop("__metadata__", None)
            for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                if entry["dtype"] not in DTYPES:
                    raise DtypeError(f"dtypes among {list(DTYPES)}", got=f"{entry['dtype']} at {name}", where=where)
                start, end = entry["data_offsets"]
                file.seek(8 + size + start)
                words = np.fromfile(file, np.uint8, end - start)
                arrays[name] = words.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except OSError as error:
        raise file_error(error, path, where) from error
    except ValueError as error:  # the file changed under our hands
        raise CorruptFileError(
            "a file that stays as it is", got=str(error), fix="load it again", where=where
        ) from error
    return arrays


def _shortened(got: str, most: int = 12) -> str:
    """A list of differences with its end left out, where a model has thousands."""
    lines = got.splitlines()
    return got if len(lines) <= most else "\n".join([*lines[:most], f"    … and {len(lines) - most} more"])
