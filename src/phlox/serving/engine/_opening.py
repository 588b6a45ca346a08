"""A path as a servable, by what is there: a bundle, an ONNX file, a file of px.save, or a model's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phlox.core import ExportError, Module, PhloxError
from phlox.data.validate import Schema
from phlox.interchange import runnables_of_bundle, runnables_of_model, runnables_of_stablehlo
from phlox.nn import optimize_for_inference
from phlox.serving.engine._compiled import CompiledServable
from phlox.serving.engine._onnx import ONNXServable
from phlox.serving.engine._servable import Servable
from phlox.serving.engine._warming import check_examples
from phlox.serving.language._opening import Language, is_model_folder, open_model_folder
from phlox.weights import MANIFEST, Bundle, MissingFileError, load, read_bundle


@dataclass(frozen=True)
class Opening:
    """How sources are opened.

    Arguments:
        inputs: of a model that is no bundle, as ``px.export`` takes them.
        allow: packages, classes and functions that a model may name, as for ``px.load``.
        language: how folders of models of text are served.
    """

    inputs: Mapping[str, Any] | None = None
    allow: tuple[Any, ...] = ()
    language: Language = field(default_factory=Language)


def opened(path: Path, how: Opening, where: str) -> tuple[Servable, list[str]]:
    """What is to be served of a path, and what is to be told of it.

    Raises:
        MissingFileError: nothing is there that can be served.
        ExportError, FileError, MissingExtraError: it cannot be run.
    """
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return _of_bundle(path, how, where)
        if is_model_folder(path):
            return open_model_folder(path, how.language), []
        files = sorted(path.glob("*.onnx"))
        if len(files) != 1:
            got = f"{len(files)} ONNX files" if files else "none of them"
            fix = "put there what px.export writes, a model of text and its tokenizer, or a file that ends in .onnx"
            raise MissingFileError(
                f"{path} to hold a bundle, a model of text, or one ONNX file", got=got, fix=fix, where=where
            )
        path = files[0]
    if path.suffix == ".onnx":
        return ONNXServable({"default": path}, where), []
    return _of_model(path, how, where), []


def _of_model(path: Path, how: Opening, where: str) -> Servable:
    model = load(path, allow=how.allow)
    if not how.inputs:
        fix = "say it: --input image=batch,28,28,1; or write a bundle of it with px.export, which holds it"
        raise ExportError("what a model takes, where it is no bundle", got=path.name, fix=fix, where=where)
    return CompiledServable(runnables_of_model(_prepared(model), how.inputs, where=where), "px.save")


def _prepared(model: Module) -> Module:
    """The model as it is fastest."""
    return optimize_for_inference(model, tell=None)


def _of_bundle(folder: Path, how: Opening, where: str) -> tuple[Servable, list[str]]:
    """The first form of a bundle that runs here and gives what its examples say."""
    bundle = read_bundle(folder, where=where)
    notes, errors = list[str](), list[PhloxError]()
    for form in _forms(bundle, how, where):
        try:
            servable = form()
            check_examples(servable, _tolerance(bundle), where)
            servable.schema = _schema_of(bundle, where)
            return servable, notes
        except PhloxError as error:
            notes.append(str(error))
            errors.append(error)
    if errors:
        raise errors[-1]
    fix = f"make a file that runs: phlox export {folder} --to stablehlo"
    raise ExportError("a bundle that can be run", got=", ".join(bundle.targets) or "none", fix=fix, where=where)


def _schema_of(bundle: Bundle, where: str) -> Schema | None:
    """What the bundle says of its inputs."""
    content = (bundle.statistics() or {}).get("schema")
    return None if content is None else Schema.of(content, where)


def _forms(bundle: Bundle, how: Opening, where: str) -> Iterable[Callable[[], Servable]]:
    """The forms of a bundle, the fastest first."""
    if "model.phlox" in bundle.files:
        yield lambda: CompiledServable(
            runnables_of_bundle(bundle, allow=how.allow, prepare=_prepared, where=where), "model.phlox", bundle
        )
    if bundle.targets.get("stablehlo"):
        yield lambda: CompiledServable(runnables_of_stablehlo(bundle), "StableHLO", bundle)
    if written := bundle.targets.get("onnx"):
        files = {name: bundle.folder / one.file for name, one in written.items()}
        yield lambda: ONNXServable(files, where, bundle)


def _tolerance(bundle: Bundle) -> dict[str, float]:
    """What every file of a signature met when it was made; never below what kernels of two machines differ by."""
    found: dict[str, float] = {}
    for several in bundle.targets.values():
        for name, written in several.items():
            found[name] = max(found.get(name, 1e-5), written.tolerance)
    return found
