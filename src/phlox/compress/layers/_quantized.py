"""What layers with integer weights have in common: their weight is read as before, and held as integers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.compress._integers import Integers, integers, numbers
from phlox.compress._scheme import Scheme
from phlox.compress.layers import _whole
from phlox.core import Module, Param, State, StructureError
from phlox.nn import functional as F
from phlox.nn import fused, whole_wanted

_OWN = ("codes", "scale", "zero", "bits", "group", "symmetric", "per", "weight_shape", "weight_dtype")
_OWN += ("inputs", "input_scale", "input_zero", "factors")


class Quantized(Module):
    r"""A layer whose weight is integers: $W = s (q - z)$, by a scale and a zero for each output or group of rows.

    It is a layer of its kind: it has the same attributes, and computes the same with the ``weight`` that the integers
    stand for. No gradient reaches that; the bias and what came in have theirs.

    Shapes:
        codes: (rows, outs), rows being what an output sums over; of 4 bits two rows to a byte. Of an ``Embedding``
        (outs, rows). scale, zero: as codes, with one row for each group.
    """

    codes: State  # int8 or float8 (rows, outs); of 4 bits uint8 (rows / 2, outs)
    scale: State  # (groups, outs)
    zero: State | None  # int8 (groups, outs); None where 0 stands for 0
    bits: int | str
    group: int | None
    symmetric: bool
    per: str
    weight_shape: tuple[int, ...]
    weight_dtype: Any
    inputs: str | None
    """What comes in as integers: ``"dynamic"``, with scales found in each call, ``"static"``, with one measured before,
    or None, as floats."""
    input_scale: State | None  # () of static inputs
    input_zero: State | None  # () int8
    factors: State | None  # (in,) of a Dense: what comes in is multiplied with them, integers are of W / factors
    kind: ClassVar[type[Module]]
    """The layer with a weight of floats."""
    axis: ClassVar[int] = -2
    """Where the rows lie in ``codes``."""

    if TYPE_CHECKING:
        weight: Param
    else:

        @property
        def weight(self) -> jax.Array:
            """What the integers stand for, in the dtype that the weight had."""
            return _weight(
                F.identity, self.integers, self.factors, bits=self.bits, group=self.group, axis=self.axis,
                shape=self.weight_shape, dtype=self.weight_dtype,
            )  # fmt: skip

        @weight.setter
        def weight(self, value: Any) -> None:
            fix = "call px.compress.dequantize(model) first"
            raise StructureError("a weight that stays as it is", got="another one", fix=fix, where=self._brief())

    @property
    def integers(self) -> Integers:
        """Codes, scale and zero."""
        return Integers(self.codes, self.scale, self.zero)

    def hold(
        self, layer: Any, scheme: Scheme, given: Integers | None = None, inputs: str | None = None,
        entry: tuple[Any, Any] = (None, None), factors: Any = None,
    ) -> Any:  # fmt: skip
        """Become a layer whose weight is integers: those given, or the nearest; ``entry`` is of static inputs."""
        rank = rank_of(layer)
        matrix = matrix_of(layer.weight, rank, self.axis)
        matrix = matrix if factors is None else matrix / factors[:, None]
        held: Integers = integers(matrix, scheme, self.axis) if given is None else given
        own = {
            "codes": held.codes, "scale": held.scale, "zero": held.zero, "bits": scheme.bits, "group": scheme.group,
            "symmetric": scheme.symmetric, "per": scheme.per, "weight_shape": layer.weight.shape[-rank:],
            "weight_dtype": layer.weight.dtype, "inputs": inputs, "input_scale": entry[0], "input_zero": entry[1],
            "factors": factors,
        }  # fmt: skip
        self.__setstate__(with_attributes(layer, own, "weight"))
        return self

    def plain(self) -> Any:
        """The layer of floats that computes the same with integers nowhere."""
        layer: Any = self.kind.__new__(self.kind)
        layer.__setstate__(with_attributes(self, {"weight": self.weight}, *_OWN))
        return layer

    def _brief(self) -> str:
        groups = "" if self.group is None else f" by {self.group}"
        inputs = "" if self.inputs is None else f", {self.inputs} inputs"
        kind = f"float8 {self.bits}" if isinstance(self.bits, str) else f"int{self.bits}"
        return f"{super()._brief()} in {kind}{groups}{inputs}"


def with_attributes(layer: Module, own: dict[str, Any], *without: str) -> dict[str, Any]:
    """The state of a layer with some attributes in the place of others."""
    state = layer.__getstate__()
    held: dict[str, Any] = {}
    for name, value in state["attributes"].items():  # others stand where the first of those left out stood
        held |= own if name in without else {name: value}
    frozen = state["frozen"] if isinstance(state["frozen"], bool) else state["frozen"] - set(without)
    return {"attributes": held | own, "frozen": frozen or False, "pinned": state["pinned"]}


def rank_of(layer: Any) -> int:
    """The axes of one weight; those before are of layers that are stacked."""
    return len(layer.kernel) + 2 if hasattr(layer, "kernel") else 2


def matrix_of(weight: jax.Array, rank: int, axis: int) -> jax.Array:
    """A weight as (rows, outs), or as it lies where the rows are the last axis; ``rank`` is of one weight."""
    if axis == -1:
        return weight
    lead = weight.shape[: weight.ndim - rank]
    return weight.reshape(*lead, math.prod(weight.shape[len(lead) : -1]), weight.shape[-1])


def birth(kind: type[Module]) -> Callable[..., None]:
    """A constructor that takes what a layer's takes, and the options of integers behind."""

    def __init__(
        self: Any, *sizes: Any, bits: int | str, group: int | None = None, symmetric: bool = True, per: str = "channel",
        **options: Any,
    ) -> None:  # fmt: skip
        scheme = Scheme(bits, group, symmetric, per, type(self).__name__, floats=True)
        self.hold(kind(*sizes, **options), scheme)

    given, mine = inspect.signature(kind.__init__), inspect.signature(__init__)
    own = [mine.parameters[name] for name in ("bits", "group", "symmetric", "per")]
    made: Any = __init__
    made.__signature__ = given.replace(parameters=[*given.parameters.values(), *own])
    return made


@fused("bits", "group", "axis", "shape", "dtype")
def _weight(
    act: Any, given: Integers, factors: Any, *, bits: int | str, group: int | None, axis: int, shape: tuple[int, ...],
    dtype: Any,
) -> jax.Array:  # fmt: skip
    if whole_wanted():
        whole = _whole.weight(given, bits=bits, group=group, axis=axis, shape=shape)
        return act((whole if factors is None else whole * factors[:, None]).astype(jnp.dtype(dtype)))
    size = shape[-1] if axis == -1 else math.prod(shape[:-1])
    matrix = numbers(given, bits, group, size, axis)
    matrix = matrix if factors is None else matrix * factors[:, None]
    return act(matrix.reshape(*matrix.shape[:-2], *shape).astype(jnp.dtype(dtype)))
