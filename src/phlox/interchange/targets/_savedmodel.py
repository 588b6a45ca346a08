"""SavedModel: the programs that StableHLO's files hold, called by TensorFlow, with the weights as its variables."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from phlox.core import DtypeError, ExportError, MissingExtraError, OptionError
from phlox.interchange._program import Program
from phlox.interchange._sizes import is_symbol
from phlox.interchange.targets import _tensorflow
from phlox.interchange.targets._apart import Apart, ApartError
from phlox.interchange.targets._lapack import refuse_lapack
from phlox.interchange.targets._older import for_older_readers
from phlox.interchange.targets._stablehlo import exported
from phlox.interchange.targets._target import DEFAULT, Run, add_target

FOLDER = "saved_model"
SERVED = "serving_default"
"""What TensorFlow's servers call the signature of a request that names none."""

_PACKED = re.compile(r"u?int[24]|float4_\w+")


class SavedModel:
    """TensorFlow's own format, which TensorFlow Serving takes; written and run in processes of their own."""

    name = "savedmodel"
    runtime = "TensorFlow"

    def file(self, signature: str) -> str:
        """The file with the programs of all signatures; variables are beside it."""
        return f"{FOLDER}/saved_model.pb"

    def require(self, where: str) -> None:
        """Refuse where TensorFlow is missing."""
        if importlib.util.find_spec("tensorflow") is None:
            raise MissingExtraError("tensorflow", got="none", fix='pip install "phlox[savedmodel]"', where=where)

    def write(self, programs: Sequence[Program], folder: Path) -> dict[str, dict[str, Any]]:
        """Write programs as signatures of one SavedModel, and the weights of all of them once."""
        where = programs[0].where
        _check_names(programs, where)
        _check_dtypes(programs, where)
        told, arrays = [], dict[str, np.ndarray]()
        for program in programs:
            made = exported(program)
            told.append(_said(program, made))
            arrays |= {f"weights/{name}": np.asarray(x) for name, x in program.weights.items()}
            arrays[f"programs/{told[-1]['key']}"] = np.frombuffer(_portable(program, made), np.uint8)
        try:
            with started() as process:
                process("write", {"folder": str(folder / FOLDER), "signatures": told}, arrays)
        except ApartError as error:
            raise _refusal(str(error), where) from error
        return {program.name: _details(one) for program, one in zip(programs, told, strict=True)}

    def opened(self, program: Program, folder: Path) -> Run:
        """The signature from the folder, in a process that has neither JAX nor Phlox."""
        process = started()
        process("open", {"folder": str(folder / FOLDER), "key": _key(program.name)}, {})

        def run(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
            return process("run", {}, {name: np.asarray(x) for name, x in inputs.items()})

        return run


def started() -> Apart:
    """A process with TensorFlow."""
    return Apart(Path(_tensorflow.__file__))


def _key(signature: str) -> str:
    return SERVED if signature == DEFAULT else signature


def _check_names(programs: Sequence[Program], where: str) -> None:
    """Refuse names that TensorFlow cannot tell apart."""
    keys = [_key(program.name) for program in programs]
    if len(set(keys)) < len(keys):
        fix = f"name it otherwise: the model's own call has that name in a SavedModel, {SERVED!r}"
        raise OptionError("signatures of different names", got=f"{SERVED!r} twice", fix=fix, where=where)
    for program in programs:
        small = Counter(name.lower() for name in program.inputs)
        alike = [name for name in program.inputs if small[name.lower()] > 1]
        if alike:
            fix = "name them otherwise: TensorFlow compares them in small letters"
            raise OptionError("inputs that differ by more than capitals", got=", ".join(alike), fix=fix, where=where)


def _check_dtypes(programs: Sequence[Program], where: str) -> None:
    """Refuse what TensorFlow holds one to a byte and its XLA reads two to a byte: it would compute something else."""
    for program in programs:
        held = [(x.dtype.name, n) for n, x in program.weights.items()]
        held += [(x.dtype, n) for n, x in program.inputs.items()] + [(x.dtype, x.name) for x in program.outputs]
        odd = [f"{dtype} {name}" for dtype, name in held if _PACKED.fullmatch(dtype)]
        if odd:
            fix = "store it in 8 bits, and convert it in the model"
            raise DtypeError("numbers of 8 bits and more for TensorFlow", got=", ".join(odd[:4]), fix=fix, where=where)


def _portable(program: Program, made: jax.export.Exported) -> bytes:
    """The program in a form that TensorFlow reads."""
    refuse_lapack(program, made, SavedModel.runtime)
    try:
        return for_older_readers(made)
    except Exception as error:  # MLIR's own kinds among them
        raise _refusal(f"{type(error).__name__}: {error}", program.where) from error


def _refusal(got: str, where: str) -> ExportError:
    fix = "nothing was written; another version of TensorFlow or another format may do"
    return ExportError("a program that TensorFlow takes", got=got[:400], fix=fix, where=where)


def _said(program: Program, made: jax.export.Exported) -> dict[str, Any]:
    """What the other process must know of a signature, as JSON."""
    _, inputs = program.structs()
    outputs = zip(program.output_names, made.out_avals, strict=True)
    return {
        "key": _key(program.name),
        "weights": list(program.weights),
        "inputs": [_array(name, x) for name, x in zip(program.inputs, inputs, strict=True)],
        "outputs": [_array(name, x) for name, x in outputs],
        "calling_convention": made.calling_convention_version,
        "platforms": [name.upper() for name in made.platforms],
        "shardy": bool(getattr(jax.config, "jax_use_shardy_partitioner", True)),
    }


def _array(name: str, x: Any) -> list[Any]:
    """Name, sizes, None for one that is known at the call, and dtype."""
    return [name, [None if is_symbol(n) else int(n) for n in x.shape], np.dtype(x.dtype).name]


def _details(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader must know of a signature."""
    return {
        "signature": told["key"],
        "weights": told["weights"],
        "platforms": [name.lower() for name in told["platforms"]],
        "calling_convention": told["calling_convention"],
        "jax": jax.__version__,
    }


add_target(SavedModel())
