"""A model in one file: its arrays, and how it is built."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import DtypeError, Module, describe, is_key
from phlox.weights._describing import described
from phlox.weights._errors import CorruptFileError
from phlox.weights._naming import Allowed
from phlox.weights._rebuilding import MalformedError, rebuilt
from phlox.weights._safetensors import arrays_of, read_file, write_file

_ENTRY = "phlox.model"


def save(model: Module, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write a model to one file, arrays and construction, so that ``px.load`` needs nothing else.

    The file is a safetensors file: other programs read its arrays. Its metadata describes the live model: classes and
    functions by their import path, other attributes as data; what was replaced, appended, shared, frozen or pinned is
    kept. It appears whole or not at all, with a checksum. The same model gives the same bytes. Of a model that lies in
    parts over several processes all call this, and process 0 writes, one array at a time.

    Arguments:
        model: the model.
        path: the file to write or replace; its folder must exist.
        metadata: text to store beside the arrays; ``px.weights.read_metadata`` reads it.

    Raises:
        StructureError: an attribute that no file can describe, such as a lambda.
        FileError: the file cannot be written.
        DtypeError: an array of a dtype that the format has no name for.

    >>> import tempfile, jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(4, 8, px.relu), px.Dropout(0.5), px.Dense(8, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.save(model, folder + "/model.safetensors")
    ...     again = px.load(folder + "/model.safetensors")
    >>> again[0].act is px.relu, bool((again(jnp.ones((1, 4))) == model(jnp.ones((1, 4)))).all())
    (True, True)
    """
    where = f"px.save({os.fspath(path)!r})"
    arrays = arrays_of(model, where)
    write_file(arrays, path, metadata, {_ENTRY: described(model, where)}, where)


def load(path: str | os.PathLike[str], *, allow: Iterable[Any] | Any = ()) -> Any:
    """Read a model from a file that ``px.save`` wrote.

    No ``__init__`` runs and nothing is unpickled. Of the names in the file, these are followed: Phlox's own Modules,
    functions of Phlox, ``jax.nn``, ``jax.numpy``, ``jax.lax`` and ``operator`` that only compute, subclasses of
    ``px.Module`` in modules that are already imported, and what ``allow`` gives. A class whose attributes changed since
    the file was written adapts them in ``__setstate__``, as for pickle.

    Arguments:
        path: the file.
        allow: classes and functions that the file may name, and names of packages, which are imported as needed.

    Raises:
        NotAllowedError: the file names something else.
        FileError: the file cannot be read.
        CorruptFileError: it is cut short, damaged, of a later Phlox, or holds arrays alone.
        DtypeError: 64-bit arrays while JAX has them off.

    >>> import tempfile, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.save(px.freeze(px.Dense(2, 3), "bias"), folder + "/dense.safetensors")
    ...     list(px.split(px.load(folder + "/dense.safetensors"))[0])
    ['weight']
    """
    where = f"px.load({os.fspath(path)!r})"
    allowed = Allowed(allow, where)
    arrays, metadata = read_file(path, where)
    if _ENTRY not in metadata:
        raise CorruptFileError(
            "a file that says how its model is built",
            got="arrays alone",
            fix="build the model, and fill it with px.weights.load_safetensors(model, path)",
            where=where,
        )
    ready = {name: _on_device(name, x, where) for name, x in arrays.items()}
    try:
        return rebuilt(metadata[_ENTRY], ready, allowed)
    except MalformedError as error:
        raise CorruptFileError(
            "a file that says how its model is built",
            got=str(error),
            fix="update Phlox, or load an older file: this one is damaged or of a later Phlox",
            where=where,
        ) from error


def _on_device(name: str, x: Any, where: str) -> Any:
    """An array as JAX has it, not narrowed."""
    if is_key(x):
        return x
    if jax.dtypes.canonicalize_dtype(x.dtype) != x.dtype:
        raise DtypeError(
            "dtypes that JAX has switched on",
            got=f"{describe(x)} at {name}",
            fix='call jax.config.update("jax_enable_x64", True) before the first array is made',
            where=where,
        )
    return jnp.asarray(x)
