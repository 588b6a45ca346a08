"""What a loaded function refuses: inputs of other names, dtypes, shapes or sizes than its signature says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import DtypeError, OptionError, RangeError, ShapeError, describe, is_key
from phlox.interchange._spec import KEY
from phlox.weights import BundleArray, Encoder, Signature, is_text


def ready(
    signature: Signature,
    encoders: Mapping[str, Encoder],
    inputs: Sequence[Any],
    named: Mapping[str, Any],
    where: str,
) -> list[Any]:
    """The inputs in the signature's order, text as numbers, checked.

    Raises:
        OptionError: one too many or too few.
        DtypeError: another kind of number.
        ShapeError: other sizes, or a symbol with two of them.
        RangeError: a size beyond its bounds; a word that an encoder does not know.
    """
    given = _by_name(signature, inputs, named, where)
    found, sizes = [], dict[str, tuple[int, str]]()
    for entry in signature.inputs:
        value = given[entry.name]
        if is_text(value) and entry.name in encoders:
            value = encoders[entry.name].encode(value, where)
        x = _array(entry, value, where)
        _check_shape(entry, x, sizes, where)
        found.append(x)
    for symbol, (low, high) in signature.sizes.items():
        if symbol in sizes and not low <= sizes[symbol][0] <= high:
            fix = "cut or fill up the input; the file was made for these sizes alone"
            got = f"{sizes[symbol][0]} in {sizes[symbol][1]}"
            raise RangeError(f"{symbol} from {low} to {high}", got=got, fix=fix, where=where)
    return found


def _by_name(signature: Signature, inputs: Sequence[Any], named: Mapping[str, Any], where: str) -> dict[str, Any]:
    names = [entry.name for entry in signature.inputs]
    twice = set(names[: len(inputs)]) & set(named)
    given = {**dict(zip(names, inputs, strict=False)), **named}
    if len(inputs) > len(names) or twice or set(given) != set(names):
        extra = [n for n in named if n not in names]
        got = f"{len(inputs)} in order" + (f" and {', '.join(named)}" if named else "")
        fix = f"there is no {', '.join(extra)}" if extra else f"pass each once: {', '.join(names)}"
        raise OptionError(f"inputs {', '.join(map(str, signature.inputs))}", got=got, fix=fix, where=where)
    return given


def _array(entry: BundleArray, value: Any, where: str) -> Any:
    """A value as an array of the signature's dtype; nothing is lost on the way."""
    if entry.dtype == KEY:
        return jax.random.key_data(value) if is_key(value) else jnp.asarray(value, jnp.uint32)
    wanted = jnp.dtype(entry.dtype)
    if isinstance(value, jax.Array):
        x: Any = value
    else:
        x = np.asarray(value)
        if x.dtype != wanted and _goes(x, wanted):  # Python's numbers, and NumPy's, which are wide by habit
            x = x.astype(wanted)
    if x.dtype != wanted:
        fix = f"write {entry.name}.astype({entry.dtype!r}) where that is meant"
        raise DtypeError(f"{entry}", got=describe(x), fix=fix, where=where)
    return x


def _goes(x: np.ndarray, wanted: Any) -> bool:
    """Whether numbers of the host stay what they are in a narrower dtype of their kind."""
    if x.dtype.kind == "f" and jnp.issubdtype(wanted, jnp.floating):
        return x.dtype == np.float64
    if x.dtype.kind in "iu" and jnp.issubdtype(wanted, jnp.integer):
        bounds = jnp.iinfo(wanted)
        return not x.size or (int(x.min()) >= bounds.min and int(x.max()) <= bounds.max)
    return False


def _check_shape(entry: BundleArray, x: Any, sizes: dict[str, tuple[int, str]], where: str) -> None:
    shape = (2,) if entry.dtype == KEY else entry.shape
    if len(shape) != x.ndim or any(isinstance(n, int) and n != size for n, size in zip(shape, x.shape, strict=True)):
        fix = "add the axes of the signature, the batch first" if len(shape) != x.ndim else "give it these sizes"
        raise ShapeError(f"{entry}", got=describe(x), fix=fix, where=where)
    for n, size in zip(shape, x.shape, strict=True):
        if isinstance(n, str) and sizes.setdefault(n, (size, entry.name))[0] != size:
            fix = f"{n!r} is one size wherever it stands"
            got = f"{describe(x)} beside {n}={sizes[n][0]} in {sizes[n][1]}"
            raise ShapeError(f"{entry}", got=got, fix=fix, where=where)
