"""Servables that XLA runs: bundles, and models of px.save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phlox.interchange import Runnable, Sizes, Spec, drawn
from phlox.serving.engine._servable import Arrays, Servable
from phlox.weights import Bundle, Example, read_examples

_MOST_SHAPES = 64  # per signature, beside those of the batch, before what was compiled is let go


class CompiledServable(Servable):
    """Functions that are compiled once for each shape.

    Arguments:
        runnables: by signature.
        runtime: what they were read from, for status pages.
        bundle: the bundle that they are of.
    """

    def __init__(self, runnables: Mapping[str, Runnable], runtime: str, bundle: Bundle | None = None):
        told = {name: one.signature for name, one in runnables.items()}
        super().__init__(signatures=told if bundle is None else bundle.signatures)
        self.runnables, self.runtime, self.bundle = dict(runnables), runtime, bundle
        self._examples = {} if bundle is None else read_examples(bundle)
        self._seen: dict[str, set[Any]] = {name: set() for name in runnables}
        if bundle is not None:
            self.encoders, self.classes = bundle.encoders, bundle.classes

    def predict(self, signature: str, inputs: Arrays) -> Arrays:
        told = self.signatures[signature]
        given = [inputs[x.name] for x in told.inputs]
        self._bound(signature, tuple(np.shape(x)[1:] for x in given))
        found = map(np.asarray, self.runnables[signature](given))
        return {x.name: y for x, y in zip(told.outputs, found, strict=True)}

    def _bound(self, signature: str, shapes: Any) -> None:
        """Forget all programs when there are too many: whoever sends ever new lengths shall not fill the memory."""
        seen = self._seen[signature]
        if shapes not in seen:
            if len(seen) >= _MOST_SHAPES:
                self.runnables[signature].forget()
                self.forgets += 1
                seen.clear()
            seen.add(shapes)

    def examples(self, signature: str) -> Sequence[Example]:
        known = self._examples.get(signature)
        if known:
            return known
        told = self.signatures[signature]
        specs = {x.name: Spec(*x.shape, dtype=x.dtype, below=x.below) for x in told.inputs}
        sizes = Sizes(list(specs.values()), told.sizes or None, "warm-up")
        return [Example(x, {}) for x in drawn(specs, sizes)]

    def is_steady(self, signature: str) -> bool:
        example = self.examples(signature)[-1].inputs
        return self.runnables[signature].is_steady([example[x.name] for x in self.signatures[signature].inputs])

    def forget(self) -> None:
        self.forgets += 1
        for one in self.runnables.values():
            one.forget()
        for seen in self._seen.values():
            seen.clear()

    def close(self) -> None:
        self.forget()
        self.runnables.clear()
