"""Seeded bugs in what reads files of other programs, and in what refuses those that mean harm."""

_AT = "interchange/onnx_reading/"
_ML = _AT + "operators/learned/"
_LEARNED = "tests/interchange/test_load_onnx_learned.py::"
_HOSTILE = "tests/interchange/test_load_onnx_hostile.py::"

MUTANTS = [
    (
        "load_onnx: a tree goes left where a number is equal, whatever its test says",
        _ML + "_trees.py",
        "lambda x, at: x <= at, lambda x, at: x < at,",
        "lambda x, at: x <= at, lambda x, at: x <= at,",
        (_LEARNED + "test_trees",),
    ),
    (
        "load_onnx: NaN goes down a tree as any other number",
        _ML + "_trees.py",
        "jnp.where(holds | (missing[at] & jnp.isnan(value)), yes[at], no[at])",
        "jnp.where(holds, yes[at], no[at])",
        (_LEARNED + "test_trees",),
    ),
    (
        "load_onnx: rows stop one step above the deepest leaf",
        _ML + "_trees.py",
        "jax.lax.fori_loop(0, nodes.depth(call), step, start)",
        "jax.lax.fori_loop(0, nodes.depth(call) - 1, step, start)",
        (_LEARNED + "test_trees",),
    ),
    (
        "load_onnx: scores of two classes from one are swapped",
        _ML + "_scores.py",
        "both = jnp.stack([-score, score], -1)",
        "both = jnp.stack([score, -score], -1)",
        (_LEARNED + "test_classes_of_trees",),
    ),
    (
        "load_onnx: shares of classes are told apart at zero",
        _ML + "_forests.py",
        "(score > (0.5 if shares else 0))",
        "(score > (0.0 if shares else 0))",
        (_LEARNED + "test_classes_of_trees",),
    ),
    (
        "load_onnx: a pair of classes takes the coefficients of another",
        _ML + "_vectors.py",
        "kernel[:, a] @ weights[j - 1, a] + kernel[:, b] @ weights[i, b]",
        "kernel[:, a] @ weights[i, a] + kernel[:, b] @ weights[j - 1, b]",
        (_LEARNED + "test_support_vectors",),
    ),
    (
        "load_onnx: probabilities of classes are not coupled",
        _ML + "_vectors.py",
        "return jnp.where(done, p, _swept(q, p, slope)), done",
        "return p, done",
        (_LEARNED + "test_support_vectors",),
    ),
    (
        "load_onnx: the largest norm is by magnitude",
        _ML + "_features.py",
        'if kind == "L1" else x.max(-1, keepdims=True)',
        'if kind == "L1" else jnp.abs(x).max(-1, keepdims=True)',
        (_LEARNED + "test_features",),
    ),
    (
        "load_onnx: a scaler multiplies first",
        _ML + "_features.py",
        "return (real(x) - offset) * scale",
        "return real(x) * scale - offset",
        (_LEARNED + "test_features",),
    ),
    (
        "load_onnx, a file's say: coefficients of a linear model do not train",
        _AT + "_trained.py",
        "if not found or len(node.inputs) != 1:",
        "if found or len(node.inputs) != 1:",
        (_LEARNED + "test_a_linear_model_trains",),
    ),
    (
        "load_onnx, a file's say: parts beside a file may be larger than memory",
        _AT + "_tensors.py",
        "        if self.room < 0:\n",
        "        if self.room < -(1 << 60):\n",
        (_HOSTILE + "test_parts_beside_that_are_larger_than_memory",),
    ),
    (
        "load_onnx, a file's say: functions count as one node each",
        _AT + "_bounds.py",
        "total += 1 + counted.get(key, 0)",
        "total += 1",
        (_HOSTILE + "test_functions_that_grow_without_bound",),
    ),
    (
        "load_onnx, a file's say: a name may be made again",
        _AT + "_graph.py",
        "if name in scopes[-1]:",
        "if name in scopes[0]:",
        (_HOSTILE + "test_names_that_are_made_twice",),
    ),
    (
        "load_onnx, a file's say: axes are taken modulo the rank",
        _AT + "_call.py",
        "if not -rank <= axis < rank:",
        "if not rank:",
        (_HOSTILE + "test_nodes_that_are_none_of_their_kind[axes of another rank]",),
    ),
]
