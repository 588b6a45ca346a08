"""``px.load_onnx`` on pipelines of scikit-learn's, and each operator of ai.onnx.ml, beside ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from interchange.exporting import assert_same
from kit import oracle

onnx, onnxruntime = oracle("onnx"), oracle("onnxruntime")
FILES = Path(__file__).parent / "onnx_files"
DOMAIN = "ai.onnx.ml"


def by_runtime(model, feeds):
    """Outputs by name, those that are dicts as a column for each class."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found = session.run(None, feeds)
    rows = lambda y: {key: np.array([row[key] for row in y], np.float32) for key in y[0]}  # noqa: E731
    return {o.name: rows(y) if isinstance(y, list) else y for o, y in zip(session.get_outputs(), found, strict=True)}


def flowers():
    """Measured flowers, one of them with a hole, and few of their columns."""
    rng = np.random.default_rng(3)
    return (rng.normal(size=(9, 4)) * [1, 0.5, 2, 1] + [5.8, 3, 3.8, 1.2]).astype("float32")


NUMBERS = ["linear", "forest", "boosted", "regression", "vectors", "support", "perceptron", "neighbours"]


@pytest.mark.parametrize("name", NUMBERS)
def test_pipelines(name):
    path = FILES / f"learned-{name}.onnx"
    model = px.load_onnx(path)
    x = flowers()[:, : 3 if name == "support" else 4]
    if name == "forest":
        x[::2, 1] = np.nan
    run = px.jit(model)
    for rows in (x, x[:1]) if name in ("linear", "forest", "neighbours") else (x,):
        found = run(rows)
        found = found if isinstance(found, dict) else {model.outputs[0]: found}
        wanted = by_runtime(str(path), {model.inputs[0]: rows})
        assert set(found) == set(wanted)
        for key, want in wanted.items():
            if isinstance(want, dict):
                assert_same(found[key], want, 1e-5)
            else:
                got, loose = np.asarray(found[key]), want.dtype.kind == "i"  # 64 bits are 32 here
                assert_same(got, want.astype(got.dtype) if loose else want, 0 if loose else 1e-5)


def test_words_are_text_line_by_line_and_refused_under_a_transform():
    model, x = px.load_onnx(FILES / "learned-words.onnx"), flowers()
    found, wanted = model(x), by_runtime(str(FILES / "learned-words.onnx"), {model.inputs[0]: x})
    assert len(set(wanted["label"])) > 1
    assert found["label"].tolist() == wanted["label"].tolist()
    assert_same(found["probabilities"], wanted["probabilities"], 1e-5)
    with pytest.raises(px.ExportError, match="outputs that are numbers, under a transform, got text in 'label'"):
        px.jit(model)(x)


def test_a_linear_model_trains():
    """Its coefficients, which the file has as attributes, are weights."""
    model, x = px.load_onnx(FILES / "learned-linear.onnx"), flowers()
    shapes = {name: w.shape for name, w in model.weights.items()}
    assert list(shapes.values()) == [(12,), (3,)]
    assert [n.rpartition(".")[2] for n in shapes] == ["coefficients", "intercepts"]

    def likely(model):
        (found,) = (y for y in model(x).values() if isinstance(y, dict))
        return jnp.log(found[1]).mean(), found

    grads, shares = px.jit(px.grad(likely, has_aux=True))(model)
    *_, bias = grads.weights.values()
    np.testing.assert_allclose(bias, ([0, 1, 0] - np.stack(list(shares.values()), 1)).mean(0), rtol=1e-4, atol=1e-6)


# --- operators, many in one graph ---------------------------------------------------------------------------------


def node(kind, inputs, outputs, **attributes):
    made = onnx.helper.make_node(kind, inputs, outputs, domain=DOMAIN)
    made.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in attributes.items())
    return made


def whole(nodes, inputs, *, arrays=(), version=3):
    """A model whose outputs are all names that its nodes make; those that begin with ``i`` are whole numbers."""
    proto = onnx.TensorProto

    def port(name, dtype, shape):
        kind = {"f": proto.FLOAT, "i": proto.INT64}[dtype]
        return onnx.helper.make_tensor_value_info(name, kind, shape)

    ports = [port(n, "f" if x.dtype.kind == "f" else "i", x.shape) for n, x in inputs.items()]
    made = [port(n, "i" if n.startswith("i") else "f", None) for one in nodes for n in one.output]
    graph = onnx.helper.make_graph(nodes, "g", ports, made, [onnx.numpy_helper.from_array(a, n) for n, a in arrays])
    sets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid(DOMAIN, version)]
    return onnx.helper.make_model(graph, opset_imports=sets, ir_version=10)


def agree(nodes, inputs, **more):
    model = whole(nodes, inputs, **more)
    found = px.jit(px.load_onnx(model))(**inputs)
    wanted = by_runtime(model.SerializeToString(), inputs)
    found = found if isinstance(found, dict) else {next(iter(wanted)): found}
    for name, want in wanted.items():
        got = np.asarray(found[name])
        assert got.shape == want.shape, name
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6, err_msg=name)


X = np.array([[1, -2, 0.5, 3], [0, 0, 0, 0], [-1, 4, 2, -0.25], [2, 1, 1, 1]], np.float32)
WHOLE = np.array([[1, 5], [2, -7], [9, 5]], np.int64)


def test_features():
    holes = np.where(X == 1, np.float32(np.nan), X)
    agree(
        [
            node("Scaler", ["x"], ["scaled"], offset=[1.0, 2.0, 0.0, -1.0], scale=[0.5, 1.0, 2.0, 3.0]),
            node("Scaler", ["x"], ["shifted"], offset=[1.0], scale=[3.0]),
            node("Scaler", ["n"], ["whole"], offset=[1.0, 2.0], scale=[0.5, 2.0]),
            *(node("Normalizer", ["x"], [f"norm{k}"], norm=k) for k in ("L1", "L2", "MAX")),
            node("Normalizer", ["v"], ["signed"], norm="MAX"),
            node("Binarizer", ["x"], ["binary"], threshold=0.5),
            node("Imputer", ["h"], ["filled"], imputed_value_floats=[9.0, 8.0, 7.0, 6.0], replaced_value_float=np.nan),
            node("Imputer", ["n"], ["ifilled"], imputed_value_int64s=[40], replaced_value_int64=5),
            node("OneHotEncoder", ["n"], ["hot"], cats_int64s=[5, 1, 9], zeros=1),
            node("FeatureVectorizer", ["x", "scaled"], ["side"], inputdimensions=[3, 6]),
            node("ArrayFeatureExtractor", ["x", "at"], ["taken"]),
            node("LabelEncoder", ["n"], ["coded"], keys_int64s=[1, 5, 2], values_floats=[0.5, 1.5, 2.5]),
            node("LabelEncoder", ["h"], ["icoded"], keys_floats=[np.nan, 2.0], values_int64s=[7, 8], default_int64=3),
        ],
        {"x": X, "h": holes, "n": WHOLE, "v": np.array([[1, -5, 2], [-1, -2, -3]], np.float32)},
        arrays=[("at", np.array([2, 0]))],
    )
    codes = {"keys_floats": [np.nan, 2.0], "values_floats": [7.0, 8.0], "default_float": 3.0}
    agree([node("LabelEncoder", ["h"], ["coded"], **codes)], {"h": holes}, version=4)  # from there on NaN is a key


LINES = {"coefficients": [0.5, -1.0, 2.0, 0.25, 1.0, 0.5, -0.5, 0.1], "intercepts": [0.1, -0.2]}
LINE = {"coefficients": LINES["coefficients"][:4], "intercepts": [0.1]}


def test_linear_models():
    ends = ("NONE", "LOGISTIC", "SOFTMAX")
    agree(
        [
            *(
                node("LinearRegressor", ["x"], [f"r{e}"], targets=2, post_transform=e, **LINES)
                for e in (*ends, "SOFTMAX_ZERO")
            ),
            *(
                node("LinearClassifier", ["x"], [f"i{e}", f"p{e}"], classlabels_ints=[4, 9], post_transform=e, **LINES)
                for e in ends
            ),
            *(
                node("LinearClassifier", ["x"], [f"i1{e}", f"s{e}"], classlabels_ints=[4, 9], post_transform=e, **LINE)
                for e in ("NONE", "LOGISTIC")
            ),
        ],
        {"x": X},
    )


SPLITS = {
    "nodes_treeids": [0] * 5 + [1] * 3, "nodes_nodeids": [0, 1, 2, 3, 4, 0, 1, 2],
    "nodes_featureids": [0, 1, 0, 0, 0, 3, 0, 0], "nodes_values": [0.0, -2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
    "nodes_truenodeids": [1, 3, 0, 0, 0, 2, 0, 0], "nodes_falsenodeids": [2, 4, 0, 0, 0, 1, 0, 0],
    "nodes_missing_value_tracks_true": [1, 0, 0, 0, 0, 0, 0, 0],
}  # fmt: skip
LEAVES = {"treeids": [0, 0, 0, 1, 1, 1, 1], "nodeids": [2, 3, 4, 1, 1, 2, 2], "ids": [0, 1, 0, 1, 0, 0, 1]}
WEIGHTS = [0.5, 0.25, -1.0, 2.0, 0.3, 0.125, 0.75]


def modes(first, second):
    return [first, second, "LEAF", "LEAF", "LEAF", second, "LEAF", "LEAF"]


def test_trees():
    x = np.concatenate([X, [[np.nan, 1, 1, np.nan]], [[np.nan, -2, 1, 1]]]).astype(np.float32)
    tests = [("BRANCH_LEQ", "BRANCH_LEQ"), ("BRANCH_LT", "BRANCH_GTE"), ("BRANCH_GT", "BRANCH_EQ")]
    targets = {f"target_{k}": v for k, v in LEAVES.items()}
    agree(
        [
            *(
                node(
                    "TreeEnsembleRegressor", ["x"], [f"y{a}{b}"], n_targets=2, nodes_modes=modes(a, b),
                    target_weights=WEIGHTS, base_values=[0.5, -0.5], **SPLITS, **targets,
                )
                for a, b in tests
            ),
            *(
                node(
                    "TreeEnsembleRegressor", ["x"], [f"y{f}"], n_targets=2, nodes_modes=modes(*tests[0]),
                    target_weights=WEIGHTS, aggregate_function=f, **SPLITS, **targets,
                )
                for f in ("AVERAGE", "MIN", "MAX")
            ),
        ],
        {"x": x},
    )  # fmt: skip


def test_classes_of_trees():
    """Several classes; two of which the leaves weigh one, in shares and in opposites; two by the standard."""
    leaves = {f"class_{k}": v for k, v in LEAVES.items()}
    one = {**leaves, "class_ids": [0] * 7}
    shares = [abs(w) / 4 for w in WEIGHTS]

    def trees(name, weights, end, leaves, labels, **more):
        return node(
            "TreeEnsembleClassifier", ["x"], [f"i{name}", name], nodes_modes=modes("BRANCH_LEQ", "BRANCH_LT"),
            class_weights=weights, post_transform=end, classlabels_int64s=labels, **SPLITS, **leaves, **more,
        )  # fmt: skip

    agree(
        [
            trees("three", WEIGHTS, "SOFTMAX", leaves, [3, 5, 7], base_values=[0.1, 0.2, 0.3]),
            trees("shares", shares, "NONE", one, [3, 5]),
            trees("opposites", WEIGHTS, "NONE", one, [3, 5], base_values=[0.25]),
            trees("logistic", WEIGHTS, "LOGISTIC", one, [3, 5], base_values=[0.25]),
        ],
        {"x": X},
    )
    model = whole([trees("two", [*WEIGHTS[:3], 0.2, *WEIGHTS[4:]], "NONE", leaves, [3, 5])], {"x": X})
    found = px.jit(px.load_onnx(model))(X)
    wanted = by_runtime(model.SerializeToString(), {"x": X})  # whose class is that of a score above zero
    np.testing.assert_allclose(found["two"], wanted["two"], rtol=1e-6)
    assert found["itwo"].tolist() == [[3, 5][k] for k in wanted["two"].argmax(1)]
    assert len(set(found["itwo"].tolist())) == 2


def test_trees_of_version_5():
    tensor = onnx.helper.make_tensor
    proto = onnx.TensorProto
    agree(
        [
            node(
                "TreeEnsemble", ["x"], [f"y{mode}"], n_targets=2, aggregate_function=1, post_transform=0,
                tree_roots=[0, 2], nodes_featureids=[0, 1, 3],
                nodes_modes=tensor("m", proto.UINT8, [3], [mode, 0, 1]),
                nodes_splits=tensor("s", proto.FLOAT, [3], [0.0, -2.0, 1.0]),
                nodes_truenodeids=[1, 0, 2], nodes_trueleafs=[0, 1, 1], nodes_falsenodeids=[2, 1, 3],
                nodes_falseleafs=[1, 1, 1], leaf_targetids=[0, 1, 0, 1],
                leaf_weights=tensor("w", proto.FLOAT, [4], [0.5, 0.25, -1.0, 2.0]),
                **({"membership_values": tensor("v", proto.FLOAT, [3], [1.0, -1.0, np.nan])} if mode == 6 else {}),
            )
            for mode in (0, 3, 6)
        ],
        {"x": X},
        version=5,
    )  # fmt: skip


VECTORS = [1.0, 0.0, 0.5, 1.0, -1.0, 2.0, 0.5, 0.0, 0.0, 1.0, 1.0, -1.0, 2.0, 0.5, -0.5, 1.0]
SUPPORT = {
    "support_vectors": VECTORS, "vectors_per_class": [2, 1, 1], "rho": [0.1, -0.2, 0.3],
    "coefficients": [0.5, -1.0, 0.7, -0.3, 1.0, 0.4, -0.6, 0.2], "classlabels_ints": [2, 4, 8],
}  # fmt: skip
KERNEL = {"kernel_params": [0.3, 0.5, 2.0]}
PLANE = {"kernel_type": "LINEAR", **KERNEL}


def test_support_vectors():
    kernels = ("LINEAR", "POLY", "RBF", "SIGMOID")
    shares = {"prob_a": [-1.0, -0.5, -2.0], "prob_b": [0.1, 0.0, -0.1]}
    agree(
        [
            *(node("SVMClassifier", ["x"], [f"i{k}", k], kernel_type=k, **SUPPORT, **KERNEL) for k in kernels),
            node("SVMClassifier", ["x"], ["ishare", "share"], kernel_type="RBF", **SUPPORT, **KERNEL, **shares),
            node(
                "SVMClassifier", ["x"], ["ipair", "pair"], kernel_type="RBF", **KERNEL,
                **{**SUPPORT, "vectors_per_class": [2, 2], "rho": [0.1], "coefficients": [0.5, -1.0, 0.7, -0.3],
                   "classlabels_ints": [2, 4]},
            ),
            node(
                "SVMClassifier", ["x"], ["iplane", "plane"], coefficients=VECTORS[:12], rho=[0.25],
                classlabels_ints=[2, 4, 8], kernel_type="LINEAR", post_transform="SOFTMAX", **KERNEL,
            ),
            *(
                node(
                    "SVMRegressor", ["x"], [f"y{k}"], kernel_type=k, n_supports=4, support_vectors=VECTORS,
                    coefficients=[0.5, -1.0, 0.7, 0.2], rho=[0.1], **KERNEL,
                )
                for k in kernels
            ),
            node("SVMRegressor", ["x"], ["yplane"], coefficients=VECTORS[:4], rho=[0.1], **PLANE),
            node(
                "SVMRegressor", ["x"], ["yone"], kernel_type="RBF", n_supports=4, support_vectors=VECTORS, one_class=1,
                coefficients=[0.5, -1.0, 0.7, 0.2], rho=[0.1], **KERNEL,
            ),
        ],
        {"x": X},
    )  # fmt: skip


def test_a_file_of_this_domain_alone():
    model = whole([node("Binarizer", ["x"], ["y"], threshold=0.25)], {"x": X})
    del model.opset_import[0]
    np.testing.assert_array_equal(px.jit(px.load_onnx(model))(X), X > 0.25)


# --- what is refused ----------------------------------------------------------------------------------------------


def _changed(**changes):
    targets = {f"target_{k}": v for k, v in LEAVES.items()}
    entries = {**SPLITS, **targets, "target_weights": WEIGHTS, "nodes_modes": modes("BRANCH_LEQ", "BRANCH_LEQ")}
    entries["n_targets"] = 2
    return whole([node("TreeEnsembleRegressor", ["x"], ["y"], **{**entries, **changes})], {"x": X})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes_truenodeids": [1, 3, 0, 0, 0, 0, 0, 0]}, "trees, each with one root, got a circle"),
        ({"nodes_truenodeids": [1, 2, 0, 0, 0, 2, 0, 0]}, "trees, each with one root, got a circle, or nodes that"),
        ({"nodes_truenodeids": [1, 9, 0, 0, 0, 2, 0, 0]}, "each node once, and branches to nodes"),
        ({"nodes_nodeids": [0, 1, 2, 3, 3, 0, 1, 2]}, "each node once, and branches to nodes"),
        ({"nodes_featureids": [0, 99, 0, 0, 0, 3, 0, 0]}, "as many features as the trees ask for, got 4 for .* 99"),
        ({"target_ids": [0, 1 << 40, 0, 1, 0, 0, 1]}, "one of 2 targets for each leaf"),
        ({"nodes_values": [0.0]}, "8 entries for each part of the nodes"),
        ({"nodes_modes": ["SPIN"] * 8}, "tests among BRANCH_LEQ.*got SPIN"),
        ({"post_transform": "SPIN"}, "a post_transform among NONE.*got SPIN"),
        ({"n_targets": 1 << 40}, "weights of leaves"),
    ],
)
def test_trees_that_are_none(changes, message):
    with pytest.raises(px.ExportError, match=message):
        px.jit(px.load_onnx(_changed(**changes)))(X)
