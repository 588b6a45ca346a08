"""A model, or a program, as an ONNX model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import export
from jax.interpreters import partial_eval

from phlox.core import ExportError, Module, RangeError, ShapeError, apply, copy, describe, is_key, split, telling_layers
from phlox.interchange.onnx._convert import Converter, refuse_complex
from phlox.interchange.onnx._graph import Complex, Graph, Store, Value
from phlox.interchange.onnx._proto import model_proto
from phlox.nn import whole_operations

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""The oldest opset whose operators are written; files say this one unless another is asked for."""


def to_onnx(
    model: Module,
    inputs: Mapping[str, Any],
    *,
    call: Callable[..., Any] | None = None,
    outputs: Sequence[str] | None = None,
    opset: int = OPSET,
    constraints: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model in inference as an ONNX model, whose arrays are called by their paths and nodes by those of their layers.

    Arguments:
        model: a Module; what is shared in it is once in the file.
        inputs: by name, in the order in which the model takes them, what has a shape and a dtype, such as
            ``jax.ShapeDtypeStruct``; a size is a number, or a name such as ``"batch"`` where callers decide it.
        call: ``call(model, *inputs)`` where it is not the model itself; all arrays of its result are outputs.
        outputs: their names; by default ``output``, or the keys by which the result holds them.
        opset: the version of ONNX's operators, 18 or later.
        constraints: what is known of named sizes, in JAX's form: ``("time <= 512",)``.

    Raises:
        ExportError: an operation that ONNX has no form for; names the layer, the operation and what would help.
        RangeError: an opset below 18.
        ShapeError: a wrong number of names.
        MissingExtraError: the package onnx is not installed.

    >>> import jax, phlox as px
    >>> made = to_onnx(px.Dense(4, 2), {"x": jax.ShapeDtypeStruct(("batch", 4), "float32")})
    >>> made.graph.node[0].op_type, [array.name for array in made.graph.initializer][:2]
    ('MatMul', ['weight', 'bias'])
    """
    held = copy(model)
    params, state = split(held)
    arrays, specs = {**params, **state}, _specs(inputs, constraints)
    keys, method = list(arrays), call or (lambda model, *xs: model(*xs))

    def forward(values: list[Any], *xs: Any) -> Any:
        given = dict(zip(keys, values, strict=True))
        rest = {name: given[name] for name in state}
        with telling_layers(held):
            return apply(held, {name: given[name] for name in params}, rest, *xs, train=False, method=method)[0]

    with whole_operations():
        jaxpr, shapes = jax.make_jaxpr(forward, return_shape=True)(list(arrays.values()), *specs)
    names = outputs if outputs is not None else _names(shapes, inputs)
    own = type(model).__name__
    return convert(jaxpr, weights=arrays, state=state, inputs=list(inputs), outputs=names, opset=opset, name=own)


def convert(
    closed_jaxpr: Any,
    *,
    weights: Mapping[str, Any],
    inputs: Sequence[str],
    outputs: Sequence[str],
    symbols: Iterable[str] = (),
    state: Iterable[str] = (),
    opset: int = OPSET,
    name: str = "model",
) -> onnx.ModelProto:
    """A traced program as an ONNX model.

    Arguments:
        closed_jaxpr: a program whose first arguments are ``weights`` in their order, and whose others are the inputs.
        weights: arrays by name, which the file holds; those that nothing reads are left out.
        inputs: a name for each further argument. A size that is a symbol of ``jax.export.symbolic_shape`` is left to
            the caller of the file; each symbol must be a size of some input by itself.
        outputs: a name for each result.
        symbols: names of sizes that callers decide; each must be there, whether it is used or not.
        state: names of weights that no gradient reaches, which the file tells who trains it further.
        opset: the version of ONNX's operators, 18 or later.
        name: what the graph is called, and the model in errors.

    Raises:
        as ``to_onnx``.

    >>> import jax
    >>> jaxpr = jax.make_jaxpr(lambda w, x: x @ w)(jax.numpy.ones((3, 2)), jax.numpy.ones((5, 3)))
    >>> made = convert(jaxpr, weights={"w": jax.numpy.ones((3, 2))}, inputs=["x"], outputs=["y"])
    >>> [node.op_type for node in made.graph.node]
    ['MatMul', 'Identity']
    """
    if opset < OPSET:
        raise RangeError(f"an opset of {OPSET} or more", got=str(opset), fix="leave opset out", where="ONNX")
    program = closed_jaxpr.jaxpr
    _check_names(program, weights, inputs, outputs)
    live, _ = partial_eval.dce_jaxpr(program, True, instantiate=True)
    graph = Graph(Store(opset), name)
    arguments = live.invars[len(weights) :]
    values = [_input(graph, n, v.aval) for n, v in zip(inputs, arguments, strict=True)]
    for n in outputs:
        graph.store.fresh(n)
    held = [_held(graph, n, array) for n, array in weights.items()]
    for symbol in symbols:
        graph.store.source(symbol)
    results = Converter(name).run(graph, closed_jaxpr.replace(jaxpr=live), [*held, *values])
    refuse_complex("outputs", [v.aval for v in live.outvars])
    graph.finish(results, outputs)
    return model_proto(graph, opset, sorted(state))


# --- arguments --------------------------------------------------------------------------------------------


def _specs(inputs: Mapping[str, Any], constraints: Sequence[str]) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes, with JAX's symbols where sizes are names."""
    names = dict.fromkeys(n for x in inputs.values() for n in x.shape if isinstance(n, str))
    symbols: dict[str, Any] = {}
    if names:
        made = export.symbolic_shape(", ".join(names), constraints=list(constraints))
        symbols = dict(zip(names, made, strict=True))
    shapes = [tuple(symbols[n] if isinstance(n, str) else n for n in x.shape) for x in inputs.values()]
    return [jax.ShapeDtypeStruct(s, x.dtype) for s, x in zip(shapes, inputs.values(), strict=True)]


def _names(shapes: Any, inputs: Mapping[str, Any]) -> list[str]:
    """Names of the arrays of a result, by the keys on the way to them, and none an input's."""
    leaves = jax.tree_util.tree_flatten_with_path(shapes)[0]
    texts = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    names = [f"output{'_' * bool(text)}{text}" if not text or text[0].isdigit() else text for text in texts]
    return [f"{name}_out" if name in inputs else name for name in names]


def _check_names(program: Any, weights: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str]) -> None:
    wanted = (len(program.invars) - len(weights), len(program.outvars))
    if (len(inputs), len(outputs)) != wanted:
        raise ShapeError(
            f"a name for each of {wanted[0]} inputs and {wanted[1]} outputs",
            got=f"{len(inputs)} and {len(outputs)}",
            fix="name the arguments behind the weights, and every array of the result",
            where="ONNX",
        )
    names = [*inputs, *outputs]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ShapeError(
            "a name of its own for each input and output", got=f"{twice[0]} twice", fix="rename one", where="ONNX"
        )


def _input(graph: Graph, name: str, aval: Any) -> Value:
    """An input; sizes of it that are symbols can be read from it."""
    if not isinstance(aval.dtype, np.dtype):
        raise ExportError(
            "inputs of numbers", got=f"{name}, {describe(aval)}", fix="let the model take what it draws", where="ONNX"
        )
    refuse_complex("inputs", [aval])
    value = graph.input(name, aval.shape, aval.dtype)
    for axis, size in enumerate(aval.shape):
        if str(size).isidentifier():
            graph.store.symbols.setdefault(str(size), (value, axis))
    return value


def _held(graph: Graph, name: str, array: Any) -> Any:
    """A weight; keys of random streams stay what they are until something reads them."""
    if is_key(array):
        return array
    if np.dtype(array.dtype).kind == "c":
        numbers = np.asarray(array)
        return Complex(
            graph.store.held(f"{name}.real", np.real(numbers)), graph.store.held(f"{name}.imag", np.imag(numbers))
        )
    return graph.store.held(name, array)
