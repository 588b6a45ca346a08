"""phlox explore: a page on which a person probes a saved model."""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phlox.core import Module, RangeError
from phlox.data.text import Tokenizer
from phlox.interchange import load_exported, load_onnx
from phlox.interpret import explore
from phlox.models import load as load_model
from phlox.weights import MANIFEST, MissingFileError, load, read_bundle

WHERE = "phlox explore"
_SAVED = ("model.phlox", "model.safetensors")


def run_explore(options: Namespace) -> None:
    """Show the page until Ctrl-C.

    Arguments:
        options: what the command line says.

    Raises:
        FileError: a model or data that cannot be read. RangeError: data that the model cannot be asked about.
    """
    allow = list(options.allow)
    models = [open_model(path, allow) for path in (options.model, options.compare) if path is not None]
    if options.text is not None:
        models = [Reader(model) for model in models]
    names = [_named(options.model), "other" if options.compare is None else _named(options.compare)]
    if names[0] == names[1]:
        names[1] += " (2)"
    with explore(
        models[0],
        options.data,
        target=options.target,
        compare=models[1] if len(models) > 1 else None,
        classes=options.classes,
        answers=options.answers,
        features=options.features,
        text=options.text,
        prepare=None if options.text is None else _tokens(options.tokenizer or options.model, options.length),
        names=names,
        rows=options.rows,
        host=options.host,
        port=options.port,
        hosts=options.allow_host,
    ) as explorer:
        print(f"exploring {explorer.observations.count:,} {explorer.observations.kind} at {explorer.url}", flush=True)
        print("Ctrl-C ends it", flush=True)
        explorer.wait()


def open_model(source: Path, allow: Sequence[str] = ()) -> Any:
    """The model of a file or folder: of ``px.save``, ``px.export`` or ``px.models.save``, or in ONNX.

    Raises:
        MissingFileError: there is none. Others as what reads it.
    """
    if source.suffix == ".onnx":
        return load_onnx(source)
    if not source.is_dir():
        return load(source, allow=list(allow))
    if (source / MANIFEST).is_file():
        bundle = read_bundle(source, where=WHERE)
        return load(source / _SAVED[0], allow=list(allow)) if _SAVED[0] in bundle.files else load_exported(source)
    if (source / "config.json").is_file():
        return load_model(source)
    found = [source / name for name in _SAVED if (source / name).is_file()] or sorted(source.glob("*.onnx"))
    if not found:
        fix = "give what px.save, px.export or px.models.save wrote, or a file that ends in .onnx"
        raise MissingFileError(f"{source} to hold a model", got="none", fix=fix, where=WHERE)
    return open_model(found[0], allow)


def _tokens(folder: Path, length: int) -> Any:
    """What makes tokens of texts, (texts, length), by the tokenizer of a folder."""
    if length < 1:
        raise RangeError("--length of at least 1", got=str(length), fix="leave it out for 128", where=WHERE)
    tokenizer = Tokenizer.load(folder if folder.is_dir() else folder.parent)
    return functools.partial(_read, tokenizer, length)


def _read(tokenizer: Any, length: int, texts: list[str]) -> Any:
    found = tokenizer(texts, length=length, pad=length)
    return {"tokens": found.tokens, "mask": found.mask}


class Reader(Module):
    """A model of text that is given its tokens and their mask as one."""

    model: Module

    def __init__(self, model: Module):
        self.model = model

    def __call__(self, x: Any) -> Any:
        return self.model(x["tokens"], mask=x["mask"])


def _named(path: Path) -> str:
    return path.stem if path.stem not in ("model", "exported") else f"{path.absolute().parent.name}/{path.stem}"
