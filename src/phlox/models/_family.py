"""A family of models: how it is called, built, and named in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from phlox.models._config import Config
from phlox.models._model import Model
from phlox.weights import NameMap

Names = NameMap | Callable[[Any], NameMap]


@dataclass(frozen=True)
class Family:
    """What the room knows of a family.

    Arguments:
        config: its config's class; ``config.model_type`` is the family's name in files.
        model: builds a model from a config.
        names: by dialect (``"transformers"``, ``"timm"``, …), the map of its weights' names, or a function of the
            config that makes it; the first one is written by ``px.models.save``.
        holds: by dialect, which configs it can hold, where not all.
        variants: ready configs by name, for ``px.models.create``.
        base: what stands before the names of the trunk where a file holds the trunk with a head, and is left out in a
            file of the trunk alone.
        architecture: what ``config.json`` calls the class of the model with its head.
        head: the path of the whole head, which a trunk does without.
        heads: paths of what depends on the number of classes.
        optional: paths of what a file may lack, and is drawn anew then.
        pool: what timm calls the way to the features that the head sees.
    """

    config: type[Config]
    model: Callable[[Any], Model]
    names: Mapping[str, Names]
    holds: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)
    variants: Mapping[str, Config] = field(default_factory=dict)
    base: str = ""
    architecture: str = ""
    head: str = "head"
    heads: tuple[str, ...] = ("head",)
    optional: tuple[str, ...] = ()
    pool: str = "avg"

    def dialects(self, config: Config) -> tuple[str, ...]:
        """The dialects that can hold a model of this config."""
        return tuple(name for name in self.names if name not in self.holds or self.holds[name](config))

    def names_of(self, dialect: str, config: Config) -> NameMap:
        """The map of names in a dialect, for a config."""
        found = self.names[dialect]
        return found if isinstance(found, NameMap) else found(config)
