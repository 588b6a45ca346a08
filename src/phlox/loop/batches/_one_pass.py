"""One pass over data by what looks at a model and trains nothing: batches without padding, and the model called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from phlox.core import Module, StructureError
from phlox.loop.batches._batch import Masked
from phlox.loop.batches._feed import Feed
from phlox.loop.batches._inputs import input_of
from phlox.loop.batches._loading import loader_of


def one_pass(data: Any, batch_size: int, where: str) -> Iterator[Any]:
    """The batches of data in any form that ``px.fit`` takes, in the order of the data, without padding.

    Raises:
        ShapeError: there is none.
    """
    for fed in Feed(loader_of(data, batch_size, None, where=where), where=where).epoch():
        yield _real(fed.batch)


def _real(batch: Any) -> Any:
    """A batch without its padding."""
    if not isinstance(batch, Masked):
        return batch
    mask = np.asarray(batch.mask)
    return jax.tree.map(lambda v: v[mask], batch.batch)


def call_on_input(model: Module, batch: Any, where: str) -> Any:
    """What a model gives for the input of a batch.

    Raises:
        StructureError: a dict, whose parts have no order.
    """
    x = input_of(batch)
    if x is None:
        raise StructureError(
            "batches that are arrays or tuples",
            got=f"a dict of {', '.join(map(str, batch))}",
            fix='pass forward=lambda model, batch: model(batch["…"])',
            where=where,
        )
    return model(x)
