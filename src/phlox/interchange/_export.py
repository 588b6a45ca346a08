"""px.export: a model in other formats, each file proved equal before anything is in its place."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np

from phlox.core import Module, OptionError, RangeError, StructureError, describe
from phlox.interchange._about import About
from phlox.interchange._beside import Original
from phlox.interchange._examples import as_sequence, drawn, given
from phlox.interchange._program import Program, Request
from phlox.interchange._provenance import provenance
from phlox.interchange._proving import Truth, proved
from phlox.interchange._report import ExportReport, ExportRow
from phlox.interchange._sizes import Sizes
from phlox.interchange._spec import Spec, specs_of
from phlox.interchange._writing import write_rest
from phlox.interchange.targets import _litert as _litert  # they make themselves known
from phlox.interchange.targets import _onnx as _onnx
from phlox.interchange.targets import _savedmodel as _savedmodel
from phlox.interchange.targets import _stablehlo as _stablehlo
from phlox.interchange.targets import _web as _web
from phlox.interchange.targets._target import DEFAULT, Target, chosen
from phlox.weights import Bundle, Example, Written, name_of, writing_bundle

Asked = Mapping[str, Any]


def export(
    model: Module | Callable[..., Any],
    folder: str | os.PathLike[str],
    *,
    inputs: Mapping[str, Spec] | None = None,
    to: str | Target | Sequence[str | Target] = ("stablehlo",),
    preprocess: Callable[..., Any] | None = None,
    postprocess: Callable[..., Any] | None = None,
    signatures: Mapping[str, Any] | None = None,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    examples: Any = None,
    tolerance: float | None = None,
    name: str | None = None,
    about: About | None = None,
    original: Module | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write a model in formats that other programs run, in one folder; a file that computes something else is refused.

    The model is written as it infers. Each file is run in its format's own runtime on examples of several sizes, and
    compared with the model; the folder appears when all of them agree, or not at all. It is a bundle: the files asked
    for, the model itself where ``px.save`` can hold it, examples, and ``bundle.json``, which has a checksum of each.

    Arguments:
        model: a Module, or a method of one.
        folder: the bundle to write; its parent must exist.
        inputs: what the model is called with, by name: each goes to the parameter of its name, the others in order.
            A ``px.Spec(dtype="key")`` that no parameter takes is what the model's own layers draw from.
        to: formats, of ``px.interchange.targets()``; or with settings, as ``px.interchange.Web(…)``.
        preprocess: called with the inputs, gives what the model is called with: one value, a tuple, or a dict by
            parameter. It is written into the files, as is ``postprocess``, which is called with the model's result.
        signatures: further functions by name: pairs of a method, its name, or a function of the model and its inputs;
            and the inputs. They share the weights, and stand alone where ``inputs`` is left out.
        sizes: the smallest and the largest size that a symbol stands for; 1 and any by default.
        examples: inputs to try, a dict by name or a list of them; by signature where there are several. By default
            they are drawn, at several sizes.
        tolerance: the largest difference, as a share of the largest number of each output, or of 1; by default 1e-5,
            more where weights or outputs have 16 bits, or layers round what comes in to 8.
        name: of the model; that of its class by default.
        about: what else the bundle says: classes, encoders, constants, statistics, where it comes from.
        original: the model that this one was made of by ``px.compress``: the report has beside each file the size of
            the original's, and how far results are from the original's over the examples.
        overwrite: replace a bundle that is there.

    Returns:
        A report that prints as a table: each file's size, largest difference, and time beside Phlox's.

    Raises:
        ExportError: a forward that draws or moves State, sizes that cannot be symbols, an operation that the format
            does not have, or a file that differs from the model; says at which layer.
        ShapeError: the model does not take these inputs; names the layer.
        StructureError: no Module; an original with other outputs.
        FileError: the folder is taken, or cannot be written.
        MissingExtraError: a format needs a package that is not installed.

    >>> import tempfile, jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(4, 8, px.relu), px.Dropout(0.5), px.Dense(8, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = px.export(model, folder + "/out", inputs={"x": px.Spec("batch", 4)})
    ...     again = px.load_exported(folder + "/out")
    >>> report.error <= 1e-5, again(jnp.ones((3, 4))).shape
    (True, (3, 2))

    Source: https://docs.jax.dev/en/latest/export/export.html
    """
    where = f"px.export({os.fspath(folder)!r})"
    asked = (inputs, signatures, preprocess, postprocess, where)
    model, requests = _requests(model, *asked)
    told = about or About()
    told.check({n: s for r in requests for n, s in r.inputs.items()}, where)
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise RangeError("a tolerance from 0", got=repr(tolerance), fix="leave it out for the usual one", where=where)
    targets = chosen(to, where)
    bounds = Sizes([spec for request in requests for spec in request.inputs.values()], sizes, where)
    programs = [Program(model, request, bounds, where) for request in requests]
    truths = [Truth(model, request, where) for request in requests]
    tried = _examples(programs, truths, examples, where)
    larger = None if original is None else Original(*_requests(original, *asked), bounds, where)
    with writing_bundle(folder, overwrite=overwrite, where=where) as draft:
        rows, written = _written(targets, programs, truths, tried, tolerance, draft.folder, larger)
        bundle = Bundle(
            folder=draft.folder,
            name=name or type(model).__name__,
            version=told.version,
            signatures={p.name: p.signature(_names_of(p.request)) for p in programs},
            targets=written,
            classes=tuple(told.classes),
            preprocessing=dict(told.preprocessing),
            encoders=dict(told.encoders),
            provenance=provenance(model, told, where),
            card=told.card,
        )
        notes = write_rest(model, bundle, tried, told.statistics)
        draft.bundle = bundle
    files = {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(Path(folder).rglob("*")) if p.is_file()}
    said = [_said(program, several) for program, several in zip(programs, tried.values(), strict=True)]
    return ExportReport(Path(folder), tuple(rows), files, tuple(said), tuple(notes))


def _requests(
    model: Any, inputs: Any, signatures: Any, preprocess: Any, postprocess: Any, where: str
) -> tuple[Module, list[Request]]:
    """The model, and what is asked of it by signature."""
    function: Any = None
    if isinstance(model, MethodType) and isinstance(model.__self__, Module):
        model, function = model.__self__, model
    if not isinstance(model, Module):
        fix = "pass the model, or one of its methods; make a function of arrays a Module: px.WrappedFunction(f)"
        raise StructureError("a Module", got=describe(model), fix=fix, where=where)
    asked = dict(signatures or {})
    found = []
    if inputs is not None or not asked:
        call, method = _function(model, function or "__call__", where)
        found.append(Request(DEFAULT, call, specs_of(inputs, where), preprocess, postprocess, method))
    for name, pair in asked.items():
        found.append(_request(model, name, pair, where))
    if len({r.name for r in found}) != len(found):
        fix = f"name it otherwise: {DEFAULT!r} is the model's own call, with inputs="
        raise OptionError("signatures with names of their own", got=DEFAULT, fix=fix, where=where)
    return model, found


def _request(model: Module, name: str, pair: Any, where: str) -> Request:
    if not isinstance(name, str) or not name.isidentifier() or not isinstance(pair, (tuple, list)) or len(pair) != 2:
        fix = 'write signatures={"encode": (model.encode, {"x": px.Spec("batch", 3)})}'
        got = f"{name!r}: {repr(pair)[:100]}"
        raise OptionError("a name, a method or function, and its inputs", got=got, fix=fix, where=where)
    call, method = _function(model, pair[0], where)
    return Request(name, call, specs_of(pair[1], where), method=method)


def _function(model: Module, asked: Any, where: str) -> tuple[Callable[..., Any], str]:
    """A function of the model and its inputs, and the name of the method that it is."""
    if isinstance(asked, MethodType) and asked.__self__ is model:
        asked = asked.__name__
    if isinstance(asked, str):
        method = getattr(type(model), asked, None)
        if not callable(method):
            fix = "name a method that takes arrays"
            raise OptionError(f"a method of {type(model).__name__}", got=repr(asked), fix=fix, where=where)
        return method, asked
    if not callable(asked) or isinstance(asked, (Module, MethodType)):
        fix = "give a method of this model, its name, or a function whose first parameter is the model"
        raise OptionError("a method or a function", got=describe(asked), fix=fix, where=where)
    return asked, ""


def _examples(
    programs: Sequence[Program], truths: Sequence[Truth], examples: Any, where: str
) -> dict[str, list[Example]]:
    """Inputs by signature, and what the model gives for each."""
    asked = as_sequence(examples, [p.name for p in programs])
    found = {}
    for program, truth in zip(programs, truths, strict=True):
        mine = asked.get(program.name)
        several = drawn(program.inputs, program.sizes) if mine is None else given(mine, program.inputs, where)
        if not several:
            raise OptionError(
                "an example at least", got="none", fix="leave examples out to have them drawn", where=where
            )
        found[program.name] = [Example(x, {n: np.asarray(y) for n, y in truth(x).items()}) for x in several]
    return found


def _written(
    targets: Sequence[Target],
    programs: Sequence[Program],
    truths: Sequence[Truth],
    tried: Mapping[str, Sequence[Example]],
    tolerance: float | None,
    folder: Path,
    original: Original | None,
) -> tuple[list[ExportRow], dict[str, dict[str, Written]]]:
    """The files of all formats, each proved, as rows of the report and as the bundle says them."""
    rows: list[ExportRow] = []
    written: dict[str, dict[str, Written]] = {}
    for target in targets:
        details = target.write(programs, folder)
        written[target.name] = {}
        proofs = [proved(target, p, folder, tried[p.name], t, tolerance) for p, t in zip(programs, truths, strict=True)]
        beside = {} if original is None else original.beside(target, programs, tried, folder)
        for program, row in zip(programs, proofs, strict=True):
            one = beside.get(program.name)
            rows.append(replace(row, original=one))
            told = details[program.name] if one is None else {**details[program.name], "original": vars(one)}
            written[target.name][program.name] = Written(row.file, row.tolerance, row.error, told)
    return rows, written


def _names_of(request: Request) -> dict[str, str]:
    """What a signature is made of, by names that a later reader may follow; nothing for what has no name."""
    named: dict[str, Any] = {"preprocess": request.preprocess, "postprocess": request.postprocess}
    found = {key: name_of(function) or "" for key, function in named.items() if function is not None}
    if not request.method:
        found["function"] = name_of(request.function) or ""
    elif request.method != "__call__":
        found["method"] = request.method
    return found


def _said(program: Program, examples: Sequence[Example]) -> str:
    """The shapes that were tried, in words."""
    shapes = [", ".join(f"{n} {list(np.shape(x))}" for n, x in e.inputs.items()) for e in examples]
    return f"{program.name}: {' and '.join(shapes)}"
