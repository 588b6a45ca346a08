"""The model that a request names: one that is served, or an adapter of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from phlox.serving._errors import UnknownModelError
from phlox.serving.engine._servable import Servable
from phlox.serving.http._asked import ROUTE_KEY, Asked
from phlox.serving.http._bodies import json_object, read_body
from phlox.serving.language._model import LanguageModel
from phlox.serving.language._sentences import Sentences
from phlox.serving.openai._fields import Fields, refused
from phlox.serving.repository._repository import Repository
from phlox.serving.repository._version import Version


@dataclass(frozen=True)
class Entry:
    """A model as this protocol lists it.

    Arguments:
        name: by which it is asked.
        version: what answers.
        adapter: the engine's adapter that it is; None for the model itself.
    """

    name: str
    version: Version
    adapter: str | None = None

    @property
    def servable(self) -> Servable:
        """What runs it."""
        return self.version.servable

    @property
    def language(self) -> LanguageModel:
        """What writes its texts."""
        assert isinstance(self.servable, LanguageModel)
        return self.servable


def entries(repository: Repository) -> Iterator[Entry]:
    """All that can be asked now: models that write, with their adapters, and models of sentences."""
    for name, model in repository.models.items():
        there = model.available()
        if there:
            version = there[max(there)]
            servable = version.servable
            if isinstance(servable, LanguageModel | Sentences):
                yield Entry(name, version)
            for adapter in servable.adapters if isinstance(servable, LanguageModel) else ():
                if adapter not in repository.models:
                    yield Entry(adapter, version, adapter)


async def read_fields(asked: Asked) -> Fields:
    """The fields of a request's body."""
    limits = asked.repository.limits
    return Fields(json_object(await read_body(asked, limits), limits, asked.path))


def find_language(asked: Asked, fields: Fields) -> Entry:
    """The model that is to write.

    Raises:
        UnknownModelError, UnavailableError: none of that name can be asked.
        InvalidRequestError: it writes no text.
    """
    return _checked(_find(asked, fields.needed("model")), LanguageModel, "a language model")


def find_vectors(asked: Asked, fields: Fields) -> tuple[Entry, Sentences | LanguageModel]:
    """The model that makes vectors of texts.

    Raises:
        UnknownModelError, UnavailableError: none of that name can be asked.
        InvalidRequestError: it is another one.
    """
    entry = _checked(_find(asked, fields.needed("model")), Sentences | LanguageModel, "a model of text")
    assert isinstance(entry.servable, Sentences | LanguageModel)
    return entry, entry.servable


def _find(asked: Asked, name: str) -> Entry:
    repository = asked.repository
    if name in repository.models:
        entry = Entry(name, repository.find(name).choose(key=asked.header(ROUTE_KEY)))
    else:
        known = {entry.name: entry for entry in entries(repository)}
        if name not in known:
            there, fix = ", ".join(sorted(known)[:10]) or "none", "GET /v1/models lists them"
            raise UnknownModelError(f"a model among {there}", got=repr(name)[:100], fix=fix, where="model")
        entry = known[name]
    asked.version = entry.version
    return entry


def _checked(entry: Entry, kind: Any, what: str) -> Entry:
    with entry.version.used():
        if not isinstance(entry.servable, kind):
            fix = "GET /v1/models lists those that this protocol serves"
            raise refused("model", what, got=f"{entry.name}, another one", fix=fix)
    return entry
