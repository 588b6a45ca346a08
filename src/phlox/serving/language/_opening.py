"""A model's folder, as the hub has them and ``px.models.save`` writes them, as what is served."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phlox.core import OptionError
from phlox.data.text import Tokenizer
from phlox.models import load, sentence_encoder
from phlox.serving.engine._servable import Servable
from phlox.serving.language._model import LanguageModel
from phlox.serving.language._sentences import Sentences
from phlox.weights import CorruptFileError

_CONFIG, _MODULES, _GENERATION = "config.json", "modules.json", "generation_config.json"
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt")


@dataclass(frozen=True, kw_only=True)
class Language:
    """How models' folders are served.

    Arguments:
        slots: texts that are written at once, for each model.
        room: tokens of the longest text, prompt and all.
        memory: bytes that the slots of a model may take.
        chunk: tokens of prompts that are read between two steps.
        dtype: of the weights; the file's by default.
        adapters: folders of PEFT's format by the names under which they are served.

    >>> Language(slots=4).dtype
    """

    slots: int | None = None
    room: int | None = None
    memory: int | None = None
    chunk: int | None = None
    dtype: str | None = None
    adapters: Mapping[str, str | os.PathLike[str]] = field(default_factory=dict)

    def engine(self) -> dict[str, Any]:
        """Options of the engine."""
        told = {"slots": self.slots, "room": self.room, "memory": self.memory, "chunk": self.chunk}
        return {"adapters": self.adapters, **{name: value for name, value in told.items() if value is not None}}


def is_model_folder(path: Path) -> bool:
    """Whether a folder holds a model of text with its tokenizer."""
    if not path.is_dir():
        return False
    if (path / _MODULES).is_file():
        return True
    return (path / _CONFIG).is_file() and any((path / name).is_file() for name in _TOKENIZERS)


def open_model_folder(path: Path, how: Language) -> Servable:
    """What is to be served of a folder: a model of sentences where it says how tokens are pooled, else one that writes.

    Raises:
        FileError, RangeError, StructureError: it cannot be loaded.
        OptionError: adapters for a model that writes nothing.
    """
    if (path / _MODULES).is_file():
        if how.adapters:
            fix = "leave them out, or compute them into the weights by px.adapt.merge"
            got = ", ".join(how.adapters)
            raise OptionError("no adapters for a model of sentences", got=got, fix=fix, where=str(path))
        encoder = sentence_encoder(path, dtype=how.dtype)
        return Sentences(encoder, Tokenizer.load(path))
    tokenizer, model = Tokenizer.load(path), load(path, dtype=how.dtype)
    return LanguageModel(model, tokenizer, ends=_ends(path), **how.engine())


def _ends(path: Path) -> list[int]:
    """What ends a text by ``generation_config.json``, which may know more of it than the model's config.

    Raises:
        CorruptFileError: it holds something else than a table.
    """
    file = path / _GENERATION
    if not file.is_file():
        return []
    try:
        told = json.loads(file.read_bytes())
        found = told.get("eos_token_id")
    except (ValueError, AttributeError, RecursionError) as error:
        fix = "fetch the file anew"
        raise CorruptFileError("a table of entries in JSON", got=str(error)[:200], fix=fix, where=str(file)) from error
    several = found if isinstance(found, list) else [found]
    return [n for n in several if isinstance(n, int) and not isinstance(n, bool)]
