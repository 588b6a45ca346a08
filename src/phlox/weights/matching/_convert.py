"""px.weights.convert: arrays of another library into a model, and a report of every choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phlox.core import Module, RangeError, StructureError
from phlox.weights.matching._guess import Guess, guessed, layouts_of
from phlox.weights.matching._layouts import axes_there, is_flipped, layout_named
from phlox.weights.matching._leaves import Leaf, leaves_of
from phlox.weights.matching._names import NameMap, Ours
from phlox.weights.matching._placing import place
from phlox.weights.matching._recurrent import in_cells
from phlox.weights.matching._slots import Slot
from phlox.weights.readers._arrays import Arrays
from phlox.weights.readers._pytorch import tensor_as_array

_WHERE = "px.weights.convert"


@dataclass(frozen=True)
class Match:
    """Where one array of the model came from."""

    ours: str
    theirs: tuple[str, ...]
    why: str
    sure: bool
    """False where another choice would have fitted, and only a name spoke for this one."""


@dataclass
class Conversion:
    """What ``px.weights.convert`` chose: printed, a line for each array."""

    layout: str
    matches: list[Match] = field(default_factory=list)
    converted: dict[str, str] = field(default_factory=dict)
    """By path, from which dtype to which, where they differed."""
    missing: list[str] = field(default_factory=list)
    """Arrays of the model that nothing was found for, with ``strict=False``."""
    unused: list[str] = field(default_factory=list)
    """Names that nothing was made of, with ``strict=False``; what the rules ignore is not among them."""

    @property
    def doubts(self) -> list[Match]:
        """The choices that should be looked at."""
        return [match for match in self.matches if not match.sure]

    def __str__(self) -> str:
        lines = [f"{len(self.matches)} arrays in the layout of {self.layout}, {len(self.doubts)} of them in doubt"]
        for m in self.matches:
            note = f", {self.converted[m.ours]}" if m.ours in self.converted else ""
            lines.append(f"  {'' if m.sure else '? '}{m.ours} ← {', '.join(m.theirs)}: {m.why}{note}")
        lines += [f"  missing: {path}" for path in self.missing] + [f"  unused: {name}" for name in self.unused]
        return "\n".join(lines)


def convert(
    model: Module,
    arrays: Mapping[str, Any],
    rules: NameMap | Mapping[str, Ours] | None = None,
    *,
    layout: str | None = None,
    strict: bool = True,
) -> Conversion:
    """Fill a model, in place, with arrays of another library, by given names or by name and shape.

    Rules come first, ``{"encoder.layer.{i}.norm1": "blocks.{i}.norm"}`` from names there to paths here. For the rest, a
    layer there is taken where it has the same name; where it stands in a row that is numbered alike; or where it is the
    only one of its shape, or the one whose name is clearly closest. What is ambiguous is refused, with the candidates.
    Names and order of axes are those of ``layout``: a ``Dense`` weight of PyTorch is transposed, a kernel moved from
    (out, in, \\*space) to (\\*space, in, out), statistics are found under ``running_mean`` and ``running_var``.
    Recurrent layers become cells, ``rnn.weight_ih_l0`` a part of ``rnn.cells.0``, with their gates in order.
    Everything is checked before the first array is written.

    Arguments:
        model: the model to fill.
        arrays: arrays by name, as from ``px.weights.read``.
        rules: names for all or some of the layers; a mapping, or a ``px.weights.NameMap``.
        layout: ``"pytorch"``, ``"keras"``, ``"flax"``, ``"flux"`` or ``"phlox"``; by default told from the names.
        strict: refuse arrays without a name on either side; else report them. Shapes must fit in either case.

    Returns:
        The choices, the doubts among them, and the dtypes that were converted; printed as a table.

    Raises:
        StructureError: an array that is missing, left over, of another shape, or that has several candidates.
        RangeError: a layout that is not known, or that cannot be told.

    >>> import numpy as np, phlox as px
    >>> model = px.Chain(px.Dense(4, 3), px.LayerNorm(3))
    >>> theirs = {"fc.weight": np.ones((3, 4), "f"), "fc.bias": np.zeros(3, "f"),
    ...           "norm.weight": np.ones(3, "f"), "norm.bias": np.zeros(3, "f")}
    >>> print(px.weights.convert(model, theirs, {"norm": "layers.1"}, layout="pytorch"))
    4 arrays in the layout of pytorch, 0 of them in doubt
      layers.1.scale ← norm.weight: a rule
      layers.1.bias ← norm.bias: a rule
      layers.0.weight ← fc.weight: the only one of this shape
      layers.0.bias ← fc.bias: the only one of this shape
    """
    leaves, arrays = leaves_of(model), _as_arrays(arrays)
    names = rules if isinstance(rules, NameMap) else NameMap(rules or {}, layout=layout or _told(leaves, arrays))
    arrays = in_cells(arrays, names.layout_name)
    shapes = _shapes(arrays)
    slots, nameless = names.slots(model, shapes)
    used = {name for slot in slots for name in slot.theirs}
    rest = {name: shape for name, shape in shapes.items() if name not in used and not names.ignores(name)}
    guesses, left = guessed([leaf for leaf in leaves if leaf.path in nameless], rest, names.layout)
    report = _report(names.layout_name, slots, guesses)
    chosen = slots + [guess.slot for guess in guesses]
    _check(chosen, shapes)
    report.missing, report.unused = list(left), _unused(shapes, chosen, names)
    ambiguous = {path: found for path, found in left.items() if found}
    if ambiguous or (strict and (left or report.unused)):
        raise _refusal(ambiguous, report)
    report.converted = place(model, chosen, arrays)
    return report


def _as_arrays(arrays: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arrays as NumPy's or JAX's, those of PyTorch too; what a reader gives stays unread."""
    if isinstance(arrays, Arrays):
        return arrays
    return {name: tensor_as_array(x) if type(x).__module__.startswith("torch") else x for name, x in arrays.items()}


def _shapes(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return arrays.shapes() if isinstance(arrays, Arrays) else {name: np.shape(x) for name, x in arrays.items()}


def _told(leaves: list[Leaf], arrays: Mapping[str, Any]) -> str:
    """The layout that the names speak of; where several do, the one in which more arrays fit.

    Raises:
        RangeError: two fit as well, and differ.
    """
    if isinstance(arrays, Arrays) and arrays.metadata.get("axes") == "as in Julia":
        return "flux"
    among = layouts_of(arrays)
    if len(among) == 1:
        return among[0]
    shapes = {name: _shapes(in_cells(arrays, name)) for name in among}
    counts = {name: len(guessed(leaves, shapes[name], layout_named(name, _WHERE))[0]) for name in among}
    best = max(counts.values())
    most = [name for name, count in counts.items() if count == best]
    if len(most) > 1 and _differ(leaves, most):
        raise RangeError(
            "a layout", got=f"names and shapes that fit {' and '.join(most)} alike",
            fix=f"say which with layout=, such as layout={most[0]!r}", where=_WHERE,
        )  # fmt: skip
    return most[0]


def _differ(leaves: list[Leaf], layouts: list[str]) -> bool:
    tables = [layout_named(name, _WHERE) for name in layouts]
    forms = [[(axes_there(leaf, table), is_flipped(leaf, table)) for leaf in leaves] for table in tables]
    return any(form != forms[0] for form in forms)


def _report(layout: str, slots: list[Slot], guesses: list[Guess]) -> Conversion:
    ruled = [Match(slot.ours, slot.theirs, "a rule", True) for slot in slots]
    return Conversion(layout, ruled + [Match(g.slot.ours, g.slot.theirs, g.why, g.sure) for g in guesses])


def _check(slots: list[Slot], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse what rules name and is not there, or of another shape."""
    absent = [f"{name} for {slot.ours}" for slot in slots for name in slot.theirs if name not in shapes]
    if absent:
        raise StructureError(
            "every name that the rules make", got="no " + ", no ".join(absent[:8]) + _more(absent, 8),
            fix="look at the names of the file: px.weights.read(file)", where=_WHERE,
        )  # fmt: skip
    wrong = [
        f"{slot.ours} needs {name} {slot.expected}, got {shapes[name]}"
        for slot in slots for name in slot.theirs if not slot.fits(shapes[name])
    ]  # fmt: skip
    if wrong:
        raise StructureError(
            "arrays of the model's shapes", got="others:\n  " + "\n  ".join(wrong[:12]) + _more(wrong, 12),
            fix="build the model as the one that the arrays are from, or say their layout=", where=_WHERE,
        )  # fmt: skip


def _unused(shapes: Mapping[str, Any], slots: list[Slot], names: NameMap) -> list[str]:
    used = {name for slot in slots for name in slot.theirs}
    return [name for name in shapes if name not in used and not names.ignores(name)]


def _refusal(ambiguous: Mapping[str, list[str]], report: Conversion) -> StructureError:
    if ambiguous:
        lines = [f"{path} from {' or '.join(found[:4])}{_more(found, 4)}" for path, found in ambiguous.items()]
        return StructureError(
            "one clear source for every array", got="several:\n  " + "\n  ".join(lines[:12]) + _more(lines, 12),
            fix="name them with rules={\"name there\": \"path here\"}", where=_WHERE,
        )  # fmt: skip
    lines = [f"missing: {path}" for path in report.missing] + [f"unused: {name}" for name in report.unused]
    return StructureError(
        "names that go up on both sides", got="left over:\n  " + "\n  ".join(lines[:24]) + _more(lines, 24),
        fix="add rules for them, or take what fits with strict=False", where=_WHERE,
    )  # fmt: skip


def _more(items: list[str], most: int) -> str:
    return f", and {len(items) - most} more" if len(items) > most else ""
