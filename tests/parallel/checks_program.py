"""The compiled program of a spread step, with all of XLA's passes: what devices hold, and what goes between them."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from parallel.kit import assert_same, refused
from parallel.networks import GPT, next_token, sentences

MOVES = "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"
_ARRAY = re.compile(r"(f64|f32|bf16|f16|s32|u32|pred|s8|u8)\[([\d,]*)\]")
_SIZE = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "pred": 1, "s8": 1, "u8": 1}


def moves(text: str) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
    """The collectives of a compiled program, each with the shapes of its results."""
    found = []
    for line in text.splitlines():
        result, _, call = line.partition("=")[2].strip().partition(" ") if " = (" not in line else _tuple(line)
        name = next((m for m in MOVES if re.match(rf"{m}(-start)?\(", call)), None)
        if name is not None:
            shapes = tuple(tuple(int(n) for n in s.split(",") if n) for _, s in _ARRAY.findall(result))
            found.append((name, shapes))
    return found


def _tuple(line: str) -> tuple[str, str, str]:
    result, _, call = line.partition(" = ")[2].partition(") ")
    return result, "", call


def spread_step(model: Any, strategy: Any, loss_of: Any, *batch: Any) -> tuple[Any, ...]:
    """A model, an optimiser and a batch that are spread, and the step compiled for them."""
    placement = px.parallel.shard(model, strategy)
    opt = px.Optimizer(px.optim.Adam(1e-3), model)

    @placement.jit
    def step(model: Any, opt: Any, *batch: Any) -> Any:
        loss, grads = px.value_and_grad(lambda model: loss_of(model, *batch))(model)
        opt.update(model, grads)
        return loss

    batch = placement.spread(batch)
    return model, opt, batch, step.lower(model, opt, *batch).compile()


@functools.cache
def deep() -> tuple[Any, ...]:
    """A decoder of 32 blocks under fsdp."""
    with px.seed(0):
        model = px.parallel.create(
            functools.partial(GPT, width=128, depth=32, dropout=0.0, remat=True), px.parallel.fsdp()
        )
    return spread_step(model, px.parallel.fsdp(), next_token, sentences(32, 17))


def held(*modules: Any) -> tuple[int, int, int]:
    """Bytes of some Modules: on the first device, altogether, and of what fsdp leaves whole."""
    first, every, small = 0, 0, 0
    for module in modules:
        for path, v in px.paths(module).items():
            bare = jax.random.key_data(v) if jax.dtypes.issubdtype(v.dtype, jax.dtypes.prng_key) else v
            first, every = first + bare.addressable_shards[0].data.nbytes, every + bare.nbytes
            small += bare.nbytes * (bare.size <= 1024 or bare.ndim < 2 or path.endswith(("bias", "scale")))
    return first, every, small


def check_each_device_holds_an_eighth() -> None:
    model, opt, batch, compiled = deep()
    for module in (model, opt):
        part, whole, small = held(module)
        assert part == (whole - small) / 8 + small, (part, whole, small)
        assert small < whole / 60
    arguments = held(model, opt)[0] + batch[0].nbytes // 8
    assert compiled.memory_analysis().argument_size_in_bytes <= 1.01 * arguments


def check_a_deep_loop_does_not_hold_all_weights() -> None:
    """Beside its arguments a step needs a part of the gradients, the inputs of blocks, and one block's weights."""
    model, _, _, compiled = deep()
    needs = compiled.memory_analysis().temp_size_in_bytes
    weights, inputs = held(model)[1], 32 * 4 * 16 * 128 * 4
    assert needs < weights / 8 + 3 * inputs + 6 * weights / 32, (needs, weights, inputs)


def check_fsdp_moves_weights_and_no_activations() -> None:
    model, _, _, compiled = deep()
    found = moves(compiled.as_text())
    kinds = Counter(name for name, _ in found)
    assert not kinds["all-to-all"] + kinds["collective-permute"], kinds
    weights = {shape[-2:] for v in px.paths(model).values() for shape in (v.shape, v.shape[1:]) if v.ndim}
    weights |= {shape[::-1] for shape in weights}
    for name, shapes in found:
        for shape in shapes:
            known = tuple(n for n in shape if n > 1)[-2:]
            assert known in weights or math.prod(shape) <= 8, (name, shape)
    assert 12 <= kinds["all-gather"] <= 20, kinds  # the six products of a block, forward and backward
    assert kinds["reduce-scatter"] + kinds["all-reduce"] <= 4, kinds


def check_data_parallel_sums_gradients_alone() -> None:
    with px.seed(0):
        model = px.Chain(px.Dense(16, 64, px.gelu), px.LayerNorm(64), px.Dense(64, 64, px.gelu), px.Dense(64, 8))
    loss_of = lambda model, x: (model(x) ** 2).mean()  # noqa: E731
    model, _, _, compiled = spread_step(model, px.parallel.data_parallel(), loss_of, np.ones((32, 16), np.float32))
    found = moves(compiled.as_text())
    assert {name for name, _ in found} == {"all-reduce"}, found
    summed = sum(math.prod(shape) for _, shapes in found for shape in shapes)
    weights = sum(v.size for v in px.paths(model).values())
    assert weights <= summed <= weights + 8, (summed, weights)


def check_a_step_leaves_arrays_where_they_lay() -> None:
    """What a step by hand writes goes where the array was, whatever it is made of."""
    model = px.Dense(64, 64, key=0)
    placement = px.parallel.shard(model, px.parallel.fsdp())
    before = model.weight.sharding

    @placement.jit
    def step(model: Any, x: Any) -> None:
        model.weight = jnp.outer(x[0], x[1])

    x = np.arange(8.0 * 64, dtype=np.float32).reshape(8, 64)
    step(model, placement.spread(x))
    assert model.weight.sharding.is_equivalent_to(before, 2), model.weight.sharding
    np.testing.assert_array_equal(model.weight, np.outer(x[0], x[1]))


def check_a_model_is_made_in_parts() -> None:
    """``create`` gives the numbers of ``build()``; what one draws before and after it is what one drew."""
    build = lambda: px.Chain(px.nn.RepeatedLayer(lambda: px.Dense(64, 64), 2), px.Dropout(0.5), px.Dense(64, 40))  # noqa: E731
    with px.seed(3):
        _, whole, after = px.Dense(2, 2), build(), px.Dense(2, 2)
    with px.seed(3):
        px.Dense(2, 2)
        model, next_one = px.parallel.create(build, px.parallel.fsdp()), px.Dense(2, 2)
    assert_same(model, whole, 1e-6)
    np.testing.assert_array_equal(after.weight, next_one.weight)
    part, every, small = held(model)
    assert part == (every - small) / 8 + small
    with refused(px.RangeError, "a build() that makes a Module", "tuple"):
        px.parallel.create(lambda: (1, 2), px.parallel.fsdp())


def check_a_table_of_devices() -> None:
    model, opt, _, _ = deep()
    layout = px.parallel.inspect(model)
    part, whole, _ = held(model)
    assert layout.bytes == whole
    assert layout.devices == dict.fromkeys(range(8), part)
    row = next(array for array in layout.arrays if array.path == "blocks.block.perceptron.layers.0.weight")
    assert row.cut == ("", "", "fsdp")
    assert row.most * 8 == row.bytes
    text = str(layout)
    assert "8 devices" in text
    assert "axis 2 along fsdp" in text
    assert len(layout.whole) + sum(1 for array in layout.arrays if not array.whole) == len(layout.arrays)
    figure = layout.plot()
    bars = [bar.get_height() for bar in figure.axes[0].patches]
    assert sum(bars[:1]) + sum(bars[8:9]) == part
    assert px.parallel.inspect(opt).bytes >= 2 * whole * 0.99
    with refused(px.RangeError, "a Module with arrays", "ShapeDtypeStruct in their place"):
        px.parallel.inspect(px.eval_shape(lambda: px.Dense(2, 2)))
