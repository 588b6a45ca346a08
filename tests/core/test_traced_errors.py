"""What JAX refuses to a traced value: its own exception, and the user's function, line, argument and the cure in it."""

import linecache
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px

X = jnp.ones((1, 3))
E = jax.errors
MODEL = px.Chain(px.Dense(3, 2, key=0), px.Dense(2, 1, key=1))


def choose(model, x):
    if model(x).sum() > 0:
        return x
    return -x


def number(model, batch):
    return float(batch["x"].sum()) + model[1].bias


def to_numpy(x):
    return np.asarray(x)


def item(x):
    return x.sum().item()


def masked(x):
    return x[x > 0]


def repeated(x, n):
    return [x for _ in range(n)]


def gradient_of_choice(model, x):
    return px.grad(lambda part: part(x).sum() if part(x).sum() > 0 else 0.0)(model)


def rounds(xs):
    def body(c, row):
        return (c + row.sum(), None) if row.sum() > 0 else (c, None)

    return px.scan(body, 0.0, xs)


def loop(x):
    return px.while_loop(lambda c: c.sum() < 3, lambda step: step + 1 if step.sum() > 0 else step, x)


def branches(x):
    return px.cond(x.sum() > 0, lambda taken: taken if taken.sum() > 0 else -taken, lambda taken: taken, x)


CASES = {
    "if": (px.jit(choose), (MODEL, X), E.TracerBoolConversionError, "px.jit(choose)", "model.layers[0].weight"),
    "float": (px.jit(number), (MODEL, {"x": X}), E.ConcretizationTypeError, "px.jit(number)", "batch['x']"),
    "numpy": (px.jit(to_numpy), (X,), E.TracerArrayConversionError, "px.jit(to_numpy)", "x"),
    "item": (px.jit(item), (X,), E.ConcretizationTypeError, "px.jit(item)", "x"),
    "mask": (px.jit(masked), (X,), E.NonConcreteBooleanIndexError, "px.jit(masked)", None),
    "range": (px.jit(repeated), (X, 3), E.TracerIntegerConversionError, "px.jit(repeated)", "n"),
    "grad in jit": (
        px.jit(gradient_of_choice), (MODEL[1], X[:, :2]), E.TracerBoolConversionError, "px.jit(gradient_of_choice)", "x"
    ),
    "vmap": (px.vmap(item), (X,), E.ConcretizationTypeError, "px.vmap(item)", None),
    "vmap in jit": (px.jit(px.vmap(item)), (X,), E.ConcretizationTypeError, "px.vmap(item)", None),
    "remat": (px.grad(px.remat(item)), (X,), E.ConcretizationTypeError, "px.remat(item)", "x"),
    "scan": (px.jit(rounds), (X,), E.TracerBoolConversionError, "px.scan(body)", "row"),
    "while": (px.jit(loop), (X,), E.TracerBoolConversionError, "px.while_loop(<lambda>)", "step"),
    "cond": (px.jit(branches), (X,), E.TracerBoolConversionError, "px.cond(<lambda>)", "taken"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_names_function_line_argument_and_cure(case):
    fn, args, kind, where, argument = CASES[case]
    with pytest.raises(kind) as caught:
        fn(*args)
    assert type(caught.value) is kind
    text = str(caught.value)
    ours, theirs = text.split("\n\nJAX says: ", 1)
    lines = ours.splitlines()
    assert lines[0].startswith(f"{where} expects ")
    assert ", got " in lines[0]
    at = re.fullmatch(r"  at test_traced_errors\.py:(\d+) in \S+: (.+)", lines[1])
    assert at is not None
    assert linecache.getline(__file__, int(at[1])).strip() == at[2]
    assert lines[2].startswith("  fix: ")
    if argument is not None:
        assert re.search(rf"depends on .*{re.escape(argument)}( and|,|$)", lines[0])
    for internal in ("xs[", "_jit.py", "_loops.py", "_remat.py", "_cond.py", "_custom.py"):
        assert internal not in text
    if argument is not None:  # JAX's own words name the user's function too
        assert "test_traced_errors.py" in theirs


def test_the_cure_fits_what_is_around():
    with pytest.raises(E.TracerBoolConversionError, match=r"or take px\.jit away, and it runs line by line"):
        px.jit(choose)(MODEL, X)
    with pytest.raises(E.ConcretizationTypeError, match=r"or take px\.vmap and px\.jit away"):
        px.jit(px.vmap(item))(X)
    with pytest.raises(E.TracerBoolConversionError, match=r"write px\.scan for JAX's own, and take px\.jit away"):
        px.jit(lambda x: jax.lax.scan(lambda c, r: (c, None) if r.sum() > 0 else (c + 1, None), 0, x))(X)
    with pytest.raises(E.TracerIntegerConversionError, match="name the argument in static_argnames"):
        px.jit(repeated)(X, 3)
    with pytest.raises(E.ConcretizationTypeError, match=r"fix: compute the loss with jnp; px\.value\(x\)") as caught:
        px.grad(lambda x: float(x))(1.0)
    assert str(caught.value).startswith("px.grad(<lambda>) expects ")
    assert "px.jit" not in str(caught.value)


def test_a_large_models_arguments_are_not_all_told():
    model = px.Chain(*[px.Dense(3, 3, key=i) for i in range(10)])
    with pytest.raises(
        E.TracerBoolConversionError, match=r"depends on model\.layers\[0\]\.weight, .* and 17 more"
    ) as e:
        px.jit(choose)(model, X)
    assert "layers[9]" not in str(e.value)


def test_a_custom_rule_is_called_by_its_name():
    @px.custom_vjp
    def signed(value):
        return value if value > 0 else -value

    signed.defvjp(lambda value: (value, None), lambda _, g: (g,))
    with pytest.raises(E.TracerBoolConversionError, match=r"^px\.custom_vjp\(signed\) expects"):
        signed(1.0)


def test_a_leaked_value_is_told_by_the_function_that_made_it():
    kept = []

    def leaking(x):
        kept.append(x * 2)
        return x

    px.jit(leaking)(X)
    with pytest.raises(E.UnexpectedTracerError, match=r"value leaked was leaking at .*test_traced_errors\.py"):
        kept[0] + 1

    @px.jit
    def adding(x):
        return x + kept[0]

    with pytest.raises(
        E.UnexpectedTracerError, match=r"^px\.jit\(adding\) expects values of this call, got one that was"
    ):
        adding(X)


def test_what_is_compiled_bears_the_users_name():
    @px.jit
    def training_step(model, x):
        model[0].weight = model[0].weight * 0.5
        return model(x)

    model = px.copy(MODEL)
    training_step(model, X)
    (program,) = training_step.programs.values()
    leaves = [model[0].weight], [model[0].bias, model[1].weight, model[1].bias], [X]
    assert "module @jit_training_step" in program.jitted.lower(*leaves).as_text()
    assert px.explain(lambda x: x + 1, X).name == "<lambda>"


def test_errors_pass_through_the_second_time_as_the_first():
    call = px.jit(choose)
    with pytest.raises(E.TracerBoolConversionError) as first:
        call(MODEL, X)
    with pytest.raises(E.TracerBoolConversionError) as second:
        call(MODEL, X)
    assert str(first.value) == str(second.value)


@pytest.mark.filterwarnings("ignore:Python iterable type:DeprecationWarning")
def test_results_hide_no_traced_arrays():
    class Slotted:
        __slots__ = ("kept",)

        def __init__(self, kept):
            self.kept = kept

    with pytest.raises(px.StructureError, match=r"a Slotted that holds a traced array at \.kept\['a'\]"):
        px.jit(lambda x: Slotted({"a": x}))(X)
    with pytest.raises(px.StructureError, match="got a generator, which runs later"):
        px.vmap(lambda x: (row for row in x))(X)
    assert px.jit(lambda x: (x, "name", len))(X)[1:] == ("name", len)


def inner_choice(hidden):
    return hidden if hidden.sum() > 0 else -hidden


def test_the_innermost_line_is_told():
    with pytest.raises(E.TracerBoolConversionError, match=r"in inner_choice: return hidden if hidden\.sum\(\) > 0"):
        px.jit(lambda x: inner_choice(x + 1))(X)


def test_a_pair_is_a_tuple():
    """An array of two rows would be unpacked without a word."""
    for wrap in (lambda f: f, px.jit):
        with pytest.raises(px.StructureError, match=r"a body that returns a pair, \(carry, y\), got float32\[2\]"):
            wrap(lambda xs: px.scan(lambda c, x: jnp.stack([c, x]), 0.0, xs))(X[0])
        with pytest.raises(px.StructureError, match=r"got a tuple of 3"):
            wrap(lambda xs: px.scan(lambda c, x: (c, x, x), 0.0, xs))(X[0])


def test_a_carry_holds_what_is_no_array_and_modules_to_their_form():
    for wrap in (lambda f: f, px.jit):
        with pytest.raises(px.StructureError, match=r"carry\[1\], which is no array, to stay 'a', got 'b'"):
            wrap(lambda xs: px.scan(lambda c, x: ((c[0], "b"), x), (0.0, "a"), xs)[1])(X[0])
        with pytest.raises(
            px.StructureError, match=r"the carry to stay a Dense of the structure it came in, got Chain"
        ):
            wrap(lambda model, xs: px.scan(lambda c, x: (px.Chain(c), x), model, xs)[1])(px.Dense(1, 1), X[0])
        count = wrap(lambda n: px.while_loop(lambda n: n, lambda n: n - 1, n))(3)
        assert int(count) == 0, "a number is true where it is not 0"
        last, ys = wrap(lambda xs: px.scan(lambda c, x: [c + x, c], 0.0, xs))(X[0])
        assert float(last) == 3.0
        assert ys.tolist() == [0.0, 1.0, 2.0]
