"""Names and arguments of other libraries: the error says what to type, and what it says exists."""

import inspect
import re
import runpy
import sys
from functools import reduce
from pathlib import Path

import jax.numpy as jnp
import pytest

import phlox as px
from phlox.core.elsewhere import _arguments as _options_elsewhere
from phlox.core.elsewhere import _methods as _methods_elsewhere
from phlox.core.elsewhere import _names as _names_elsewhere
from phlox.core.elsewhere._unknown import spelled

ROOT = Path(__file__).resolve().parents[2]
X = jnp.ones((2, 3))


def told(do, error, *texts):
    """The error of a call, which has every one of these texts."""
    with pytest.raises(error) as caught:
        do()
    for text in texts:
        assert text in str(caught.value), str(caught.value)
    return caught.value


# --- names of modules ----------------------------------------------------------------------------------------

NAMES = [
    ("px.Linear", "write px.Dense(in, out) for nn.Linear(in, out)"),
    ("px.nn.Conv2d", "write px.Conv((3, 3), in, out) for nn.Conv2d(in, out, 3)"),
    ("px.nn.ReLU", "write px.relu"),
    ("px.nn.Sequential", "write px.Chain"),
    ("px.nn.ModuleList", "lists, tuples and dicts are part of the model"),
    ("px.nn.MaxPooling2D", "write px.MaxPool((2, 2)) for layers.MaxPooling2D(2)"),
    ("px.optim.SGD", "write px.optim.Momentum(lr, momentum)"),
    ("px.optim.lr_scheduler", "px.optim.Adam(px.optim.cosine_annealing(…))"),
    ("px.Adam", "write px.optim.Adam"),
    ("px.mse", "write px.losses.mse"),
    ("px.losses.CrossEntropyLoss", "write px.losses.cross_entropy: classes are the last axis"),
    ("px.nn.functional.mse_loss", "write px.losses.mse"),
    ("px.nn.init.xavier_uniform_", "write px.nn.init.glorot_uniform"),
    ("px.metrics.Dense", "write px.Dense"),
    ("px.data.Dataset", "write px.DataLoader(data, 32)"),
    ("px.weights.fit", "write px.fit"),
    ("px.loop.Dropout", "write px.Dropout"),
]


@pytest.mark.parametrize(("name", "cure"), NAMES)
def test_a_name_of_another_library_is_answered(name, cure):
    room, _, last = name.rpartition(".")
    error = told(
        lambda: eval(name, {"px": px}), px.UnknownNameError, f"{room} expects a name of its own, got {last}", cure
    )
    assert isinstance(error, AttributeError)
    with pytest.raises(ImportError) as caught:
        exec(f"from {room.replace('px', 'phlox', 1)} import {last}")
    assert cure in str(caught.value)


def test_other_names_are_as_unknown_as_ever():
    for room in (px, px.nn, px.losses):
        assert not hasattr(room, "nonsense")
        assert not hasattr(room, "__nonsense__")
        with pytest.raises(AttributeError, match=f"module '{room.__name__}' has no attribute 'nonsense'"):
            _ = room.nonsense
    with pytest.raises(ImportError, match="cannot import name 'nonsense'"):
        exec("from phlox.nn import nonsense")
    with pytest.raises(ModuleNotFoundError):
        exec("import phlox.nonsense")
    assert spelled("") == spelled("nonsense") == ""


def test_the_table_in_the_package_is_that_of_the_docs():
    program = runpy.run_path(str(ROOT / "docs" / "generate_names.py"), run_name="generate_names")
    assert Path(_names_elsewhere.__file__).read_text("utf-8") == program["render"](), "run make docs"
    assert len(_names_elsewhere.NAMES) > 800


def test_methods_are_those_of_the_docs():
    """Every method on the page of docs/coming-from.md has an answer with the same name in it."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        names = runpy.run_path(str(ROOT / "docs" / "coming_from" / "names.py"))
    finally:
        sys.path.remove(str(ROOT / "docs"))
    tables = {"model": _methods_elsewhere.METHODS, "optimizer": _methods_elsewhere.OPTIMIZER_METHODS}
    compared = 0
    for table in ("PYTORCH", "KERAS", "FLAX", "EQUINOX"):
        for theirs, ours, _ in names[table]:
            for holder, name in re.findall(r"`(model|optimizer)\.(\w+)\(", theirs):
                answer = tables[holder][name]
                spans = [s.partition("(")[0] for s in re.findall(r"`([^`]+)`", ours)]
                assert not spans or any(s in answer for s in spans) or name == "compile", (name, spans, answer)
                compared += 1
    assert compared >= 14


def every_answer():
    for table in (_names_elsewhere.NAMES, _methods_elsewhere.METHODS, _methods_elsewhere.OPTIMIZER_METHODS):
        yield from table.values()
    yield from _options_elsewhere.LEFT_OUT.values()
    yield from _options_elsewhere.MISSING.values()


def test_what_the_answers_name_exists():
    for path in sorted({path for text in every_answer() for path in re.findall(r"\bpx\.((?:\w+\.)*\w+)", text)}):
        assert reduce(getattr, path.split("."), px), path


def signatures():
    """Every public function, constructor and call of the library."""
    for room in (px, px.nn, px.nn.functional, px.nn.init, px.losses, px.optim, px.metrics, px.data, px.adapt):
        for name in room.__all__:
            thing = getattr(room, name)
            parts = (vars(thing).get(n) for n in ("__init__", "__call__")) if inspect.isclass(thing) else ()
            for f in (thing, *parts):
                if inspect.isroutine(f) and not inspect.isbuiltin(f):
                    yield name, inspect.signature(f).parameters


def test_renamed_arguments_are_arguments_of_ours():
    known = {p for _, parameters in signatures() for p in parameters}
    ours = {name for names in _options_elsewhere.RENAMED.values() for name in names}
    assert ours <= known, ours - known


# --- methods of Modules --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("parameters", "write px.paths(model)"),
        ("train", "a model trains inside px.grad and infers elsewhere; px.trainmode(model) pins it"),
        ("eval", "px.testmode(model) pins it"),
        ("backward", "px.value_and_grad(loss_fn)(model)"),
        ("zero_grad", "gradients are returned, not accumulated"),
        ("state_dict", "write px.state_dict(model)"),
        ("fit", "write px.fit(model, data, loss=…, optimizer=…)"),
        ("compile", "there is no compile() before it"),
        ("register_buffer", "annotate it in the class, mean: px.State"),
        ("to", "write model = px.to(model, device)"),
    ],
)
def test_a_method_of_another_library_is_answered(name, cure):
    model = px.Chain(px.Dense(3, 2), px.relu)
    told(
        lambda: getattr(model, name),
        px.UnknownNameError,
        f"Chain expects a method or attribute it has, got .{name}",
        cure,
    )
    assert not hasattr(model, name)
    assert name not in dir(model)
    assert getattr(model, name, None) is None


def test_an_optimiser_answers_for_its_own():
    opt = px.Optimizer(px.optim.Adam(), px.Dense(3, 2))
    told(lambda: opt.step(), px.UnknownNameError, "Optimizer expects", "write opt.update(model, grads), with")
    told(lambda: opt.zero_grad(), px.UnknownNameError, "gradients are returned, not accumulated")


def test_a_class_may_use_those_names_itself():
    class Model(px.Module):
        summary = "mine"

        def __init__(self):
            self.to, self.float = "there", jnp.ones(2)

        def fit(self):
            return "fitted"

    model = Model()
    assert (model.fit(), model.summary, model.to) == ("fitted", "mine", "there")
    assert {"fit", "summary", "to", "float"} <= set(dir(model))
    assert list(px.paths(model)) == ["float"]
    assert px.copy(model).to == "there"
    del model.to
    told(lambda: model.to, px.UnknownNameError, "Model expects")


# --- the forward pass under another name ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["forward", "call"])
def test_a_forward_pass_of_another_name_is_said(name):
    model = type("Net", (px.Module,), {name: lambda self, x: x})()
    text = f"Net expects __call__ for its forward pass, got {name} alone\n  fix: rename {name} to __call__"
    assert str(told(lambda: model(X), px.StructureError)) == text
    assert str(told(lambda: px.jit(lambda m, x: m(x))(model, X), px.StructureError)) == text
    assert getattr(model, name)(3) == 3  # a method of that name is fine, as in a flow


def test_a_class_that_has_both_or_gets_it_later_is_called():
    class Flow(px.Module):
        def forward(self, x):
            return x + 1

    class Model(Flow):
        def __call__(self, x):
            return self.forward(x)

    assert Model()(1) == 2
    told(lambda: type("Other", (Flow,), {})()(1), px.StructureError, "rename forward to __call__")
    assert not callable(type("Plain", (px.Module,), {})())


# --- arguments -----------------------------------------------------------------------------------------------

OPTIONS = [
    (lambda: px.LSTM(2, 3, batch_first=True), "LSTM expects", "the batch is the first axis, always"),
    (lambda: px.TransformerEncoderLayer(4, 2, dim_feedforward=8), "TransformerEncoderLayer expects", "write hidden="),
    (lambda: px.Transformer(4, 2, layer_norm_eps=1e-6), "Transformer expects", "write eps= for layer_norm_eps="),
    (lambda: px.TransformerEncoderLayer(4, 2, num_kv_heads=1), "TransformerEncoderLayer expects", "write kv_heads="),
    (lambda: px.Dense(units=3), "Dense expects arguments among (in_size, out_size, act, bias=", "write out_size="),
    (lambda: px.Dense(in_features=3, out_features=2), "Dense expects", "write in_size= for in_features="),
    (lambda: px.Dense(3, 2, activation=px.relu), "got activation=", "write act= for activation="),
    (lambda: px.Dense(3, 2, use_bias=False), "got use_bias=False", "write bias= for use_bias="),
    (lambda: px.Dense(3, 2, kernel_initializer="he"), "Dense expects", "write init="),
    (lambda: px.Dense(3, 2, device="cuda"), "Dense expects", "px.to(model, device) moves a model"),
    (lambda: px.Dense(3, 2, bais=False), "Dense expects", "write bias="),
    (lambda: px.Dense(3, 2, nonsense=False), "Dense expects", "choose among its arguments"),
    (lambda: px.Dense(3), "Dense expects arguments (in_size", "px.Dense(in, out); px.AUTO stands for the first"),
    (lambda: px.Dense(3, 2, px.relu, True), "got 4 arguments by place", "write what follows the 3 by keyword"),
    (lambda: px.Dense(3, 2, in_size=3), "got in_size twice", "give in_size once"),
    (lambda: px.Dense(3, 2, init="glorot"), "Dense expects init to be a function, got 'glorot'", "glorot_uniform"),
    (lambda: px.Conv(filters=3, kernel_size=3), "Conv expects", "write out_channels= for filters="),
    (lambda: px.Conv(kernel_size=3), "Conv expects", "write kernel= for kernel_size="),
    (lambda: px.Conv((3,), 1, 2, strides=2), "Conv expects", "write stride= for strides="),
    (lambda: px.Conv(32, (3, 3)), "Conv expects", "the kernel comes first"),
    (lambda: px.MaxPool(kernel_size=2), "MaxPool expects", "write window= for kernel_size="),
    (lambda: px.MaxPool(2, return_indices=True), "MaxPool expects", "max_pool_with_indices"),
    (lambda: px.BatchNorm(3, track_running_stats=False), "BatchNorm expects", "write track="),
    (lambda: px.BatchNorm(num_features=3), "BatchNorm expects", "write channels="),
    (lambda: px.LayerNorm(3, elementwise_affine=False), "LayerNorm expects", "write affine="),
    (lambda: px.Upsample(scale_factor=2), "Upsample expects", "write scale= for scale_factor="),
    (lambda: px.MultiHeadAttention(embed_dim=4, num_heads=2), "MultiHeadAttention expects", "write dim="),
    (lambda: px.MultiHeadAttention(4, num_heads=2), "MultiHeadAttention expects", "write heads= for num_heads="),
    (lambda: px.Dropout(rate=0.5), "Dropout expects", "write p= for rate="),
    (lambda: px.Embedding(num_embeddings=3, embedding_dim=2), "Embedding expects", "write num="),
    (lambda: px.nn.functional.softmax(X, dim=-1), "softmax expects arguments among (x, axis, where=)", "write axis="),
    (lambda: px.relu(X, inplace=True), "relu expects", "arrays never change in place"),
    (lambda: px.nn.functional.layer_norm(X, 3, epsilon=1.0), "layer_norm expects", "write eps= for epsilon="),
    (lambda: px.losses.mse(y_true=X, y_pred=X), "mse expects", "write target= for y_true="),
    (lambda: px.losses.cross_entropy(X), "cross_entropy expects", "the prediction first and the target second"),
    (lambda: px.losses.huber(X, X, size_average=True), "huber expects", 'write reduction="mean" or "sum"'),
    (
        lambda: px.optim.Adam(lr=0.1),
        "Adam expects the arguments learning_rate, b1, b2, eps",
        "write learning_rate=…, or the number alone",
    ),
    (lambda: px.optim.AdamW(betas=(0.9, 0.99)), "AdamW expects", "write b1=0.9, b2=0.999 in the place of betas="),
    (
        lambda: px.optim.Adam(1e-3, weight_decay=0.1),
        "Adam expects",
        "write AdamW(…, weight_decay=…), or chain(",
    ),
    (lambda: px.DataLoader((X,), collate_fn=list), "DataLoader expects", "write collate= for collate_fn="),
    (lambda: px.fit(px.Dense(3, 2), X, optimizer=None, lr=0.1), "fit expects", "give it to the rule"),
]


@pytest.mark.parametrize(("do", "where", "cure"), OPTIONS)
def test_an_argument_of_another_library_is_answered(do, where, cure):
    error = told(do, px.OptionError, where, cure)
    assert isinstance(error, TypeError)
    assert error.__cause__ is None
    assert error.__suppress_context__ in (True, False)


def test_an_unknown_option_that_is_passed_on_lists_both():
    text = str(told(lambda: px.LSTM(2, 3, nonsense=1), px.OptionError))
    assert text.startswith("LSTM expects arguments among (in_size, hidden_size, act, num_layers=")
    assert "those of LSTMCell, which gets the rest: (in_size, hidden_size, act, proj_size=" in text


def test_options_of_calls_name_the_layer_by_its_path():
    model = px.Chain(px.Dense(3, 4), px.MultiHeadAttention(4, 2))
    do = lambda: model[1](X[None, :, :2].repeat(2, -1), key_padding_mask=1)  # noqa: E731
    text = told(do, px.OptionError, "model.layers[1] MultiHeadAttention(4, 2) expects", "write kv_lengths=")
    assert "got key_padding_mask=1" in str(text)
    told(lambda: model(X, training=True), px.OptionError, "model Chain expects", "trains inside px.grad")
    told(lambda: model[0](), px.OptionError, "Dense(3 → 4) expects arguments (x), got no x")


def test_classes_of_ones_own_and_their_mistakes_are_left_alone():
    class Own(px.Module):
        def __init__(self, width):
            self.layer = px.Dense(width, 2)

        def __call__(self, x):
            return self.layer(x)

    for do in (lambda: Own(widht=3), lambda: Own(3)(X, 4)):
        with pytest.raises(TypeError) as caught:
            do()
        assert not isinstance(caught.value, px.OptionError)

    class Heir(px.Dense):
        """Inherits its constructor."""

    class Builder(px.Dense):
        def __init__(self):
            super().__init__(3, 2, units=4)

    told(lambda: Heir(3, units=2), px.OptionError, "Heir expects", "write out_size=")
    told(Builder, px.OptionError, "Dense expects", "write out_size=")
    with pytest.raises(TypeError, match="has no len"):  # not about arguments: passes as it is
        px.Dense(3, 2, init=lambda *a: len(3))


def test_signatures_documents_and_homes_stay():
    assert list(inspect.signature(px.Dense).parameters) == ["in_size", "out_size", "act", "bias", "init", "key"]
    assert list(inspect.signature(px.nn.functional.softmax).parameters) == ["x", "axis", "where"]
    assert px.losses.mse.__doc__.startswith("Mean squared error")
    assert px.softmax.__name__ == "softmax"
    assert px.softmax.__globals__["__name__"] == px.softmax.__module__ == "phlox.nn.functional._softmax"
    assert px.nn.functional.relu is px.relu


# --- activations ---------------------------------------------------------------------------------------------

TAKERS = {
    "Dense": lambda act: px.Dense(3, 2, act),
    "Dense.of": lambda act: px.Dense.of(X, None, act),
    "Conv": lambda act: px.Conv((3,), 1, 2, act),
    "ConvTranspose": lambda act: px.ConvTranspose((3,), 1, 2, act),
    "DepthwiseConv": lambda act: px.DepthwiseConv((3,), 2, 1, act),
    "ConvLSTM": lambda act: px.ConvLSTM((3,), 1, 2, act),
    "Bilinear": lambda act: px.Bilinear(3, 2, 2, act),
    "Scale": lambda act: px.Scale(3, act),
    "BatchNorm": lambda act: px.BatchNorm(3, act),
    "LayerNorm": lambda act: px.LayerNorm(3, act),
    "GroupNorm": lambda act: px.GroupNorm(4, 2, act),
    "InstanceNorm": lambda act: px.InstanceNorm(3, act),
    "RMSNorm": lambda act: px.RMSNorm(3, act),
    "RNNCell": lambda act: px.RNNCell(3, 2, act),
    "LSTM": lambda act: px.LSTM(3, 2, act),
    "GatedMLP": lambda act: px.GatedMLP(3, 2, act),
    "TransformerEncoderLayer": lambda act: px.TransformerEncoderLayer(4, 2, 8, act),
    "TransformerDecoderLayer": lambda act: px.TransformerDecoderLayer(4, 2, 8, act),
    "Transformer": lambda act: px.Transformer(4, 2, 8, act),
}


def test_every_layer_with_an_activation_is_among_the_takers():
    found = {
        n for n in px.nn.__all__ if inspect.isclass(c := getattr(px.nn, n)) and "act" in inspect.signature(c).parameters
    }
    assert found - set(TAKERS) == {
        "ConvLSTMCell",
        "GRU",
        "GRUCell",
        "LSTMCell",
        "RNN",
    }  # built as LSTM and ConvLSTM are


@pytest.mark.parametrize("name", TAKERS)
def test_what_is_no_activation_is_refused_with_the_cure(name):
    for act, cure in (
        ("relu", "write px.relu, the function"),
        ("hard_sigmoid", "write px.hardsigmoid, the function"),
        ("linear", "leave it out"),
        ("nonsense", "write the function, such as px.relu"),
        (None, "leave it out: without one the layer applies none"),
        (False, "write bias=False"),
        (px.PReLU, "make one: PReLU()"),
        (3, "write a function, such as px.relu"),
    ):
        told(lambda act=act: TAKERS[name](act), px.RangeError, f"{name} expects an activation that is a function", cure)


def test_lists_of_layers_hold_no_classes():
    told(lambda: px.Chain(px.Dense(3, 2), px.PReLU), px.RangeError, "Chain expects layers that are made", "PReLU(…)")
    assert px.Chain(jnp.float32)(1).dtype == "float32"


def test_activations_are_at_the_top_too():
    names = "celu elu gelu hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax mish relu relu6 selu"
    for name in [*names.split(), "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh"]:
        assert getattr(px, name) is getattr(px.nn.functional, name)
        assert name in px.__all__


def test_nothing_of_this_is_read_before_it_is_needed():
    tables = "_names_elsewhere", "_options_elsewhere"
    importing = re.compile(rf"^(from|import) .*({'|'.join(tables)})", re.MULTILINE)  # at the top of a file
    assert not [f for f in (ROOT / "src").rglob("*.py") if importing.search(f.read_text("utf-8"))]
