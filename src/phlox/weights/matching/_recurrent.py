"""Recurrent layers of other libraries as cells of Phlox, before anything is matched.

All have the gates one after the other, in these orders: input, forget, cell, output; and reset, update, new. Keras
alone has update before reset. There may be one bias for the input and one for the state: they are added, but for the
new state of a GRU, where the reset gate comes between.

A layer of PyTorch, ``rnn.weight_ih_l1_reverse``, holds several cells: they become ``rnn.cells.3`` and so on, as in
``px.LSTM``. A cell (PyTorch's, Flux', Lux', Keras') keeps its path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from phlox.core import StructureError

_OF_LAYER = re.compile(r"(?P<path>.*?)weight_ih_l(?P<layer>\d+)(?P<reverse>_reverse)?")


class _Names(NamedTuple):
    """What a library calls the arrays of a cell; alternatives with a bar."""

    first: str
    state: str
    bias: str
    state_bias: str = ""
    projection: str = ""


_NAMES = {
    "pytorch": (_Names("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"),),
    "flux": (_Names("Wi", "Wh", "bias|b"), _Names("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
    "keras": (_Names("kernel", "recurrent_kernel", "bias"), _Names("cell/vars/0", "cell/vars/1", "cell/vars/2")),
}


def in_cells(arrays: Mapping[str, Any], layout: str) -> Mapping[str, Any]:
    """The arrays, those of recurrent layers as cells of Phlox; the same mapping where there are none."""
    made: dict[str, Any] = {}
    used: set[str] = set()
    for name in arrays:
        for path, end, names in _cells_at(name, arrays, layout):
            parts = {role: _found(arrays, name, names.first, wanted, end) for role, wanted in names._asdict().items()}
            used |= {there for there in parts.values() if there}
            read = {role: np.asarray(arrays[there]) for role, there in parts.items() if there}
            made |= {path + ours: array for ours, array in _cell(name, read, layout).items()}
    return {**{name: arrays[name] for name in arrays if name not in used}, **made} if made else arrays


def _cells_at(name: str, arrays: Mapping[str, Any], layout: str) -> list[tuple[str, str, _Names]]:
    """Where the cell is whose first weight has this name, and the end of its names: one, or none."""
    for names in _NAMES.get(layout, ()):
        layer = _OF_LAYER.fullmatch(name) if layout == "pytorch" else None
        if layer is not None:
            both = f"{layer['path']}weight_ih_l0_reverse" in arrays
            index = int(layer["layer"]) * (1 + both) + bool(layer["reverse"])
            return [(f"{layer['path']}cells.{index}.", name.partition("weight_ih")[2], names)]
        path = name.removesuffix(names.first)
        is_step = path != name and (not path or path[-1] in "./")
        if is_step and _found(arrays, name, names.first, names.state, ""):
            return [(path, "", names)]
    return []


def _found(arrays: Mapping[str, Any], name: str, first: str, wanted: str, end: str) -> str:
    """The full name of another array of the cell; empty where there is none."""
    path = name.removesuffix(first + end)
    return next((path + n + end for n in wanted.split("|") if n and path + n + end in arrays), "")


def _cell(name: str, there: dict[str, np.ndarray], layout: str) -> dict[str, np.ndarray]:
    """The arrays of a cell of Phlox: weights (in, gates · hidden), biases added."""
    turned = {role: a.T if layout != "keras" and a.ndim == 2 else a for role, a in there.items()}
    hidden, gates = _sizes(name, turned, layout)
    biases = [turned[role] for role in ("bias", "state_bias") if role in turned]
    biases = list(biases[0]) if len(biases) == 1 and biases[0].ndim == 2 else biases  # Keras stacks its two
    order = (1, 0, 2) if layout == "keras" and gates == 3 else range(gates)
    swap = np.concatenate([np.arange(hidden) + hidden * gate for gate in order])
    found = {"weight_ih": turned["first"][:, swap], "weight_hh": turned["state"][:, swap]}
    if "projection" in turned:
        found["weight_hr"] = turned["projection"]
    return found | (_biases([b[swap] for b in biases], hidden, gates) if biases else {})


def _sizes(name: str, turned: dict[str, np.ndarray], layout: str) -> tuple[int, int]:
    """Hidden features and gates of a cell.

    Raises:
        StructureError: it lacks an array, has one of another shape, or resets its state before the product.
    """
    rows = turned["first"].shape[-1]
    wrong = [role for role, a in turned.items() if a.shape[-1:] != (rows,) and role != "projection"]
    if "state" not in turned or wrong or any(turned[role].ndim != 2 for role in ("first", "state")):
        shapes = ", ".join(f"{role} {a.shape}" for role, a in turned.items())
        raise StructureError(
            "weights of the input and of the state, and biases, as long", got=f"{shapes} at {name}",
            fix="read the file again: its recurrent layer is not whole", where="px.weights.convert",
        )  # fmt: skip
    hidden = turned["projection" if "projection" in turned else "state"].shape[0]
    if rows % hidden or rows // hidden not in (1, 3, 4):
        raise StructureError(
            "1, 3 or 4 gates", got=f"{rows} rows for {hidden} features at {name}",
            fix="fill this layer by hand", where="px.weights.convert",
        )  # fmt: skip
    if layout == "keras" and rows == 3 * hidden and turned.get("bias", np.zeros((2, 1))).ndim == 1:
        raise StructureError(
            "a GRU that resets after the product, whose bias has two rows", got=f"one of reset_after=False at {name}",
            fix="train it with reset_after=True, which Keras has by default", where="px.weights.convert",
        )  # fmt: skip
    return hidden, rows // hidden


def _biases(both: list[np.ndarray], hidden: int, gates: int) -> dict[str, np.ndarray]:
    """One bias of the sum; a GRU's for the new state apart, as it stands behind the reset gate."""
    wide = np.promote_types(both[0].dtype, np.float32)  # 16 bits would round the sum
    first = both[0].astype(wide)
    state = both[1].astype(wide) if len(both) > 1 else np.zeros_like(first)
    if gates != 3:
        return {"bias": first + state}
    outer, inner = first[2 * hidden :], state[2 * hidden :]
    return {"bias": np.concatenate([(first + state)[: 2 * hidden], outer]), "bias_hn": inner}
