"""What users of PyTorch, Keras, optax and Flax type first: it works, or the error says what to type here."""

import inspect

import jax.numpy as jnp
import optax
import pytest

import phlox as px
from phlox import optim as o

X = jnp.ones((1, 2))


def model():
    return px.Dense(2, 2, key=0)


def gradient(m):
    return px.grad(lambda m: m(X).sum())(m)


MADE = [
    (lambda: o.Adam(model()), r"Adam expects the arguments learning_rate, b1, b2, eps, got Dense", "px.Optimizer(px.o"),
    (lambda: o.Adam(list(px.paths(model()).values())), "got list", "px.Optimizer(px.optim.Adam(1e-3), model)"),
    (lambda: o.Adam(v for v in [1]), "got generator", "px.Optimizer(px.optim.Adam(1e-3), model)"),
    (lambda: o.Adam(px.paths(model())), "got dict", "px.Optimizer(px.optim.Adam(1e-3), model)"),
    (lambda: o.Adam(learning_rate=model()), "learning_rate in .*, got Dense", "px.Optimizer(px.optim.Adam(1e-3), m"),
    (lambda: o.Adam(1e-3, (0.9, 0.99)), r"b1 in \[0, 1\), got \(0.9, 0.99\)", "write Adam(learning_rate, b1=…, b2=…)"),
    (lambda: o.Adam(lr=1e-3), "got lr=0.001", "write learning_rate=…, or the number alone: Adam(1e-3)"),
    (lambda: o.AdamW(1e-3, betas=(0.9, 0.99)), r"got betas=\(0.9, 0.99\)", "b1=0.9, b2=0.999"),
    (lambda: o.Adam(1e-3, beta_1=0.9), "got beta_1=0.9", "write b1=…"),
    (lambda: o.Adam(1e-3, epsilon=1e-7), "got epsilon=1e-07", "write eps=…"),
    (lambda: o.Adam(1e-3, weight_decay=0.1), "got weight_decay=0.1", "AdamW(…, weight_decay=…)"),
    (lambda: o.Adam(1e-3, amsgrad=True), "got amsgrad=True", "AMSGrad"),
    (lambda: o.Descent(0.1, momentum=0.9), "got momentum=0.9", "Momentum(learning_rate, momentum)"),
    (lambda: o.RMSProp(0.1, alpha=0.9), "got alpha=0.9", "write decay=…"),
    (lambda: o.Adam("1e-3"), "got '1e-3'", "give a number for learning_rate, or a schedule"),
    (lambda: o.Adam(o.linear), "got the function linear", "call it: learning_rate=px.optim.linear(…)"),
    (lambda: o.Adam(o.Descent), "got the class Descent", "give a number for learning_rate"),
    (lambda: o.Adam(float("nan")), "got nan", "choose learning_rate in"),
    (lambda: o.Lookahead(o.Adam(), 2, o.linear(0, 1, 2)), r"pull in \(0, 1\]", "choose pull"),
    (lambda: px.Optimizer(model(), o.Adam()), "as the rule, got Dense", "the rule first"),
    (lambda: px.Optimizer(o.Adam, model()), "got the class Adam", "call it, with its learning rate: px.Optimizer(px.o"),
    (lambda: px.Optimizer(optax.adam, model()), "got the function adam", "px.Optimizer(optax.adam(1e-3), model)"),
    (lambda: px.Optimizer("adam", model()), "got 'adam'", "write px.Optimizer(px.optim.Adam(1e-3), model)"),
    (lambda: px.Optimizer(1e-3, model()), "got 0.001", "write px.Optimizer(px.optim.Adam(1e-3), model)"),
    (lambda: px.Optimizer(o.Adam(), px.paths(model())), r"as the model, got float32\[2\]", "px.Optimizer(px.optim.Ad"),
    (lambda: px.Optimizer(o.Adam(), []), "got an empty list", "px.Optimizer(px.optim.Adam(1e-3), model)"),
    (lambda: px.Optimizer(o.Adam(), [model(), 3]), "as the model, got 3", "px.Optimizer(px.optim.Adam(1e-3), model)"),
]


@pytest.mark.parametrize("case", MADE, ids=range(len(MADE)))
def test_what_is_written_otherwise_is_refused_with_the_cure(case):
    make, got, cure = case
    with pytest.raises(px.PhloxError, match=got) as caught:
        make()
    assert cure in str(caught.value)


def test_names_nobody_knows_stay_pythons_own_error_and_signatures_stay():
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        o.Adam(1e-3, foo=1)
    assert list(inspect.signature(o.Adam).parameters) == ["learning_rate", "b1", "b2", "eps"]
    assert list(inspect.signature(o.LBFGS).parameters) == ["memory", "search_steps"]
    assert o.Adam(eps=1e-3).eps == 1e-3


@pytest.mark.parametrize("transform", [lambda f: f, px.jit], ids=["eager", "jit"])
def test_gradients_in_the_place_of_the_model_are_refused(transform):
    """A gradient of a model without State has all that a model has; exchanged, nothing would be trained."""
    m = model()
    opt = px.Optimizer(o.Adam(0.1), m)
    swaps = [
        lambda m, opt: opt.update(gradient(m), m),
        lambda m, opt: opt.update([gradient(m)], [m]),
        lambda m, opt: opt.update({"weight": X}, m),
    ]
    if transform is not px.jit:  # known by the model itself, which a compiled function has a copy of
        swaps.append(lambda m, opt: opt.update(px.map(lambda g: 2 * g, gradient(m)), m))
    for swapped in swaps:
        with pytest.raises(px.StructureError, match=r"update expects the model first, .* got .* first") as caught:
            transform(swapped)(m, opt)
        assert "write opt.update(model, grads)" in str(caught.value)
    with pytest.raises(TypeError, match="positional arguments"):
        opt.update(gradient(m), opt.state, m)


def test_calls_of_other_libraries_are_answered():
    opt = px.Optimizer(o.Adam(0.1), model())
    for name, cure in (
        ("step", r"opt\.update\(model, grads\)"),
        ("zero_grad", "leave it out: gradients are returned"),
        ("apply_gradients", r"opt\.update\(model, grads\)"),
        ("param_groups", r"px\.optim\.groups"),
        ("lr", r"opt\.learning_rate"),
    ):
        with pytest.raises(AttributeError, match=rf"got \.{name}\n  fix: .*{cure}"):
            getattr(opt, name)
    assert not hasattr(opt, "anything")
    with pytest.raises(px.StructureError, match=r"write opt\.adjust\(learning_rate=…\)"):
        opt.adjust(lr=0.1)
    for number in (float("nan"), "a", (0.9, 0.99)):
        with pytest.raises(px.RangeError, match="learning_rate of at least 0"):
            opt.adjust(learning_rate=number)
