"""px.load_exported: a bundle as a function, without the code of the model that it was."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.export
import jax.numpy as jnp

from phlox.core import ExportError, Module, RangeError
from phlox.interchange._checking import ready
from phlox.interchange._forms import put_together
from phlox.interchange.targets._stablehlo import StableHLO, read_program
from phlox.interchange.targets._target import DEFAULT
from phlox.weights import Bundle, CorruptFileError, read_bundle, read_file

_PLATFORM = {"gpu": "cuda"}


@dataclass(frozen=True, eq=False, repr=False)
class _Held:
    """What a loaded bundle holds beside its weights; one object, compared by identity."""

    bundle: Bundle
    programs: Mapping[str, jax.export.Exported]
    calls: Mapping[str, Any]
    """The same as functions that are compiled once for each shape."""

    def __repr__(self) -> str:
        takes = (f"{name}({', '.join(x.name for x in one.inputs)})" for name, one in self.bundle.signatures.items())
        return f"{self.bundle.name}: {', '.join(takes)}"


class Exported(Module):
    """A bundle as a function of its inputs: a Module, whose arrays are the weights.

    ``exported(x)`` runs what the model's own call was, ``exported["encode"](x)`` another signature. It runs line by
    line and under ``px.jit`` and ``px.vmap``, and has gradients, by inputs and by weights, where the program has: a
    loop of unknown length has none. Results have the form that the model's had; named tuples and Modules are dicts.

    Raises:
        OptionError, DtypeError, ShapeError, RangeError: inputs that the signature does not take.
    """

    weights: dict[str, jax.Array]

    def __init__(self, held: _Held, weights: dict[str, jax.Array]):
        self.held = held
        self.weights = weights

    @property
    def bundle(self) -> Bundle:
        """What the bundle says of itself."""
        return self.held.bundle

    @property
    def signatures(self) -> tuple[str, ...]:
        """The names of the functions."""
        return tuple(self.bundle.signatures)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        first, *others = self.signatures
        return self.run(first if not others else DEFAULT, *inputs, **named)

    def __getitem__(self, signature: str) -> ExportedFunction:
        self._check(signature)
        return ExportedFunction(self, signature)

    def run(self, signature: str, /, *inputs: Any, **named: Any) -> Any:
        """The result of a signature, inputs in its order or by name.

        Raises:
            RangeError: there is no such signature.
        """
        self._check(signature)
        told = self.bundle.signatures[signature]
        where = f"{self.bundle.name}.{signature}"
        given = ready(told, self.bundle.encoders, inputs, named, where)
        details = self.bundle.targets[StableHLO.name][signature].details
        found = self.held.calls[signature]([self.weights[name] for name in details["arguments"]], given)
        return put_together(told.result, {x.name: y for x, y in zip(told.outputs, found, strict=True)})

    def _check(self, signature: str) -> None:
        if signature not in self.signatures:
            fix = 'write exported["name"](…) with one of these'
            where = f"load_exported({os.fspath(self.bundle.folder)!r})"
            raise RangeError(
                f"a signature among {', '.join(self.signatures)}", got=repr(signature), fix=fix, where=where
            )

    def _brief(self) -> str:
        return f"Exported({self.bundle.name!r}, {', '.join(self.signatures)})"


class ExportedFunction(Module):
    """One signature of a loaded bundle, as a function.

    Arguments:
        exported: the bundle.
        signature: its name.
    """

    signature: str

    exported: Exported

    def __init__(self, exported: Exported, signature: str):
        self.exported, self.signature = exported, signature

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        return self.exported.run(self.signature, *inputs, **named)

    def _brief(self) -> str:
        return f"{self.exported.bundle.name}.{self.signature}"


def load_exported(folder: str | os.PathLike[str]) -> Exported:
    """Read a bundle's StableHLO as a function; the model's code is not needed, and none runs.

    Arguments:
        folder: a bundle that ``px.export`` wrote, with ``"stablehlo"`` among its formats.

    Raises:
        MissingFileError: there is no such bundle.
        CorruptFileError: a file is missing, or not as it was written; or the bundle is of a later Phlox.
        ExportError: it has no StableHLO, or one that this JAX or this machine does not run.

    >>> import tempfile, jax, jax.numpy as jnp, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = px.export(px.Dense(3, 2), folder + "/out", inputs={"x": px.Spec("batch", 3)})
    ...     dense = px.load_exported(folder + "/out")
    >>> dense(jnp.ones((4, 3))).shape, px.grad(lambda x: dense(x).sum())(jnp.ones((1, 3))).shape
    ((4, 2), (1, 3))
    """
    where = f"px.load_exported({os.fspath(folder)!r})"
    bundle = read_bundle(folder, where=where)
    written = bundle.targets.get(StableHLO.name)
    if not written:
        fix = f"make it from the model beside them: phlox export {os.fspath(folder)} --to stablehlo"
        raise ExportError("a bundle with StableHLO", got=", ".join(bundle.targets) or "none", fix=fix, where=where)
    programs = {name: _program(bundle, entry.file, where) for name, entry in written.items()}
    names = {name for entry in written.values() for name in entry.details["arguments"]}
    arrays: dict[str, Any] = {}
    for file in {entry.details["weights"] for entry in written.values()}:
        arrays |= read_file(bundle.folder / file, where)[0]
    if lacking := names - set(arrays):
        raise CorruptFileError("all weights of the programs", got=f"no {min(lacking)}", fix="export anew", where=where)
    calls = {name: jax.jit(program.call) for name, program in programs.items()}
    return Exported(_Held(bundle, programs, calls), {name: jnp.asarray(arrays[name]) for name in sorted(names)})


def _program(bundle: Bundle, file: str, where: str) -> jax.export.Exported:
    """A program from its file, which this JAX and this machine run.

    Raises:
        ExportError: they do not.
    """
    anew = f"make it anew from the model beside it: phlox export {bundle.folder} --refresh"
    try:
        program = read_program(bundle.folder / file)
    except Exception as error:
        raise ExportError(
            f"{file} in a form that JAX {jax.__version__} reads", got=str(error)[:200], fix=anew, where=where
        ) from error
    low, high = (getattr(jax.export, f"{end}_supported_calling_convention_version") for end in ("minimum", "maximum"))
    if not low <= program.calling_convention_version <= high:
        got = f"version {program.calling_convention_version}"
        raise ExportError(
            f"{file} of calling convention {low} to {high}, which JAX {jax.__version__} runs",
            got=got,
            fix=anew,
            where=where,
        )
    here = jax.default_backend()
    if _PLATFORM.get(here, here) not in program.platforms:
        fix = "run it there: JAX_PLATFORMS=cpu"
        raise ExportError(f"a machine among {', '.join(program.platforms)}", got=here, fix=fix, where=where)
    return program
