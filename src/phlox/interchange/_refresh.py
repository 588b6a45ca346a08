"""Files of a bundle made anew from the model beside them: for a newer JAX, or for a further format."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from phlox.core import ExportError
from phlox.interchange._about import About
from phlox.interchange._export import export
from phlox.interchange._report import ExportReport
from phlox.interchange._requests import functions_again, specs_again
from phlox.interchange.targets._target import DEFAULT, Target, as_written
from phlox.weights import MODEL, Allowed, Bundle, load, read_bundle, read_examples


def refresh(
    folder: str | os.PathLike[str], *, to: str | Sequence[str] = (), allow: Iterable[Any] | Any = ()
) -> ExportReport:
    """Make a bundle's files anew from ``model.phlox`` beside them, with its own examples; it is replaced as a whole.

    JAX runs what it exported within a window of its versions; a newer one needs new files.

    Arguments:
        folder: the bundle.
        to: formats to make beside those that are there.
        allow: classes and functions that the model and its signatures may name, and names of packages, as for
            ``px.load``.

    Raises:
        ExportError: the bundle has no model, or was made with a function that has no name to find it by; or as for
            ``px.export``.
        NotAllowedError: a name that is not allowed.
        FileError, CorruptFileError: the bundle cannot be read.

    >>> import tempfile, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = px.export(px.Dense(3, 2), folder + "/out", inputs={"x": px.Spec("batch", 3)})
    ...     report = px.interchange.refresh(folder + "/out")
    >>> [row.file for row in report.rows]
    ['model.stablehlo']
    """
    where = f"px.interchange.refresh({os.fspath(folder)!r})"
    bundle = read_bundle(folder, where=where)
    if MODEL not in bundle.files:
        fix = "export the model anew, where its code is"
        raise ExportError(f"a bundle with a {MODEL}", got="none: the model could not be held", fix=fix, where=where)
    allowed = Allowed(allow, where)
    model = load(bundle.folder / MODEL, allow=allow)
    first = bundle.signatures.get(DEFAULT)
    others = {name: told for name, told in bundle.signatures.items() if name != DEFAULT}
    examples = {name: [dict(e.inputs) for e in several] for name, several in read_examples(bundle).items() if several}
    named = {} if first is None else functions_again(first, allowed, where)
    called = named.pop("function", model)
    return export(
        model if not isinstance(called, str) else getattr(model, called),
        folder,
        inputs=None if first is None else specs_again(first),
        to=_formats(bundle, [to] if isinstance(to, str) else to),
        signatures={
            n: (functions_again(told, allowed, where)["function"], specs_again(told)) for n, told in others.items()
        },
        sizes={n: bounds for told in bundle.signatures.values() for n, bounds in told.sizes.items()} or None,
        examples=examples or None,
        tolerance=_tolerance(bundle),
        name=bundle.name,
        about=_about(bundle),
        overwrite=True,
        **named,
    )


def _formats(bundle: Bundle, more: Sequence[str]) -> list[str | Target]:
    """Those that are there, with their settings, and further ones."""
    there = [as_written(name, next(iter(files.values())).details) for name, files in bundle.targets.items()]
    return [*there, *(name for name in dict.fromkeys(more) if name not in bundle.targets)]


def _tolerance(bundle: Bundle) -> float | None:
    """The tolerance that was met, as it was asked for."""
    met = [written.tolerance for several in bundle.targets.values() for written in several.values()]
    return max(met) if met else None


def _about(bundle: Bundle) -> About:
    """What the bundle says beside the model, to be said again."""
    return About(
        version=bundle.version,
        classes=bundle.classes,
        encoders=bundle.encoders,
        preprocessing=bundle.preprocessing,
        statistics=bundle.statistics(),
        data=bundle.provenance.get("data"),
        parent=bundle.provenance.get("parent"),
        card=bundle.card,
    )
