"""Kernels in programs over eight devices: each calls them for its rows, and the numbers are those of one device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

import phlox as px
from parallel.kit import arrays, assert_same, trained
from parallel.networks import images
from phlox.core import ways
from phlox.nn import Parts, reference_forms
from phlox.nn import functional as F
from phlox.parallel import context_parallel, data_parallel, fsdp, tensor_parallel

ROWS = 16
RNG = np.random.default_rng(0)


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def parts(strategy: Any, rows: int = ROWS) -> tuple[Any, Parts]:
    """A placement, and how it cuts a batch of so many rows."""
    placement = px.parallel.Placement.of(strategy)
    return placement, Parts(placement.mesh, strategy.batch, rows, strategy.keeps_whole)


def calls(text: str) -> Counter[str]:
    """How often a lowered program calls the package, by kernel."""
    names = (line.split("@phlox_cpu_")[1].split("(")[0] for line in text.splitlines() if "@phlox_cpu_" in line)
    return Counter(names)


def recurrent(layer: Any, lengths: Any = None) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A recurrence as a function of its inputs and weights."""
    leaves = px.paths(layer)

    def run(x: Any, *weights: Any) -> Any:
        inner = px.copy(layer)
        for path, v in zip(leaves, weights, strict=True):
            px.set_at(inner, path, v)
        return inner(x, lengths=lengths)

    return run, (normal(ROWS, 5, 3), *leaves.values())


def families() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, int]]]:
    """Of each family a function, its arrays, those of the batch first, and the calls of its value and gradients."""
    x, q = normal(ROWS, 6, 6, 16), normal(ROWS, 20, 2, 8)
    conv = {"conv_bias": 1, "conv_input_gradient": 1, "conv_weight_gradient": 1}
    lengths = jnp.arange(ROWS) % 5 + 1
    return {
        "conv": (lambda x, w, b: F.conv(x, w, b, padding=1), (x, normal(3, 3, 16, 8), normal(8)), conv),
        "groups": (
            lambda x, w: F.conv(x, w, stride=2, groups=2),
            (x, normal(3, 3, 8, 8)),
            {"conv": 1, "conv_input_gradient": 1, "conv_weight_gradient": 1},
        ),
        "transposed": (
            lambda x, w: F.conv_transpose(x, w, stride=2),
            (x, normal(3, 3, 16, 8)),
            {"conv": 1, "conv_input_gradient": 1, "conv_weight_gradient": 1},
        ),
        "pool": (lambda x: F.max_pool(x, 3, stride=2), (x,), {"max_pool": 1, "max_pool_backward": 1}),
        "layer norm": (
            lambda x, s, b: F.layer_norm(x, 32, s, b),
            (normal(ROWS, 4, 32), normal(32), normal(32)),
            {"layer_norm": 1, "layer_norm_backward": 1},
        ),
        "attention": (
            lambda q, k, v: F.dot_product_attention(q, k, v, causal=True),
            (q, normal(ROWS, 20, 2, 8), normal(ROWS, 20, 2, 8)),
            {"attention": 1, "attention_backward": 1},
        ),
        "LSTM": (*recurrent(px.LSTM(3, 8, key=0)), {"lstm": 1, "lstm_gradient": 1}),
        "LSTM with lengths": (*recurrent(px.LSTM(3, 8, key=0), lengths), {"lstm": 1, "lstm_gradient": 1}),
        "GRU": (*recurrent(px.GRU(3, 8, key=0)), {"gru": 1, "gru_gradient": 1}),
    }


def gradients(fn: Callable[..., Any], weight: Any) -> Callable[..., Any]:
    """The value and all gradients of a weighted sum of what a function gives."""

    def loss(*given: Any) -> Any:
        found = jax.tree.leaves(fn(*given))
        return sum(jnp.sum(jnp.sin(v) * weight.reshape(-1, *(1,) * (v.ndim - 1))) for v in found)

    return lambda *given: jax.value_and_grad(loss, tuple(range(len(given))))(*given)


def spread(fn: Callable[..., Any], strategy: Any, given: Any, rows: int = ROWS) -> tuple[Any, Counter[str]]:
    """What a function gives in a program over devices, its arrays of the batch cut, and the calls in it."""
    placement, way = parts(strategy, rows)

    def inside(*given: Any) -> Any:
        with ways({"kernels": way}):
            return fn(*given)

    given = [placement.spread(v) if v.shape[:1] == (rows,) else placement.put(v, PartitionSpec()) for v in given]
    lowered = jax.jit(inside).lower(*given)
    return lowered.compile()(*given), calls(lowered.as_text())


def calls_of(name: str) -> int:
    """How often a kernel was compiled as a call."""
    from phlox.nn.functional.kernels._kernels import _all

    return _all[name].use.kernel


def close(ours: Any, theirs: Any, what: str) -> None:
    """Equal to the last digits of float32."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        size = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * size, err_msg=what)


def check_each_family_calls_for_its_rows() -> None:
    weight = normal(ROWS)
    for name, (fn, given, expected) in families().items():
        with reference_forms():
            plain = jax.jit(gradients(fn, weight))(*given)
        found, called = spread(gradients(fn, weight), data_parallel(8), given)
        assert called == expected, (name, called)
        close(found, plain, name)
        for array in found[1][1:] if given[1:2] and given[1].shape[0] != ROWS else ():
            assert array.sharding.is_fully_replicated, name


def check_integers_call_for_their_rows() -> None:
    model, x = px.Chain(px.Dense(128, 136, px.relu, key=0)), normal(ROWS, 128)
    for options in ({}, {"inputs": "dynamic"}, {"inputs": px.compress.calibrate(model, x)}):
        layer = px.constant(px.compress.quantize(model, **options)[0])
        name = "integer_product" if options else "integer_weights"
        found, called = spread(lambda x, layer=layer: layer(x), data_parallel(8), (x,))
        assert called == {name: 1}, (name, called)
        with reference_forms():
            close(found, jax.jit(lambda x, layer=layer: layer(x))(x), name)


def check_other_derivatives_and_maps() -> None:
    """Forward mode, a gradient of a gradient, and gradients of each example by itself."""
    x, w = normal(ROWS, 5, 5, 16), normal(3, 3, 16, 16)
    conv = lambda x, w: jnp.sin(F.conv(x, w, padding=1))  # noqa: E731
    norm = lambda x, w: F.layer_norm(x, 16, w[0, 0, 0], w[0, 0, 1])  # noqa: E731
    tries = {
        "forward": lambda f: lambda x, w: jax.jvp(f, (x, w), (w[0, 0, 0] * x, w))[1],
        "twice": lambda f: jax.grad(lambda x, w: jnp.sum(jax.grad(lambda w: jnp.sum(f(x, w) ** 2))(w) ** 2), (0, 1)),
        "each example": lambda f: jax.vmap(jax.grad(lambda w, x: jnp.sum(f(x[None], w) ** 2)), (None, 0)),
    }
    for what, made in tries.items():
        given = (w, x) if what == "each example" else (x, w)
        for fn in (conv, norm):
            with reference_forms():
                plain = jax.jit(made(fn))(*given)
            found, called = spread(made(fn), data_parallel(8), given)
            assert called["conv"] or fn is norm, (what, called)
            close(found, plain, what)


def check_where_rows_do_not_divide_or_are_not_the_batchs_the_form_is_plain() -> None:
    fn, given, _ = families()["conv"]
    weight = normal(12)
    odd = (given[0][:12], *given[1:])
    with reference_forms():
        plain = jax.jit(gradients(fn, weight))(*odd)
    found, called = spread(gradients(fn, weight), data_parallel(8), odd, rows=10)  # 12 rows lie whole
    assert not called, called
    close(found, plain, "rows")
    _, called = spread(fn, data_parallel(8), given, rows=3 * ROWS)  # a part of a batch in micro-batches
    assert not called, called


def check_where_features_or_time_are_cut_the_form_is_plain() -> None:
    fn, given, _ = families()["conv"]
    for strategy in (tensor_parallel(8), tensor_parallel(2) * data_parallel(4), context_parallel(2) * fsdp(4)):
        _, called = spread(fn, strategy, given)
        assert not called, (strategy, called)


def check_a_part_inside_shard_map_has_no_parts() -> None:
    fn, given, _ = families()["conv"]
    placement, _ = parts(data_parallel(8))
    specs = (PartitionSpec("data"), PartitionSpec(), PartitionSpec())
    inside = jax.shard_map(fn, mesh=placement.mesh, in_specs=specs, out_specs=specs[0], check_vma=False)
    found, called = spread(inside, data_parallel(8), given)
    assert called == {"conv_bias": 1}, called
    close(found, fn(*given), "shard_map")


def convnet() -> px.Chain:
    """Convolutions, a pool, a norm of each image and one of the batch, in float32."""
    with px.seed(1):
        return px.Chain(
            px.Conv((3, 3), 2, 16, padding="SAME"),
            px.BatchNorm(16, px.relu),
            px.MaxPool((3, 3), stride=2, padding=1),
            px.Conv((3, 3), 16, 16, padding="SAME"),
            px.LayerNorm(16),
            px.Dropout(0.2),
            px.flatten,
            px.Dense(144, 3),
        )


def single(data: tuple[Any, Any]) -> tuple[Any, Any]:
    return data[0].astype("float32"), data[1]


def fits_alike(*strategies: Any) -> tuple[Any, Any]:
    """Losses of each step and weights at the end are those of one device; two models, of one and of many."""
    from phlox.nn.functional.kernels._kernels import _all

    data = single(images())
    given: dict[str, Any] = {"loss": px.losses.cross_entropy, "steps": 5, "optimizer": px.optim.Descent(0.05)}
    with reference_forms():
        one, first = trained(convnet, data, **given)
    for strategy in strategies:
        before = {name: kernel.use.kernel for name, kernel in _all.items()}
        many, second = trained(convnet, data, strategy, **given)
        used = {name.removeprefix("phlox_") for name, kernel in _all.items() if kernel.use.kernel > before[name]}
        assert {"conv_bias", "conv_weight_gradient", "layer_norm_backward", "max_pool_backward"} <= used, used
        assert not any(name.startswith("batch_norm") for name in used), used
        np.testing.assert_allclose(first.losses, second.losses, rtol=2e-5, atol=2e-5, err_msg=repr(strategy))
        assert_same(many, one, 1e-4, repr(strategy))
    return one, many


def check_fit_over_two_axes_and_what_is_predicted() -> None:
    one, many = fits_alike(data_parallel(2) * fsdp(4, whole=64))
    x = single(images())[0]
    with reference_forms():
        plain = px.predict(one, x)
    found, counted = px.predict(many, x, batch_size=16), calls_of("phlox_conv_bias")
    np.testing.assert_allclose(found, plain, rtol=0, atol=2e-3)
    with px.training(False):
        eager = many(px.parallel.placement_of(many).spread(x[:16]))
    np.testing.assert_allclose(eager, plain[:16], rtol=0, atol=2e-3)
    assert calls_of("phlox_conv_bias") == counted  # line by line the form is plain


def check_fit_over_two_devices_and_over_eight() -> None:
    fits_alike(data_parallel(2), data_parallel(8), fsdp(8, whole=64))


def check_large_steps_of_adam_where_weights_are_whole() -> None:
    with px.seed(0):
        build = lambda: px.Dense(1024, 1024)  # noqa: E731
        weights = arrays(build())
    found = {}
    for strategy in (None, data_parallel(8), fsdp(8)):
        with px.seed(0):
            model = build()
        for path, v in weights.items():
            px.set_at(model, path, jnp.asarray(v))
        placement = px.parallel.shard(model, strategy or data_parallel(1))
        opt = px.Optimizer(px.optim.Adam(1e-3), model)

        @placement.jit
        def step(model: Any, opt: Any, x: Any) -> None:
            opt.update(model, px.grad(lambda model: (model(x) ** 2).mean())(model))

        x = placement.spread(np.ones((ROWS, 1024), np.float32))
        lowered = step.lower(model, opt, x)
        found[repr(strategy)] = calls(lowered.as_text())["adam"]
        step(model, opt, x)
        weights_after = arrays(model)
        if strategy is None:
            first = weights_after
        for path, v in first.items():
            np.testing.assert_allclose(weights_after[path], v, rtol=0, atol=1e-6, err_msg=f"{strategy} {path}")
    assert found == {"None": 1, "data_parallel(8)": 1, "fsdp(8)": 0}, found
