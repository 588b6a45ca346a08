"""What is said of a bundle beside the model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from phlox.core import OptionError, describe
from phlox.interchange._spec import KEY, Spec
from phlox.weights import Encoder

if TYPE_CHECKING:
    from phlox.data.validate import Schema


@dataclass(frozen=True, kw_only=True)
class About:
    """What a bundle says beside the model: for people, and for the programs that feed it.

    Arguments:
        version: of the model, as its maker counts.
        classes: names of the classes that it tells apart, in the order of its scores.
        encoders: by the input whose words they turn into numbers; whoever reads the bundle runs them.
        preprocessing: constants of what is done to inputs before, such as mean, standard deviation and size.
        statistics: of the training data, for validation and drift.
        schema: what is expected of inputs, of ``px.data.validate.schema``; a server refuses what is against it. It is
            kept among the statistics.
        data: a fingerprint or a name of the training data.
        parent: the bundle that this one was made from, or what its ``bundle.json`` says of itself.
        card: text for people, in Markdown.

    Raises:
        OptionError: statistics, constants or data that JSON does not have; classes that are no text.

    >>> About(classes=["cat", "dog"]).classes
    ('cat', 'dog')
    """

    version: str = "1"
    classes: Sequence[str] = ()
    encoders: Mapping[str, Encoder] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, Any] | None = None
    schema: Schema | None = None
    data: Any = None
    parent: str | os.PathLike[str] | Mapping[str, str] | None = None
    card: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if not all(isinstance(name, str) for name in self.classes):
            fix = "give their names, in the order of the scores"
            raise OptionError("classes as text", got=repr(self.classes)[:100], fix=fix, where="About")
        if self.schema is not None:
            object.__setattr__(self, "statistics", {**(self.statistics or {}), "schema": _content(self.schema)})
        for name in ("preprocessing", "statistics", "data"):
            try:
                json.dumps(getattr(self, name), allow_nan=False)
            except (TypeError, ValueError) as error:
                fix = "use numbers, text, lists, and dicts by text"
                raise OptionError(f"{name} that JSON has", got=str(error)[:200], fix=fix, where="About") from error

    def check(self, specs: Mapping[str, Spec], where: str) -> None:
        """Refuse encoders of no input, or of one that takes no whole numbers.

        Raises:
            OptionError: there is one.
        """
        for name, encoder in self.encoders.items():
            if not isinstance(encoder, Encoder):
                fix = f"write encoders={{{name!r}: px.interchange.Encoder([…])}}"
                raise OptionError(f"an Encoder for {name!r}", got=describe(encoder), fix=fix, where=where)
            spec = specs.get(name)
            if spec is None or spec.dtype == KEY or not jnp.issubdtype(jnp.dtype(spec.dtype), jnp.integer):
                fix = f"name one of {', '.join(specs)}, with dtype='int32'"
                got = "no such input" if spec is None else repr(spec)
                raise OptionError(f"whole numbers for the encoder of {name!r}", got=got, fix=fix, where=where)


def _content(schema: Any) -> dict[str, Any]:
    from phlox.data.validate import Schema  # slow to import

    if not isinstance(schema, Schema):
        fix = "give what px.data.validate.schema(data) gave"
        raise OptionError("a schema of px.data.validate", got=describe(schema), fix=fix, where="About")
    return schema.content()
