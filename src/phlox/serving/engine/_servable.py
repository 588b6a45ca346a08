"""What a server runs: preprocess, predict, postprocess."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phlox.core import OptionError
from phlox.data.validate import Schema
from phlox.interchange import Spec
from phlox.weights import BundleArray, Encoder, Example, Signature

Arrays = Mapping[str, np.ndarray]
"""Arrays by name."""

DEFAULT = "default"
TEXT = "str"
"""The dtype of an input or output of text; its arrays are of objects."""


class Servable(ABC):
    """What a server runs for requests; derive from it to serve code of one's own.

    ``predict`` sees the rows of many requests at once, where every input and output has the same symbol as its first
    size; the other two see those of one request. They are called from threads, ``predict`` never from two at a time.

    Arguments:
        inputs: what a request gives, by name; a ``px.Spec``, or ``"str"`` for a row of text.
        outputs: what comes out, likewise.
        signatures: several functions, in place of ``inputs`` and ``outputs``.

    Raises:
        OptionError: neither, or both.

    >>> import numpy as np, phlox as px
    >>> class Doubler(px.serving.Servable):
    ...     def predict(self, signature, inputs):
    ...         return {"y": 2 * inputs["x"]}
    >>> doubler = Doubler(inputs={"x": px.Spec("batch", 2)}, outputs={"y": px.Spec("batch", 2)})
    >>> doubler.predict("default", {"x": np.ones((1, 2), "float32")})["y"].tolist()
    [[2.0, 2.0]]
    """

    signatures: Mapping[str, Signature]
    encoders: Mapping[str, Encoder]
    """By the input whose words they turn into numbers."""
    forgets: int = 0
    """How often it has let go of programs that are compiled for a size."""
    classes: Sequence[str] = ()
    """Names of the classes that it tells apart, in the order of its scores."""
    schema: Schema | None = None
    """What is expected of inputs; a request against it is refused."""

    def __init__(
        self,
        *,
        inputs: Mapping[str, Spec | str] | None = None,
        outputs: Mapping[str, Spec | str] | None = None,
        signatures: Mapping[str, Signature] | None = None,
    ):
        self.encoders = {}
        if signatures is None and inputs and outputs:
            signatures = {DEFAULT: Signature(_arrays(inputs), _arrays(outputs))}
        elif not signatures or inputs or outputs:
            fix = 'write inputs={"x": px.Spec("batch", 4)}, outputs={"y": px.Spec("batch", 3)}'
            raise OptionError("inputs and outputs, or signatures", got="neither or both", fix=fix, where="Servable")
        self.signatures = dict(signatures)

    def preprocess(self, signature: str, inputs: Arrays) -> Arrays:
        """What ``predict`` is given for the inputs of one request."""
        return inputs

    @abstractmethod
    def predict(self, signature: str, inputs: Arrays) -> Arrays:
        """The outputs for inputs of one or many requests, row by row."""

    def postprocess(self, signature: str, outputs: Arrays) -> Arrays:
        """What one request is answered with, for its rows of the outputs."""
        return outputs

    def examples(self, signature: str) -> Sequence[Example]:
        """Inputs to warm up with, and outputs that they must give, where these are known."""
        return ()

    def is_steady(self, signature: str) -> bool:
        """Whether how long ``predict`` takes depends on the sizes of its inputs alone.

        A server may call it on the thread of its event loop then, where it has been quick before.
        """
        return False

    def forget(self) -> None:  # noqa: B027 - most have nothing to forget
        """Let go of what was compiled for shapes that have been seen."""

    def open(self) -> None:  # noqa: B027
        """Get ready; called before all else, and again after ``close`` where it is to serve once more."""

    def close(self) -> None:  # noqa: B027
        """Let go of everything; nothing but ``open`` is called after it."""


def _arrays(named: Mapping[str, Any]) -> tuple[BundleArray, ...]:
    return tuple(BundleArray(n, ("batch",), TEXT) if x == TEXT else x.array(n) for n, x in named.items())
