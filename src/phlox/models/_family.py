"""A family of models: how it is called, built, and named in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from phlox.models._config import Config
from phlox.models._model import Model
from phlox.weights import NameMap

Names = NameMap | Callable[[Any], NameMap]
_TRUNK = "feature-extraction"


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
        modules: as ``names``, what transformers calls its layers where its files have other names; adapters of PEFT are
            named so.
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
    modules: Names | None = None

    def dialects(self, config: Config) -> tuple[str, ...]:
        """The dialects that can hold a model of this config."""
        return tuple(name for name in self.names if name not in self.holds or self.holds[name](config))

    def names_of(self, dialect: str, config: Config) -> NameMap:
        """The map of names in a dialect, for a config."""
        return _of(self.names[dialect], config)

    def adapter_names(self, config: Any) -> tuple[NameMap, ...]:
        """The maps that names in files of adapters may go by, the usual one first: of the whole model, of its trunk."""
        given = [names for names in (self.modules, self.names.get("transformers")) if names is not None]
        whole = [_of(names, config) for names in given]
        trunks = [names.below(self.base) for names in whole if self.base]
        return (*trunks, *whole) if getattr(config, "task", None) == _TRUNK else (*whole, *trunks)


def _of(names: Names, config: Any) -> NameMap:
    return names if isinstance(names, NameMap) else names(config)
