"""A page that runs an ONNX file in a browser: plain files, and no network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phlox.core import ExportError, MissingExtraError, RangeError
from phlox.interchange._program import Program
from phlox.interchange.targets._fields import check_output, field_of
from phlox.interchange.targets._onnx import ONNX
from phlox.interchange.targets._target import Run, Target, add_target

PAGE = Path(__file__).parent / "page"
PACKAGE = "onnxruntime-web"
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""Of the package: the interface, and ONNX Runtime as WebAssembly."""

VARIABLE = "PHLOX_ONNXRUNTIME_WEB"


class Web:
    """The format ``web`` of ``px.export``, with settings: a page that asks for inputs, and shows the likeliest classes.

    The folder holds ``index.html``, ``page.js``, the model as ONNX, ``bundle.json`` and ONNX Runtime for browsers,
    which is copied from the npm package ``onnxruntime-web``. Any server of files serves it; nothing is loaded from
    elsewhere, and nothing is sent. Pictures are cut to the form that the model takes, from their middle, and resized
    as Pillow's ``BILINEAR`` does; uint8 gets levels from 0 to 255, floats the same from 0 to 1. What else is done to
    inputs belongs into ``preprocess=``.

    Arguments:
        pictures: the inputs that are drawn or chosen as pictures; by default those of
            ``(batch, height, width, 1, 3 or 4)``.
        labels: names of the numbers in a row, by input.
        shares: whether the model gives shares of one, or scores of which the page takes the softmax; by default
            numbers from 0 to 1 that add up to 1 are shares.
        onnxruntime_web: the folder of the npm package; by default that which ``PHLOX_ONNXRUNTIME_WEB`` names, or the
            one in ``node_modules`` here or above.

    Raises:
        RangeError: pictures and labels of inputs that there are not, or that do not fit them; in ``px.export``.
        DtypeError: inputs that a page cannot take; in ``px.export``.
        MissingExtraError: the package is not there; in ``px.export``.

    >>> import phlox as px
    >>> page = px.interchange.Web(labels={"x": ["length", "width"]})
    >>> page.name
    'web'
    """

    name = "web"
    runtime = "ONNX Runtime"

    def __init__(
        self,
        *,
        pictures: Sequence[str] | None = None,
        labels: Mapping[str, Sequence[str]] | None = None,
        shares: bool | None = None,
        onnxruntime_web: str | os.PathLike[str] | None = None,
    ):
        self.pictures: list[str] | None = None if pictures is None else list(pictures)
        self.labels: dict[str, list[str]] = {name: list(several) for name, several in (labels or {}).items()}
        self.shares = shares
        self._folder = onnxruntime_web
        self._onnx = ONNX()

    def __repr__(self) -> str:
        return f"Web(pictures={self.pictures}, labels={self.labels}, shares={self.shares})"

    def again(self, details: Mapping[str, Any]) -> Target:
        """The same settings from what a bundle says of a file."""
        told = details["page"]
        return Web(pictures=told["pictures"], labels=told["labels"], shares=told["shares"])

    def file(self, signature: str) -> str:
        """The file of a signature."""
        return self._onnx.file(signature)

    def require(self, where: str) -> None:
        """Refuse where a package is missing, npm's included."""
        self._onnx.require(where)
        _runtime(self._folder, where)

    def write(self, programs: Sequence[Program], folder: Path) -> dict[str, dict[str, Any]]:
        """Write each program with its weights, and the page once."""
        where = programs[0].where
        pages = {program.name: self._page(program) for program in programs}
        self._check_names(programs)
        runtime = _runtime(self._folder, where)
        details = self._onnx.write(programs, folder)
        for data in folder.glob("*.onnx.data"):
            fix = "write onnx, which other programs than browsers run, or a smaller model"
            raise ExportError("a model below 1 GiB for a page", got=data.name, fix=fix, where=where)
        for path in [*sorted(PAGE.iterdir()), *runtime]:
            shutil.copyfile(path, folder / path.name)
        more = {PACKAGE: _version(runtime[0])}
        return {name: {**details[name], **more, "page": page} for name, page in pages.items()}

    def opened(self, program: Program, folder: Path) -> Run:
        """The program in a session on the CPU: the file is what the page's runtime reads, too."""
        return self._onnx.opened(program, folder)

    def _page(self, program: Program) -> dict[str, Any]:
        """What the page must know, as JSON."""
        fields = {
            name: field_of(name, spec, self.pictures, self.labels, program.where)
            for name, spec in program.inputs.items()
        }
        for output in () if program.looked_into else program.outputs:
            check_output(output, program.where)
        return {"fields": fields, "pictures": self.pictures, "labels": self.labels, "shares": self.shares}

    def _check_names(self, programs: Sequence[Program]) -> None:
        """Refuse pictures and labels of inputs that no signature has."""
        known = {name for program in programs for name in program.inputs}
        for name in [*(self.pictures or ()), *self.labels]:
            if name not in known:
                fix = f"name one of {', '.join(sorted(known))}"
                raise RangeError("pictures and labels of inputs", got=repr(name), fix=fix, where=programs[0].where)


def _runtime(given: str | os.PathLike[str] | None, where: str) -> list[Path]:
    """The files of ONNX Runtime for browsers.

    Raises:
        MissingExtraError: they are not there.
    """
    named = given or os.environ.get(VARIABLE)
    here = Path.cwd()
    folders = [Path(named)] if named else [p / "node_modules" / PACKAGE for p in (here, *here.parents)]
    for folder in folders:
        for place in (folder / "dist", folder):
            if all((place / name).is_file() for name in RUNTIME):
                return [place / name for name in RUNTIME]
    raise MissingExtraError(
        f"{PACKAGE}, whose files {' and '.join(RUNTIME)} run the model in a browser",
        got=f"none in {named or f'node_modules of {here} or above'}",
        fix=f"npm install {PACKAGE}@1.30 where you export; or name the folder of the package, in {VARIABLE} or as "
        "to=px.interchange.Web(onnxruntime_web=…)",
        where=where,
    )


def _version(file: Path) -> str:
    """The version of the package that a file belongs to; empty where it stands alone."""
    for folder in file.parents[:2]:
        if (folder / "package.json").is_file():
            return str(json.loads((folder / "package.json").read_text("utf-8")).get("version", ""))
    return ""


add_target(Web())
