"""px.autodiff.gradient_flow: sizes beside PyTorch's, what vanishes or explodes, and where the first NaN comes from."""

from __future__ import annotations

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.autodiff._flow_report import judged
from phlox.core import is_key

X = np.linspace(-1.0, 1.0, 20).reshape(5, 4).astype(np.float32)


def squared(model, x):
    return jnp.mean(model(x) ** 2)


def scaled(factor, depth):
    return px.Chain(*[px.Dense.of(factor * jnp.eye(4), None) for _ in range(depth)])


def test_sizes_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    with px.seed(0):
        model = px.Chain(px.Dense(4, 6, px.tanh), px.Chain(px.Dense(6, 3), px.LayerNorm(3)), px.Dense(3, 2))
    weights = {path: torch.tensor(np.asarray(v), requires_grad=True) for path, v in px.paths(model).items()}
    dense = lambda x, at: x @ weights[f"{at}.weight"] + weights[f"{at}.bias"]  # noqa: E731
    given = {"layers.0": torch.tanh(dense(torch.tensor(X), "layers.0"))}
    given["layers.1.layers.0"] = dense(given["layers.0"], "layers.1.layers.0")
    norm = [weights[f"layers.1.layers.1.{name}"] for name in ("scale", "bias")]
    given["layers.1.layers.1"] = torch.nn.functional.layer_norm(given["layers.1.layers.0"], (3,), *norm)
    given["layers.2"] = dense(given["layers.1.layers.1"], "layers.2")
    for y in given.values():
        y.retain_grad()
    loss = (given["layers.2"] ** 2).mean()
    loss.backward()
    opt = px.Optimizer(px.optim.Descent(0.1), model)
    flow = px.autodiff.gradient_flow(model, squared, X, optimizer=opt)
    assert flow.value == pytest.approx(loss.item(), rel=1e-5)
    assert [layer.path for layer in flow.layers] == list(given)
    for layer in flow.layers:
        rms = [float(v.detach().square().mean().sqrt()) for v in (given[layer.path], given[layer.path].grad)]
        assert (layer.output, layer.gradient) == pytest.approx(rms, rel=1e-4)
        for p in layer.parameters:
            w, g = (float(v.detach().norm()) for v in (weights[p.path], weights[p.path].grad))
            assert (p.norm, p.gradient) == pytest.approx((w, g), rel=1e-4)
            assert p.update == (pytest.approx(0.1 * g / w, rel=1e-3) if w else None)
    assert sum(len(layer.parameters) for layer in flow.layers) == len(weights)


@pytest.mark.parametrize(("factor", "verdict"), [(0.2, "vanishing"), (5.0, "exploding")])
def test_where_a_gradient_goes_beyond_its_bounds_is_named(factor, verdict):
    """Behind k layers of factor c a gradient is c**k of what it was: 5**4 < 1000 < 5**5."""
    flow = px.autodiff.gradient_flow(scaled(factor, 8), squared, X)
    assert flow.named(verdict) == ("layers.0", "layers.1", "layers.2")
    assert all(layer.verdict == "" for layer in flow.layers[3:])
    assert f"{verdict}: layers.0 to layers.2" in str(flow)
    ratios = [a.gradient / b.gradient for a, b in zip(flow.layers, flow.layers[1:], strict=False)]
    assert ratios == pytest.approx([factor] * 7, rel=1e-5)
    assert not any(layer.verdict for layer in judged(flow.layers, 1e-5, 1e5))


def test_a_layer_that_nothing_comes_back_to_is_named():
    with px.seed(0):
        model = px.Chain(px.Dense(4, 4), lambda x: px.relu(x - 100.0), px.Dense(4, 2), px.Dense(2, 1))
    flow = px.autodiff.gradient_flow(model, lambda m, x: jnp.sum(m(x)), X)
    assert flow.named("no gradient") == ("layers.0",)
    cut = px.autodiff.gradient_flow(model, lambda m, x: jnp.sum(m[2:](jax.lax.stop_gradient(m[:2](x)))), X)
    assert cut.layers[0].gradient == 0.0
    assert cut.named("no gradient") == ("layers.0",)


class Rooted(px.Module):
    def __init__(self):
        self.inner, self.scale = px.Dense.of(jnp.eye(4), None), jnp.ones(4)

    def __call__(self, x):
        h = self.inner(x)
        return jnp.sqrt(jnp.abs(h - h)) * self.scale  # the slope of a root at 0


def line_of(cls, text):
    lines, first = inspect.getsourcelines(cls)
    return first + next(i for i, line in enumerate(lines) if text in line)


def test_the_first_line_back_that_gives_no_number_is_named_with_its_source():
    flow = px.autodiff.gradient_flow(px.Chain(Rooted(), px.Dense(4, 2)), squared, X)
    place = flow.first_bad
    assert (place.direction, place.layer, place.count) == ("back", "layers.0", 20)
    assert re.fullmatch(r"∂(\w+) = ∂(\w+) / \(2 \* \2\)", place.line), place.line
    assert place.source == f"test_flow.py:{line_of(Rooted, 'jnp.sqrt')}"
    assert str(place) in str(flow)
    assert np.isfinite(flow.value)
    assert flow.layers[0].verdict == "no number"


class Logarithm(px.Module):
    def __call__(self, x):
        return jnp.log(x)


def test_the_first_line_forward_that_gives_no_number_is_named():
    with np.errstate(invalid="ignore"):
        bad = int(np.sum(~np.isfinite(np.log(X))))
    flow = px.autodiff.gradient_flow(px.Chain(px.Dense.of(jnp.eye(4), None), Logarithm(), px.Dense(4, 1)), squared, X)
    place = flow.first_bad
    assert (place.direction, place.layer, place.count) == ("forward", "layers.1", bad)
    assert re.fullmatch(r"\w+ = log\(\w+\)", place.line)
    assert place.source == f"test_flow.py:{line_of(Logarithm, 'jnp.log')}"


def test_a_line_in_a_layer_of_phlox_comes_from_the_line_that_called_it():
    place = px.autodiff.gradient_flow(scaled(1e30, 1), squared, 1e30 * jnp.ones((2, 4))).first_bad
    assert (place.direction, place.layer) == ("forward", "layers.0")
    assert place.source == f"test_flow.py:{line_of(squared, 'model(x)')}"


def test_an_array_that_is_no_number_before_anything_ran_is_named():
    model = scaled(1.0, 3)
    model[1].weight = model[1].weight.at[0, 0].set(jnp.inf)
    place = px.autodiff.gradient_flow(model, squared, X).first_bad
    assert (place.direction, place.layer, place.line, place.count) == ("given", "layers.1", "layers.1.weight", 1)
    assert px.autodiff.gradient_flow(scaled(1.0, 3), squared, X).first_bad is None


def numbers(model):
    return {path: np.asarray(jax.random.key_data(v) if is_key(v) else v) for path, v in px.paths(model).items()}


def test_nothing_is_moved():
    with px.seed(1):
        model = px.Chain(px.Dense(4, 4), px.BatchNorm(4), px.Dropout(0.5), px.Dense(4, 1))
    opt = px.Optimizer(px.optim.Adam(1e-2), model)
    before = [numbers(m) for m in (model, opt)]
    flow = px.autodiff.gradient_flow(model, squared, X, optimizer=opt)
    assert all(p.update is None or p.update > 0 for layer in flow.layers for p in layer.parameters)
    jax.tree.map(np.testing.assert_array_equal, before, [numbers(m) for m in (model, opt)])


def test_loops_and_large_numbers_have_sizes():
    with px.seed(0):
        recurrent = px.Chain(px.LSTM(4, 3), px.Dense(3, 1))
    flow = px.autodiff.gradient_flow(recurrent, squared, X[None])
    assert [layer.path for layer in flow.layers if layer.gradient] == ["layers.0", "layers.1"]
    assert all(p.gradient > 0 for layer in flow.layers for p in layer.parameters)
    large = px.autodiff.gradient_flow(scaled(1e25, 1), lambda m, x: jnp.sum(m(x) * 1e-20), X)  # squares overflow
    assert large.layers[0].output == pytest.approx(1e25 * float(np.sqrt(np.mean(X**2))), rel=1e-5)

    def rounds(model, x):
        return squared(model, jax.lax.while_loop(lambda c: c[1] < 3, lambda c: (c[0] * 2, c[1] + 1), (model(x), 0))[0])

    assert px.autodiff.gradient_flow(scaled(1.0, 1), rounds, X).layers[0].gradient > 0


def test_a_teacher_beside_the_model_is_left_out():
    def distance(model, x, teacher):
        return jnp.mean((model(x) - teacher(x)) ** 2)

    flow = px.autodiff.gradient_flow(scaled(1.0, 2), distance, X, scaled(2.0, 2))
    assert [layer.path for layer in flow.layers] == ["model.layers.0", "model.layers.1"]


def test_the_picture_has_a_point_for_each_layer_and_array(tmp_path):
    pytest.importorskip("matplotlib")
    figure = px.autodiff.gradient_flow(scaled(0.2, 8), squared, X).plot(tmp_path / "flow.png")
    layers, arrays = figure.axes
    assert [len(line.get_xdata()) for line in layers.lines] == [8, 8]
    assert [text.get_text() for text in layers.texts] == ["vanishing"]
    assert len(layers.patches) == 3
    assert len(arrays.lines[0].get_xdata()) == 8
    assert (tmp_path / "flow.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((squared, X), px.StructureError, "px.autodiff.gradient_flow expects a model first, got function"),
        ((scaled(1.0, 1), squared, X, 2.0), px.RangeError, "expects 0 < vanishing < 1 < exploding, got 2.0 and 1000.0"),
    ],
)
def test_what_it_cannot_do_is_refused(arguments, error, text):
    first, loss, *rest = arguments
    options = {"vanishing": rest.pop()} if len(rest) > 1 else {}
    with pytest.raises(error, match=re.escape(text)):
        px.autodiff.gradient_flow(first, loss, *rest, **options)
