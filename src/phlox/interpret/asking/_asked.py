"""A question with its input: what is explained, what goes with it, and how much memory a row takes."""

from __future__ import annotations

import difflib
import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import (
    DtypeError,
    Module,
    RangeError,
    ShapeError,
    StructureError,
    copy,
    describe,
    eval_shape,
    jit,
    modules,
    tapped,
    testmode,
)
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.interpret.asking._targets import Target, resolved
from phlox.interpret.asking._trees import any_floating, is_floating


@dataclass(frozen=True)
class Asked:
    """What is asked of a model, ready for compiled programs."""

    question: Question
    z: Any
    """What is explained: the input, or a layer's output; rows first."""
    context: Context
    x: Any
    """The input."""
    rows: int
    nbytes: int
    """Bytes of what a model computes for a row."""
    where: str

    def of(self, z: Any, context: Context) -> Asked:
        """The same question of other rows."""
        return replace(self, z=z, context=context)


def ask(
    model: Any,
    x: Any,
    target: Target,
    where: str,
    *,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    gradients: bool = True,
) -> Asked:
    """A question to a copy of a model that infers; the model stays as it is.

    Arguments:
        gradients: whether what is explained must have gradients.

    Raises:
        StructureError: what can't be called; a layer of what is no Module.
        RangeError: a layer that is none, a target or neuron outside its output.
        ShapeError: leaves with different numbers of rows; a target that does not fit.
        DtypeError: integers, where gradients are needed.
    """
    x, rows = as_rows(x, where)
    layer = _layer_of(model, layer, neuron, where)
    twin, of_neuron = _inferring(model, where), neuron is not None
    output, nbytes = _looked_at(Question(twin, forward, layer, of_neuron), x)
    option = "neuron" if of_neuron else "target"
    pick, index = resolved(neuron if of_neuron else target, output, rows, where, option)
    question = Question(twin, forward, layer, of_neuron, pick)
    inside = layer is not None and neuron is None
    z = layer_output(question, x) if inside else x
    if inside:
        as_rows(z, where, rows)
    if gradients and not any_floating(z):
        raise _no_gradients(model, z, where)
    return Asked(question, z, Context(x if inside else None, index), x, rows, nbytes, where)


@jit
def layer_output(question: Question, x: Any) -> Any:
    """What the layer of a question gives."""
    return question.at_layer(x)


def as_rows(x: Any, where: str, rows: int | None = None) -> tuple[Any, int]:
    """A tree as arrays, and how many rows they have.

    Raises:
        ShapeError: no arrays, or different numbers of rows.
    """
    x = jax.tree.map(jnp.asarray, x)
    counts = {v.shape[:1] for v in jax.tree.leaves(x)}
    wanted = counts if rows is None else {(rows,)}
    if len(counts) != 1 or counts != wanted or () in counts or (0,) in counts:
        got = ", ".join(describe(v) for v in jax.tree.leaves(x)) or "nothing"
        expected = "arrays whose first axis is rows" if rows is None else f"arrays of {rows} rows"
        raise ShapeError(expected, got=got, fix="put rows first; one example alone is x[None]", where=where)
    return x, counts.pop()[0]


def _inferring(model: Any, where: str) -> Any:
    if isinstance(model, Module):
        return testmode(copy(model))
    if callable(model):
        return model
    raise StructureError("a model", got=describe(model), fix="pass a px.Module, or a function of arrays", where=where)


def _layer_of(model: Any, layer: str | None, neuron: Any, where: str) -> str | None:
    if layer is None:
        if neuron is None:
            return None
        fix = 'say whose neuron it is, layer="layers.2"'
        raise RangeError("a layer beside a neuron", got="layer=None", fix=fix, where=where)
    if not isinstance(model, Module):
        raise StructureError("a px.Module, where a layer is named", got=describe(model), fix="pass the model itself",
                             where=where)  # fmt: skip
    names = [path for path in modules(model) if path]
    path, _, nth = layer.partition("#")
    if path not in names or (nth and not (nth.isdecimal() and int(nth))):
        close = difflib.get_close_matches(path, names, 3, 0.4) or names[:6]
        fix = f"choose among {', '.join(close)}; px.modules(model) has all"
        raise RangeError("layer= to be the path of a layer", got=repr(layer), fix=fix, where=where)
    return layer


_LOOKED_AT: OrderedDict[Any, tuple[Any, int]] = OrderedDict()


def _looked_at(question: Question, x: Any) -> tuple[Any, int]:
    """The types of a question's whole output, and bytes of what the model computes for a row; once for each model."""
    whole = Question(question.model, question.forward, question.layer if question.neuron else None, question.neuron)
    leaves, form = jax.tree.flatten((whole, x))
    key = form, tuple((v.shape, str(v.dtype)) for v in leaves)
    if key not in _LOOKED_AT:
        _LOOKED_AT[key] = _measured(whole, x)
        if len(_LOOKED_AT) > 64:
            _LOOKED_AT.popitem(last=False)
    return _LOOKED_AT[key]


def _measured(question: Question, x: Any) -> tuple[Any, int]:
    sizes = [sum(map(_nbytes, jax.tree.leaves(x)))]

    def tap(_: Module, y: Any) -> Any:
        sizes.append(sum(_nbytes(v) for v in jax.tree.leaves(y) if hasattr(v, "dtype")))
        return y

    def run(question: Question, x: Any) -> Any:
        with tapped(tap):
            return question.output(x, Context(None, None))

    output = eval_shape(run, question, x)
    rows = jax.tree.leaves(x)[0].shape[0]
    return output, max(1, (sum(sizes) + sum(map(_nbytes, jax.tree.leaves(output)))) // rows)


def _nbytes(x: Any) -> int:
    return math.prod(x.shape) * x.dtype.itemsize


def _no_gradients(model: Any, z: Any, where: str) -> DtypeError:
    got = ", ".join(describe(v) for v in jax.tree.leaves(z) if not is_floating(v))
    tables = [path for path, part in modules(model).items() if "Embedding" in type(part).__name__] if isinstance(
        model, Module) else []  # fmt: skip
    name = tables[0] if tables else "path.of.the.embedding"
    fix = f'explain what the embedding gives, layer="{name}", or take a method without gradients'
    return DtypeError("floating arrays, which have gradients", got=got, fix=fix, where=where)
