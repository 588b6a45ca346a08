"""One contract for every layer of the registry: compiled, differentiated, mapped, saved, printed, refused alike."""

import copy
import pickle
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import TOLERANCE, assert_close, oracle, to_numpy
from registry import CASES, Case, built

every = pytest.mark.parametrize("case", CASES, ids=repr)


def floats(case: Case) -> list[int]:
    return [i for i, x in enumerate(case.inputs) if x.dtype == np.float32]


@jax.jit
def weighted(y: Any) -> jax.Array:
    """A scalar that sees every element of every output, each with a weight of its own."""
    total = jnp.zeros(())
    for i, leaf in enumerate(jax.tree.leaves(y)):
        w = np.random.default_rng(50 + i).normal(size=leaf.shape)
        total = total + jnp.sum(leaf * jnp.asarray(w, leaf.dtype))
    return total


def is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def same(a: Any, b: Any) -> None:
    """Bitwise equal arrays by path, random keys by their words."""
    assert list(a) == list(b)
    for path in a:
        x, y = a[path], b[path]
        assert x.dtype == y.dtype, path
        if is_key(x):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y), err_msg=path)


def close(a: Any, b: Any, kind: str = "value") -> None:
    """Arrays by path, equal to rounding; random keys and integers exactly."""
    assert list(a) == list(b)
    for path in a:
        if is_key(a[path]):
            same({path: a[path]}, {path: b[path]})
        else:
            assert_close(a[path], b[path], kind=kind, what=path)


def train_step(model: px.Module, *xs: Any) -> Any:
    """Value and gradients of model and inputs in training, then the output in inference."""
    which = (0, *[1 + i for i, x in enumerate(xs) if x.dtype == jnp.float32])

    def loss(model: px.Module, *xs: Any) -> Any:
        y = model(*xs)
        return weighted(y), y

    (value, y), grads = px.value_and_grad(loss, which, has_aux=True)(model, *xs)
    return value, y, grads, model(*xs)


@every
def test_eager_equals_compiled_over_two_steps(case):
    eager, compiled = built(case), px.copy(built(case))
    step, xs = px.jit(train_step), [jnp.asarray(x) for x in case.inputs]
    before = px.state_dict(eager)
    for _ in range(2):
        value, y, grads, inferred = train_step(eager, *xs)
        value2, y2, grads2, inferred2 = step(compiled, *xs)
        assert_close(value2, value)
        jax.tree.map(assert_close, y2, y)
        jax.tree.map(assert_close, inferred2, inferred)
        close(px.paths(grads2[0]), px.paths(grads[0]), "grad")
        for ours, theirs in zip(grads2[1:], grads[1:], strict=True):
            assert_close(ours, theirs, kind="grad")
        close(px.state_dict(compiled), px.state_dict(eager))
    assert len(step.history.traces) == 1
    after = px.state_dict(eager)
    changed = {p.split(".")[-1] for p in after if after[p] is not before[p]}
    assert changed == ({"key"} if case.draws else set()) | ({"mean", "var"} if case.moves else set())


@pytest.mark.parametrize("case", [c if c.draws else pytest.param(c, marks=pytest.mark.soak) for c in CASES], ids=repr)
def test_draws_are_new_each_step_and_repeat_from_the_seed(case):
    xs = [jnp.asarray(x) for x in case.inputs]
    one, two = built(case), built(case)
    same(px.state_dict(one), px.state_dict(two))
    outputs = [[train_step(m, *xs)[1] for _ in range(2)] for m in (one, two)]
    for a, b in zip(*outputs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)
    same(px.state_dict(one), px.state_dict(two))
    moved = not np.array_equal(jax.tree.leaves(outputs[0][0])[0], jax.tree.leaves(outputs[0][1])[0])
    assert moved == case.draws


# PyTorch's gradients tell as much of a layer that has a twin, whose differences are for the long run.
@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.soak) if c.twin else c for c in CASES], ids=repr)
def test_gradient_agrees_with_finite_differences_in_float64(case):
    model, which = built(case), floats(case)
    rng = np.random.default_rng(3)

    @px.jit
    def compare(model: px.Module, *xs: Any) -> Any:
        """The gradient, plain ``jax.grad`` of the pure view, and the slope along one direction by differences."""
        params, state = px.split(model)
        at = (params, [xs[i] for i in which])
        way = jax.tree.map(lambda v: jnp.asarray(rng.normal(size=v.shape)), at)

        @jax.jit  # traced once for its four uses
        def value(params: Any, moving: Any) -> jax.Array:
            inputs = [dict(zip(which, moving, strict=True)).get(i, x) for i, x in enumerate(xs)]
            return weighted(px.apply(model, params, state, *inputs, train=True)[0])

        moved = lambda sign: jax.tree.map(lambda v, d: v + sign * 1e-6 * d, at, way)  # noqa: E731
        slope = (value(*moved(+1)) - value(*moved(-1))) / 2e-6
        plain = jax.grad(value, argnums=(0, 1))(*at)
        grads, *by_input = px.grad(lambda m, *xs: weighted(m(*xs)), (0, *[1 + i for i in which]))(model, *xs)
        ours = (px.paths(grads), by_input)
        along = sum(jnp.sum(g * d) for g, d in zip(jax.tree.leaves(ours), jax.tree.leaves(way), strict=True))
        return ours, plain, along, slope

    with jax.enable_x64(True):
        wide = lambda v: np.asarray(v, np.float64) if v.dtype in (jnp.float32, np.float32) else v  # noqa: E731
        model = px.merge(model, *[{k: jnp.asarray(wide(v)) for k, v in part.items()} for part in px.split(model)])
        ours, plain, along, slope = compare(model, *map(wide, case.inputs))
    assert set(ours[0]) == set(px.split(model)[0])
    # Central differences with h = 1e-6 are wrong by h² and by ε/h of the value, 1e-9 here before it sums up.
    if case.slope:
        np.testing.assert_allclose(np.asarray(along), np.asarray(slope), rtol=1e-6, atol=1e-6)
    for g, p in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        assert g.dtype == np.float64
        assert_close(np.asarray(g), np.asarray(p), kind="grad", what="plain jax.grad of the pure view")


@pytest.mark.parametrize("case", [c for c in CASES if c.twin], ids=repr)
def test_value_and_gradients_are_pytorchs(case):
    which = floats(case)
    by_mode = case.moves or case.draws  # the gradient of others is computed once, for both modes

    @px.jit
    def ours(model: px.Module, *xs: Any) -> Any:
        found = []
        for train in (True, False):
            fresh = px.copy(model)
            with px.training(train):
                y = fresh(*xs)
                if train or by_mode:
                    both = (0, *[1 + i for i in which])
                    grads, *by_input = px.grad(lambda m, *xs: weighted(m(*xs)), both)(px.copy(model), *xs)
            found.append((y, px.paths(grads), by_input))
        return found

    model = built(case)
    found = ours(model, *map(jnp.asarray, case.inputs))
    for train, (y, grads, by_input) in zip((True, False), found, strict=True):
        want, p, tensors = _torch_values(case, model, train)
        assert_close(y, to_numpy(want), what=f"value, train={train}")
        assert set(grads) == set(px.split(model)[0])
        for path, g in grads.items():
            assert_close(g, to_numpy(p[path].grad), kind="grad", what=f"{path}, train={train}")
        for i, g in zip(which, by_input, strict=True):
            assert_close(g, to_numpy(tensors[i].grad), kind="grad", what=f"input {i}, train={train}")


def _torch_values(case: Case, model: px.Module, train: bool) -> Any:
    """The twin's value, and its arrays and inputs with their gradients."""
    torch = oracle("torch")
    p = {k: torch.tensor(np.asarray(v)) for k, v in px.state_dict(model).items() if not is_key(v)}
    for name in px.split(model)[0]:
        p[name].requires_grad_()
    tensors = [torch.tensor(x.astype(np.int64) if x.dtype == np.int32 else x) for x in case.inputs]
    for i in floats(case):
        tensors[i].requires_grad_()
    assert case.twin is not None
    want = case.twin(torch, p, *tensors, train)
    weight = np.random.default_rng(50).normal(size=want.shape).astype(np.float32)
    (want * torch.tensor(weight)).sum().backward()
    return want, p, tensors


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.soak)])
@pytest.mark.parametrize("case", [c for c in CASES if c.low], ids=repr)
def test_half_precision_keeps_its_dtype_and_the_value(case, dtype):
    model = built(case)
    narrow = lambda v: jnp.asarray(v, dtype) if v.dtype == jnp.float32 else jnp.asarray(v)  # noqa: E731
    wide = lambda v: v.astype(jnp.float32) if v.dtype == dtype else v  # noqa: E731
    params, state = px.split(model)
    low = px.merge(model, {k: narrow(v) for k, v in params.items()}, state)

    @px.jit
    def outputs(low: px.Module, *xs: Any) -> Any:
        params, state = px.split(low)
        inferred = low(*xs)
        want = px.merge(low, {k: wide(v) for k, v in params.items()}, state)(*map(wide, xs))
        with px.training(True):
            return inferred, want, low(*xs)

    inferred, want, trained = outputs(low, *map(narrow, case.inputs))
    assert {leaf.dtype for leaf in jax.tree.leaves((inferred, trained))} == {jnp.dtype(dtype)}
    assert [v.dtype for v in px.split(low)[1].values()] == [v.dtype for v in state.values()], "statistics stay wide"
    rtol, atol = TOLERANCE[dtype]["value"]
    compare = lambda a, b: np.testing.assert_allclose(a.astype(np.float32), b, rtol=rtol, atol=atol)  # noqa: E731
    jax.tree.map(compare, jax.tree.map(np.asarray, inferred), want)


@every
def test_plain_jax_takes_it(case):
    model, xs = built(case), [jnp.asarray(x) for x in case.inputs]
    y = model(*xs)
    jax.tree.map(assert_close, jax.jit(lambda m, *xs: m(*xs))(model, *xs), y)
    doubled = jax.tree.map(lambda v: v, model)
    assert type(doubled) is type(model)
    assert doubled is not model
    jax.tree.map(np.testing.assert_array_equal, doubled(*xs), y)
    mask = jax.tree.map(lambda _: 0, model)
    again = jax.tree.map(lambda v, _: v, model, mask)
    jax.tree.map(np.testing.assert_array_equal, again(*xs), y)
    assert jax.tree.structure(mask) == jax.tree.structure(model)


@pytest.mark.parametrize("case", [c for c in CASES if c.rows], ids=repr)
def test_vmap_over_rows_is_the_batch(case):
    model, xs = built(case), [jnp.asarray(x) for x in case.inputs]
    one = lambda m, *row: jax.tree.map(lambda v: v[0], m(*[r[None] for r in row]))  # noqa: E731
    rows = lambda m, *xs: jax.vmap(one, in_axes=(None, *[0] * len(xs)))(m, *xs)  # noqa: E731
    captured = lambda *xs: jax.vmap(lambda *row: one(model, *row))(*xs)  # noqa: E731
    for found in jax.jit(lambda m, *xs: (rows(m, *xs), captured(*xs)))(model, *xs):
        jax.tree.map(assert_close, found, model(*xs))


@every
def test_pure_view_is_lossless(case):
    model, xs = built(case), [jnp.asarray(x) for x in case.inputs]
    before = px.state_dict(model)
    params, state = px.split(model)
    assert not set(params) & set(state)
    assert set(params) | set(state) == set(before)
    merged = px.merge(model, params, state)
    same(px.state_dict(merged), before)
    y, moved = px.apply(model, params, state, *xs, train=True)
    same(px.state_dict(model), before)
    with px.training(True):
        want = merged(*xs)
    jax.tree.map(np.testing.assert_array_equal, y, want)
    same(moved, px.split(merged)[1])
    # None infers here too, and shares what it compiles with the plain call
    inferred, still = px.apply(model, params, state, *xs, train=False if case.moves or case.draws else None)
    jax.tree.map(np.testing.assert_array_equal, inferred, model(*xs))
    same(still, state)


@every
def test_copies_and_files_hold_the_same_layer(case):
    model, xs = built(case), [jnp.asarray(x) for x in case.inputs]
    y, before = model(*xs), px.state_dict(model)
    twins = [px.copy(model), copy.copy(model), copy.deepcopy(model)]
    if case.pickles:
        twins.append(pickle.loads(pickle.dumps(model)))
    fresh = case.build(jax.random.key(9))
    assert px.load_state_dict(fresh, before).complete
    for twin in [*twins, fresh]:
        assert type(twin) is type(model)
        same(px.state_dict(twin), before)
        jax.tree.map(np.testing.assert_array_equal, twin(*xs), y)
        assert jax.tree.structure(twin) == jax.tree.structure(model)
    for twin in (twins[0], *twins[2:]):  # copy.copy shares its parts, as Python's does
        with px.training(True):
            twin(*xs)
    same(px.state_dict(model), before)


@every
def test_repr_is_the_constructor(case):
    pieces = (case.form,) if isinstance(case.form, str) else case.form
    text = repr(built(case))
    for piece in pieces:
        assert piece in text
    assert "<" not in text
    assert "object at" not in text


@pytest.mark.parametrize("case", [c for c in CASES if c.leading], ids=repr)
def test_leading_axes_are_batch(case):
    model, xs = built(case), [jnp.asarray(x) for x in case.inputs]
    y = model(*xs)
    more, one = jax.jit(
        lambda m, *xs: (m(*[jnp.stack([x, x])[:, None] for x in xs]), m(*[x[0] for x in xs])),
    )(model, *xs)
    jax.tree.map(lambda a, b: assert_close(a, np.stack([b, b])[:, None]), more, y)
    jax.tree.map(lambda a, b: assert_close(a, np.asarray(b)[0]), one, y)


@pytest.mark.parametrize("case", [c for c in CASES if c.wrong], ids=repr)
def test_a_wrong_shape_names_path_and_layer(case):
    assert case.wrong is not None
    model, xs = built(case), [jnp.asarray(x) for x in case.wrong.inputs]

    def forward(model: px.Module, *xs: Any) -> Any:
        return model(*xs)

    texts = []
    for call in (forward, px.jit(forward)):
        with pytest.raises(px.ShapeError, match=re.escape("model" + case.wrong.text)) as caught:
            call(model, *xs)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert "\n  fix: " in texts[0]
